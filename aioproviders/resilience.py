"""What surrounds the body of an operation: concurrency limit, retry, breaker, rate limit, timeout.

The only module that imports tenacity. The order, outermost first:

    deadline → concurrency limit → retry with budget → circuit breaker → rate limit → attempt timeout → body

The deadline is no scope of its own: each attempt's timeout is the shorter of its own and the time
left, and a wait that would outlast the deadline is not begun.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Self

import anyio
import tenacity

from aioproviders.calls import Call
from aioproviders.config import OperationConfig, ProviderConfig
from aioproviders.errors import (
    ErrorDetail,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
)
from aioproviders.limits import CircuitBreaker, RateLimiter, RetryBudget
from aioproviders.logs import ProviderLogger
from aioproviders.phases import waiting
from aioproviders.redaction import describe

__all__ = ["Limits", "Policy", "execute", "next_item", "take_slot", "translate", "wait_for_slot"]

Body = Callable[[], Awaitable[Any]]

_MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)


@dataclass(slots=True)
class Limits:
    """What the calls of one provider share; None for what is off."""

    slots: anyio.Semaphore | None = None
    budget: RetryBudget | None = None
    breaker: CircuitBreaker | None = None
    rate: RateLimiter | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """One operation's numbers, resolved from the config, and its limits; durations in seconds."""

    timeout: float
    attempts: int
    deadline: float | None
    backoff_initial: float
    backoff_max: float
    retry_after_max: float
    limits: Limits

    @classmethod
    def of(cls, config: ProviderConfig, limits: Limits) -> Self:
        """Read the numbers from a config, see `ProviderConfig.for_operation`."""
        return cls(
            timeout=config.timeout_ms / 1000,
            attempts=config.retry_attempts,
            deadline=None if config.deadline_ms is None else config.deadline_ms / 1000,
            backoff_initial=config.backoff_initial_ms / 1000,
            backoff_max=config.backoff_max_ms / 1000,
            retry_after_max=config.retry_after_max_ms / 1000,
            limits=limits,
        )

    def self_timed(self, override: OperationConfig | None) -> Self:
        """Return the policy of an operation with limits of its own: only what `override` says holds."""
        return replace(
            self,
            timeout=self.timeout if override and override.timeout_ms else inf,
            attempts=self.attempts if override and override.retry_attempts else 1,
        )


async def execute(call: Call, policy: Policy, logger: ProviderLogger, body: Body) -> Any:
    """Run `body`, which begins an attempt each time it is called, as the policy says.

    Returns:
        What `body` returns.

    Raises:
        ProviderError: The last attempt's error, with ``reason`` saying why it was the last. Whatever
            the attempt raised is translated into one.
        TypeError: `body` could not begin: wrong arguments are the caller's mistake.
    """
    if policy.limits.budget is not None:
        policy.limits.budget.earn()
    try:
        return await _attempt(call, policy, body)
    except ProviderError as error:
        first = error
    # The first attempt runs bare: tenacity costs more than all the rest, so it comes in only now.
    if _may_retry(call, policy, first):
        return await _retry(call, policy, logger, first, body)
    _settle(call, policy, first)
    raise first


def take_slot(slots: anyio.Semaphore) -> bool:
    """Take a slot of the concurrency limit if one is free."""
    try:
        slots.acquire_nowait()
    except anyio.WouldBlock:
        return False
    return True


async def wait_for_slot(call: Call, slots: anyio.Semaphore) -> None:
    """Wait for a slot of the concurrency limit, no longer than the call has time.

    Raises:
        ProviderTimeoutError: There was none in time.
    """
    left = call.time_left()
    with waiting(), anyio.move_on_after(None if left == inf else max(left, 0)) as scope:
        await slots.acquire()
    if scope.cancelled_caught:
        raise ProviderTimeoutError(
            f"no free slot of max_concurrency within {left:.2f} s", sent=False, reason="deadline"
        )


