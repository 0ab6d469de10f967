"""Health as data: how statuses add up and answers are read."""

import json
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproviders import HealthReport, HealthStatus
from aioproviders.health import HealthCheck, aggregate, normalize

AT = datetime(2024, 1, 1, tzinfo=UTC)


def test_statuses():
    """The statuses are plain strings, and three of them let traffic go on."""
    assert [str(status) for status in HealthStatus] == [
        "healthy",
        "degraded",
        "unhealthy",
        "error",
        "timeout",
        "blocked",
        "disabled",
        "unknown",
    ]
    assert {status for status in HealthStatus if status.ok} == {"healthy", "degraded", "disabled"}
    assert json.dumps(HealthStatus.HEALTHY) == '"healthy"'


@pytest.mark.parametrize(
    ("statuses", "whole"),
    [
        ([], "healthy"),
        (["disabled"], "healthy"),
        (["healthy", "disabled"], "healthy"),
        (["healthy", "degraded"], "degraded"),
        (["degraded", "unknown"], "unknown"),
        *[
            (["healthy", "unknown", "degraded", bad], "unhealthy")
            for bad in ("unhealthy", "error", "timeout", "blocked")
        ],
    ],
)
def test_aggregate(statuses, whole):
    """The worst that counts decides; disabled providers don't count."""
    assert aggregate(map(HealthStatus, statuses)) == whole


@given(st.lists(st.sampled_from(HealthStatus)))
def test_aggregate_does_not_depend_on_order(statuses):
    """Order and repetition make no difference, and only what may run is ok."""
    assert aggregate(statuses) is aggregate(reversed(statuses * 2))
    if any(not status.ok for status in statuses):
        assert not aggregate(statuses).ok


def test_report_counts():
    """A report knows whether all is well and how many have each status, in the statuses' order."""
    checks = {
        name: HealthCheck(status=HealthStatus(s))
        for name, s in [("a", "error"), ("b", "healthy"), ("c", "error")]
    }
    report = HealthReport(status="unhealthy", duration_ms=1.0, checked_at=AT, checks=checks)
    assert not report.ok
    assert list(report.counts().items()) == [("healthy", 1), ("error", 2)]
    assert HealthReport.model_validate_json(report.model_dump_json()) == report


def test_normalize_reads_a_check():
    """Known keys are taken, others become details."""
    found = normalize(
        {
            "status": "Degraded",
            "error": ValueError("x"),
            "latency_ms": 3,
            "checked_at": AT,
            "attempts": 9,
            "details": {"a": 1},
            "cluster": "c",
        }
    )
    assert found == {
        "status": HealthStatus.DEGRADED,
        "error": "x",
        "latency_ms": 3.0,
        "checked_at": AT,
        "details": {"a": 1, "cluster": "c"},
    }


def test_normalize_keeps_what_does_not_fit_as_details():
    """A value of a type that a key can't have goes into the details under its name."""
    found = normalize(
        {
            "status": HealthStatus.HEALTHY,
            "latency_ms": True,
            "checked_at": "now",
            "details": [1],
            "error": None,
        }
    )
    assert found == {
        "status": "healthy",
        "details": {"latency_ms": True, "checked_at": "now", "details": [1]},
    }


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "not NoneType"),
        ("healthy", "not str"),
        ({}, "not an empty mapping"),
        ({"ok": 1}, r"not keys \['ok'\]"),
        ({"status": "fine"}, "none of healthy, degraded"),
        ({"status": None}, "none of"),
    ],
)
def test_normalize_says_what_is_wrong(answer, words):
    """An answer that can't be read becomes an error that names what would be right."""
    found = normalize(answer)
    assert found["status"] is HealthStatus.ERROR
    assert re.search(words, found["error"])
