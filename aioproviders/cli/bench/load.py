"""The load: requests one after another (closed loop) or on a schedule (open loop)."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import anyio

from aioproviders.cli.bench.measurement import Measurement
from aioproviders.phases import record_phases
from aioproviders.sdk import SDKResponse

__all__ = ["Clock", "Load", "WallClock", "measure"]

_COARSE = 0.001
"""An event loop's timers may be late by this many seconds."""


@dataclass(frozen=True, slots=True)
class Load:
    """How to make requests.

    Attributes:
        concurrency: How many at a time; with a `rate`, at most.
        requests: How many in all; None for any number.
        seconds: For how long to start them; None for as long as it takes. At least one of the two is given.
        rate: How many to start per second, however slow the answers are; None to start the next when
            one has ended.
    """

    concurrency: int
    requests: int | None = None
    seconds: float | None = None
    rate: float | None = None


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> float:
        """Return the time in seconds."""
        ...

    async def sleep_until(self, when: float) -> None:
        """Return at `when` and not before."""
        ...


class WallClock:
    """The real time."""

    def now(self) -> float:
        """Return the time in seconds."""
        return time.perf_counter()

    async def sleep_until(self, when: float) -> None:
        """Return at `when`, to some 50 microseconds."""
        left = when - time.perf_counter()
        if left > _COARSE:
            await anyio.sleep(left - _COARSE)
        while time.perf_counter() < when:
            await anyio.lowlevel.checkpoint()


async def measure(
    request: Callable[[], Awaitable[SDKResponse]],
    into: Measurement,
    load: Load,
    *,
    clock: Clock | None = None,
) -> None:
    """Make requests, and note what they come to.

    In a closed loop a stall of the service also stalls the load: requests that should have met it are not
    made, and the percentiles look well (Gil Tene calls that coordinated omission). With a `rate`,
    each request has a time when it is due, a constant time after the one before, and its response time counts
    from then, as in wrk2 (https://github.com/giltene/wrk2): a request that had to wait for its start because
    `concurrency` others were in flight is as late as its caller would find it.

    Args:
        request: Makes one.
        into: Where to note it, also when it ends by an exception or is cancelled.
        load: How many, and how fast.
        clock: What tells the time; by default the real one.
    """
    clock = clock or WallClock()
    rate = load.rate
    begun = clock.now()
    end = math.inf if load.seconds is None else begun + load.seconds
    numbers = itertools.count() if load.requests is None else iter(range(load.requests))
    workers = idle = 0
    in_flight: dict[int, float] = {}

    def add_worker() -> None:
        nonlocal workers
        workers += 1
        task_group.start_soon(work)

    async def work() -> None:
        nonlocal idle
        for number in numbers:
            now = clock.now()
            due = now if rate is None else begun + number / rate
            if max(due, now) >= end:
                return
            if due > now:
                idle += 1
                await clock.sleep_until(due)
                idle -= 1
            elif due < now and workers == load.concurrency:
                # Whoever is free takes a number ahead of time: nobody was.
                into.held_back += 1
            if rate is not None and not idle and workers < load.concurrency:
                add_worker()
            into.begin_request()
            began = clock.now()
            due = began if rate is None else due
            in_flight[number] = due
            with record_phases() as phases:
                response = await request()
            into.end_request(response, phases, due=due, began=began, ended=clock.now())
            del in_flight[number]

    into.start(begun)
    try:
        async with anyio.create_task_group() as task_group:
            at_first = min(load.concurrency, load.requests or load.concurrency) if rate is None else 1
            for _ in range(at_first):
                add_worker()
    finally:
        into.stop(ended := clock.now())
        into.unanswered = len(in_flight)
        into.oldest_unanswered = max((ended - due for due in in_flight.values()), default=0.0)
        if rate is not None:
            # Less a bit, as products of what is due exactly at the end come out just above it.
            due = math.ceil(rate * min(into.seconds, load.seconds or math.inf) - 1e-6)
            into.unstarted = max(0, min(due, load.requests or due) - into.started)
