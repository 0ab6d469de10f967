"""A run in tables."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from aioproviders.cli.bench.bars import draw_bars
from aioproviders.cli.bench.comparing import Change
from aioproviders.cli.bench.document import Document
from aioproviders.cli.bench.measurement import Measurement
from aioproviders.cli.output import console_for, milliseconds, one_line, plural, show, table, write

__all__ = ["latency_table", "show_comparison", "show_run"]

_COLUMNS = {"p50": 2, "p75": 4, "p90": 10, "p95": 20, "p99": 100, "p99.9": 1000, "p99.99": 10_000, "max": 1}
"""The percentiles shown, each with how many requests there must be for one to be beyond it."""

_PHASES = {
    "start": "due, not started yet",
    "waiting": "waiting for a limit",
    "connecting": "connecting",
    "first_byte": "to the first byte",
    "body": "reading the body",
    "rest": "backoff, the framework",
}
_ON_THE_WIRE = ("connecting", "first_byte", "body")


def show_run(run: Document, found: Measurement) -> None:
    """Print a run.

    Args:
        run: Its figures.
        found: What these come from.
    """
    write(_summary(run))
    if run.latency_ms is not None and run.service_ms is not None:
        times = {"service": run.service_ms}
        if run.load.rate is not None:
            times = {"response": run.latency_ms, **times}
        worked = run.requests - sum(run.errors.values())
        of = f" of the {worked:,} that worked" if run.errors else ""
        if of:
            write(f"\nLATENCY{of}\n")
        show("", _percentiles(times, worked))
        mean = run.latency_ms
        write(f"\nmean {milliseconds(mean['mean'])}, standard deviation {milliseconds(mean['stddev'])}{of}\n")
        if run.load.rate is not None:
            write("response: from when a request was due; service: from when it was started\n")
        show("", _phases(run))
        kind = "RESPONSE TIME" if run.load.rate is not None else "LATENCY"
        write(f"\n{kind}{of}: from what is on the left, how many requests\n")
        console = console_for(sys.stdout)
        rows = draw_bars(found.bins, width=min(console.width, 80), ascii_only=console.options.ascii_only)
        write("".join(f"{row}\n" for row in rows))
    if run.errors:
        numbers = ("COUNT", "P50", "MAX")
        errors = table("ERROR", *numbers, "FIRST MESSAGE", right=numbers, wide="FIRST MESSAGE")
        for kind, count in run.errors.items():
            took = (milliseconds(run.errors_ms[kind][name]) for name in ("p50", "max"))
            errors.add_row(kind, f"{count:,}", *took, one_line(found.examples[kind]))
        show("", errors)
    for line in (*_cut_short(run), *_behind(run), *run.limited_by):
        write(f"\n{line}\n")


def _summary(run: Document) -> str:
    done = plural(run.requests, "request")
    if not run.complete and run.load.requests is not None:
        done = f"{run.requests:,} of {plural(run.load.requests, 'request')}"
    retries = run.attempts - run.requests
    statuses = ", ".join(f"{status}: {count:,}" for status, count in run.statuses.items())
    return (
        f"{done} in {run.seconds:.2f} s: "
        f"{run.requests_per_second:,.1f}{_asked(run)}, "
        f"{plural(sum(run.errors.values()), 'error')}, {retries:,} {'retry' if retries == 1 else 'retries'}\n"
        + (f"status {statuses}\n" if statuses else "")
        + (f"after {plural(run.warmup, 'request')} to warm up\n" if run.warmup else "")
    )


def _asked(run: Document) -> str:
    rate = run.load.rate
    if rate is None or not (run.unstarted or run.held_back) or run.requests_per_second >= rate:
        return " requests/s"
    return f" of {rate:,.10g} requests/s asked for"


def _cut_short(run: Document) -> list[str]:
    """Say what an interruption left unanswered: often the slowest of all."""
    lines = []
    if run.interrupted == "warm-up":
        lines.append("interrupted in the warm-up, before the run")
    if run.oldest_in_flight_ms is not None:
        lines.append(
            f"{plural(run.in_flight, 'request')} in flight not answered, in no figure above: "
            f"the oldest after {milliseconds(run.oldest_in_flight_ms)}"
        )
    return lines


def _behind(run: Document) -> list[str]:
    """Say what of the schedule could not be kept."""
    most = f"{run.load.concurrency:,} in flight is the most allowed (-c)"
    spent = {phase: times.mean for phase, times in run.phases_ms.items() if phase != "start"}
    if spent and spent["waiting"] > sum(spent.values()) / 2:
        most = "those in flight mostly waited for a limit"
    lines = []
    if run.held_back:
        lines.append(f"{plural(run.held_back, 'request')} started late: {most}")
    if run.unstarted:
        why = most if run.most_in_flight == run.load.concurrency else "the run ended before"
        lines.append(f"{plural(run.unstarted, 'request')} due but never started, in no figure above: {why}")
    return lines


def _percentiles(rows: Mapping[str, Mapping[str, float]], count: int) -> Any:
    names = [name.upper() for name in _COLUMNS]
    drawn = table("LATENCY, MS", *names, right=names)
    for label, row in rows.items():
        # Of 100 requests, none tells what one in 10,000 is like.
        drawn.add_row(
            label, *(_exact(row[name]) if count >= needed else "-" for name, needed in _COLUMNS.items())
        )
    return drawn


def latency_table(rows: Mapping[str, Mapping[str, float]]) -> Any:
    """Draw latencies: a row a name, with what `Measurement.latencies` returned."""
    drawn = table("LATENCY", "P50", "P90", "P99", "MAX", right=("P50", "P90", "P99", "MAX"))
    for name, row in rows.items():
        drawn.add_row(one_line(name), *(milliseconds(row[key]) for key in ("p50", "p90", "p99", "max")))
    return drawn


def _phases(run: Document) -> Any:
    columns = ("P50", "P99", "MEAN", "SHARE")
    drawn = table("TIME SPENT, MS", *columns, right=columns)
    labels = dict(_PHASES)
    if not any(run.phases_ms[phase].mean for phase in _ON_THE_WIRE if phase in run.phases_ms):
        # A Python package does not tell; rows of zeros would say that it takes no time.
        labels = {phase: label for phase, label in labels.items() if phase not in _ON_THE_WIRE}
        labels["rest"] = f"the package, {labels['rest']}"
    for phase, label in labels.items():
        times = run.phases_ms.get(phase)
        if times is None or (phase == "start" and run.load.rate is None):
            continue
        drawn.add_row(label, *map(_exact, (times.p50, times.p99, times.mean)), f"{times.share:.1%}")
    return drawn


def show_comparison(where: str, changes: list[Change], unlike: list[str]) -> None:
    """Print how a run compares.

    Args:
        where: The file of the old run.
        changes: What `compare` returned.
        unlike: In what it was made otherwise.
    """
    numbers = ("OLD", "NEW", "CHANGE", "95 % SURE")
    drawn = table("", *numbers, right=numbers)
    drawn.add_column("")
    for change in changes:
        throughput = change.figure == "throughput"
        figure = _rate if throughput else milliseconds
        drawn.add_row(
            "req/s" if throughput else change.figure,
            figure(change.old),
            figure(change.new),
            "-" if change.percent is None else f"{change.percent:+.1f} %",
            "-" if change.interval is None else "{:+.1f} to {:+.1f}".format(*change.interval),
            change.verdict,
        )
    show("", drawn)
    write(f"\ncompared with {one_line(where)}\n")
    if unlike:
        write("no verdict, as the runs were made in different ways:\n")
        write("".join(f"  {one_line(line)}\n" for line in unlike))
    else:
        write(
            "The interval tells of these two runs. What varies from run to run it does not\n"
            "know: repeat both before you believe it.\n"
        )


def _exact(value: float) -> str:
    """Return milliseconds to a microsecond where they are few, and else in four digits or more."""
    return f"{value:,.{3 if value < 10 else 2 if value < 100 else 1 if value < 1000 else 0}f}"  # noqa: PLR2004 - digits


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"  # noqa: PLR2004 - three digits
