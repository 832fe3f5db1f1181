"""Names that must agree: public ones, Redis keys here and in Lua, the tree of errors, the states."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import types
from importlib.resources import files
from pathlib import Path

import pytest

import yadtq
from yadtq import errors
from yadtq.core import yadtq_result_db
from yadtq.core.yadtq_result_db import _FULL_PROOF, KEYS, ResultStore
from yadtq.core.yadtq_task import (
    CANCELLABLE,
    LEGAL_MOVES,
    RETRYABLE,
    TERMINAL,
    InvalidName,
    OutcomeKind,
    Reason,
    TaskStatus,
    check_name,
)

PACKAGE = Path(yadtq.__file__).parent
LUA = {path.name.removesuffix(".lua"): path.read_text() for path in (files("yadtq.core") / "lua").iterdir()}  # type: ignore[attr-defined]
MOVES = set(LUA) - {"common"}

# -- public names ------------------------------------------------------------------------------------------------


def test_the_public_names_are_those_listed_and_all_of_them_exist() -> None:
    assert yadtq.__all__ == sorted(yadtq.__all__)
    assert all(hasattr(yadtq, name) for name in yadtq.__all__)


def test_nothing_else_leaks() -> None:
    """Submodules become attributes as they are imported; everything else is listed."""
    parts = {f"yadtq.{name}" for name in vars(yadtq)}
    seen = {
        name
        for name, value in vars(yadtq).items()
        if not (isinstance(value, types.ModuleType) and value.__name__ in parts)
    }
    assert {name for name in seen if not name.startswith("__")} == set(yadtq.__all__)


def test_every_error_a_user_can_meet_is_public() -> None:
    inner = {"RejectedRecord", "EmbeddedError", "InvalidQuery"}
    found = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert found - inner <= set(yadtq.__all__)


def test_every_public_name_explains_itself() -> None:
    assert all(inspect.getdoc(getattr(yadtq, name)) for name in yadtq.__all__)


# -- keys --------------------------------------------------------------------------------------------------------


def spelled_in_lua() -> set[str]:
    """Every name of a key that a script puts after the prefix."""
    text = re.sub(r"--.*", "", "\n".join(LUA.values()))
    direct = set(re.findall(r"P \.\. '([a-z_:]+)'", text))
    indirect = set(re.findall(r"flush_counts\('([a-z]+)'", text)) | set(re.findall(r"= '([a-z]+:)' \.\. int\(", text))
    return {re.sub(r":.*", ":", name) for name in direct | indirect}


def spelled_in_python() -> set[str]:
    text = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    return set(re.findall(r"(?:\.key|self\._key|store\.key)\(\s*\"([a-z_]+:?)\"", text))


def test_every_key_in_lua_is_in_the_table() -> None:
    found = spelled_in_lua()
    assert {"t:", "outbox", "run:", "backlog", "minute:", "done:"} <= found  # the search itself works
    assert found <= set(KEYS)


def test_every_key_in_python_is_in_the_table() -> None:
    found = spelled_in_python()
    assert {"user:", "result:"} <= found
    assert found <= set(KEYS)


def test_every_key_in_the_table_is_used() -> None:
    assert set(KEYS) <= spelled_in_lua() | spelled_in_python()


def test_every_key_in_the_table_has_its_type() -> None:
    kinds = {text.split()[0] for text in KEYS.values()}
    assert kinds == {"hash", "string", "list", "zset", "set", "stream", "channel"}


def test_a_key_belongs_to_one_name_only() -> None:
    """No name with a part after it may be the beginning of another, or two tasks could share a key."""
    open_ended = [name for name in KEYS if name.endswith(":")]
    assert not [(a, b) for a in open_ended for b in KEYS if a != b and b.startswith(a)]


# -- scripts -----------------------------------------------------------------------------------------------------


def test_every_script_is_called_and_every_call_has_its_script() -> None:
    source = "".join(inspect.getsource(kind) for kind in ResultStore.__mro__[:-1])
    called = set(re.findall(r"self\.run\(\s*\"([a-z]+)\"", source))
    assert called == MOVES


def test_every_script_but_the_clients_new_ones_works_in_a_full_redis() -> None:
    """What frees memory, or tells that a worker lives, must not fail for want of memory; what a task tells may."""
    assert set(_FULL_PROOF) == MOVES - {"enq", "retry", "note", "report"}


@pytest.mark.parametrize("name", sorted(MOVES))
def test_every_script_says_what_it_is_for_and_flushes_what_it_gathered(name: str) -> None:
    text = LUA[name]
    assert text.startswith("-- ")
    assert "-- ARGV: " in text
    gathers = re.search(
        r"note_move|note_worker|count\(|add_pair|unsent\[|undue\[|republish|end_without_result|give_back|\bfail\(|survive",
        text,
    )
    assert bool(gathers) == ("\nflush()\n" in text)


def test_states_in_lua_are_the_states() -> None:
    words = {status.value for status in TaskStatus}
    text = "\n".join(LUA.values())
    (table,) = re.findall(r"local TERMINAL = \{(.*)\}", text)
    terminal = set(re.findall(r"(\w+) = true", table))
    assert terminal == {status.value for status in TERMINAL}
    compared = set(re.findall(r"status [=~]= '([a-z]+)'", text)) - {"all"}  # index:all holds every task
    assert compared | terminal == words
    assert set(re.findall(r"'index:([a-z]+)'", text)) - {"all"} <= words


def test_kinds_and_reasons_in_lua_are_the_ones_of_python() -> None:
    assert set(re.findall(r"kind == '([a-z]+)'", LUA["fin"])) | {"failed"} == {kind.value for kind in OutcomeKind}
    reasons = set(re.findall(r"\bfail\(.*, [\w\[\]]+, '([a-z_]+)', ", "\n".join(LUA.values())))
    assert reasons == {"error", "unknown_task", "worker_lost", "rejected"}
    assert reasons <= {reason.value for reason in Reason}


# -- states ------------------------------------------------------------------------------------------------------


def test_the_table_of_legal_moves_fits_the_sets_of_states() -> None:
    assert set(LEGAL_MOVES) == set(TaskStatus)
    assert {status for status in TaskStatus if status.terminal} == TERMINAL
    assert {status for status in TERMINAL if LEGAL_MOVES[status]} == RETRYABLE
    assert all(TaskStatus.QUEUED in LEGAL_MOVES[status] for status in RETRYABLE)
    assert {status for status in TaskStatus if TaskStatus.CANCELLED in LEGAL_MOVES[status]} == CANCELLABLE
    assert set(TaskStatus) == CANCELLABLE | TERMINAL


def test_states_are_words() -> None:
    assert [str(status) for status in TaskStatus] == [
        "scheduled",
        "queued",
        "processing",
        "retrying",
        "success",
        "failed",
        "cancelled",
        "expired",
    ]
    assert f"{Reason.WORKER_LOST} {OutcomeKind.HANDBACK}" == "worker_lost handback"


@pytest.mark.parametrize("name", ["a", "A.b-c_d:e", "x" * 128, "0"])
def test_good_names(name: str) -> None:
    assert check_name("task", name) == name


@pytest.mark.parametrize("name", ["", "x" * 129, "a b", "a\n", "ü", "a/b", "*", None, 5, b"a"])
def test_bad_names_are_refused_with_their_kind(name: object) -> None:
    with pytest.raises(InvalidName, match=r"^queue name"):
        check_name("queue", name)  # type: ignore[arg-type]


# -- errors ------------------------------------------------------------------------------------------------------


def drawn_tree() -> dict[str, str]:
    """Class -> parent, as drawn on top of errors.py."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if "──" not in line and line != "YadtqError":
            continue
        if match := re.match(r"^([│ ]*)(?:[├└]── )?([A-Z]\w+)(\s+\S.*)?$", line):
            depth = len(match[1]) // 4 + ("──" in line)
            path = [*path[:depth], match[2]]
            if depth:
                parents[match[2]] = path[depth - 1]
    return parents


