"""Redis as it stands in production: TLS both ways, a user with the rights of docs/security.md and no more, a socket file."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.acceptance.conftest import Start
from tests.acceptance.secured import Certificates, live_a_whole_life, live_by_commands
from tests.conftest import started_or_skipped
from tests.helpers import House, new_settings
from tests.integration.web_client import Web
from yadtq import create_yadtq
from yadtq.core.yadtq_views import Views
from yadtq.embedded import EmbeddedKafka, EmbeddedRedis
from yadtq.embedded.folder import choose_port
from yadtq.errors import ConfigError, ResultStoreUnavailable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SECURITY = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
PASSWORD = "opens-redis"


# -- the user ----------------------------------------------------------------------------------------------------


def acl_line() -> list[str]:
    """The one of the documents, as the words of a command."""
    found = re.search(r"^ACL SETUSER yadtq .*$", SECURITY, re.MULTILINE)
    assert found
    return found[0].replace(">PASSWORD", f">{PASSWORD}").split()


@pytest.fixture
def root(own_redis: EmbeddedRedis) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(own_redis.url, decode_responses=True)
    client.execute_command(*acl_line())
    client.execute_command("ACL", "LOG", "RESET")
    yield client
    client.close()


@pytest.fixture
def settings(kafka: EmbeddedKafka, own_redis: EmbeddedRedis, root: redis.Redis) -> dict[str, Any]:
    url = own_redis.url.replace("redis://", f"redis://yadtq:{PASSWORD}@")
    return new_settings(kafka, own_redis, redis_url=url, redis_prefix="yadtq:")


def test_the_users_rights_are_enough_for_everything(
    settings: dict[str, Any], root: redis.Redis, start: Start, project: Path
) -> None:
    live_a_whole_life(settings)
    with House({**settings, "durable": True}) as house:
        house.worker({"nap": len}, queues=["default"])
        assert house.client.wait_for_result(house.client.submit("nap", "durable")).ok
        soon = house.client.options(delay=0.2).submit("nap", "delayed")
        assert house.client.wait_for_result(soon).ok
        house.client.cancel(house.client.options(delay=60).submit("nap", "cancelled"))
    said = live_by_commands(settings, start, project)
    assert "Redis notifies of changes" in said
    look_at_every_page(settings)
    assert root.execute_command("ACL", "LOG") == []


def look_at_every_page(settings: dict[str, Any]) -> None:
    """As an admin with a session, a stranger at the door and a machine with a token."""
    others = {name: value for name, value in settings.items() if name not in ("redis_url", "redis_prefix")}
    with Web(settings["redis_url"], **others, redis_prefix=settings["redis_prefix"]) as web:
        assert web.log_in(web.stranger(), "ada", "guess").status_code in (200, 401)
        admin, token = web.signed_in("admin"), {"Authorization": "Bearer the-token"}
        task_id = web.engine.client.submit("nap", "seen")
        for rule in web.app.url_map.iter_rules():
            if "GET" in (rule.methods or ()) and not rule.arguments and rule.rule != "/ws":
                answer = admin.get(rule.rule, headers=token if rule.rule.startswith("/api") else {})
                assert answer.status_code < 400, (rule.rule, answer.text[:300])
        assert admin.get(f"/tasks/{task_id}").status_code == 200
        watcher = web.engine.views.watch_changes()
        watcher.close()


@pytest.mark.parametrize(
    "forbidden",
    [
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("KEYS", "*"),
        ("SHUTDOWN",),
        ("CONFIG", "SET", "appendonly", "no"),
        ("ACL", "LIST"),
        ("CLIENT", "LIST"),
        ("MONITOR",),
        ("SCRIPT", "FLUSH"),
        ("GET", "others"),
        ("SET", "others", "1"),
        ("DEL", "yadtq"),
        ("EVAL", "return redis.call('GET', 'others')", "0"),
        ("EVAL", "return redis.call('FLUSHALL')", "0"),
        ("SUBSCRIBE", "others"),
        ("PUBLISH", "others", "1"),
        ("RENAME", "yadtq:epoch", "yadtq:x"),
    ],
    ids=" ".join,
)
def test_the_user_may_do_nothing_else(settings: dict[str, Any], forbidden: tuple[str, ...]) -> None:
    with redis.Redis.from_url(settings["redis_url"]) as client:
        with pytest.raises(redis.ResponseError, match=r"NOPERM|no permissions|ACL failure|can't run|No permissions"):
            client.execute_command(*forbidden)


def test_a_right_that_is_missing_and_a_wrong_password_are_named(settings: dict[str, Any], root: redis.Redis) -> None:
    root.execute_command("ACL", "SETUSER", "yadtq", "-hset")
    with House(settings) as house:
        with pytest.raises(ResultStoreUnavailable, match=r"does not allow this user .* docs/security\.md \("):
            house.client.submit("add", 1, 2)
    wrong = create_yadtq(**{**settings, "redis_url": settings["redis_url"].replace(PASSWORD, "wrong")})[1]
    with pytest.raises(ResultStoreUnavailable, match="refused the user name or password; check redis_url"):
        wrong.time_ms()


def test_a_socket_file_is_enough(
    kafka: EmbeddedKafka, tmp_path_factory: pytest.TempPathFactory, own_redis: EmbeddedRedis
) -> None:
    folder = tmp_path_factory.mktemp("s")
    with EmbeddedRedis(folder, port=0, settings={"unixsocket": f"{folder}/r.sock"}) as server:
        live_a_whole_life(new_settings(kafka, server, redis_url=f"unix://{folder}/r.sock?db=0"))


# -- TLS ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates") / "others")


@pytest.fixture(scope="module")
def tls_redis(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[EmbeddedRedis]:
    """Asks for a client's certificate at a port of its own. The embedded package's redis-server knows no TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{with_tls(tmp_path_factory.mktemp('bin'))}:{os.environ['PATH']}")
        settings = {
            "tls-port": str(choose_port((), set())),
            "tls-cert-file": str(certificates.server),
            "tls-key-file": str(certificates.server),
            "tls-ca-cert-file": str(certificates.ca),
        }
        server = EmbeddedRedis(tmp_path_factory.mktemp("tls-redis"), port=0, settings=settings)
        server.tls_port = int(settings["tls-port"])  # type: ignore[attr-defined]
        yield started_or_skipped(server)
        server.stop()


