"""``yadtq user``: who may sign in to the dashboard."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from yadtq import create_yadtq
from yadtq.commands.extras import require_extras
from yadtq.commands.servers import Servers, server_options
from yadtq.core.yadtq_accounts import Accounts
from yadtq.errors import ConfigError

_SHORTEST = 8


@click.group()
def user() -> None:
    """Manage who may sign in to the dashboard."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "operator", "admin"]), required=True, help="What the user may do.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@server_options
def add(servers: Servers, name: str, role: str, password_stdin: bool) -> None:
    """Add a user, or give one a new password and role."""
    require_extras("web")
    accounts = Accounts(create_yadtq(**servers.explicit)[1])
    known = accounts.user(name) is not None
    password = _read_password(from_stdin=password_stdin)
    if len(password) < _SHORTEST:
        raise ConfigError(f"the password is too short; take at least {_SHORTEST} characters")
    # Loaded only here: werkzeug comes with the web extra, which other commands do without.
    hashed: str = import_module("werkzeug.security").generate_password_hash(password, method="scrypt")
    accounts.add_user(name, hashed, role)
    click.echo(f"{name} is {'now' if known else 'added as'} {role}")


def _read_password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    return password
