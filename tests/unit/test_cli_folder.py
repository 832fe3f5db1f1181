"""The data folder of `yadtq up`: one run at a time, secrets that stay, files for their owner only."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from yadtq.commands.folder import open_folder
from yadtq.errors import EmbeddedError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_run_is_told_the_pid_and_the_url_of_the_first(tmp_path: Path) -> None:
    with open_folder(tmp_path / "data") as folder:
        folder.note_url("http://127.0.0.1:8123")
        with pytest.raises(EmbeddedError) as error, open_folder(tmp_path / "data"):
            pass
    assert f"(pid {os.getpid()})" in str(error.value)
    assert "http://127.0.0.1:8123" in str(error.value)


def test_a_second_run_is_told_that_the_first_is_still_starting(tmp_path: Path) -> None:
    with open_folder(tmp_path), pytest.raises(EmbeddedError, match="still starting"), open_folder(tmp_path):
        pass


def test_the_folder_is_free_again_after_a_run(tmp_path: Path) -> None:
    for _ in range(2):
        with open_folder(tmp_path) as folder:
            assert (tmp_path / "lock").read_text() == f"{os.getpid()} "
            folder.note_url("http://a")


def test_secrets_stay_and_are_private(tmp_path: Path) -> None:
    with open_folder(tmp_path) as folder:
        first = folder.secrets()
    with open_folder(tmp_path) as folder:
        assert folder.secrets() == first
    assert set(first) == {"signing_keys", "secret_key", "api_token"}
    assert len(set(first.values())) == 3
    assert mode(tmp_path / "secrets.json") == 0o600


@pytest.mark.parametrize("damage", ["", "{", "[]", json.dumps({"secret_key": "x"})])
def test_damaged_secrets_are_not_replaced_in_silence(tmp_path: Path, damage: str) -> None:
    (tmp_path / "secrets.json").write_text(damage)
    with open_folder(tmp_path) as folder, pytest.raises(EmbeddedError, match=r"secrets\.json is damaged"):
        folder.secrets()
    assert (tmp_path / "secrets.json").read_text() == damage


def test_the_env_file_is_private_and_a_shell_reads_it_back(tmp_path: Path) -> None:
    awkward = 'it\'s $HOME; `x` "y" \\z'
    with open_folder(tmp_path) as folder:
        folder.write_env({"YADTQ_ONE": "old"})
        folder.write_env({"YADTQ_ONE": awkward, "YADTQ_TWO": "2"})
    assert mode(tmp_path / "env") == 0o600
    script = 'set -a; . "$0"; set +a; printenv YADTQ_ONE YADTQ_TWO'
    said = subprocess.run(["sh", "-c", script, tmp_path / "env"], capture_output=True, text=True, check=True)
    assert said.stdout == f"{awkward}\n2\n"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(EmbeddedError, match=r"file/data cannot be used"),
        open_folder(tmp_path / "file" / "data"),
    ):
        pass
