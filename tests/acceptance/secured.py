"""Certificates of a CA made for the run, real servers that ask for them and for logins, and one task's life on them."""

from __future__ import annotations

import datetime as dt
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, UserScramCredentialUpsertion

from tests.acceptance.conftest import YADTQ, Start, as_environment, clean_environment
from tests.helpers import House, eventually
from yadtq.embedded import EmbeddedKafka

LOGIN = "org.apache.kafka.common.security"


class Certificates:
    """Files in PEM form, each with its key in it: a server's for localhost and a client's; and their CA's."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._ca = trustme.CA()
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))
        self.server = self.issue("server", "localhost", "127.0.0.1")
        self.client = self.issue("client", "yadtq@example.org")

    def issue(self, name: str, *identities: str, expired: bool = False) -> Path:
        """One more certificate of this CA."""
        yesterday = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
        leaf = self._ca.issue_cert(*identities, not_after=yesterday if expired else None)
        path = self._folder / f"{name}.pem"
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        path.write_bytes(pkcs8(leaf.private_key_pem.bytes()) + chain)
        return path


def pkcs8(key: bytes, password: bytes | None = None) -> bytes:
    """The form of a key that Kafka reads, and no other."""
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    private = serialization.load_pem_private_key(key, None)
    return private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)


def listener(protocol: str, certificates: Certificates, certificate: Path | None = None) -> dict[str, str]:
    """Kafka's settings for the clients' listener, as docs/security.md has them; brokers among themselves speak plainly."""
    return {
        "listener.security.protocol.map": f"CLIENT:{protocol},BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listener.name.client.ssl.keystore.type": "PEM",
        "listener.name.client.ssl.keystore.location": str(certificate or certificates.server),
        "listener.name.client.ssl.truststore.type": "PEM",
        "listener.name.client.ssl.truststore.location": str(certificates.ca),
        "ssl.allow.dn.changes": "true",  # for present() below
        "ssl.allow.san.changes": "true",
    }


def logins(**users: str) -> dict[str, str]:
    """SCRAM-SHA-512 for the users Kafka keeps, and PLAIN for these."""
    known = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    return {
        "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.client.scram-sha-512.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;",
        "listener.name.client.plain.sasl.jaas.config": f"{LOGIN}.plain.PlainLoginModule required {known};",
    }


@contextmanager
def administrator(kafka: EmbeddedKafka) -> Iterator[KafkaAdminClient]:
    """By the brokers' own listener, where everybody is a super user."""
    client = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{kafka.nodes[0].ports.broker}")
    try:
        yield client
    finally:
        client.close()


def present(kafka: EmbeddedKafka, certificate: Path) -> None:
    """Have the running Kafka show another certificate from now on."""
    with administrator(kafka) as admin:
        setting = {"listener.name.client.ssl.keystore.location": str(certificate)}
        said = admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, "1", setting)], raise_on_unknown=False)
    assert said == {"broker": {"1": "OK"}}
    chain = certificate.read_text()
    wanted = chain[chain.index("-----BEGIN CERT") :].split("-----END CERT")[0].split()
    address = ("127.0.0.1", kafka.nodes[0].port)

    def shown() -> bool:
        """By each of its network threads, which take turns."""
        answers = [ssl.get_server_certificate(address) for _ in range(6)]
        return all(answer.split("-----END CERT")[0].split() == wanted for answer in answers)

    eventually(shown)


def keep_user(kafka: EmbeddedKafka, name: str, password: str) -> None:
    """Write a SCRAM user, or its new password, into Kafka."""
    with administrator(kafka) as admin:
        admin.alter_user_scram_credentials([UserScramCredentialUpsertion(name, "SCRAM-SHA-512", password)])


def live_a_whole_life(settings: dict[str, Any]) -> None:
    """Submit, run, fail, retry and read back a task from code."""
    failed: list[Any] = []

    def add(a: Any, b: Any) -> Any:
        if b == -3 and not failed:
            failed.append(b)
            raise ValueError("not yet")
        return a + b

    with House(settings) as house:
        house.worker({"add": add})
        assert house.client.wait_for_result(house.client.submit("add", 2, 3), timeout=20).result == 5
        task_id = house.client.options(retries=0).submit("add", 2, -3)
        assert house.reaches(task_id, "failed").reason == "error"
        house.client.retry(task_id)
        assert house.client.wait_for_result(task_id, timeout=20).result == -1
        big = house.client.submit("add", "x" * 5000, "y")  # read back from Kafka by those who want its arguments
        assert house.client.wait_for_result(big, timeout=20).ok


def live_by_commands(settings: Mapping[str, Any], start: Start, project: Path) -> str:
    """The same from a shell: worker, submit, doctor, settings from the environment alone; returns what doctor said."""
    environment = as_environment(settings)
    worker = start(*YADTQ, "worker", "workercode", cwd=project, environment=environment)
    worker.says("partitions (", 30)
    done = command(project, environment, "submit", "add", "2", "3", "--wait")
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
    report = command(project, {**environment, "COLUMNS": "300"}, "doctor")
    assert report.returncode == 0, report.stdout
    assert worker.ends(timeout=30, number=15) == 0  # SIGTERM
    assert "Traceback" not in worker.output
    return report.stdout


def command(folder: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command to its end."""
    return subprocess.run(
        [*YADTQ, *arguments],
        cwd=folder,
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
