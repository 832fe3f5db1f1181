"""From ``MODULE[:NAME]`` to task functions by name."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from yadtq.api.yadtq_registry import is_task, task_name
from yadtq.errors import ConfigError

Handlers = dict[str, Callable[..., Any]]


def load_handlers(target: str) -> Handlers:
    """Import the module from the current directory and take its task functions.

    Without NAME these are the dict ``task_handlers`` and every ``@task`` function; NAME picks a dict, list or
    a function.

    Raises:
        ConfigError: it cannot be imported or has no such functions; names the file and the reason.
    """
    module_name, _, name = target.partition(":")
    require_module(target)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise ConfigError(_import_failure(module_name, error)) from error
    handlers = _named(module, name) if name else _all_of(module)
    if not handlers:
        raise ConfigError(
            f"{module.__file__} has no task functions: give it a dict task_handlers, or mark them with @task"
        )
    return handlers


def require_module(target: str) -> None:
    """Check, without importing it, that the module of ``MODULE[:NAME]`` is there.

    Raises:
        ConfigError: it is not.
    """
    name = target.partition(":")[0]
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(
            f"{name!r} is not a module's name: write it as in an import, such as workercode or package.module"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = find_spec(name) is not None
    except ModuleNotFoundError:  # a package on the way to it
        found = False
    if not found:
        hint = ": a module's name is written without .py" if name.endswith(".py") else ""
        raise ConfigError(f"there is no module {name} in {here} or among the installed packages{hint}")


def _all_of(module: ModuleType) -> Handlers:
    """``task_handlers``, and each ``@task`` function under its own name."""
    marked = [value for value in vars(module).values() if is_task(value)]
    return {**_by_name(marked), **getattr(module, "task_handlers", {})}


def _named(module: ModuleType, name: str) -> Handlers:
    """The one attribute that was asked for."""
    value = getattr(module, name, None)
    if isinstance(value, Mapping):
        return dict(value)
    if callable(value):
        return _by_name([value])
    if isinstance(value, Iterable) and not isinstance(value, str):
        return _by_name(value)
    raise ConfigError(f"{module.__file__} has no {name} that is a dict, a list or a function")


def _by_name(functions: Iterable[Callable[..., Any]]) -> Handlers:
    return {task_name(function): function for function in functions}


def _import_failure(name: str, error: BaseException) -> str:
    """Where in the user's files the import failed, and the last line of its traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    file, line = frames[-1].filename, frames[-1].lineno
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    reason = traceback.format_exception_only(type(error), error)[-1].strip()
    return f"{name} cannot be imported: {file}, line {line}: {reason} (all of it with -v)"
