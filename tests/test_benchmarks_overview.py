"""What the README says of speed is what the results that are kept say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
WRITE = """
import sys
from pathlib import Path
from benchmarks import overview
from benchmarks.__main__ import SUITES

results, folder, readme = map(Path, sys.argv[1:])
overview.write_overview(overview.read(results, SUITES), folder, readme)
"""


def write_overview(results: Path, folder: Path, readme: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WRITE, str(results), str(folder), str(readme)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_readme_has_the_figures_of_the_results(tmp_path):
    """The README and the list of all results are what comes of the results kept, figure by figure."""
    readme = tmp_path / "copy.md"
    readme.write_text((ROOT / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    done = write_overview(RESULTS, tmp_path, readme)
    assert done.returncode == 0, done.stderr
    assert readme.read_text(encoding="utf-8") == (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("README.md", "overview.svg"):
        written = (tmp_path / name).read_text(encoding="utf-8")
        if name.endswith(".md"):
            assert written == (RESULTS / name).read_text(encoding="utf-8")
        assert "aioproviders, everything on" in written


@pytest.mark.parametrize("kept", [None, '{"quick": true}'])
def test_figures_of_no_full_run_are_refused(kept, tmp_path):
    """Results that are missing, or of a quick run, are not put into the README."""
    readme = tmp_path / "README.md"
    readme.write_text("as it was")
    if kept:
        (tmp_path / "calls.json").write_text(kept)
    done = write_overview(tmp_path, tmp_path, readme)
    assert "run python -m benchmarks calls" in done.stderr
    assert readme.read_text() == "as it was"


COMPARED = """
from benchmarks.results import Table

some = Table("calls", "a second", {"base": [0.0, 2.0], "other": [3.0, 4.0]}, base="base")
none = Table("calls", "a second", {"base": [0.0], "other": [3.0]}, base="base")
print([row.ratio for row in (*some.rows(), *none.rows())])
"""


def test_nothing_is_no_multiple_of_nothing():
    """A round in which what is compared with did nothing is left out; where that is all, so is the ratio."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[1.0, 2.0, None, None]\n"
