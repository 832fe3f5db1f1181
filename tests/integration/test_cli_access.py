"""``yadtq user`` and ``yadtq token`` on a real Redis."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result
from werkzeug.security import check_password_hash

from yadtq import create_yadtq
from yadtq.cli import main
from yadtq.core.accounts.base import hashed
from yadtq.core.yadtq_accounts import Accounts
from yadtq.core.yadtq_result_db import ResultStore
from yadtq.core.yadtq_views import Views
from yadtq.embedded import EmbeddedRedis

Run = Callable[..., Result]


@pytest.fixture
def prefix() -> str:
    return f"yt_{uuid.uuid4().hex[:8]}:"


@pytest.fixture
def run(redis_server: EmbeddedRedis, prefix: str) -> Run:
    environment = {"YADTQ_REDIS_URL": redis_server.url, "YADTQ_REDIS_PREFIX": prefix}

    def command(*arguments: str, given: str = "") -> Result:
        return CliRunner().invoke(main, arguments, input=given, env=environment)

    return command


@pytest.fixture
def store(redis_server: EmbeddedRedis, prefix: str) -> Iterator[ResultStore]:
    made = create_yadtq(redis_url=redis_server.url, redis_prefix=prefix)[1]
    yield made
    made.close()


@pytest.fixture
def accounts(store: ResultStore) -> Accounts:
    return Accounts(store)


@pytest.mark.parametrize(
    ("flags", "given"),
    [(["--password-stdin"], "long enough\nmore\n"), ([], "long enough\nlong enough\n")],
    ids=["read", "asked twice"],
)
def test_a_user_is_kept_with_a_hash(run: Run, accounts: Accounts, flags: list[str], given: str) -> None:
    result = run("user", "add", "ann", "--role", "operator", *flags, given=given)
    user = accounts.user("ann")

    assert result.exit_code == 0, result.output
    assert "long enough" not in result.output
    assert user is not None
    assert user.role == "operator"
    assert user.password_hash.startswith("scrypt:")
    assert check_password_hash(user.password_hash, "long enough")


@pytest.mark.parametrize(
    ("flags", "given"),
    [(["--password-stdin"], "short\n"), (["--password-stdin"], ""), ([], "long enough\nother one\n")],
    ids=["short", "empty", "differ"],
)
def test_a_password_that_will_not_do(run: Run, accounts: Accounts, flags: list[str], given: str) -> None:
    assert run("user", "add", "ann", "--role", "admin", *flags, given=given).exit_code != 0
    assert accounts.users() == []


def test_users_are_listed_signed_out_and_deleted(run: Run, accounts: Accounts) -> None:
    run("user", "add", "ann", "--role", "viewer", "--password-stdin", given="long enough\n")
    ann = accounts.user("ann")
    assert ann is not None
    secrets = [accounts.create_session(ann, 60) for _ in range(2)]
    listed = json.loads(run("user", "list", "--json").output)["users"]
    signed_out = run("user", "logout", "ann").output
    left = [accounts.session(secret) for secret in secrets]
    deleted, again = run("user", "delete", "ann"), run("user", "delete", "ann")

    assert [(one["name"], one["role"], one["sessions"]) for one in listed] == [("ann", "viewer", 2)]
    assert signed_out == "ann is signed out of 2 browsers\n"
    assert left == [None, None]
    assert deleted.exit_code == 0
    assert again.exit_code != 0
    assert "there is no user 'ann'" in again.output


def test_a_token_is_printed_once_and_revoked(run: Run, accounts: Accounts, store: ResultStore) -> None:
    token = run("token", "add", "grafana", "--role", "viewer").output.strip()
    known = accounts.use_api_token(token)
    listed = run("token", "list").output
    taken = run("token", "add", "grafana", "--role", "admin")
    revoked, again = run("token", "revoke", "grafana"), run("token", "revoke", "grafana")

    assert known is not None
    assert (known.name, known.role) == ("grafana", "viewer")
    assert "grafana" in listed
    assert token not in listed
    assert "there is a token named grafana already" in taken.output
    assert revoked.exit_code == 0
    assert accounts.use_api_token(token) is None
    assert "there is no token 'grafana'" in again.output
    actions = [(entry.user, entry.action) for entry in Views(store).audit().items]
    assert actions == [("command line", "revoke token"), ("command line", "make token")]


def test_a_token_expires_where_days_are_given(run: Run, accounts: Accounts, store: ResultStore) -> None:
    run("token", "add", "grafana", "--role", "viewer")
    nightly = run("token", "add", "nightly", "--role", "viewer", "--days", "30").output.strip()
    refused = run("token", "add", "other", "--role", "viewer", "--days", "0")
    accounts.use_api_token(nightly)
    listed = run("token", "list").output
    [grafana, known] = json.loads(run("token", "list", "--json").output)["tokens"]
    store.client.hset(store.key("token:", hashed(nightly)), "expires", store.time_ms() - 1)

    assert (grafana["expires_at"], grafana["used_at"], grafana["expired"]) == (None, None, False)
    assert known["expires_at"] - known["created_at"] == 30 * 86_400
    assert known["used_at"] >= known["created_at"] - 1
    assert refused.exit_code == 2
    assert "valid for 1 to 3650 days, not 0; without a number of days it never expires" in refused.output
    assert "never" in listed
    assert "(expired)" not in listed
    assert "(expired)" in run("token", "list").output
    assert [entry.detail for entry in Views(store).audit().items] == [
        "viewer, expires in 30 days",
        "viewer, never expires",
    ]
