"""The wheel holds all it needs: installed into a clean environment, `yadtq up` serves from there."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.acceptance.conftest import REPO, Start, clean_environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts of an environment that has only the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, REPO, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "env", cwd=folder)
    scripts = folder / "env" / "bin"
    run(scripts / "python", "-m", "pip", "install", "--quiet", f"{wheel}[web,embedded]", cwd=folder)
    return scripts


def test_up_serves_from_the_installed_wheel(start: Start, installed: Path, tmp_path: Path) -> None:
    where = run(
        installed / "python",
        "-c",
        "import yadtq, webapp; print(yadtq.__file__, webapp.__file__)",
        cwd=tmp_path,
    )
    assert str(REPO) not in where

    up = start(str(installed / "yadtq"), "up", cwd=tmp_path)
    up.says("Ctrl-C")
    link = re.search(r"(http://\S+)/login\?token=\S+", up.output)
    assert link
    with urllib.request.urlopen(link[0], timeout=10) as answer:
        page = answer.read().decode()
    styles = re.findall(r'href="(/static/[^"]+\.css[^"]*)"', page)
    assert styles
    for style in styles:
        with urllib.request.urlopen(link[1] + style, timeout=10) as answer:
            assert answer.status == 200
    assert "2 of 2 online, with the tasks of workercode" in up.output
    assert up.ends(signal.SIGINT) == 0


def test_without_its_extras_it_says_what_to_install(tmp_path: Path, installed: Path) -> None:
    hide = "import sys; sys.modules.update(dict.fromkeys(['flask', 'jgo'])); from yadtq.cli import main; main()"
    for command in ("up", "web"):
        done = subprocess.run(
            [installed / "python", "-c", hide, command],
            cwd=tmp_path,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2
        assert "pip install 'yadtq[" in done.stderr
        assert done.stderr.count("\n") == 1
