"""Kafka as it stands in production: TLS both ways, logins, rights; and one sentence for each way to get it wrong."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType

from tests.acceptance.conftest import YADTQ, Start, as_environment
from tests.acceptance.secured import (
    Certificates,
    administrator,
    command,
    keep_user,
    listener,
    live_a_whole_life,
    live_by_commands,
    logins,
    pkcs8,
    present,
)
from tests.conftest import started_or_skipped
from tests.helpers import House, eventually
from yadtq import create_yadtq
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis
from yadtq.errors import BrokerUnavailable, ConfigError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PASSWORD = "what-scram-proves"
PLAIN_PASSWORD = "what-plain-tells"


@dataclass
class Site:
    """A Kafka that asks for something, and the settings that satisfy it."""

    kafka: EmbeddedKafka
    certificates: Certificates
    good: dict[str, Any]

    @property
    def port(self) -> int:
        return self.kafka.nodes[0].port

    def settings(self, redis_server: EmbeddedRedis, **others: Any) -> dict[str, Any]:
        """Names that begin with yadtq, as the rights want it, and nobody else has."""
        unique = f"yadtq_{uuid.uuid4().hex[:8]}"
        names = {"topic": unique, "dead_topic": f"{unique}_dead", "group_id": unique, "redis_prefix": f"{unique}:"}
        return {"redis_url": redis_server.url, "signing": "off", **names, **self.good, **others}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def tls_site(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Site]:
    """Asks for a client's certificate."""
    settings = {**listener("SSL", certificates), "listener.name.client.ssl.client.auth": "required"}
    with started_or_skipped(EmbeddedKafka(tmp_path_factory.mktemp("tls-kafka"), ports=[0], settings=settings)) as kafka:
        good = {
            "kafka_servers": [f"localhost:{kafka.nodes[0].port}"],
            "kafka_security_protocol": "SSL",
            "kafka_ssl_cafile": str(certificates.ca),
            "kafka_ssl_certfile": str(certificates.client),
        }
        yield Site(kafka, certificates, good)


@pytest.fixture(scope="module")
def login_site(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Site]:
    """Asks for a name and password in TLS, and lets nobody do what was not granted."""
    settings = {
        **listener("SASL_SSL", certificates),
        **logins(yadtq=PLAIN_PASSWORD),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # brokers and controllers among themselves, who speak plainly here
    }
    with started_or_skipped(
        EmbeddedKafka(tmp_path_factory.mktemp("login-kafka"), ports=[0], settings=settings)
    ) as kafka:
        keep_user(kafka, "yadtq", PASSWORD)
        keep_user(kafka, "stranger", PASSWORD)
        grant(kafka)
        good = {
            "kafka_servers": [f"localhost:{kafka.nodes[0].port}"],
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "SCRAM-SHA-512",
            "kafka_username": "yadtq",
            "kafka_password": PASSWORD,
            "kafka_ssl_cafile": str(certificates.ca),
        }
        yield Site(kafka, certificates, good)


def grant(kafka: EmbeddedKafka) -> None:
    """The rights of docs/security.md, no more."""
    rights = [
        (ResourceType.TOPIC, (ACLOperation.CREATE, ACLOperation.READ, ACLOperation.WRITE)),
        (ResourceType.GROUP, (ACLOperation.READ,)),
    ]
    acls = [
        ACL(
            "User:yadtq",
            "*",
            operation,
            ACLPermissionType.ALLOW,
            ResourcePattern(kind, "yadtq", ACLResourcePatternType.PREFIXED),
        )
        for kind, operations in rights
        for operation in operations
    ]
    with administrator(kafka) as admin:
        admin.create_acls(acls)


@pytest.fixture(scope="module")
def sites(tls_site: Site, login_site: Site) -> dict[str, Site]:
    return {"tls": tls_site, "login": login_site}


