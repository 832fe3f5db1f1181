"""The Kafka page against a real Kafka with workers, against one that is away, and against one that does not answer."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helpers import Gate, House, eventually, new_settings
from tests.integration.web_client import Web, find_csrf_token
from webapp.kafka_watch import Progress, followed
from webapp.latest import Latest
from yadtq.core.yadtq_survey import KafkaSurvey, PartitionState
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis
from yadtq.errors import BrokerUnavailable


@pytest.fixture
def settings(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> dict[str, Any]:
    """One partition, and times a tenth as long: 3 s at the head is held back."""
    return new_settings(kafka, redis_server, partitions=1, time_scale=0.1)


def rows(page: str) -> list[list[str]]:
    """The cells of the partitions' table, as text."""
    table = page.split('id="partitions"')[1].split("</table>", maxsplit=1)[0]
    found = re.findall(r"<tr[^>]*><td.*?</tr>", table, re.DOTALL)
    return [
        [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<td.*?</td>", row)] for row in found
    ]


def test_a_held_back_partition_names_its_task_and_goes_on_without_it_when_asked(settings: dict[str, Any]) -> None:
    gate = Gate()
    with Web(**settings) as web, House(settings) as house:
        house.worker({"slow": gate.wait, "ok": lambda: None}, name="box-1", concurrency=4)
        held = house.client.submit("slow")
        assert gate.reached.wait(10)
        house.ended(house.client.submit_many([("ok", ()) for _ in range(5)]))
        operator = web.signed_in("operator")

        def told() -> str:
            page = operator.get("/kafka").text
            return page if "is held back by" in page else ""

        page = eventually(told, 20, every=0.3)
        [row] = rows(page)
        overview = operator.get("/").text
        form = dict(re.findall(r'name="(task)" value="([^"]+)"', page))
        answer = operator.post(
            "/kafka/detach", data={"csrf_token": find_csrf_token(page), **form}, follow_redirects=True
        )
        eventually(lambda: house.lag() == 0, 20, every=0.2)
        after = eventually(lambda: (found := rows(operator.get("/kafka").text)) and found[0][3] == "0" and found, 10)
        held_view = operator.get("/kafka?only=held").text
        still = house.client.get_result(held).status
        gate.opened.set()
        house.ended([held])
        [entry] = web.engine.views.audit().items[:1]

    assert row[1:4] == ["0", "6", "6"]
    assert row[5] == "box-1"
    assert f"held back by slow {held[:8]} , " in row[6]
    assert "5 records behind it" in page
    assert form == {"task": held}
    assert f"{settings['topic']}, partition 0 is held back." in overview
    assert f'formaction="/kafka/detach" name="task" value="{held}"' in overview
    assert "The worker is asked to go on without slow" in answer.text
    assert after[0][1:4] == ["6", "6", "0"]
    assert "No partition is held back" in held_view
    assert still == "processing"
    assert (entry.action, entry.target) == ("detach", held)


def test_a_partition_that_stands_still_says_so_and_why(settings: dict[str, Any]) -> None:
    gate = Gate()
    with Web(**settings) as web, House(settings) as house:
        house.worker({"slow": gate.wait, "ok": lambda: None}, name="box-1", concurrency=1)
        held = house.client.submit("slow")
        assert gate.reached.wait(10)
        eventually(lambda: house.views.workers()[0].partitions)
        house.client.detach(held)
        viewer = web.signed_in("viewer")
        waiting = house.client.submit("ok")

        def last_cell() -> str:
            return rows(viewer.get("/kafka").text)[0][6]

        first = eventually(
            lambda: (found := last_cell()) != "–" and not found.startswith(("slow", "held")) and found, 20
        )
        stands = eventually(lambda: (found := last_cell()).startswith("stands still") and found, 20, every=0.3)
        gate.opened.set()
        house.ended([held, waiting])
        after = eventually(lambda: last_cell() == "–", 20, every=0.3)

    assert first in ("just seen", "moving")
    assert re.fullmatch(r"stands still for [\d.]+ m?s : the only slot of box-1 is busy", stands)
    assert after


def test_progress_is_seen_from_look_to_look() -> None:
    def look(at: float, *partitions: tuple[int, int, int]) -> KafkaSurvey:
        states = [PartitionState("t", number, 0, committed, end) for number, committed, end in partitions]
        return KafkaSurvey(at, 1, "g", "Stable", 1, states, 0)

    first = followed({}, look(10, (0, 5, 9), (1, 7, 7)))
    second = followed(first, look(20, (0, 5, 9), (1, 7, 8)))
    third = followed(second, look(30, (0, 6, 9), (1, 7, 8)))

    assert first == {("t", 0): Progress(5, 10, moved=False)}
    assert second == {("t", 0): Progress(5, 10, moved=False), ("t", 1): Progress(7, 20, moved=False)}
    assert third == {("t", 0): Progress(6, 30, moved=True), ("t", 1): Progress(7, 20, moved=False)}
    assert followed(third, look(40, (0, 9, 9))) == {}


def test_queues_tell_how_fast_they_fill_and_empty(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webapp.flow._LEAST", 0.01)
    with Web(**settings) as web, House(settings) as house:
        house.worker({"ok": lambda: None})
        house.ended([house.client.submit("ok")])
        house.client.options(queue="orphans").submit("ok")
        eventually(lambda: house.views.outbox_size() == 0)
        web.engine.kafka.now.get(fresh=0, wait=10)
        before = web.engine.kafka.flows()
        house.ended(house.client.submit_many([("ok", ()) for _ in range(12)]))
        house.client.options(queue="orphans").submit_many([("ok", ()) for _ in range(3)])
        eventually(lambda: house.views.outbox_size() == 0)
        web.engine.kafka.now.get(fresh=0, wait=10)
        after = web.engine.kafka.flows()
        page = web.signed_in("viewer").get("/").text.split('id="queues"')[1]

    assert before == {}
    assert after["default"].came == after["default"].done == 4 * after["orphans"].came > 0
    assert after["orphans"].done == 0
    assert '<td class="num" data-l="Empty in">growing</td>' in page


def test_lag_is_noted_by_the_minute_and_shown_as_a_curve(settings: dict[str, Any]) -> None:
    with Web(**settings) as web, House(settings) as house:
        house.client.submit_many([("nobody", ()) for _ in range(4)])
        eventually(lambda: house.views.outbox_size() == 0)
        viewer = web.signed_in("viewer")  # the first request starts it
        noted = eventually(web.engine.views.lags)
        [key] = house.redis.keys(f"{house.prefix}lag:*")
        life, minute = house.redis.ttl(key), int(key.rsplit(":", 1)[1])
        house.redis.rename(key, f"{house.prefix}lag:{minute - 120}")
        house.redis.set(f"{house.prefix}lag:{minute - 60}", json.dumps({settings["topic"]: [9]}))
        page = viewer.get("/kafka").text
        [row] = rows(page)

    assert noted == [{settings["topic"]: [4]}]
    assert 3_600 < life <= 3_720
    assert row[1:6] == ["–", "4", "4", "", "none"]
    # the next minute may have been noted meanwhile
    assert re.search(r'aria-label="Lag of partition 0 by the minute, last hour: 4, 9(, 4){1,2}"', page)


def test_of_many_partitions_those_with_lag_are_listed_and_the_others_on_request(settings: dict[str, Any]) -> None:
    with Web(**{**settings, "partitions": 24}) as web, House({**settings, "partitions": 24}) as house:
        house.client.options(queue="busy").submit("nobody")
        eventually(lambda: house.views.outbox_size() == 0)
        house.broker.ensure_topics([house.broker.topic_of("idle")])
        viewer = web.signed_in("viewer")
        page = viewer.get("/kafka").text
        [address] = re.findall(r'href="(/kafka\?topic=[^"]+idle)"', page)
        asked = viewer.get(address).text
        lagging = rows(viewer.get("/kafka?only=lag").text)
        nothing = viewer.get("/kafka?topic=none").text
        wrong = viewer.get("/kafka?only=some")

    assert len(rows(page)) == 24
    assert len(rows(asked)) == 24
    assert ".busy" not in asked.split('id="partitions"')[1]
    assert [row[3] for row in lagging] == ["1"]
    assert "No such topic" in nothing
    assert (wrong.status_code, "there are lag, held" in wrong.text) == (400, True)


def test_with_kafka_away_the_page_says_so_and_shows_what_redis_knows(redis_server: EmbeddedRedis) -> None:
    with Web(redis_server.url, kafka_servers=["127.0.0.1:9"]) as web:
        web.engine.client.submit("add", 1)
        page = web.signed_in("viewer").get("/kafka").text

    assert "Kafka does not tell how far it is." in page
    assert "127.0.0.1:9" in page
    assert "Queues, as Redis knows them" in page
    assert '<td class="num">1</td>' in page.split('id="queues"')[1]
    assert "Traceback" not in page


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []
        ended = threading.Event()

        def take() -> None:
            server.settimeout(0.1)
            while not ended.is_set():
                try:
                    taken.append(server.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=take)
        thread.start()
        yield server.getsockname()[1]
        ended.set()
        thread.join()
        for one in taken:
            one.close()


def test_a_kafka_that_does_not_answer_holds_no_page_up(redis_server: EmbeddedRedis, silent: int) -> None:
    with Web(redis_server.url, kafka_servers=[f"127.0.0.1:{silent}"]) as web:
        viewer = web.signed_in("viewer")
        took = {}
        for path in ("/kafka", "/", "/failed/rejected", "/kafka", "/failed"):
            began = time.monotonic()
            page = viewer.get(path)
            took[path] = time.monotonic() - began
            assert page.status_code == 200

    assert max(took.values()) < 2.0, took


def test_a_viewer_may_not_detach(settings: dict[str, Any]) -> None:
    with Web(**settings) as web:
        viewer = web.signed_in("viewer")
        answer = viewer.post("/kafka/detach", data={"csrf_token": web.csrf_token(viewer), "task": "a", "worker": "b"})

    assert answer.status_code == 403


def test_one_look_serves_all_who_ask_meanwhile_and_its_failure_is_told() -> None:
    gates = [Gate(), Gate()]
    looks: list[Gate] = []

    def look() -> int:
        looks.append(gates[len(looks)])
        looks[-1].wait()
        if len(looks) == 2:
            raise BrokerUnavailable("it is away")
        return 1

    latest = Latest("test", look)
    early = latest.get(fresh=5, wait=0.05)
    others = [latest.get(fresh=5, wait=0.01) for _ in range(3)]
    gates[0].opened.set()
    found = eventually(lambda: (one := latest.get(fresh=5, wait=1)).value and one)
    began = time.monotonic()
    meanwhile = latest.get(fresh=0, wait=30)
    took = time.monotonic() - began
    gates[1].opened.set()
    failed = eventually(lambda: (one := latest.get(fresh=5, wait=1)).trouble and one)
    latest.close()

    assert (early.value, early.trouble) == (None, "Kafka has not answered for 0.05 s.")
    assert {one.value for one in others} == {None}
    assert (found.value, found.trouble) == (1, "")
    assert (meanwhile.value, meanwhile.trouble, took < 10) == (1, "", True)
    assert (failed.value, failed.trouble) == (1, "It is away.")
    assert len(looks) == 2


@pytest.mark.parametrize(("committed", "head", "lag"), [(None, 5, 15), (3, 5, 15), (12, 12, 8), (20, 20, 0)])
def test_the_head_is_the_first_record_that_is_kept_and_needed(committed: int | None, head: int, lag: int) -> None:
    state = PartitionState("t", 0, 5, committed, 20)

    assert (state.head, state.lag) == (head, lag)
