"""Latencies in an HdrHistogram: microseconds, three significant digits, in constant memory."""

from __future__ import annotations

import math
import zlib

from aioproviders.cli.boundary import UsageError

try:
    from hdrh.codec import HdrCookieException, HdrLengthException  # type: ignore[import-untyped] # it has none
    from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped] # likewise
except ModuleNotFoundError:
    raise UsageError("bench needs the package hdrhistogram: pip install 'aioproviders[cli]'") from None

__all__ = ["PERCENTILES", "Histogram"]

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99)
_HIGHEST = 3_600_000_000
_DIGITS = 3


class Histogram:
    """Durations from a microsecond to an hour, each kept to within a thousandth of itself.

    It is Gil Tene's HdrHistogram (http://hdrhistogram.org), whose encoded form other tools read, too.
    """

    def __init__(self) -> None:
        self._recorded = HdrHistogram(1, _HIGHEST, _DIGITS)
        self._zeros = 0

    def record(self, seconds: float) -> None:
        """Count one duration; longer than an hour counts as an hour."""
        microseconds = round(seconds * 1e6)
        if microseconds <= 0:
            # Most phases of most requests are; counted here they cost next to nothing.
            self._zeros += 1
        else:
            self._recorded.record_value(min(microseconds, _HIGHEST))

    @property
    def _hdr(self) -> HdrHistogram:
        if self._zeros:
            self._recorded.record_value(0, self._zeros)
            self._zeros = 0
        return self._recorded

    def add(self, other: Histogram) -> None:
        """Count all that `other` has."""
        self._hdr.add(other._hdr)

    @property
    def count(self) -> int:
        """How many durations there are."""
        return int(self._hdr.total_count)

    def counts(self) -> list[tuple[int, int]]:
        """Return the durations in microseconds, ascending, each with how often it was counted."""
        hdr = self._hdr
        return [
            (int(hdr.get_highest_equivalent_value(hdr.get_value_from_index(index))), count)
            for index, count in enumerate(hdr.counts)
            if count
        ]

    def percentile(self, percent: float) -> float:
        """Return in milliseconds what `percent` of the durations don't exceed; 0.0 if there are none."""
        # Kept to three digits it could be above the longest there was.
        found = min(self._hdr.get_value_at_percentile(percent), self._hdr.max_value)
        return round(float(found) / 1000, 3)

    def mean(self) -> float:
        """Return the mean in milliseconds; 0.0 if there are none."""
        total = sum(value * count for value, count in self.counts())
        return round(total / self.count / 1000, 3) if self.count else 0.0

    def summary(self) -> dict[str, float]:
        """Return ``p50`` to ``p99.99``, ``max``, ``mean``, ``stddev`` in milliseconds, of at least one."""
        counts = self.counts()
        mean = sum(value * count for value, count in counts) / self.count
        variance = sum(count * (value - mean) ** 2 for value, count in counts) / self.count
        return {
            **{f"p{percent:g}": self.percentile(percent) for percent in PERCENTILES},
            "max": self._hdr.max_value / 1000,
            "mean": round(mean / 1000, 3),
            "stddev": round(math.sqrt(variance) / 1000, 3),
        }

    def encode(self) -> str:
        """Return it in HdrHistogram's own format: V2, compressed, base64."""
        return str(self._hdr.encode().decode())

    @classmethod
    def decode(cls, text: str) -> Histogram:
        """Return what `encode` made `text` of.

        Raises:
            ValueError: It is something else.
        """
        histogram = cls()
        try:
            histogram._hdr.decode_and_add(text)
        except (HdrCookieException, HdrLengthException, zlib.error, ValueError, IndexError):
            # The library's own words are of headers and cookies.
            raise ValueError("should be an encoded HdrHistogram") from None
        return histogram
