"""What was measured: tables of contenders, each compared with one of them round by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

__all__ = ["Row", "Table"]


@dataclass(frozen=True, slots=True)
class Row:
    """One contender's part of a table.

    Attributes:
        contender: Who it is.
        value: The median of the rounds, in the table's unit.
        ratio: The median of the rounds' ratios to the base of the same round, where that is not 0; None
            where there is no base.
        low: The smallest of these ratios.
        high: The largest.
    """

    contender: str
    value: float
    ratio: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Figures of one kind, taken side by side in one run.

    Attributes:
        title: What was measured.
        unit: Of the values, such as "µs per call".
        values: By contender, a value for each round; the same number of rounds for all.
        base: The contender that all are compared with; None where the figures stand for themselves
            (counts, shares of a limit).
        more_is_better: Whether large values are good ones.
        note: What one must know to read it.
    """

    title: str
    unit: str
    values: Mapping[str, Sequence[float]]
    base: str | None = None
    more_is_better: bool = False
    note: str = ""

    def rows(self) -> list[Row]:
        """Return a row for each contender, in the order they were given."""
        return [self._row(contender) for contender in self.values]

    def _row(self, contender: str) -> Row:
        values = self.values[contender]
        if self.base is None:
            return Row(contender, median(values), None, None, None)
        # Round by round: what slows the machine down slows both of a pair.
        pairs = zip(values, self.values[self.base], strict=True)
        ratios = [value / base for value, base in pairs if base]  # of nothing there is no multiple
        if not ratios:
            return Row(contender, median(values), None, None, None)
        return Row(contender, median(values), median(ratios), min(ratios), max(ratios))

    def as_dict(self) -> dict[str, Any]:
        """Return the table as JSON data, rounds and all."""
        return {
            "title": self.title,
            "unit": self.unit,
            "base": self.base,
            "more_is_better": self.more_is_better,
            "note": self.note,
            "rows": [asdict(row) for row in self.rows()],
            "rounds": {contender: list(values) for contender, values in self.values.items()},
        }
