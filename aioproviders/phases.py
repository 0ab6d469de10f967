"""Where the time of calls goes: for whoever measures, at no cost to everybody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["Phases", "record_phases", "recorded_phases", "waiting"]

_recording: ContextVar[Phases | None] = ContextVar("aioproviders_phases", default=None)


@dataclass(slots=True)
class Phases:
    """The parts of the calls made inside a `record_phases`, retries included; in seconds.

    What they don't add up to is backoff, the framework, and what a driver does not tell of.

    Attributes:
        waiting: For a limit of this side: ``max_concurrency``, ``rate_limit``, a connection of the pool.
        connecting: DNS, TCP, proxy and TLS.
        first_byte: From the first byte sent to the last header received.
        body: Reading the rest of the answer.
    """

    waiting: float = 0.0
    connecting: float = 0.0
    first_byte: float = 0.0
    body: float = 0.0


@contextmanager
def record_phases() -> Iterator[Phases]:
    """Record the phases of the calls that this task makes inside; yields what fills up."""
    phases = Phases()
    token = _recording.set(phases)
    try:
        yield phases
    finally:
        _recording.reset(token)


@contextmanager
def waiting() -> Iterator[None]:
    """Count the time inside as waiting."""
    phases = _recording.get()
    started = time.perf_counter()
    try:
        yield
    finally:
        if phases is not None:
            phases.waiting += time.perf_counter() - started


def recorded_phases() -> Phases | None:
    """Return what the call under way is to be recorded in; None where nobody measures."""
    return _recording.get()
