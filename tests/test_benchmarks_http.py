"""The benchmark of HTTP requests measures everybody, loses no request, and leaves no process behind."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent
# Seconds: what takes half a minute on two idle cores takes longer on busy ones.
pytestmark = pytest.mark.timeout(240)
CONTENDERS = {
    "aioproviders, everything on",
    "aiohttp",
    "httpx",
    "httpx over aiohttp",
    "httpx and stamina",
    "azure-core",
    "openai's client",
    "sync httpx in threads",
}
SERVER = str(Path("benchmarks/http/server.py"))


def start(folder: Path) -> psutil.Popen:
    return psutil.Popen(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "benchmarks",
            "http",
            "--quick",
            "--output",
            str(folder),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def server_of(suite: psutil.Popen) -> psutil.Process:
    """Wait until the suite has its server, and return that."""
    while suite.poll() is None:
        for child in suite.children():
            # Between fork and exec it is still called as its parent is.
            if (child.cmdline() or [""])[-1].endswith(SERVER):
                return child
        with suppress(psutil.TimeoutExpired):
            suite.wait(0.02)
    raise AssertionError(suite.stderr.read())


def test_a_quick_run(tmp_path) -> None:
    """Everybody is measured, the server counted the requests they made, and it ends with the run."""
    with start(tmp_path) as suite:
        server = server_of(suite)
        _, errors = suite.communicate()
        assert (suite.returncode, errors) == (0, "")
        assert not server.is_running()
    *tables, requests = json.loads((tmp_path / "http.json").read_text())["tables"]
    assert tables
    for table in tables:
        assert set(table["rounds"]) == CONTENDERS
        assert all(value > 0 for values in table["rounds"].values() for value in values)
    counts = {name: value for name, (value,) in requests["rounds"].items()}
    counted, given_up = counts.pop("counted by the server"), counts.pop("given up")
    assert set(counts) == CONTENDERS
    assert given_up == 0
    assert sum(counts.values()) == counted


def test_a_killed_run(tmp_path) -> None:
    """The server ends with the process that started it, even where that is killed."""
    with start(tmp_path) as suite:
        server = server_of(suite)
        suite.kill()
        gone, left = psutil.wait_procs([server], timeout=10)
        assert (gone, left) == ([server], [])
