"""A run while it goes on, drawn on standard error where that is a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio

from aioproviders.cli.bench.bars import draw_bars
from aioproviders.cli.bench.load import Load
from aioproviders.cli.bench.measurement import Measurement
from aioproviders.cli.output import console_for, plural

if TYPE_CHECKING:
    from rich.console import Console, Group

__all__ = ["keep_drawn"]

_INTERVAL = 0.25
"""Seconds from one drawing to the next; each takes some 0.3 milliseconds, which the requests feel."""


async def keep_drawn(found: Measurement, load: Load, *, label: str = "") -> None:
    """Draw the measurement until cancelled, and take the drawing away; do nothing without a terminal.

    Args:
        found: The measurement.
        load: What is to be done in all.
        label: What to write before it.
    """
    console = console_for(sys.stderr)
    if not console.is_terminal:
        return
    from rich.live import Live  # noqa: PLC0415 - loaded only where something is drawn

    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            live.update(_drawn(found, load, label, console), refresh=True)
            await anyio.sleep(_INTERVAL)


def _drawn(found: Measurement, load: Load, label: str, console: Console) -> Group:
    from rich.console import Group  # noqa: PLC0415 - likewise
    from rich.progress_bar import ProgressBar  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    asked = "" if load.requests is None else f"/{load.requests}"
    time = f"{found.seconds:.0f}" if load.seconds is None else f"{found.seconds:.0f}/{load.seconds:g}"
    errors = found.errors.total()
    line = Text(
        f"{label}{found.requests}{asked} requests, {time} s, {found.throughput:,.0f}/s, "
        f"{found.started - found.requests} in flight",
        no_wrap=True,
    )
    if errors:
        line.append(f", {plural(errors, 'error')}", style="red")
    done = max(
        found.requests / load.requests if load.requests else 0.0,
        found.seconds / load.seconds if load.seconds else 0.0,
    )
    rows = draw_bars(found.bins, width=min(console.width - 1, 100), ascii_only=console.options.ascii_only)
    # A terminal that is too low for all of it would scroll.
    room = max(console.height - 4, 0)
    return Group(
        line,
        ProgressBar(total=1.0, completed=min(done, 1.0), width=min(console.width - 1, 60)),
        Text("\n".join(rows[:room]), no_wrap=True),
    )
