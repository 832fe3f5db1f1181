"""Ships the repository's top-level web files and example tasks inside the wheel.

An editable install reads them where they are: a copy would go stale and hide the real file.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = {
    "templates": "webapp/templates",
    "static": "webapp/static",
    "gunicorn.conf.py": "webapp/gunicorn.conf.py",
    "workercode.py": "workercode.py",
    "wsgi.py": "wsgi.py",
}


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the shipped files to every wheel but the editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"].update(SHIPPED)
