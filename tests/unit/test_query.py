"""The search language: what is read out of it, and sentences for what cannot be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yadtq.core.yadtq_query import FIELDS, Query, Term, parse_query
from yadtq.errors import InvalidQuery

NOW = 1_795_500_000.0
ROW = {
    "id": "a1", "status": "failed", "name": "app.resize", "queue": "media", "worker": "gpu-2", "reason": "error",
    "args": '"a.jpg", width=1280', "error": "TimeoutError: it was [too] slow?",
}  # fmt: skip


def test_states_and_times_choose_the_part_of_an_index() -> None:
    query = parse_query("status:failed,expired name:resize after:2h before:2026-11-24T10:00", NOW)
    assert query.statuses == ("failed", "expired")
    assert query.terms == (Term("name", "resize"),)
    assert query.after == NOW - 7200
    assert query.before == 1_795_514_400.0
    assert query.matches({"status": "failed", "name": "resize"})
    assert not query.matches({"status": "queued", "name": "resize"})


def test_a_second_or_negated_state_is_held_against_rows() -> None:
    query = parse_query("status:failed status:failed,queued -status:expired", NOW)
    assert query.statuses == ("failed",)
    assert query.terms == (Term("status", "failed,queued"), Term("status", "expired", True))


def test_a_group_is_its_own_index() -> None:
    query = parse_query("group:0123456789ab status:failed", NOW)
    assert (query.group, query.statuses, query.terms) == ("0123456789ab", (), (Term("status", "failed"),))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("5min", 300), ("1.5h", 5400), ("1d", 86_400), ("2w", 1_209_600), ("2H", 7200)],
)
def test_spans(text: str, seconds: float) -> None:
    assert parse_query(f"after:{text}", NOW).after == NOW - seconds


@pytest.mark.parametrize(
    "text", ["2026-11-24T10:00Z", "2026-11-24T12:00+02:00", "2026-11-24 10:00", "2026-11-24T10:00"]
)
def test_times_are_utc_unless_they_say_otherwise(text: str) -> None:
    assert parse_query(f'before:"{text}"', NOW).before == 1_795_514_400.0


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("resize", True),
        ("RESIZE", True),
        ("1280", True),
        ("-resize", False),
        ("-other", True),
        ("name:app.*", True),
        ("name:resize*", False),
        ("name:*resize", True),
        ("name:APP", True),
        ("-name:app", False),
        ("queue:media", True),
        ("queue:med", False),
        ("queue:med*", True),
        ("worker:gpu", True),
        ("args:a.jpg", True),
        ('args:"width=1280"', True),
        ('error:"[too] slow?"', True),
        ("error:*[too]*", True),
        ("error:?oo", False),
        ('"it was" gpu', True),
        ("gpu missing", False),
        ("reason:error,timeout", True),
        ("reason:timeout", False),
    ],
)
def test_rows_that_match(text: str, matches: bool) -> None:
    assert parse_query(text, NOW).matches(ROW) is matches


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour:red", "there is no colour: to search by; there are name:, status:"),
        ("status:done", "there is no status 'done'; there are scheduled, queued"),
        ("status:", "status: needs a value, such as status:failed"),
        ("status:failed,", "there is no status ''"),
        ('name:"a', "is not closed"),
        ('a"b', "quotation mark"),
        ('""', "nothing between the quotes"),
        ("-", "stands alone"),
        ("after:soon", "after:soon is no time; write a span such as after:2h"),
        ("after:99999999d before:2026-13-01", "is no time"),
        ("-after:2h", "use before: instead"),
        ("x" * 1001, "longer than 1,000 characters"),
        ("a " * 21, "more than 20 words"),
    ],
)
def test_what_cannot_be_understood_is_said_in_a_sentence(text: str, says: str) -> None:
    with pytest.raises(InvalidQuery, match=r".") as caught:
        parse_query(text, NOW)
    assert says in str(caught.value)


def test_a_word_that_may_be_an_id_is_looked_up() -> None:
    assert parse_query("abc123").id == "abc123"
    assert parse_query("id:abc name:x").id == "abc"
    assert parse_query("id:abc*").id == parse_query("-abc").id == parse_query("a b").id == parse_query('"a b"').id == ""


@given(st.text(max_size=200))
def test_whatever_is_typed_gives_a_query_or_a_sentence(text: str) -> None:
    try:
        query = parse_query(text, NOW)
    except InvalidQuery:
        return
    assert isinstance(query, Query)
    query.matches(ROW)


@given(st.sampled_from(FIELDS[:-1]), st.text(alphabet="a*?[]!-\\.(x+", min_size=1, max_size=60))
def test_hostile_patterns_end_at_once(field: str, value: str) -> None:
    assert Term(field, value).matches({field: "a" * 128}) in (True, False)
