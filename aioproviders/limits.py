"""What keeps calls within bounds: a rate limiter, a retry budget, a circuit breaker.

All three are meant for one event loop, are never blocked by a cancelled caller, and read the
time from a clock that tests can drive.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable
from enum import StrEnum
from math import inf

import anyio

from aioproviders.config import CircuitBreakerConfig, RetryBudgetConfig
from aioproviders.errors import CircuitOpenError, RateLimitedError

__all__ = ["CircuitBreaker", "CircuitState", "RateLimiter", "RetryBudget"]

Clock = Callable[[], float]


class RateLimiter:
    """A token bucket: at most `rate` + `burst` acquisitions in any one second, first come, first served.

    A waiting caller takes its token when its turn comes and not before, so one that is cancelled
    takes nothing with it. `slow_down` halves the rate, which then recovers by a tenth of the full
    rate each second.

    Args:
        rate: Tokens per second.
        burst: Tokens that may be saved up; by default a tenth of `rate`, at least 1.
    """

    _SLOWEST = 1 / 32
    _RECOVERY = 0.1
    _SETTLE = 1.0

    def __init__(
        self,
        rate: float,
        burst: float | None = None,
        *,
        clock: Clock = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self.full_rate = rate
        self.burst = max(1.0, rate / 10 if burst is None else burst)
        self._clock = clock
        self._sleep = sleep
        self._tokens = self.burst
        self._updated = clock()
        self._share = 1.0
        self._slowed = -inf
        self._turn = anyio.Lock()
        self._waiting = 0

    @property
    def rate(self) -> float:
        """Tokens per second at present."""
        return self.full_rate * self._share

    def try_acquire(self) -> bool:
        """Take a token if there is one for which nobody waits."""
        if self._waiting:
            return False
        self._refill(self._clock())
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def acquire(self, time_left: float = inf) -> None:
        """Take a token, waiting for it where there is none.

        Raises:
            RateLimitedError: The wait would be longer than `time_left` seconds, or became so.
        """
        if self.try_acquire():
            return
        expected = self._wait() + self._waiting / self.rate
        if expected >= time_left:
            raise self._too_long(expected, time_left)
        self._waiting += 1
        try:
            # The rate may be slowed down meanwhile.
            with anyio.move_on_after(None if time_left == inf else time_left) as scope:
                async with self._turn:
                    while (wait := self._wait()) > 0:
                        await self._sleep(wait)
                    self._tokens -= 1
        finally:
            self._waiting -= 1
        if scope.cancelled_caught:
            raise self._too_long(self._wait() + self._waiting / self.rate, 0.0)

    def _too_long(self, wait: float, time_left: float) -> RateLimitedError:
        return RateLimitedError(
            f"this side's limit of {self.full_rate:g} requests per second asks for a wait of "
            f"{wait:.2f} s, and only {max(time_left, 0):.2f} s are left",
            sent=False,
            retry_after=wait,
            reason="deadline",
        )

    def slow_down(self) -> None:
        """Halve the rate: the other side said that it is too much."""
        now = self._clock()
        self._refill(now)
        # Of many requests that were in flight together, only the first refusal is news.
        if now - self._slowed >= self._SETTLE:
            self._share = max(self._share / 2, self._SLOWEST)
            self._slowed = now

    def _wait(self) -> float:
        """Return the seconds until there is a token."""
        self._refill(self._clock())
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) / self.rate

    def _refill(self, now: float) -> None:
        passed = now - self._updated
        self._updated = now
        # With the share as it was, so that a recovery never counts backwards.
        self._tokens = min(self.burst, self._tokens + passed * self.rate)
        if self._share < 1:
            self._share = min(1.0, self._share + passed * self._RECOVERY)


class RetryBudget:
    """Bounds the retries of all calls together, so that a dead backend gets no storm of them.

    After Envoy's and gRPC's (A6) retry throttling: it never blocks, and the first attempt of a
    call is always free.

    Args:
        config: Retries earned per call, and the free floor.
        attempts: What one call may need; the floor is never lower than its retries.
    """

    def __init__(self, config: RetryBudgetConfig, attempts: int, *, clock: Clock = time.monotonic) -> None:
        self._ratio = config.ratio
        self._most = float(max(config.floor, attempts - 1))
        self._per_second = self._most / (config.window_ms / 1000)
        self._clock = clock
        self._left = self._most
        self._updated = clock()

    def earn(self) -> None:
        """Count a call."""
        if self._left < self._most:
            self._left = min(self._most, self._left + self._ratio)

    def spend(self) -> bool:
        """Take a retry out of the budget; False where none is left."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._updated) * self._per_second)
        self._updated = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class CircuitState(StrEnum):
    """Where a circuit breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


# On each call's path: an enum's member is a local name here, a look-up through its metaclass otherwise.
_CLOSED, _HALF_OPEN = CircuitState.CLOSED, CircuitState.HALF_OPEN


class CircuitBreaker:
    """Stops calls to a side that is down, after M. Nygard, "Release It!".

    Args:
        config: When to open, and for how long.
        on_change: Called with the new state.
    """

    _BUCKETS = 10

    def __init__(
        self,
        config: CircuitBreakerConfig,
        *,
        on_change: Callable[[CircuitState], None] = lambda _: None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._config = config
        self._bucket_length = config.window_ms / 1000 / self._BUCKETS
        self._open_for = config.open_ms / 1000
        self._on_change = on_change
        self._clock = clock
        self._buckets: deque[list[float]] = deque(maxlen=self._BUCKETS)  # [end, calls, failures]
        self._open_until = 0.0
        self._probing = False
        self._changes = 0
        self.state = _CLOSED

    def enter(self) -> int:
        """Ask to be let through; returns a ticket, with which `leave` must follow.

        Raises:
            CircuitOpenError: Not now; ``retry_after`` says when, if it is known.
        """
        if self.state is _CLOSED:
            return self._changes
        left = self._open_until - self._clock()
        if left > 0 or self._probing:
            raise CircuitOpenError(
                "the circuit breaker is open" if left > 0 else "the circuit breaker waits for its probe",
                sent=False,
                reason="circuit",
                retry_after=left if left > 0 else None,
            )
        if self.state is CircuitState.OPEN:
            self._change(_HALF_OPEN)
        self._probing = True
        return self._changes

    def leave(self, ticket: int, *, failed: bool | None) -> None:
        """Tell how the attempt ended; None where that says nothing about the other side."""
        # An attempt that began before the last change has nothing to say on what is now.
        if ticket != self._changes:
            return
        if self.state is _HALF_OPEN:
            self._probing = False
            if failed is not None:
                self._decide(failed=failed)
        elif failed is not None:
            self._count(failed=failed)

    def _decide(self, *, failed: bool) -> None:
        if failed:
            self._open()
        else:
            self._buckets.clear()
            self._change(_CLOSED)

    def _count(self, *, failed: bool) -> None:
        now = self._clock()
        buckets = self._buckets
        if not buckets or now >= buckets[-1][0]:
            buckets.append([now + self._bucket_length, 0, 0])
        buckets[-1][1] += 1
        if not failed:
            return
        buckets[-1][2] += 1
        oldest = now - self._bucket_length * (self._BUCKETS - 1)
        while buckets[0][0] < oldest:
            buckets.popleft()
        calls = sum(bucket[1] for bucket in buckets)
        failures = sum(bucket[2] for bucket in buckets)
        if calls >= self._config.minimum_calls and failures >= calls * self._config.failure_ratio:
            self._open()

    def _open(self) -> None:
        self._open_until = self._clock() + self._open_for
        self._buckets.clear()
        self._change(CircuitState.OPEN)

    def _change(self, state: CircuitState) -> None:
        self.state = state
        self._changes += 1
        self._on_change(state)