def with_tls(folder: Path) -> Path:
    """A folder with a redis-server that knows TLS: redis-check-rdb of the package redis-tools is the same program."""
    found = shutil.which("redis-check-rdb")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("redis-check-rdb of the package redis-tools is missing")
        pytest.skip("no redis-server with TLS: install redis-tools")
    (folder / "redis-server").symlink_to(found)
    return folder


def tls_settings(
    kafka: EmbeddedKafka, server: EmbeddedRedis, certificates: Certificates, **more: Any
) -> dict[str, Any]:
    ours = {
        "redis_url": f"rediss://localhost:{server.tls_port}/0",  # type: ignore[attr-defined]
        "redis_ssl_cafile": str(certificates.ca),
        "redis_ssl_certfile": str(certificates.client),
    }
    found = {**new_settings(kafka, server), **ours, **more}
    return {name: value for name, value in found.items() if value is not None}


def test_a_task_lives_its_whole_life_over_tls(
    kafka: EmbeddedKafka, tls_redis: EmbeddedRedis, certificates: Certificates, start: Start, project: Path
) -> None:
    port = tls_redis.tls_port  # type: ignore[attr-defined]
    single = {"redis_url": None, "redis_host": "localhost", "redis_port": port, "redis_ssl": True}
    settings = tls_settings(kafka, tls_redis, certificates, **single)
    live_by_commands(settings, start, project)
    in_url = (
        f"rediss://localhost:{port}/0?ssl_ca_certs={certificates.ca}"
        f"&ssl_certfile={certificates.client}&ssl_keyfile={certificates.client}"
    )
    whole = tls_settings(
        kafka, tls_redis, certificates, redis_url=in_url, redis_ssl_cafile=None, redis_ssl_certfile=None
    )
    live_a_whole_life(whole)
    with Views(create_yadtq(**whole)[1]).watch_changes() as watcher:
        assert watcher.wait(5)  # subscribed


def test_each_mistake_with_tls_is_named(
    kafka: EmbeddedKafka, tls_redis: EmbeddedRedis, certificates: Certificates, others: Certificates
) -> None:
    port = tls_redis.tls_port  # type: ignore[attr-defined]
    without: dict[str, Any] = {"redis_ssl_cafile": None, "redis_ssl_certfile": None}
    wrong = [
        ({"redis_ssl_cafile": str(others.ca)}, "of a CA that is not trusted here .* set redis_ssl_cafile"),
        ({"redis_ssl_cafile": None}, "of a CA that is not trusted here .* set redis_ssl_cafile"),
        ({"redis_ssl_certfile": None}, "(wants|set redis_ssl_certfile where it wants) a client certificate"),
        (
            {"redis_ssl_certfile": str(others.client)},
            "(wants|set redis_ssl_certfile where it wants) a client certificate",
        ),
        (
            {"redis_url": f"rediss://localhost:{tls_redis.port}/0"},
            "does not answer in TLS; (check the|does that) port",
        ),
        (
            {**without, "redis_url": f"redis://localhost:{port}/0"},
            "speaks TLS; write rediss:// in redis_url, or set redis_ssl",
        ),
    ]
    for changes, sentence in wrong:
        store = create_yadtq(**tls_settings(kafka, tls_redis, certificates, **changes))[1]
        with pytest.raises(ResultStoreUnavailable, match=sentence):
            store.run("due", 1, 1)
        with pytest.raises(ResultStoreUnavailable, match=sentence):
            store.time_ms()
        store.close()


def test_certificates_that_are_over_or_of_another_name_are_refused(
    kafka: EmbeddedKafka, tls_redis: EmbeddedRedis, certificates: Certificates
) -> None:
    shown = {
        certificates.issue("over", "localhost", expired=True): "not valid today .*expired.* renew it",
        certificates.issue("elsewhere", "redis.example.org"): "another name .*localhost.* redis_host or redis_url",
    }
    with redis.Redis.from_url(tls_redis.url) as root:
        for certificate, sentence in shown.items():
            root.config_set("tls-key-file", str(certificate), "tls-cert-file", str(certificate))
            store = create_yadtq(**tls_settings(kafka, tls_redis, certificates))[1]
            with pytest.raises(ResultStoreUnavailable, match=f"shows a certificate .*{sentence}"):
                store.time_ms()
        root.config_set("tls-key-file", str(certificates.server), "tls-cert-file", str(certificates.server))


def test_a_missing_file_in_the_url_is_named(kafka: EmbeddedKafka, tls_redis: EmbeddedRedis) -> None:
    url = f"rediss://localhost:{tls_redis.tls_port}/0?ssl_ca_certs=/not/there.pem"  # type: ignore[attr-defined]
    store = create_yadtq(**new_settings(kafka, tls_redis, redis_url=url))[1]
    with pytest.raises(ResultStoreUnavailable, match="a file named in redis_url does not exist"):
        store.time_ms()
    with pytest.raises(ConfigError, match=r"redis_ssl_cafile=/not/there\.pem cannot be read"):
        create_yadtq(redis_url="rediss://localhost/0", redis_ssl_cafile="/not/there.pem")
