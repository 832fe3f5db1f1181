"""Changes to the production code of one process: a text in a Lua move or in a Python function becomes another."""

from __future__ import annotations

import functools
import importlib
import inspect
import textwrap
from dataclasses import dataclass
from importlib.resources import files
from types import FunctionType
from typing import Any

from yadtq.core.yadtq_result_db import _Script


class Rotten(AssertionError):
    """The text that a patch replaces is not in the production code, or not only once."""


@dataclass(frozen=True)
class Patch:
    """``where`` is a move, such as ``claim.lua``, or a function, such as ``yadtq.core.yadtq_lease:Lease.ask``.

    ``old`` is there exactly once; a function's source is seen without the indentation of its first line.
    """

    where: str
    old: str
    new: str

    def check(self) -> None:
        """Raises Rotten."""
        times = _source(self.where).count(self.old)
        if times != 1:
            raise Rotten(f"{self.where} holds {self.old!r} {times} times; write the patch anew")

    def apply(self) -> None:
        """Change this process, before any worker is made in it; raises Rotten."""
        self.check()
        if self.where.endswith(".lua"):
            self._change_move()
        else:
            self._change_function()

    def _change_move(self) -> None:
        make, move = _Script.__init__, self.where.removesuffix(".lua")

        def make_changed(script: _Script, name: str) -> None:
            make(script, name)
            if move in ("common", name):
                script._source = script._source.replace(self.old, self.new)
                script.prepare(modern=False)

        _Script.__init__ = make_changed  # type: ignore[method-assign]

    def _change_function(self) -> None:
        owner, name = _owner(self.where)
        found = vars(owner)[name]
        function: FunctionType = found.fget if isinstance(found, property) else found
        source = "from __future__ import annotations\n" + _source(self.where).replace(self.old, self.new)
        made: dict[str, Any] = {}
        exec(compile(source, f"{self.where} without a guard", "exec"), function.__globals__, made)
        changed = made[function.__name__]
        setattr(owner, name, changed if isinstance(found, (property, FunctionType)) else type(found)(changed))


def _owner(where: str) -> tuple[Any, str]:
    module, _, path = where.partition(":")
    *outer, name = path.split(".")
    return functools.reduce(getattr, outer, importlib.import_module(module)), name


def _source(where: str) -> str:
    if where.endswith(".lua"):
        return (files("yadtq.core") / "lua" / where).read_text()
    owner, name = _owner(where)
    found = vars(owner)[name]
    return textwrap.dedent(inspect.getsource(found.fget if isinstance(found, property) else found))
