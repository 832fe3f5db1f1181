"""Many clients, workers and keepers at the same few rows at once; then what must hold is looked at, and all is drained."""

from __future__ import annotations

import itertools
import random
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.model.checks import check_bounds, check_indexes
from tests.model.profiles import race_seeds
from tests.model.world import World
from yadtq.core.yadtq_result_db import ClaimItem, NewTask
from yadtq.embedded import EmbeddedRedis

TASKS = 12
MOVES = 500  # of each thread


@pytest.fixture
def prefix() -> str:
    return f"r{uuid.uuid4().hex[:8]}:"


@pytest.fixture
def world(redis_server: EmbeddedRedis, prefix: str) -> Iterator[World]:
    made = World(redis_server.url, prefix)
    yield made
    made.wipe()
    made.close()
    made.plain.close()


def new_task(number: int) -> NewTask:
    delay = 1.0 if number % 4 == 0 else 0.0
    return NewTask(f"t{number}", "add", "default", b"envelope", "", "1", delay, 3600.0 if number % 5 == 0 else None)


def place(task_id: str, gen: int) -> tuple[int, int]:
    """Partition and offset of a record."""
    return 0, 100 * gen + int(task_id[1:])


class Kafka:
    """The newest record of each task, and older ones to come again; shared by all threads."""

    def __init__(self) -> None:
        self.records: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def add(self, *records: tuple[str, int]) -> None:
        with self._lock:
            self.records.update(records)

    def some(self, rng: random.Random, most: int) -> list[tuple[str, int]]:
        with self._lock:
            known = sorted(self.records)
        return [rng.choice(known) for _ in range(rng.randint(1, most))] if known else []


class Seen:
    """What the answers said, to be judged afterwards."""

    def __init__(self) -> None:
        self.fences: dict[str, dict[str, int]] = defaultdict(dict)  # per task, by token
        self.gens: dict[tuple[str, int], set[str]] = defaultdict(set)  # per record, the tokens it was run under
        self.lock = threading.Lock()


class Participant(threading.Thread):
    """One process that is client, worker and keeper, and now and then stays away until others call it dead."""

    def __init__(self, url: str, prefix: str, kafka: Kafka, seen: Seen, seed: int) -> None:
        super().__init__(name=f"participant-{seed}")
        self.world = World(url, prefix)
        self.kafka, self.seen, self.rng = kafka, seen, random.Random(seed)
        self.numbers = itertools.count(1)
        self.held: list[tuple[str, str]] = []
        self.lost: list[tuple[str, str]] = []  # runs that others were given, whose outcomes come all the same
        self.past: list[tuple[str, str]] = []  # runs whose outcomes were written down, and come again
        self.error: BaseException | None = None
        self._renew()

    def _renew(self) -> None:
        self.inc = f"{self.name}-{self.rng.randrange(10**9)}"
        self.lost += self.held
        self.held = []

    def run(self) -> None:
        moves = [self.submit, self.claim, self.claim, self.finish, self.finish, self.beat, self.beat, self.keep_house]
        moves += [self.acknowledge, self.report]
        people = [self.cancel, self.retry, self.delete, self.control]
        house = [self.stay_away, self.time_passes, self.release, self.audit, self.requeue, self.reject, self.rebuild]
        rare = people + house
        try:
            self.beat()
            for _ in range(MOVES):
                self.rng.choice(moves if self.rng.random() < 0.7 else rare)()
        except BaseException as error:  # noqa: BLE001 -- told by the test
            self.error = error

    def submit(self) -> None:
        first = self.rng.randrange(TASKS)
        batch = [new_task(number % TASKS) for number in range(first, first + 3)]
        self.world.enqueue(batch)
        self.kafka.add(*((task.id, 1) for task in batch if not task.delay))

    def acknowledge(self) -> None:
        """Kafka's answers, late or twice."""
        self.world.published([(task_id, gen, *place(task_id, gen)) for task_id, gen in self.kafka.some(self.rng, 3)])

    def claim(self) -> None:
        batch = [(task_id, gen, f"{self.inc}:{next(self.numbers)}") for task_id, gen in self.kafka.some(self.rng, 4)]
        items = [ClaimItem(task_id, gen, token, self.world.time_ms(), b"") for task_id, gen, token in batch]
        for _ in range(self.rng.randint(1, 2)):  # the first reply may be lost
            answers = [item.decode() for item in self.world.claim(self.inc, "worker", items).items]
            if answers == ["FENCED"]:
                self._renew()
                self.beat()
                return
        for (task_id, gen, token), answer in zip(batch, answers, strict=True):
            if answer.startswith("RUN"):
                self.held.append((task_id, token))
                with self.seen.lock:
                    self.seen.fences[task_id][token] = int(answer.split(":")[2])
                    self.seen.gens[task_id, gen].add(token)

    def finish(self) -> None:
        runs = self.rng.choice([self.held, self.held, self.held, self.lost, self.past])
        chosen = self.rng.sample(runs, min(len(runs), 2))
        kind = self.rng.choice(["success", "retry", "failed", "handback", "cancelled", "lost"])
        reason = "error" if kind == "failed" else ""
        self.world.finish(self.inc, [(task_id, token, kind, token, "", reason, 0, "") for task_id, token in chosen])
        if runs is not self.past:
            self.past += chosen
            for run in chosen:
                runs.remove(run)

    def report(self) -> None:
        runs = self.rng.choice([self.held, self.held, self.lost, self.past])
        self.world.report((task_id, token, b"told") for task_id, token in runs[-2:])

    def beat(self) -> None:
        held = [token for _, token in self.held]
        if self.world.beat(self.inc, "{}", "{}", held).items[0] == b"FENCED":
            self._renew()
            self.beat()

    def keep_house(self) -> None:
        self.world.due(5)
        items = [item.decode() for item in self.world.sweep(5).items]
        self.kafka.add(*((items[i], int(items[i + 1])) for i in range(0, len(items), 5)))
        self.world.reap(self.inc)

    def time_passes(self) -> None:
        self.world.pass_time(3_000)

    def stay_away(self) -> None:
        """Everybody else goes on while this one is silent for longer than a worker may be."""
        if self.rng.random() < 0.3:
            for _ in range(11):
                self.world.pass_time(3_000)

    def cancel(self) -> None:
        self.world.cancel(self._any_task(), self.world.time_ms())

    def retry(self) -> None:
        self.world.retry(self._any_task(), self.world.time_ms())

    def delete(self) -> None:
        """Seldom, since nothing becomes of the task any more."""
        if self.rng.random() < 0.1:
            self.world.delete_many([self._any_task()], by="ann")

    def control(self) -> None:
        self.world.control(self.inc, self.rng.choice(["pause", "resume", "detach:t1"]))

    def release(self) -> None:
        leaves = self.rng.random() < 0.5
        self.world.release(self.inc, self.held[:1], leave=leaves)
        self.lost += self.held[:1]
        self.held = self.held[1:]
        if leaves:
            self._renew()
            self.beat()

    def audit(self) -> None:
        """What it finds is published again, as if its record were gone."""
        self.world.requeue((found[0], found[1]) for found in self.world.audit(3))

    def requeue(self) -> None:
        some = self.kafka.some(self.rng, 2)
        self.world.requeue(some)

    def reject(self) -> None:
        """A record that cannot be trusted: the task's own, or another one's with its id."""
        for task_id, gen in self.kafka.some(self.rng, 1):
            self.world.reject_record(task_id, "default", *place(task_id, gen), "not signed")
        self.world.reject_envelope(self._any_task(), "default", b"forged", "not signed")

    def rebuild(self) -> None:
        """Of any record; only a row that is not there is made."""
        now = self.world.time_ms()
        self.world.rebuild([(self._any_task(), 1, "add", "default", now, "", b"envelope", "", "1")])

    def _any_task(self) -> str:
        return f"t{self.rng.randrange(TASKS)}"


