"""Interleaved rounds: each contender once a round, so that a noisy machine is noisy for all of them."""

import time
from collections.abc import Awaitable, Callable, Mapping
from statistics import median

ROUNDS = 7


async def compare(contenders: Mapping[str, Callable[[], Awaitable[object]]], repeat: int) -> dict[str, float]:
    """Return each contender's seconds per run, the median of the rounds.

    Args:
        contenders: What to run, by name.
        repeat: Runs of each in one round.
    """
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            begun = time.perf_counter()
            for _ in range(repeat):
                await run()
            taken[name].append((time.perf_counter() - begun) / repeat)
    return {name: median(times) for name, times in taken.items()}
