"""The hub on a real Redis: what it tells pages, and that neither it nor Redis falls silent unnoticed."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from os import kill
from typing import Any

import pytest
import redis

from tests.helpers import eventually
from tests.integration.stored import submit
from tests.integration.web_client import Web
from tests.model.world import World
from webapp import live
from webapp.concern import VIEWS
from webapp.live import Hub
from webapp.subscriber import Subscriber
from yadtq.core.yadtq_accounts import User
from yadtq.embedded import EmbeddedRedis

LIMITED = "~* +@all -@dangerous +info -@pubsub resetchannels"  # everything that pages need but the channel


OPEN: list[Page] = []


class Page:
    """An open page without a browser: what it was told so far."""

    def __init__(self, hub: Hub, view: str, subject: str = "", **where: Any) -> None:
        secret = hub._accounts.create_session(User("ada", "viewer"), 600)
        self.subscriber = Subscriber(view, subject, secret)
        self.heard: list[dict[str, Any]] = []
        self.severed = threading.Event()
        self.hub = hub
        mark = hub._views.change_mark()
        hub.join(self.subscriber, where.get("since", mark.seq), where.get("epoch", mark.epoch), self.severed.set)
        OPEN.append(self)

    def hear(self, kind: str, within: float = 5.0) -> dict[str, Any]:
        """The next message of a kind."""
        return eventually(lambda: self._next(kind), within)

    def quiet(self, seconds: float, kind: str) -> bool:
        """Whether no such message comes for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self._next(kind):
                return False
        return True

    def _next(self, kind: str) -> dict[str, Any]:
        self.heard += map(json.loads, self.subscriber.take(0.02))
        for number, message in enumerate(self.heard):
            if message["t"] == kind:
                return self.heard.pop(number)
        return {}

    def close(self) -> None:
        self.hub.leave(self.subscriber)


@pytest.fixture(autouse=True)
def short_lived_hubs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test's pages are closed after it, and its hub ends before its connections do."""
    monkeypatch.setattr(live, "_LINGER", 0.2)
    yield
    for page in OPEN:
        page.close()
    hubs = {page.hub for page in OPEN}
    OPEN.clear()
    for hub in hubs:
        eventually(lambda hub=hub: hub._thread is None, 10)  # type: ignore[misc]


