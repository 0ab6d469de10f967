"""Health sweeps: how long they take, what they keep waiting, and what they need."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results import Table
from benchmarks.sweeping import hanging, memory, readers, sizes

__all__ = ["run"]


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields the tables of each part."""
    for part in (sizes, hanging, readers, memory):
        yield from part.run(quick=quick)
