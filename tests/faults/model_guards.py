"""Guards that show in no scene: each a rule, a way to take it out of one process, and the test of the model that then fails.

They are moments between two steps, which real processes hit once in a thousand times; the model stops there.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.guards import CORE
from tests.faults.patches import Patch

STORIES, BETWEEN, DETACH = "test_stories.py", "test_between.py", "test_detach.py"


@dataclass(frozen=True)
class ModelGuard:
    """``without``: what becomes of a task where the rule does not hold; ``test`` is in ``file``, under ``tests/model``."""

    name: str
    rule: str
    without: str
    file: str
    test: str
    patches: tuple[Patch, ...]
    daily: bool = False  # proven in every run of the tests, the others by `make soak`


MODEL_GUARDS = {
    guard.name: guard
    for guard in (
        ModelGuard(
            "coordinates",
            "A publication under a higher gen clears the coordinates of the earlier record.",
            "Nothing is lost: an audit leaves alone what is in the outbox, and the acknowledgement brings the new ones.",
            STORIES,
            "test_what_goes_back_to_the_queue_names_neither_its_run_nor_its_record",
            (
                Patch("common.lua", "'part', 'offset', 'token', 'due'", "'token', 'due'"),
                Patch("fin.lua", "redis.call('HDEL', key, 'part', 'offset')", ""),
            ),
        ),
        ModelGuard(
            "retry-token",
            "A retry by a person, and every other way back to the queue, clears the token.",
            "Nothing is lost: an outcome is also refused because the task does not run.",
            STORIES,
            "test_what_goes_back_to_the_queue_names_neither_its_run_nor_its_record",
            (Patch("common.lua", "'part', 'offset', 'token', 'due'", "'part', 'offset', 'due'"),),
        ),
        ModelGuard(
            "running-not-cancelled",
            "A claim never cancels a task that runs.",
            "Its outcome is dropped, also that of one that ends before it hears of the cancel.",
            STORIES,
            "test_a_claim_leaves_a_running_task_to_its_run",
            (
                Patch(
                    "claim.lua",
                    "if status == 'processing' then return",
                    "if status == 'processing' and not r[4] then return",
                ),
            ),
        ),
        ModelGuard(
            "waiting-kept",
            "A record that is answered BUSY or WAIT is kept, however long it waits, unless the run that holds its task needs it"
            " no more.",
            "It is lost where that run is.",
            DETACH,
            "test_a_record_that_only_waits_is_never_let_go_of",
            (
                Patch(
                    f"{CORE}claimer:Claimer._sort_out",
                    'answer.startswith(b"BUSY:") and self._intake.may_let_go(delivery, int(answer[5:]) / 1000)',
                    'answer.startswith((b"BUSY", b"WAIT")) and self._intake.may_let_go(delivery, 1000.0)',
                ),
            ),
        ),
        ModelGuard(
            "busy-tells-what-is-covered",
            "BUSY tells how long a run has lasted only where the row, the envelope and a worker that would be missed stand for"
            " its record.",
            "A record is let go of that is needed yet, and its task is lost with its worker.",
            STORIES,
            "test_busy_alone_keeps_the_record_that_may_yet_be_needed",
            (Patch("claim.lua", "return covered and 'BUSY:'", "return true and 'BUSY:'"),),
        ),
        ModelGuard(
            "claim-in-this-era",
            "A claim is answered nothing while its worker has not yet told this Redis what ran.",
            "A task has two outcomes where it is published anew, received and claimed in the moment before.",
            BETWEEN,
            "test_a_record_published_anew_is_not_claimed_before_redis_knows_that_it_ran",
            (Patch("claim.lua", "if ARGV[6] ~= '' and ARGV[6] ~= ERA then return {ERA, NOW} end", ""),),
        ),
        ModelGuard(
            "claim-noted",
            "What a claim grants is noted, or asked again, before a new Redis is told what runs.",
            "A task runs twice where Redis goes between its answer and the note.",
            BETWEEN,
            "test_a_run_granted_by_a_redis_that_is_gone_is_asked_for_again",
            (Patch(f"{CORE}lease:Lease.granted", "if self._leaving or era != self.era:", "if False:"),),
        ),
        ModelGuard(
            "finish-noted",
            "An outcome that is accepted is remembered, or written down again, before a new Redis is told what ended.",
            "A task runs twice where Redis goes between its answer and the note.",
            BETWEEN,
            "test_a_run_whose_end_redis_has_forgotten_is_ended_again_and_not_run_again",
            (Patch(f"{CORE}lease:Lease.finished", "if self._leaving or era != self.era:", "if False:"),),
        ),
        ModelGuard(
            "asked-when-told",
            "An answer is used only if its question was sent after its Redis had been told everything.",
            "The outcome of a run that Redis had forgotten is dropped.",
            BETWEEN,
            "test_an_answer_of_a_redis_that_had_not_been_told_yet_is_not_used",
            (Patch(f"{CORE}lease:Lease.believe", " or sent_at < self._entered_at", ""),),
        ),
        ModelGuard(
            "told-first",
            "A Redis that went back is told first what ran, and then the records are read again.",
            "A task that has ended is claimed once more before Redis knows.",
            BETWEEN,
            "test_no_record_is_read_again_before_redis_knows_that_it_ran",
            (
                Patch(
                    f"{CORE}recovery:Recovery._assert_again",
                    "inc = self.lease.inc\n    reply",
                    "inc = self.lease.inc\n    self._rewind()\n    reply",
                ),
            ),
        ),
        ModelGuard(
            "leave-in-this-era",
            "A worker leaves only a Redis that has been told what ended there.",
            "A task runs twice where Redis goes back just before a worker stops.",
            BETWEEN,
            "test_a_worker_that_leaves_tells_a_redis_that_went_back_what_has_ended",
            (Patch("release.lua", "if ARGV[4] ~= '' and ARGV[4] ~= ERA then return {ERA, NOW} end", ""),),
        ),
        ModelGuard(
            "newer-run",
            "A run of a higher publication that is told again takes the row.",
            "Its outcome is refused, and the task runs once more.",
            STORIES,
            "test_a_run_told_again_takes_the_place_of_one_that_ended_before_it_was_published",
            (Patch("claim.lua", "if status == 'processing' and reasserts and row_gen < gen then", "if false then"),),
            daily=True,
        ),
        ModelGuard(
            "forgotten-retry",
            "A record that is newer than its task's failed row is taken up.",
            "A person's retry in the second that a crash loses is undone.",
            BETWEEN,
            "test_a_retry_by_a_person_that_redis_has_forgotten_goes_on",
            (Patch("claim.lua", "if status == 'failed' and row_gen < gen and", "if false and"),),
        ),
        ModelGuard(
            "older-than-the-failure",
            "A record that was made before its task failed is not taken up, whatever its gen.",
            "A failure is undone by a record from a time that Redis has forgotten.",
            BETWEEN,
            "test_a_failure_is_not_undone_by_a_record_made_before_it",
            (Patch("claim.lua", " and record_time >= tonumber(r[11])", ""),),
        ),
        ModelGuard(
            "told-before-expiry",
            "Nothing expires until the workers have told a Redis that went back what they run.",
            "The outcome of a run that began in time is dropped.",
            BETWEEN,
            "test_nothing_expires_before_the_workers_could_tell_that_it_began",
            (Patch("common.lua", "return tonumber(till) - MARGIN + span", "return 0"),),
        ),
    )
}


def take_out(guard: str) -> None:
    """Change the production code of this process so that it works without one guard; KeyError where none has the name."""
    for patch in MODEL_GUARDS[guard].patches:
        patch.apply()
