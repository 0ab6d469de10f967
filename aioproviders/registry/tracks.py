"""One provider's course over time: its last check, its history, and the state that is made public."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

import anyio

from aioproviders.health import HealthCheck, HealthStatus

__all__ = ["HealthChange", "Thresholds", "Track"]


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A provider's public state has changed.

    Attributes:
        name: The provider's name in the registry.
        old: The state before; ``unknown`` at first.
        new: The state now.
        check: The check that tipped the scales.
    """

    name: str
    old: HealthStatus
    new: HealthStatus
    check: HealthCheck


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many checks in a row it takes to turn a state: to one that is not ok, and to one that is."""

    failure: int
    recovery: int


class Track:
    """What is known of one provider.

    A change between ok (healthy, degraded, disabled) and not ok takes as many checks in a row on the
    other side as `thresholds` says, whichever they are; one on the same side (healthy to degraded,
    error to timeout) takes as many with the same status.

    Args:
        thresholds: What it takes to change the public state.
        length: How many checks the history keeps.

    Attributes:
        status: The public state.
        shown: The last check that agrees with it.
        last: The last check; None before the first.
        at: When that ended, in seconds of `time.monotonic`.
        history: The last checks, oldest first.
        probing: Set when the check that is under way has ended; None where none is.
    """

    def __init__(self, thresholds: Thresholds, length: int) -> None:
        self._thresholds = thresholds
        self.status = HealthStatus.UNKNOWN
        self.shown = HealthCheck(status=HealthStatus.UNKNOWN)
        self.last: HealthCheck | None = None
        self.at = -inf
        self.history: deque[HealthCheck] = deque(maxlen=length)
        self.probing: anyio.Event | None = None
        self._same = 0
        self._same_side = 0

    def forget_last(self) -> None:
        """Take the last check for outdated: the next one begins a new row."""
        self.last = None
        self.at = -inf

    def take(self, check: HealthCheck, now: float) -> HealthStatus | None:
        """Take a check in.

        Returns:
            The public state before, if this check changed it.
        """
        status = check["status"]
        before = None if self.last is None else self.last["status"]
        self._same = self._same + 1 if before is status else 1
        self._same_side = self._same_side + 1 if before is not None and before.ok == status.ok else 1
        self.last = check
        self.at = now
        self.history.append(check)
        if status is self.status:
            self.shown = check
            return None
        turns = self.status is HealthStatus.UNKNOWN or self.status.ok != status.ok
        needed = self._thresholds.recovery if status.ok else self._thresholds.failure
        if (self._same_side if turns else self._same) < needed:
            return None
        old, self.status, self.shown = self.status, status, check
        return old