async def _attempt(call: Call, policy: Policy, body: Body) -> Any:
    """Make one attempt; every exception of it comes out as a `ProviderError`."""
    breaker, rate = policy.limits.breaker, policy.limits.rate
    ticket = 0 if breaker is None else breaker.enter()
    failed: bool | None = None
    try:
        if rate is not None and not rate.try_acquire():
            with waiting():
                await rate.acquire(call.time_left())
        timeout, own = policy.timeout, True
        if call.deadline is not None and (left := call.deadline - time.monotonic()) <= timeout:
            if left <= 0:
                raise _past_deadline(sent=False)
            timeout, own = left, False
        call.attempt += 1
        attempt = body()
        scope: anyio.CancelScope | None = None
        try:
            with anyio.fail_after(timeout) as scope:
                result = await attempt
                failed = getattr(result, "success", True) is False and _is_outage(result)
                return result
        except Exception as exc:
            # The body may raise a TimeoutError, too: only the scope knows whose it is.
            if scope is not None and scope.cancelled_caught and isinstance(exc, TimeoutError):
                failed = True
                raise (
                    ProviderTimeoutError(f"not done within {timeout * 1000:g} ms")
                    if own
                    else _past_deadline()
                ) from None
            error = translate(exc)
            failed = error.is_outage
            if isinstance(error, RateLimitedError) and rate is not None and error.reason is None:
                rate.slow_down()
            if error is exc:
                raise
            # One that came wrapped in a group has its own cause.
            raise error from (exc if error.__traceback__ is None else error.__cause__)
    finally:
        if breaker is not None:
            breaker.leave(ticket, failed=failed)


async def next_item(call: Call, source: AsyncIterator[Any], end: object) -> Any:
    """Fetch a stream's next item, `end` after the last: no attempt any more, only the deadline holds.

    Raises:
        ProviderError: Likewise.
    """
    left = None if call.deadline is None else call.deadline - time.monotonic()
    try:
        with anyio.move_on_after(left):
            return await anext(source, end)
    except Exception as exc:
        error = translate(exc)
        if error is exc:
            raise
        raise error from exc
    raise _past_deadline()


def _past_deadline(*, sent: bool = True) -> ProviderTimeoutError:
    return ProviderTimeoutError("the deadline of the call passed", sent=sent, reason="deadline")


def _is_outage(failure: Any) -> bool:
    """Whether a failure that the method returned counts against the other side."""
    detail = getattr(failure, "error_detail", None)
    return detail.error.is_outage if isinstance(detail, ErrorDetail) else True


def translate(exc: BaseException) -> ProviderError:
    """Return the `ProviderError` that stands for `exc`, itself if it is one; chaining is the caller's.

    A refused connection was surely not sent. A reset, an abort, a broken pipe and a time-out may
    have been acted upon. All that is not a matter of connections is not worth a retry. A mistake in
    the code (`TypeError`, `KeyError` …) is no sign that the other side is down.
    """
    if isinstance(exc, ProviderError):
        return exc
    if isinstance(exc, BaseExceptionGroup) and len(exc.exceptions) == 1:
        return translate(exc.exceptions[0])
    message = describe(exc)
    if isinstance(exc, ConnectionRefusedError) or type(exc) is ConnectionError:
        return ProviderUnavailableError(message, sent=False)
    if isinstance(exc, ConnectionError):
        return ProviderUnavailableError(message)
    if isinstance(exc, TimeoutError):
        return ProviderTimeoutError(message)
    return ProviderError(message, retryable=False, outage=False if _is_mistake(exc) else None)


def _is_mistake(exc: BaseException) -> bool:
    """Whether `exc` tells of a mistake in the code, or in its arguments, and not of the other side.

    Only Python's own classes do: a vendor's that derive from them may tell of anything. Nor does text
    that can't be decoded: it came from the other side.
    """
    return (
        type(exc).__module__ == "builtins"
        and isinstance(exc, _MISTAKES)
        and not isinstance(exc, UnicodeError)
    )


