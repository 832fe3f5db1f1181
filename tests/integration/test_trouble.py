"""Wrong addresses, passwords and ports: one clear sentence, in time, for the client, the command line, the pages and /readyz."""

from __future__ import annotations

import gc
import re
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.conftest import started_or_skipped
from tests.helpers import eventually
from tests.integration.web_client import Web
from yadtq import BrokerUnavailable, ResultStoreUnavailable, TaskClient, create_yadtq
from yadtq.cli import main
from yadtq.core.yadtq_port import Answerer, who_answers
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

IN_TIME = 5.5  # seconds; five are promised to a submit, the rest is for a busy machine
SECRET = "kJ8s-2mQz-9fLw-Xr4v-Tb7n-Yc1d-Hg6p"
KEY = "key-1:9f8e7d6c5b4a39281706f5e4d3c2b1a0"  # a Kafka that is not on loopback needs one


@pytest.fixture(scope="module")
def locked_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis with a password, and a user who may do too little."""
    settings = {"requirepass": "right", "user": "bob on >pw ~* &* +@all -@dangerous"}
    server = EmbeddedRedis(tmp_path_factory.mktemp("locked-redis"), port=0, settings=settings)
    yield started_or_skipped(server)
    server.stop()


@pytest.fixture(scope="module")
def tls_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A port that speaks TLS, whatever is behind it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    with _tls_server(certificate, key) as port:
        yield port


@contextmanager
def _tls_server(certificate: Path, key: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(connection, server_side=True).close()
            except OSError:  # it was spoken to in plain
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


# -- Redis ---------------------------------------------------------------------------------------------

REDIS = {
    "a closed port": ("redis://127.0.0.1:9/0", "cannot be reached; start Redis there or set YADTQ_REDIS_URL"),
    "an unknown host": ("redis://redis.invalid:6379/0", "no machine of this name is known; correct YADTQ_REDIS_URL"),
    "no password": ("redis://127.0.0.1:{locked}/0", "refused the user name or password; check redis_url"),
    "a wrong password": ("redis://:wrong@127.0.0.1:{locked}/0", "refused the user name or password; check redis_url"),
    "a wrong user": ("redis://eve:right@127.0.0.1:{locked}/0", "refused the user name or password; check redis_url"),
    "Kafka's port": ("redis://127.0.0.1:{kafka}/0", "is no Redis: a Kafka answers there; correct YADTQ_REDIS_URL"),
    "a TLS port": ("redis://127.0.0.1:{tls}/0", "speaks TLS; write rediss:// in redis_url, or set redis_ssl"),
    "TLS to a plain port": ("rediss://127.0.0.1:{locked}/0", "does not answer in TLS; does that port speak it"),
    "a database that is not there": ("redis://:right@127.0.0.1:{locked}/99", "has no database of this number"),
}


# One may read, so its pages are served.
FEW_RIGHTS = ("redis://bob:pw@127.0.0.1:{locked}/0", "does not allow this user to do that; give it the rights listed")


def test_a_user_with_few_rights_is_told_which_one_is_missing(locked_redis: EmbeddedRedis, kafka: EmbeddedKafka) -> None:
    url, sentence = FEW_RIGHTS[0].format(locked=locked_redis.port), FEW_RIGHTS[1]
    with TaskClient(*create_yadtq(kafka_servers=kafka.bootstrap_servers, redis_url=url)) as client:
        with pytest.raises(ResultStoreUnavailable, match=sentence) as caught:
            client.submit("add", 1, 2)
    assert "'info'" in str(caught.value)
    done = CliRunner().invoke(main, ["doctor", "--json", "--redis", url, "--kafka", kafka.bootstrap_servers[0]])
    assert (done.exit_code, sentence in done.output) == (1, True)


@pytest.fixture(params=REDIS)
def bad_redis(
    request: pytest.FixtureRequest, kafka: EmbeddedKafka, locked_redis: EmbeddedRedis, tls_port: int
) -> tuple[str, str]:
    url, sentence = REDIS[request.param]
    kafka_port = kafka.bootstrap_servers[0].rpartition(":")[2]
    return url.format(locked=locked_redis.port, kafka=kafka_port, tls=tls_port), sentence


def test_a_submit_says_what_is_wrong_with_redis(bad_redis: tuple[str, str], kafka: EmbeddedKafka) -> None:
    url, sentence = bad_redis
    begun = time.monotonic()
    with TaskClient(*create_yadtq(kafka_servers=kafka.bootstrap_servers, redis_url=url)) as client:
        with pytest.raises(ResultStoreUnavailable) as caught:
            client.submit("add", 1, 2)
    assert time.monotonic() - begun < IN_TIME
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("Redis at ")
    assert "pw" not in str(caught.value)
    assert "wrong@" not in str(caught.value)


@pytest.mark.parametrize("arguments", [["submit", "add", "1", "2"], ["doctor", "--json"], ["tasks"]])
def test_the_command_line_says_what_is_wrong_with_redis(
    arguments: list[str], bad_redis: tuple[str, str], kafka: EmbeddedKafka
) -> None:
    url, sentence = bad_redis
    begun = time.monotonic()
    done = CliRunner().invoke(main, [*arguments, "--redis", url, "--kafka", kafka.bootstrap_servers[0]])
    assert time.monotonic() - begun < IN_TIME
    assert sentence in " ".join(done.output.split())
    assert done.exit_code == (1 if "doctor" in arguments else 3)
    assert "Traceback" not in done.output


def test_the_pages_and_readyz_say_what_is_wrong_with_redis_and_no_address(
    bad_redis: tuple[str, str], kafka: EmbeddedKafka
) -> None:
    url, sentence = bad_redis
    with Web(url, kafka_servers=kafka.bootstrap_servers, secret_key=SECRET) as web:
        visitor = web.stranger()
        visitor.set_cookie(web.cookie_name, _some_session(web))
        begun = time.monotonic()
        page, ready = visitor.get("/tasks"), visitor.get("/readyz")
        told = visitor.get("/api/v1/stats", headers={"Authorization": "Bearer the-token"})
    assert time.monotonic() - begun < 3 * IN_TIME
    assert (page.status_code, ready.status_code, told.status_code) == (503, 503, 503)
    for text in (page.text, ready.get_json()["error"], told.get_json()["error"]):
        assert sentence in text
        assert "127.0.0.1:" not in re.sub(r"http://127\.0\.0\.1:\d+", "", text)
        assert "Traceback" not in text
    shown = re.search(r'id="down"[^>]*>', page.text)
    assert shown
    refused = "refused" in sentence or "is no Redis" in sentence or "speaks TLS" in sentence or "database" in sentence
    assert ("hidden" in shown[0]) == refused  # the strip is about a Redis that is away


def _some_session(web: Web) -> str:
    serializer = web.app.session_interface.get_signing_serializer(web.app)  # type: ignore[attr-defined]
    return str(serializer.dumps({"sid": "somebody"}))


# -- Kafka ---------------------------------------------------------------------------------------------

KAFKA = {
    "a closed port": ("127.0.0.1:9", "cannot be reached; start Kafka there or set YADTQ_KAFKA_SERVERS"),
    "an unknown host": ("kafka.invalid:9092", "no machine of this name is known; correct YADTQ_KAFKA_SERVERS"),
    "the Redis port": ("127.0.0.1:{redis}", "is no Kafka: a Redis answers there; correct YADTQ_KAFKA_SERVERS"),
    "a TLS port": ("127.0.0.1:{tls}", "answers in TLS there; set kafka_security_protocol to SSL or SASL_SSL"),
}


@pytest.fixture(params=KAFKA)
def bad_kafka(request: pytest.FixtureRequest, redis_server: EmbeddedRedis, tls_port: int) -> tuple[str, str]:
    servers, sentence = KAFKA[request.param]
    return servers.format(redis=redis_server.port, tls=tls_port), sentence


def test_doctor_says_what_is_wrong_with_kafka(bad_kafka: tuple[str, str], redis_server: EmbeddedRedis) -> None:
    servers, sentence = bad_kafka
    begun = time.monotonic()
    arguments = ["doctor", "--json", "--redis", redis_server.url, "--kafka", servers]
    done = CliRunner().invoke(main, arguments, env={"YADTQ_SIGNING_KEYS": KEY})
    assert time.monotonic() - begun < IN_TIME
    assert sentence in done.output
    assert done.exit_code == 1


def test_a_submit_without_kafka_is_accepted_and_the_log_says_why_it_waits(
    bad_kafka: tuple[str, str], redis_server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    servers, sentence = bad_kafka
    settings = {"kafka_servers": servers, "redis_url": redis_server.url, "redis_prefix": "trouble:"}
    begun = time.monotonic()
    with TaskClient(*create_yadtq(**settings, signing_keys=[KEY])) as client:
        assert client.submit("add", 1, 2)
        assert time.monotonic() - begun < 1.0
        eventually(lambda: any(sentence in line for line in ours(caplog)), IN_TIME)
    assert len([line for line in ours(caplog) if sentence in line]) == 1


def test_the_pages_are_served_without_kafka_and_say_why_tasks_wait(
    bad_kafka: tuple[str, str], redis_server: EmbeddedRedis
) -> None:
    servers, sentence = bad_kafka
    with Web(redis_server.url, kafka_servers=servers, signing_keys=[KEY]) as web:
        web.engine.client.submit("add", 1, 2)
        visitor = web.signed_in("viewer")
        page = eventually(lambda: text if sentence in (text := visitor.get("/tasks").text) else "", 10, every=0.3)
        assert "Kafka cannot be reached: 1 task waits in the outbox." in page
        ready = visitor.get("/readyz")
        assert (ready.status_code, ready.get_json()) == (200, {"status": "ready", "alarms": ["kafka-away"]})


def test_a_kafka_that_names_an_address_nobody_can_reach_is_told_apart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The classic of containers: advertised.listeners."""
    server = EmbeddedKafka(tmp_path_factory.mktemp("lost-kafka"), ports=[0], advertised_ports=[9])
    with started_or_skipped(server):
        port = server.nodes[0].ports.client
        broker, _store = create_yadtq(kafka_servers=[f"127.0.0.1:{port}"])
        begun = time.monotonic()
        with pytest.raises(BrokerUnavailable) as caught:
            broker.describe()
        assert time.monotonic() - begun < 2 * IN_TIME
        assert "advertised.listeners" in str(caught.value)
        broker.close()


