"""An imaginary shop on real servers: its workers, what its customers cause, and the hour before the doors opened."""

from __future__ import annotations

import math
import os
import random
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaProducer
from werkzeug.security import generate_password_hash

from tests.helpers import eventually
from tests.integration.web_stack import ROOT, Stack
from yadtq.api.yadtq_bulk import BulkJobs
from yadtq.core.accounts.base import hashed
from yadtq.core.yadtq_task import TaskStatus
from yadtq.core.yadtq_views import record_action
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

PLACE = Path(tempfile.gettempdir(), "shop")  # tracebacks name it
AWAY = PLACE / "nowhere-is-away"  # while it is there, no mail reaches that host
WORKERS = {
    "media-1": ("media", 6),
    "media-2": ("media", 6),
    "mail-1": ("mail,default", 4),
    "mail-2": ("mail", 4),
    "billing-1": ("billing", 8),
}
ORDERS = 100  # waiting when the doors open


class Shop(Stack):
    """A stack with named workers, one of which dies, and customers."""

    def __init__(self, kafka_servers: str, redis_server: EmbeddedRedis) -> None:
        super().__init__({"kafka_servers": kafka_servers, "redis_url": redis_server.url})
        self._kafka_servers = kafka_servers
        self.redis_server = redis_server
        self._order = 48_000
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._trade, daemon=True)

    def open(self) -> None:
        """Let workers and customers in."""
        PLACE.mkdir(exist_ok=True)
        AWAY.touch()
        shutil.copy(Path(__file__).with_name("shop.py"), PLACE / "tasks.py")
        self._environment["PYTHONPATH"] = os.pathsep.join([str(PLACE), str(ROOT)])
        workers = {name: self._hire(name, *given) for name, given in WORKERS.items()}
        eventually(lambda: len(self.views.workers()) == len(WORKERS), 60)
        for _ in range(ORDERS):
            self._sell()
        self._mishaps()
        workers["mail-2"].kill()
        self._thread.start()

    def close(self) -> None:
        """No more orders; everybody goes home."""
        self._closed.set()
        self._thread.join()
        self.stop()

    def remember_an_hour(self) -> None:
        """Write down an hour like the minute before this one, so that the charts show more than the minutes of this run.

        What failed is kept, and what succeeded is counted since the start, so the hour had no failures and is counted there.
        """
        redis, key = self.store.client, self.store.key
        newest, sums = eventually(self._last_minute, 90)
        for back in range(1, 59):
            share = 1 + 0.25 * math.sin(back / 7) + random.uniform(-0.12, 0.12)
            then = {name: round(count * share) for name, count in sums.items() if name != "failed"}
            redis.hset(key("minute:", str(newest - 60 * back)), mapping=then)
            redis.hincrby(key("totals"), "success", then["success"])

    def _last_minute(self) -> tuple[int, dict[str, int]] | None:
        redis, key = self.store.client, self.store.key
        start = int(redis.get(key("open_minute")) or 0) - 60
        row = redis.hgetall(key("minute:", str(start)))
        trouble = (b"rejected", b"fenced", b"rebuilt")  # that is of this minute alone
        sums = {name.decode(): int(count) for name, count in row.items() if name not in trouble}
        return (start, sums) if sums else None

    def give_access(self) -> None:
        """Two people, one of them signed in from elsewhere, and programs, of which one had its time."""
        accounts, now = self.accounts, self.store.time_ms()
        for name, role in (("ada", "admin"), ("max", "operator")):
            accounts.add_user(name, generate_password_hash("correct horse", method="scrypt"), role)
        max_ = accounts.user("max")
        assert max_ is not None
        accounts.create_session(max_, 6 * 86_400, "192.0.2.40", "Firefox/145.0 (Windows NT 10.0)")
        for name, role, days, used in (
            ("prometheus", "viewer", None, -20),
            ("deploy", "operator", 90, -5 * 3600),
            ("newsletter", "operator", 30, None),
            ("audit-2025", "admin", 30, -9 * 86_400),
        ):
            key = self.store.key("token:", hashed(accounts.create_api_token(name, role, "ada", days)))
            if used is not None:
                self.store.client.hset(key, "used", now + used * 1000)
            if name == "audit-2025":
                self.store.client.hset(key, mapping={"created": now - 38 * 86_400_000, "expires": now - 8 * 86_400_000})

    def staff_at_work(self) -> None:
        """Two people mend what they can."""
        failed = self.views.tasks(TaskStatus.FAILED, limit=4).items
        for task, user in zip(failed, ("max", "max", "ada", "max"), strict=True):
            self.client.retry(task.id, by=user)
            self._note("retry", task.id, user, task.name)
        later = self.views.tasks(TaskStatus.SCHEDULED, limit=1).items[0]
        self.client.cancel(later.id, by="ada")
        self._note("cancel", later.id, "ada", later.name)

    def mend(self) -> str:
        """The mails that went nowhere can be delivered now; the address of the job that sends them again."""
        AWAY.unlink()
        group = next(one for one in self.views.failure_groups() if one.name == "mail.send_email")
        jobs = BulkJobs(self.client, self.store)
        job = jobs.start(f"group:{group.fingerprint}", "retry", by="max", form_key="mend")
        self._note("bulk retry", job.query, "max", f"job {job.id}, {job.total} to look at")
        eventually(lambda: jobs.step(job.id).finished)
        eventually(lambda: self.views.came_of(job.id).get(TaskStatus.SUCCESS, 0) > group.count / 2)
        return f"/bulk/{job.id}"

    def _note(self, action: str, target: str, user: str, detail: str) -> None:
        role, address = ("admin", "192.0.2.17") if user == "ada" else ("operator", "192.0.2.40")
        record_action(self.store, user=user, role=role, action=action, target=target, detail=detail, address=address)

    def _hire(self, name: str, queues: str, slots: int) -> subprocess.Popen[bytes]:
        self._environment["YADTQ_WORKER_NAME"] = name
        return self._start("yadtq.cli", "worker", "tasks", "-Q", queues, "-c", str(slots))

    def _trade(self) -> None:
        while not self._closed.wait(random.uniform(0.2, 1.2)):
            self._sell()

    def _sell(self) -> None:
        self._order += 1
        order, language = self._order, random.choice(["en", "de", "fr"])
        billing, mail, media = (self.client.options(queue=queue) for queue in ("billing", "mail", "media"))
        billing.submit("billing.charge_card", order, round(random.uniform(5, 400), 2))
        billing.submit("billing.render_invoice", order, language=language)
        mail.submit("mail.send_email", f"customer{order}@shop.example", "order-received", {"order": order})
        for side in ("front", "side", "top"):
            media.submit("media.resize_image", f"catalog/{order % 97}/{side}.jpg", width=random.choice([640, 1280]))
        if order % 20 == 0:
            media.submit("media.resize_image", f"catalog/tmp/{order} (final).heic")
            media.submit("media.transcode_preview", f"catalog/clips/{order}.mov", random.choice([8, 12]))
            self.client.options(queue="mail", delay=7200).submit(
                "mail.send_email", f"c{order}@shop.example", "how-was-it"
            )

    def _mishaps(self) -> None:
        for n in range(12):
            self.client.options(queue="mail").submit("mail.send_email", f"someone{n}@nowhere.example", "newsletter")
        self.client.options(queue="media").submit("media.transcode_preview", "catalog/clips/showreel.mov", 120)
        reports = self.client.options(queue="reports")
        self.client.options(queue="reports", expires=1).submit(
            "reports.export_csv", "orders", "2026-10-01", "2026-10-31"
        )
        for month in ("2026-09", "2026-10"):
            reports.submit("reports.build_monthly", month)
        cancelled = reports.submit("reports.build_monthly", "2026-08")
        self.client.cancel(cancelled)
        stranger = KafkaProducer(bootstrap_servers=self._kafka_servers)
        stranger.send("yadtq_tasks.mail", key=b"0", value=b"hello, is this a queue?")
        stranger.close()


@contextmanager
def open_shop() -> Iterator[Shop]:
    """The servers and the shop on them."""
    with tempfile.TemporaryDirectory() as folder:
        kafka = EmbeddedKafka(Path(folder, "kafka"), ports=[0])
        redis_server = EmbeddedRedis(Path(folder, "redis"), port=0)
        kafka.start()
        redis_server.start()
        try:
            shop = Shop(kafka.bootstrap_servers, redis_server)
            shop.open()
            try:
                yield shop
            finally:
                shop.close()
        finally:
            redis_server.stop()
            kafka.stop()
