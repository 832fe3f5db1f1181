"""Partitions that a long task holds back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import url_for

from webapp.attention.concern import Concern, Cure
from webapp.wording import duration, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from webapp.kafka_watch import Head

_MOST = 3  # partitions that have a line of their own


def held_back(held: Sequence[Head]) -> Iterator[Concern]:
    """Those that have waited longest by themselves, the others in one line."""
    for head in held[:_MOST]:
        topic, partition = head.place
        yield Concern(
            "warn",
            "warn",
            f"{topic}, partition {partition} is held back.",
            f"It waits for {head.task.name}, running for {duration(head.age())} on {head.task.worker};"
            f" {number(head.behind)} {'record' if head.behind == 1 else 'records'} behind it",
            url_for("kafka.index", only="held"),
            cures=(
                Cure(
                    "Go on without it",
                    url_for("kafka.detach"),
                    task=head.task.id,
                    title="The task runs on; what ended behind it is committed",
                ),
            ),
        )
    if len(held) > _MOST:
        others = len(held) - _MOST
        title = f"{others} more {'partition is' if others == 1 else 'partitions are'} held back."
        yield Concern("warn", "warn", title, "", url_for("kafka.index", only="held"), f"All {len(held)}")
