"""Replicas for tests: of small programs, in the test's own folder."""

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from aioproviders.deployment import Port
from aioproviders.deployment.process.guardian import Guardian
from aioproviders.deployment.process.launching import Launch
from aioproviders.deployment.process.output import ReplicaOutput
from aioproviders.deployment.process.replica import Replica
from aioproviders.deployment.process.sockets import Sockets

VERSIONED = str(Path(__file__).parents[1] / "apps" / "versioned.py")


def python(code):
    """Return the command that runs a few lines of Python."""
    return (sys.executable, "-ISc", code)


def versioned(version):
    """Return the command of the versioned service."""
    return (sys.executable, "-IS", VERSIONED, version)


class Workshop:
    """Makes replicas that share their sockets."""

    def __init__(self, folder, sockets):
        self.folder, self.sockets = folder, sockets
        self.guardian = Guardian()
        self.changes = []
        self._changed = anyio.Event()

    def replica(self, argv, **launch):
        """Make a replica of a command."""
        plan = Launch("shop-1-0", "1.0", 1, tuple(argv), **{"env": {"PATH": os.environ["PATH"]}, **launch})
        output = ReplicaOutput(self.folder / "logs", plan.name, 10_000, 1)
        return Replica(plan, self.sockets.for_replica(plan.http_probe), output, self.guardian, self._change)

    def _change(self, replica):
        self.changes.append((str(replica.phase), replica.reason))
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition):
        """Wait until something holds, looked at whenever a replica changes."""
        with anyio.fail_after(20):
            while not condition():
                await self._changed.wait()

    @asynccontextmanager
    async def running(self, replica, *, ready=True):
        """Run a replica until the block ends; it is then stopped, and has ended."""
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(replica.run)
            try:
                await self.until(lambda: replica.ready_since is not None if ready else replica.pid)
                yield replica
            finally:
                replica.stop()
                with anyio.CancelScope(shield=True), anyio.fail_after(20):
                    await self.until(lambda: replica.phase == "ended")
        replica.output.close()


@asynccontextmanager
async def workshop(folder, port, mode="inherit"):
    """Open a workshop; its sockets and its guardian are gone at the end."""
    sockets = Sockets.bind("127.0.0.1", [Port(port=port)], mode)
    shop = Workshop(folder, sockets)
    try:
        await shop.guardian.start()
        yield shop
    finally:
        await shop.guardian.stop()
        sockets.close()


async def request(port):
    """Return the body of what is served on the port."""
    stream = await anyio.connect_tcp("127.0.0.1", port)
    async with stream:
        await stream.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        content = b""
        try:
            while True:
                content += await stream.receive()
        except anyio.EndOfStream:
            return content.partition(b"\r\n\r\n")[2].decode()


async def first_line(replica):
    """Wait for the first line that a replica writes."""
    with anyio.fail_after(20):
        while not replica.output.tail(1):  # noqa: ASYNC110 - it may have been written before one could follow
            await anyio.sleep(0.01)
    return replica.output.tail(1)[0].text


def descriptors():
    """Return the descriptors that this process has open."""
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def alive(pid):
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until_gone(pid):
    """Wait until a process has ended."""
    with anyio.fail_after(10):
        while alive(pid):  # noqa: ASYNC110 - it is not a child of this process
            await anyio.sleep(0.01)
