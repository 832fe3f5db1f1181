"""``yadtq web``: the dashboard under gunicorn."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from yadtq.commands.extras import require_extras
from yadtq.commands.ports import bind_error
from yadtq.commands.servers import Servers, server_options
from yadtq.errors import ConfigError


@click.command()
@click.option("--host", help="Address to listen on; without it YADTQ_WEB_HOST or 127.0.0.1.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port to listen on; without it YADTQ_WEB_PORT or 8000.")
@server_options
def web(servers: Servers, host: str | None, port: int | None) -> None:
    """Serve the dashboard."""
    require_extras("web")
    settings = servers.settings(web_host=host, web_port=port)
    bind = f"{settings.web_host}:{settings.web_port}"
    if reason := bind_error(settings.web_host, settings.web_port):
        raise ConfigError(f"{bind} {reason}; choose another address with --host and --port")
    os.environ.update(servers.environment, YADTQ_WEB_HOST=settings.web_host, YADTQ_WEB_PORT=str(settings.web_port))
    # gunicorn takes this process over, so signals reach it without anyone in between.
    os.execv(  # noqa: S606 - no shell is wanted
        sys.executable,
        [sys.executable, "-m", "gunicorn", "-c", str(_conf()), "-b", bind, "webapp:create_app()"],
    )


def _conf() -> Path:
    """gunicorn's settings: inside the installed package, or at the top of a checkout."""
    spec = find_spec("webapp")
    if spec is None or spec.origin is None:
        raise ConfigError("the dashboard's package webapp is not installed; get it with: pip install 'yadtq[web]'")
    package = Path(spec.origin).parent
    installed = package / "gunicorn.conf.py"
    return installed if installed.exists() else package.parent / "gunicorn.conf.py"
