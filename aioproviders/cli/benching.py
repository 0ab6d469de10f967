"""``bench``: many requests through an SDK provider, and their latencies."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import anyio

from aioproviders.cli.boundary import FAILED, OK, UsageError
from aioproviders.cli.calling import Target, opened, read_data
from aioproviders.cli.measuring import Measurement, measure
from aioproviders.cli.options import Request, Source
from aioproviders.cli.output import (
    console_for,
    milliseconds,
    one_line,
    plural,
    print_document,
    show,
    table,
    write,
)
from aioproviders.config import ProviderConfig

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.progress import Progress

__all__ = ["bench", "latency_table", "what_limited"]

_NEAR = 0.9
"""From this share of its rate limit on, the limit is what the provider was waiting for."""


def bench(  # noqa: PLR0913 - one argument an option
    source: Source,
    name: str,
    endpoint: str,
    data: str | None,
    request: Request,
    *,
    requests: int,
    concurrency: int,
    json: bool,
) -> int:
    """Make the requests and print what they took, however they end; `FAILED` if any failed."""
    parsed = read_data(data)
    found = Measurement()

    async def work() -> None:
        limits: list[str] = []
        misused = False
        async with opened(source, name, endpoint, parsed, request) as target:
            # What a start takes is not what a request takes.
            await target.provider.initialize()
            try:
                await _with_progress(target, found, requests=requests, concurrency=concurrency)
            except BaseExceptionGroup as group:
                misused = group.subgroup(UsageError) is not None
                raise
            finally:
                limits = what_limited(target.provider.config, found, concurrency)
                # Here and not after the end, so that it also is printed when that is an interruption.
                if not misused:
                    _report(found, limits, name=name, endpoint=endpoint, requests=requests, json=json)

    anyio.run(work)
    return FAILED if found.errors else OK


async def _with_progress(target: Target, found: Measurement, *, requests: int, concurrency: int) -> None:
    bar: AbstractContextManager[Progress | None] = (
        _progress() if console_for(sys.stderr).is_terminal else nullcontext()
    )
    with bar as progress:
        async with anyio.create_task_group() as task_group:
            if progress is not None:
                task_group.start_soon(_keep_drawn, progress, found, requests)
            await measure(target.request, found, requests=requests, concurrency=concurrency)
            task_group.cancel_scope.cancel()


def _progress() -> Progress:
    from rich.progress import (  # noqa: PLC0415 - loaded only where something is drawn
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        console=console_for(sys.stderr),
        transient=True,
        auto_refresh=False,
    )


async def _keep_drawn(progress: Progress, found: Measurement, requests: int) -> None:
    task = progress.add_task("", total=requests, rate="")
    while True:
        errors = found.errors.total()
        rate = f"{found.throughput:,.0f}/s" + (f", {plural(errors, 'error')}" if errors else "")
        progress.update(task, completed=found.requests, rate=rate, refresh=True)
        await anyio.sleep(0.1)


def what_limited(config: ProviderConfig, found: Measurement, concurrency: int) -> list[str]:
    """Say which of the provider's own limits held the requests back.

    Args:
        config: The provider's.
        found: The measurement, ended.
        concurrency: The requests that were to be made at a time.
    """
    limits = []
    rate: int | None = getattr(config, "rate_limit", None)
    if rate is not None:
        burst: int | None = getattr(config, "rate_limit_burst", None)
        saved_up = max(1.0, rate / 10) if burst is None else float(burst)
        # All that the limiter can have let through; what came near it came from waiting there.
        most = saved_up + rate * found.seconds
        if found.attempts > saved_up and found.attempts >= _NEAR * most:
            limits.append(f"rate_limit = {rate} held: the provider's own limit, in requests per second")
    if config.max_concurrency is not None and config.max_concurrency < concurrency:
        limits.append(
            f"max_concurrency = {config.max_concurrency} held: the provider's own limit of requests at a time"
        )
    return limits


def _report(  # noqa: PLR0913 - what is printed
    found: Measurement, limits: list[str], *, name: str, endpoint: str, requests: int, json: bool
) -> None:
    latencies = found.latencies()
    if json:
        print_document(
            {
                "name": name,
                "endpoint": endpoint,
                "complete": found.requests == requests,
                "requests": found.requests,
                "attempts": found.attempts,
                "errors": dict(found.errors.most_common()),
                "seconds": round(found.seconds, 3),
                "requests_per_second": round(found.throughput, 1),
                "latency_ms": latencies,
                "limited_by": limits,
            }
        )
        return
    asked = "" if found.requests == requests else f" of {requests:,}"
    retries = found.attempts - found.requests
    write(
        f"{found.requests:,}{asked} requests in {found.seconds:.2f} s: {found.throughput:,.1f} requests/s, "
        f"{plural(found.errors.total(), 'error')}, {retries:,} {'retry' if retries == 1 else 'retries'}\n"
    )
    if latencies is not None:
        show("", latency_table({name: latencies}))
    if found.errors:
        errors = table("ERROR", "COUNT", "FIRST MESSAGE", right=("COUNT",), wide="FIRST MESSAGE")
        for kind, count in found.errors.most_common():
            errors.add_row(kind, f"{count:,}", one_line(found.examples[kind]))
        show("", errors)
    for limit in limits:
        write(f"\n{limit}\n")


def latency_table(rows: dict[str, dict[str, float]]) -> Any:
    """Draw latencies: a row a name, with what `Measurement.latencies` returned."""
    drawn = table("LATENCY", "P50", "P90", "P99", "MAX", right=("P50", "P90", "P99", "MAX"))
    for name, latencies in rows.items():
        drawn.add_row(one_line(name), *map(milliseconds, latencies.values()))
    return drawn
