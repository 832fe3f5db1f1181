"""``yadtq doctor``: looks at everything tasks need, and says what to do about what is wrong."""

from __future__ import annotations

from dataclasses import asdict

import click

from yadtq import create_yadtq
from yadtq.commands import output
from yadtq.commands.exits import Exit
from yadtq.commands.servers import Servers, json_option, server_options
from yadtq.core.yadtq_checks import Check, Level
from yadtq.core.yadtq_checkup import examine


@click.command()
@json_option
@server_options
def doctor(servers: Servers, as_json: bool) -> None:
    """Check Kafka, Redis, signing and workers; say what to do.

    Ends with 1 when something does not work; warnings alone end with 0.
    """
    checks = list(examine(*create_yadtq(**servers.explicit)))
    _report(checks, as_json)
    if any(check.level is Level.FAIL for check in checks):
        click.get_current_context().exit(Exit.NO)


def _report(checks: list[Check], as_json: bool) -> None:
    if as_json:
        output.print_json({"checks": [asdict(check) for check in checks]})
        return
    styles = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
    table = output.table("", "check", "found", "what to do")
    for check in checks:
        level = output.plain(check.level.value, styles[check.level])
        table.add_row(level, check.about, output.plain(check.found), output.plain(check.remedy))
    output.console().print(table)
