"""The engine's guards: each a rule, a way to take it out of one process, the scene in which that shows, and how.

The table of ``docs/architecture.md`` is written from here by ``python -m tests.faults.test_guards``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults.patches import Patch

CORE = "yadtq.core.yadtq_"


@dataclass(frozen=True)
class Guard:
    """``line`` is the oracle's line that is not empty without it; ``scene`` a name in ``scenes_of_….py``."""

    name: str
    rule: str
    scene: str
    line: str
    patches: tuple[Patch, ...]
    daily: bool = False  # proven in every run of the tests, the others by `make soak`


GUARDS = {
    guard.name: guard
    for guard in (
        # -- what is committed ---------------------------------------------------------------------
        Guard(
            "watermark",
            "An offset is committed only when every record below it is done.",
            "a_worker_stops_while_tasks_wait",
            "too_early",
            (Patch(f"{CORE}offsets:OffsetWindow.committable", "return self._received[0]", "return self._last + 1"),),
        ),
        Guard(
            "settle",
            "A record is done only when the same Redis has answered again two seconds after it said so.",
            "a_failover_loses_the_last_second",
            "lost",
            (
                Patch(
                    f"{CORE}lease:Lease.confirmed",
                    "append((time.monotonic(), deliveries))",
                    "append((time.monotonic() - SETTLE_AFTER, deliveries))",
                ),
            ),
        ),
        Guard(
            "detach-claimed",
            "Only a record that this worker has claimed is ever let go of before its task has ended.",
            "a_worker_stops_while_tasks_wait",
            "too_early",
            (
                Patch(
                    f"{CORE}intake:Intake.detach",
                    "delivery = claimed.get((state, state.window.head))\n",
                    "delivery = claimed.get((state, state.window.head))\n"
                    "                if delivery is None:\n"
                    "                    state.window.done([state.window.head])\n"
                    "                    continue\n",
                ),
            ),
        ),
        # -- claims --------------------------------------------------------------------------------
        Guard(
            "fenced-rewinds",
            "A worker whose claim is answered FENCED drops what it has buffered and reads again from the committed offsets.",
            "a_worker_is_declared_dead_while_it_claims",
            "lost",
            (Patch(f"{CORE}recovery:Recovery.fenced", "self._rewind()", "pass"),),
        ),
        Guard(
            "fenced-renews",
            "A worker that was declared dead goes on as a new incarnation.",
            "a_worker_is_declared_dead_while_it_claims",
            "lost",
            (Patch(f"{CORE}recovery:Recovery.fenced", "self.lease.renew()", "pass"),),
        ),
        Guard(
            "claim-repeated",
            "A claim that was not answered is sent again with the same tokens until it is.",
            "a_claims_answer_is_lost",
            "late",
            (
                Patch(
                    f"{CORE}claimer:Claimer._ask",
                    'return self._lease.ask(lambda: self._store.claim(inc, self._name, items, era=self._lease.era or ""))',
                    "from yadtq.errors import ResultStoreUnavailable\n"
                    "    try:\n"
                    "        return self._store.claim(inc, self._name, items)\n"
                    "    except ResultStoreUnavailable:\n"
                    "        return Reply(self._lease.era or '', 0, [b'BUSY'] * len(items))",
                ),
            ),
        ),
        Guard(
            "busy",
            "A claim never takes over a task that another run holds.",
            "a_record_comes_twice_while_its_task_runs",
            "twice",
            (Patch("claim.lua", "if status == 'processing' then return", "if status == 'never' then return"),),
        ),
        Guard(
            "ended-is-done",
            "A claim of a task that has ended is answered DONE.",
            "a_record_comes_again_after_its_task_has_ended",
            "two_outcomes",
            (Patch("claim.lua", "elseif TERMINAL[status] or row_gen > gen then", "elseif row_gen > gen then"),),
        ),
        Guard(
            "running-not-expired",
            "A claim never expires a task that runs.",
            "a_running_task_passes_its_expiry",
            "wrong",
            (
                Patch(
                    "claim.lua",
                    "if status == 'processing' then return",
                    "if status == 'processing' and not (r[5] and tonumber(r[5]) <= NOW) then return",
                ),
            ),
        ),
        Guard(
            "suspect-alone",
            "A task with which two workers have died runs alone in its worker.",
            "innocents_run_beside_a_poison_task",
            "wrong",
            (
                Patch("claim.lua", "if suspect and not reasserts then", "if false then"),
                Patch("claim.lua", "if alone and holds + #taken > 0 and not reasserts then", "if false then"),
            ),
        ),
        Guard(
            "claim-keeps-envelope",
            "A claim stores the arguments that are too big to lie in Redis until the task has succeeded.",
            "a_big_task_is_retried",
            "wrong",
            (Patch("claim.lua", "if envelope ~= '' then redis.call('SET'", "if false then redis.call('SET'"),),
        ),
        Guard(
            "emptied-is-rebuilt",
            "A record without a row that is older than Redis' data is rebuilt and run, whatever its age.",
            "redis_is_emptied_under_an_old_backlog",
            "lost",
            (Patch("common.lua", "newest = math.floor((newest or 0) / 1000)", "newest = (newest or US) / 1000"),),
        ),
        Guard(
            "gap-is-rebuilt",
            "So is one submitted when Redis, by what it knew after a restart, may have lost it.",
            "a_failover_loses_a_submit",
            "lost",
            (Patch("claim.lua", "if tonumber(from) <= record_time then return true end", ""),),
        ),
        Guard(
            "young-is-rebuilt",
            "So is one whose row cannot have had its time yet.",
            "a_row_is_evicted",
            "lost",
            (Patch("claim.lua", "if NOW - record_time < tonumber(ARGV[5]) then return true end", ""),),
        ),
        Guard(
            "old-stays-ended",
            "Any other record without a row is done.",
            "a_record_comes_again_after_its_row_has_gone",
            "twice",
            (Patch("claim.lua", "row_was_lost(record_time) and 'LOST' or 'DONE'", "'LOST'"),),
        ),
        # -- finishes and publications --------------------------------------------------------------
        Guard(
            "token",
            "Only the run that holds the row may end it.",
            "a_task_is_moved_on_while_its_worker_still_runs_it",
            "fences",
            (Patch("fin.lua", "if r[2] ~= token then return 'FENCED' end", ""),),
            daily=True,
        ),
        Guard(
            "pubd-gen",
            "An acknowledgement drops the outbox entry only where the row's gen is the record's.",
            "an_acknowledgement_comes_after_the_next_publication",
            "lost",
            (Patch("pubd.lua", "if row[1] == ARGV[i + 1] then", "if row[1] then"),),
        ),
        Guard(
            "sweep",
            "What stays in the outbox is published by a keeper.",
            "a_client_reaches_redis_and_not_kafka",
            "lost",
            (Patch(f"{CORE}keeper:Keeper.loop", "self.sweep()", "pass"),),
            daily=True,
        ),
        Guard(
            "keeper-verifies",
            "A keeper checks an envelope's signature before it makes a new one.",
            "an_envelope_is_forged_in_redis",
            "unexpected",
            (
                Patch(
                    f"{CORE}keeper:Keeper._record",
                    "self._broker.codec.unseal(topic, envelope)",
                    "envelope.partition(b'\\n')[2]",
                ),
            ),
        ),
        # -- beats and the keeper --------------------------------------------------------------------
        Guard(
            "reaper-was-there",
            "Only a worker that has beaten without a gap may declare others dead.",
            "all_workers_are_away_and_come_back",
            "twice",
            (
                Patch(
                    "reap.lua",
                    "if not beat or NOW - beat > tonumber(ARGV[3]) or NOW - series < tonumber(ARGV[4]) then",
                    "if not beat then",
                ),
            ),
        ),
        Guard(
            "registers",
            "A beat or a claim of an incarnation that Redis does not know, and that is not dead, registers it.",
            "redis_is_emptied_and_then_a_worker_dies",
            "lost",
            (
                Patch(
                    "beat.lua", "redis.call('ZADD', P .. 'workers', NOW", "redis.call('ZADD', P .. 'workers', 'XX', NOW"
                ),
                Patch(
                    "claim.lua", "redis.call('ZADD', P .. 'workers', 'NX'", "redis.call('ZADD', P .. 'workers', 'XX'"
                ),
            ),
        ),
        Guard(
            "unheld-released",
            "A beat gives back what the worker has not held for fifteen seconds.",
            "a_failover_loses_eight_seconds",
            "still_running",
            (Patch("beat.lua", "if ARGV[10] == ERA and NOW - row.started > tonumber(ARGV[3]) then", "if false then"),),
        ),
        Guard(
            "unheld-in-this-era",
            "A beat gives nothing back while its worker has not yet told this Redis again what has ended.",
            "redis_comes_back_late_without_the_end_of_a_run",
            "twice",
            (Patch("beat.lua", "if ARGV[10] == ERA and NOW", "if NOW"),),
        ),
        Guard(
            "era",
            "Answers of another Redis than the last one are not used.",
            "redis_is_emptied_while_a_task_runs",
            "lost",
            (Patch(f"{CORE}lease:Lease.believe", "raise EraChanged(reply.era)", "self.era = reply.era"),),
        ),
        # -- rebalances and people -------------------------------------------------------------------
        Guard(
            "retained-kept",
            "A rebalance leaves alone what was received from the partitions that stay.",
            "a_worker_joins_while_tasks_wait",
            "lost",
            (
                Patch(
                    f"{CORE}intake:Intake.keep_only",
                    "self._drop(set(self._states) - assigned)",
                    "self._drop(set(self._states))",
                ),
            ),
        ),
        Guard(
            "rebalance-waits-for-nothing",
            "A rebalance never waits for tasks.",
            "a_worker_joins_while_a_long_task_runs",
            "late",
            (
                Patch(
                    f"{CORE}intake:Intake.partitions_revoked",
                    "with self._lock:\n",
                    "while any(p in self._states and self._states[p].window.span for p in partitions):\n"
                    "        time.sleep(0.05)\n"
                    "    with self._lock:\n",
                ),
            ),
        ),
        Guard(
            "retry-clears",
            "A retry by a person clears the cancel flag and the expiry.",
            "a_person_retries_a_cancelled_and_an_expired_task",
            "wrong",
            (Patch("common.lua", "'cancel', 'expires', 'reason'", "'reason'"),),
        ),
    )
}


def take_out(guard: str) -> None:
    """Change the production code of this process so that it works without one guard; KeyError where none has the name."""
    for patch in GUARDS[guard].patches:
        patch.apply()
