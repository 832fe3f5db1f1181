"""The envelope: what goes in comes out, what is refused and where it is, and whose signature is believed."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from enum import Enum, IntEnum
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from yadtq import PayloadTooLarge, TaskNotSerializable
from yadtq.core import yadtq_codec
from yadtq.core.yadtq_codec import (
    HEADER_ROOM,
    MASK,
    MAX_DEPTH,
    MAX_RECORD,
    SMALL,
    Codec,
    Stamp,
    arguments_json,
    depth_of,
    dumps,
    loads,
    parse,
    preview,
    shorten,
)
from yadtq.core.yadtq_task import Task
from yadtq.errors import RejectedRecord

OLD, NEW = "k1:0123456789abcdef", "k2:fedcba9876543210"
TOPIC = "yadtq_tasks"
quick = settings(deadline=None, max_examples=60)

texts = st.text(st.characters(codec="utf-8"), max_size=20)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4))
tasks = st.builds(
    Task,
    st.text("0123456789abcdef", min_size=24, max_size=24),
    st.from_regex(r"[A-Za-z0-9_.:-]{1,128}", fullmatch=True),
    st.lists(values, max_size=4).map(tuple),
    st.dictionaries(texts, values, max_size=3),
    st.none() | st.integers(0, 100),
    st.none() | st.floats(0.001, 1e6),
    st.none() | st.floats(0, 1e10),
)


class Color(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Odd(Enum):
    SET = frozenset({1})
    NAN = float("nan")


STAMP = Stamp(1, 1_700_000_000_000)


def codec(*keys: str, required: bool = True) -> Codec:
    return Codec(keys or (OLD,), required)


# -- round trips -------------------------------------------------------------------------------------------------


@quick
@given(values)
def test_json_comes_back_as_it_went(value: Any) -> None:
    back = loads(dumps(value))
    assert back == value
    assert repr(back) == repr(value)  # True is not 1, and 1.0 is not 1


@quick
@given(tasks, st.integers(1, 999_999_999), st.integers(0, 10**15 - 1))
def test_a_task_comes_back_as_it_went(task: Task, gen: int, at: int) -> None:
    body = codec().pack(task)
    assert codec().read(TOPIC, codec().header(TOPIC, Stamp(gen, at), body), body) == ((gen, at), task)


@given(st.integers(min_value=-(10**300), max_value=10**300))
@settings(deadline=None, max_examples=200)
def test_integers_of_any_size_are_exact(number: int) -> None:
    task = Task("a", "add", (number, [number]), {"n": number})
    assert parse(codec().pack(task)) == task


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1])
def test_integers_around_64_bits_are_exact(number: int) -> None:
    assert loads(dumps([number, None])) == [number, None]


@quick
@given(tasks)
def test_a_sealed_envelope_opens_again(task: Task) -> None:
    body = codec().pack(task)
    assert codec().unseal(TOPIC, codec().seal(TOPIC, body)) == body


def test_a_body_with_line_feeds_opens_again() -> None:
    task = Task("a", "add", ("one\ntwo\n",))
    assert parse(codec().unseal(TOPIC, codec().seal(TOPIC, codec().pack(task)))) == task


@pytest.mark.parametrize("beside", [(), (None,), (2**70,), ("null",)])
def test_the_documented_conversions(beside: tuple[Any, ...]) -> None:
    """Whatever stands beside them: tuples become lists, UUIDs text, enum members their value."""
    one = uuid.UUID("12345678-1234-5678-1234-567812345678")
    packed = codec().pack(Task("a", "add", ((1, 2), one, Color.RED, Level.HIGH, *beside)))
    assert parse(packed).args == ([1, 2], str(one), "red", 3, *beside)


def test_null_in_a_text_is_only_text() -> None:
    assert loads(dumps({"null": "nullable"})) == {"null": "nullable"}


# -- what is refused, and that the message names it ----------------------------------------------------------------

REFUSED = [
    {1, 2},
    b"bytes",
    object(),
    float("nan"),
    float("inf"),
    -float("inf"),
    {1: "int key"},
    {None: "no key"},
    "half a \ud800 pair",
    {"half a \udfff key": 1},
    Odd.SET,
    Odd.NAN,
    10**5000,
]


@pytest.mark.parametrize("value", REFUSED, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [v], lambda v: {"deep": [None, v]}])
def test_what_is_not_json_is_refused_with_its_place(value: Any, wrap: Any) -> None:
    with pytest.raises(TaskNotSerializable, match=r"^(a key of )?argument 2 of resize"):
        codec().pack(Task("a", "resize", (1, wrap(value))))
    with pytest.raises(TaskNotSerializable, match=r"^(a key of )?argument 'width' of resize"):
        codec().pack(Task("a", "resize", (1,), {"height": 2, "width": wrap(value)}))


def test_dates_are_refused_not_converted() -> None:
    with pytest.raises(TaskNotSerializable, match="argument 1 of f is of type date"):
        codec().pack(Task("a", "f", (dt.date(2026, 1, 1),)))


def test_the_place_is_told_to_the_last_step() -> None:
    with pytest.raises(TaskNotSerializable, match=r"argument 1 of f\['a'\]\[1\] is of type set"):
        codec().pack(Task("a", "f", ({"a": [0, {1}]},)))


def test_a_list_within_itself_is_refused() -> None:
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(TaskNotSerializable, match="argument 1 of f"):
        codec().pack(Task("a", "f", (knot,)))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_is_limited_at_both_ends() -> None:
    deepest = codec().pack(Task("a", "f", (nested(MAX_DEPTH - 1),)))  # the arguments are a list of their own
    assert depth_of(parse(deepest).args) == MAX_DEPTH
    with pytest.raises(TaskNotSerializable, match="nested deeper than 32"):
        codec().pack(Task("a", "f", (nested(MAX_DEPTH),)))
    with pytest.raises(TaskNotSerializable, match="nested deeper than 32"):
        codec().pack(Task("a", "f", (), {"x": nested(MAX_DEPTH)}))
    body = json.dumps({"v": 1, "id": "a", "name": "f", "args": nested(MAX_DEPTH + 3), "kwargs": {}, "opts": {}})
    with pytest.raises(RejectedRecord, match="nested deeper than 32"):
        parse(body.encode())


def test_many_brackets_are_not_depth() -> None:
    task = Task("a", "f", ("[" * 100, [[]] * 100))
    assert parse(codec().pack(task)) == task


@pytest.mark.parametrize("depth", [5_000, 200_000])
def test_no_depth_overflows_the_stack(depth: int) -> None:
    with pytest.raises(TaskNotSerializable):
        codec().pack(Task("a", "f", (nested(depth),)))
    with pytest.raises(RejectedRecord):
        parse(b"[" * depth + b"]" * depth)


def test_size_is_limited_at_both_ends() -> None:
    room = MAX_RECORD - len(codec().pack(Task("a", "f", ("",))))
    fits = codec().pack(Task("a", "f", ("x" * room,)))
    assert len(fits) == MAX_RECORD
    assert codec().verify(TOPIC, codec().header(TOPIC, STAMP, fits), fits) == STAMP
    with pytest.raises(PayloadTooLarge, match="arguments of f take 524,289 bytes"):
        codec().pack(Task("a", "f", ("x" * (room + 1),)))
    longer = fits + b" "
    with pytest.raises(RejectedRecord, match="too large"):
        codec().verify(TOPIC, codec().header(TOPIC, STAMP, longer), longer)


# -- shapes ------------------------------------------------------------------------------------------------------

GOOD = {"v": 1, "id": "a", "name": "f", "args": [], "kwargs": {}, "opts": {}}


def test_the_good_shape_is_read() -> None:
    assert parse(json.dumps(GOOD).encode()) == Task("a", "f")


@pytest.mark.parametrize("name", GOOD)
def test_every_field_is_needed(name: str) -> None:
    with pytest.raises(RejectedRecord, match="wrong shape"):
        parse(json.dumps({key: value for key, value in GOOD.items() if key != name}).encode())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"v": 2}, "version '2'"),
        ({"v": "1"}, "version '1'"),
        ({"id": 5}, "wrong shape"),
        ({"id": "a b"}, "wrong shape"),
        ({"id": ""}, "wrong shape"),
        ({"name": "os.system\n"}, "wrong shape"),
        ({"name": "x" * 129}, "wrong shape"),
        ({"args": {}}, "wrong shape"),
        ({"args": None}, "wrong shape"),
        ({"kwargs": []}, "wrong shape"),
        ({"opts": None}, "wrong shape"),
        ({"opts": {"retries": -1}}, "wrong shape"),
        ({"opts": {"retries": 1.5}}, "wrong shape"),
        ({"opts": {"retries": True}}, "wrong shape"),
        ({"opts": {"timeout": "60"}}, "wrong shape"),
        ({"opts": {"expires_at": []}}, "wrong shape"),
        ({"opts": {"expires_at": 1e308}}, "wrong shape"),
        ({"opts": {"expires_at": 10**400}}, "wrong shape"),
        ({"opts": {"timeout": 1e308}}, "wrong shape"),
        ({"opts": {"timeout": 10**400}}, "wrong shape"),
        ({"opts": {"retries": 10**30}}, "wrong shape"),
    ],
)
def test_wrong_shapes_are_rejected(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecord, match=reason):
        parse(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"null", b"[]", b'"v"', b"1", b"{} {}"])
def test_what_is_no_object_is_rejected(body: bytes) -> None:
    with pytest.raises(RejectedRecord, match=r"not JSON|wrong shape"):
        parse(body)


@pytest.mark.parametrize("number", ["1", "1" * 19, "1" * 4300])
@pytest.mark.parametrize(
    "field",
    [
        '"args": [NUMBER, NaN]',
        '"args": [NUMBER, [Infinity]]',
        '"args": [NUMBER, -Infinity]',
        '"args": [NUMBER, 1e999]',
        '"args": [NUMBER, "\\ud800"]',
        '"args": [NUMBER, {"half \\udfff key": 1}]',
        '"kwargs": {"n": NUMBER, "x": -1e999}',
        '"kwargs": {"n": NUMBER, "\\ud800": 1}',
        '"opts": {"n": NUMBER, "timeout": NaN}',
        '"opts": {"n": NUMBER, "expires_at": 1e999}',
        '"v": NUMBER, "v": "\\ud800"',
        '"more": [NUMBER, NaN]',
    ],
)
def test_what_is_no_json_is_rejected_whatever_number_stands_beside_it(number: str, field: str) -> None:
    """A long number is read by the standard library, which takes more than JSON."""
    body = f"{json.dumps(GOOD)[:-1]}, {field}}}"  # of two fields of one name, the last counts
    with pytest.raises(RejectedRecord, match="not JSON"):
        parse(body.replace("NUMBER", number).encode())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_body_is_utf_8_alone(encoding: str) -> None:
    body = json.dumps({**GOOD, "args": ["1" * 19]}).encode(encoding)
    for tried in (body, body + ("1" * 19).encode()):
        with pytest.raises(RejectedRecord, match="not JSON"):
            parse(tried)


@given(st.binary(max_size=200))
@quick
def test_no_bytes_do_anything_but_be_rejected(body: bytes) -> None:
    with pytest.raises(RejectedRecord):
        codec().read(TOPIC, codec().header(TOPIC, STAMP, body), body)


# -- signatures --------------------------------------------------------------------------------------------------

BODY = codec().pack(Task("a", "f", (1, 2)))
HEADER = codec().header(TOPIC, Stamp(3, 1_700_000_000_000), BODY)


def test_a_right_signature_tells_gen_and_time() -> None:
    assert codec().verify(TOPIC, HEADER, BODY) == (3, 1_700_000_000_000)


@pytest.mark.parametrize(
    ("topic", "header", "body", "reason"),
    [
        (TOPIC, HEADER, BODY[:-1], "does not match"),
        (TOPIC, HEADER, BODY + b" ", "does not match"),
        (TOPIC, HEADER, b"", "does not match"),
        (TOPIC + ".media", HEADER, BODY, "does not match"),
        (TOPIC, HEADER.replace(b"3:", b"4:", 1), BODY, "does not match"),
        (TOPIC, HEADER[:-1] + (b"0" if HEADER[-1:] != b"0" else b"1"), BODY, "does not match"),
        (TOPIC, HEADER[:-2], BODY, "does not match"),
        (TOPIC, HEADER.upper().replace(b"K1", b"k1"), BODY, "does not match"),
        (TOPIC, HEADER.replace(b":17", b":18"), BODY, "does not match"),
        (TOPIC, b"3:1:k1:\xff\xff", BODY, "does not match"),
        (TOPIC, HEADER.replace(b"k1", b"k7"), BODY, "unknown key 'k7'"),
        (TOPIC, b"3:1:\xff:aa", BODY, "unknown key"),
        (TOPIC, b"3:1::", BODY, "not signed"),
        (TOPIC, b"3:1", BODY, "not signed"),
        (TOPIC, b"3", BODY, "no yadtq header"),
        (TOPIC, b"3::k1:aa", BODY, "no yadtq header"),
        (TOPIC, b"3:-1:k1:aa", BODY, "no yadtq header"),
        (TOPIC, b"3:" + b"9" * 16 + b":k1:aa", BODY, "no yadtq header"),
        (TOPIC, None, BODY, "no yadtq header"),
        (TOPIC, b"", BODY, "no yadtq header"),
        (TOPIC, b"0" + HEADER[1:], BODY, "no yadtq header"),
        (TOPIC, b"-1" + HEADER[1:], BODY, "no yadtq header"),
        (TOPIC, "³".encode() + HEADER[1:], BODY, "no yadtq header"),
        (TOPIC, b"9" * 10 + HEADER[1:], BODY, "no yadtq header"),
    ],
)
def test_what_was_not_signed_so_is_rejected(topic: str, header: bytes | None, body: bytes, reason: str) -> None:
    with pytest.raises(RejectedRecord, match=reason):
        codec().verify(topic, header, body)


def test_the_longest_header_fits_into_its_room() -> None:
    longest = codec("k" * 64 + ":a-secret-of-some-length")
    assert len(longest.header(TOPIC, Stamp(999_999_999, 10**15 - 1), BODY)) < HEADER_ROOM


def test_another_key_of_the_same_name_is_not_believed() -> None:
    with pytest.raises(RejectedRecord, match="does not match"):
        codec("k1:another-secret-altogether").verify(TOPIC, HEADER, BODY)


@quick
@given(st.data())
def test_no_single_change_goes_unnoticed(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(BODY) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = BODY[:place] + bytes([byte]) + BODY[place + 1 :]
    assume(changed != BODY)
    with pytest.raises(RejectedRecord, match="does not match"):
        codec().verify(TOPIC, HEADER, changed)


def test_keys_rotate_without_a_gap() -> None:
    """Verify with both, then sign with the new one, then forget the old one: every step understands its neighbours."""
    steps = [codec(OLD), codec(OLD, NEW), codec(NEW, OLD), codec(NEW)]
    for one, other in pairwise(steps):
        for signer, reader in ((one, other), (other, one)):
            assert reader.verify(TOPIC, signer.header(TOPIC, STAMP, BODY), BODY) == STAMP
    with pytest.raises(RejectedRecord, match="unknown key 'k1'"):
        steps[-1].verify(TOPIC, steps[0].header(TOPIC, STAMP, BODY), BODY)


def test_unsigned_records_pass_only_where_signing_is_not_required() -> None:
    unsigned = Codec((), required=False)
    header = unsigned.header(TOPIC, STAMP, BODY)
    assert unsigned.verify(TOPIC, header, BODY) == STAMP
    assert codec(required=False).verify(TOPIC, header, BODY) == STAMP
    with pytest.raises(RejectedRecord, match="not signed"):
        codec().verify(TOPIC, header, BODY)


def test_a_wrong_signature_is_rejected_even_where_none_is_required() -> None:
    with pytest.raises(RejectedRecord, match="does not match"):
        codec(required=False).verify(TOPIC, HEADER, BODY + b" ")


def test_nothing_is_parsed_before_its_signature_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_body: bytes) -> Task:
        raise AssertionError("parsed")

    monkeypatch.setattr(yadtq_codec, "parse", never)
    with pytest.raises(RejectedRecord):
        codec().read(TOPIC, HEADER, BODY + b" ")
    with pytest.raises(AssertionError, match="parsed"):
        codec().read(TOPIC, HEADER, BODY)


def test_a_changed_envelope_in_redis_is_not_signed_anew() -> None:
    sealed = codec().seal(TOPIC, BODY)
    with pytest.raises(RejectedRecord, match="does not match"):
        codec().unseal(TOPIC, sealed.replace(b"[1,2]", b"[1,3]"))
    with pytest.raises(RejectedRecord, match="does not match"):
        codec().unseal(TOPIC + ".other", sealed)


# -- for people --------------------------------------------------------------------------------------------------

anything = st.text(max_size=200) | leaves


@quick
@given(st.lists(leaves | texts.map(lambda t: t * 20), max_size=5), st.dictionaries(texts, leaves, max_size=3))
def test_a_preview_is_short_and_on_one_line(args: list[Any], kwargs: dict[str, Any]) -> None:
    shown = preview(args, kwargs)
    assert len(shown.encode()) <= SMALL
    assert "\n" not in shown


@quick
@given(st.text(max_size=300), st.integers(4, 100))
def test_shortened_text_fits_and_says_that_it_was_cut(text: str, size: int) -> None:
    whole = " ".join(text.split())
    short = shorten(text, size)
    assert len(short.encode()) <= size
    if len(whole.encode(errors="replace")) <= size:
        assert short == whole.encode(errors="replace").decode()
    else:
        assert short.endswith("…")
        assert whole.startswith(short[:-1]) or "\ud800" <= max(whole) <= "\udfff"


def test_half_a_surrogate_pair_can_be_shown() -> None:
    assert shorten("a\ud800b") == "a?b"


def test_a_preview_reads_like_a_call() -> None:
    assert preview(["a.jpg", 2], {"width": 1280, "deep": [1]}) == '"a.jpg", 2, width=1280, deep=[1]'


@pytest.mark.parametrize(
    "name", ["password", "db_passwd", "PassPhrase", "api_key", "apikey", "auth_token", "client_secret", "Cookie"]
)
def test_secrets_are_masked_by_name(name: str) -> None:
    assert preview([], {name: "hunter2", "n": 1}) == f"{name}={MASK}, n=1"
    assert arguments_json([], {name: "hunter2"}) == ""


@pytest.mark.parametrize("name", ["passenger", "key", "path", "author"])
def test_other_names_are_not_masked(name: str) -> None:
    assert preview([], {name: "x"}) == f'{name}="x"'


def test_short_arguments_stay_with_the_row_and_long_ones_do_not() -> None:
    assert arguments_json([1], {"b": 2}) == '[[1],{"b":2}]'
    longest = "x" * (SMALL - len('[[""],{}]'))
    assert len(arguments_json([longest], {}).encode()) == SMALL
    assert arguments_json([longest + "x"], {}) == ""
    assert arguments_json(["ü" * 30], {}) == ""  # bytes count, not characters
