"""The benchmark of rollouts runs, and leaves its figures behind."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Seconds: what takes half a minute on two idle cores takes longer on busy ones.
pytestmark = pytest.mark.timeout(240, func_only=True)


@pytest.mark.usefixtures("control_plane")
def test_rollouts_are_compared(tmp_path):
    """No request is lost in a rollout; each contender rolled out, ours with at most ten requests."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "rollouts", "--quick", "--output", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lost, slowest, healthy, requests, watches = json.loads((tmp_path / "rollouts.json").read_text())["tables"]
    assert [row["value"] for row in lost["rows"]] == [0, 0, 0]
    assert {row["contender"]: row["ratio"] for row in slowest["rows"]}["no update"] == 1
    contenders = [row["contender"] for row in healthy["rows"]]
    assert [row["contender"] for row in requests["rows"]] == contenders
    assert all(row["value"] > 0 for row in healthy["rows"])
    ours = [row["value"] for row in requests["rows"] if row["contender"].startswith("aioproviders")]
    assert len(ours) == 2
    assert max(ours) <= 10
    assert all(row["value"] >= 1 for row in watches["rows"])
