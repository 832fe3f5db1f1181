"""One node of an embedded Kafka, broker and controller in one: its settings, its folder, its process."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from yadtq.embedded.folder import LOOPBACK
from yadtq.embedded.process import ServerProcess, run_briefly
from yadtq.embedded.wire import known_brokers
from yadtq.errors import EmbeddedError

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
# slf4j-simple: warnings and errors, with the time.
LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)
JVM = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Djava.awt.headless=true")
QUICK_START = "-XX:TieredStopAtLevel=1"  # compiles less: starts in two thirds of the time, slower in the long run
COMMON_SETTINGS = {
    "process.roles": "broker,controller",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "num.partitions": "12",
    "log.retention.hours": "168",
    "group.initial.rebalance.delay.ms": "0",
    # Few internal partitions and small buffers: quick starts, little memory.
    "offsets.topic.num.partitions": "12",
    "transaction.state.log.num.partitions": "3",
    "share.coordinator.state.topic.num.partitions": "3",
    "log.cleaner.dedupe.buffer.size": "16777216",
}


@dataclass(frozen=True)
class Ports:
    """Where one node listens."""

    client: int  # for everyone else
    broker: int  # for the other brokers, so that a proxy before ``client`` cuts clients alone
    controller: int  # for the metadata quorum


@dataclass(frozen=True)
class Runtime:
    """How and where Kafka's classes are run."""

    java: Path
    jars: Sequence[Path]
    folder: Path  # the cluster's data folder, and
    lock: int  # the descriptor that holds it

    def command(self, *flags_and_class: str) -> list[str]:
        return [str(self.java), *JVM, *LOGGING, "-cp", ":".join(map(str, self.jars)), *flags_and_class]


class KafkaNode:
    """One broker, which fault tests kill and start again; its number counts from 1."""

    def __init__(self, number: int, ports: Ports, runtime: Runtime, *, advertised: int, quick: bool = False) -> None:
        self.number = number
        self.ports = ports
        self.port = ports.client
        self.address = f"{LOOPBACK}:{advertised}"  # what clients are told; a proxy's, if there is one
        self._runtime = runtime
        self._home = runtime.folder / f"node-{number}"
        self._properties = self._home.with_suffix(".properties")
        command = runtime.command(*[QUICK_START] * quick, "kafka.Kafka", self._properties.name)
        self._server = ServerProcess(f"kafka-{number}", command, folder=runtime.folder, hold=[runtime.lock])

    @property
    def pid(self) -> int | None:
        return self._server.pid

    def configure(self, quorum: str, settings: Mapping[str, str]) -> None:
        """Write the properties file; paths in it are relative, so the data folder may be moved."""
        ours = {
            **COMMON_SETTINGS,
            "node.id": str(self.number),
            "log.dirs": self._home.name,
            "controller.quorum.voters": quorum,
            "listeners": f"CLIENT://{LOOPBACK}:{self.ports.client},BROKER://{LOOPBACK}:{self.ports.broker},"
            f"CONTROLLER://{LOOPBACK}:{self.ports.controller}",
            "advertised.listeners": f"CLIENT://{self.address},BROKER://{LOOPBACK}:{self.ports.broker}",
        }
        lines = [f"{name}={value}" for name, value in {**ours, **settings}.items()]
        self._properties.write_text("\n".join(lines) + "\n")

    def format(self, cluster_id: str) -> None:
        """Give the node's folder its identity, once; a format that was cut short is done again."""
        if stored_cluster_id(self._home):
            return
        if any(log.stat().st_size for log in self._home.glob("*/*.log")):
            raise EmbeddedError(
                f"{self._home} holds Kafka's data but its meta.properties is missing or damaged: "
                "put it back, or move the folder away to start empty."
            )
        if self._home.exists():
            shutil.rmtree(self._home)
        tool = (
            QUICK_START,
            "kafka.tools.StorageTool",
            "format",
            "-t",
            cluster_id,
            "-c",
            self._properties.name,
        )
        run_briefly(f"Formatting {self._home}", self._runtime.command(*tool), folder=self._runtime.folder)

    def start(self) -> None:
        """Start the node and return once clients are served."""
        self.launch()
        self.wait_until_it_knows({self.number})

    def launch(self) -> None:
        self._server.start()

    def wait_until_it_knows(self, brokers: set[int]) -> None:
        # Not the clients' port, which ``settings`` may give TLS or a login.
        self._server.wait_until(lambda: brokers <= known_brokers(self.ports.broker), READY_SECONDS)

    def ask_to_stop(self) -> None:
        self._server.ask_to_stop()

    def stop(self, grace: float = STOP_SECONDS) -> None:
        """Stop cleanly; a node that cannot, with the others gone, is killed and recovers when started."""
        self._server.stop(grace)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._server.kill()


def stored_cluster_id(home: Path) -> str | None:
    """The cluster that a node's folder belongs to; None before its format is complete."""
    try:  # Kafka writes this file last and at once
        lines = (home / "meta.properties").read_text().splitlines()
    except FileNotFoundError:
        return None
    pairs = dict(line.split("=", 1) for line in lines if "=" in line)
    return pairs.get("cluster.id") if "node.id" in pairs else None
