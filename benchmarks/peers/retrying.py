"""Retries by tenacity and stamina, and the stack that an engineer would put together by hand."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import stamina
import structlog
import tenacity

__all__ = ["Stack", "TokenBucket", "staminas", "tenacitys"]

T = TypeVar("T")
Function = Callable[..., Awaitable[T]]

_log = structlog.get_logger("stack")


def tenacitys(function: Function[T], wait: float = 0.1) -> Function[T]:
    """Decorate `function` with tenacity: three attempts, at most `wait` seconds before the second."""
    return tenacity.retry(
        stop=tenacity.stop_after_attempt(3),
        wait=tenacity.wait_random_exponential(multiplier=wait, max=10),
        retry=tenacity.retry_if_exception_type(ConnectionError),
    )(function)


def staminas(function: Function[T], wait: float = 0.1) -> Function[T]:
    """Decorate `function` with stamina, likewise; the numbers it doesn't need are its defaults."""
    return stamina.retry(
        on=Exception, attempts=3, timeout=45.0, wait_initial=wait, wait_jitter=wait, wait_max=max(wait, 0.1)
    )(function)


class TokenBucket:
    """A rate limit, as a plain loop."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.tokens = rate
        self.updated = time.monotonic()

    async def acquire(self) -> None:
        """Take a token, waiting for it where there is none."""
        while True:
            now = time.monotonic()
            self.tokens = min(self.rate, self.tokens + (now - self.updated) * self.rate)
            self.updated = now
            if self.tokens >= 1:
                self.tokens -= 1
                return
            await asyncio.sleep((1 - self.tokens) / self.rate)


class Stack:
    """The same parts as an operation with everything on, but for a breaker and a retry budget.

    Args:
        concurrency: Calls in flight.
    """

    def __init__(self, concurrency: int = 100) -> None:
        self._limiter = anyio.CapacityLimiter(concurrency)
        self._bucket = TokenBucket(1e9)

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call `function` with a deadline, a concurrency limit, retries, a rate limit, a timeout and logs."""
        log = _log.bind(trace_id=str(uuid.uuid4()), operation="work")
        with anyio.fail_after(60):
            async with self._limiter:
                async for attempt in tenacity.AsyncRetrying(
                    stop=tenacity.stop_after_attempt(3),
                    wait=tenacity.wait_random_exponential(multiplier=0.1, max=10),
                    retry=tenacity.retry_if_exception_type(ConnectionError),
                    reraise=True,
                ):
                    with attempt:
                        await self._bucket.acquire()
                        with anyio.fail_after(5):
                            result = await function()
        log.debug("call.completed")
        return result
