"""What failures cost: now and then, of a backend that is dead, and by cancellation."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.failing import cancelled, dead, occasional
from benchmarks.results import Table

__all__ = ["run"]


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields the tables of each part."""
    for part in (occasional, dead, cancelled):
        yield from part.run(quick=quick)
