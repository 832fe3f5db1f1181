"""Workers as they last beat, and the functions they announce."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

from yadtq.core.views.base import Reads
from yadtq.core.views.models import FailedStart, FunctionInfo, ParamInfo, SlotInfo, WorkerInfo
from yadtq.core.yadtq_result_db import ResultStore

TOLD_FOR = 120  # seconds; whoever keeps workers alive tries again at least twice a minute


def dismiss_worker(store: ResultStore, worker_id: str) -> None:
    """Note that a person has seen that a worker is offline; should it beat again, that is forgotten.

    Raises:
        ResultStoreUnavailable
    """
    key = store.key("worker:", worker_id)
    beat = store.guard(lambda: store.client.hget(key, "beat"))
    if beat is not None:
        store.guard(lambda: store.client.hset(key, "dismissed", beat))


def note_failed_start(store: ResultStore, why: str) -> None:
    """Tell the pages for two minutes why a worker of this machine could not start. Raises ResultStoreUnavailable."""
    key, told = store.key("nostart"), json.dumps({"why": why[:500], "at": store.time_ms() / 1000})
    pipe = store.client.pipeline(transaction=False)
    pipe.hset(key, socket.gethostname(), told)
    pipe.expire(key, TOLD_FOR)
    store.guard(pipe.execute)


class WorkerReads(Reads):
    """Workers and functions."""

    def workers(self) -> list[WorkerInfo]:
        """Workers that beat in the last hour, online ones first."""
        key = self._store.key
        pipe = self._store.client.pipeline(transaction=False)
        pipe.zrange(key("workers"), 0, -1)
        pipe.zrevrange(key("dead"), 0, 199)
        pipe.zrevrange(key("left"), 0, 199)
        ids = [raw.decode() for raws in self._store.guard(pipe.execute) for raw in raws]
        found = self._read_workers(list(dict.fromkeys(ids)))
        return sorted(found, key=lambda worker: (not worker.online, worker.name, -worker.started_at))

    def failed_starts(self) -> list[FailedStart]:
        """Workers that could not start in the last two minutes: one a host, the newest."""
        pipe = self._store.client.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(self._store.key("nostart"))
        (now, _), told = self._store.guard(pipe.execute)
        found = [FailedStart(host.decode(errors="replace"), **json.loads(text)) for host, text in told.items()]
        return [one for one in found if one.at > now - TOLD_FOR]

    def worker(self, worker_id: str) -> WorkerInfo | None:
        """One incarnation, or None."""
        return next(iter(self._read_workers([worker_id])), None)

    def _read_workers(self, ids: Sequence[str]) -> list[WorkerInfo]:
        pipe = self._store.client.pipeline(transaction=False)
        pipe.time()
        for worker_id in ids:
            pipe.hgetall(self._store.key("worker:", worker_id))
            pipe.zscore(self._store.key("workers"), worker_id)
            pipe.zrange(self._store.key("control:", worker_id), 0, -1)
            pipe.scard(self._store.key("run:", worker_id))
        (seconds, micros), *rows = self._store.guard(pipe.execute)
        now = seconds + micros / 1e6
        each = zip(ids, rows[::4], rows[1::4], rows[2::4], rows[3::4], strict=True)
        return [
            self._worker_info(worker_id, row, score, asked, held, now)
            for worker_id, row, score, asked, held in each
            if b"about" in row
        ]

    def _worker_info(
        self, worker_id: str, row: dict[bytes, bytes], score: float | None, asked: list[bytes], held: int, now: float
    ) -> WorkerInfo:
        about, state = json.loads(row[b"about"]), json.loads(row.get(b"state", b"{}"))
        beat_at = int(row[b"beat"]) / 1000
        age = max(0.0, now - beat_at)
        rates = state.get("rate", (0.0, 0.0))
        return WorkerInfo(
            id=worker_id,
            name=about["name"],
            host=about["host"],
            pid=about["pid"],
            version=about["version"],
            queues=list(about["queues"]),
            partitions=state.get("partitions", {}),
            concurrency=about["concurrency"],
            running=state.get("running", []),
            started_at=about["started"],
            beat_at=beat_at,
            age=age,
            online=score is not None and age <= self._store.offline_after,
            stopping=bool(state.get("stopping")),
            stopped=b"stopped" in row,
            done=state.get("done", 0),
            failed=state.get("failed", 0),
            pool=about.get("pool", "thread"),
            target=about.get("target", ""),
            kafka_trouble=state.get("kafka", ""),
            clock_skew=state["clock"] - beat_at if "clock" in state else 0.0,
            stuck=state.get("stuck", 0),
            paused=state.get("paused", 0.0),
            alone=state.get("alone", 0.0),
            slots=[
                SlotInfo(task_id, beat_at - ran)
                for task_id, ran in zip(state.get("running", []), state.get("ran", []), strict=False)
            ],
            memory=state.get("rss"),
            cpu=state.get("cpu"),
            done_rate=rates[0],
            failed_rate=rates[1],
            asked=[command.decode() for command in asked],
            functions=[_function(entry, list(about["queues"])) for entry in about["functions"]],
            held=held,
            dismissed=row.get(b"dismissed") == row[b"beat"],
        )

    def functions(self) -> list[FunctionInfo]:
        """What the live workers announce, by name; queues joined."""
        merged: dict[str, FunctionInfo] = {}
        for worker in self.workers():
            for function in worker.functions if worker.online else ():
                known = merged.get(function.name)
                queues = sorted({*function.queues, *(known.queues if known else ())})
                merged[function.name] = FunctionInfo(function.name, function.doc, queues, function.params)
        return [merged[name] for name in sorted(merged)]


def _function(entry: dict[str, Any], queues: list[str]) -> FunctionInfo:
    params = [
        ParamInfo(p["name"], p["kind"], p["annotation"], p["required"], p.get("default")) for p in entry["params"]
    ]
    return FunctionInfo(entry["name"], entry["doc"], queues, params)
