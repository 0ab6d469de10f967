"""A health sweep of 10,000 providers against a bare gather of the same checks."""

import asyncio

from aioproviders import ProviderConfig, ProviderRegistry
from benchmarks.calls import Plain
from benchmarks.rounds import compare

PROVIDERS = 10_000


class Sleepy(Plain):
    """A provider whose check takes a millisecond."""

    async def health_check(self) -> dict[str, str]:
        """Sleep, and be well."""
        await asyncio.sleep(0.001)
        return {"status": "healthy"}


async def run() -> tuple[str, dict[str, float]]:
    """Measure; returns the contender to compare with, and seconds per sweep."""
    registry = ProviderRegistry()
    providers = [Sleepy(ProviderConfig(name=f"p{number}", version="1")) for number in range(PROVIDERS)]
    for provider in providers:
        registry.register(provider.name, provider)
    async with registry:

        async def gathered() -> None:
            await asyncio.gather(*(Sleepy.health_check.__wrapped__(provider) for provider in providers))

        return "bare gather", await compare({"bare gather": gathered, "registry.sweep": registry.sweep}, 1)
