"""How fast queues fill and empty, from look to look; and shares in words."""

from __future__ import annotations

import pytest

from webapp.flow import Flow, Flows
from webapp.wording import percent


def test_rates_are_those_between_the_oldest_look_of_a_minute_and_the_newest() -> None:
    flows = Flows()
    looks = [flows.look(at, {"a": ends}, {"a": unfinished}) for at, ends, unfinished in (
        (0, 0, 0), (2, 10, 4), (30, 60, 30), (60, 120, 60), (90, 180, 60),
    )]  # fmt: skip

    assert looks[:2] == [{}, {}]  # nothing can be told of 2 seconds
    assert looks[2] == {"a": Flow(120, 60)}
    assert looks[3] == {"a": Flow(120, 60)}
    assert looks[4] == {"a": Flow(120, 90)}  # since the look at 30


def test_a_look_of_long_ago_tells_nothing_and_a_new_queue_nothing_yet() -> None:
    flows = Flows()
    flows.look(0, {"a": 0}, {})
    later = flows.look(500, {"a": 5}, {})
    both = flows.look(560, {"a": 65, "b": 9}, {"b": 1})

    assert later == {}
    assert both == {"a": Flow(60, 60)}


@pytest.mark.parametrize(
    ("came", "done", "queued", "words"),
    [
        (0, 0, 0, "–"),
        (0, 0, 7, "–"),
        (60, 60, 7, "steady"),
        (60, 60, 0, "–"),
        (0, 60, 120, "2 min 00 s"),
        (90, 60, 5, "growing"),
        (100, 102, 100_000, "over a day"),
    ],
)
def test_what_becomes_of_a_queue_at_its_pace(came: float, done: float, queued: int, words: str) -> None:
    assert Flow(came, done).outlook(queued) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.00001, "< 0.01 %"), (0.0064, "0.64 %"), (0.12, "12 %"), (0.999, "> 99 %"), (1, "100 %")],
)
def test_a_share_in_words(share: float, words: str) -> None:
    assert percent(share) == words