def drain(world: World, kafka: Kafka) -> None:
    """One last worker sees everything to its end, as the fleet would."""
    numbers = itertools.count(1)
    for _ in range(60):
        for _ in range(5):
            world.pass_time(8_000)
            world.beat("last", "{}", "{}", [])
        world.reap("last")
        world.due(100)
        items = [item.decode() for item in world.sweep(100).items]
        kafka.add(*((items[i], int(items[i + 1])) for i in range(0, len(items), 5)))
        for task_id, gen in sorted(kafka.records):
            token = f"last:{next(numbers)}"
            item = ClaimItem(task_id, gen, token, world.time_ms(), b"")
            if world.claim("last", "worker", [item]).items[0].startswith(b"RUN"):
                world.finish("last", [(task_id, token, "success", "1", "", "", 0, "")])
        if all(row["status"] in ("success", "failed", "cancelled", "expired") for row in world.picture().rows.values()):
            return
    left = {task_id: row["status"] for task_id, row in world.picture().rows.items()}
    raise AssertionError(f"tasks that nothing moves any more: {left}")


@pytest.mark.parametrize("seed", race_seeds(3))
def test_nothing_breaks_when_all_move_at_once(
    redis_server: EmbeddedRedis, world: World, prefix: str, seed: int
) -> None:
    kafka, seen = Kafka(), Seen()
    everybody = [Participant(redis_server.url, prefix, kafka, seen, seed * 10 + n) for n in range(5)]
    for participant in everybody:
        participant.start()
    finals: dict[str, tuple[str, int]] = {}
    last_seq = 0
    while any(participant.is_alive() for participant in everybody):
        picture = world.picture()  # one script: a moment between two moves
        check_indexes(picture)
        check_bounds(picture)
        seq = int(picture.strings.get("seq", 0))
        assert seq >= last_seq
        last_seq = seq
        for task_id, row in picture.rows.items():
            if task_id in finals:
                assert (row["status"], int(row["gen"])) == finals[task_id], "a success has moved"
            elif row["status"] == "success":
                finals[task_id] = (row["status"], int(row["gen"]))
    for participant in everybody:
        participant.join()
        participant.world.close()
        participant.world.plain.close()
        if participant.error is not None:
            raise participant.error
    for task_id, fences in seen.fences.items():
        assert len(set(fences.values())) == len(fences), f"two runs of {task_id} have one fence"
    for (task_id, gen), tokens in seen.gens.items():
        assert len(tokens) == 1, f"publication {gen} of {task_id} was run twice"
    assert finals
    for task_id, row in world.picture().rows.items():
        if row["status"] == "success" and "deleted" not in row:
            assert row["result"] == row["token"], "the outcome of a run that did not hold the task was accepted"
            assert int(row["fence"]) == max(seen.fences[task_id].values()), "it was run again after its success"
    drain(world, kafka)
    picture = world.picture()
    assert set(picture.rows) == {f"t{number}" for number in range(TASKS)}
    check_indexes(picture)
    check_bounds(picture)
