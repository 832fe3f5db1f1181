"""A real Apache Kafka on this machine, one node or several, with its data kept in a folder."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from yadtq.embedded.folder import LOOPBACK, FolderLock, choose_port, read_memory, wishes_for, write_memory
from yadtq.embedded.java import find_java, kafka_jars
from yadtq.embedded.node import STOP_SECONDS, KafkaNode, Ports, Runtime, stored_cluster_id
from yadtq.errors import EmbeddedError

DEFAULT_PORT = 9092


class EmbeddedKafka:
    """A Kafka cluster that keeps ``data_dir`` between runs and dies with this process.

    ``ports`` gives each node's client port, used if it is free; None takes the last run's ports or those from
    9092 on, and 0 any free one. ``advertised_ports`` are what clients are told, for a proxy before the nodes.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        nodes: int = 1,
        ports: Sequence[int] | None = None,
        advertised_ports: Sequence[int] | None = None,
        on_progress: Callable[[str], None] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.nodes: list[KafkaNode] = []  # filled by start()
        self._count = nodes
        self._asked_ports: list[int | None] = [*ports] if ports else [None] * nodes
        self._advertised_ports = advertised_ports
        self._on_progress = on_progress or (lambda _: None)
        self._settings = {**_settings_for(nodes), **(settings or {})}
        self._lock = FolderLock(self.data_dir)
        for given in (self._asked_ports, advertised_ports):
            if given is not None and len(given) != nodes:
                raise EmbeddedError(f"{nodes} Kafka nodes need {nodes} ports, not {len(given)}.")

    @property
    def bootstrap_servers(self) -> list[str]:
        """Where clients connect, as "127.0.0.1:port"."""
        return [node.address for node in self.nodes]

    def start(self) -> EmbeddedKafka:
        """Return once every node serves and knows the others; called again, it starts the killed ones."""
        try:
            if not self.nodes:
                self.nodes = self._prepare()
            for node in self.nodes:
                node.launch()
            everyone = {node.number for node in self.nodes}
            for node in self.nodes:
                node.wait_until_it_knows(everyone)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop cleanly, all nodes at once, and let go of the folder."""
        for node in self.nodes:
            node.ask_to_stop()
        for node in self.nodes:
            # The last of several waits for a successor that cannot come; its data is long safe by then.
            node.stop(grace=3.0 if self._count > 1 else STOP_SECONDS)
        self.nodes = []
        self._lock.release()

    def __enter__(self) -> EmbeddedKafka:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> list[KafkaNode]:
        """Settle what the nodes run on, their ports and identity, and have every folder formatted."""
        java, jars = find_java(), kafka_jars(self._on_progress)
        runtime = Runtime(java, jars, self.data_dir, self._lock.acquire())
        memory = self._settle()
        nodes = []
        for number, ports in enumerate(memory["ports"], start=1):
            advertised = self._advertised_ports[number - 1] if self._advertised_ports else ports["client"]
            quick = self._count > 1  # several nodes are for fault tests, which start them often
            nodes.append(KafkaNode(number, Ports(**ports), runtime, advertised=advertised, quick=quick))
        quorum = ",".join(f"{node.number}@{LOOPBACK}:{node.ports.controller}" for node in nodes)
        for node in nodes:
            node.configure(quorum, self._settings)
        with ThreadPoolExecutor(self._count) as pool:
            list(pool.map(lambda node: node.format(memory["cluster_id"]), nodes))
        return nodes

    def _settle(self) -> dict[str, Any]:
        """The cluster's identity and ports, the last run's where they still serve; written down at once."""
        path = self.data_dir / "cluster.json"
        memory = read_memory(path)
        before = memory.get("ports", [])
        if before and len(before) != self._count:
            raise EmbeddedError(
                f"{self.data_dir} was made for {len(before)} Kafka nodes, not {self._count}: choose another folder."
            )
        identity = memory.get("cluster_id") or stored_cluster_id(self.data_dir / "node-1") or _new_id()
        taken: set[int] = set()
        ports = []
        for index, asked in enumerate(self._asked_ports):
            last = before[index] if before else {}
            wishes = wishes_for(asked, last.get("client", 0), DEFAULT_PORT + index)
            ports.append(
                {
                    "client": choose_port(wishes, taken),
                    "broker": choose_port([last.get("broker", 0)], taken),
                    "controller": choose_port([last.get("controller", 0)], taken),
                }
            )
        memory = {"cluster_id": identity, "ports": ports}
        write_memory(path, memory)
        return memory


def _settings_for(nodes: int) -> dict[str, str]:
    """Three copies with two in sync where there are three nodes; below that, a copy on each."""
    copies, in_sync = str(min(nodes, 3)), "2" if nodes >= 3 else "1"
    # After a crash a broker is let in again once its old session has ended: no 9 s of that for a lone one.
    session = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"} if nodes == 1 else {}
    return {
        **session,
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


def _new_id() -> str:
    """A random id in Kafka's own form: 16 bytes, base64 without padding, and never with a leading dash."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()).startswith("-"):
        pass
    return text
