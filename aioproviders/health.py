"""Health as data: the statuses, one provider's check, and the report of a whole sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Required

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict  # typing's own does not do for pydantic before Python 3.12

__all__ = ["HealthCheck", "HealthReport", "HealthStatus", "aggregate", "normalize"]


class HealthStatus(StrEnum):
    """How a provider is, best known first; what it can't do decides, not why."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """It works, not as well as it should."""
    UNHEALTHY = "unhealthy"
    """It was asked and said that it does not work."""
    ERROR = "error"
    """The check itself failed."""
    TIMEOUT = "timeout"
    """The check did not end in time; it was cancelled."""
    BLOCKED = "blocked"
    """Not asked, since something it depends on failed."""
    DISABLED = "disabled"
    """Not asked, since its config says ``enabled=False``."""
    UNKNOWN = "unknown"
    """Not asked yet."""

    @property
    def ok(self) -> bool:
        """Whether traffic may go on: healthy, degraded, or not meant to run at all."""
        return self in _OK


_OK = frozenset({HealthStatus.HEALTHY, HealthStatus.DEGRADED, HealthStatus.DISABLED})
_FAILED = frozenset({HealthStatus.UNHEALTHY, HealthStatus.ERROR, HealthStatus.TIMEOUT, HealthStatus.BLOCKED})
_BY_VALUE: Mapping[str, HealthStatus] = MappingProxyType({status.value: status for status in HealthStatus})


class HealthCheck(TypedDict, total=False):
    """What one check found; a plain dict.

    Keys: ``status``, and where they are known ``error`` (one line), ``details``, ``latency_ms``
    (float), ``checked_at`` (aware `datetime`, UTC) and ``attempts``.
    """

    status: Required[HealthStatus]
    error: str
    details: dict[str, Any]
    latency_ms: float
    checked_at: datetime
    attempts: int


class HealthReport(BaseModel):
    """The outcome of a sweep.

    Attributes:
        status: The worst that counts: see `aggregate`.
        duration_ms: How long the sweep took.
        checked_at: When it began, UTC.
        checks: One check per provider, in the registry's order.
    """

    model_config = ConfigDict(frozen=True)

    status: HealthStatus
    duration_ms: float
    checked_at: datetime
    checks: Mapping[str, HealthCheck]

    @property
    def ok(self) -> bool:
        """Whether traffic may go on."""
        return self.status.ok

    def counts(self) -> dict[HealthStatus, int]:
        """Return how many checks have each status, those without any left out."""
        found = [check["status"] for check in self.checks.values()]
        return {status: found.count(status) for status in HealthStatus if status in found}


def aggregate(statuses: Iterable[HealthStatus]) -> HealthStatus:
    """Return the status of the whole.

    Any failure makes it unhealthy; else anything not yet known makes it unknown; else anything
    degraded makes it degraded. Disabled providers don't count; with none that counts it is healthy.
    """
    seen = set(statuses)
    if seen & _FAILED:
        return HealthStatus.UNHEALTHY
    for status in (HealthStatus.UNKNOWN, HealthStatus.DEGRADED):
        if status in seen:
            return status
    return HealthStatus.HEALTHY


def normalize(answer: Any) -> HealthCheck:
    """Turn what an override of ``health_check`` returned into a `HealthCheck`.

    Keys that a check does not have go into its ``details``. An answer that can't be read becomes an
    error that says so.
    """
    if not isinstance(answer, Mapping) or "status" not in answer:
        return _unreadable(f"health_check() should return a mapping with a 'status', not {_shape(answer)}")
    status = _BY_VALUE.get(str(answer["status"]).lower())
    if status is None:
        return _unreadable(f"health_check() returned a status that is none of {', '.join(HealthStatus)}")
    check = HealthCheck(status=status)
    details = dict(answer["details"]) if isinstance(answer.get("details"), Mapping) else {}
    for key, value in answer.items():
        if key == "error":
            if value is not None:
                check["error"] = str(value)
        elif key == "latency_ms" and isinstance(value, (int, float)) and not isinstance(value, bool):
            check["latency_ms"] = float(value)
        elif key == "checked_at" and isinstance(value, datetime):
            check["checked_at"] = value
        elif key not in {"status", "attempts"} and not (key == "details" and isinstance(value, Mapping)):
            details[str(key)] = value
    if details:
        check["details"] = details
    return check


def _shape(answer: Any) -> str:
    if not isinstance(answer, Mapping):
        return type(answer).__name__
    return f"keys {sorted(map(str, answer))}" if answer else "an empty mapping"


def _unreadable(why: str) -> HealthCheck:
    return HealthCheck(status=HealthStatus.ERROR, error=why, checked_at=datetime.now(UTC))
