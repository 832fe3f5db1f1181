"""The harms a nemesis may do to a trial; each is over, and said in one sentence, when it returns."""

from __future__ import annotations

import signal
from random import Random

from tests.faults.nemesis import Nemesis
from tests.faults.proxy import BLACKHOLE, HALF_OPEN, PASS, REFUSE, Weather
from tests.faults.trial import Trial

WEATHERS = {
    "refused": REFUSE,
    "blackholed": BLACKHOLE,
    "half open": HALF_OPEN,
    "slow, narrow and flaky": Weather(delay=0.2, jitter=0.1, resets=0.01, rate=256_000),
}


class Harms:
    """Servers and workers of one trial, and for how many seconds each is away."""

    def __init__(self, trial: Trial, nemesis: Nemesis, away: float) -> None:
        self._trial = trial
        self._nemesis = nemesis
        self._away = away

    def kill_a_node(self, random: Random) -> str:
        """SIGKILL one Kafka node and start it again."""
        return self._kill_node(random.randrange(len(self._trial.cluster.kafka.server.nodes)), "Kafka node")

    def kill_the_controller(self, random: Random) -> str:
        """The same with the node that leads the controllers."""
        return self._kill_node(self._trial.cluster.kafka.controller(), "the controllers' leader, node")

    def kill_two_nodes(self, random: Random) -> str:
        """SIGKILL two of the three at once, so that nothing can be written, and start them again."""
        nodes = self._trial.cluster.kafka.server.nodes
        victims = random.sample(nodes, len(nodes) - 1)
        for node in victims:
            node.kill()
        self._wait_and_start_kafka()
        return f"kill -9 of Kafka nodes {[node.number for node in victims]}, back after {self._away:g} s"

    def crash_redis(self, random: Random) -> str:
        """SIGKILL Redis and start it again; the kernel still writes what Redis wrote."""
        self._trial.redis.crash()
        self._nemesis.pause(self._away)
        self._trial.redis.primary.start()
        return f"kill -9 of Redis, back after {self._away:g} s"

    def break_a_kafka_link(self, random: Random) -> str:
        link = random.randrange(len(self._trial.cluster.kafka.links))
        what = random.choice(list(WEATHERS))
        self._trial.cluster.kafka.links[link].set(WEATHERS[what])
        self._nemesis.pause(self._away)
        self._trial.cluster.kafka.links[link].set(PASS)
        return f"the link to Kafka node {link + 1} {what} for {self._away:g} s"

    def break_the_redis_link(self, random: Random) -> str:
        """The workers' one."""
        what = random.choice(list(WEATHERS))
        self._trial.redis.workers_link.set(WEATHERS[what])
        self._nemesis.pause(self._away)
        self._trial.redis.workers_link.set(PASS)
        return f"the workers' link to Redis {what} for {self._away:g} s"

    def freeze_a_worker(self, random: Random) -> str:
        """SIGSTOP and SIGCONT."""
        victim = random.choice(self._trial.crew.running)
        victim.signal(signal.SIGSTOP)
        self._nemesis.pause(self._away)
        victim.signal(signal.SIGCONT)
        return f"worker {victim.name} stopped for {self._away:g} s"

    def terminate_a_worker(self, random: Random) -> str:
        """SIGTERM, with a new one started before."""
        victim = random.choice(self._trial.crew.running)
        self._trial.crew.start()
        victim.signal(signal.SIGTERM)
        code = victim.wait(self._trial.settings["grace"] + 30)
        assert code == 0, f"worker {victim.name} ended with {code}"
        return f"SIGTERM to worker {victim.name}"

    def _kill_node(self, index: int, what: str) -> str:
        self._trial.cluster.kafka.server.nodes[index].kill()
        self._wait_and_start_kafka()
        self._trial.cluster.kafka.wait_until_in_sync()
        return f"kill -9 of {what} {index + 1}, back after {self._away:g} s"

    def _wait_and_start_kafka(self) -> None:
        self._nemesis.pause(self._away)
        self._trial.cluster.kafka.start()
