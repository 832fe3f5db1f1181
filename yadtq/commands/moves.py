"""``yadtq retry`` and ``cancel``: a person moves tasks. ``yadtq pause``, ``resume`` and ``shutdown``: asks workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from yadtq import TaskClient, create_yadtq
from yadtq.commands import output
from yadtq.commands.exits import Exit
from yadtq.commands.servers import Servers, json_option, server_options
from yadtq.errors import TaskError, WorkerError


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@json_option
@server_options
def retry(servers: Servers, task_ids: Sequence[str], as_json: bool) -> None:
    """Run failed, cancelled or expired tasks again, from their first attempt."""
    with TaskClient(*create_yadtq(**servers.explicit)) as client:
        _move_each(task_ids, lambda task_id: client.retry(task_id).value, as_json)


@click.command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@json_option
@server_options
def cancel(servers: Servers, task_ids: Sequence[str], as_json: bool) -> None:
    """Cancel tasks; a running one is asked to stop."""
    with TaskClient(*create_yadtq(**servers.explicit)) as client:
        _move_each(task_ids, lambda task_id: client.cancel(task_id).value, as_json)


@click.command()
@click.argument("workers", metavar="WORKER...", nargs=-1, required=True)
@json_option
@server_options
def pause(servers: Servers, workers: Sequence[str], as_json: bool) -> None:
    """Have workers, by id or name, take no new tasks; what runs goes on."""
    with TaskClient(*create_yadtq(**servers.explicit)) as client:
        _move_each(workers, lambda worker: client.pause_worker(worker) and "asked to pause", as_json)


@click.command()
@click.argument("workers", metavar="WORKER...", nargs=-1, required=True)
@json_option
@server_options
def resume(servers: Servers, workers: Sequence[str], as_json: bool) -> None:
    """Have paused workers, by id or name, take tasks again."""
    with TaskClient(*create_yadtq(**servers.explicit)) as client:
        _move_each(workers, lambda worker: client.resume_worker(worker) and "asked to resume", as_json)


@click.command()
@click.argument("workers", metavar="WORKER...", nargs=-1, required=True)
@json_option
@server_options
def shutdown(servers: Servers, workers: Sequence[str], as_json: bool) -> None:
    """End the processes of workers, by id or name; running tasks have the grace time."""
    with TaskClient(*create_yadtq(**servers.explicit)) as client:
        _move_each(workers, lambda worker: client.shut_down_worker(worker) and "asked to shut down", as_json)


def _move_each(names: Sequence[str], move: Callable[[str], str], as_json: bool) -> None:
    """Move every one that can be; the others are named, and the command ends with 1."""
    moved: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name in names:
        word, reason = _moved(move, name)
        if word:
            moved[name] = word
        else:
            refused[name] = reason
    if as_json:
        output.print_json({"moved": moved, "refused": refused})
    else:
        for name, new in moved.items():
            click.echo(f"{output.clean(name)} {new}")
        for reason in refused.values():
            output.complain(reason)
    if refused:
        click.get_current_context().exit(Exit.NO)


def _moved(move: Callable[[str], str], name: str) -> tuple[str, str]:
    """What became of it in a word, or "" and why nothing did."""
    try:
        return move(name), ""
    except (TaskError, WorkerError) as error:
        return "", str(error)
