"""The OpenAPI document, made from the declared operations, and the address it is served at."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from flask import jsonify

from webapp.access import ROLES
from webapp.api.operation import OPERATIONS, Operation, routes
from webapp.api.schema import schema_of
from webapp.api.values import object_schema

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

_ABOUT = (
    "Send `Authorization: Bearer TOKEN`. A browser that is signed in may read without one."
    ' Times are seconds since the epoch, lengths of time are seconds. Errors are one sentence: `{"error": …}`.'
)
_PLACE = re.compile(r"<(\w+)>")
_REFUSALS = {
    400: "A parameter or field cannot be used.",
    401: "No token, one that is not known, or one that has expired.",
    403: "The token's role does not cover it, or the web is read-only.",
    404: "There is no such thing, or it has passed its time to live.",
    409: "Its state does not allow it.",
    413: "The arguments are too large.",
    503: "Redis or Kafka cannot be reached.",
}


@routes.get("/openapi.json")
def openapi() -> ResponseReturnValue:
    """This document."""
    return jsonify(document())


@cache
def document() -> dict[str, Any]:
    """The whole document; it depends on the code alone."""
    schemas: dict[str, Any] = {
        "Error": {
            "type": "object",
            "properties": {"error": {"type": "string"}, "id": {"type": "string"}},
            "required": ["error"],
            "additionalProperties": False,
        }
    }
    paths: dict[str, Any] = {"/api/v1/openapi.json": {"get": _about_this()}}
    for name, one in OPERATIONS.items():
        path = "/api/v1" + _PLACE.sub(r"{\1}", one.path)
        paths.setdefault(path, {})[one.method.lower()] = _describe(name, one, schemas)
    bearer = {"type": "http", "scheme": "bearer"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "YADTQ", "version": version("yadtq"), "description": _ABOUT},
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"bearer": bearer}},
    }


def _about_this() -> dict[str, Any]:
    answer = {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}
    about = {"operationId": "openapi", "summary": "This document.", "x-role": ROLES["api.openapi"]}
    return {**about, "responses": {"200": answer, **_refusals({401, 403, 503})}}


def _describe(name: str, one: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    role = ROLES[f"api.{name}"]
    answer: dict[str, Any] = {"description": "Done."}
    if one.answer is not None:
        answer["content"] = _json(schema_of(one.answer, schemas))
    found = {
        "operationId": name,
        "summary": one.text,
        "description": f"Takes the role {role}.",
        "x-role": role,
        "parameters": _parameters(one),
        "responses": {str(one.status): answer, **_refusals(_possible(one))},
    }
    if one.body:
        needed = any(value.required for value in one.body.values())
        found["requestBody"] = {"required": needed, "content": _json(object_schema(one.body))}
    return found


def _parameters(one: Operation) -> list[dict[str, Any]]:
    places = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACE.findall(one.path)
    ]
    return places + [
        {"name": name, "in": "query", "required": value.required, "description": value.help, "schema": value.schema()}
        for name, value in one.query.items()
    ]


def _possible(one: Operation) -> set[int]:
    changes = one.method != "GET"
    named = bool(_PLACE.search(one.path))
    return (
        {400, 401, 403, 503}
        | ({404} if named else set())
        | ({409} if changes else set())
        | ({413} if one.body else set())
    )


def _refusals(statuses: set[int]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {str(one): {"description": _REFUSALS[one], "content": _json(schema)} for one in sorted(statuses)}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
