"""Functions by name: the options that live with them, what workers announce, what is refused."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from typing import Any

import pytest

from yadtq import ConfigError, InvalidName, create_yadtq, task
from yadtq.api import yadtq_worker
from yadtq.api.yadtq_registry import build_functions, describe_function, is_task, task_name
from yadtq.api.yadtq_worker import TaskWorker


@task(retries=5, timeout=60, no_retry=(ValueError, KeyError))
def resize(path: str, width: int = 800, *, crop: bool = False) -> str:
    """Make a picture smaller.

    The rest is for readers of the code.
    """
    return f"{path} {width} {crop}"


@task
def plain(value: Any) -> Any:
    return value


@task(name="media.thumbnail")
def thumbnail() -> None:
    """Named otherwise."""


def with_context(ctx: Any, a: int, *rest: int, **more: Any) -> None: ...


async def asynchronous() -> None: ...


def params(function: Callable[..., Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = describe_function(build_functions({"f": function})["f"])["params"]
    return found


def test_a_task_stays_an_ordinary_function() -> None:
    assert resize("a.jpg", 3) == "a.jpg 3 False"
    assert plain(4) == 4
    assert is_task(resize)
    assert is_task(plain)
    assert not is_task(with_context)
    assert not is_task("resize")


def test_options_live_with_the_function() -> None:
    found = build_functions([resize, plain])
    assert list(found) == ["resize", "plain"]
    assert (found["resize"].retries, found["resize"].timeout) == (5, 60)
    assert found["resize"].no_retry == (ValueError, KeyError)
    assert (found["plain"].retries, found["plain"].timeout, found["plain"].no_retry) == (None, None, ())


def test_a_task_goes_by_its_own_name_in_a_list_and_by_the_key_in_a_dict() -> None:
    assert task_name(thumbnail) == "media.thumbnail"
    assert list(build_functions([thumbnail])) == ["media.thumbnail"]
    renamed = build_functions({"small": thumbnail, "big": resize})
    assert list(renamed) == ["small", "big"]
    assert renamed["big"].retries == 5


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1},
        {"timeout": 0},
        {"timeout": -5.0},
        {"no_retry": ("ValueError",)},
        {"no_retry": (ValueError, 5)},
        {"no_retry": (ValueError(),)},
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        task(**options)


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 129, "a/b", "a\n"])
def test_names_that_cannot_be_used_are_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        build_functions({name: resize})


def test_an_async_function_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'later' is an async function"):
        build_functions({"later": asynchronous})
    with pytest.raises(ConfigError, match="async"):
        build_functions({"later": functools.partial(asynchronous)})


def test_what_is_no_function_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="task 'add' is a int"):
        build_functions({"add": 5})  # type: ignore[dict-item]


def test_two_functions_of_one_name_are_refused() -> None:
    @task(name="plain")
    def other() -> None: ...

    with pytest.raises(ConfigError, match="plain"):
        build_functions([plain, other])


def test_what_is_announced() -> None:
    described = describe_function(build_functions([resize])["resize"])
    assert described == {
        "name": "resize",
        "doc": "Make a picture smaller.",
        "params": [
            {"name": "path", "kind": "positional", "annotation": "str", "required": True},
            {"name": "width", "kind": "positional", "annotation": "int", "required": False, "default": 800},
            {"name": "crop", "kind": "keyword", "annotation": "bool", "required": False, "default": False},
        ],
    }


def test_the_context_is_given_and_not_announced() -> None:
    function = build_functions({"f": with_context})["f"]
    assert function.wants_context
    assert [(param["name"], param["kind"]) for param in params(with_context)] == [
        ("a", "positional"),
        ("rest", "args"),
        ("more", "kwargs"),
    ]
    assert not build_functions([resize])["resize"].wants_context


def test_a_default_that_is_not_json_is_left_out() -> None:
    def opens(mode: Any = frozenset({1}), size: float = float("inf")) -> None: ...

    assert all("default" not in param and not param["required"] for param in params(opens))


def test_annotations_that_are_no_plain_names() -> None:
    def odd(a: int | None, b: "list[str]", c) -> None: ...  # type: ignore[no-untyped-def]  # noqa: UP037

    assert [param["annotation"] for param in params(odd)][-1] == ""
    assert all(isinstance(param["annotation"], str) for param in params(odd))


def test_functions_of_c_without_a_signature_can_be_tasks() -> None:
    assert params(max)[0]["kind"] == "args"


def test_arguments_that_do_not_fit() -> None:
    function = build_functions([resize])["resize"]
    assert function.fits(("a",), {"crop": True}) == ""
    assert "missing a required argument: 'path'" in function.fits((), {})
    assert "too many positional arguments" in function.fits(("a", 1, 2), {})
    assert "unexpected keyword argument 'depth'" in function.fits(("a",), {"depth": 1})


def test_the_context_does_not_count_as_an_argument() -> None:
    def needs(value: int, ctx: Any) -> None: ...

    function = build_functions({"f": needs})["f"]
    assert function.fits((1,), {}) == ""
    assert function.fits((), {}) != ""


def test_a_signal_stops_a_worker_before_it_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that hangs keeps no worker from stopping."""
    worker, stopping = TaskWorker(*create_yadtq(), [plain]), []
    monkeypatch.setattr(yadtq_worker.logger, "info", lambda *_: stopping.append(worker._stop.is_set()))
    worker._on_signal(signal.SIGTERM, None)
    assert stopping == [True]


def test_a_worker_without_tasks_or_slots_is_refused() -> None:
    broker, store = create_yadtq()
    with pytest.raises(ConfigError, match="at least one task"):
        TaskWorker(broker, store, {})
    with pytest.raises(ConfigError, match="concurrency must be at least 1"):
        TaskWorker(broker, store, [plain], concurrency=0)
    with pytest.raises(InvalidName, match="queue"):
        TaskWorker(broker, store, [plain], queues=["no spaces"])
    with pytest.raises(InvalidName, match="worker"):
        TaskWorker(broker, store, [plain], name="no spaces")
