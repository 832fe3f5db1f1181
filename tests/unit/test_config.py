"""Settings: where they come from, what wins, what is refused, and that no message tells a secret."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from yadtq import ConfigError, create_yadtq
from yadtq.config import Settings, load_settings
from yadtq.config_servers import _OPTIONS_OF
from yadtq.core.yadtq_result_db import ResultStore

FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
KEY = "k1:0123456789abcdef"
SECRET = "correct-horse-battery-staple"

# Per setting: text as an environment gives it, and what it then is. A new setting without a line here fails.
GIVEN: dict[str, tuple[str, Any]] = {
    "kafka_servers": ("127.0.0.1:9000, localhost:9001", ("127.0.0.1:9000", "localhost:9001")),
    "kafka_security_protocol": ("SASL_SSL", "SASL_SSL"),
    "kafka_sasl_mechanism": ("PLAIN", "PLAIN"),
    "kafka_username": ("ann", "ann"),
    "kafka_password": (SECRET, SECRET),
    "kafka_ssl_cafile": ("ca.pem", "ca.pem"),
    "kafka_ssl_certfile": ("me.pem", "me.pem"),
    "kafka_ssl_keyfile": ("key.pem", "key.pem"),
    "kafka_ssl_key_password": (SECRET, SECRET),
    "topic": ("jobs", "jobs"),
    "dead_topic": ("dead", "dead"),
    "group_id": ("team", "team"),
    "partitions": ("3", 3),
    "replication_factor": ("2", 2),
    "redis_url": ("redis://cache:6380/2", "redis://cache:6380/2"),
    "redis_host": ("cache", "cache"),
    "redis_port": ("6380", 6380),
    "redis_db": ("2", 2),
    "redis_username": ("bob", "bob"),
    "redis_password": (SECRET, SECRET),
    "redis_ssl": ("on", True),
    "redis_ssl_cafile": ("ca.pem", "ca.pem"),
    "redis_ssl_certfile": ("me.pem", "me.pem"),
    "redis_ssl_keyfile": ("key.pem", "key.pem"),
    "redis_ssl_key_password": (SECRET, SECRET),
    "redis_prefix": ("p:", "p:"),
    "signing_keys": (f"{KEY},k2:fedcba9876543210", (KEY, "k2:fedcba9876543210")),
    "signing": ("off", "off"),
    "result_ttl": ("7300.5", 7300.5),
    "failed_ttl": ("8000", 8000.0),
    "topic_retention": ("9000", 9000.0),
    "durable": ("yes", True),
    "retries": ("7", 7),
    "retry_backoff": ("0.5", 0.5),
    "retry_backoff_max": ("60", 60.0),
    "queues": ("media,default", ("media", "default")),
    "concurrency": ("4", 4),
    "pool": ("process", "process"),
    "timeout_grace": ("2.5", 2.5),
    "grace": ("1.5", 1.5),
    "worker_name": ("w", "w"),
    "time_scale": ("0.1", 0.1),
    "web_host": ("0.0.0.0", "0.0.0.0"),
    "web_port": ("8080", 8080),
    "web_url": ("https://tasks.example.org", "https://tasks.example.org"),
    "secret_key": (SECRET * 2, SECRET * 2),
    "api_token": (SECRET, SECRET),
    "live_poll": ("0.25", 0.25),
    "read_only": ("on", True),
    "web_proxies": ("2", 2),
    "live_notifications": ("off", False),
    "log_level": ("DEBUG", "DEBUG"),
}

# Settings that mean nothing alone, and what they need.
LOGIN = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_username": "u",
    "kafka_password": "p",
}
TLS = {
    "kafka": {"kafka_security_protocol": "SSL", "kafka_ssl_certfile": "c.pem"},
    "redis": {"redis_ssl": True, "redis_ssl_certfile": "c.pem"},
}


def beside(name: str) -> dict[str, Any]:
    needed = LOGIN if name in LOGIN else TLS[name[:5]] if "_ssl_" in name else {}
    return {other: value for other, value in needed.items() if other != name}


def test_every_setting_is_tested_below() -> None:
    assert set(GIVEN) == set(FIELDS)


@pytest.mark.parametrize("name", GIVEN)
def test_a_setting_comes_from_its_variable(name: str) -> None:
    text, value = GIVEN[name]
    found = getattr(load_settings({f"YADTQ_{name.upper()}": text}, **beside(name)), name)
    assert (found, type(found)) == (value, type(value))
    assert found != FIELDS[name].default


@pytest.mark.parametrize("name", GIVEN)
def test_an_argument_is_enough_and_wins(name: str) -> None:
    text, value = GIVEN[name]
    assert getattr(load_settings({}, **beside(name), **{name: text}), name) == value
    assert getattr(load_settings({}, **beside(name), **{name: value}), name) == value
    other = {"kafka_servers": "h:1", "redis_url": "redis://x:1/0", "signing_keys": "k9:0123456789abcdef"}
    environ = {f"YADTQ_{name.upper()}": other.get(name, "1")}
    assert getattr(load_settings(environ, **beside(name), **{name: value}), name) == value


def test_defaults_hold_without_anything_given() -> None:
    assert load_settings({}) == Settings()


def test_every_setting_has_a_sentence_of_help() -> None:
    assert all(len(field.metadata["help"]) > 5 for field in FIELDS.values())


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_settings({}).retries = 5  # type: ignore[misc]


def test_an_empty_variable_and_none_mean_not_given() -> None:
    assert load_settings({"YADTQ_RETRIES": ""}).retries == 3
    assert load_settings({"YADTQ_RETRIES": "5"}, retries=None).retries == 5


def test_other_programs_variables_do_not_matter() -> None:
    assert load_settings({"PATH": "/bin", "XYADTQ_RETRIES": "9"}) == Settings()


def test_an_unknown_argument_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'redis_prot'"):
        load_settings({}, redis_prot=6379)


def test_an_unknown_variable_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="YADTQ_REDIS_PROT"):
        load_settings({"YADTQ_REDIS_PROT": "6379"})


def test_create_yadtq_refuses_what_settings_refuse() -> None:
    with pytest.raises(ConfigError, match="'retris'"):
        create_yadtq(retris=1)


# -- contradictions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["redis_host", "redis_port", "redis_db"])
def test_a_url_and_a_part_of_it_contradict(name: str) -> None:
    with pytest.raises(ConfigError, match="redis_url"):
        load_settings({}, redis_url="redis://h:1/0", **{name: GIVEN[name][1]})


@pytest.mark.parametrize("name", ["redis_host", "redis_port"])
def test_a_url_and_a_part_of_it_contradict_in_the_environment(name: str) -> None:
    with pytest.raises(ConfigError, match="YADTQ_REDIS_URL"):
        load_settings({"YADTQ_REDIS_URL": "redis://h:1/0", f"YADTQ_{name.upper()}": GIVEN[name][0]})


def test_an_explicit_host_beats_the_environments_url() -> None:
    found = load_settings({"YADTQ_REDIS_URL": "redis://h:1/0"}, redis_host="cache")
    assert found.redis_location == "redis://cache:6379/0"


def test_an_explicit_url_beats_the_environments_host() -> None:
    found = load_settings({"YADTQ_REDIS_HOST": "h"}, redis_url="redis://cache:1/0")
    assert found.redis_location == "redis://cache:1/0"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kafka_security_protocol": "TLS"}, "kafka_security_protocol must be PLAINTEXT, SSL"),
        ({"kafka_security_protocol": "SASL_SSL"}, "needs kafka_sasl_mechanism too"),
        ({**LOGIN, "kafka_password": ""}, "needs kafka_password too"),
        ({**LOGIN, "kafka_sasl_mechanism": "GSSAPI"}, "kafka_sasl_mechanism must be PLAIN, SCRAM-SHA-256"),
        ({"kafka_username": "u"}, "kafka_username is set, but kafka_security_protocol=PLAINTEXT logs nobody in"),
        ({**LOGIN, "kafka_security_protocol": "SSL"}, "kafka_sasl_mechanism is set, but .*=SSL"),
        ({"kafka_ssl_cafile": "ca.pem"}, "kafka_ssl_cafile is set, but kafka_security_protocol is not SSL"),
        (
            {"kafka_security_protocol": "SSL", "kafka_ssl_keyfile": "key.pem"},
            "kafka_ssl_keyfile is set without kafka_ssl_certfile",
        ),
        ({"redis_ssl_cafile": "ca.pem"}, "redis_ssl_cafile is set, but redis_ssl is off"),
        ({"redis_url": "redis://h:1/0", "redis_ssl_cafile": "ca.pem"}, "does not begin with rediss://"),
        ({"redis_url": "rediss://h:1/0", "redis_ssl": True}, "redis_url was given together with redis_ssl"),
        ({"redis_ssl": True, "redis_ssl_key_password": "p"}, "set without redis_ssl_certfile"),
    ],
)
def test_a_login_and_tls_are_given_whole(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load_settings({}, **given)


def test_a_url_and_the_single_settings_both_say_tls() -> None:
    assert load_settings({}, redis_host="cache", redis_ssl=True).redis_location == "rediss://cache:6379/0"
    assert load_settings({}, redis_url="rediss://cache:6380", redis_ssl_cafile="ca.pem").redis_tls


@pytest.mark.parametrize("server", ["kafka", "redis"])
@pytest.mark.parametrize("kind", ["cafile", "certfile", "keyfile"])
def test_a_missing_file_is_named_before_anything_connects(server: str, kind: str, tmp_path: Path) -> None:
    there = tmp_path / "there.pem"
    there.write_text("no certificate")
    files = {f"{server}_ssl_{other}": str(there) for other in ("cafile", "certfile", "keyfile")}
    files[f"{server}_ssl_{kind}"] = str(tmp_path / "gone.pem")
    tls = {"kafka": {"kafka_security_protocol": "SSL"}, "redis": {"redis_ssl": True}}[server]
    with pytest.raises(ConfigError, match=rf"{server}_ssl_{kind}=.*gone.pem cannot be read: No such file"):
        create_yadtq(**tls, **files)


@pytest.mark.parametrize("kind", ["cafile", "certfile"])
def test_a_file_without_a_certificate_is_named(kind: str, tmp_path: Path) -> None:
    there = tmp_path / "there.pem"
    there.write_text("no certificate")
    with pytest.raises(ConfigError, match=f"kafka_ssl_{kind}.* no certificate in PEM form"):
        create_yadtq(kafka_security_protocol="SSL", **{f"kafka_ssl_{kind}": str(there)})


# -- values that cannot work -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retries", "three"),
        ("retries", "3.5"),
        ("retries", 3.5),
        ("retries", float("inf")),
        ("retries", -1),
        ("time_scale", float("nan")),
        ("result_ttl", float("inf")),
        ("result_ttl", 0),
        ("failed_ttl", -1),
        ("topic_retention", 0),
        ("partitions", 0),
        ("concurrency", 0),
        ("live_poll", 0),
        ("retry_backoff", -0.1),
        ("retry_backoff_max", 0),
        ("grace", -1),
        ("timeout_grace", -1),
        ("pool", "fibers"),
        ("redis_db", -1),
        ("redis_port", 0),
        ("redis_port", 65_536),
        ("web_port", -1),
        ("web_proxies", -1),
        ("durable", "perhaps"),
        ("log_level", "LOUD"),
        ("queues", ""),
        ("queues", " , "),
        ("queues", 5),
        ("kafka_servers", []),
        ("kafka_servers", [9092]),
        ("kafka_servers", "localhost"),
        ("kafka_servers", ":9092"),
        ("kafka_servers", "localhost:kafka"),
        ("signing", "sometimes"),
    ],
)
def test_what_cannot_work_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        load_settings({}, **{name: value})


@pytest.mark.parametrize("word", ["1", "true", "YES", "on", True])
def test_words_for_true(word: Any) -> None:
    assert load_settings({}, durable=word).durable is True


@pytest.mark.parametrize("word", ["0", "false", "No", "off", False])
def test_words_for_false(word: Any) -> None:
    assert load_settings({}, live_notifications=word).live_notifications is False


# -- addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "location", "address"),
    [
        ({}, "redis://localhost:6379/0", "localhost:6379"),
        ({"redis_host": "h", "redis_port": 1, "redis_db": 2}, "redis://h:1/2", "h:1"),
        ({"redis_password": "p/w@"}, "redis://:p%2Fw%40@localhost:6379/0", "localhost:6379"),
        ({"redis_username": "u:", "redis_password": "x"}, "redis://u%3A:x@localhost:6379/0", "localhost:6379"),
        ({"redis_url": "rediss://u:pw@h/3"}, "rediss://u:pw@h/3", "h:6379"),
        ({"redis_url": "unix:///run/redis.sock"}, "unix:///run/redis.sock", "/run/redis.sock"),
        ({"redis_host": "::1"}, "redis://[::1]:6379/0", "[::1]:6379"),
        ({"redis_host": "[2001:DB8::1]", "redis_ssl": True}, "rediss://[2001:DB8::1]:6379/0", "[2001:DB8::1]:6379"),
        ({"redis_url": "redis://[::1]:1/0"}, "redis://[::1]:1/0", "[::1]:1"),
        ({"redis_url": "REDISS://u:pW@h/3"}, "rediss://u:pW@h/3", "h:6379"),
    ],
)
def test_addresses(given: dict[str, Any], location: str, address: str) -> None:
    found = load_settings({}, **given)
    assert (found.redis_location, found.redis_address) == (location, address)


@pytest.mark.parametrize(
    "host", ["", "h:6379", "redis://h", "u:pw@h", "h/3", "h?db=1", "h#1", "::1:6379x", "fe80::zz", "[::1"]
)
def test_a_host_that_is_no_host_alone_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="redis_host must be a host's name or address alone"):
        load_settings({}, redis_host=host)


@pytest.mark.parametrize(
    "url", ["redis:h:6379/0", " redis://h:1/0", "redi\ns://h:1/0", "redis://[::1:1/0", "http://h:1"]
)
def test_a_url_that_redis_py_would_not_read_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="redis_url must be redis://HOST:PORT/DB"):
        load_settings({}, redis_url=url)


USABLE_OPTIONS = {
    "db": "1",
    "socket_timeout": "2.5",
    "socket_connect_timeout": "1",
    "socket_read_size": "4096",
    "health_check_interval": "0",
    "max_connections": "5",
    "ssl_cert_reqs": "required",
    "ssl_min_version": "771",
}


@pytest.mark.parametrize("scheme", _OPTIONS_OF)
def test_redis_py_takes_every_option_that_a_url_may_hold(scheme: str) -> None:
    options = "&".join(f"{name}={USABLE_OPTIONS.get(name, 'x')}" for name in _OPTIONS_OF[scheme])
    settings = load_settings({}, redis_url=f"{scheme}://h/0?{options}")
    assert ResultStore(settings).client.connection_pool.make_connection()


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("redis://h/0?foo=bar", "redis_url holds the option 'foo'"),
        ("redis://h/0?decode_responses=1", "the option 'decode_responses'"),
        ("redis://h/0?connection_class=x", "the option 'connection_class'"),
        ("redis://h/0?ssl_ca_certs=ca.pem", "the option 'ssl_ca_certs', which redis:// does not have"),
        ("unix:///run/redis.sock?socket_keepalive=1", "the option 'socket_keepalive', which unix:// does not have"),
        ("redis://h/0?socket_timeout=abc", "redis_url gives its option socket_timeout a value that cannot be used"),
        ("redis://h/0?socket_timeout=nan", "option socket_timeout"),
        ("redis://h/0?socket_timeout=-1", "option socket_timeout"),
        ("redis://h/0?socket_timeout=1e300", "option socket_timeout"),
        ("redis://h/0?db=x", "option db"),
        ("redis://h/0?max_connections=-1", "option max_connections"),
        ("rediss://h/0?ssl_cert_reqs=perhaps", "option ssl_cert_reqs"),
        ("rediss://h/0?ssl_min_version=3", "option ssl_min_version"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(url: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        create_yadtq(redis_url=url)


# -- signing -----------------------------------------------------------------------------------------------------

HERE = ["localhost:9092", "127.0.0.1:9092", "127.8.9.1:9092", "[::1]:9092"]
ELSEWHERE = ["kafka:9092", "10.0.0.1:9092", "0.0.0.0:9092", "localhost.example.org:9092", "[2001:db8::1]:9092"]


@pytest.mark.parametrize("server", HERE)
def test_on_this_machine_signing_is_left_to_the_keys(server: str) -> None:
    assert not load_settings({}, kafka_servers=server).signing_required
    assert load_settings({}, kafka_servers=server, signing_keys=KEY).signing_required
    assert not load_settings({}, kafka_servers=server, signing_keys=KEY, signing="off").signing_required


@pytest.mark.parametrize("server", ELSEWHERE)
def test_elsewhere_records_must_be_signed(server: str) -> None:
    with pytest.raises(ConfigError, match="YADTQ_SIGNING_KEYS"):
        load_settings({}, kafka_servers=server)
    with pytest.raises(ConfigError, match="signing=off"):
        load_settings({}, kafka_servers=server, signing="off", signing_keys=KEY)
    assert load_settings({}, kafka_servers=server, signing_keys=KEY).signing_required


def test_one_server_elsewhere_is_enough_to_require_signing() -> None:
    with pytest.raises(ConfigError, match="YADTQ_SIGNING_KEYS"):
        load_settings({}, kafka_servers="localhost:9092,kafka:9092")


def test_required_signing_needs_a_key_also_on_this_machine() -> None:
    with pytest.raises(ConfigError, match="YADTQ_SIGNING_KEYS"):
        load_settings({}, signing="required")
    assert load_settings({}, signing="required", signing_keys=KEY).signing_required


@pytest.mark.parametrize("key", ["0123456789abcdef", ":0123456789abcdef", "k1:tooshort", "k1:"])
def test_a_signing_key_has_an_id_and_a_long_secret(key: str) -> None:
    with pytest.raises(ConfigError, match="ID:SECRET"):
        load_settings({}, signing_keys=key)


@pytest.mark.parametrize("again", [KEY, "k1:fedcba9876543210"])
def test_two_signing_keys_of_one_id_are_refused(again: str) -> None:
    """Only the last would be known, and what the other has signed would be rejected."""
    with pytest.raises(ConfigError, match="signing keys 1 and 3 have the same id"):
        load_settings({}, signing_keys=[KEY, "k2:0123456789abcdef", again])


@pytest.mark.parametrize("key_id", ["k" * 65, "k\n1", "k\ud800"])
def test_the_id_of_a_signing_key_is_short_and_one_line(key_id: str) -> None:
    assert load_settings({}, signing_keys=[f"{'k' * 64}:0123456789abcdef"]).signing_keys
    with pytest.raises(ConfigError, match="id of signing key 2 must be 1 to 64 characters"):
        load_settings({}, signing_keys=[KEY, f"{key_id}:0123456789abcdef"])


# -- secrets -----------------------------------------------------------------------------------------------------


def test_what_is_secret_is_known() -> None:
    secret = {name for name, field in FIELDS.items() if field.metadata["secret"]}
    assert secret == {
        "kafka_password",
        "kafka_ssl_key_password",
        "redis_url",
        "redis_password",
        "redis_ssl_key_password",
        "signing_keys",
        "secret_key",
        "api_token",
    }


def test_settings_shown_tell_no_secret() -> None:
    given = {
        **LOGIN,
        "kafka_password": SECRET,
        "kafka_ssl_certfile": "me.pem",
        "kafka_ssl_key_password": SECRET,
        "redis_url": f"rediss://u:{SECRET}@h:1/0",
        "redis_ssl_certfile": "me.pem",
        "redis_ssl_key_password": SECRET,
        "signing_keys": f"k1:{SECRET}",
        "secret_key": SECRET * 2,
        "api_token": SECRET,
    }
    for settings in (load_settings({}, **given), load_settings({}, redis_password=SECRET)):
        assert SECRET not in repr(settings) + str(settings) + settings.redis_address


@pytest.mark.parametrize(
    "given",
    [
        {"signing_keys": SECRET},  # its id was forgotten
        {"signing_keys": [SECRET.encode()]},
        {"signing_keys": f"k1:{SECRET[:15]}"},
        {"redis_url": f"redis://u:{SECRET}@h:port/0"},
        {"redis_url": f"u:{SECRET}@h:6379"},
        {"redis_url": f"redis://u:1?{SECRET}=x@h:6379"},  # a ? that was not written %3F
        {"redis_url": f"redis://u:{SECRET}@h:6379?foo=bar"},
        {"redis_url": f"redis://u:{SECRET}@h:6379?socket_timeout=abc&password={SECRET}"},
        {"redis_host": f"u:{SECRET}@h"},
        {"redis_host": "[", "redis_password": SECRET},
        {"signing_keys": f"k1:{SECRET},k1:{SECRET}2"},
        {"signing_keys": f"{'k' * 65}:{SECRET}"},
    ],
)
def test_a_refusal_tells_no_secret(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        create_yadtq(**given)
    chained = f"{caught.value} {caught.value.__cause__}"
    assert SECRET[:15] not in chained
