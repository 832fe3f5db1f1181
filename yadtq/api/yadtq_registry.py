"""Task functions by name, their options and signatures; the submit form is made from what is announced here."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, overload

from yadtq.core.yadtq_codec import dumps
from yadtq.core.yadtq_execution import CONTEXT_NAME, TaskFunction
from yadtq.core.yadtq_task import check_name
from yadtq.errors import ConfigError, TaskNotSerializable

F = TypeVar("F", bound=Callable[..., Any])

Handlers = Mapping[str, Callable[..., Any]] | Iterable[Callable[..., Any]]

_OPTIONS = "__yadtq_options__"
_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "positional",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_POSITIONAL: "args",
    inspect.Parameter.VAR_KEYWORD: "kwargs",
}


@overload
def task(function: F) -> F: ...
@overload
def task(
    *,
    name: str | None = None,
    retries: int | None = None,
    timeout: float | None = None,
    no_retry: Iterable[type[BaseException]] = (),
) -> Callable[[F], F]: ...
def task(
    function: F | None = None,
    *,
    name: str | None = None,
    retries: int | None = None,
    timeout: float | None = None,
    no_retry: Iterable[type[BaseException]] = (),
) -> F | Callable[[F], F]:
    """Mark a function as a task and keep its options with it; it stays callable as before.

    Args:
        name: what clients submit; default the function's name.
        retries: attempts after the first.
        timeout: seconds one attempt may run.
        no_retry: errors that fail the task at once.
    """
    errors: tuple[Any, ...] = tuple(no_retry)
    if not all(isinstance(error, type) and issubclass(error, BaseException) for error in errors):
        raise ConfigError(f"no_retry={errors!r} of a task must hold classes of errors")
    options = {"name": name, "retries": retries, "timeout": timeout, "no_retry": errors}
    if retries is not None and retries < 0:
        raise ConfigError(f"retries={retries} of a task must not be negative")
    if timeout is not None and timeout <= 0:
        raise ConfigError(f"timeout={timeout} of a task must be greater than 0 seconds")

    def mark(marked: F) -> F:
        setattr(marked, _OPTIONS, options)
        return marked

    return mark if function is None else mark(function)


def is_task(value: Any) -> bool:
    """Whether ``@task`` marked it."""
    return callable(value) and hasattr(value, _OPTIONS)


def build_functions(handlers: Handlers) -> dict[str, TaskFunction]:
    """Functions by name, from a dict of handlers or from functions marked with ``@task``.

    Raises:
        InvalidName, ConfigError: a name that cannot be used, or a handler that is not callable.
    """
    if isinstance(handlers, Mapping):
        pairs = list(handlers.items())
    else:
        pairs = [(task_name(function), function) for function in handlers]
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two functions are called {twice!r}; give one another name with @task(name=…)")
    return {check_name("task", name): _task_function(name, function) for name, function in pairs}


def task_name(function: Callable[..., Any]) -> str:
    """The name a marked function goes by."""
    return str(getattr(function, _OPTIONS, {}).get("name") or getattr(function, "__name__", ""))


def _task_function(name: str, function: Callable[..., Any]) -> TaskFunction:
    if not callable(function):
        raise ConfigError(f"the handler of task {name!r} is a {type(function).__name__}, not a function")
    if inspect.iscoroutinefunction(function):
        raise ConfigError(
            f"task {name!r} is an async function, which workers cannot run yet; make it a plain one, e.g. with asyncio.run inside"
        )
    options = getattr(function, _OPTIONS, {})
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some functions written in C have none
        signature = inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])
    return TaskFunction(
        name=name,
        function=function,
        retries=options.get("retries"),
        timeout=options.get("timeout"),
        no_retry=options.get("no_retry", ()),
        signature=signature,
        wants_context=CONTEXT_NAME in signature.parameters,
    )


def describe_function(function: TaskFunction) -> dict[str, Any]:
    """What a worker announces of a function: name, first paragraph of its doc, parameters."""
    doc = (inspect.getdoc(function.function) or "").split("\n\n")[0]
    shown = [p for p in function.signature.parameters.values() if p.name != CONTEXT_NAME]
    return {
        "name": function.name,
        "doc": " ".join(doc.split())[:500],
        "params": [_describe_parameter(p) for p in shown],
    }


def _describe_parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    required = parameter.default is inspect.Parameter.empty and _KINDS[parameter.kind] in ("positional", "keyword")
    described = {
        "name": parameter.name,
        "kind": _KINDS[parameter.kind],
        "annotation": _annotation(parameter),
        "required": required,
    }
    if parameter.default is not inspect.Parameter.empty and _is_json(parameter.default):
        described["default"] = parameter.default
    return described


def _is_json(value: Any) -> bool:
    try:
        dumps(value)
    except TaskNotSerializable:
        return False
    return True


def _annotation(parameter: inspect.Parameter) -> str:
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        return ""
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation.__name__
    return inspect.formatannotation(annotation)