def _may_retry(call: Call, policy: Policy, error: BaseException) -> bool:
    """Whether `error` is worth a retry and a retry is safe; the number of attempts left aside."""
    return (
        isinstance(error, ProviderError)
        and policy.attempts > 1
        and error.retryable
        # With a reason, a provider further in has had its retries: they don't multiply.
        and error.reason is None
        and (call.idempotent or call.idempotency_key is not None or not error.sent)
    )


def _settle(call: Call, policy: Policy, error: ProviderError) -> None:
    """Say on `error` why it was the last, unless it says so already."""
    if error.reason is not None:
        return
    if policy.attempts > 1 or not error.retryable:
        error.reason = "non_retryable"
    elif call.parent is None:
        # A call further out may still retry what this one, of a single attempt, did not.
        error.reason = "attempts"


async def _retry(call: Call, policy: Policy, logger: ProviderLogger, first: ProviderError, body: Body) -> Any:
    """Go on after the first attempt failed with `first`."""
    pending: ProviderError | None = first
    last = first

    async def step() -> Any:
        nonlocal pending, last
        if pending is not None:
            failed, pending = pending, None
            raise failed
        try:
            return await _attempt(call, policy, body)
        except ProviderError as error:
            if error.__cause__ is None and error.reason is not None and error is not last:
                # Not an attempt's own failure: the deadline, the breaker. The last one explains it.
                error.__cause__ = last
            # An earlier attempt may have been acted upon.
            error.sent = error.sent or last.sent
            last = error
            raise

    def log(state: tenacity.RetryCallState) -> None:
        logger.warning(
            "operation.retry", attempt=call.attempt, wait=round(state.upcoming_sleep, 3), error=last.message
        )

    # Built per call: a shared AsyncRetrying mixes the state of concurrent callers.
    retrying = tenacity.AsyncRetrying(
        sleep=anyio.sleep,
        retry=tenacity.retry_if_exception(lambda error: _may_retry(call, policy, error)),
        wait=_Backoff(policy),
        stop=_GiveUp(call, policy),
        before_sleep=log,
        reraise=True,
    )
    try:
        return await retrying(step)
    except _DeadlineError as exc:
        raise ProviderTimeoutError(str(exc), reason="deadline", sent=last.sent) from last
    except ProviderError as error:
        _settle(call, policy, error)
        raise


class _Backoff(tenacity.wait.wait_base):
    """Exponential backoff with full jitter, at least ``Retry-After``.

    After M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, policy: Policy) -> None:
        self._jitter = tenacity.wait_random_exponential(
            multiplier=policy.backoff_initial, max=policy.backoff_max
        )

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        return max(self._jitter(retry_state), _error(retry_state).retry_after or 0.0)


class _GiveUp(tenacity.stop.stop_base):
    """Whether there is no attempt, no time or no budget left for the retry."""

    def __init__(self, call: Call, policy: Policy) -> None:
        self._call = call
        self._policy = policy

    def __call__(self, retry_state: tenacity.RetryCallState) -> bool:
        error = _error(retry_state)
        if retry_state.attempt_number >= self._policy.attempts:
            error.reason = "attempts"
        elif error.retry_after is not None and error.retry_after > self._policy.retry_after_max:
            error.reason = "non_retryable"
        elif retry_state.upcoming_sleep >= (left := self._call.time_left()):
            raise _DeadlineError(
                f"{error.message}; the next attempt would begin in {retry_state.upcoming_sleep:.2f} s, "
                f"with {max(left, 0):.2f} s left"
            )
        elif self._policy.limits.budget is not None and not self._policy.limits.budget.spend():
            error.reason = "budget"
        return error.reason is not None


class _DeadlineError(Exception):
    """The wait before the next attempt would outlast the deadline."""


def _error(retry_state: tenacity.RetryCallState) -> ProviderError:
    error = retry_state.outcome.exception() if retry_state.outcome is not None else None
    assert isinstance(error, ProviderError)  # noqa: S101 - nothing else is retried
    return error
