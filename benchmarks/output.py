"""Where results go: a table for the reader, JSON for programs, a plot as SVG."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import textwrap
from pathlib import Path
from typing import Any

import matplotlib as mpl
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.results import Table

__all__ = ["print_table", "write_json", "write_svg"]

_VERSIONS_OF = (
    "aioproviders",
    "aiohttp",
    "anyio",
    "azure-core",
    "httpx",
    "httpx-aiohttp",
    "openai",
    "pydantic",
    "stamina",
    "structlog",
    "svcs",
    "tenacity",
    "uvloop",
)
_TENTH = 0.1
_HUNDRED = 100
_THOUSAND = 1000
_TITLE_WIDTH = 75
_TOO_FAR = (
    30  # times the base: on a linear axis its bar, and those of its length, can't be told apart any more
)


def print_table(table: Table, console: Console) -> None:
    """Print one table: value, ratio to the base, and the spread of the rounds' ratios."""
    drawn = RichTable(
        title=table.title, title_justify="left", caption=table.note or None, caption_justify="left"
    )
    drawn.add_column("")
    drawn.add_column(table.unit, justify="right")
    if table.base is not None:
        drawn.add_column("ratio", justify="right")
        drawn.add_column("spread", justify="right")
    for row in table.rows():
        cells = [row.contender, number(row.value)]
        if row.ratio is not None and row.low is not None and row.high is not None:
            cells += [ratio(row.ratio), f"{ratio(row.low)} to {ratio(row.high)}"]
        drawn.add_row(*cells)
    console.print(drawn)
    console.print()


def number(value: float) -> str:
    """Write a figure with three significant digits or, above a thousand, as a whole number."""
    return f"{value:,.0f}" if abs(value) >= _THOUSAND else f"{value:.3g}"


def ratio(value: float) -> str:
    """Write a ratio with two decimals where they say enough."""
    return f"{value:.2f}" if _TENTH <= value < _HUNDRED else number(value)


def circumstances() -> dict[str, Any]:
    """Return on what the figures were taken: machine, Python, versions of the packages."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        )
        if Path("/proc/cpuinfo").exists()
        else iter(()),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: importlib.metadata.version(name) for name in _VERSIONS_OF},
    }


def write_json(suite: str, tables: list[Table], folder: Path, *, quick: bool) -> Path:
    """Write ``<suite>.json``: the circumstances, each table's rows, and every round's value."""
    path = folder / f"{suite}.json"
    document = {"suite": suite, "quick": quick, **circumstances(), "tables": [t.as_dict() for t in tables]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def write_svg(suite: str, tables: list[Table], folder: Path) -> Path:
    """Write ``<suite>.svg``: a bar for each contender, with the spread of the rounds."""
    mpl.use("svg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - it takes a backend at its import

    # Text stays text: the picture is smaller, and can be searched. The same figures give the same file.
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": suite, "font.size": 9})
    heights = [1 + 0.3 * len(table.values) for table in tables]
    figure, axes = plt.subplots(
        len(tables), 1, figsize=(9, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for table, axis in zip(tables, axes[:, 0], strict=True):
        _draw(table, axis)
    # The viewer's font may be wider than the one the layout is made with.
    figure.get_layout_engine().set(w_pad=0.2)
    path = folder / f"{suite}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _draw(table: Table, axis: Any) -> None:
    rows = table.rows()
    places = range(len(rows))
    lengths = [row.value if row.ratio is None else row.ratio for row in rows]
    spread = [
        [0.0 if row.ratio is None or row.low is None else row.ratio - row.low for row in rows],
        [0.0 if row.ratio is None or row.high is None else row.high - row.ratio for row in rows],
    ]
    colours = ["#2a7ab0" if "aioproviders" in row.contender else "#b9c3cc" for row in rows]
    # A logarithmic axis has no zero for bars to begin at: there they begin at the base.
    logarithmic = table.base is not None and min(lengths) > 0 and max(lengths) > _TOO_FAR
    if logarithmic:
        axis.set_xscale("log")
        bars = {"left": 1, "width": [length - 1 for length in lengths]}
        axis.axvline(1, color="#555555", linewidth=0.8)
    else:
        bars = {"width": lengths}
    axis.barh(places, color=colours, **bars)
    if table.base is not None:
        axis.errorbar(lengths, places, xerr=spread, fmt="none", ecolor="#555555", capsize=2)
    axis.set_yticks(places, [row.contender for row in rows])
    axis.invert_yaxis()
    better = "more is better" if table.more_is_better else "less is better"
    compared = table.unit if table.base is None else f"ratio to {table.base} (and {table.unit})"
    axis.set_xlabel(f"{compared}, {better}")
    axis.set_title(textwrap.fill(table.title, _TITLE_WIDTH), loc="left", fontsize=10)
    for place, row in zip(places, rows, strict=True):
        label = number(row.value) if row.ratio is None else f"{ratio(row.ratio)} ({number(row.value)})"
        # Behind the whisker and, where a bar goes left from the base, behind that.
        end = max(lengths[place] + spread[1][place], 1) if logarithmic else lengths[place] + spread[1][place]
        axis.annotate(label, (end, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    low, high = axis.get_xlim()
    # Room for the labels.
    axis.set_xlim(low, high * (high / low) ** 0.2 if logarithmic else high * 1.15 or 1)
    axis.spines[["top", "right"]].set_visible(False)
