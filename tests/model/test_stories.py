"""Single stories of moves that deserve to be read, and those that the random machine does not tell."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest

from tests.model.checks import check_bounds, check_indexes
from tests.model.world import World
from yadtq import ConfigError
from yadtq.core.yadtq_result_db import ClaimItem, NewTask
from yadtq.embedded import EmbeddedRedis


@pytest.fixture
def world(redis_server: EmbeddedRedis) -> Iterator[World]:
    made = World(redis_server.url, f"s{uuid.uuid4().hex[:8]}:")
    yield made
    made.wipe()
    made.close()
    made.plain.close()


def submit(world: World, *ids: str) -> None:
    world.enqueue([NewTask(task_id, "add", "default", b"envelope", "", "1") for task_id in ids])


def claim(world: World, inc: str, *runs: tuple[str, int, str]) -> list[str]:
    items = [ClaimItem(task_id, gen, token, world.time_ms(), b"") for task_id, gen, token in runs]
    return [item.decode().partition(":")[0] for item in world.claim(inc, "worker", items).items]


def beat(world: World, inc: str, *held: str) -> None:
    world.beat(inc, "{}", "{}", held, world.era)


def outlive(world: World, inc: str) -> list[str]:
    """Time passes in which only this worker beats; then it reaps."""
    for _ in range(5):
        world.pass_time(8_000)
        beat(world, inc)
    return world.reap(inc)


def test_a_task_that_kills_three_workers_is_failed_and_the_one_beside_it_is_not(world: World) -> None:
    submit(world, "poison", "innocent")
    for death in range(1, 4):
        victim = f"victim{death}"
        beat(world, victim)
        answers = claim(world, victim, ("poison", death, f"{victim}:1"), ("innocent", death, f"{victim}:2"))
        assert answers == (["RUN", "RUN"] if death < 3 else ["RUN", "WAIT"])  # suspects run alone
        beat(world, "keeper")
        assert outlive(world, "keeper") == [victim]
    rows = world.picture().rows
    assert (rows["poison"]["status"], rows["poison"]["reason"]) == ("failed", "worker_lost")
    assert (rows["innocent"]["status"], rows["innocent"]["lost"]) == ("queued", "2")


def make_suspect(world: World) -> None:
    submit(world, "suspect")
    for death in (1, 2):
        beat(world, f"victim{death}")
        assert claim(world, f"victim{death}", ("suspect", death, f"victim{death}:1")) == ["RUN"]
        beat(world, "keeper")
        outlive(world, "keeper")


def test_a_suspect_runs_alone(world: World) -> None:
    make_suspect(world)
    submit(world, "a", "b")
    beat(world, "w")
    assert claim(world, "w", ("a", 1, "w:1"), ("suspect", 3, "w:2")) == ["RUN", "ALONE"]
    world.finish("w", [("a", "w:1", "success", "1", "", "", 0, "")])
    assert claim(world, "w", ("suspect", 3, "w:3"), ("b", 1, "w:4")) == ["RUN", "WAIT"]
    item = ClaimItem("suspect", 3, "w:3", world.time_ms(), b"")
    assert world.claim("w", "w", [item]).items[0].endswith(b":ALONE")  # also where the answer was lost
    assert claim(world, "w", ("b", 1, "w:5")) == ["WAIT"]
    world.finish("w", [("suspect", "w:3", "success", "1", "", "", 0, "")])
    assert claim(world, "w", ("b", 1, "w:6")) == ["RUN"]


@pytest.mark.parametrize("how", ["beat", "release"])
def test_a_worker_whose_suspect_was_given_back_goes_on(world: World, how: str) -> None:
    make_suspect(world)
    submit(world, "b")
    beat(world, "w")
    assert claim(world, "w", ("suspect", 3, "w:1")) == ["RUN"]
    if how == "beat":
        for _ in range(2):
            world.pass_time(8_000)
            beat(world, "w")  # it knows nothing of the run
    else:
        world.release("w", [("suspect", "w:1")], leave=False)
    assert world.picture().rows["suspect"]["status"] == "queued"
    assert claim(world, "w", ("b", 1, "w:2")) == ["RUN"]


def test_what_a_leaving_worker_still_holds_goes_back_at_once(world: World) -> None:
    submit(world, "a", "b")
    beat(world, "w")
    assert claim(world, "w", ("a", 1, "w:1"), ("b", 1, "w:2")) == ["RUN", "RUN"]
    world.release("w", [("a", "w:1")], leave=True)
    rows = world.picture().rows
    assert {(row["status"], row["gen"], row["attempt"]) for row in rows.values()} == {("queued", "2", "0")}


def test_the_history_of_a_task_that_was_handed_back_ends_with_it(world: World) -> None:
    submit(world, "a")
    beat(world, "w")
    claim(world, "w", ("a", 1, "w:1"))
    world.finish("w", [("a", "w:1", "handback", "unknown", "", "unknown_task", 0, '{"attempt":1}')])
    world.pass_time(1_500)
    assert world.due(10) == 1
    claim(world, "w", ("a", 2, "w:2"))
    world.finish("w", [("a", "w:2", "success", "1", "", "", 0, "")])
    picture = world.picture()
    assert len(picture.lists["history:a"]) == 1
    check_bounds(picture)


def test_after_six_hand_backs_a_task_is_unknown(world: World) -> None:
    submit(world, "a")
    for gen in range(1, 8):
        beat(world, "w")
        assert claim(world, "w", ("a", gen, f"w:{gen}")) == ["RUN"]
        world.finish("w", [("a", f"w:{gen}", "handback", "no", "", "unknown_task", 0, "")])
        row = world.picture().rows["a"]
        if gen < 7:
            assert int(row["due"]) - world.reply.now == 1000 * 2 ** (gen - 1)
            world.pass_time(1000 * 2 ** (gen - 1))
            world.due(10)
    assert (row["status"], row["reason"], row["attempt"]) == ("failed", "unknown_task", "0")


def answers(world: World, inc: str, *runs: tuple[str, int, str]) -> list[str]:
    items = [ClaimItem(task_id, gen, token, world.time_ms(), b"") for task_id, gen, token in runs]
    return [item.decode() for item in world.claim(inc, "worker", items).items]


def test_busy_tells_for_how_long_where_the_record_is_not_needed(world: World) -> None:
    submit(world, "a")
    beat(world, "holder")
    beat(world, "other")
    assert claim(world, "holder", ("a", 1, "holder:1")) == ["RUN"]
    world.pass_time(7_000)
    (answer,) = answers(world, "other", ("a", 1, "other:1"))
    assert answer.startswith("BUSY:")
    assert 7_000 <= int(answer[5:]) < 8_000


@pytest.mark.parametrize("missing", ["gen", "envelope", "worker"])
def test_busy_alone_keeps_the_record_that_may_yet_be_needed(world: World, missing: str) -> None:
    """Redis went back and knows an older publication; or nothing would publish it again; or nobody would miss its worker."""
    submit(world, "a")
    beat(world, "holder")
    beat(world, "other")
    assert claim(world, "holder", ("a", 1, "holder:1")) == ["RUN"]
    if missing == "envelope":
        world.plain.delete(world.key("envelope:", "a"))
    if missing == "worker":
        world.plain.zrem(world.key("workers"), "holder")
    assert answers(world, "other", ("a", 2 if missing == "gen" else 1, "other:1")) == ["BUSY"]


@pytest.mark.parametrize("passed", ["cancelled", "expired"])
def test_a_claim_leaves_a_running_task_to_its_run(world: World, passed: str) -> None:
    """A cancel was asked for, or it is too late to begin; its record comes again."""
    world.enqueue([NewTask("a", "add", "default", b"envelope", "", "1", 0.0, 5.0)])
    beat(world, "holder")
    beat(world, "other")
    assert claim(world, "holder", ("a", 1, "holder:1")) == ["RUN"]
    if passed == "cancelled":
        world.cancel("a", world.time_ms())
    else:
        world.pass_time(7_000)
    assert claim(world, "other", ("a", 1, "other:1")) == ["BUSY"]
    assert world.finish("holder", [("a", "holder:1", "success", "1", "", "", 0, "")]).items == [b"OK"]
    assert world.picture().rows["a"]["status"] == "success"


@pytest.mark.parametrize("how", ["given back", "tried again", "retried by a person"])
def test_what_goes_back_to_the_queue_names_neither_its_run_nor_its_record(world: World, how: str) -> None:
    submit(world, "a")
    acknowledge(world, "a")
    beat(world, "w")
    assert claim(world, "w", ("a", 1, "w:1")) == ["RUN"]
    if how == "given back":
        world.release("w", [("a", "w:1")], leave=False)
    elif how == "tried again":
        world.finish("w", [("a", "w:1", "retry", "no", "", "error", 0, "")])
        assert "part" not in world.picture().rows["a"]
        world.due(10)
    else:
        world.finish("w", [("a", "w:1", "failed", "no", "", "error", 0, "")])
        assert world.retry("a", world.time_ms()) == ["queued"]
    row = world.picture().rows["a"]
    assert (row["status"], row["gen"]) == ("queued", "2")
    assert not {"token", "part", "offset"} & set(row)


def test_a_run_told_again_takes_the_place_of_one_that_ended_before_it_was_published(world: World) -> None:
    """Redis went back over the end of the first attempt, the retry and its run."""
    submit(world, "a")
    beat(world, "holder")
    beat(world, "other")
    assert claim(world, "holder", ("a", 1, "holder:1")) == ["RUN"]
    world.cancel("a", world.time_ms(), "ann")
    item = ClaimItem("a", 2, "other:1", world.time_ms(), b"envelope")
    answer = world.claim("other", "worker", [item], reasserts=True).items[0].decode()
    row = world.picture().rows["a"]
    assert answer == f"RUN:2:{row['fence']}"
    assert (row["status"], row["gen"], row["token"], row["attempt"]) == ("processing", "2", "other:1", "2")
    check_indexes(world.picture())
    late, real = (("a", token, "success", "1", "", "", 0, "") for token in ("holder:1", "other:1"))
    assert world.finish("holder", [late]).items == [b"FENCED"]
    assert world.finish("other", [real]).items == [b"OK"]


def test_a_run_told_again_leaves_alone_the_run_of_the_same_publication(world: World) -> None:
    submit(world, "a")
    beat(world, "holder")
    beat(world, "other")
    assert claim(world, "holder", ("a", 1, "holder:1")) == ["RUN"]
    item = ClaimItem("a", 1, "other:1", world.time_ms(), b"envelope")
    assert world.claim("other", "worker", [item], reasserts=True).items[0].startswith(b"BUSY")


def test_who_claims_before_its_first_beat_is_missed_all_the_same(world: World) -> None:
    submit(world, "a")
    beat(world, "keeper")
    assert claim(world, "hasty", ("a", 1, "hasty:1")) == ["RUN"]
    assert outlive(world, "keeper") == ["hasty"]
    assert world.picture().rows["a"]["status"] == "queued"


def test_a_rebuilt_task_does_not_depend_on_who_rebuilt_it(world: World) -> None:
    """It ran long, so its record is committed; its worker dies between making the row again and claiming it."""
    world.rebuild([("a", 1, "add", "default", world.time_ms(), "", b"envelope", "", "1")])
    assert world.sweep(10).items == []
    world.pass_time(21_000)
    assert [item.decode() for item in world.sweep(10).items[:2]] == ["a", "1"]


def test_only_the_record_that_the_row_points_to_ends_its_task(world: World) -> None:
    def rejected(queue: str, partition: int, offset: int) -> str:
        return str(world.reject_record("a", queue, partition, offset, "not signed").items[0].decode())

    submit(world, "a")
    assert rejected("default", 3, 7) == "UNPUBLISHED"
    world.published([("a", 1, 3, 7)])
    assert [rejected("default", 3, 8), rejected("default", 4, 7), rejected("other", 3, 7)] == ["OTHER"] * 3
    assert world.reject_envelope("a", "default", b"forged", "not signed") == "OTHER"
    assert world.picture().rows["a"]["status"] == "queued"
    assert rejected("default", 3, 7) == "REJECTED"
    row = world.picture().rows["a"]
    assert (row["status"], row["reason"], row["error"]) == ("failed", "rejected", "not signed")
    assert rejected("default", 3, 7) == "OTHER"


def test_nobody_who_was_away_calls_others_dead(world: World) -> None:
    beat(world, "a")
    beat(world, "b")
    world.pass_time(40_000)
    beat(world, "a")  # both were away; a is back first
    assert world.reap("a") == []
    world.pass_time(8_000)
    beat(world, "a")
    assert world.reap("a") == []
    world.pass_time(8_000)
    beat(world, "a")
    assert world.reap("a") == ["b"]


@pytest.mark.parametrize("back", [20_000, 3_600_000])
def test_a_clock_that_is_set_back_delays_no_death(world: World, back: int) -> None:
    """A worker had died just before; the one who looks after it had only just come."""
    submit(world, "a")
    beat(world, "dies")
    assert claim(world, "dies", ("a", 1, "dies:1")) == ["RUN"]
    beat(world, "young")
    world.pass_time(-back)
    dead = []
    for _ in range(5):
        beat(world, "young")
        dead += world.reap("young")
        world.pass_time(7_800)
    assert dead == ["dies"]
    assert world.picture().rows["a"]["status"] == "queued"


def test_a_clock_that_is_set_back_a_little_is_no_break_in_a_series(world: World) -> None:
    beat(world, "a")
    for _ in range(2):
        world.pass_time(8_000)
        beat(world, "a")
    world.pass_time(-3_000)
    beat(world, "a")
    beat(world, "dies")
    world.pass_time(9_000)
    beat(world, "a")
    for _ in range(3):
        world.pass_time(7_500)
        beat(world, "a")
        dead = world.reap("a")
    assert dead == ["dies"]


@pytest.mark.parametrize("how", ["killed", "cancelled"])
def test_what_comes_late_from_a_run_that_was_given_up_is_dropped_and_counted(world: World, how: str) -> None:
    """Also where its task has ended since, by another word than its own."""
    submit(world, "a")
    deaths = 3 if how == "killed" else 1
    for death in range(1, deaths + 1):
        beat(world, f"victim{death}")
        assert claim(world, f"victim{death}", ("a", death, f"victim{death}:1")) == ["RUN"]
        if how == "cancelled":
            world.cancel("a", world.time_ms())
        beat(world, "keeper")
        outlive(world, "keeper")
    ended = "failed" if how == "killed" else "cancelled"
    late = [("a", f"victim{deaths}:1", "success", "1", "", "", 0, "")]
    assert world.finish(f"victim{deaths}", late).items == [b"FENCED"]
    picture = world.picture()
    assert (picture.rows["a"]["status"], picture.counts("totals")["fenced"]) == (ended, 1)


def test_a_history_keeps_its_newest_fifty(world: World) -> None:
    submit(world, "a")
    for gen in range(1, 61):
        beat(world, "w")
        assert claim(world, "w", ("a", gen, f"w:{gen}")) == ["RUN"]
        world.finish("w", [("a", f"w:{gen}", "retry", "no", "", "error", 0, str(gen))])
        world.due(10)
    assert world.picture().lists["history:a"] == [str(gen) for gen in range(11, 61)]


# -- whose tasks the workers take --------------------------------------------------------------------------------

OLD, NEW = "k1:0123456789abcdef", "k2:fedcba9876543210"


@pytest.fixture
def signing(redis_server: EmbeddedRedis, world: World) -> Iterator[Callable[..., World]]:
    """The same Redis, met with other signing keys."""
    made: list[World] = []

    def other(*keys: str) -> World:
        made.append(World(redis_server.url, world.prefix, signing_keys=keys))
        return made[-1]

    yield other
    for one in made:
        one.close()
        one.plain.close()


def test_what_the_workers_would_reject_is_refused_at_submit(world: World, signing: Callable[..., World]) -> None:
    beat(signing(OLD), "w")
    with pytest.raises(ConfigError, match="YADTQ_SIGNING_KEYS"):
        submit(world, "unsigned")
    with pytest.raises(ConfigError, match="YADTQ_SIGNING_KEYS"):
        submit(signing(NEW), "foreign")
    with pytest.raises(ConfigError, match="YADTQ_SIGNING_KEYS"):
        submit(signing("k1:another-secret-altogether"), "same_name")
    submit(signing(OLD), "signed")
    assert set(world.picture().rows) == {"signed"}


def test_keys_rotate_without_a_refused_submit(world: World, signing: Callable[..., World]) -> None:
    """First the workers learn the new key, then clients sign with it, then the old one is forgotten."""
    beat(signing(OLD, NEW), "w")
    submit(signing(OLD), "a")
    submit(signing(NEW, OLD), "b")
    beat(signing(NEW), "w")
    submit(signing(NEW), "c")
    assert set(world.picture().rows) == {"a", "b", "c"}


def test_workers_without_keys_take_everything(world: World, signing: Callable[..., World]) -> None:
    beat(signing(OLD), "w")
    beat(world, "w")
    submit(world, "a")
    submit(signing(OLD), "b")
    assert set(world.picture().rows) == {"a", "b"}


# -- the audit ---------------------------------------------------------------------------------------------------


def acknowledge(world: World, *ids: str) -> None:
    world.published([(task_id, 1, 3, number) for number, task_id in enumerate(ids)])


def test_the_audit_looks_at_what_has_long_been_queued_and_is_not_in_the_outbox(world: World) -> None:
    submit(world, "long", "unsent", "started")
    acknowledge(world, "long", "started")
    beat(world, "w")
    claim(world, "w", ("started", 1, "w:1"))
    assert world.audit(10) == []
    world.pass_time(301_000)
    submit(world, "new")
    acknowledge(world, "new")
    assert world.audit(10) == [("long", 1, "default", 3, 0)]


@pytest.mark.parametrize("batch", [1, 7])
def test_the_audit_gets_round_to_every_task(world: World, batch: int) -> None:
    """Also where more tasks were queued in one moment than a page holds."""
    ids = [f"t{number:02}" for number in range(21)]
    for start in range(0, len(ids), batch):
        submit(world, *ids[start : start + batch])
    acknowledge(world, *ids)
    world.pass_time(301_000)
    for _ in range(2):  # round and round
        met = [row[0] for _ in range(9) for row in world.audit(4)]
        assert set(met) >= set(ids)


def test_the_audit_passes_by_what_is_in_the_outbox(world: World) -> None:
    ids = [f"t{number}" for number in range(12)]
    submit(world, *ids)
    acknowledge(world, ids[-1])
    world.pass_time(301_000)
    assert {row[0] for _ in range(8) for row in world.audit(4)} == {ids[-1]}


def test_a_repeated_retry_does_not_run_a_task_twice(world: World) -> None:
    """The answer was lost; before the call is repeated, the task has run and failed again."""
    submit(world, "a")
    claim(world, "w", ("a", 1, "w:1"))
    world.finish("w", [("a", "w:1", "failed", "bad", "", "error", 0, "")])
    asked_at = world.time_ms()
    assert world.retry("a", asked_at) == ["queued"]
    world.pass_time(10)
    claim(world, "w", ("a", 2, "w:2"))
    world.finish("w", [("a", "w:2", "failed", "bad", "", "error", 0, "")])
    assert world.retry("a", asked_at - 10) == ["queued"]
    assert world.picture().rows["a"]["gen"] == "2"


def with_key(world: World, task_id: str, delay: float = 0.0) -> str:
    new = NewTask(task_id, "add", "default", b"envelope", "", "1", delay=delay, key="invoice-7")
    return world.enqueue([new]).items[0].decode()


def test_a_key_is_known_as_long_as_its_task(world: World) -> None:
    """Longer than all times to live together: while it waits, after it has ended, and when a person has retried it."""
    days = 86_400_000
    assert with_key(world, "a", delay=60 * 86_400.0) == "a"
    world.pass_time(59 * days)
    assert with_key(world, "b") == "a"
    world.cancel("a", world.time_ms())
    world.retry("a", world.time_ms())
    world.pass_time(59 * days)
    assert with_key(world, "c") == "a"
    claim(world, "w", ("a", 2, "w:1"))
    world.finish("w", [("a", "w:1", "success", "1", "", "", 0, "")])
    assert with_key(world, "d") == "a"
    world.pass_time(10_000_000)
    assert with_key(world, "e") == "e"
    world.delete_many(["e"])
    assert with_key(world, "f") == "f"
    check_bounds(world.picture())


def test_a_clock_set_back_delays_neither_publishing_nor_people(world: World) -> None:
    submit(world, "waits", "failed", "cancelled")
    claim(world, "w", ("failed", 1, "w:1"))
    world.finish("w", [("failed", "w:1", "failed", "bad", "", "error", 0, "")])
    world.cancel("cancelled", world.time_ms())
    world.retry("cancelled", world.time_ms())
    world.sweep(10)
    world.pass_time(-3_600_000)
    assert {item for item in world.sweep(10).items if item in (b"waits", b"cancelled")} == {b"waits", b"cancelled"}
    assert world.retry("failed", world.time_ms()) == ["queued"]
    assert world.cancel("cancelled", world.time_ms()) == "cancelled"


def test_a_clock_set_back_opens_the_present_minute_again(world: World) -> None:
    """What was counted in the minutes that have not come goes into the sums, once."""

    def end_one(task_id: str) -> None:
        submit(world, task_id)
        claim(world, "w", (task_id, 1, f"w:{task_id}"))
        world.finish("w", [(task_id, f"w:{task_id}", "success", "1", "", "", 0, "")])

    end_one("a")
    minute = int(world.picture().strings["open_minute"])
    world.plain.rename(world.key("minute:", str(minute)), world.key("minute:", str(minute + 86_400)))
    world.plain.set(world.key("open_minute"), minute + 86_400)
    end_one("b")
    picture = world.picture()
    assert minute <= int(picture.strings["open_minute"]) <= minute + 60
    assert picture.hashes["ever"]["success"] == "1"
    assert picture.hashes[f"minute:{picture.strings['open_minute']}"]["success"] == "1"
    assert picture.hashes[f"minute:{minute + 86_400}"]["success"] == "1"


def test_however_many_groups_of_failures_age_at_once_all_of_them_go(world: World) -> None:
    ids = [f"t{number}" for number in range(2_100)]
    for start in range(0, len(ids), 100):
        some = ids[start : start + 100]
        submit(world, *some)
        claim(world, "w", *((task_id, 1, f"w:{task_id[1:]}") for task_id in some))
        world.finish("w", [(i, f"w:{i[1:]}", "failed", "bad", f"{i:>12}", "error", 0, "") for i in some])
    assert len(world.picture().zsets["groups"]) == len(ids)
    world.pass_time(20_000_001)
    for _ in range(4):
        world.due(10)
    picture = world.picture()
    assert not [name for name in picture.zsets if name.startswith("group") or name == "sizes"]
