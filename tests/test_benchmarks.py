"""The benchmarks run, and say what they measured."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run(*names: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *names], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_calls() -> None:
    """The cost of a call is printed as a ratio, a line a contender."""
    done = run("calls")
    assert done.returncode == 0, done.stderr
    rows = [line.rsplit(maxsplit=2) for line in done.stdout.splitlines()[2:]]
    assert ["tenacity's decorator", "1.00"] in [[name, ratio] for name, _, ratio in rows]
    assert len(rows) == 5


def test_an_unknown_benchmark() -> None:
    """A name that is none is refused, and the names there are, are told."""
    done = run("calls", "cals")
    assert (done.returncode, done.stderr) == (2, "no benchmark cals; there are calls, sweeps\n")
