"""Interleaved rounds: each contender once a round, so that a noisy machine is noisy for all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import TypeVar

__all__ = ["rounds_of", "seconds_per_run"]

Name = TypeVar("Name", bound=Hashable)
Seen = TypeVar("Seen")


async def rounds_of(
    contenders: Mapping[Name, Callable[[], Awaitable[Seen]]], rounds: int
) -> dict[Name, list[Seen]]:
    """Return what each contender measured of itself, round for round, after one round to warm up.

    Args:
        contenders: What measures, by name; each returns a value, or a record of several.
        rounds: How many to keep.
    """
    taken: dict[Name, list[Seen]] = {name: [] for name in contenders}
    order = list(contenders)
    for number in range(rounds + 1):
        for name in order:
            gc.collect()
            value = await contenders[name]()
            if number:
                taken[name].append(value)
        # Nobody always runs right after the same other one.
        order = order[1:] + order[:1]
    return taken


async def seconds_per_run(
    contenders: Mapping[Name, Callable[[], Awaitable[object]]],
    *,
    repeat: int,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[Name, list[float]]:
    """Return the seconds that one run of each contender takes, a value for each round.

    Args:
        contenders: What to run, by name.
        repeat: Runs of each in one round, one after the other.
        rounds: How many to keep.
        clock: `time.process_time` where waiting is part of the run, and not what is measured.
    """

    def timed(run: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[float]]:
        async def measure() -> float:
            begun = clock()
            for _ in range(repeat):
                await run()
            return (clock() - begun) / repeat

        return measure

    return await rounds_of({name: timed(run) for name, run in contenders.items()}, rounds)
