"""Each mistake with the servers, played on real ones: `yadtq doctor` and a worker's log name it and its remedy, the log once."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import redis
from click.testing import CliRunner
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from tests.helpers import House, eventually, new_settings
from yadtq.cli import main
from yadtq.core import yadtq_result_db
from yadtq.core.yadtq_broker import Broker
from yadtq.core.yadtq_checks import Check, Level
from yadtq.core.yadtq_outage import OutageLog
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

pytestmark = pytest.mark.timeout(120)

NOBODY = "127.0.0.1:9"  # a closed port


class Scene:
    """Servers with which something is wrong, a worker that finds out, and the ears of its owner."""

    def __init__(self, house: House, patch: pytest.MonkeyPatch, log: pytest.LogCaptureFixture) -> None:
        self.house = house
        self.patch = patch
        self.undo = ExitStack()
        self.turns = 0  # so often a worker had occasion to tell of what is wrong
        self._log = log
        log.set_level(logging.INFO, logger="yadtq")
        for owner, name in ((OutageLog, "down"), (Broker, "ping")):
            patch.setattr(owner, name, self._counted(getattr(owner, name)))

    def _counted(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            real(*args)
            self.turns += 1

        return call

    def with_settings(self, **others: Any) -> None:
        self.house = self.house.beside(**others)

    def redis_set(self, name: str, value: str) -> None:
        """Until the end of the scene."""
        plain = self.house.redis
        self.undo.callback(plain.config_set, name, plain.config_get(name)[name])
        plain.config_set(name, value)

    def worker(self, *, ready: float = 0.0) -> None:
        """One more, which has begun to work, or to try again."""
        seen = self.turns
        self.house.worker({"add": int}, ready=ready)
        eventually(lambda: self.turns > seen, 30)

    def take_turns(self) -> None:
        seen = self.turns
        eventually(lambda: self.turns >= seen + 4, 30)

    def warnings(self) -> list[str]:
        ours = [record for record in self._log.records if record.name.startswith("yadtq.")]
        return [one.getMessage() for one in ours if one.levelno >= logging.WARNING]

    def doctor(self) -> list[str]:
        """Its sentences about what is not as it should be."""
        settings = self.house.settings
        arguments = ["--redis", settings["redis_url"], "--kafka", settings["kafka_servers"][0]]
        env = {"YADTQ_TOPIC": settings["topic"], "YADTQ_REDIS_PREFIX": settings["redis_prefix"]}
        done = CliRunner().invoke(main, ["doctor", "--json", *arguments], env=env)
        checks = [Check(**{**one, "level": Level(one["level"])}) for one in json.loads(done.stdout)["checks"]]
        assert done.exit_code == any(check.level is Level.FAIL for check in checks)
        return [check.sentence for check in checks if check.level is not Level.OK]


@pytest.fixture
def scene(
    kafka: EmbeddedKafka,
    own_redis: EmbeddedRedis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Scene]:
    with House(new_settings(kafka, own_redis, time_scale=0.1, partitions=1)) as house:
        made = Scene(house, monkeypatch, caplog)
        with made.undo:
            yield made
            house.dismiss()


# -- the mistakes ----------------------------------------------------------------------------------------


def redis_address(scene: Scene) -> None:
    scene.with_settings(redis_url=f"redis://{NOBODY}/0")
    scene.worker()


def redis_password(scene: Scene) -> None:
    scene.redis_set("requirepass", "right")
    scene.with_settings(redis_url=scene.house.settings["redis_url"].replace("//", "//:wrong@"))
    scene.worker()


def redis_version(scene: Scene) -> None:
    """None so old can be run here: this is the word of one that has not seen a script of ours."""
    real = redis.Redis.info

    def info(client: Any, *sections: str) -> dict[str, Any]:
        return {**real(client, *sections), "redis_version": "6.0.16"}

    scene.house.redis.script_flush()
    scene.patch.setattr(redis.Redis, "info", info)
    scene.worker()


def redis_eviction(scene: Scene) -> None:
    scene.redis_set("maxmemory", "100mb")
    scene.redis_set("maxmemory-policy", "allkeys-lru")
    scene.worker()


def redis_disk(scene: Scene) -> None:
    scene.redis_set("appendonly", "no")
    scene.worker()


def clock(scene: Scene) -> None:
    """Of this machine."""
    late = SimpleNamespace(time=lambda: time.time() - 9000, monotonic=time.monotonic, sleep=time.sleep)
    scene.patch.setattr(yadtq_result_db, "time", late)
    scene.worker()


def kafka_address(scene: Scene) -> None:
    scene.with_settings(kafka_servers=[NOBODY])
    scene.worker()


def topic(scene: Scene) -> None:
    """Somebody deletes it, and Kafka refuses to make another one."""
    scene.with_settings(replication_factor=3)
    admin, name = (
        KafkaAdminClient(bootstrap_servers=scene.house.settings["kafka_servers"]),
        scene.house.settings["topic"],
    )
    scene.undo.callback(admin.close)
    admin.create_topics([NewTopic(name, 1, 1)])
    scene.worker(ready=20)
    admin.delete_topics([name])


def partitions(scene: Scene) -> None:
    scene.worker(ready=20)
    scene.worker()


class Told(NamedTuple):
    """Patterns: the fault, and behind it the remedy."""

    doctor: str
    log: str


def both(pattern: str) -> Told:
    return Told(pattern, pattern)


MISTAKES: dict[Callable[[Scene], None], Told] = {
    redis_address: both("Redis at 127.0.0.1:9 cannot be reached; start Redis there or set YADTQ_REDIS_URL"),
    redis_password: both("Redis at .* refused the user name or password; check redis_url, or redis_username"),
    redis_version: Told(
        "^Redis: version 6.0.16 is too old; use Redis 6.2 or newer",
        "Redis at .* is version 6.0.16; YADTQ needs 6.2 or newer, please upgrade it",
    ),
    redis_eviction: both("^Redis memory: .*, policy allkeys-lru; set maxmemory-policy noeviction"),
    redis_disk: both("^Redis on disk: append-only file is off; set appendonly yes"),
    clock: both("^clocks: Redis and this machine are 2.5 hours apart; synchronise both clocks with NTP"),
    kafka_address: both("Kafka at 127.0.0.1:9 cannot be reached; start Kafka there or set YADTQ_KAFKA_SERVERS"),
    topic: Told(
        "^topics: .* is missing, .*; see the workers' log .* or make it: kafka-topics.sh --create",
        "^topics: .* is missing and cannot be made anew: .* start more, or lower YADTQ_REPLICATION_FACTOR",
    ),
    partitions: both(
        "^topics: .* has 1 partitions for 2 worker processes: 1 of them get no .*; .* kafka-topics.sh --alter"
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_doctor_and_a_workers_log_name_the_mistake_and_its_remedy(
    mistake: Callable[[Scene], None], scene: Scene
) -> None:
    told = MISTAKES[mistake]
    mistake(scene)
    eventually(scene.warnings, 30)
    found = scene.doctor()
    scene.take_turns()
    assert [line for line in found if re.search(told.doctor, line)], found
    (line,) = scene.warnings()
    assert re.search(told.log, line), line


# -- a topic that was deleted ----------------------------------------------------------------------------


def delete_topic(scene: Scene, queue: str = "default") -> None:
    admin = KafkaAdminClient(bootstrap_servers=scene.house.settings["kafka_servers"])
    admin.delete_topics([scene.house.broker.topic_of(queue)])
    admin.close()


def add_is_run(scene: Scene) -> None:
    """Before an audit, which looks at what has been queued for 30 s, could mend anything."""
    task_id = scene.house.client.submit("add", 7)
    assert scene.house.client.wait_for_result(task_id, timeout=25).result == 7


def test_a_topic_deleted_under_a_worker_is_made_anew_with_one_line_and_tasks_go_on(scene: Scene) -> None:
    scene.worker(ready=20)
    add_is_run(scene)
    scene.take_turns()
    delete_topic(scene)
    (line,) = eventually(scene.warnings, 30)
    assert re.search("^topics: .* was missing and is made anew with 1 partitions; let nobody delete it", line)
    add_is_run(scene)  # at once: no offset of the old topic stands for the new one
    scene.take_turns()
    assert scene.warnings() == [line]


def test_a_topic_that_a_person_deletes_and_makes_again_is_read_from_its_beginning(scene: Scene) -> None:
    scene.worker(ready=20)
    add_is_run(scene)
    eventually(lambda: scene.house.lag() == 0)  # a commit that came later would be taken for one of the new topic
    scene.take_turns()
    delete_topic(scene)
    scene.house.broker.make_topics([scene.house.settings["topic"]])  # the one line is this maker's
    add_is_run(scene)
    scene.take_turns()
    (line,) = scene.warnings()
    assert "is made anew" in line


def test_a_topic_deleted_while_no_worker_was_there_is_told_of_by_the_next_one(scene: Scene) -> None:
    scene.worker(ready=20)
    add_is_run(scene)
    scene.house.dismiss()
    eventually(lambda: not any(one.online for one in scene.house.views.workers()))
    delete_topic(scene)
    scene.with_settings()  # another process: it knows of nothing
    scene.worker(ready=20)
    add_is_run(scene)
    (line,) = scene.warnings()
    assert re.search("^topics: .* was missing and is made anew", line)


def test_a_client_whose_topic_was_deleted_says_so_and_blames_no_address(scene: Scene) -> None:
    scene.house.broker.make_topics([scene.house.broker.topic_of("media")])
    delete_topic(scene, "media")
    scene.house.client.options(queue="media").submit("add", 7)
    (line,) = eventually(scene.warnings, 30)
    assert "does not have the topic (any more); it is made anew" in line


def test_topics_that_are_used_for_the_first_time_are_made_without_a_word(scene: Scene) -> None:
    add = scene.house.client.submit("add", 7)
    scene.with_settings(queues=["default", "media"])
    scene.worker(ready=20)
    assert scene.house.client.wait_for_result(add, timeout=20).ok
    scene.take_turns()
    assert (scene.warnings(), scene.doctor()) == ([], [])
