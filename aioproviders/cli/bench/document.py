"""A run as a JSON document: what ``--json`` prints and ``--compare`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PlainSerializer,
    PositiveInt,
    ValidationError,
)

from aioproviders.cli.bench.histogram import Histogram
from aioproviders.cli.bench.load import Load
from aioproviders.cli.bench.measurement import Measurement
from aioproviders.cli.boundary import UsageError

__all__ = ["Document", "PhaseTimes", "SliceFigures", "document_of", "read_document"]


def _decoded(value: object) -> object:
    return Histogram.decode(value) if isinstance(value, str) else value


EncodedHistogram = Annotated[
    Histogram,
    BeforeValidator(_decoded),
    PlainSerializer(lambda histogram: histogram.encode(), return_type=str),
]


class _Model(BaseModel):
    # Later versions may tell more.
    model_config = ConfigDict(extra="ignore", arbitrary_types_allowed=True, allow_inf_nan=False)


class SliceFigures(_Model):
    """Some of the requests, one after another; see `aioproviders.cli.bench.measurement.Slice`."""

    requests: PositiveInt
    errors: NonNegativeInt
    seconds: NonNegativeFloat
    histogram: EncodedHistogram


class PhaseTimes(_Model):
    """One phase of the requests that worked; in milliseconds.

    Attributes:
        share: Of the whole response time, from 0 to 1.
    """

    mean: float
    p50: float
    p99: float
    share: float


class LoadFigures(_Model):
    """How the requests were made; `aioproviders.cli.bench.load.Load` says what is what."""

    concurrency: PositiveInt
    requests: PositiveInt | None
    seconds: NonNegativeFloat | None
    rate: NonNegativeFloat | None


def _needs_slices(slices: list[SliceFigures]) -> list[SliceFigures]:
    if not slices:
        raise ValueError("should have at least one: no request was made")
    return slices


class Document(_Model):
    """A run.

    Attributes:
        kind: What this document is.
        format: The version of its format.
        name: The provider.
        endpoint: What was requested of it.
        method: The HTTP method asked for; None for the usual one.
        load: How the requests were made.
        warmup: How many requests went ahead uncounted.
        complete: Whether it ran to its end.
        interrupted: What was under way when it was cut short.
        requests: How many requests ended.
        attempts: What they took, retries included.
        errors: How many failed, by kind.
        errors_ms: The response times of those that failed, by kind: ``p50`` and ``max``, in milliseconds.
        statuses: How many had which HTTP status.
        seconds: From start to end.
        requests_per_second: Failed ones included.
        latency_ms: Response times of those that worked, in milliseconds: from when each was due.
        service_ms: From when each was started; the same where there is no ``rate``.
        phases_ms: Where the response times went.
        most_in_flight: The most requests at a time.
        held_back: How many were started late because as many as allowed were in flight.
        unstarted: How many were due and never started.
        in_flight: How many requests of that were not answered by then: they are in no other figure.
        oldest_in_flight_ms: How long the first of them had been due by then, in milliseconds.
        limited_by: Which of the provider's own limits held.
        unit: What the histograms count.
        histogram: The response times, as HdrHistogram encodes them.
        service_histogram: The service times.
        slices: The run in pieces, in the order of time.
    """

    kind: Literal["aioproviders bench"] = "aioproviders bench"
    format: Literal[1] = 1
    name: str
    endpoint: str
    method: str | None
    load: LoadFigures
    warmup: NonNegativeInt
    complete: bool
    interrupted: Literal["warm-up", "run"] | None = None
    requests: NonNegativeInt
    attempts: NonNegativeInt
    errors: dict[str, int]
    errors_ms: dict[str, dict[str, float]] = {}
    statuses: dict[int, int]
    seconds: float
    requests_per_second: float
    latency_ms: dict[str, float] | None
    service_ms: dict[str, float] | None
    phases_ms: dict[str, PhaseTimes]
    most_in_flight: NonNegativeInt
    held_back: NonNegativeInt
    unstarted: NonNegativeInt
    in_flight: NonNegativeInt = 0
    oldest_in_flight_ms: NonNegativeFloat | None = None
    limited_by: list[str]
    unit: Literal["microseconds"] = "microseconds"
    histogram: EncodedHistogram
    service_histogram: EncodedHistogram
    slices: list[SliceFigures]


class _Comparable(Document):
    slices: Annotated[list[SliceFigures], AfterValidator(_needs_slices)]


def document_of(  # noqa: PLR0913 - what a run is made of
    found: Measurement,
    load: Load,
    *,
    name: str,
    endpoint: str,
    method: str | None,
    warmup: Measurement,
    complete: bool,
    limits: list[str],
) -> Document:
    """Tell a measurement as a document."""
    in_warmup = not complete and not found.began
    cut_short = warmup if in_warmup else found
    return Document(
        name=name,
        endpoint=endpoint,
        method=method,
        load=LoadFigures(
            concurrency=load.concurrency, requests=load.requests, seconds=load.seconds, rate=load.rate
        ),
        warmup=warmup.requests,
        complete=complete,
        interrupted=None if complete else "warm-up" if in_warmup else "run",
        requests=found.requests,
        attempts=found.attempts,
        errors=dict(found.errors.most_common()),
        errors_ms={
            kind: {"p50": times.percentile(50), "max": times.percentile(100)}
            for kind, times in found.failed.items()
        },
        statuses=dict(sorted(found.statuses.items())),
        seconds=round(found.seconds, 3),
        requests_per_second=round(found.throughput, 1),
        latency_ms=found.latencies(),
        service_ms=found.service.summary() if found.service.count else None,
        phases_ms=_phases(found),
        most_in_flight=found.most_in_flight,
        held_back=found.held_back,
        unstarted=found.unstarted,
        in_flight=cut_short.unanswered,
        oldest_in_flight_ms=round(cut_short.oldest_unanswered * 1000, 3) if cut_short.unanswered else None,
        limited_by=limits,
        histogram=found.response,
        service_histogram=found.service,
        slices=[
            SliceFigures(
                requests=part.requests,
                errors=part.errors,
                seconds=round(part.seconds, 6),
                histogram=part.latencies,
            )
            for part in found.slices
        ],
    )


def _phases(found: Measurement) -> dict[str, PhaseTimes]:
    means = {phase: histogram.mean() for phase, histogram in found.phases.items()}
    whole = sum(means.values())
    return {
        phase: PhaseTimes(
            mean=mean,
            p50=found.phases[phase].percentile(50),
            p99=found.phases[phase].percentile(99),
            share=round(mean / whole, 4),
        )
        for phase, mean in means.items()
        if whole
    }


def read_document(path: Path) -> Document:
    """Read what ``bench --json`` printed before.

    Raises:
        UsageError: It can't be read, or is something else.
    """
    try:
        return _Comparable.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"--compare: {path}: can't be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = "".join(f"{key}: " for key in first["loc"])
        raise UsageError(
            f"--compare: {path}: should be what 'aioproviders bench --json' prints: {where}{first['msg']}"
        ) from None
