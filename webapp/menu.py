"""The places every page leads to, the page one is on among them, and the keys that go there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import g, request, url_for

from webapp.access import ROLES, allows
from webapp.engine import engine

if TYPE_CHECKING:
    from flask import Flask


@dataclass(frozen=True)
class Place:
    """One entry of the menu."""

    name: str
    icon: str
    key: str  # goes there after `g`
    endpoint: str

    @property
    def url(self) -> str:
        """Its address."""
        return url_for(self.endpoint)

    @property
    def current(self) -> bool:
        """Whether the page that is shown belongs to it."""
        area = _AREAS.get(request.blueprint or "", request.blueprint)
        return self.endpoint.split(".")[0] == area


_AREAS = {"bulk": "tasks", "again": "tasks"}  # whose pages belong to another's place
_PLACES = (
    Place("Overview", "overview", "o", "views.overview"),
    Place("Tasks", "tasks", "t", "tasks.index"),
    Place("Failed", "failed", "f", "failed.index"),
    Place("Workers", "workers", "w", "workers.index"),
    Place("Kafka", "kafka", "k", "kafka.index"),
)
_ACCOUNT = (
    Place("Change password", "lock", "", "password.form"),
    Place("Sessions", "user", "", "sessions.index"),
    Place("API tokens", "lock", "", "tokens.index"),
    Place("Users", "user", "", "users.index"),
    Place("Audit log", "rows", "", "audit.index"),
)


def init_app(app: Flask) -> None:
    """Give the templates the menu."""
    app.jinja_env.globals.update(places=places, account_places=account_places, failed_count=failed_count)


def places() -> list[Place]:
    """The menu."""
    return [place for place in _PLACES if _open(place)]


def account_places() -> list[Place]:
    """The account menu's pages for whoever is signed in."""
    return [place for place in _ACCOUNT if _open(place)]


def failed_count() -> int:
    """Failed tasks kept; it stands in the menu and before every title."""
    return engine().views.failed_count()


def _open(place: Place) -> bool:
    needed = ROLES.get(place.endpoint)  # none: refused to everybody
    return needed is not None and allows(g.get("role"), needed)
