"""``yadtq user``: who may sign in to the dashboard."""

from __future__ import annotations

import sys
from importlib import import_module

import click
from rich.text import Text

from yadtq import create_yadtq
from yadtq.commands import output
from yadtq.commands.extras import require_extras
from yadtq.commands.servers import Servers, json_option, server_options
from yadtq.core.yadtq_accounts import ROLES, Accounts, check_password
from yadtq.core.yadtq_views import record_action
from yadtq.errors import ConfigError

BY = "command line"  # how the audit log names whoever has a shell


@click.group()
def user() -> None:
    """Manage who may sign in to the dashboard."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the user may do.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@server_options
def add(servers: Servers, name: str, role: str, password_stdin: bool) -> None:
    """Add a user, or give one a new password and role; its sessions end."""
    require_extras("web")
    store = create_yadtq(**servers.explicit)[1]
    accounts = Accounts(store)
    known = accounts.user(name) is not None
    password = check_password(_read_password(from_stdin=password_stdin))
    # Loaded only here: werkzeug comes with the web extra, which other commands do without.
    hashed: str = import_module("werkzeug.security").generate_password_hash(password, method="scrypt")
    accounts.add_user(name, hashed, role)
    record_action(store, user=BY, role="", action="change user" if known else "add user", target=name, detail=role)
    click.echo(f"{name} is {'now' if known else 'added as'} {role}")


@user.command("list")
@json_option
@server_options
def show(servers: Servers, as_json: bool) -> None:
    """List the users and how many browsers each is signed in with."""
    accounts = Accounts(create_yadtq(**servers.explicit)[1])
    signed_in = [session.user for session in accounts.sessions()]
    rows = [(one.name, one.role, signed_in.count(one.name), one.changed_at) for one in accounts.users()]
    if as_json:
        names = ("name", "role", "sessions", "changed_at")
        output.print_json({"users": [dict(zip(names, row, strict=True)) for row in rows]})
        return
    table = output.table("name", "role", "sessions#", "changed")
    for name, role, sessions, changed_at in rows:
        table.add_row(output.plain(name), role, str(sessions), output.clock(changed_at))
    output.console().print(table if rows else Text("no users"))


@user.command("delete")
@click.argument("name")
@server_options
def delete(servers: Servers, name: str) -> None:
    """Delete a user, who is signed out at once."""
    store = create_yadtq(**servers.explicit)[1]
    if not Accounts(store).delete_user(name):
        raise ConfigError(f"there is no user {name!r}; `yadtq user list` shows all")
    record_action(store, user=BY, role="", action="delete user", target=name)
    click.echo(f"{name} is deleted and signed out")


@user.command("logout")
@click.argument("name")
@server_options
def logout(servers: Servers, name: str) -> None:
    """Sign a user out everywhere, also one who came by a link."""
    store = create_yadtq(**servers.explicit)[1]
    count = Accounts(store).end_sessions(name)
    record_action(store, user=BY, role="", action="sign out everywhere", target=name, detail=f"{count} sessions")
    click.echo(f"{name} is signed out of {count} {'browser' if count == 1 else 'browsers'}")


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
