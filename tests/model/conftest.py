"""What several machines and stories start from."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest

from tests.faults.model_guards import take_out
from tests.model.fleet import Fleet
from yadtq.embedded import EmbeddedRedis

if "WITHOUT_GUARD" in os.environ:  # a test of the guards wants to see a test of the model fail
    take_out(os.environ["WITHOUT_GUARD"])


@pytest.fixture
def fleet(redis_server: EmbeddedRedis) -> Iterator[Fleet]:
    """One worker, one client, and a Redis that has been there for long."""
    made = Fleet(redis_server.url, f"f{uuid.uuid4().hex[:8]}:")
    yield made
    made.close()