def ours(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith(("yadtq", "webapp"))]


# -- who answers ---------------------------------------------------------------------------------------


def test_who_answers_at_a_port(kafka: EmbeddedKafka, locked_redis: EmbeddedRedis, tls_port: int) -> None:
    assert who_answers("127.0.0.1", int(kafka.bootstrap_servers[0].rpartition(":")[2])) is Answerer.KAFKA
    assert who_answers("127.0.0.1", locked_redis.port) is Answerer.REDIS
    assert who_answers("127.0.0.1", tls_port) is Answerer.TLS
    assert who_answers("127.0.0.1", 9) is Answerer.NOBODY
    assert who_answers("nowhere.invalid", 9) is Answerer.NOBODY
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert who_answers("127.0.0.1", mute.getsockname()[1]) is Answerer.SILENT


def test_a_port_that_hangs_up_at_once_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """ssl.wrap_socket leaks one whose connection was reset before it came to the handshake."""
    connect = socket.create_connection
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connect_and_be_reset(*args: Any, **options: Any) -> socket.socket:
            ours = connect(*args, **options)
            theirs, _ = server.accept()
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            theirs.close()
            assert select.select([ours], [], [], 5)[0], "the reset never came"
            return ours

        monkeypatch.setattr(socket, "create_connection", connect_and_be_reset)
        assert who_answers("127.0.0.1", server.getsockname()[1]) is Answerer.SILENT
    gc.collect()  # what is still open is told here, and every warning is an error
