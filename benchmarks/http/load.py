"""Load: so many workers that call one after the other, looked at through a window of time."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

import anyio

__all__ = ["Load", "Seen", "put_under"]


@dataclass(frozen=True, slots=True)
class Load:
    """What a client is put under.

    Attributes:
        in_flight: Calls at the same time.
        warming: Seconds before the window opens, in which connections are made.
        window: Seconds in which is counted; a client too slow for a count of calls is held to it too.
        patience: Seconds after the window for calls to end that are under way.
    """

    in_flight: int
    warming: float
    window: float
    patience: float


@dataclass(slots=True)
class Seen:
    """What came of it.

    Attributes:
        seconds: The window's true length.
        cpu: Seconds of processor time that this process used in it.
        calls: Calls that ended in it.
        latencies: Of the calls that ended in it or later, in seconds. One that was given up counts with
            the time it had taken by then.
        answered: All calls that ended.
        given_up: Calls that were cancelled when patience was at its end.
    """

    seconds: float = 0.0
    cpu: float = 0.0
    calls: int = 0
    latencies: list[float] = field(default_factory=list)
    answered: int = 0
    given_up: int = 0

    @property
    def throughput(self) -> float:
        """Calls per second; a client that ended none has ended less than one."""
        return max(self.calls, 1) / self.seconds

    @property
    def cpu_per_call(self) -> float:
        """Seconds of processor time for one call."""
        return self.cpu / max(self.calls, 1)

    def percentile(self, percent: int) -> float:
        """Return the latency, in seconds, that `percent` of the calls did not exceed."""
        if len(self.latencies) == 1:
            return self.latencies[0]
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1]


async def put_under(load: Load, call: Callable[[], Awaitable[Any]]) -> Seen:
    """Call `call` from as many workers as `load` says, and return what was seen.

    Raises:
        ExceptionGroup: A call failed.
    """
    seen = Seen()
    now = time.perf_counter
    opened = float("inf")
    closed = False

    async def work() -> None:
        while not closed:
            begun = now()
            try:
                await call()
            except anyio.get_cancelled_exc_class():
                seen.given_up += 1
                seen.latencies.append(now() - begun)
                raise
            ended = now()
            seen.answered += 1
            if ended >= opened:
                seen.latencies.append(ended - begun)

    # Not asyncio's: its cancellation would leave threads behind that are at work.
    async with anyio.create_task_group() as tasks:
        for _ in range(load.in_flight):
            tasks.start_soon(work)
        await anyio.sleep(load.warming)
        opened, cpu, before = now(), time.process_time(), seen.answered
        await anyio.sleep(load.window)
        seen.calls = seen.answered - before
        seen.seconds, seen.cpu = now() - opened, time.process_time() - cpu
        closed = True
        tasks.cancel_scope.deadline = anyio.current_time() + load.patience
    return seen
