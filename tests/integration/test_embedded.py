"""The embedded servers, for real: started, stopped, killed, orphaned, and started on damaged folders."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from tests.conftest import started_or_skipped
from tests.helpers import eventually
from yadtq.embedded import EmbeddedError, EmbeddedKafka, EmbeddedRedis
from yadtq.embedded.folder import port_is_free
from yadtq.embedded.wire import known_brokers

# A dead broker is missed after 3 s instead of 9.
QUICK_FENCING = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
# Starts the server in a thread that ends at once, says where it is, and waits to be killed.
OWNER = """
import sys, threading
from pathlib import Path
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis, process
kind, process.WAY_TO_DIE, folder = sys.argv[1:]
server = EmbeddedRedis(Path(folder), port=0) if kind == "redis" else EmbeddedKafka(Path(folder), ports=[0])
starter = threading.Thread(target=server.start)
starter.start()
starter.join()
print(server.port if kind == "redis" else server.nodes[0].port, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def redis_folder(tmp_path: Path) -> Path:
    """A folder for a Redis of the test's own, where one can be had at all."""
    started_or_skipped(EmbeddedRedis(tmp_path / "probe", port=0)).stop()
    return tmp_path / "redis"


@pytest.fixture
def kafka_folder(kafka: EmbeddedKafka, tmp_path: Path) -> Path:
    """A folder for a Kafka of the test's own, where one can be had at all."""
    return tmp_path / "kafka"


@pytest.fixture
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that owns a server, and the server's port."""
    kind, way = request.param
    request.getfixturevalue(f"{kind}_folder")
    command = [sys.executable, "-c", OWNER, kind, way, str(tmp_path / kind)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def connect(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_redis_keeps_its_data_and_port_between_runs(redis_folder: Path) -> None:
    with EmbeddedRedis(redis_folder, port=0) as server, connect(server) as client:
        port, pid = server.port, server.pid
        assert pid is not None
        assert os.getsid(pid) == pid  # a Ctrl-C in our terminal does not reach it
        client.set("kept", "yes")
    assert server.pid is None
    with EmbeddedRedis(redis_folder) as server, connect(server) as client:
        assert server.port == port
        assert client.get("kept") == "yes"


def test_redis_is_set_up_for_the_queue(redis_folder: Path) -> None:
    with (
        EmbeddedRedis(redis_folder, port=0, settings={"maxmemory": "50mb"}) as server,
        connect(server) as client,
    ):
        assert client.config_get("*") | {
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "bind": "127.0.0.1",
            "maxmemory": "52428800",
            "maxmemory-policy": "noeviction",
            "hash-max-listpack-value": "64",
        } == client.config_get("*")
        assert set(client.config_get("notify-keyspace-events")["notify-keyspace-events"]) == {"K", "z"}


def test_redis_comes_back_after_a_kill(redis_folder: Path) -> None:
    with EmbeddedRedis(redis_folder, port=0) as server, connect(server) as client:
        client.set("kept", "yes")
        before = server.pid, server.port
        server.kill()
        assert server.pid is None
        server.start()
        assert server.port == before[1]
        assert server.pid != before[0]
        assert client.get("kept") == "yes"


def test_redis_moves_aside_where_its_port_is_taken(redis_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = other.getsockname()[1]
        with EmbeddedRedis(redis_folder, port=busy) as server, connect(server) as client:
            assert server.port != busy
            assert client.ping()


def test_a_failed_redis_start_shows_why_and_where_to_read_on(redis_folder: Path) -> None:
    with pytest.raises(EmbeddedError) as failure:
        EmbeddedRedis(redis_folder, port=0, settings={"maxmemory-policy": "whatever"}).start()
    assert "argument(s) must be one of the following" in str(failure.value)
    assert str(redis_folder / "logs" / "redis.log") in str(failure.value)
    with EmbeddedRedis(redis_folder, port=0):
        pass  # the failed start let go of the folder


@pytest.mark.parametrize("owner", [("redis", "prctl")], indirect=True)
def test_a_folder_in_use_names_its_holder_until_that_dies(
    owner: tuple[subprocess.Popen[str], int], redis_folder: Path
) -> None:
    process, port = owner
    with pytest.raises(EmbeddedError, match=f"is in use by process {process.pid}"):
        EmbeddedRedis(redis_folder).start()
    process.kill()
    process.wait()
    with EmbeddedRedis(redis_folder) as server:
        assert server.port == port


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param(("redis", "prctl"), marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux only")),
        ("redis", "watch"),
        pytest.param(("kafka", "prctl"), marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux only")),
    ],
    indirect=True,
    ids="-".join,
)
def test_servers_outlive_the_starting_thread_and_die_with_their_owner(
    owner: tuple[subprocess.Popen[str], int],
) -> None:
    process, port = owner
    with pytest.raises(AssertionError, match="still False"):  # the thread that started it is gone
        eventually(lambda: port_is_free(port), timeout=1)
    process.kill()
    process.wait()
    eventually(lambda: port_is_free(port), timeout=5)


@pytest.mark.slow
def test_kafka_keeps_its_records_and_ports_between_runs(kafka_folder: Path) -> None:
    said: list[str] = []
    with EmbeddedKafka(kafka_folder, ports=[0], on_progress=said.append) as server:
        before = server.bootstrap_servers
        admin = KafkaAdminClient(bootstrap_servers=before)
        admin.create_topics([NewTopic("kept", 1, 1)])
        admin.close()
        producer = KafkaProducer(bootstrap_servers=before)
        producer.send("kept", b"yes").get(10)
        producer.close()
    assert server.bootstrap_servers == []
    with EmbeddedKafka(kafka_folder) as server:
        assert server.bootstrap_servers == before
        consumer = KafkaConsumer("kept", bootstrap_servers=before, auto_offset_reset="earliest")
        assert next(consumer).value == b"yes"
        consumer.close()
    assert said == []  # the jars were cached by the time this test ran


@pytest.mark.slow
def test_a_cluster_loses_and_regains_a_node(kafka_folder: Path) -> None:
    with EmbeddedKafka(kafka_folder, nodes=3, ports=[0, 0, 0], settings=QUICK_FENCING) as server:
        first, second, third = server.nodes
        assert known_brokers(third.port) == {1, 2, 3}
        pid = first.pid
        first.kill()
        assert first.pid is None
        eventually(lambda: known_brokers(third.port) == {2, 3}, timeout=20)
        first.start()
        assert first.pid not in (None, pid)
        second.stop()
        eventually(lambda: known_brokers(third.port) == {1, 3}, timeout=20)
        server.start()
        assert second.pid is not None


@pytest.mark.slow
def test_clients_are_told_the_advertised_ports(kafka_folder: Path) -> None:
    with EmbeddedKafka(kafka_folder, ports=[0], advertised_ports=[4321]) as server:
        assert server.bootstrap_servers == ["127.0.0.1:4321"]
        assert server.nodes[0].port != 4321
        properties = (kafka_folder / "node-1.properties").read_text()
        assert "advertised.listeners=CLIENT://127.0.0.1:4321," in properties


@pytest.mark.slow
def test_a_half_formatted_folder_is_formatted_again(kafka_folder: Path) -> None:
    home = kafka_folder / "node-1"
    home.mkdir(parents=True)
    (home / "bootstrap.checkpoint").write_bytes(b"cut sh")
    (home / "meta.properties").write_text("version=1\n")
    with EmbeddedKafka(kafka_folder, ports=[0]) as server:
        assert known_brokers(server.nodes[0].port) == {1}


def test_data_without_its_identity_is_explained_and_kept(kafka_folder: Path) -> None:
    log = kafka_folder / "node-1" / "yadtq_tasks-0" / "00000000000000000000.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"someone's tasks")
    with pytest.raises(EmbeddedError, match=r"node-1 holds Kafka's data but its meta\.properties is missing"):
        EmbeddedKafka(kafka_folder, ports=[0]).start()
    assert log.read_bytes() == b"someone's tasks"


def test_the_number_of_nodes_is_kept(kafka_folder: Path) -> None:
    kafka_folder.mkdir()
    ports = {"client": 0, "broker": 0, "controller": 0}
    (kafka_folder / "cluster.json").write_text(f'{{"cluster_id": "x", "ports": [{ports}]}}'.replace("'", '"'))
    with pytest.raises(EmbeddedError, match="was made for 1 Kafka nodes, not 3"):
        EmbeddedKafka(kafka_folder, nodes=3).start()


@pytest.mark.slow
def test_a_failed_kafka_start_shows_why_and_where_to_read_on(kafka_folder: Path) -> None:
    with EmbeddedKafka(kafka_folder, ports=[0]):
        pass
    with pytest.raises(EmbeddedError) as failure:
        EmbeddedKafka(kafka_folder, settings={"log.retention.hours": "soon"}).start()
    assert "Invalid value soon for configuration log.retention.hours" in str(failure.value)
    assert str(kafka_folder / "logs" / "kafka-1.log") in str(failure.value)
