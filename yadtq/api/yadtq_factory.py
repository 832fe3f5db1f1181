"""``create_yadtq``: settings checked once, a broker and a result store made of them."""

from __future__ import annotations

from typing import Any

from yadtq.config import load_settings
from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_result_db import ResultStore


def create_yadtq(**settings: Any) -> tuple[Broker, ResultStore]:
    """The broker (Kafka) and the result store (Redis) that clients and workers are made with.

    Takes every setting of docs/settings.md by name; ``YADTQ_*`` environment variables give the defaults.
    Nothing connects yet; both are thread-safe and may be shared.

    Raises:
        ConfigError: a setting is unknown, contradicts another, or cannot be used.
    """
    checked = load_settings(**settings)
    return Broker(checked), ResultStore(checked)
