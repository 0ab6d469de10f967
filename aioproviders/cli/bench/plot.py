"""Latency by percentile, as an SVG that needs nothing beside itself."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from aioproviders.cli.bench.histogram import Histogram
from aioproviders.cli.boundary import UsageError
from aioproviders.cli.output import milliseconds

try:
    from pygal import XY, Config  # type: ignore[import-untyped] # it has no types
    from pygal.style import Style  # type: ignore[import-untyped] # likewise
except ModuleNotFoundError:
    raise UsageError("--svg needs the package pygal: pip install 'aioproviders[cli]'") from None

# It hooks into every import for plugins of its own, in a way that Python 3.11 warns of.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

__all__ = ["plot"]

_POINTS_A_DECADE = 100


def plot(title: str, lines: Mapping[str, Histogram]) -> str:
    """Draw each histogram as a line: percentile to the right, its latency upwards.

    The percentiles are as far apart as the nines they have (0, 90, 99, 99.9 %…), as in HdrHistogram's plots
    (https://hdrhistogram.github.io/HdrHistogram/plotFiles.html).

    Args:
        title: What to write above.
        lines: The histograms by name, with at least one duration each.
    """
    curves = {name: _curve(histogram) for name, histogram in lines.items()}
    nines = math.ceil(max(points[-1][0] for points in curves.values()))
    chart = XY(
        Config(js=[]),
        title=title,
        style=_style(),
        width=900,
        height=500,
        dots_size=0,
        show_dots=False,
        show_x_guides=True,
        legend_at_bottom=True,
        truncate_legend=-1,
        include_x_axis=True,
        xrange=(0, nines),
        x_title="percentile",
        y_title="latency",
        value_formatter=milliseconds,
        pretty_print=True,
    )
    chart.x_labels = [
        {"value": nine, "label": f"{100 - 100 / 10**nine:.{max(nine - 2, 0)}f} %"}
        for nine in range(nines + 1)
    ]
    for name, points in curves.items():
        chart.add(name, points)
    chart.add_xml_filter(_without_scripts)
    return str(chart.render(is_unicode=True))


def _style() -> Any:
    return Style(
        background="white",
        # Told apart by the colour-blind, too: Okabe & Ito, "Color universal design" (2008).
        colors=("#0072b2", "#d55e00", "#888888"),
        font_family="sans-serif",
        guide_stroke_color="#dddddd",
        guide_stroke_dasharray="none",
        major_guide_stroke_color="#bbbbbb",
        major_guide_stroke_dasharray="none",
        label_font_size=11,
        major_label_font_size=11,
        legend_font_size=13,
        stroke_opacity="1",
        stroke_width="2",
        title_font_size=15,
    )


def _without_scripts(root: ET.Element) -> ET.Element:
    # They would make tooltips with code that is fetched from elsewhere.
    for parent in list(root.iter()):
        for script in parent.findall("script"):
            parent.remove(script)
    return root


def _curve(histogram: Histogram) -> list[tuple[float, float]]:
    """Return points: the decimal logarithm of one in how many is slower, and the latency in ms."""
    count = histogram.count
    # The slowest of all is at infinity; it is drawn where half a request is beyond.
    last = math.log10(2 * count)
    steps = math.ceil(last * _POINTS_A_DECADE)
    points = [
        (nines, histogram.percentile(100 * (1 - 10**-nines)))
        for nines in (last * step / steps for step in range(steps + 1))
    ]
    # A level line needs its ends only.
    return [
        point
        for number, point in enumerate(points)
        if number in (0, steps) or not points[number - 1][1] == point[1] == points[number + 1][1]
    ]
