"""``yadtq up``: Kafka, Redis, workers and the dashboard on this machine, in one command."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
from rich.text import Text

from yadtq.commands import output
from yadtq.commands.children import signals_interrupt
from yadtq.commands.extras import require_extras
from yadtq.commands.folder import DataFolder, open_folder
from yadtq.commands.house import LINK_SECONDS, WEB_HOST, House, Plan, Say
from yadtq.commands.loading import require_module
from yadtq.commands.ports import bind_error
from yadtq.commands.servers import Servers, server_options
from yadtq.config import load_settings
from yadtq.embedded.folder import choose_port
from yadtq.errors import ConfigError


@click.command()
@click.option("--data", default=".yadtq", show_default=True, metavar="DIR", help="Where data is kept between runs.")
@click.option("--port", type=click.IntRange(1, 65_535), help="The dashboard's port; without it 8000 or a free one.")
@click.option("--workers", type=click.IntRange(0), default=2, show_default=True, help="Worker processes.")
@click.option("--tasks", default="workercode", show_default=True, metavar="MODULE", help="Whose functions they run.")
@click.option("-v", "--verbose", is_flag=True, help="Show the logs of workers and dashboard here.")
@server_options
def up(servers: Servers, data: str, port: int | None, workers: int, tasks: str, verbose: bool) -> None:
    """Run Kafka, Redis, workers and the dashboard here.

    With --kafka or --redis that server is used instead of one of our own. DIR/env, sourced in another shell,
    lets clients and `yadtq` commands there find everything. Ctrl-C stops all of it; a second one at once.
    """
    require_extras("web", *(["embedded"] if not (servers.kafka and servers.redis) else []))
    if workers:
        require_module(tasks)
    console = output.console(stderr=True)

    def say(message: str) -> None:
        console.print(output.plain(message, "dim"), soft_wrap=True)

    with signals_interrupt(), open_folder(Path(data)) as folder:
        house = House(Plan(servers, _web_port(port, say), workers, tasks, verbose), folder, say)
        try:
            with console.status("starting YADTQ"):
                house.start()
            folder.write_env(house.variables)
            _welcome(house, folder, workers, tasks)
            house.keep()
        except KeyboardInterrupt:
            say("stopping; Ctrl-C again ends everything at once")
        finally:
            house.stop()
        say("stopped")


def _web_port(asked: int | None, say: Say) -> int:
    """The port asked for, which must be free; else the usual one, or one that is free."""
    usual = asked or load_settings().web_port
    reason = bind_error(WEB_HOST, usual)
    if reason is None:
        return usual
    if asked:
        raise ConfigError(f"port {asked} {reason}; choose another one with --port")
    port = choose_port((), set())
    say(f"dashboard: port {port} is used instead: {usual} {reason}")
    return port


def _welcome(house: House, folder: DataFolder, workers: int, tasks: str) -> None:
    """Where everything is. Lines are not wrapped, so that an address can be copied whole."""
    env = folder.env_file.relative_to(Path.cwd()) if folder.env_file.is_relative_to(Path.cwd()) else folder.env_file
    online = f"{house.workers_online()} of {workers} online, with the tasks of {tasks}"
    lines = {
        "dashboard": house.url,
        "sign in": f"{house.sign_in_link()}  (once, within {output.span(LINK_SECONDS)})",
        "Kafka": house.kafka_servers,
        "Redis": load_settings({}, redis_url=house.redis_url).redis_address,
        "workers": online if workers else "none; start some with `yadtq worker MODULE`",
        "other shells": f"set -a; . {shlex.quote(str(env))}; set +a",
        "stop": "Ctrl-C",
    }
    console = output.console()
    console.print(Text("\nYADTQ is up\n", style="bold green"))
    for name, value in lines.items():
        console.print(Text.assemble((f"  {name:<14}", "dim"), output.clean(value)), soft_wrap=True)
    console.print()
