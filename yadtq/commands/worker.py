"""``yadtq worker``: one worker process, or a parent that keeps several alive."""

from __future__ import annotations

import contextlib
import logging
import time
import traceback
from collections.abc import Iterator
from typing import Any

import click

from yadtq import TaskWorker, create_yadtq
from yadtq.commands.children import TICK, Child, command_line, signals_interrupt, stop_all
from yadtq.commands.exits import Exit
from yadtq.commands.loading import Handlers, load_handlers
from yadtq.commands.logs import log_to_stderr
from yadtq.commands.servers import Servers, server_options
from yadtq.config import POOLS
from yadtq.core.yadtq_views import note_failed_start
from yadtq.errors import ConfigError, ResultStoreUnavailable

STOP_MARGIN = 10.0  # seconds beyond its own grace time that a worker gets to commit and close
log = logging.getLogger("yadtq.worker")


@click.command()
@click.argument("target", metavar="MODULE[:NAME]")
@click.option("-p", "--processes", type=click.IntRange(1), default=1, show_default=True, help="Worker processes.")
@click.option("-c", "--concurrency", type=click.IntRange(1), help="Tasks that each process runs at once.")
@click.option("--pool", type=click.Choice(POOLS), help="Where they run: threads, or child processes that may crash.")
@click.option("-Q", "--queues", help="Queues to take from, comma separated.")
@click.option("-v", "--verbose", is_flag=True, help="Log more, with whole tracebacks.")
@server_options
def worker(
    servers: Servers,
    target: str,
    processes: int,
    concurrency: int | None,
    pool: str | None,
    queues: str | None,
    verbose: bool,
) -> None:
    """Run tasks with the functions of MODULE.

    The module is imported from the current directory. Its functions are those in the dict task_handlers and
    those marked with @task; NAME picks one dict, list or function. SIGTERM and Ctrl-C let running tasks end.
    """
    chosen = {"concurrency": concurrency, "pool": pool, "queues": queues}
    settings = servers.settings(**chosen)
    log_to_stderr("DEBUG" if verbose else settings.log_level)
    if processes == 1:
        with _failure_told(servers):
            _run(servers, target, _load(target, verbose=verbose), chosen)
        return
    arguments = [target, *(["-v"] if verbose else [])]
    for option, value in chosen.items():
        arguments += [f"--{option}", str(value)] if value is not None else []
    command = command_line("worker", *arguments)
    children = [
        Child(f"worker {n}", command, servers.environment, log.warning, may_end=True) for n in range(1, processes + 1)
    ]
    _keep_alive(children, settings.grace + STOP_MARGIN)


@contextlib.contextmanager
def _failure_told(servers: Servers) -> Iterator[None]:
    """Let the dashboard say why no worker comes: whoever looks at it may not see this terminal, or log."""
    try:
        yield
    except ConfigError as error:
        try:
            note_failed_start(create_yadtq(**servers.explicit)[1], str(error))
        except ResultStoreUnavailable as away:
            log.debug("the dashboard is not told: %s", away)
        raise


def _load(target: str, *, verbose: bool) -> Handlers:
    try:
        return load_handlers(target)
    except ConfigError:
        if verbose:
            traceback.print_exc()
        raise


def _run(servers: Servers, target: str, handlers: Handlers, chosen: dict[str, Any]) -> None:
    broker, store = create_yadtq(**servers.explicit, **chosen)
    TaskWorker(broker, store, task_handlers=handlers, target=target).run()


def _keep_alive(children: list[Child], grace: float) -> None:
    """Run the children until a signal, or until all were shut down; one that says it can never start ends them all."""
    with signals_interrupt():
        try:
            for child in children:
                child.start()
            while not all(child.over for child in children):
                time.sleep(TICK)
                for child in children:
                    child.tend()
                    if child.exit_code == Exit.USAGE:
                        raise ConfigError(f"{child.name} cannot start, for the reason it gave above")
        except KeyboardInterrupt:
            log.info("stopping %d workers", len(children))
        finally:
            stop_all(children, grace)
