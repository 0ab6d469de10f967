"""Starting the process of one replica."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import Process

from aioproviders.deployment.config import Probe
from aioproviders.deployment.process.config import ProcessLimits
from aioproviders.deployment.process.guardian import Guardian
from aioproviders.deployment.process.sockets import ReplicaSockets
from aioproviders.errors import ConfigurationError

__all__ = ["Launch", "start"]

_LAUNCHER = Path(__file__).with_name("launcher.py")
_MIB = 1024 * 1024
_LONGEST_REPORT = 4096
_OF_THE_SUPERVISOR = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET")
"""Variables that tell one process of what it alone was given (sd_listen_fds(3), sd_notify(3))."""


@dataclass(frozen=True)
class Launch:
    """What to start.

    Attributes:
        name: The replica's name.
        version: The release's version.
        revision: The release's revision.
        argv: Program and arguments.
        env: The whole of its environment, but for what its sockets add.
        directory: Where it runs; None for here.
        limits: What it may use.
        readiness: Whether it can serve.
        liveness: Whether it should be ended.
        startup: Keeps the other two waiting.
        stop_timeout: Seconds from SIGTERM to SIGKILL.
    """

    name: str
    version: str
    revision: int
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    limits: ProcessLimits = field(default_factory=ProcessLimits)
    readiness: Probe | None = None
    liveness: Probe | None = None
    startup: Probe | None = None
    stop_timeout: float = 30.0

    @property
    def http_probe(self) -> Probe | None:
        """The first of its probes that asks by HTTP; None where none does."""
        probes = (self.readiness, self.liveness, self.startup)
        return next((probe for probe in probes if probe is not None and probe.kind == "http"), None)


async def start(
    launch: Launch, sockets: ReplicaSockets, guardian: Guardian, notify_socket: str | None = None
) -> Process:
    """Start it, in a session and process group of its own, which is in the guardian's care then.

    It ends with the thread that runs the event loop, as the kernel tells it of that thread's end
    (prctl(2), ``PR_SET_PDEATHSIG``).

    Returns:
        The process; standard output and standard error are pipes.

    Raises:
        ConfigurationError: It can't be started; says why.
    """
    told, report = os.pipe()
    try:
        try:
            process = await _open(launch, sockets, guardian, notify_socket, report)
        finally:
            os.close(report)
        try:
            await anyio.wait_readable(told)
            problem = os.read(told, _LONGEST_REPORT).decode(errors="replace")
            if problem:
                raise ConfigurationError(f"can't be started: {problem}")
        except BaseException:
            await _end(process, guardian)
            raise
    finally:
        os.close(told)
    return process


async def _end(process: Process, guardian: Guardian) -> None:
    """Kill what was started; it may have become the program by now, with children of its own."""
    with anyio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.aclose()
    guardian.remove(process.pid)


async def _open(
    launch: Launch, sockets: ReplicaSockets, guardian: Guardian, notify_socket: str | None, report: int
) -> Process:
    descriptors = [item.fileno() for _, item in sockets.handed]
    own = {name: value for name, value in launch.env.items() if name not in _OF_THE_SUPERVISOR}
    env = {**sockets.env, **own}
    if notify_socket is not None:
        env["NOTIFY_SOCKET"] = notify_socket
    plan = {
        "argv": launch.argv,
        "env": env,
        "directory": None if launch.directory is None else os.fspath(launch.directory),
        "descriptors": descriptors,
        "names": [name for name, _ in sockets.handed],
        "memory": launch.limits.memory_mib and launch.limits.memory_mib * _MIB,
        "open_files": launch.limits.open_files,
        "parent": os.getpid(),
        "report": report,
    }
    # Shielded, as asyncio leaves a process and its pipes behind where this is cancelled half-way.
    with anyio.CancelScope(shield=True):
        process = await anyio.open_process(
            [sys.executable, "-IS", os.fspath(_LAUNCHER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Its own has nothing of ours, and nothing of the replica's, whose variables may be secret.
            env={"LC_ALL": "C.UTF-8"},
            start_new_session=True,
            pass_fds=(*descriptors, report),
        )
    # Before it gets its plan: what the program starts is in a group that the guardian knows already.
    guardian.add(process.pid)
    try:
        assert process.stdin is not None  # noqa: S101 - it is a pipe
        await process.stdin.send(json.dumps(plan).encode())
        await process.stdin.aclose()
    except BaseException as error:
        await _end(process, guardian)
        if isinstance(error, anyio.BrokenResourceError):
            raise ConfigurationError("can't be started: its launcher ended at once") from error
        raise
    return process