@pytest.fixture
def web(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with web_on(redis_server.url) as made:
        yield made


@contextmanager
def web_on(url: str, **settings: Any) -> Iterator[Web]:
    """As the fixture, on another Redis or with other settings."""
    with Web(url, **settings) as made:
        world_of(made).beat("w", "", "{}", [])
        yield made
        for page in OPEN:
            page.close()
        eventually(lambda: hub_of(made)._thread is None, 10)


def hub_of(web: Web) -> Hub:
    hub: Hub = web.app.extensions["yadtq-hub"]
    return hub


def world_of(web: Web) -> World:
    return World(web.settings["redis_url"], web.settings["redis_prefix"])


# -- what lists are told


def test_a_list_is_sent_the_rows_it_shows_and_of_many_others_their_number(web: Web) -> None:
    world = world_of(web)
    submit(world, "shown")
    page = Page(hub_of(web), "tasks")
    hub_of(web).show(page.subscriber, ["shown"], again=False)
    everything = Page(hub_of(web), "tasks")

    world.cancel_many(["shown"], 0)
    submit(world, *(f"t{number}" for number in range(50)))

    assert told_until(page, lambda ids, more: ids == {"shown"} and more == 50)
    # The other has not said what it shows, so that may be any of them.
    assert told_until(everything, lambda ids, more: len(ids) == 51 and more == 0)


def told_until(page: Page, enough: Callable[[set[str], int], bool]) -> bool:
    """Whether the rows sent and the number of others come to be those expected, in however many rounds."""
    ids, more = set[str](), 0
    while not enough(ids, more):
        message = page.hear("rows")
        ids |= {item["id"] for item in message["items"]}
        more += message.get("more", 0)
    return True


def test_the_page_of_one_task_hears_of_that_task_alone(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VIEWS, "task", replace(VIEWS["task"], every=None))
    world = world_of(web)
    submit(world, "mine")
    page = Page(hub_of(web), "task", "mine")
    page.hear("tick")
    eventually(lambda: page.quiet(0.5, "refresh"))  # alarms and the submit itself are over

    submit(world, "other")
    assert page.quiet(0.5, "refresh")
    world.cancel_many(["mine"], 0)
    assert page.hear("refresh")


def test_few_new_tasks_come_as_rows_unless_the_page_is_not_the_first(web: Web) -> None:
    world = world_of(web)
    first, later = Page(hub_of(web), "tasks"), Page(hub_of(web), "tasks")
    hub_of(web).show(first.subscriber, [], again=False)
    later.subscriber.wants_new = False
    hub_of(web).show(later.subscriber, ["elsewhere"], again=False)

    submit(world, "new")

    assert [item["id"] for item in first.hear("rows")["items"]] == ["new"]
    told = later.hear("rows")
    assert (told["items"], told.get("more", 0)) == ([], 0)
    assert told["counts"]["queued"] == 1


def test_rows_that_come_into_view_are_sent_as_they_are_by_then(web: Web) -> None:
    world = world_of(web)
    submit(world, "a", "b")
    page = Page(hub_of(web), "tasks")
    page.subscriber.wants_new = False
    hub_of(web).show(page.subscriber, ["a"], again=False)
    world.cancel_many(["b"], 0)  # not shown, so not told
    assert page.hear("rows")["items"] == []

    hub_of(web).show(page.subscriber, ["a", "b"], again=False)

    told = page.hear("rows")
    while not told["items"]:
        told = page.hear("rows")
    assert [item["id"] for item in told["items"]] == ["b"]
    assert 'data-status="cancelled"' in told["items"][0]["html"]
    hub_of(web).show(page.subscriber, ["a", "b"], again=True)
    assert {item["id"] for item in page.hear("rows")["items"]} == {"a", "b"}


def test_a_deleted_task_is_told_as_gone(web: Web) -> None:
    world = world_of(web)
    submit(world, "a")
    page = Page(hub_of(web), "tasks")
    hub_of(web).show(page.subscriber, ["a"], again=False)

    world.delete_many(["a"])

    assert page.hear("rows")["gone"] == ["a"]


def test_pages_of_parts_are_told_at_most_once_a_second_and_of_the_last_change(web: Web) -> None:
    world = world_of(web)
    page = Page(hub_of(web), "overview")
    stop = time.monotonic() + 3
    changes, seqs = 0, []
    while time.monotonic() < stop:
        submit(world, f"t{(changes := changes + 1)}")
        if message := page._next("refresh"):
            seqs.append(message["seq"])
    last = web.engine.views.change_mark().seq
    while not seqs or seqs[-1] < last:
        seqs.append(page.hear("refresh")["seq"])

    assert changes > 20
    assert 3 <= len(seqs) <= 5, seqs


# -- what is missed, lost, refused


def test_messages_do_not_pile_up_while_the_hub_is_busy(web: Web) -> None:
    world = world_of(web)
    with web.engine.views.watch_changes() as watcher:
        assert watcher.wait(5)  # the subscription
        for number in range(500):
            submit(world, f"t{number}")
        assert watcher.wait(5)
        assert not (watcher.wait(0.3) and watcher.wait(0.3)), "they are taken one at a time"


def test_who_may_not_subscribe_still_hears_of_changes(
    redis_server: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    admin = redis.Redis.from_url(redis_server.url)
    admin.acl_setuser("limited", enabled=True, passwords=["+secret"], reset=True)
    admin.execute_command("ACL", "SETUSER", "limited", *LIMITED.split())
    url = redis_server.url.replace("redis://", "redis://limited:secret@")
    with web_on(url) as web:
        page = Page(hub_of(web), "tasks")
        submit(world_of(web), "a")

        assert [item["id"] for item in page.hear("rows")["items"]] == ["a"]
        submit(world_of(web), "b")
        assert [item["id"] for item in page.hear("rows")["items"]] == ["b"]
        assert page.quiet(1.5, "down")
        assert sum("look by themselves every 1 s" in line for line in caplog.messages) == 1
    admin.acl_deluser("limited")
    admin.close()


def test_flags_that_are_off_are_named_with_the_remedy_and_cost_a_second(
    own_redis: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    plain = redis.Redis.from_url(own_redis.url)
    plain.config_set("notify-keyspace-events", "")
    with web_on(own_redis.url) as web:
        page = Page(hub_of(web), "tasks")
        page.hear("tick")
        submit(world_of(web), "a")

        assert page.hear("rows", 2)["items"][0]["id"] == "a"
        assert any("add Kz to notify-keyspace-events" in line for line in caplog.messages)
    plain.config_set("notify-keyspace-events", "Kz")
    plain.close()


def test_a_redis_that_comes_back_is_read_whole_and_notifies_again(own_redis: EmbeddedRedis) -> None:
    with web_on(own_redis.url, live_poll=60) as web:
        world = world_of(web)
        submit(world, "a")
        page = Page(hub_of(web), "tasks")
        mark = web.engine.views.change_mark()
        eventually(lambda: world.plain.config_set("appendfsync", "always"))
        own_redis.kill()
        page.hear("down")
        own_redis.start()
        eventually(lambda: world.plain.ping() or True, 10)
        page.hear("up")
        told = page.hear("resync")

        assert told["epoch"] != mark.epoch, "another run of the server may count its changes anew"
        stale = Page(hub_of(web), "tasks", since=mark.seq, epoch=mark.epoch)
        assert stale.hear("resync")
        submit(world, "b")
        assert page.hear("rows", 3)["items"][0]["id"] == "b"  # by notification: the hub itself looks once a minute


# -- the watchdog


def test_a_browser_that_does_not_read_is_cut_off_also_while_redis_hangs(own_redis: EmbeddedRedis) -> None:
    with web_on(own_redis.url) as web:
        page = Page(hub_of(web), "tasks")
        page.hear("tick")
        assert own_redis.pid is not None
        kill(own_redis.pid, signal.SIGSTOP)
        try:
            page.subscriber.sending_since = began = time.monotonic()
            assert page.severed.wait(5)
            assert 2.5 < time.monotonic() - began < 4.5
        finally:
            kill(own_redis.pid, signal.SIGCONT)
        page.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_hub_that_dies_says_so_and_the_next_page_has_a_new_one(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    hub = hub_of(web)
    page = Page(hub, "tasks")
    page.hear("tick")

    def die(self: Hub) -> bool:
        raise SystemExit  # silent in a thread, as no other error is

    with monkeypatch.context() as patch:
        patch.setattr(Hub, "_wanted", die)
        eventually(lambda: page.subscriber.ended, 5)
    assert any("has died" in line for line in caplog.messages)

    page = Page(hub, "tasks")
    submit(world_of(web), "a")
    assert page.hear("rows")["items"][0]["id"] == "a"


def test_a_hub_that_hangs_is_given_up(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "_HUNG", 1.5)
    hub, let_go = hub_of(web), threading.Event()
    page = Page(hub, "tasks")
    page.hear("tick")
    look = Hub._look

    def hang(self: Hub) -> None:
        if threading.current_thread().name == "yadtq-live":
            let_go.wait(20)

    monkeypatch.setattr(Hub, "_look", hang)
    eventually(lambda: page.subscriber.ended, 6)
    monkeypatch.setattr(Hub, "_look", look)
    assert any("hangs" in line for line in caplog.messages)

    page = Page(hub, "tasks")
    let_go.set()
    submit(world_of(web), "a")
    assert page.hear("rows")["items"][0]["id"] == "a"
    eventually(lambda: sum(thread.name == "yadtq-live" for thread in threading.enumerate()) == 1, 5)


def test_a_fault_in_one_round_loses_nothing(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "webapp.live")
    page = Page(hub_of(web), "tasks")
    page.hear("tick")
    with monkeypatch.context() as patch:
        patch.setattr(web.engine.views, "counts", lambda: 1 / 0)
        submit(world_of(web), "a")
        assert page.hear("resync")


def test_the_hub_ends_with_the_last_page_and_leaves_no_thread(web: Web) -> None:
    page = Page(hub_of(web), "tasks")
    hub = hub_of(web)._thread
    assert hub is not None
    page.close()

    hub.join(5)
    assert not hub.is_alive()
    eventually(lambda: not any(thread.name == "yadtq-live-watch" for thread in threading.enumerate()), 5)