PLAIN = {"kafka_sasl_mechanism": "PLAIN", "kafka_password": PLAIN_PASSWORD}


@pytest.mark.parametrize(
    ("name", "others"), [("tls", {}), ("login", {}), ("login", PLAIN)], ids=["tls", "scram", "plain"]
)
def test_a_task_lives_its_whole_life(
    sites: dict[str, Site], redis_server: EmbeddedRedis, name: str, others: dict[str, Any]
) -> None:
    live_a_whole_life(sites[name].settings(redis_server, **others))


def test_the_pages_about_kafka_need_no_further_rights(login_site: Site, redis_server: EmbeddedRedis) -> None:
    settings = login_site.settings(redis_server)
    with House(settings) as house:
        house.worker({"ok": lambda: None})
        house.ended([house.client.submit("ok")])
        house.broker.ensure_topics([settings["dead_topic"]])
        survey = eventually(lambda: (found := house.broker.survey()).lag == 0 and found)
        rejected = house.broker.rejected(5, 1.5)

    assert (survey.state, survey.members) == ("Stable", 1)
    assert sum(one.end for one in survey.partitions) == 1
    assert (rejected.records, rejected.complete) == ([], True)


@pytest.mark.parametrize("name", ["tls", "login"])
def test_the_commands_need_nothing_but_the_environment(
    sites: dict[str, Site], redis_server: EmbeddedRedis, name: str, start: Start, project: Path
) -> None:
    said = live_by_commands(sites[name].settings(redis_server), start, project)
    assert f"1 broker(s) at localhost:{sites[name].port}" in said


# -- what goes wrong ---------------------------------------------------------------------------------------------

