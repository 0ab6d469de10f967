"""Many requests at once, and what they took."""

from __future__ import annotations

import math
import time
from array import array
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

import anyio

from aioproviders.sdk import SDKResponse

__all__ = ["Measurement", "measure", "percentile"]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile: the smallest value that `share` of all values don't exceed.

    Args:
        ordered: The values, ascending; at least one.
        share: Above 0 and at most 1.
    """
    return ordered[math.ceil(share * len(ordered)) - 1]


class Measurement:
    """What requests came to, while they run and afterwards.

    Attributes:
        requests: How many have ended.
        attempts: What they took, retries included.
        errors: How many failed, by kind: the error's code, with the HTTP status where there was one.
        examples: The first message of each kind.
    """

    def __init__(self) -> None:
        self.requests = 0
        self.attempts = 0
        self.errors: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self._latencies = array("d")
        self._started: float | None = None
        self._ended: float | None = None

    def start(self) -> None:
        """Note the time of the start."""
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Note the time of the end."""
        self._ended = time.perf_counter()

    def add(self, response: SDKResponse, seconds: float) -> None:
        """Count one request."""
        self.requests += 1
        self.attempts += response.attempts
        if response.success:
            self._latencies.append(seconds * 1000)
            return
        kind = response.error_detail.code if response.error_detail else "error"
        if response.status_code is not None:
            kind = f"{kind} {response.status_code}"
        self.errors[kind] += 1
        self.examples.setdefault(kind, response.error or "no reason given")

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        if self._started is None:
            return 0.0
        return (time.perf_counter() if self._ended is None else self._ended) - self._started

    @property
    def throughput(self) -> float:
        """Requests per second, failed ones included."""
        return self.requests / self.seconds if self.seconds else 0.0

    def latencies(self) -> dict[str, float] | None:
        """Return p50, p90, p99 and max of the requests that worked, in milliseconds; None without any."""
        ordered = sorted(self._latencies)
        if not ordered:
            return None
        found = {f"p{share}": percentile(ordered, share / 100) for share in (50, 90, 99)}
        return {name: round(value, 3) for name, value in {**found, "max": ordered[-1]}.items()}


async def measure(
    request: Callable[[], Awaitable[SDKResponse]], into: Measurement, *, requests: int, concurrency: int
) -> None:
    """Make `requests` requests, `concurrency` at a time."""
    numbers = iter(range(requests))

    async def work() -> None:
        for _ in numbers:
            begun = time.perf_counter()
            into.add(await request(), time.perf_counter() - begun)

    into.start()
    try:
        async with anyio.create_task_group() as task_group:
            for _ in range(min(concurrency, requests)):
                task_group.start_soon(work)
    finally:
        into.stop()
