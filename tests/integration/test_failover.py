"""The store's connections: a failover that keeps them open, and a stop in the middle of a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.conftest import started_or_skipped
from tests.faults.proxy import Proxy, Switchboard
from tests.helpers import eventually
from yadtq import TaskTimeout
from yadtq.config import load_settings
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.embedded import EmbeddedRedis
from yadtq.errors import ResultStoreUnavailable

Change = Callable[[ResultStore], None]


@pytest.fixture
def old(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with started_or_skipped(
        EmbeddedRedis(tmp_path / "old", port=0, settings={"repl-diskless-sync-delay": "0"})
    ) as server:
        yield server


@pytest.fixture
def new(tmp_path: Path, old: EmbeddedRedis) -> Iterator[EmbeddedRedis]:
    """A replica that has everything."""
    settings = {"replicaof": f"127.0.0.1 {old.port}"}
    with EmbeddedRedis(tmp_path / "new", port=0, settings=settings) as server, redis.Redis(port=server.port) as replica:
        eventually(lambda: replica.info("replication")["master_link_status"] == "up", 20)
        yield server


@pytest.fixture
def address(old: EmbeddedRedis) -> Iterator[Proxy]:
    with Switchboard() as switchboard:
        yield switchboard.proxy(old.port)


def store_at(port: int) -> Iterator[ResultStore]:
    store = ResultStore(load_settings({}, redis_url=f"redis://127.0.0.1:{port}/0"))
    yield store
    store.close()


@pytest.fixture
def store(address: Proxy) -> Iterator[ResultStore]:
    yield from store_at(address.port)


@pytest.fixture
def plain_store(redis_server: EmbeddedRedis) -> Iterator[ResultStore]:
    yield from store_at(redis_server.port)


def change_by_script(store: ResultStore) -> None:
    store.count("rejected", 1)


def change_by_command(store: ResultStore) -> None:
    store.guard(lambda: store.client.incr("changed"))


def fail_over(old: EmbeddedRedis, new: EmbeddedRedis, address: Proxy) -> None:
    """In good order: nobody's connection is closed."""
    with redis.Redis(port=old.port) as demoted, redis.Redis(port=new.port) as promoted:
        promoted.replicaof("NO", "ONE")
        demoted.replicaof("127.0.0.1", str(new.port))
    address.target = new.port


@pytest.mark.parametrize("change", [change_by_script, change_by_command])
def test_a_planned_failover_that_keeps_connections_is_followed(
    old: EmbeddedRedis, new: EmbeddedRedis, address: Proxy, store: ResultStore, change: Change
) -> None:
    with store._connection():  # so that two connections are open to the old primary
        change(store)
    fail_over(old, new, address)
    with pytest.raises(ResultStoreUnavailable, match="is a replica"):
        change(store)
    change(store)
    with store._connection():  # the other one has moved as well
        change(store)


def test_a_stop_in_the_middle_of_a_call_leaves_no_answer_for_the_next(
    plain_store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise TaskTimeout

    with plain_store._connection() as connection:
        with monkeypatch.context() as patched:
            patched.setattr(connection, "read_response", stop)
            with pytest.raises(TaskTimeout):
                plain_store._call(connection, "ECHO", "one")
        assert plain_store._call(connection, "ECHO", "two") == b"two"
