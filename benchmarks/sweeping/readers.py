"""A thousand readers of a provider's health while one slow check of it is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from aioproviders import ProviderConfig
from benchmarks.results import Table
from benchmarks.rounds import rounds_of
from benchmarks.subjects import Resting
from benchmarks.sweeping.sizes import registry_of

READERS = 1000
SLOW = 0.05
BASE = "aioproviders: snapshot(), no check"
BUSY = "aioproviders: snapshot(), a check"
STALE = "aioproviders: health(), too old"
UNKNOWN = "aioproviders: health(), unknown"
ALONE = "every reader checks by itself"


class Counted(Resting):
    """A provider that counts how often it is asked.

    Args:
        config: The config.
        seconds: How long a check takes.
    """

    def __init__(self, config: ProviderConfig, seconds: float) -> None:
        super().__init__(config, seconds)
        self.asked = 0

    async def health_check(self) -> dict[str, str]:
        """Count, and rest."""
        self.asked += 1
        return await super().health_check()


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields how long readers wait, and how many probes they cause."""
    yield from asyncio.run(_readers(rounds=2 if quick else 15))


async def _readers(rounds: int) -> list[Table]:
    provider = Counted(ProviderConfig(name="slow", version="1"), SLOW)
    medians: dict[str, list[float]] = {}
    probes: dict[str, list[float]] = {}

    async def read(name: str, reader: Callable[[], Awaitable[object]], *, begun: bool = False) -> float:
        """Return the longest wait in µs; `begun` tells that a check is under way already."""
        before = provider.asked - begun
        waits = sorted(await asyncio.gather(*(_wait(reader) for _ in range(READERS))))
        # What the readers have begun ends before the next measurement.
        await asyncio.sleep(2 * SLOW)
        probes.setdefault(name, []).append(provider.asked - before)
        medians.setdefault(name, []).append(waits[READERS // 2] * 1e6)
        return waits[-1] * 1e6

    async with registry_of([provider]) as registry, registry.monitor(interval=3600) as monitor:
        await monitor.health("slow")

        async def snapshot() -> object:
            return monitor.snapshot()

        async def health() -> object:
            return await monitor.health("slow", max_age=0)

        async def quiet() -> float:
            return await read(BASE, snapshot)

        async def busy() -> float:
            await health()
            await asyncio.sleep(SLOW / 10)
            return await read(BUSY, snapshot, begun=True)

        async def stale() -> float:
            return await read(STALE, health)

        async def unknown() -> float:
            async with registry.monitor(interval=3600) as fresh:
                return await read(UNKNOWN, lambda: fresh.health("slow"))

        async def alone() -> float:
            return await read(ALONE, provider.health_check)

        contenders = {
            BASE: quiet,
            BUSY: busy,
            STALE: stale,
            UNKNOWN: unknown,
            ALONE: alone,
        }
        longest = await rounds_of(contenders, rounds)
    what = f"{READERS:,} readers, a check of {SLOW * 1000:g} ms"
    return [
        Table(
            f"{what}: the longest wait",
            "µs",
            longest,
            base=BASE,
            note="A check that is too old is returned all the same, while the first reader has begun a new "
            "one; only where nothing is known yet, readers wait.",
        ),
        Table(f"{what}: the median wait", "µs", {n: v[1:] for n, v in medians.items()}, base=BASE),
        Table(f"{what}: probes", "probes", {n: v[1:] for n, v in probes.items()}),
    ]


async def _wait(read: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await read()
    return time.perf_counter() - begun
