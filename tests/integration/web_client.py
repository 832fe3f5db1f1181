"""A web application on a real Redis without a server around it, and ways to sign in to it."""

from __future__ import annotations

import re
import uuid
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from webapp import create_app
from webapp.engine import Engine

_TOKEN = re.compile(r'name="csrf_token" value="([^"]+)"')


class Web:
    """One app with names of its own."""

    def __init__(self, redis_url: str, **others: Any) -> None:
        prefix = f"yt_{uuid.uuid4().hex[:8]}:"
        # Not the usual Kafka address: one may run there.
        nowhere = {"kafka_servers": "127.0.0.1:1"}
        ours = {**nowhere, "redis_url": redis_url, "redis_prefix": prefix, "api_token": "the-token"}
        self.settings = {**ours, **others}
        self.app = create_app(**self.settings)
        self.engine: Engine = self.app.extensions["yadtq"]
        self.accounts = self.engine.accounts
        self.cookie_name = self.app.config["SESSION_COOKIE_NAME"]
        self.origin = "http://127.0.0.1:8000"

    def stranger(self) -> FlaskClient:
        """A browser without cookies."""
        return self.app.test_client()

    def signed_in(self, role: str) -> FlaskClient:
        """A browser of somebody with this role."""
        client = self.stranger()
        self.redeem(client, self.accounts.create_login_link("ada", role, 60))
        return client

    def redeem(self, client: FlaskClient, token: str, base: str = "http://localhost") -> TestResponse:
        """Open a one-time link and press its button."""
        page = client.get("/login", query_string={"token": token}, base_url=base)
        data = {"token": token, "csrf_token": find_csrf_token(page.text)}
        return client.post("/login/link", data=data, base_url=base, headers={"Referer": base + "/login"})

    def log_in(self, client: FlaskClient, name: str, password: str, **more: str) -> TestResponse:
        """Fill in the sign-in form."""
        data = {
            "csrf_token": find_csrf_token(client.get("/login").text),
            "name": name,
            "password": password,
            **more,
        }
        return client.post("/login", data=data)

    def csrf_token(self, client: FlaskClient) -> str:
        """The token of a page this browser has open."""
        return find_csrf_token(client.get("/tasks").text)

    def close(self) -> None:
        """Drop the connections."""
        self.engine.close()

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def find_csrf_token(page: str) -> str:
    """The token of the page's first form."""
    match = _TOKEN.search(page)
    assert match, f"no form on this page: {page[:200]}"
    return match[1]
