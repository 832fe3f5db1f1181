"""What pages and handlers link to by name is there: a name that is not shows only on the page that needs it, as a fault of ours."""

from __future__ import annotations

import re
from pathlib import Path

from tests.integration.web_client import Web
from yadtq.embedded import EmbeddedRedis

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"url_for\(\s*[\"']([a-z_.]*[a-z_])[\"']")


def test_every_endpoint_that_is_linked_exists(redis_server: EmbeddedRedis) -> None:
    files = [*(ROOT / "webapp").rglob("*.py"), *(ROOT / "templates").rglob("*.html")]
    linked = {(path.name, name) for path in files for name in NAMED.findall(path.read_text())}
    assert len(linked) > 20
    with Web(redis_server.url) as web:
        known = {rule.endpoint for rule in web.app.url_map.iter_rules()}
    assert {(where, name) for where, name in linked if name not in known} == set()
