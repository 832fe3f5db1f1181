"""``yadtq token``: which programs may use the JSON API."""

from __future__ import annotations

from dataclasses import asdict

import click
from rich.text import Text

from yadtq import create_yadtq
from yadtq.commands import output
from yadtq.commands.servers import Servers, json_option, server_options
from yadtq.commands.user import BY
from yadtq.core.yadtq_accounts import ROLES, Accounts, ApiToken, validity
from yadtq.core.yadtq_views import record_action
from yadtq.errors import ConfigError


@click.group()
def token() -> None:
    """Manage which programs may use the JSON API."""


@token.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What it may do.")
@click.option("--days", type=int, metavar="N", help="Days until it expires; without them it never does.")
@server_options
def add(servers: Servers, name: str, role: str, days: int | None) -> None:
    """Make a token and print it; it is not shown again."""
    store = create_yadtq(**servers.explicit)[1]
    made = Accounts(store).create_api_token(name, role, BY, days)
    detail = f"{role}, {validity(days)}"
    record_action(store, user=BY, role="", action="make token", target=name, detail=detail)
    click.echo(made)


@token.command("list")
@json_option
@server_options
def show(servers: Servers, as_json: bool) -> None:
    """List the tokens by name, with when each was last used and expires, and without what they are."""
    found = Accounts(create_yadtq(**servers.explicit)[1]).api_tokens()
    if as_json:
        output.print_json({"tokens": [asdict(one) for one in found]})
        return
    table = output.table("name", "role", "made by", "made", "last used", "expires")
    for one in found:
        made, used = output.clock(one.created_at), output.clock(one.used_at)
        table.add_row(output.plain(one.name), one.role, output.plain(one.by), made, used, _expiry(one))
    output.console().print(table if found else Text("no tokens"))


def _expiry(one: ApiToken) -> Text:
    if one.expires_at is None:
        return Text("never")
    return Text(f"{output.clock(one.expires_at)}{' (expired)' if one.expired else ''}", "red" if one.expired else "")


@token.command("revoke")
@click.argument("name")
@server_options
def revoke(servers: Servers, name: str) -> None:
    """Revoke a token: programs that use it are refused at once."""
    store = create_yadtq(**servers.explicit)[1]
    if not Accounts(store).revoke_api_token(name):
        raise ConfigError(f"there is no token {name!r}; `yadtq token list` shows all")
    record_action(store, user=BY, role="", action="revoke token", target=name)
    click.echo(f"the token {name} is revoked")
