"""The results that are kept, for readers: all as Markdown, the most telling in the README and in a plot."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.output import number, ratio, write_svg
from benchmarks.results import Table

__all__ = ["read", "write_overview"]

_CHOSEN = {
    "calls": ("One call that does not fail, asyncio",),
    "http": (
        "Throughput: GET, 100 in flight",
        "Processor time: GET, 100 in flight",
        "Latency, p50: one by one",
        "Fairness: p99 at 1,000 in flight through 100 connections, as a multiple of a fair share",
    ),
    "sweeps": ("A sweep of 10,000 checks of 1 ms",),
    "startup": ("Imports, each in a process of its own", "Whole processes"),
    "failures": (
        "A backend that answers 503: requests that reached it, per call",
        "A backend that answers 503: requests that reached it, per second",
    ),
    "rollouts": (
        "10 updates of a service under 200 requests/s: requests lost",
        "A Deployment of 3 pods gets a new image: until it is known to be healthy",
        "A Deployment of 3 pods gets a new image: requests of the API server",
    ),
}
_BEGIN = "<!-- figures -->\n"
_END = "<!-- end of figures -->\n"


def read(folder: Path, suites: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the results of full runs in `folder`, by suite.

    Raises:
        ValueError: Those of a suite are missing, or are of a quick run.
    """
    found = {}
    for suite in suites:
        path = folder / f"{suite}.json"
        if not path.exists():
            raise ValueError(f"{path} is missing: run python -m benchmarks {suite}")
        found[suite] = json.loads(path.read_text(encoding="utf-8"))
        if found[suite]["quick"]:
            raise ValueError(f"{path} is of a quick run: run python -m benchmarks {suite}")
    return found


def write_overview(documents: dict[str, dict[str, Any]], folder: Path, readme: Path) -> None:
    """Write ``README.md`` and ``overview.svg`` in `folder`, and the figures in `readme`.

    Args:
        documents: From `read`.
        folder: Where the results are.
        readme: A Markdown file with the marks between which the figures go.
    """
    chosen = [
        _table(found)
        for suite, titles in _CHOSEN.items()
        for title in titles
        for found in documents[suite]["tables"]
        if found["title"] == title
    ]
    write_svg("overview", chosen, folder)
    lines = ["# All results", "", _circumstances(documents)]
    for suite, document in documents.items():
        lines += ["", f"## {suite}", "", f"[As a plot]({suite}.svg), [as JSON]({suite}.json).", ""]
        lines += [line for found in document["tables"] for line in _markdown(_table(found))]
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    before, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    figures = "\n".join(
        [_circumstances(documents), "", *(line for table in chosen for line in _markdown(table))]
    )
    readme.write_text(f"{before}{_BEGIN}{figures}{_END}{after}", encoding="utf-8")


def _table(found: dict[str, Any]) -> Table:
    return Table(
        found["title"],
        found["unit"],
        found["rounds"],
        base=found["base"],
        more_is_better=found["more_is_better"],
        note=found["note"],
    )


def _markdown(table: Table) -> list[str]:
    compared = table.base is not None
    lines = [f"**{table.title}**{f' ({table.note})' if table.note else ''}", ""]
    unit = f"{table.unit}, more is better" if table.more_is_better else table.unit
    lines += [f"| | {unit} |" + (f" ratio to {table.base} | lowest to highest |" if compared else "")]
    lines += ["|---|---:|" + ("---:|---:|" if compared else "")]
    for row in table.rows():
        line = f"| {row.contender} | {number(row.value)} |"
        if row.ratio is not None and row.low is not None and row.high is not None:
            line += f" {ratio(row.ratio)} | {ratio(row.low)} to {ratio(row.high)} |"
        lines.append(line)
    return [*lines, ""]


def _circumstances(documents: dict[str, dict[str, Any]]) -> str:
    document = next(iter(documents.values()))
    packages = ", ".join(
        f"{name} {version}" for name, version in document["packages"].items() if name != "aioproviders"
    )
    return (
        f"Taken on {document['cores']} cores of an {document['cpu']} ({document['system']}), "
        f"{document['python']}, with {packages}."
    )
