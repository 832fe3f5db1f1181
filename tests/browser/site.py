"""A site with something of everything on it, and the address of each of its pages."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from werkzeug.security import generate_password_hash

from tests.helpers import eventually
from tests.integration.web_stack import Stack
from yadtq.api.yadtq_bulk import BulkJobs
from yadtq.core.accounts.base import hashed
from yadtq.core.yadtq_task import TaskStatus

# By endpoint, each page that needs no task, no worker and no failure to exist.
ALWAYS: dict[str, list[str]] = {
    "views.overview": ["/", "/?span=24h"],
    "tasks.index": ["/tasks", "/tasks?q=name:add", "/tasks?q=nonsense:1", *(f"/tasks?status={s}" for s in TaskStatus)],
    "bulk.confirm": ["/bulk", "/bulk?action=delete&q=status:failed"],
    "failed.index": ["/failed", "/failed?order=most&q=error:none", "/failed?q=nonsense:1"],
    "failed.rejected": ["/failed/rejected"],
    "workers.index": ["/workers"],
    "kafka.index": ["/kafka"],
    "submit.form": ["/submit", "/submit?mode=json"],
    "audit.index": ["/audit"],
    "sessions.index": ["/sessions"],
    "password.form": ["/password"],
    "tokens.index": ["/tokens"],
    "users.index": ["/users"],
}
PASSWORD = "correct horse"  # ada's
ABSENT = ["/no/such/page", "/tasks/no-such-task", "/workers/no-such-worker"]


class Site:
    """One stack, populated."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self._pipe = folder / "pipe"
        self.ids: dict[TaskStatus, str] = {}

    def populate(self) -> None:
        """A worker, people and programs who may come in, and a task in every state."""
        os.mkfifo(self._pipe)
        self._let_in()
        self.stack.start_worker()
        client = self.stack.client
        self.ids = {
            TaskStatus.SUCCESS: client.submit("add", 40, b=2),
            TaskStatus.FAILED: client.submit("fail", "<b>the disk</b> of box 7 is full " * 4),
            TaskStatus.PROCESSING: client.submit("hold", str(self._pipe)),
            TaskStatus.RETRYING: client.submit("stumble", "the other side does not answer"),
            TaskStatus.SCHEDULED: client.options(delay=3600).submit("add", 1),
            TaskStatus.QUEUED: client.options(queue="nobody-takes-from-it").submit("add", 1, b=1),
            TaskStatus.EXPIRED: client.options(queue="nobody-takes-from-it", expires=0.1).submit("add", 2),
            TaskStatus.CANCELLED: client.options(delay=3600).submit("add", 3),
        }
        client.cancel(self.ids[TaskStatus.CANCELLED])
        for status, task_id in self.ids.items():
            eventually(lambda task_id=task_id, status=status: client.get_result(task_id).status is status, 40)

    def _let_in(self) -> None:
        accounts, redis = self.stack.accounts, self.stack.store.client
        accounts.add_user("ada", generate_password_hash(PASSWORD, method="scrypt"), "admin")
        accounts.create_api_token("for-ever", "viewer")
        accounts.use_api_token(accounts.create_api_token("for-a-month", "operator", "ada", days=30))
        expired = accounts.create_api_token("expired", "admin", "ada", days=1)
        redis.hset(self.stack.store.key("token:", hashed(expired)), "expires", 1000)

    def release(self) -> None:
        """Let the task that runs end."""
        threading.Thread(target=self._pipe.write_text, args=("done",), daemon=True).start()

    def pages(self) -> dict[str, list[str]]:
        """By endpoint, each page with what is on it."""
        stack, failed = self.stack, self.ids[TaskStatus.FAILED]
        group = stack.views.failure_groups(1)[0].fingerprint
        job = BulkJobs(stack.client, stack.store).start("name:nobody", "retry", by="ada", form_key="a" * 16)
        found = {endpoint: [*addresses] for endpoint, addresses in ALWAYS.items()}
        found["tasks.index"].append(f"/tasks?q=group:{group}")
        found["submit.form"] += ["/submit?task=add", f"/submit?like={failed}"]
        return {
            **found,
            "tasks.show": [f"/tasks/{task_id}" for task_id in self.ids.values()],
            "again.form": [f"/tasks/{failed}/again"],
            "submit.done": [f"/tasks/{failed}/submitted"],
            "bulk.show": [f"/bulk/{job.id}"],
            "workers.show": [f"/workers/{stack.views.workers()[0].id}"],
        }
