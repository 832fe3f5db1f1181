"""What the live pages stand on: turns, queues of sockets, what browsers send, the table of views."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path

import pytest

from tests.unit.conftest import Clock
from webapp.concern import VIEWS
from webapp.drawing import Rows
from webapp.sockets import Inbox, OneAtATime, Slots
from webapp.subscriber import News, Row, Subscriber
from webapp.turns import REFRESH, RESYNC, Turns
from yadtq.core.yadtq_task import TaskResult, TaskStatus

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


def news(*rows: Row, gone: tuple[str, ...] = (), more: int = 0, seq: int = 9) -> News:
    return News({row.id: row for row in rows}, frozenset(gone), more, {"queued": 1}, "e", seq)


def messages(subscriber: Subscriber) -> list[dict[str, object]]:
    return [json.loads(text) for text in subscriber.take(0)]


def test_every_page_that_is_live_has_its_line_in_the_table() -> None:
    used = {
        word
        for path in TEMPLATES.glob("*.html")
        for word in re.findall(r"{% block view %}(\w+){% endblock %}", path.read_text())
    }
    assert {"tasks", "task", "overview", "workers"} <= used <= VIEWS.keys()


# -- turns


def test_all_pages_of_a_kind_are_told_at_once_and_once_a_second(clock: Clock) -> None:
    turns, pages = Turns(), [Subscriber("overview") for _ in range(3)]

    turns.mark(pages[:1], REFRESH)
    assert turns.take(pages, clock.now) == {pages[0]: REFRESH}  # nothing was told before: at once
    turns.mark(pages, REFRESH)
    assert turns.take(pages, clock.now + 0.9) == {}
    assert turns.wait(clock.now + 0.9, 5) == pytest.approx(0.1)
    assert turns.take(pages, clock.now + 1) == dict.fromkeys(pages, REFRESH)
    assert turns.take(pages, clock.now + 2) == {}


def test_reading_the_whole_list_is_not_forgotten_for_a_lesser_word(clock: Clock) -> None:
    turns, page = Turns(), Subscriber("tasks")
    turns.mark([page], RESYNC)
    turns.mark([page], REFRESH)

    assert turns.take([page], clock.now) == {page: RESYNC}


def test_pages_of_different_tasks_wait_for_none_but_their_own_turn(clock: Clock) -> None:
    turns, one, other = Turns(), Subscriber("task", "a"), Subscriber("task", "b")
    turns.mark([one], REFRESH)
    turns.take([one, other], clock.now)
    turns.mark([one, other], REFRESH)

    assert turns.take([one, other], clock.now + 0.1) == {other: REFRESH}


def test_what_changes_by_itself_is_read_again_though_nothing_happens(clock: Clock) -> None:
    turns, page = Turns(), Subscriber("workers")
    every = VIEWS["workers"].every
    assert every is not None
    assert turns.take([page], clock.now) == {}
    assert turns.take([page], clock.now + every) == {page: REFRESH}
    assert turns.take([page], clock.now + every + 1) == {}


def test_pages_that_have_gone_are_forgotten(clock: Clock) -> None:
    turns, page = Turns(), Subscriber("overview")
    turns.mark([page], REFRESH)
    turns.take([], clock.now)

    assert turns.take([page], clock.now + 5) == {}
    assert turns.wait(clock.now, 5) == 5


# -- a socket's queue


def test_the_latest_of_each_row_wins_and_an_older_one_never_replaces_it() -> None:
    page = Subscriber("tasks")
    page.news(news(Row("a", 2, "second"), Row("b", 1, "b")))
    page.news(news(Row("a", 3, "third"), seq=10))
    page.news(news(Row("a", 2, "second"), seq=8))

    [told] = messages(page)
    assert told["items"] == [{"id": "a", "rev": 3, "html": "third"}, {"id": "b", "rev": 1, "html": "b"}]
    assert told["seq"] == 10
    assert messages(page) == []


def test_what_waits_for_a_slow_browser_is_bounded() -> None:
    page = Subscriber("tasks")
    for number in range(600):
        page.news(news(Row(str(number), number, "x" * 1000), seq=number))

    told = messages(page)
    assert told[0] == {"t": "resync", "seq": 500, "epoch": "e"}
    assert len(told) <= 1  # what came later is read with the page


def test_messages_are_small_and_the_last_alone_moves_the_position_on() -> None:
    page = Subscriber("tasks")
    page.news(news(*(Row(str(number), 1, "x" * 4000) for number in range(20)), gone=("z",), more=7))

    texts = page.take(0)
    assert max(map(len, texts)) < 16_384
    told = [json.loads(text) for text in texts]
    assert sum(len(message["items"]) for message in told) == 20
    assert [("seq" in message, "gone" in message, "more" in message) for message in told] == [(False, False, False)] * (
        len(told) - 1
    ) + [(True, True, True)]


def test_a_signal_is_said_once() -> None:
    page = Subscriber("overview")
    for seq in (1, 2):
        page.signal("refresh", seq=seq)
        page.signal("tick")

    assert messages(page) == [{"t": "refresh", "seq": 2}, {"t": "tick"}]


def test_a_waiting_thread_is_woken() -> None:
    page, taken = Subscriber("tasks"), list[str]()
    thread = threading.Thread(target=lambda: taken.extend(page.take(30)))
    thread.start()
    page.signal("tick")
    thread.join(5)

    assert taken == ['{"t": "tick"}']


# -- what browsers send


def test_what_nobody_has_read_is_bounded_and_wakes_the_reader() -> None:
    woken: list[int] = []
    inbox = Inbox(lambda: woken.append(1))
    for _ in range(1000):
        inbox.append("x" * 16_000)

    assert len(inbox) == 20
    assert inbox.overflowed
    assert len(woken) == 1000


def test_two_threads_never_mix_their_frames() -> None:
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    whole = OneAtATime(near)
    frames = [bytes([letter]) * 50_000 for letter in b"ab"]  # far more than the buffer takes at once
    threads = [threading.Thread(target=whole.send, args=[frame]) for frame in frames]
    for thread in threads:
        thread.start()
    heard = b""
    while len(heard) < 100_000:
        heard += far.recv(1000)
    near.close()
    far.close()

    assert heard in (frames[0] + frames[1], frames[1] + frames[0])


def test_no_more_sockets_than_slots_at_once() -> None:
    slots = Slots(2)
    assert [slots.take() for _ in range(3)] == [True, True, False]
    slots.give_back()
    assert slots.take()


# -- drawn rows


def task(number: int, seq: int) -> TaskResult:
    return TaskResult(f"t{number}", "add", "default", TaskStatus.QUEUED, seq=seq)


def test_a_row_is_drawn_once_per_change() -> None:
    drawn: list[tuple[str, int]] = []

    def draw(tasks: object) -> list[Row]:
        rows = [Row(one.id, one.seq, "") for one in tasks]  # type: ignore[attr-defined]
        drawn.extend((row.id, row.rev) for row in rows)
        return rows

    rows = Rows(draw)
    for _ in range(3):
        assert rows.of([task(1, 5), task(2, 6)]).keys() == {"t1", "t2"}
    rows.of([task(1, 7)])

    assert drawn == [("t1", 5), ("t2", 6), ("t1", 7)]
    rows.of(task(number, 1) for number in range(5000))
    assert len(rows._kept) == 1000
