"""One call that does not fail: the operation pipeline against the bare coroutine and tenacity."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import anyio
import tenacity

from aioproviders import BaseProvider, ProviderConfig, operation
from aioproviders.limits import RateLimiter
from benchmarks.results import Table
from benchmarks.rounds import seconds_per_run


class Plain(BaseProvider):
    """A provider whose operation does nothing."""

    async def initialize(self) -> None:
        """Open nothing."""

    async def health_check(self) -> dict[str, str]:
        """Be well."""
        return {"status": "healthy"}

    async def cleanup(self) -> None:
        """Close nothing."""

    @operation(idempotent=True)
    async def work(self) -> int:
        """Return at once."""
        return 1


class Limited(Plain):
    """The same with a rate limit that is never reached."""

    def _make_rate_limiter(self) -> RateLimiter:
        return RateLimiter(1e9, 1e9)


async def bare() -> int:
    """Return at once."""
    return 1


@tenacity.retry(stop=tenacity.stop_after_attempt(3))
async def decorated() -> int:
    """Return at once."""
    return 1


async def timed() -> int:
    """Return at once, within a time limit."""
    with anyio.fail_after(5):
        return await bare()


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields a table."""
    yield Table(
        "One call that does not fail",
        "µs per call",
        asyncio.run(_calls(quick=quick)),
        base="tenacity's decorator",
    )


async def _calls(*, quick: bool) -> dict[str, list[float]]:
    everything = ProviderConfig(
        name="x", version="1", deadline_ms=60_000, max_concurrency=10, circuit_breaker={}
    )
    async with Limited(everything) as limited, Plain(ProviderConfig(name="y", version="1")) as plain:
        contenders = {
            "the coroutine itself": bare,
            "anyio.fail_after": timed,
            "tenacity's decorator": decorated,
            "aioproviders, defaults": plain.work,
            "aioproviders, everything on": limited.work,
        }
        taken = await seconds_per_run(contenders, repeat=1000 if quick else 5000, rounds=5 if quick else 11)
        return {name: [seconds * 1e6 for seconds in values] for name, values in taken.items()}
