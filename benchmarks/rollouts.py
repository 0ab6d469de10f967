"""Rollouts: of processes under load, and of a Deployment in Kubernetes beside kubectl."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.results import Table
from benchmarks.rolling import cluster, processes

__all__ = ["run"]


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields the tables of each part."""
    for part in (processes, cluster):
        yield from part.run(quick=quick)
