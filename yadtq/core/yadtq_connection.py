"""How a process reaches Kafka: address, login and TLS from the settings, and each error of kafka-python as one of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kafka import KafkaAdminClient
from kafka.errors import KafkaError
from kafka.net.sasl import get_sasl_mechanism

from yadtq.config import Settings
from yadtq.core.yadtq_knock import Refused, knock
from yadtq.core.yadtq_tls import tls_context
from yadtq.core.yadtq_trouble import kafka_unavailable
from yadtq.errors import BrokerUnavailable

T = TypeVar("T")


class Connection:
    """What every client of kafka-python is made with."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._tls = tls_context(settings, "kafka") if settings.kafka_tls else None

    def _probe(self) -> None:
        """Fail fast and say why: each failed client of kafka-python leaves its thread and sockets behind, and no reason."""
        for number, server in enumerate(self.settings.kafka_servers, 1):
            host, _, port = server.rpartition(":")
            login = self._login()
            mechanism = get_sasl_mechanism(login["sasl_mechanism"])(**login) if login else None
            try:
                knock(host.strip("[]"), int(port), self._tls, self.settings.kafka_sasl_mechanism, mechanism)
                return
            except (OSError, Refused) as error:
                if number == len(self.settings.kafka_servers):
                    raise self.unavailable(error) from error

    def _login(self) -> dict[str, Any]:
        settings = self.settings
        if settings.kafka_sasl_mechanism is None:
            return {}
        return {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_username,
            "sasl_plain_password": settings.kafka_password,
        }

    def _connection(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": list(self.settings.kafka_servers),
            "security_protocol": self.settings.kafka_security_protocol,
            "ssl_context": self._tls,
            **self._login(),
            "reconnect_backoff_ms": 50,
            "reconnect_backoff_max_ms": 1000,
            "request_timeout_ms": 10_000,
            "bootstrap_timeout_ms": 3000,  # the default of 30 s leaves people waiting for the sentence
        }

    def _guard(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except (KafkaError, OSError) as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: BaseException) -> BrokerUnavailable:
        """An error of kafka-python as ours, in one sentence."""
        return kafka_unavailable(error, self.settings)

    def _admin(self) -> KafkaAdminClient:
        self._probe()
        return KafkaAdminClient(**self._connection())

    def _with_admin(self, call: Callable[[KafkaAdminClient], T]) -> T:
        def run() -> T:
            admin = self._admin()
            try:
                return call(admin)
            finally:
                admin.close()

        return self._guard(run)
