"""Whatever text others put into the data or the address, pages show it as text: no element, attribute or link comes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from threading import Event
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from tests.helpers import House, eventually, new_settings
from tests.integration.hostile import PAYLOADS, RUNNING, Planted
from tests.integration.web_client import Web
from yadtq.core.yadtq_broker import Received
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis

LINKS = {"href", "src", "action", "formaction", "xlink:href", "poster", "data", "srcset", "ping", "background"}
FOREIGN = {"iframe", "object", "embed", "base", "frame", "applet", "style", "template", "math"}
NOT_PAGES = ("static", "live.", "api.", "metrics.", "health.")
NOT_SHOWN = {"z-group:", "z-pool:", "z-other-task:"}  # names that no page has to show whole
FORMS = {
    "tasks.index": ["q"],
    "failed.index": ["q", "order"],
    "submit.form": ["task"],
    "auth.login_page": ["next", "token"],
}


class Page(HTMLParser):
    """What a page is made of, and the text and attribute values it holds."""

    def __init__(self, text: str, where: str) -> None:
        super().__init__(convert_charrefs=True)
        self.where = where
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "xss" not in tag, f"{self.where}: a payload became <{tag}>"
        assert tag not in FOREIGN, f"{self.where}: <{tag}>"
        for name, value in attrs:
            assert "xss" not in name, f"{self.where}: a payload became the attribute {name} of <{tag}>"
            assert not name.startswith("on"), f"{self.where}: <{tag} {name}>"
            assert name != "style", f"{self.where}: <{tag} style>"
            if name in LINKS:
                assert (value or "").startswith(("/", "#")), f"{self.where}: <{tag} {name}={value!r}>"
                assert not (value or "").startswith("//"), f"{self.where}: <{tag} {name}={value!r}>"
            self.texts.append(value or "")
        if tag == "script":
            assert dict(attrs).get("src", "").startswith("/static/"), f"{self.where}: a script of its own"
        if tag == "meta":
            assert dict(attrs).get("http-equiv") is None, f"{self.where}: <meta http-equiv>"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"{self.where}: a comment: {data[:80]}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"{self.where}: a declaration: {data[:80]}")


@pytest.fixture
def web(redis_server: EmbeddedRedis) -> Iterator[Web]:
    with Web(redis_server.url) as made:
        yield made


def addresses(web: Web, planted: Planted) -> list[str]:
    """Every page, with everything that was planted in its place, and with the payload in its query."""
    places, found = planted.places(), []
    for rule in web.app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint.startswith(NOT_PAGES):
            continue
        paths = [rule.rule]
        for name in rule.arguments:
            paths = [path.replace(f"<{name}>", quote(one)) for path in paths for one in places[name]]
        found += paths
        found += [f"{rule.rule}?{name}={quote(planted.payload)}" for name in FORMS.get(rule.endpoint, ())]
    found += [f"/submit?task={name}" for name in ("plain", quote(f"z-function:{planted.payload}"))]
    return [*found, f"/{quote(planted.payload)}", f"/tasks?status={quote(planted.payload)}"]


def read(client: FlaskClient, path: str) -> list[str]:
    """The texts of a page that holds nothing but what its template made."""
    answer = client.get(path)
    assert answer.status_code < 500, path
    return Page(answer.text, path).texts if answer.mimetype == "text/html" else []


def forms_of(payload: str) -> set[str]:
    """As it stands, inside of JSON, and as part of an id."""
    quoted = {json.dumps(payload, ensure_ascii=escaped)[1:-1] for escaped in (True, False)}
    return {form.lower() for form in (payload, payload.replace("/", ""), *quoted)}


@pytest.mark.parametrize("payload", [*PAYLOADS, RUNNING], ids=range(len(PAYLOADS) + 1))
def test_every_field_is_shown_as_text_on_every_page(web: Web, payload: str) -> None:
    planted = Planted(web.engine.store, payload)
    client = web.signed_in("admin")
    shown = "\n".join(text for path in addresses(web, planted) for text in read(client, path)).lower()
    missing = {
        field for field in planted.fields if not any(field.lower() + form in shown for form in forms_of(payload))
    }

    assert missing <= NOT_SHOWN, sorted(missing)


@pytest.mark.parametrize("payload", [PAYLOADS[1], RUNNING])
def test_what_a_form_sent_comes_back_as_text(web: Web, payload: str) -> None:
    Planted(web.engine.store, payload)
    client = web.signed_in("admin")
    names = ("task", "json", "queue", "delay", "retries", "timeout", "key", "name", "role", "password", "q", "next")
    names += ("days", "current", "new", "again")
    form = {"csrf_token": web.csrf_token(client), **{name: f"z-{name}:{payload}" for name in names}}
    for path in ("/submit", "/users", "/tokens", "/password", "/bulk", "/users/x", "/tasks/x/retry", "/login"):
        answer = client.post(path, data=form, follow_redirects=True)
        assert answer.status_code < 500, path
        Page(answer.text, path)
    client = web.signed_in("admin")
    listed = "".join(read(client, "/users"))
    assert f"z-name:{payload}" not in listed  # it was refused, not kept


def test_rejected_records_are_shown_as_text(kafka: EmbeddedKafka, redis_server: EmbeddedRedis) -> None:
    settings, sent = new_settings(kafka, redis_server), Event()
    with House(settings) as house, Web(**settings) as web:
        for number, payload in enumerate(payloads := [*PAYLOADS, RUNNING]):
            words = {name: f"z-{name}{number}:{payload}" for name in ("topic", "key", "reason", "body")}
            record = Received(number, words["key"].encode(), words["body"].encode(), None, 0)
            house.broker.send_dead(words["topic"], record, words["reason"], sent.set, lambda error: None)
        assert sent.wait(20)
        client = web.signed_in("viewer")
        eventually(lambda: "z-reason15:" in client.get("/failed/rejected").text, 30)
        shown = "\n".join(read(client, "/failed/rejected"))

    for number, payload in enumerate(payloads):
        assert f"z-reason{number}:{payload}" in shown
        assert f"z-body{number}:{payload}" in shown
        assert f"z-topic{number}:{payload}" in shown
        assert f"z-key{number}:{payload}" in shown
