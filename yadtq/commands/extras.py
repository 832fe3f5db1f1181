"""Optional parts of the package: named in one sentence where they are missing."""

from __future__ import annotations

from importlib.util import find_spec

from yadtq.errors import ConfigError

_MODULES = {
    "embedded": ("jgo",),
    "web": ("flask", "flask_sock", "flask_wtf", "gunicorn"),
}


def require_extras(*extras: str) -> None:
    """Check that what these extras install is there.

    Raises:
        ConfigError: something is missing; says what to install.
    """
    missing = [module for extra in extras for module in _MODULES[extra] if find_spec(module) is None]
    if missing:
        raise ConfigError(f"{missing[0]} is not installed; get it with: pip install 'yadtq[{','.join(extras)}]'")
