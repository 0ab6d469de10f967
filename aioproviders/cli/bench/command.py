"""``bench`` from its options to its exit code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import anyio

from aioproviders.cli.bench.comparing import compare
from aioproviders.cli.bench.document import Document, document_of, read_document
from aioproviders.cli.bench.live import keep_drawn
from aioproviders.cli.bench.load import Load, measure
from aioproviders.cli.bench.measurement import Measurement
from aioproviders.cli.bench.report import show_comparison, show_run
from aioproviders.cli.bench.settings import Settings, read_settings
from aioproviders.cli.boundary import FAILED, OK, UsageError
from aioproviders.cli.calling import Target, opened, read_data
from aioproviders.cli.options import LoadOptions, Request, Source
from aioproviders.cli.output import OutputError, complain, plural, print_document
from aioproviders.config import ProviderConfig

__all__ = ["bench", "differences", "flaws", "what_limited"]

_NEAR = 0.8
"""From this share of its rate limit on, the limit is what the provider was waiting for."""

_A_WAIT = 0.1
"""Milliseconds; a free limiter takes less."""

_LEAST_IN_A_SLICE = 10


@dataclass(frozen=True, slots=True)
class _Job:
    """What was asked for.

    Attributes:
        old: The run to compare with, and `compare` its file.
    """

    name: str
    endpoint: str
    method: str | None
    settings: Settings
    json: bool
    svg: Path | None
    compare: Path | None
    old: Document | None


def bench(  # noqa: PLR0913, PLR0917 - one argument an option
    source: Source,
    name: str,
    endpoint: str,
    data: str | None,
    request: Request,
    options: LoadOptions,
    *,
    json: bool,
) -> int:
    """Make the requests and print what they took, however they end; `FAILED` if any failed."""
    parsed = read_data(data)
    settings = read_settings(options)
    job = _Job(
        name=name,
        endpoint=endpoint,
        method=request.method.upper() if request.method else None,
        settings=settings,
        json=json,
        svg=options.svg,
        compare=options.compare,
        old=None if options.compare is None else read_document(options.compare),
    )
    if job.svg is not None:
        # What it needs is missed before the run, not after it.
        from aioproviders.cli.bench import plot  # noqa: F401, PLC0415 - loaded only where something is drawn
    found = Measurement(
        # As many as run at a time end together: less would be no sample of its own.
        least=max(_LEAST_IN_A_SLICE, settings.load.concurrency if settings.load.rate is None else 0)
    )
    anyio.run(_run, source, request, parsed, job, found)
    return FAILED if found.errors else OK


async def _run(source: Source, request: Request, data: object, job: _Job, found: Measurement) -> None:
    load = job.settings.load
    complete = misused = False
    limits: list[str] = []
    async with opened(source, job.name, job.endpoint, data, request) as target:
        _warn_of_differences(job)
        # What a start takes is not what a request takes.
        await target.provider.initialize()
        warmup = Measurement()
        try:
            if job.settings.warmup is not None:
                await _make(target, warmup, job.settings.warmup, label="warming up: ")
            await _make(target, found, load)
            complete = True
        except BaseExceptionGroup as group:
            misused = group.subgroup(UsageError) is not None
            raise
        finally:
            limits = what_limited(target.provider.config, found)
            # Here and not after the end, so that it also is printed when that is an interruption.
            if not misused:
                _report(job, found, limits, warmup=warmup, complete=complete)


async def _make(target: Target, found: Measurement, load: Load, *, label: str = "") -> None:
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(partial(keep_drawn, found, load, label=label))
        await measure(target.request, found, load)
        task_group.cancel_scope.cancel()


def what_limited(config: ProviderConfig, found: Measurement) -> list[str]:
    """Say which of the provider's own limits held the requests back.

    Args:
        config: The provider's.
        found: The measurement, ended.
    """
    limits = []
    rate: int | None = getattr(config, "rate_limit", None)
    if rate is not None:
        burst: int | None = getattr(config, "rate_limit_burst", None)
        saved_up = max(1.0, rate / 10) if burst is None else float(burst)
        waiting = found.phases["waiting"]
        waited = not waiting.count or waiting.percentile(50) >= _A_WAIT
        # The warm-up may have spent what was saved up, or not.
        if waited and found.attempts > saved_up and found.attempts >= _NEAR * rate * found.seconds:
            limits.append(f"rate_limit = {rate} held: the provider's own limit, in requests per second")
    if config.max_concurrency is not None and config.max_concurrency < found.most_in_flight:
        limits.append(
            f"max_concurrency = {config.max_concurrency} held: the provider's own limit of requests at a time"
        )
    return limits


def _warn_of_differences(job: _Job) -> None:
    if job.old is not None:
        lines = [f"is of another run: {line}" for line in _differences(job)]
        for line in (*lines, *flaws(job.old)):
            complain(f"{job.compare} {line}", label="warning: ")


def _differences(job: _Job) -> list[str]:
    if job.old is None:
        return []
    return list(differences(job.old, job.name, job.endpoint, job.method, job.settings.load))


def differences(old: Document, name: str, endpoint: str, method: str | None, load: Load) -> Iterator[str]:
    """Yield in what an old run was made otherwise than the one to come, a clause each."""
    now = {
        "provider": name,
        "endpoint": endpoint,
        "method": method or "the usual",
        "--concurrency": load.concurrency,
        "--rate": load.rate or "none",
    }
    before = {
        "provider": old.name,
        "endpoint": old.endpoint,
        "method": old.method or "the usual",
        "--concurrency": old.load.concurrency,
        "--rate": old.load.rate or "none",
    }
    for what, value in now.items():
        if before[what] != value:
            yield f"{what} was {before[what]}, now is {value}"


def flaws(old: Document) -> Iterator[str]:
    """Yield what an old run tells less well than it should, a clause each."""
    if not old.complete:
        yield "is of a run that was interrupted"
    if old.errors:
        yield f"is of a run with {plural(sum(old.errors.values()), 'error')}: only what worked has a latency"


def _report(job: _Job, found: Measurement, limits: list[str], *, warmup: Measurement, complete: bool) -> None:
    run = document_of(
        found,
        job.settings.load,
        name=job.name,
        endpoint=job.endpoint,
        method=job.method,
        warmup=warmup,
        complete=complete,
        limits=limits,
    )
    unlike = _differences(job)
    changes = None
    if job.old is not None and run.slices:
        changes = compare(job.old.slices, run.slices, alike=not unlike)
    try:
        if job.json:
            document = run.model_dump(mode="json")
            if changes is not None:
                document["comparison"] = [asdict(change) for change in changes]
                document["unlike"] = unlike
            print_document(document)
        else:
            show_run(run, found)
            if changes is not None:
                show_comparison(str(job.compare), changes, unlike)
    finally:
        if job.svg is not None:
            _draw(job, job.svg, run)


def _draw(job: _Job, svg: Path, run: Document) -> None:
    from aioproviders.cli.bench.plot import plot  # noqa: PLC0415 - loaded only where something is drawn

    if not run.histogram.count:
        complain(f"{svg} is not written: no request worked", label="warning: ")
        return
    both = job.old is not None and job.old.histogram.count
    new = "new: " if both else ""
    lines = {f"{new}{'response time' if job.settings.load.rate else 'latency'}": run.histogram}
    if job.settings.load.rate:
        lines[f"{new}service time"] = run.service_histogram
    if job.old is not None and both:
        lines[f"old: {job.compare}"] = job.old.histogram
    try:
        svg.write_text(plot(f"{job.name} {job.endpoint}", lines), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"can't write {svg}: {error.strerror}") from None
