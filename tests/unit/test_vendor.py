"""What others wrote is as they published it, and its licence lies beside it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"


def test_every_vendored_file_is_as_its_table_says() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| (\w+) \| ([\d.]+) \| `([0-9a-f]{64})` \|$", (VENDOR / "README.md").read_text(), re.MULTILINE
    )
    named = {name: sha for name, _, _, sha in rows}

    assert {path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")} == set(named)
    for name, package, version, sha in rows:
        content = (VENDOR / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha, f"{name} is not that of {package} {version}"
        if name.endswith(".js"):
            assert f"(v{version})".encode() in content
    assert "MIT" in (VENDOR / "uPlot.LICENSE").read_text()
