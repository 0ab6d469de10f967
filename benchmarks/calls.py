"""One call that does not fail: the operation pipeline against the bare coroutine and tenacity."""

import anyio
import tenacity

from aioproviders import BaseProvider, ProviderConfig, operation
from aioproviders.limits import RateLimiter
from benchmarks.rounds import compare


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


async def run() -> tuple[str, dict[str, float]]:
    """Measure; returns the contender to compare with, and seconds per call."""
    everything = ProviderConfig(
        name="x", version="1", deadline_ms=60_000, max_concurrency=10, circuit_breaker={}
    )
    async with Limited(everything) as limited, Plain(ProviderConfig(name="y", version="1")) as plain:
        contenders = {
            "the coroutine itself": bare,
            "anyio.fail_after": timed,
            "tenacity's decorator": decorated,
            "an operation, defaults": plain.work,
            "an operation, all limits on": limited.work,
        }
        return "tenacity's decorator", await compare(contenders, 5000)
