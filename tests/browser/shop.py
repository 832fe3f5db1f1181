"""The tasks of an imaginary shop: what the workers behind the screenshots run."""

from __future__ import annotations

import random
import socket
import time
from pathlib import Path
from typing import Any, Literal

from yadtq import DoNotRetry, task

socket.gethostname = lambda: "shop"  # the pictures name the shop's machine, not the one they are made on


class CardDeclined(Exception):
    """The bank said no."""


class UnreadableImage(Exception):
    """It is no image, or a broken one."""


def work(seconds: float) -> None:
    """Take about that long."""
    time.sleep(random.uniform(0.5, 1.5) * seconds)


@task(name="billing.charge_card", retries=2)
def charge_card(order: int, amount: float, currency: str = "EUR") -> dict[str, Any]:
    """Charge the card of an order."""
    work(0.3)
    if order % 9 == 0:
        raise CardDeclined(f"card_declined: insufficient_funds for order {order}")
    return {"order": order, "charged": amount, "currency": currency, "receipt": f"R-{order}"}


@task(name="billing.render_invoice")
def render_invoice(order: int, language: str = "en", copies: int = 1) -> str:
    """Render an order's invoice as PDF."""
    work(0.5)
    return f"invoices/{order}-{language}.pdf"


@task(name="mail.send_email", timeout=30)
def send_email(to: str, template: str, values: dict[str, Any] | None = None, attach: list[str] | None = None) -> str:
    """Send one mail from a template.

    Values fill the template's gaps.
    """
    work(0.2)
    if to.endswith("@nowhere.example") and Path(__file__).with_name("nowhere-is-away").exists():
        raise DoNotRetry(f"550 no such mailbox: {to}")
    return f"<{random.getrandbits(48):012x}@mail.example>"


@task(name="media.resize_image", retries=5)
def resize_image(
    key: str, width: int = 1280, kind: Literal["webp", "avif", "jpeg"] = "webp", keep_original: bool = True
) -> dict[str, Any]:
    """Resize an image of the catalogue and store it beside the original."""
    work(0.4)
    if key.startswith("catalog/tmp/"):
        raise DoNotRetry(f"cannot identify image file '{key}'")
    if random.random() < 0.02:
        raise UnreadableImage(f"short read of {key}")
    return {"key": f"{key}.{width}.{kind}", "width": width, "bytes": 84_211}


@task(name="media.transcode_preview", timeout=900)
def transcode_preview(key: str, seconds: int = 12, bitrate: str = "2M", ctx: Any = None) -> str:
    """Cut a preview out of a clip."""
    frames = seconds * 24
    for frame in range(0, frames, 2):
        if ctx is not None:
            ctx.progress(frame, frames, f"frame {frame:,} of {frames:,}")
        time.sleep(0.4)
    return f"{key}.preview.mp4"


@task(name="reports.export_csv", timeout=600)
def export_csv(table: str, start: str, end: str, columns: list[str] | None = None, limit: int = 100_000) -> str:
    """Write a table of a time span to a CSV file and mail the link."""
    work(4)
    return f"exports/{table}-{start}-{end}.csv"


@task(name="reports.build_monthly", timeout=3600)
def build_monthly(month: str, *, recount: bool = False) -> None:
    """Build the month's report."""
    time.sleep(3000)
