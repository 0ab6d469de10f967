"""The benchmarks run, and say what they measured."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_a_run_leaves_behind(tmp_path) -> None:
    """A suite prints its tables, and writes them as JSON with every round, and as an SVG."""
    done = run("calls", "--quick", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "calls.json").read_text())
    assert document["packages"]["anyio"]
    (table, *_) = document["tables"]
    base = next(row for row in table["rows"] if row["contender"] == table["base"])
    assert (base["ratio"], base["low"], base["high"]) == (1, 1, 1)
    for row in table["rows"]:
        assert len(table["rounds"][row["contender"]]) > 1
        assert row["contender"] in done.stdout
    assert ET.parse(tmp_path / "calls.svg").getroot().tag.endswith("svg")


def test_an_unknown_benchmark() -> None:
    """A name that is none is refused, and the names there are, are told."""
    done = run("calls", "cals")
    assert done.returncode == 2
    assert "no benchmark cals; there are calls, http, sweeps, startup, failures" in done.stderr
