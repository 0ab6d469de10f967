"""Providers to measure, which do as little as they can themselves."""

from __future__ import annotations

import asyncio

from aioproviders import BaseProvider, ProviderConfig, operation
from aioproviders.calls import current_trace_id
from aioproviders.limits import RateLimiter

__all__ = ["Limited", "Plain", "Resting", "everything_on", "work"]


async def work(rest: float | None = None) -> int:
    """Return at once, or after `rest` seconds; 0 lets others have a turn."""
    if rest is not None:
        await asyncio.sleep(rest)
    return 1


class Plain(BaseProvider):
    """A provider whose operation is `work`."""

    async def initialize(self) -> None:
        """Open nothing."""

    async def health_check(self) -> dict[str, str]:
        """Be well."""
        return {"status": "healthy"}

    async def cleanup(self) -> None:
        """Close nothing."""

    @operation(idempotent=True)
    async def work(self, rest: float | None = None) -> int:
        """Return at once, or after `rest` seconds; 0 lets others have a turn."""
        if rest is not None:
            await asyncio.sleep(rest)
        return 1


class Limited(Plain):
    """The same with a rate limit that is never reached; and it reads its trace ID."""

    def _make_rate_limiter(self) -> RateLimiter:
        return RateLimiter(1e9, 1e9)

    async def work(self, rest: float | None = None) -> int:
        """Read the trace ID, and do the same."""
        current_trace_id()
        if rest is not None:
            await asyncio.sleep(rest)
        return 1


class Resting(Plain):
    """A provider whose check takes a while.

    Args:
        config: The config.
        seconds: How long.
    """

    def __init__(self, config: ProviderConfig, seconds: float) -> None:
        super().__init__(config)
        self.seconds = seconds

    async def health_check(self) -> dict[str, str]:
        """Rest, and be well."""
        await asyncio.sleep(self.seconds)
        return {"status": "healthy"}


def everything_on(name: str, max_concurrency: int = 100) -> ProviderConfig:
    """Return a config in which nothing is off."""
    return ProviderConfig(
        name=name,
        version="1",
        deadline_ms=60_000,
        max_concurrency=max_concurrency,
        circuit_breaker={},
        retry_budget={},
    )
