"""What providers and a sweep of them need in memory."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from aioproviders import ProviderConfig
from benchmarks.results import Table
from benchmarks.subjects import Plain
from benchmarks.sweeping.sizes import bare, gathering, registry_of, resting

T = TypeVar("T")


class Bare:
    """An object that has a config, and nothing else."""

    def __init__(self, config: ProviderConfig) -> None:
        self.config = config


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields bytes per provider, and the most that a sweep needs beside them."""
    rounds = 2 if quick else 3
    taken: dict[str, list[float]] = {}
    count = 100 if quick else 1000
    for _ in range(rounds):
        for name, value in asyncio.run(_held(count)).items():
            taken.setdefault(name, []).append(value)
    yield Table(f"Memory of {count:,} providers", "bytes each", taken, base="an object with that config")
    count = 500 if quick else 10_000
    peaks = asyncio.run(_peaks(count, rounds))
    yield Table(
        f"The most memory that a sweep of {count:,} checks of 1 ms needs, report included",
        "bytes per check",
        peaks,
        base="bare asyncio.gather",
    )


async def _held(count: int) -> dict[str, float]:
    tracemalloc.start()
    try:
        configs, of_configs = _sized(
            lambda: [ProviderConfig(name=f"p{number}", version="1") for number in range(count)], count
        )
        objects, of_objects = _sized(lambda: [Bare(config) for config in configs], count)
        del objects
        registry, of_providers = _sized(lambda: registry_of([Plain(config) for config in configs]), count)
        before = _traced()
        async with registry:
            of_started = (_traced() - before) / count
    finally:
        tracemalloc.stop()
    return {
        "an object with that config": of_configs + of_objects,
        "aioproviders, registered": of_configs + of_providers,
        "aioproviders, started": of_configs + of_providers + of_started,
    }


async def _peaks(count: int, rounds: int) -> dict[str, list[float]]:
    providers = resting(count, 0.001)
    contenders: dict[str, Callable[[], Awaitable[object]]] = {
        "bare asyncio.gather": gathering([bare(provider) for provider in providers]),
        "aioproviders' sweep": registry_of(providers).sweep,
    }
    for run_once in contenders.values():
        await run_once()  # providers start at their first use
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, sweep in contenders.items():
            tracemalloc.start()
            before = _traced()
            kept = await sweep()
            taken[name].append((tracemalloc.get_traced_memory()[1] - before) / count)
            tracemalloc.stop()
            del kept
    return taken


def _sized(make: Callable[[], T], count: int) -> tuple[T, float]:
    before = _traced()
    made = make()
    return made, (_traced() - before) / count


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
