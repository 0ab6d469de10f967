"""What requests came to, while they run and afterwards."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from aioproviders.cli.bench.histogram import Histogram
from aioproviders.phases import Phases
from aioproviders.sdk import SDKResponse

__all__ = ["BINS_A_DECADE", "PHASES", "Measurement", "Slice"]

PHASES = ("start", "waiting", "connecting", "first_byte", "body", "rest")
"""Where a request's time went, in this order: the times of a request's phases add up to its response time."""

BINS_A_DECADE = 10
"""Bins of the drawn histogram: 1, 1.26, 1.58, 2 and so on (ISO 3's R10 series)."""

_MOST_SLICES = 64


@dataclass(slots=True)
class Slice:
    """Some of a run's requests, one after another as they ended.

    Attributes:
        requests: How many.
        errors: How many of them failed.
        seconds: From the end of the slice before to the end of this one.
        latencies: The response times of those that worked.
    """

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies: Histogram = field(default_factory=Histogram)

    def add(self, other: Slice) -> None:
        """Take in the slice that follows."""
        self.requests += other.requests
        self.errors += other.errors
        self.seconds += other.seconds
        self.latencies.add(other.latencies)


class Measurement:
    """What requests came to.

    A request's *service time* is from its start to its end, its *response time* from when it was due:
    the same in a closed loop, more in an open one when it could not be started in time.

    Args:
        least: How many requests make a slice, as long as the run is short.

    Attributes:
        started: How many requests were started.
        requests: How many have ended.
        attempts: What these took, retries included.
        errors: How many failed, by kind: the error's code, with the HTTP status where there was one.
        failed: The response times of those that failed, by kind.
        examples: The first message of each kind.
        statuses: The HTTP statuses.
        most_in_flight: The most requests at a time.
        held_back: How many were started late because as many as allowed were in flight.
        unstarted: How many were due and never started.
        unanswered: How many were in flight when the run was cut short: they are in no other figure.
        oldest_unanswered: How many seconds ago the first of these had been due by then.
        service: The service times of those that worked.
        phases: Where their time went, by phase.
        bins: Their response times once more, coarsely, to be drawn: bin n starts at 10^(n/10) microseconds.
    """

    def __init__(self, *, least: int = 10) -> None:
        self.started = self.requests = self.attempts = 0
        self.most_in_flight = self.held_back = self.unstarted = self.unanswered = 0
        self.oldest_unanswered = 0.0
        self.errors: Counter[str] = Counter()
        self.failed: defaultdict[str, Histogram] = defaultdict(Histogram)
        self.examples: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()
        self.service = Histogram()
        self.phases = {phase: Histogram() for phase in PHASES}
        self.bins: Counter[int] = Counter()
        self._slices = [Slice()]
        self._slice_size = least
        self._slice_began = 0.0
        self._began: float | None = None
        self._ended: float | None = None

    def start(self, now: float) -> None:
        """Note the time of the start."""
        self._began = self._slice_began = now

    def stop(self, now: float) -> None:
        """Note the time of the end."""
        self._ended = now

    def begin_request(self) -> None:
        """Count a request that starts now."""
        self.started += 1
        self.most_in_flight = max(self.most_in_flight, self.started - self.requests)

    def end_request(
        self, response: SDKResponse, phases: Phases, *, due: float, began: float, ended: float
    ) -> None:
        """Count a request that has ended.

        Args:
            response: What came of it.
            phases: Where its time went.
            due: When it should have been started, in seconds of the same clock as the others.
            began: When it was.
            ended: When it ended.
        """
        self.requests += 1
        self.attempts += response.attempts
        if response.status_code is not None:
            self.statuses[response.status_code] += 1
        part = self._slices[-1]
        part.requests += 1
        if response.success:
            self.service.record(ended - began)
            known = (phases.waiting, phases.connecting, phases.first_byte, phases.body)
            spent = (began - due, *known, ended - began - sum(known))
            for phase, seconds in zip(PHASES, spent, strict=True):
                self.phases[phase].record(seconds)
            microseconds = max((ended - due) * 1e6, 1.0)
            self.bins[math.floor(BINS_A_DECADE * math.log10(microseconds))] += 1
            part.latencies.record(ended - due)
        else:
            part.errors += 1
            kind = response.error_detail.code if response.error_detail else "error"
            if response.status_code is not None:
                kind = f"{kind} {response.status_code}"
            self.errors[kind] += 1
            self.failed[kind].record(ended - due)
            self.examples.setdefault(kind, response.error or "no reason given")
        part.seconds = ended - self._slice_began
        if part.requests == self._slice_size:
            self._begin_slice(ended)

    def _begin_slice(self, now: float) -> None:
        if len(self._slices) == _MOST_SLICES:
            # Twice as long slices, half as many of them: so much of a run of any length is kept.
            self._slice_size *= 2
            for first, second in zip(self._slices[::2], self._slices[1::2], strict=True):
                first.add(second)
            del self._slices[1::2]
        self._slice_began = now
        self._slices.append(Slice())

    @property
    def slices(self) -> list[Slice]:
        """The run in up to 64 slices of as many requests each, but for the last one."""
        return [part for part in self._slices if part.requests]

    @property
    def response(self) -> Histogram:
        """The response times of those that worked."""
        whole = Histogram()
        for part in self._slices:
            whole.add(part.latencies)
        return whole

    @property
    def began(self) -> bool:
        """Whether it was started."""
        return self._began is not None

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        if self._began is None:
            return 0.0
        return (time.perf_counter() if self._ended is None else self._ended) - self._began

    @property
    def throughput(self) -> float:
        """Requests per second, failed ones included."""
        return self.requests / self.seconds if self.seconds else 0.0

    def latencies(self) -> dict[str, float] | None:
        """Return `Histogram.summary` of the response times; None if no request worked."""
        response = self.response
        return response.summary() if response.count else None
