"""Checks that never end: when the sweep does, and whether it has those that did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from math import inf

from aioproviders import HealthStatus
from benchmarks.peers.pings import checked_within
from benchmarks.results import Table
from benchmarks.rounds import rounds_of
from benchmarks.sweeping.sizes import bare, registry_of, resting

GOOD = 10
HANGING = 10


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields when the sweep ends, and how many good checks it has."""
    yield from asyncio.run(_hanging(0.2 if quick else 1.0, rounds=2 if quick else 5))


async def _hanging(deadline: float, rounds: int) -> list[Table]:
    # Long enough that "at once" is not what is measured, short enough to be there in time.
    providers = resting(GOOD, deadline / 10, "good") + resting(HANGING, inf, "hanging")
    found: dict[str, list[float]] = {}

    async def swept() -> int:
        report = await registry.sweep(deadline=deadline)
        return report.counts()[HealthStatus.HEALTHY]

    async def waited() -> int:
        return len(await checked_within([bare(provider) for provider in providers], deadline))

    def ending(name: str, run: Callable[[], Awaitable[int]]) -> Callable[[], Awaitable[float]]:
        async def measure() -> float:
            begun = time.perf_counter()
            good = await run()
            ended = ((time.perf_counter() - begun) / deadline - 1) * 100
            found.setdefault(name, []).append(good)
            return ended

        return measure

    async with registry_of(providers) as registry:
        contenders = {"aioproviders' sweep": swept, "asyncio.wait, then cancel": waited}
        taken = await rounds_of({name: ending(name, run) for name, run in contenders.items()}, rounds)
    return [
        Table(
            f"{GOOD + HANGING} checks of which {HANGING} hang: the end",
            "% past the deadline",
            taken,
            note=f"The deadline is {deadline:g} s.",
        ),
        Table(
            f"{GOOD + HANGING} checks of which {HANGING} hang: good checks in the report",
            f"of {GOOD}",
            {name: values[1:] for name, values in found.items()},
            more_is_better=True,
        ),
    ]
