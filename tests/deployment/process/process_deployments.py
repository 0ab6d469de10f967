"""Deployments of processes for tests, each in the test's own folder; and asking what they serve."""

import contextlib
import socket
import sys
from pathlib import Path

import anyio

from aioproviders.deployment.process import ProcessDeploymentConfig

VERSIONED = Path(__file__).parents[1] / "apps" / "versioned.py"
BINDING = Path(__file__).with_name("apps") / "binding.py"
READY = (
    "import os, socket\n"
    "socket.socket(1, 2).sendto(b'READY=1', os.environ['NOTIFY_SOCKET'].replace('@', chr(0), 1))\n"
)


def make_config(folder, port, version="1.0.0", **changes):
    """Make a config of the versioned service, two of it, with little patience."""
    return ProcessDeploymentConfig(
        **{
            "name": "shop",
            "version": version,
            "replicas": 2,
            "command": [sys.executable, "-IS", str(VERSIONED), "{version}"],
            "ports": [{"port": port}] if port else [],
            "readiness_probe": {"kind": "notify"},
            "state_directory": folder / "state",
            "stop_timeout_ms": 5000,
            "rollout_timeout_ms": 20_000,
            "rollback_timeout_ms": 20_000,
            "restart_backoff_initial_ms": 20,
            "restart_backoff_max_ms": 50,
            **changes,
        }
    )


def python(code="signal.pause()", *, first=""):
    """Return the command of some Python: what it does first, and what when it has said it is ready."""
    return [sys.executable, "-ISc", f"import os, signal, sys\n{first}\n{READY}\n{code}"]


def gated(gate):
    """Return the command of a program that ends with code 4 while `gate` does not exist."""
    return python(first=f"if not os.path.exists({str(gate)!r}): sys.exit(4)")


async def get(port, host="127.0.0.1"):
    """Ask what is served, and return the answer's body."""
    stream = await anyio.connect_tcp(host, port)
    async with stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n")
        answer = b""
        with contextlib.suppress(anyio.EndOfStream):
            while True:
                answer += await stream.receive()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), answer
    return body.decode()


async def until(holds):
    """Wait until an async condition holds, and return what it returned."""
    with anyio.fail_after(30):
        while not (answer := await holds()):  # noqa: ASYNC110 - processes have no event for it
            await anyio.sleep(0.02)
        return answer


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


async def until_gone(pids):
    """Wait until none of these processes runs any more."""

    async def gone():
        return not any(map(alive, pids))

    await until(gone)


def listens(port):
    """Whether anything listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


__all__ = [
    "BINDING",
    "VERSIONED",
    "alive",
    "gated",
    "get",
    "listens",
    "make_config",
    "python",
    "until",
    "until_gone",
]
