"""The command line without servers: parsing, help, exit codes, and foreign text on the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from yadtq import (
    BrokerUnavailable,
    ConfigError,
    IllegalMove,
    InvalidName,
    ResultStoreUnavailable,
    ResultTimeout,
    SubmitUncertain,
    TaskNotFound,
    TaskNotSerializable,
    TaskResult,
    TaskStatus,
    YadtqError,
)
from yadtq.cli import main
from yadtq.commands import moves, show, submit
from yadtq.commands.exits import EPILOG, Exit, exit_code
from yadtq.commands.servers import Servers
from yadtq.core.yadtq_views import TaskPage
from yadtq.errors import EmbeddedError

COMMANDS = [
    "up",
    "worker",
    "web",
    "submit",
    "task",
    "tasks",
    "workers",
    "retry",
    "cancel",
    "pause",
    "resume",
    "shutdown",
    "doctor",
    "user",
    "token",
]
HOSTILE = "[red]x[/red]\x1b[2J\u202e"
Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with no settings but these."""
    for name in ("YADTQ_KAFKA_SERVERS", "YADTQ_REDIS_URL", "YADTQ_SIGNING_KEYS"):
        monkeypatch.delenv(name, raising=False)

    def command(*arguments: str, given: str = "", **environment: str) -> Result:
        return CliRunner().invoke(main, arguments, input=given, env=environment)

    return command


class FakeClient:
    """Stands for TaskClient: notes what it is asked, and answers as the test says."""

    asked: list[Any] = []  # noqa: RUF012 - emptied by the fixture
    answer: Callable[[str], TaskStatus]

    def __init__(self, *_servers: object) -> None: ...
    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_exc: object) -> None: ...

    def options(self, **options: Any) -> FakeClient:
        self.asked.append(options)
        return self

    def submit(self, name: str, /, *args: Any, **kwargs: Any) -> str:
        self.asked.append((name, args, kwargs))
        return "id1"

    def retry(self, task_id: str) -> TaskStatus:
        if task_id != "known":
            raise TaskNotFound(f"there is no task {task_id}")
        return TaskStatus.QUEUED


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> type[FakeClient]:
    FakeClient.asked.clear()
    for module in (submit, moves):
        monkeypatch.setattr(module, "TaskClient", FakeClient)
    return FakeClient


def test_help_lists_every_command_and_the_exit_codes(run: Run) -> None:
    said = run("--help").output
    assert [name for name in re.findall(r"^  (\w+) ", said, re.MULTILINE) if name in COMMANDS] == COMMANDS
    for code in Exit:
        assert re.search(rf"^  {code.value} ", EPILOG, re.MULTILINE)
        assert f"  {code.value} " in said


@pytest.mark.parametrize("command", [*COMMANDS, "user add", "token add"])
def test_every_command_explains_itself(run: Run, command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    if command not in ("user", "token"):
        assert "--redis" in result.output
        assert "--kafka" in result.output


@pytest.mark.parametrize("command", ["submit", "task", "tasks", "workers", "retry", "cancel", "doctor"])
def test_commands_for_machines_take_json(run: Run, command: str) -> None:
    assert "--json" in run(command, "--help").output


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("x"), Exit.USAGE),
        (InvalidName("x"), Exit.USAGE),
        (BrokerUnavailable("x"), Exit.SERVER),
        (ResultStoreUnavailable("x"), Exit.SERVER),
        (SubmitUncertain("x", "id"), Exit.SERVER),
        (ResultTimeout("x"), Exit.STILL_RUNNING),
        (TaskNotFound("x"), Exit.NO),
        (IllegalMove("x"), Exit.NO),
        (TaskNotSerializable("x"), Exit.NO),
        (EmbeddedError("x"), Exit.NO),
    ],
)
def test_exit_codes_of_errors(error: YadtqError, code: Exit) -> None:
    assert exit_code(error) == code


