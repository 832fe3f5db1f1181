"""Text that tries to become markup, in every field that a client, a task, a worker or somebody at Redis can set."""

from __future__ import annotations

import json
from typing import Any

from yadtq.core.yadtq_accounts import Accounts, User
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import record_action

# Each makes an element or an attribute called xss where it gets out of its place.
PAYLOADS = [
    "<xss>",
    '"><xss>',
    "'><xss>",
    '" xss="1',
    "' xss='1",
    " xss=1 ",
    "</script><xss>",
    "</title><xss>",
    "</textarea><xss>",
    "</pre></code></td></table><xss>",
    "--><xss>",
    "]]><xss>",
    "<<xss>>",
    "&lt;xss&gt;&#60;xss&#62;&quot; xss=1",
    "\u2028<xss>\u202e\x00<xss\x0c>",
]
# These would run in a browser without the escaping, whatever a parser thinks of them.
RUNNING = (
    "<script>alert(1)</script><img src=x onerror=alert(2)><svg/onload=alert(3)>"
    '" autofocus onfocus="alert(4)" x="\' onmouseover=\'alert(5)'
)


class Planted:
    """One data set full of one payload. Each value begins with the name of its field, so that pages can be asked for it."""

    def __init__(self, store: ResultStore, payload: str) -> None:
        self.store, self.payload = store, payload
        self.fields: set[str] = set()
        self.task_ids: list[str] = []
        self.worker_id = self._text("worker-id").replace("/", "")
        self.job_id = "0" * 24
        self.group = self._text("group").replace("/", "")
        now = store.time_ms()
        for number, status in enumerate(TaskStatus):
            self._task(status, now - number)
        self._worker(now)
        self._figures()
        self._people()
        self._log(now)

    def _text(self, field: str) -> str:
        self.fields.add(f"z-{field}:")
        return f"z-{field}:{self.payload}"

    def _key(self, name: str, rest: str = "") -> str:
        return self.store.key(name, rest)

    def _task(self, status: TaskStatus, now: int) -> None:
        client, text = self.store.client, self._text
        task_id = f"z-{status}:{self.payload}".replace("/", "")
        self.task_ids.append(task_id)
        call = json.dumps([[text("argument")], {text("keyword"): {text("inner-key"): text("inner")}}])
        row: dict[str, Any] = {
            "status": status.value,
            "name": text("name"),
            "queue": text("queue"),
            "gen": 1,
            "submitted": now,
            "changed": now,
            "started": now,
            "seq": 1,
            "args": call,
            "worker": text("worker"),
            "attempt": 1,
            "token": "1:1",
            "error": text("error"),
            "part": 1,
            "offset": 1,
        }
        if status is TaskStatus.SUCCESS:
            row["result"] = json.dumps({text("result-key"): [text("result")]})
        if status is TaskStatus.FAILED:
            row |= {"reason": text("reason"), "fp": self.group}
        client.hset(self._key("t:", task_id), mapping=row)
        for index in ("all", status.value):
            client.zadd(self._key("index:", index), {task_id: now * 1000})
        if status is TaskStatus.FAILED:
            client.zadd(self._key("group:", self.group), {task_id: now * 1000})
            client.zadd(self._key("groups"), {self.group: now * 1000})
            client.zadd(self._key("sizes"), {self.group: 1 << 33})
        told = {
            "attempt": 1,
            "said": 2,
            "progress": [now / 1000, 1, 2, text("note")],
            "lines": [
                [now / 1000, level, text(f"log-{level}")] for level in ("INFO", "WARNING", "ERROR", text("level"))
            ],
        }
        client.hset(self._key("report:", task_id), mapping={"token": "1:1", "now": json.dumps(told)})
        attempt = {"attempt": 1, "worker": text("past-worker"), "started": now, "finished": now}
        past = {"outcome": text("outcome"), "error": text("past-error"), "traceback": text("traceback")}
        action = {"action": text("action"), "by": text("by"), "at": now, "task": text("other-task")}
        client.rpush(self._key("history:", task_id), json.dumps({**attempt, **past}), json.dumps(action))

    def _worker(self, now: int) -> None:
        text = self._text
        parameter = {"name": text("parameter"), "kind": "positional", "annotation": text("annotation")}
        function = {
            "name": text("function"),
            "doc": text("doc"),
            "params": [{**parameter, "required": False, "default": text("default")}],
        }
        about = {
            "name": text("worker-name"),
            "host": text("host"),
            "version": text("version"),
            "queues": [text("worker-queue")],
            "concurrency": 8,
            "pool": text("pool"),
            "functions": [function, {**function, "name": "plain"}],
            "pid": 1,
            "started": now / 1000 - 5,
        }
        state = {
            "running": [one for one in self.task_ids if "processing" in one],
            "stuck": 1,
            "clock": now / 1000 - 100,
            "partitions": {text("topic"): [0]},
            "done": 1,
            "failed": 1,
            "kafka": text("kafka-trouble"),
        }
        row = {"about": json.dumps(about), "state": json.dumps(state), "series": now, "beat": now}
        self.store.client.hset(self._key("worker:", self.worker_id), mapping=row)
        self.store.client.zadd(self._key("workers"), {self.worker_id: now})

    def _figures(self) -> None:
        for name in ("backlog", "busy"):
            self.store.client.hset(self._key(name), self._text("queue-name"), 5)

    def _people(self) -> None:
        client, text = self.store.client, self._text
        name = text("user")
        client.hset(
            self._key("user:", name), mapping={"role": "viewer", "password": "x", "version": "1", "changed": "1000"}
        )
        client.sadd(self._key("users"), name)
        client.hset(
            self._key("token:", "1"),
            mapping={"name": text("token"), "role": text("token-role"), "by": text("maker"), "created": 1000},
        )
        client.hset(self._key("tokens"), text("token"), "1")
        user = User(text("session-user"), text("session-role"))
        Accounts(self.store).create_session(user, 3600, text("session-address"), text("agent"))

    def _log(self, now: int) -> None:
        text = self._text
        names = ("user", "role", "action", "target", "detail", "address")
        entry = {name: text(f"audit-{name}") for name in names}
        record_action(self.store, **entry)
        record_action(self.store, **{**entry, "action": "retry"})  # its target is a link
        job = {
            "id": self.job_id,
            "query": text("job-query"),
            "action": "retry",
            "by": text("job-by"),
            "started_at": now / 1000,
            "total": 1,
            "after": None,
            "before": now / 1000,
            "failed": 1,
            "refusal": text("refusal"),
            "finished_at": now / 1000,
        }
        self.store.client.set(self._key("job:", self.job_id), json.dumps(job))

    def places(self) -> dict[str, list[str]]:
        """What to put for the parts of addresses."""
        return {
            "task_id": self.task_ids,
            "worker_id": [self.worker_id],
            "job_id": [self.job_id],
            "fingerprint": [self.group],
            "name": [f"z-user:{self.payload}".replace("/", "")],
        }
