"""What the worker process of the web's tests can do."""

from __future__ import annotations

from pathlib import Path

from yadtq import DoNotRetry, task


@task
def add(a: int, b: int = 1) -> int:
    """Add two whole numbers."""
    return a + b


@task
def hold(pipe: str) -> str:
    """Run until somebody writes into the named pipe."""
    return Path(pipe).read_text()


@task
def fail(words: str = "as asked") -> None:
    """Fail at once."""
    raise DoNotRetry(words)


@task(retries=100)
def stumble(words: str) -> None:
    """Fail, to be tried again."""
    raise ConnectionError(words)
