"""What all tests may use."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, settings

from aioproviders.testing.faults import FaultServer


def pytest_configure():
    """Let signals end the processes that tests start: a shell's background jobs and nohup ignore some."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Times say nothing of a busy machine's examples; a test that hangs has its time limit.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _structlog_as_it_was():
    """No test leaves a configuration of structlog behind; capturing logs makes one, too."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def fault_server_process():
    """One fault server for this worker's whole run."""
    with FaultServer() as server:
        yield server


@pytest.fixture
async def fault_server(fault_server_process):
    """A running fault server that has seen nothing yet."""
    if not fault_server_process.running:  # a test killed it
        await fault_server_process.start()
    await fault_server_process.reset()
    return fault_server_process


@pytest.fixture(scope="session")
def httpbin_url():
    """URL of an httpbin in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "httpbin", "run", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{url}/status/200", timeout=5)
                break
            except httpx.TransportError:
                assert process.poll() is None, "httpbin did not start"
                assert time.monotonic() < until, "httpbin does not answer"
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def counted(monkeypatch):
    """Count the calls of a function or method from here on."""

    def count(owner, name):
        seen = []
        original = getattr(owner, name)

        def counting(*args, **kwargs):
            seen.append((args, kwargs))
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)
        return seen

    return count


@pytest.fixture
def free_port():
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
