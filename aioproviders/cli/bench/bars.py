"""A latency histogram in characters."""

from __future__ import annotations

import math
from collections.abc import Mapping

from aioproviders.cli.bench.measurement import BINS_A_DECADE
from aioproviders.cli.output import milliseconds

__all__ = ["draw_bars"]

_MOST_ROWS = 15
_WIDTHS = (1, 2, 5, 10, 20)
"""Bins a row: with these the rows start at round numbers."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def draw_bars(bins: Mapping[int, int], *, width: int, ascii_only: bool) -> list[str]:
    """Draw `Measurement.bins`: a row a bar, each as high as the one before times the same factor.

    Args:
        bins: How many requests each bin has.
        width: Of a row, in columns.
        ascii_only: Whether the terminal or file takes nothing else.
    """
    if not bins:
        return []
    first, last = min(bins), max(bins)
    step = next((each for each in _WIDTHS if last // each - first // each < _MOST_ROWS), _WIDTHS[-1])
    counts = [0] * (last // step - first // step + 1)
    for number, count in bins.items():
        counts[number // step - first // step] += count
    most = max(counts)
    digits = len(f"{most:,}")
    rows = []
    for number, count in enumerate(counts, first // step):
        start = milliseconds(10 ** (number * step / BINS_A_DECADE) / 1000)
        length = count / most * max(width - digits - 12, 1)
        bar = "#" * math.ceil(length) if ascii_only else _bar(length)
        rows.append(f"{start:>8}  {count:>{digits},}  {bar}".rstrip())
    return rows


def _bar(length: float) -> str:
    if not length:
        return ""
    # What is there is seen, however little it is.
    eighths = max(round(length * 8), 1)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
