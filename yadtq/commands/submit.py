"""``yadtq submit``: one task from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from yadtq import ResultTimeout, TaskClient, TaskResult, create_yadtq
from yadtq.commands import output
from yadtq.commands.exits import Exit
from yadtq.commands.servers import Servers, json_option, server_options


def _value(text: str) -> Any:
    """An argument as JSON where it is JSON, else as text."""
    try:
        return json.loads(text)
    except ValueError:
        if text.startswith("-"):
            raise click.UsageError(
                f"no such option: {text} (as an argument of the task, write it as JSON: '\"{text}\"')"
            ) from None
        return text


def _keyword(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise click.UsageError(f"--arg {text!r} is not NAME=VALUE")
    return name, _value(value)


# Unknown options are let through, so that a negative number can be an argument as it stands.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("arguments", metavar="[ARG]...", nargs=-1)
@click.option("--arg", "keywords", metavar="NAME=VALUE", multiple=True, help="An argument by name; can be repeated.")
@click.option("--queue", help="The queue; without it the default one.")
@click.option("--delay", type=float, metavar="SECONDS", help="Start it only after this time.")
@click.option("--retries", type=int, help="Attempts after the first.")
@click.option("--timeout", type=float, metavar="SECONDS", help="The time one attempt may run.")
@click.option("--expires", type=float, metavar="SECONDS", help="Do not start it any more after this time.")
@click.option("--key", help="Submit once: the same key and name give the first one's id.")
@click.option("--wait", is_flag=True, help="Wait for its end; exit code 1 unless it is a success.")
@click.option(
    "--wait-timeout",
    type=float,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Wait this long (exit code 4).",
)
@json_option
@server_options
def submit(
    servers: Servers,
    name: str,
    arguments: Sequence[str],
    keywords: Sequence[str],
    wait: bool,
    wait_timeout: float,
    as_json: bool,
    **options: Any,
) -> None:
    """Submit a task.

    Each ARG is read as JSON where it is JSON (2, 0.5, true, "2", [1, 2]), and is text otherwise.
    """
    args, kwargs = [_value(text) for text in arguments], dict(map(_keyword, keywords))
    given = {option: value for option, value in options.items() if value is not None}
    with TaskClient(*create_yadtq(**servers.explicit)) as client:
        submitter = client.options(**given) if given else client
        task_id = submitter.submit(name, *args, **kwargs)
        if wait:
            _await(client, task_id, wait_timeout, as_json)
        elif as_json:
            output.print_json({"id": task_id})
        else:
            click.echo(task_id)


def _await(client: TaskClient, task_id: str, timeout: float, as_json: bool) -> None:
    """Wait for the task's end and print it; ends the command with 1 unless it is a success."""
    with output.console(stderr=True).status(f"waiting for task {task_id}"):
        try:
            result = client.wait_for_result(task_id, timeout=timeout)
        except ResultTimeout as error:
            raise ResultTimeout(f"{error}; see it with `yadtq task {task_id}`") from error
    if as_json:
        output.print_json(result.to_dict())
    else:
        _print_end(result)
    if not result.ok:
        click.get_current_context().exit(Exit.NO)


def _print_end(result: TaskResult) -> None:
    if result.ok:
        click.echo(output.clean(json.dumps(result.result, ensure_ascii=False, default=str)))
    else:
        output.complain(f"task {result.id} {result.status}: {result.error or result.reason or 'it did not run'}")
