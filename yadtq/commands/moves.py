"""``yadtq retry`` and ``yadtq cancel``: a person moves tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from yadtq import TaskClient, TaskStatus, create_yadtq
from yadtq.commands import output
from yadtq.commands.exits import Exit
from yadtq.commands.servers import Servers, json_option, server_options
from yadtq.errors import TaskError


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@json_option
@server_options
def retry(servers: Servers, task_ids: Sequence[str], as_json: bool) -> None:
    """Run failed, cancelled or expired tasks again, from their first attempt."""
    with TaskClient(*create_yadtq(**servers.explicit)) as client:
        _move_each(task_ids, client.retry, as_json)


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@json_option
@server_options
def cancel(servers: Servers, task_ids: Sequence[str], as_json: bool) -> None:
    """Cancel tasks; a running one is asked to stop."""
    with TaskClient(*create_yadtq(**servers.explicit)) as client:
        _move_each(task_ids, client.cancel, as_json)


def _move_each(task_ids: Sequence[str], move: Callable[[str], TaskStatus], as_json: bool) -> None:
    """Move every task that can be; the others are named, and the command ends with 1."""
    moved: dict[str, str] = {}
    refused: dict[str, str] = {}
    for task_id in task_ids:
        status, reason = _moved(move, task_id)
        if status:
            moved[task_id] = status
        else:
            refused[task_id] = reason
    if as_json:
        output.print_json({"moved": moved, "refused": refused})
    else:
        for task_id, new in moved.items():
            click.echo(f"{output.clean(task_id)} {new}")
        for reason in refused.values():
            output.complain(reason)
    if refused:
        click.get_current_context().exit(Exit.NO)


def _moved(move: Callable[[str], TaskStatus], task_id: str) -> tuple[str, str]:
    """The task's new status, or "" and why it has none."""
    try:
        return move(task_id).value, ""
    except TaskError as error:
        return "", str(error)
