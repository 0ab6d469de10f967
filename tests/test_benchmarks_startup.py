"""The benchmark of the start runs, and leaves its figures behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Seconds: what takes half a minute on two idle cores takes longer on busy ones.
pytestmark = pytest.mark.timeout(240)


def test_imports_processes_and_registries_are_compared(tmp_path):
    """There are tables of imports, of processes, and of starting and closing, each with its base."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks", "startup", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "startup.json").read_text())["tables"]
    contenders = [[row["contender"] for row in table["rows"]] for table in tables]
    imports, processes, quick, waiting = contenders
    assert "import aioproviders" in imports
    assert {"aioproviders --help", "aioproviders health, three providers"} < set(processes)
    assert quick == waiting
    assert "aioproviders' registry, 10 chains" in quick
    for table in tables:
        assert {row["contender"]: row["ratio"] for row in table["rows"]}[table["base"]] == 1
        assert all(value > 0 for values in table["rounds"].values() for value in values)
