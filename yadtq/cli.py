"""``yadtq``: the command line. Each command parses, calls and prints; the work is done elsewhere."""

from __future__ import annotations

from typing import Any

import click

from yadtq.commands.doctor import doctor
from yadtq.commands.exits import EPILOG, Exit, exit_code
from yadtq.commands.logs import quiet_kafka
from yadtq.commands.moves import cancel, pause, resume, retry, shutdown
from yadtq.commands.output import complain
from yadtq.commands.show import show_task, show_tasks, show_workers
from yadtq.commands.submit import submit
from yadtq.commands.token import token
from yadtq.commands.up import up
from yadtq.commands.user import user
from yadtq.commands.web import web
from yadtq.commands.worker import worker
from yadtq.errors import YadtqError


class _Commands(click.Group):
    """A group that ends an error of ours with one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except YadtqError as error:
            complain(error)
            ctx.exit(exit_code(error))
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order added below: what one needs first comes first."""
        return list(self.commands)


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="yadtq", message="yadtq %(version)s")
def main() -> None:
    """YADTQ: a task queue on Kafka and Redis that never loses a task.

    Start everything on this machine with `yadtq up`.
    """
    quiet_kafka()


for command in (
    *(up, worker, web, submit, show_task, show_tasks, show_workers, retry, cancel),
    *(pause, resume, shutdown, doctor, user, token),
):
    main.add_command(command)

if __name__ == "__main__":
    main()
