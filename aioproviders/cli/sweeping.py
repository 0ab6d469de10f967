"""``health``: one sweep, or one after the other in a live table."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from aioproviders.cli.boundary import FAILED, OK, UsageError
from aioproviders.cli.options import Source
from aioproviders.cli.output import (
    console_for,
    milliseconds,
    one_line,
    print_document,
    show,
    status_style,
    table,
)
from aioproviders.health import HealthCheck, HealthReport, HealthStatus, aggregate
from aioproviders.registry import ProviderRegistry
from aioproviders.registry.sweep import select

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

__all__ = ["Selection", "deadline_of", "health_table", "summary", "sweep_once", "watch"]


_WIDEST = max(map(len, HealthStatus))
_HEADING = 2
"""Lines."""
_FEW = 3
"""So many names are told."""
_PATIENCE = 30.0
_LEAST_PATIENCE = 5.0
NOTHING = "nothing to check: no provider of the file fits --tag, --only and --exclude"
EMPTY = "nothing to check: the file has no providers"


def deadline_of(interval: float | None) -> float:
    """Return the seconds for a sweep, where none are asked for; `interval` is that of a watch."""
    # A check that hangs may not hold up the next sweep for long.
    return _PATIENCE if interval is None else max(interval, _LEAST_PATIENCE)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which providers to check, and how; as `ProviderRegistry.sweep` takes it."""

    deadline: float | None = None
    tags: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    max_concurrency: int | None = None

    def names(self, registry: ProviderRegistry) -> list[str]:
        """Return which they are, in the file's order.

        Raises:
            ProviderNotFoundError: An unknown name, or a tag nobody has.
            UsageError: There are none.
        """
        if not len(registry):
            raise UsageError(EMPTY)
        providers = {name: registry.get(name) for name in registry}
        found = select(providers, tags=self.tags, only=self.only, exclude=self.exclude)
        if not found:
            # "All of nothing is well" would hide a mistake from whoever relies on the exit code.
            raise UsageError(NOTHING)
        return found

    async def sweep(self, registry: ProviderRegistry) -> HealthReport:
        """Check them all.

        Raises:
            ProviderNotFoundError: As `names`.
            UsageError: Likewise.
        """
        self.names(registry)
        return await registry.sweep(**self._given())

    def iter_health(self, registry: ProviderRegistry) -> AsyncGenerator[tuple[str, HealthCheck], None]:
        """Check them, and yield each as it is done."""
        return registry.iter_health(**self._given())

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def sweep_once(source: Source, selection: Selection, *, json: bool) -> int:
    """Sweep and print the report; `FAILED` if traffic should not go on."""
    report = anyio.run(_sweep_once, source, selection)
    if json:
        print_document(report)
    else:
        show(health_table(report.checks), "", summary(report.checks, report.duration_ms))
    return OK if report.ok else FAILED


async def _sweep_once(source: Source, selection: Selection) -> HealthReport:
    waiting = console_for(sys.stderr)
    async with ProviderRegistry.from_file(source.config, environment=source.env, start=False) as registry:
        if not waiting.is_terminal:
            return await selection.sweep(registry)
        return await _sweep_in_sight(registry, selection, waiting)


async def _sweep_in_sight(registry: ProviderRegistry, selection: Selection, waiting: Console) -> HealthReport:
    """Sweep, and tell meanwhile how many checks have finished; of an interrupted sweep show those."""
    from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

    names = selection.names(registry)
    checks: dict[str, HealthCheck] = {}
    checked_at, begun = datetime.now(UTC), time.perf_counter()
    complete = False
    try:
        with waiting.status(f"checking …  0 of {len(names)}") as status:
            async with aclosing(selection.iter_health(registry)) as found:
                async for name, check in found:
                    checks[name] = check
                    left = [other for other in names if other not in checks]
                    waits = f": waiting for {one_line(', '.join(left))}" if len(left) <= _FEW else ""
                    status.update(Text(f"checking …  {len(checks)} of {len(names)}{waits}"))
        complete = True
    finally:
        checks = {name: checks[name] for name in names if name in checks}
        if checks and not complete:
            show(health_table(checks), "", summary(checks), f"{len(checks)} of {len(names)} had finished")
    return HealthReport(
        status=aggregate(check["status"] for check in checks.values()),
        duration_ms=round((time.perf_counter() - begun) * 1000, 3),
        checked_at=checked_at,
        checks=checks,
    )


def watch(source: Source, selection: Selection, *, interval: float, json: bool) -> int:
    """Sweep until interrupted: in a live table, or, where that can't be, a table or JSON line a sweep."""
    console = console_for(sys.stdout)
    live = console if console.is_terminal and not json else None
    anyio.run(_watch, source, selection, interval, live, json)
    return OK


