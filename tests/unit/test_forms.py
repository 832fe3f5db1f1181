"""From annotations to inputs, and from what was typed to values."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.forms import Call, argument_fields, filled_fields, option_fields, queue_for, read_options, signature
from webapp.typed import InputError, as_text, typed
from yadtq.core.yadtq_views import FunctionInfo, ParamInfo


@pytest.mark.parametrize(
    ("annotation", "kind", "text", "value"),
    [
        ("str", "text", "007", "007"),
        ("int", "number", "1_000", 1000),
        ("float", "number", "2", 2.0),
        ("int | None", "number", "7", 7),
        ("Optional[int]", "number", "7", 7),
        ("bool", "check", "on", True),
        ("bool | None", "choice", "false", False),
        ("date", "date", "2026-11-24", "2026-11-24"),
        ("Literal['a', 'b']", "choice", "b", "b"),
        ("typing.Literal[1, 2]", "choice", "2", 2),
        ("list[str]", "text", "a, b,", ["a", "b"]),
        ("List[int]", "text", "[1, 2]", [1, 2]),
        ("tuple[float, ...]", "text", "1, 2.5", [1.0, 2.5]),
        ("tuple[str, int]", "json", '["a", 1]', ["a", 1]),
        ("list[dict[str, int]]", "json", '[{"a": 1}]', [{"a": 1}]),
        ("dict[str, Any]", "json", '{"a": [1]}', {"a": [1]}),
        ("Any", "text", "[1]", [1]),
        ("", "text", "plain words", "plain words"),
        ("Path", "text", "/tmp/x", "/tmp/x"),
    ],
)
def test_each_annotation_has_an_input_that_reads_its_values(annotation: str, kind: str, text: str, value: Any) -> None:
    how = typed(annotation)

    read = how.read(text)

    assert how.kind == kind
    assert read == value
    assert type(read) is type(value)
    assert how.read(as_text(value, how)) == value


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        ("int", "1.5"),
        ("float", "nan"),
        ("date", "24.11.2026"),
        ("Literal['a', 'b']", "c"),
        ("list[int]", "1, x"),
        ("list[dict[str, int]]", "{}"),
        ("dict", "[]"),
        ("Any", '{"a"'),
    ],
)
def test_what_does_not_fit_is_an_error_in_words(annotation: str, text: str) -> None:
    with pytest.raises(InputError, match=r"\w+ .*\."):
        typed(annotation).read(text)


@pytest.mark.parametrize("text", ["12", "true", "null", '"quoted"', "{", "words"])
def test_a_text_of_unknown_type_survives_being_shown_and_read(text: str) -> None:
    how = typed("")

    assert how.read(as_text(text, how)) == text


def params(*given: tuple[str, str, str, bool, Any]) -> FunctionInfo:
    return FunctionInfo("shop.work", "", ["b", "a"], [ParamInfo(*one) for one in given])


WORK = params(
    ("a", "positional", "int", True, None),
    ("rest", "args", "", False, None),
    ("b", "keyword", "str", False, "x"),
    ("more", "kwargs", "", False, None),
)


def test_a_signature_reads_like_the_definition() -> None:
    starred = params(("a", "positional", "", False, 1), ("b", "keyword", "str", True, None))
    long = params(*((f"argument{n}", "positional", "dict[str, Any]", False, None) for n in range(4)))

    assert signature(WORK) == "def work(a: int, *rest, b: str = 'x', **more)"
    assert signature(starred) == "def work(a=1, *, b: str)"
    assert signature(long).splitlines()[1] == "    argument0: dict[str, Any] = None,"


def test_arguments_fill_the_fields_they_belong_to() -> None:
    fields = filled_fields(WORK, [1, 2, 3], {"b": "y", "c": 4})

    assert fields
    assert [one.text for one in fields] == ["1", "[\n  2,\n  3\n]", "y", '{\n  "c": 4\n}']


def test_arguments_that_fit_no_field_are_not_dropped() -> None:
    one = params(("a", "positional", "int", True, None))

    assert filled_fields(one, [1, 2], {}) is None
    assert filled_fields(one, [1], {"b": 2}) is None


def test_defaults_stand_in_the_fields() -> None:
    assert [one.text for one in argument_fields(WORK)] == ["", "", "x", ""]
    assert [one.required for one in argument_fields(WORK)] == [True, False, False, False]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("delay", "90", 90.0),
        ("delay", "1.5 min", 90.0),
        ("timeout", "2h", 7200.0),
        ("retries", "0", 0),
        ("key", "k", "k"),
    ],
)
def test_options_are_read_with_their_units(name: str, text: str, value: Any) -> None:
    call = Call("work")

    fields = read_options({f"o-{name}": text}, call)

    assert not any(one.error for one in fields)
    assert call.options == {name: value}


def test_a_start_may_be_a_moment_that_has_not_passed() -> None:
    later, past = Call("work"), Call("work")

    read_options({"o-delay": "2999-01-01 06:00"}, later)
    fields = read_options({"o-delay": "2020-01-01 06:00"}, past)

    assert later.options["delay"] > 30_000_000_000
    assert [one.error for one in fields if one.error] == ["That time has passed."]


def test_the_queue_offered_is_one_that_the_workers_take_from() -> None:
    assert queue_for(WORK) == "b"
    assert queue_for(FunctionInfo("f", "", ["a", "default"], [])) == "default"
    assert queue_for(None) == "default"
    assert option_fields({"o-queue": "typed"}, "b")[0].text == "typed"