WITHOUT_TLS = {"kafka_ssl_cafile": None, "kafka_ssl_certfile": None}
WITHOUT_LOGIN = {"kafka_sasl_mechanism": None, "kafka_username": None, "kafka_password": None}
WRONG: dict[str, tuple[str, dict[str, Any], str]] = {
    "another CA": ("tls", {"kafka_ssl_cafile": "OTHER_CA"}, "shows a certificate of a CA that is not trusted here .* set kafka_ssl_cafile"),
    "the system's CAs": ("tls", {"kafka_ssl_cafile": None}, "shows a certificate of a CA that is not trusted here .* set kafka_ssl_cafile"),
    "no certificate": ("tls", {"kafka_ssl_certfile": None}, "wants a client certificate .* set kafka_ssl_certfile"),
    "a stranger's certificate": ("tls", {"kafka_ssl_certfile": "OTHER"}, "wants a client certificate that it knows"),
    "no TLS": ("tls", {**WITHOUT_TLS, "kafka_security_protocol": "PLAINTEXT"}, "answers in TLS .* kafka_security_protocol to SSL"),
    "a login where none is": ("tls", {**PLAIN, "kafka_username": "u", "kafka_security_protocol": "SASL_SSL"}, "takes no user name .* kafka_security_protocol to SSL"),
    "TLS at a plain port": ("tls", {"kafka_servers": "PLAIN_PORT"}, "ends the TLS connection at once; check the port and kafka_security_protocol"),
    "a wrong password": ("login", {"kafka_password": "wrong"}, "refused the user name or password; check kafka_username, kafka_password"),
    "a wrong password, PLAIN": ("login", {**PLAIN, "kafka_password": "wrong"}, "refused the user name or password"),
    "an unknown user": ("login", {"kafka_username": "nobody"}, "refused the user name or password; check kafka_username"),
    "an unknown mechanism": ("login", {"kafka_sasl_mechanism": "SCRAM-SHA-256"}, "does not know SCRAM-SHA-256, only (SCRAM-SHA-512|PLAIN), .* change kafka_sasl_mechanism"),
    "no login": ("login", {**WITHOUT_LOGIN, "kafka_security_protocol": "SSL"}, "wants a user name .* kafka_security_protocol to SASL_SSL"),
    "no login, no TLS": ("login", {**WITHOUT_TLS, **WITHOUT_LOGIN, "kafka_security_protocol": "PLAINTEXT"}, "answers in TLS"),
    "no rights": ("login", {"kafka_username": "stranger"}, "does not allow stranger to do that; grant the rights listed in docs/security.md"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(WRONG))
def test_a_mistake_is_named_with_the_setting_to_change(
    sites: dict[str, Site], redis_server: EmbeddedRedis, others: Certificates, case: str
) -> None:
    name, changes, sentence = WRONG[case]
    site = sites[name]
    plain_port = [f"localhost:{site.kafka.nodes[0].ports.broker}"]
    words = {"OTHER_CA": str(others.ca), "OTHER": str(others.client), "PLAIN_PORT": plain_port}
    changes = {key: words.get(value, value) if isinstance(value, str) else value for key, value in changes.items()}
    refuses_soon(site.settings(redis_server, **changes), sentence)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Of a CA that nobody here knows."""
    return Certificates(tmp_path_factory.mktemp("certificates") / "others")


def refuses_soon(settings: dict[str, Any], sentence: str) -> None:
    broker, store = create_yadtq(**settings)
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable, match=f"^Kafka at localhost:[0-9]+ {sentence}"):
        broker.ensure_topics([settings["topic"]])
    assert time.monotonic() - began < 4
    store.close()


def test_a_certificate_that_is_over_or_of_another_name_is_refused_with_the_remedy(
    tls_site: Site, redis_server: EmbeddedRedis
) -> None:
    settings = tls_site.settings(redis_server)
    shown = {
        tls_site.certificates.issue("expired", "localhost", "127.0.0.1", expired=True): "is not valid today .*expired.* renew it",
        tls_site.certificates.issue("elsewhere", "kafka.example.org"): "another name .*'localhost'.* kafka_servers",
    }  # fmt: skip
    try:
        for certificate, sentence in shown.items():
            present(tls_site.kafka, certificate)
            refuses_soon(settings, f"shows a certificate (that|for) {sentence}")
    finally:
        present(tls_site.kafka, tls_site.certificates.server)


def test_the_key_may_have_a_password_and_a_file_of_its_own(
    tls_site: Site, redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(pkcs8(tls_site.certificates.client.read_bytes(), b"opens-the-key"))
    settings = tls_site.settings(redis_server, kafka_ssl_keyfile=str(key), kafka_ssl_key_password="opens-the-key")
    create_yadtq(**settings)[0].ensure_topics([settings["topic"]])
    with pytest.raises(ConfigError, match="kafka_ssl_key_password is wrong"):
        create_yadtq(**{**settings, "kafka_ssl_key_password": "wrong"})


def test_a_worker_and_a_client_say_once_why_kafka_refuses_them(
    login_site: Site, redis_server: EmbeddedRedis, start: Start, project: Path
) -> None:
    settings = login_site.settings(redis_server, kafka_password="wrong")
    environment = as_environment(settings)
    worker = start(*YADTQ, "worker", "workercode", cwd=project, environment=environment)
    worker.says("refused the user name or password; check kafka_username, kafka_password", 15)
    said = command(project, {**environment, "COLUMNS": "300"}, "doctor")
    assert said.returncode == 1
    assert "refused the user name or password; check kafka_username, kafka_password" in said.stdout
    assert command(project, environment, "submit", "add", "2", "3").returncode == 0  # accepted, and kept in Redis
    keep_user(login_site.kafka, "yadtq", "wrong")  # the remedy from the other side
    try:
        worker.says("partitions (", 30)
        done = command(project, environment, "submit", "add", "2", "3", "--wait")
        assert done.stdout == "5\n", done.stderr
    finally:
        keep_user(login_site.kafka, "yadtq", PASSWORD)
    assert worker.output.count("refused the user name or password") == 1
    assert "Traceback" not in worker.output
