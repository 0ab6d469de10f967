"""Each example does what its README says."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program to its end."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=50,
        cwd=ROOT,
        env={**os.environ, **env},
        check=False,
    )


def test_first_provider() -> None:
    """The first example prints the free space, and the error of a path that is not there."""
    done = run(EXAMPLES / "01-first-provider/main.py")
    assert done.returncode == 0, done.stderr
    assert "GB free\nhealthy\n" in done.stdout
    assert "failed as it should: missing.usage: FileNotFoundError" in done.stdout
    assert "provider.initialized" in done.stderr


def test_health_sweep() -> None:
    """The second example sweeps, then sees the site go and come back."""
    done = run(EXAMPLES / "02-health-sweep/main.py")
    assert done.returncode == 0, done.stderr
    first, _, rest = done.stdout.partition("fleet is healthy")
    assert re.search(r"site +healthy", first)
    assert re.search(r"warehouse +error", first)
    assert re.search(r"reports +blocked", first)
    assert "warehouse" not in rest.partition("unknown")[0]
    assert "site: error -> healthy" in rest
    assert not done.stderr


@pytest.fixture
def web_app() -> Iterator[str]:
    """The URL of the third example, running."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        port, behind = one.getsockname()[1], two.getsockname()[1]
    app = subprocess.Popen(
        [sys.executable, str(EXAMPLES / "03-web-app/main.py")],
        env={**os.environ, "PORT": str(port), "QUOTES_PORT": str(behind)},
        stderr=subprocess.PIPE,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
        client.get(f"{url}/health", timeout=20)
    yield url
    app.send_signal(signal.SIGINT)
    _, log = app.communicate(timeout=20)
    assert "provider.closed" in log
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{behind}/")


def test_web_app(web_app: str) -> None:
    """The web app serves what its provider gets, says 404 and health, and closes all on Ctrl-C."""
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with httpx.Client(headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}) as client:
        assert client.get(f"{web_app}/quotes/1").json()["by"] == "E. W. Dijkstra"
        missing = client.get(f"{web_app}/quotes/99")
        assert (missing.status_code, missing.json()["trace_id"]) == (404, trace_id)
        assert client.get(f"{web_app}/health").json() == {
            "status": "healthy",
            "checks": {"quotes": "healthy"},
        }


def test_sdk_latency() -> None:
    """The fourth example prints a row for each transport, alone and under load."""
    done = run(EXAMPLES / "04-sdk-latency/main.py", REQUESTS="60")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [["aiohttp", "1"], ["httpx", "1"], ["aiohttp", "50"], ["httpx", "50"]]
    assert all(float(cell) > 0 for row in rows for cell in row[2:])


def test_own_driver(tmp_path: Path) -> None:
    """The package of the fifth example installs, is found by its name, and passes its own tests."""
    folder = EXAMPLES / "05-own-driver"
    pip = ["-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    installed = run(*pip, "--target", tmp_path, folder)
    assert installed.returncode == 0, installed.stderr
    command = ["-m", "aioproviders", "health", "-c", folder / "providers.toml", "--json"]
    swept = run(*command, PYTHONPATH=str(tmp_path))
    assert swept.returncode == 0, swept.stderr
    assert '"healthy"' in swept.stdout
    tests = run("-m", "pytest", "-p", "no:cacheprovider", "-q", folder / "tests", PYTHONPATH=str(tmp_path))
    assert tests.returncode == 0, tests.stdout
    assert " passed" in tests.stdout


def test_deploying_processes() -> None:
    """The sixth example rolls out under load and no request fails; a bad version is rolled back."""
    done = run(EXAMPLES / "06-deploying-processes/main.py")
    assert done.returncode == 0, done.stderr
    deployed, updated, *_ = done.stdout.splitlines()
    assert deployed == "healthy: 2 updated, 2 available of 2"
    assert updated == "healthy: version 2.0.0; meanwhile:"
    answers = re.findall(r"^    (.*from.*)$", done.stdout, re.MULTILINE)
    assert answers == ["good day from 1.0.0", "good day from 2.0.0"]
    assert re.search(r"^rolled_back: .*\n    KeyError: 'GREETING'$", done.stdout, re.MULTILINE)
    assert re.search(r"^\* \d 2\.0\.0 ", done.stdout, re.MULTILINE)
