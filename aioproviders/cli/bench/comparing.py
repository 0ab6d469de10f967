"""Whether one run was faster than another, and how sure that is."""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import mul
from typing import Literal, Protocol

from aioproviders.cli.bench.histogram import Histogram

__all__ = ["Change", "Part", "Verdict", "compare"]

Verdict = Literal[
    "faster run", "slower run", "no difference to be seen", "too few requests to say", "unlike runs"
]

_LEAST_PARTS = 20
_LEAST_BEYOND = 10
_RESAMPLES = 400
"""Twice what a standard error needs (Efron & Tibshirani, "An introduction to the bootstrap", 1993, 6.4)."""
_CONFIDENCE = 0.95
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class Part(Protocol):
    """A slice of a run."""

    @property
    def requests(self) -> int:
        """How many requests ended in it."""
        ...

    @property
    def seconds(self) -> float:
        """How long it was."""
        ...

    @property
    def histogram(self) -> Histogram:
        """The latencies of those that worked."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of two runs.

    Attributes:
        figure: ``throughput`` in requests per second, ``mean``, ``p50``, ``p90`` or ``p99`` in milliseconds.
        old: What it was in the old run.
        new: What it is in the new one.
        percent: The change; None where the old one is 0.
        interval: Where the change lies with 95 % confidence, in percent; None where that can't be said.
        verdict: The change in a word.
    """

    figure: str
    old: float
    new: float
    percent: float | None
    interval: tuple[float, float] | None
    verdict: Verdict


def compare(old: Sequence[Part], new: Sequence[Part], *, alike: bool = True) -> list[Change]:
    """Compare two runs, figure by figure.

    Requests of a run depend on each other: they queue behind the same stall, and what slows one down
    slows down its neighbours. So not requests are resampled but blocks of neighbouring slices
    (the circular block bootstrap: Politis & Romano, "A circular block-resampling procedure for stationary
    data", 1992). The standard error of the logarithm of the ratio of the two runs comes from that,
    and its interval from Student's t with Welch's degrees of freedom, as there are few slices. A change is
    one whose interval leaves out 0.

    The interval tells what varied within the two runs. What varies from one run to the next (another
    process, another neighbour on the machine) it can't know: for that, compare several runs
    (Kalibera & Jones, "Rigorous benchmarking in reasonable time", ISMM 2013).

    Args:
        old: The slices of the old run, in the order of time.
        new: Those of the new one.
        alike: Whether both made the same requests in the same way; else there is no verdict, as a difference
            would be one of how they were made.

    Returns:
        A change for each figure; of p99 only with 1,000 requests or more (10 beyond it), and so on.
    """
    before, after = _Run(old), _Run(new)
    if not alike:
        return [_unlike(name, before.figures[name], after.figures[name]) for name in before.figures]
    # A fixed seed: the same two files are always told the same.
    spread_before, spread_after = (run.spread(random.Random(1)) for run in (before, after))  # noqa: S311 - no secret
    return [
        _change(
            name,
            before.figures[name],
            after.figures[name],
            None
            if min(run.beyond(name) for run in (before, after)) < _LEAST_BEYOND
            else (spread_before[name], spread_after[name]),
            (len(old), len(new)),
        )
        for name in before.figures
    ]


def _unlike(name: str, old: float, new: float) -> Change:
    return Change(name, old, new, (new / old - 1) * 100 if old and new else None, None, "unlike runs")


def _change(
    name: str,
    old: float,
    new: float,
    spread: tuple[float, float] | None,
    slices: tuple[int, int],
) -> Change:
    if not (old and new):
        return Change(name, old, new, None, None, "too few requests to say")
    percent = (new / old - 1) * 100
    if spread is None or min(slices) < _LEAST_PARTS:
        return Change(name, old, new, percent, None, "too few requests to say")
    margin = _margin(spread, slices)
    low, high = ((new / old * math.exp(side) - 1) * 100 for side in (-margin, margin))
    verdict: Verdict = "no difference to be seen"
    if low > 0 or high < 0:
        verdict = "faster run" if (high < 0) != (name == "throughput") else "slower run"
    return Change(name, old, new, percent, (low, high), verdict)


def _margin(errors: tuple[float, float], slices: tuple[int, int]) -> float:
    """Return half the width of the interval of a difference, from the standard errors of its two sides."""
    squares = [error**2 for error in errors]
    if not any(squares):
        return 0.0
    freedom = sum(squares) ** 2 / sum(
        square**2 / (count / _block(count) - 1) for square, count in zip(squares, slices, strict=True)
    )
    return _student(freedom) * math.sqrt(sum(squares))


def _block(slices: int) -> int:
    """Return how many neighbours make a block: many blocks, each longer than what depends on each other."""
    return max(1, round(math.cbrt(slices)))


def _student(freedom: float) -> float:
    """Return the two-sided 95 % quantile of Student's t, to within 2 % from 4 degrees of freedom on.

    Abramowitz & Stegun, "Handbook of mathematical functions" (1964), 26.7.5.
    """
    z = statistics.NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    return z + first / freedom + second / freedom**2


class _Run:
    """A run's figures, and how much they vary."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._requests = [part.requests for part in parts]
        self._seconds = [part.seconds for part in parts]
        counts = [dict(part.histogram.counts()) for part in parts]
        self._values = sorted(set().union(*counts))
        self._totals = [part.histogram.count for part in parts]
        self._sums = [sum(value * count for value, count in each.items()) for each in counts]
        # For each value, how many of each slice's latencies don't exceed it.
        below = [list(accumulate(each.get(value, 0) for value in self._values)) for each in counts]
        self._below = list(zip(*below, strict=True))
        self.figures = self._figures([1] * len(parts))

    def beyond(self, figure: str) -> float:
        """Return how many requests a figure's estimate rests on, at its thinner side."""
        if figure == "throughput":
            return sum(self._requests)
        return sum(self._totals) * (1 - _PERCENTILES.get(figure, 0))

    def _figures(self, weights: Sequence[int]) -> dict[str, float]:
        """Return the figures of a run in which each slice came as often as `weights` say."""

        def weighted(values: Sequence[float]) -> float:
            total: float = sum(map(mul, weights, values))
            return total

        seconds, total = weighted(self._seconds), weighted(self._totals)
        found = {"throughput": weighted(self._requests) / seconds if seconds else 0.0}
        found["mean"] = weighted(self._sums) / total / 1000 if total else 0.0
        for name, share in _PERCENTILES.items():
            found[name] = self._percentile(share * total, weighted) / 1000 if total else 0.0
        return found

    def _percentile(self, rank: float, weighted: Callable[[Sequence[int]], float]) -> float:
        return self._values[bisect_left(self._below, rank - 1e-6, key=weighted)]

    def spread(self, generator: random.Random) -> dict[str, float]:
        """Return the standard error of each figure's logarithm; 0.0 for one that is 0."""
        count = len(self._parts)
        length = _block(count)
        logarithms: dict[str, list[float]] = {name: [] for name in self.figures}
        for _ in range(_RESAMPLES):
            weights = [0] * count
            for drawn in range(math.ceil(count / length)):
                start = generator.randrange(count)
                for step in range(min(length, count - drawn * length)):
                    weights[(start + step) % count] += 1
            for name, figure in self._figures(weights).items():
                if figure:
                    logarithms[name].append(math.log(figure))
        return {name: statistics.stdev(each) if len(each) > 1 else 0.0 for name, each in logarithms.items()}
