"""The benchmarks run, and say what they measured."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROOT = Path(__file__).parent.parent
# Seconds: what takes half a minute on two idle cores takes longer on busy ones.
pytestmark = pytest.mark.timeout(240)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def measured(suite: str, folder: Path) -> dict[str, dict[str, list[float]]]:
    """Run a suite, and return its tables' rounds, by the tables' titles."""
    done = run(suite, "--quick", "--output", str(folder))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads((folder / f"{suite}.json").read_text())
    return {table["title"]: table["rounds"] for table in document["tables"]}


def test_calls_and_what_a_run_leaves_behind(tmp_path) -> None:
    """A suite prints its tables, and writes them as JSON with every round, and as an SVG."""
    done = run("calls", "--quick", "--output", str(tmp_path))
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "calls.json").read_text())
    assert document["packages"]["anyio"]
    assert [table["title"] for table in document["tables"]] == [
        "One call that does not fail, asyncio",
        "One call that does not fail, uvloop",
        "100 calls at a time, asyncio",
        "100 calls at a time, uvloop",
    ]
    for table in document["tables"]:
        base = next(row for row in table["rows"] if row["contender"] == table["base"])
        assert (base["ratio"], base["low"], base["high"]) == (1, 1, 1)
        assert [row["contender"] for row in table["rows"]] == [
            "the coroutine itself",
            "anyio.fail_after",
            "stamina's decorator",
            "tenacity's decorator",
            "the same parts by hand",
            "aioproviders, defaults",
            "aioproviders, everything on",
        ]
        for row in table["rows"]:
            assert len(table["rounds"][row["contender"]]) > 1
            assert row["contender"] in done.stdout
    assert ET.parse(tmp_path / "calls.svg").getroot().tag.endswith("svg")


def test_an_unknown_benchmark() -> None:
    """A name that is none is refused, and the names there are, are told."""
    done = run("calls", "cals")
    assert done.returncode == 2
    assert "no benchmark cals; there are calls, http, sweeps, startup, failures" in done.stderr


def test_sweeps(tmp_path) -> None:
    """A sweep has all that is well in spite of what hangs, and a crowd of readers causes one probe."""
    tables = measured("sweeps", tmp_path)
    for size in ("100", "1,000", "10,000"):
        assert {"bare asyncio.gather", "aioproviders' sweep"} <= tables[
            f"A sweep of {size} checks of 1 ms"
        ].keys()
    good = tables["20 checks of which 10 hang: good checks in the report"]
    assert set(good["aioproviders' sweep"]) == {10}
    probes = tables["1,000 readers, a check of 50 ms: probes"]
    assert set(probes.pop("every reader checks by itself")) == {1000}
    assert set(probes.pop("aioproviders: snapshot(), no check")) == {0}
    assert {name: set(counts) for name, counts in probes.items()} == {
        "aioproviders: snapshot(), a check": {1},
        "aioproviders: health(), too old": {1},
        "aioproviders: health(), unknown": {1},
    }


def test_failures(tmp_path) -> None:
    """A dead backend is left alone, and cancelled calls leave nothing behind."""
    tables = measured("failures", tmp_path)
    for title in (
        "A backend that answers 503: requests that reached it, with budget and breaker",
        "A backend that refuses connections: attempts, with budget and breaker",
    ):
        assert 0 < median(tables[title]["aioproviders, while the breaker is closed"]) <= 1.2
        assert median(tables[title]["aioproviders, after it opened"]) < 0.1
    left = tables["What cancelled calls leave behind"]
    ours = {name: set(counts) for name, counts in left.items() if name.startswith("aioproviders")}
    assert len(ours) == 12
    assert set.union(*ours.values()) == {0}


def test_an_interrupted_run_says_so_in_a_word(tmp_path) -> None:
    """Ctrl-C ends a run with one word and 130, and the servers that it started with it."""
    command = [sys.executable, "-m", "benchmarks", "http", "--output", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        # The first table is out: a server is up, and clients are at work.
        while "┃" not in process.stdout.readline():
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["calls", "--output", "/proc/nope"], "--output /proc/nope should be a folder that can be written"),
        (["--readme", "--quick"], "--readme measures nothing: it goes alone"),
    ],
)
def test_what_can_not_be_is_refused(arguments, wrong) -> None:
    """A folder that can't be written and options that don't go together are one line, and 2."""
    done = run(*arguments)
    assert done.returncode == 2
    assert wrong in done.stderr
    assert "Traceback" not in done.stderr
