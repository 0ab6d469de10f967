"""A health sweep of 10,000 providers against a bare gather of the same checks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from aioproviders import ProviderConfig, ProviderRegistry
from benchmarks.calls import Plain
from benchmarks.results import Table
from benchmarks.rounds import seconds_per_run

PROVIDERS = 10_000


class Sleepy(Plain):
    """A provider whose check takes a millisecond."""

    async def health_check(self) -> dict[str, str]:
        """Sleep, and be well."""
        await asyncio.sleep(0.001)
        return {"status": "healthy"}


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields a table."""
    taken = asyncio.run(_sweeps(rounds=3 if quick else 7))
    yield Table("A sweep of 10,000 checks of a millisecond", "seconds", taken, base="bare asyncio.gather")


async def _sweeps(rounds: int) -> dict[str, list[float]]:
    registry = ProviderRegistry()
    providers = [Sleepy(ProviderConfig(name=f"p{number}", version="1")) for number in range(PROVIDERS)]
    for provider in providers:
        registry.register(provider.name, provider)
    async with registry:

        async def gathered() -> None:
            await asyncio.gather(*(Sleepy.health_check.__wrapped__(provider) for provider in providers))

        contenders = {"bare asyncio.gather": gathered, "aioproviders' sweep": registry.sweep}
        return await seconds_per_run(contenders, repeat=1, rounds=rounds)