def test_an_error_is_one_line_without_a_traceback(run: Run) -> None:
    result = run("tasks", "--redis", "redis://127.0.0.1:1/0")
    assert result.exit_code == Exit.SERVER
    assert result.stdout == ""
    assert re.fullmatch(r"yadtq: Redis at 127\.0\.0\.1:1 [^\n]+\n", result.stderr)


def test_a_wrong_setting_names_itself(run: Run) -> None:
    result = run("tasks", YADTQ_REDIS_PORT="many")
    assert result.exit_code == Exit.USAGE
    assert "redis_port" in result.stderr


def test_an_interrupt_has_its_own_code(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(show, "create_yadtq", interrupted)
    assert run("tasks").exit_code == Exit.INTERRUPTED


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["2", "-3"], (2, -3)),
        (["-1.5e3", "true", "null"], (-1500.0, True, None)),
        (["text", '"2"', "a=b"], ("text", "2", "a=b")),
        (["[1, 2]", '{"a": 1}'], ([1, 2], {"a": 1})),
        (["--", "-7"], (-7,)),
        (['"--que"'], ("--que",)),
    ],
)
def test_arguments_are_json_where_they_can_be(
    run: Run, client: type[FakeClient], typed: list[str], meant: tuple[Any, ...]
) -> None:
    result = run("submit", "add", *typed)
    assert (result.exit_code, result.output) == (0, "id1\n")
    assert client.asked == [("add", meant, {})]


def test_arguments_by_name_and_options(run: Run, client: type[FakeClient]) -> None:
    run("submit", "resize", "x", "--arg", "width=3", "--arg", "mode=a=b", "--queue", "media", "--delay", "2")
    assert client.asked == [
        {"queue": "media", "delay": 2.0},
        ("resize", ("x",), {"width": 3, "mode": "a=b"}),
    ]


@pytest.mark.parametrize("typed", [["--que", "x"], ["--arg", "width"], ["--arg", "1a=2"], ["-x"]])
def test_a_misspelt_option_is_not_an_argument(run: Run, client: type[FakeClient], typed: list[str]) -> None:
    assert run("submit", "add", *typed).exit_code == Exit.USAGE
    assert client.asked == []


def test_submit_as_json(run: Run, client: type[FakeClient]) -> None:
    assert json.loads(run("submit", "add", "--json").output) == {"id": "id1"}


def test_what_can_be_moved_is_moved_and_the_rest_is_named(run: Run, client: type[FakeClient]) -> None:
    result = run("retry", "known", "other")
    assert result.exit_code == Exit.NO
    assert result.stdout == "known queued\n"
    assert result.stderr == "yadtq: there is no task other\n"
    assert json.loads(run("retry", "known", "other", "--json").stdout) == {
        "moved": {"known": "queued"},
        "refused": {"other": "there is no task other"},
    }


def test_foreign_text_cannot_act_on_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    task = TaskResult("id1", f"add{HOSTILE}", "default", TaskStatus.FAILED, error=HOSTILE, args_preview=HOSTILE)

    class FakeViews:
        def __init__(self, _store: object) -> None: ...
        def tasks(self, *_args: object, **_kwargs: object) -> TaskPage:
            return TaskPage(items=[task], next=HOSTILE, previous=None, epoch="e", seq=1)

        def server_time(self) -> float:
            return 0.0

    monkeypatch.setattr(show, "Views", FakeViews)
    printed = run("tasks").output
    assert printed.count("[red]x[/red]") == 4
    assert "\x1b" not in printed
    assert "\u202e" not in printed
    shown = run("tasks", "--json").output
    assert shown.isascii()
    assert json.loads(shown)["tasks"][0]["error"] == HOSTILE


def test_the_workers_environment_hides_passwords_from_its_command_line() -> None:
    servers = Servers("kafka:9092", "redis://:secret@redis:6379/0")
    assert servers.environment == {
        "YADTQ_KAFKA_SERVERS": "kafka:9092",
        "YADTQ_REDIS_URL": "redis://:secret@redis:6379/0",
    }
