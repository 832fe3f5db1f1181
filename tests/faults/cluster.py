"""The servers of the fault tests: three Kafka nodes and a Redis with a replica, each behind a proxy."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import redis
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.faults.children import children_of
from tests.faults.proxy import PASS, Proxy, Switchboard, Weather
from tests.helpers import eventually
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

NODES = 3
# A dead node is missed after 3 s instead of 9, which leaves more of a test for what comes after.
QUICK_FENCING = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}
# With these Redis syncs nothing while a child of its own saves, and the child takes ten minutes for each key (µs).
NO_SYNC = {"no-appendfsync-on-rewrite": "yes", "rdb-key-save-delay": 600_000_000}


def past_the_proxies(kafka: EmbeddedKafka) -> list[str]:
    """The nodes' own addresses, by which they reach each other: no test breaks these links."""
    return [f"127.0.0.1:{node.ports.broker}" for node in kafka.nodes]


class KafkaCluster:
    """Three nodes with three copies of everything, two in sync; clients reach them through the proxies alone."""

    def __init__(self, folder: Path, switchboard: Switchboard) -> None:
        self.links: list[Proxy] = [switchboard.proxy() for _ in range(NODES)]
        self.server = EmbeddedKafka(
            folder,
            nodes=NODES,
            ports=[0] * NODES,
            advertised_ports=[link.port for link in self.links],
            settings=QUICK_FENCING,
            on_progress=print,
        )

    def start(self) -> KafkaCluster:
        """Start the nodes, or those of them that were killed."""
        self.server.start()
        for link, node in zip(self.links, self.server.nodes, strict=True):
            link.target = node.ports.client
        return self

    def wait_until_in_sync(self) -> None:
        """A node that is up and behind is as good as down: the next one's death would be the second."""
        eventually(self._in_sync, 60, every=0.1)

    def stop(self) -> None:
        self.server.stop()

    def set(self, weather: Weather) -> None:
        """One weather for all links."""
        for link in self.links:
            link.set(weather)

    def mend(self) -> None:
        """Everything up and every link clear, for the next test."""
        self.set(PASS)
        self.start()
        self.wait_until_in_sync()

    def controller(self) -> int:
        """The index of the node that leads the controllers just now."""
        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            (topic,) = admin.describe_metadata_quorum()["topics"]
            return int(topic["partitions"][0]["leader_id"]) - 1
        finally:
            admin.close()

    @property
    def bootstrap(self) -> list[str]:
        return self.server.bootstrap_servers

    def _in_sync(self) -> bool:
        admin = KafkaAdminClient(bootstrap_servers=past_the_proxies(self.server))
        try:
            parts = [part for topic in admin.describe_topics() for part in topic["partitions"]]
        except KafkaError:  # it has only just come back
            return False
        finally:
            admin.close()
        return all(len(part["isr_nodes"]) == len(part["replica_nodes"]) for part in parts)


class RedisPair:
    """A Redis with an append-only file, its replica, and the one address by which all know the primary."""

    def __init__(self, folder: Path, switchboard: Switchboard) -> None:
        self.primary = EmbeddedRedis(folder / "primary", port=0)
        self._replica_folder = folder / "replica"
        self.replica: EmbeddedRedis | None = None
        self.workers_link = switchboard.proxy()
        self.clients_link = switchboard.proxy()
        self.now = self.primary  # the one behind the address
        self._synced: int | None = None  # bytes of the append-only file that are on the disk; None: all of them

    @property
    def workers_url(self) -> str:
        return f"redis://127.0.0.1:{self.workers_link.port}/0"

    @property
    def clients_url(self) -> str:
        return f"redis://127.0.0.1:{self.clients_link.port}/0"

    def start(self) -> RedisPair:
        self.primary.start()
        self._point_to(self.primary)
        return self

    def stop_syncing(self) -> float:
        """From now on nothing reaches the disk: what is written, :meth:`crash` loses. Returns since when that is."""
        with self.connection() as redis:
            for name, value in NO_SYNC.items():
                redis.config_set(name, value)
            redis.bgsave()
            # While one is under way, what Redis has answered may still wait to be written.
            eventually(lambda: not redis.info("persistence")["aof_pending_bio_fsync"])
            eventually(lambda: not redis.info("persistence")["aof_buffer_length"])
            assert redis.info("persistence")["rdb_bgsave_in_progress"]
        now = time.time()  # before the size: what was promised earlier is in it
        self._synced = self._log().stat().st_size
        return now

    def crash(self) -> None:
        """SIGKILL; what Redis wrote is kept, but for what came after :meth:`stop_syncing`."""
        saving = children_of(self.primary.pid) if self._synced is not None else []
        self.primary.kill()
        for child in saving:
            os.kill(child, signal.SIGKILL)
        if self._synced is not None:
            os.truncate(self._log(), self._synced)
        self._synced = None

    def start_replica(self) -> None:
        """Start the replica and return once it has everything."""
        settings = {"replicaof": f"127.0.0.1 {self.primary.port}"}
        self.replica = EmbeddedRedis(self._replica_folder, port=0, settings=settings).start()
        with _connection(self.replica) as replica:
            eventually(lambda: replica.info("replication")["master_link_status"] == "up", 20)

    def stop_replication(self) -> None:
        """The replica hears no more of the primary: what is written from now on, a failover loses."""
        assert self.replica is not None
        with _connection(self.replica) as replica:
            replica.replicaof("127.0.0.1", "1")

    def fail_over(self) -> None:
        """Kill the primary; its address is the replica's from now on."""
        assert self.replica is not None
        self.primary.kill()
        with _connection(self.replica) as replica:
            replica.replicaof("NO", "ONE")
        self._point_to(self.replica)

    def connection(self) -> redis.Redis:
        """A connection to the server behind the address, past the proxies."""
        return _connection(self.now)

    def stop(self) -> None:
        self.primary.stop()
        if self.replica is not None:
            self.replica.stop()

    def _log(self) -> Path:
        """The file to which Redis appends just now."""
        return max(self.primary.data_dir.glob("appendonlydir/*.incr.aof"))

    def _point_to(self, server: EmbeddedRedis) -> None:
        self.now = server
        for link in (self.workers_link, self.clients_link):
            link.target = server.port
            link.cut()


def _connection(server: EmbeddedRedis) -> redis.Redis:
    return redis.Redis.from_url(server.url, decode_responses=True)


class Cluster:
    """A Kafka for the whole run, and what it takes to put a Redis beside it for each test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._count = 0

    def __enter__(self) -> Cluster:
        self.switchboard = self._stack.enter_context(Switchboard())
        self.kafka = KafkaCluster(self._folder / "kafka", self.switchboard)
        self._stack.callback(self.kafka.stop)
        self.kafka.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def new_redis(self, seed: int) -> RedisPair:
        """A Redis of its own for one test, which stops it; by the seed all links begin their chances anew."""
        self._count += 1
        pair = RedisPair(self._folder / f"redis-{self._count}", self.switchboard)
        for number, link in enumerate([pair.workers_link, pair.clients_link, *self.kafka.links]):
            link.reseed(seed + number)
        return pair.start()
