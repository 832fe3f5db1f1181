"""Errors that differ only in details have one fingerprint; others do not."""

from __future__ import annotations

import time

import pytest

from yadtq.core.yadtq_fingerprint import fingerprint, pattern_of


@pytest.mark.parametrize(
    ("error", "pattern"),
    [
        ("KeyError: 'a17'", "KeyError: <text>"),
        ('ValueError: bad "x y" here', "ValueError: bad <text> here"),
        ("OSError: [Errno 28] no space on /var/lib/app/data.db", "OSError: [Errno <n>] no space on <path>"),
        ("FileNotFoundError: C:\\Users\\ann\\a.txt", "FileNotFoundError: <path>"),
        ("HTTPError: 503 for https://api.example.org/v1/orders?id=7", "HTTPError: <n> for <url>"),
        ("LookupError: order 6f1c2b1e-aaaa-4bbb-8ccc-0123456789ab", "LookupError: order <id>"),
        ("LookupError: commit 0f3ab29c77de and 0xdeadbeef", "LookupError: commit <id> and <id>"),
        ("ValueError: took 1.5 s\n  at 10:32:11, 3,000 times", "ValueError: took <n> s at <n>, <n> times"),
        ("TypeError: defaced facade", "TypeError: defaced facade"),
    ],
)
def test_what_varies_is_left_out(error: str, pattern: str) -> None:
    assert pattern_of(error) == pattern


def test_name_and_kind_of_error_tell_groups_apart() -> None:
    prints = {fingerprint(name, error) for name in ("a", "b") for error in ("KeyError: 'x'", "OSError: full", "")}
    assert len(prints) == 6
    assert fingerprint("a", "KeyError: 'x'") == fingerprint("a", "KeyError: 'y'")
    assert all(len(one) == 12 for one in prints)


@pytest.mark.parametrize("piece", ["'", '"', "/a", "a" * 8, "0x", "1,", "x://", "\\", "\ud800", "aaaaaaa1", "a+.-"])
def test_hostile_errors_take_no_time(piece: str) -> None:
    started = time.perf_counter()
    assert fingerprint("a", piece * 100_000)
    assert time.perf_counter() - started < 0.1