def test_the_tree_of_errors_is_drawn_as_it_is() -> None:
    classes = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    assert drawn_tree() == {
        name: value.__base__.__name__ for name, value in classes.items() if value is not errors.YadtqError
    }
    assert errors.YadtqError.__base__ is Exception


def test_every_error_explains_itself() -> None:
    assert all(value.__doc__ for value in vars(errors).values() if inspect.isclass(value))


def test_an_uncertain_submit_carries_its_id() -> None:
    error = errors.SubmitUncertain("no reply", "task-1")
    assert (error.task_id, str(error)) == ("task-1", "no reply")
    assert isinstance(error, errors.ResultStoreUnavailable)


# -- importing ---------------------------------------------------------------------------------------------------

IMPORT = """
import socket, threading
def refuse(*args, **kwargs): raise AssertionError("a connection at import")
socket.socket.connect = socket.create_connection = refuse
import yadtq
broker, store = yadtq.create_yadtq(kafka_servers="localhost:1", redis_port=1)
client = yadtq.TaskClient(broker, store)
worker = yadtq.TaskWorker(broker, store, {"add": max})
print(threading.active_count())
client.close(); broker.close(); store.close()
"""


def test_neither_importing_nor_making_things_connects_or_starts_a_thread() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def test_the_store_spells_no_key_by_hand() -> None:
    text = inspect.getsource(yadtq_result_db)
    assert text.count("{self.prefix}") == 1
