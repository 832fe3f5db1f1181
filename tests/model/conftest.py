"""What several machines and stories start from."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.model.fleet import Fleet
from yadtq.embedded import EmbeddedRedis


@pytest.fixture
def fleet(redis_server: EmbeddedRedis) -> Iterator[Fleet]:
    """One worker, one client, and a Redis that has been there for long."""
    made = Fleet(redis_server.url, f"f{uuid.uuid4().hex[:8]}:")
    yield made
    made.close()
