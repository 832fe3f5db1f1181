"""What tests of the reads share: one data set of their own on a real Redis, moved by hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from tests.integration.web_client import Web
from tests.model.world import World
from yadtq.core.yadtq_views import Views
from yadtq.embedded import EmbeddedRedis


@pytest.fixture
def world(redis_server: EmbeddedRedis) -> Iterator[World]:
    made = World(redis_server.url, f"v{uuid.uuid4().hex[:8]}:")
    made.beat("w", "", "{}", [])
    yield made
    made.wipe()
    made.close()
    made.plain.close()


@pytest.fixture
def views(world: World) -> Views:
    return Views(world)


@pytest.fixture
def web(world: World, redis_server: EmbeddedRedis) -> Iterator[Web]:
    """Pages on tasks that are moved by hand."""
    with Web(redis_server.url, redis_prefix=world.prefix) as made:
        yield made


@pytest.fixture
def viewer(web: Web) -> FlaskClient:
    return web.signed_in("viewer")
