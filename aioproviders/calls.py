"""The call under way: what an operation can ask of its surroundings, and the trace it belongs to."""

from __future__ import annotations

import random
import re
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from math import inf
from typing import Any, Self

import anyio

__all__ = ["Call", "current_call", "current_trace_id", "outside_calls", "trace_context"]

_current: ContextVar[Call | None] = ContextVar("aioproviders_call", default=None)
_incoming: ContextVar[str | None] = ContextVar("aioproviders_trace", default=None)

# W3C Trace Context, section 3.2: version, trace-id, parent-id, flags; ids of zeros are invalid, and
# only versions after 00 may have more to say.
_TRACEPARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)


class Call:
    """One call of an operation, over all its attempts. Got from `current_call` inside the operation.

    As a context manager it makes itself the current call.

    Attributes:
        provider: The provider's name.
        operation: The method's name.
        parent: The call this one was made in, if any.
        attempt: Number of the attempt under way, from 1.
        started: When the call began, in seconds of `time.monotonic`.
        deadline: When the call must be over by its own config, likewise; None for never.
        idempotent: Whether a repetition does no harm; an operation may find out only at run time.
        idempotency_key: What makes the other side take all attempts for one; None where there is none.
    """

    __slots__ = (
        "_id",
        "_token",
        "_trace_id",
        "attempt",
        "deadline",
        "idempotency_key",
        "idempotent",
        "operation",
        "owner",
        "parent",
        "provider",
        "started",
    )

    def __init__(
        self,
        owner: object,
        provider: str,
        operation: str,
        idempotent: bool = False,
        deadline: float | None = None,
    ) -> None:
        self.owner = owner
        self.provider = provider
        self.operation = operation
        self.parent = _current.get()
        self.started = time.monotonic()
        self.deadline = None if deadline is None else self.started + deadline
        self.attempt = 0
        self.idempotent = idempotent
        self.idempotency_key: str | None = None
        self._id: str | None = None
        self._trace_id: str | None = None
        self._token: Token[Call | None] | None = None

    def __repr__(self) -> str:
        return f"<Call {self.provider}.{self.operation} attempt {self.attempt}>"

    @property
    def id(self) -> str:
        """A random id of this call: 32 hexadecimal digits."""
        if self._id is None:
            self._id = _random_id()
        return self._id

    @property
    def trace_id(self) -> str:
        """The trace this call belongs to: 32 hexadecimal digits, never all zero."""
        if self._trace_id is None:
            span = _opentelemetry_trace_id()
            if span is None and self.parent is not None:
                span = self.parent.trace_id
            self._trace_id = span or _incoming.get() or _random_id()
        return self._trace_id

    def traceparent(self) -> str:
        """Return the ``traceparent`` header for a request made in this call (W3C Trace Context, 3.2)."""
        trace_id = self.trace_id
        span = _opentelemetry_span()
        if span is not None and f"{span.trace_id:032x}" == trace_id:
            return f"00-{trace_id}-{span.span_id:016x}-{span.trace_flags:02x}"
        return f"00-{trace_id}-{(random.getrandbits(63) + 1).to_bytes(8).hex()}-01"

    @property
    def elapsed(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self.started

    def ensure_idempotency_key(self) -> str:
        """Return the call's idempotency key, the same in all its attempts, made at the first need."""
        if self.idempotency_key is None:
            self.idempotency_key = str(uuid.uuid4())
        return self.idempotency_key

    def time_left(self) -> float:
        """Return the seconds until the nearest deadline, this call's or one set further out; may be inf."""
        left = anyio.current_effective_deadline() - anyio.current_time()
        if left == -inf:
            # A scope further out is cancelled, which the next wait will say; it is no deadline.
            left = inf
        return left if self.deadline is None else min(left, self.deadline - time.monotonic())

    def is_within(self, owner: object, operation: str | None = None) -> bool:
        """Whether a call further out is of `owner` (and of that operation)."""
        outer = self.parent
        while outer is not None:
            if outer.owner is owner and operation in (None, outer.operation):
                return True
            outer = outer.parent
        return False

    def __enter__(self) -> Self:
        """Make this the current call, until ``__exit__``."""
        self._token = _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _current.reset(self._token)
            self._token = None


def current_call() -> Call | None:
    """Return the call under way in this task, or None outside of any operation."""
    return _current.get()


def current_trace_id() -> str:
    """Return the trace id that holds here.

    It is the active OpenTelemetry span's; else the current call's; else that of `trace_context`;
    else a new one.
    """
    call = _current.get()
    if call is not None:
        return call.trace_id
    return _opentelemetry_trace_id() or _incoming.get() or _random_id()


@contextmanager
def trace_context(traceparent: str | None = None) -> Iterator[str]:
    """Give everything called inside one trace id; yields it.

    Args:
        traceparent: An incoming ``traceparent`` header (W3C Trace Context, 3.2); without one, or
            where it is not valid, the id is new.
    """
    match = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent else None
    trace_id = match[1] if match else _opentelemetry_trace_id() or _random_id()
    token = _incoming.set(trace_id)
    try:
        yield trace_id
    finally:
        _incoming.reset(token)


@contextmanager
def outside_calls() -> Iterator[None]:
    """Leave the current call: for background work that outlives it."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def _random_id() -> str:
    # Not a secret; and never zero, which both W3C and OpenTelemetry take for "no id". By way of bytes it is
    # done in half the time that formatting takes.
    return (random.getrandbits(127) + 1).to_bytes(16).hex()


def _opentelemetry_trace_id() -> str | None:
    span = _opentelemetry_span()
    return None if span is None else f"{span.trace_id:032x}"


def _opentelemetry_span() -> Any:
    """Return the context of OpenTelemetry's active span, None where there is none."""
    # Only an application that has imported OpenTelemetry can have one.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    return span if span.is_valid else None
