"""Operations: a view with what it takes and answers, from which it is routed, its requests checked, and it is described."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from flask import Blueprint, abort, request, url_for

from webapp.api.values import Value, check_fields

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

routes = Blueprint("api", __name__, url_prefix="/api/v1")

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str  # below /api/v1, as Flask writes it
    text: str  # what it does, in a sentence or two
    answer: type | None  # a dataclass; None for an answer without a body
    status: int = 200
    query: Mapping[str, Value] = field(default_factory=dict)
    body: Mapping[str, Value] = field(default_factory=dict)
    location: tuple[str, str] | None = None  # endpoint and parameter that lead to what was made, by its id


OPERATIONS: dict[str, Operation] = {}  # by the view's name


def operation(method: str, path: str, answer: type | None, status: int = 200, **more: Any) -> Callable[[View], View]:
    """Serve a view; it is given the path's parts and the declared values by name, and returns what ``answer`` says."""

    def register(view: View) -> View:
        made = Operation(method, path, " ".join((view.__doc__ or "").split()), answer, status, **more)
        OPERATIONS[view.__name__] = made

        @wraps(view)
        def serve(**place: str) -> ResponseReturnValue:
            return _reply(made, view(**place, **_read_query(made), **_read_body(made)))

        routes.add_url_rule(path, view.__name__, serve, methods=[method])
        return view

    return register


def _read_query(wanted: Operation) -> dict[str, Any]:
    stray = sorted(set(request.args) - set(wanted.query))
    if stray:
        known = f"the parameters are {', '.join(wanted.query)}" if wanted.query else "it takes none"
        abort(400, f"There is no parameter {stray[0][:60]!r}; {known}.")
    return {
        name: value.parse(name, request.args[name]) if request.args.get(name) else value.default
        for name, value in wanted.query.items()
    }


def _read_body(wanted: Operation) -> dict[str, Any]:
    if not wanted.body:
        return {}
    required = [name for name, value in wanted.body.items() if value.required]
    given = request.get_json(silent=True) if request.content_length or required else {}
    if not isinstance(given, dict) or not all(name in given for name in required):
        needs = f" with {' and '.join(repr(name) for name in required)}" if required else ""
        abort(400, f"Send a JSON object{needs} as application/json; /api/v1/openapi.json describes it.")
    return {name: value.default for name, value in wanted.body.items()} | check_fields(given, wanted.body)


def _reply(wanted: Operation, answer: Any) -> ResponseReturnValue:
    if wanted.answer is None:
        return "", wanted.status
    headers = {}
    if wanted.location is not None:
        endpoint, parameter = wanted.location
        headers["Location"] = url_for(endpoint, **{parameter: answer.id})
    return asdict(answer), wanted.status, headers