async def _watch(
    source: Source, selection: Selection, interval: float, live: Console | None, json: bool
) -> None:
    async with ProviderRegistry.from_file(source.config, environment=source.env, start=False) as registry:
        if live is not None:
            await _watch_live(registry, selection, interval, live)
            return
        while True:
            begun = anyio.current_time()
            report = await selection.sweep(registry)
            if json:
                print_document(report, compact=True)
            else:
                show(health_table(report.checks), "", summary(report.checks, report.duration_ms), "")
            await anyio.sleep_until(begun + interval)


async def _watch_live(
    registry: ProviderRegistry, selection: Selection, interval: float, console: Console
) -> None:
    from rich.live import Live  # noqa: PLC0415 - loaded only where something is drawn

    board = _Board(console, f"every {interval:g} s, Ctrl-C ends")
    # Redrawn from here, only when there is news: no thread, and nothing that flickers.
    with Live(board.draw(), console=console, auto_refresh=False) as live:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(board.keep_drawn, live)
            while True:
                begun = anyio.current_time()
                await board.sweep(registry, selection)
                await anyio.sleep_until(begun + interval)


class _Board:
    """The live table: what each provider said last, while new answers come in.

    Args:
        console: Where it is drawn; it is made to fit.
        hint: What else to tell below it.
    """

    _DRAWN_EVERY = 0.1

    def __init__(self, console: Console, hint: str) -> None:
        self._console = console
        self._hint = hint
        self._checks: dict[str, HealthCheck | None] = {}
        self._pending = 0
        self._checked_at: datetime | None = None
        self._news = False

    async def sweep(self, registry: ProviderRegistry, selection: Selection) -> None:
        """Take answers in as they come, so that one that hangs hides no other."""
        self._checks = {name: self._checks.get(name) for name in selection.names(registry)}
        self._pending = len(self._checks)
        self._news = True
        async with aclosing(selection.iter_health(registry)) as checks:
            async for name, check in checks:
                self._checks[name] = check
                self._pending -= 1
                self._news = True
        self._checked_at = datetime.now().astimezone()
        self._news = True

    async def keep_drawn(self, live: Live) -> None:
        """Draw what is new, for ever."""
        size = self._console.size
        while True:
            if self._news or size != self._console.size:
                self._news, size = False, self._console.size
                live.update(self.draw(), refresh=True)
            await anyio.sleep(self._DRAWN_EVERY)

    def draw(self) -> Group | Text:
        """Return the table; without room for it, a line a check, and what is wrong first."""
        from rich.console import Group  # noqa: PLC0415 - loaded only where something is drawn
        from rich.text import Text  # noqa: PLC0415 - likewise

        if not self._checks:
            return Text(f"checking …  ({self._hint})", style="dim")
        state = "" if self._checked_at is None else f"swept {self._checked_at:%H:%M:%S}; "
        if self._pending:
            state += f"checking, {self._pending} to go; "
        known = {name: check for name, check in self._checks.items() if check is not None}
        below = [summary(known) if known else Text("checking …"), Text(state + self._hint, style="dim")]
        room = max(self._console.height - len(below) - 2, _HEADING + 1)
        rows = health_table(self._checks)
        if len(self._console.render_lines(rows)) <= room:
            return Group(rows, "", *below)
        room -= _HEADING
        left_out = max(len(self._checks) - room, 0)
        shown = list(self._checks.items())
        if left_out:
            shown = sorted(shown, key=lambda item: item[1] is None or item[1]["status"].ok)[:room]
        rows = health_table(dict(shown))
        for column in rows.columns:
            column.no_wrap, column.overflow = True, "ellipsis"
        return Group(rows, Text(f"… and {left_out} more" if left_out else "", style="dim"), *below)


def health_table(checks: Mapping[str, HealthCheck | None]) -> Table:
    """Draw checks, a row each; None is one that goes on."""
    from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

    rows = table(
        "NAME", "STATUS", "LATENCY", "ATTEMPTS", "ERROR", right=("LATENCY", "ATTEMPTS"), wide="ERROR"
    )
    for name, check in checks.items():
        if check is None:
            rows.add_row(one_line(name), Text("checking", style="dim"), "-", "-", "")
            continue
        status = check["status"]
        rows.add_row(
            one_line(name),
            Text(f"{status:{_WIDEST}}", style=status_style(status)),
            milliseconds(check.get("latency_ms")),
            str(check.get("attempts", "-")),
            one_line(check.get("error", "")),
        )
    return rows


def summary(checks: Mapping[str, HealthCheck], duration_ms: float | None = None) -> Text:
    """Return one line: the status of the whole, and how many checks have which."""
    from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

    statuses = [check["status"] for check in checks.values()]
    whole = aggregate(statuses)
    counts = ", ".join(f"{statuses.count(status)} {status}" for status in HealthStatus if status in statuses)
    took = "" if duration_ms is None else f", in {milliseconds(duration_ms)}"
    return Text.assemble((whole, f"bold {status_style(whole)}"), f": {counts}{took}")
