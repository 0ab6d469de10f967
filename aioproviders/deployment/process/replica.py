"""One process of a release, from its start to its end."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

import anyio
from anyio.abc import ByteReceiveStream, Process, TaskGroup
from anyio.lowlevel import checkpoint

from aioproviders.deployment.config import Probe
from aioproviders.deployment.models import Instance
from aioproviders.deployment.process.groups import group_lives, kill_group, reap_group
from aioproviders.deployment.process.guardian import Guardian
from aioproviders.deployment.process.launching import Launch, start
from aioproviders.deployment.process.notification import notifications
from aioproviders.deployment.process.output import ReplicaOutput
from aioproviders.deployment.process.probes import ask, keep_asking
from aioproviders.deployment.process.sockets import ReplicaSockets
from aioproviders.errors import ConfigurationError
from aioproviders.redaction import describe

__all__ = ["Replica", "ReplicaPhase"]

_PATIENCE = 2.0
"""Seconds for what a killed process leaves to be done: its last output, its entry in the process table."""
_PAUSE = 0.02
_CHUNK = 4096

Messages = Callable[[], AsyncIterator[dict[str, str]]]


class ReplicaPhase(StrEnum):
    """Where a replica stands."""

    STARTING = "starting"
    """Not ready yet."""
    READY = "ready"
    UNREADY = "unready"
    """Was ready, and no longer is."""
    STOPPING = "stopping"
    ENDED = "ended"


class Replica:
    """One process, started once; who wants it anew makes another.

    Args:
        launch: What to start.
        sockets: What it listens on; those that are its alone are closed with it.
        output: Takes what it writes.
        guardian: Ends its process group if the supervisor has gone.
        on_change: Called with this when something about it has changed.

    Attributes:
        launch: What was started.
        output: What it has written.
        pid: Its process id, and its group's; None before the start.
        phase: Where it stands.
        reason: In a word why it is not ready or has ended: ``StartFailed``, ``ProbeFailed``,
            ``LivenessFailed``, ``StopTimeout``, ``Exited``, ``Signaled``, ``Killed``,
            ``SupervisorFailed``; None where nothing is wrong.
        message: The same in one line.
        exit_code: Its exit code, negative for a signal; None before the end.
        started_at: When it was started.
        ready_since: Since when it is ready, in seconds of `anyio.current_time`; None where it is not.
    """

    def __init__(
        self,
        launch: Launch,
        sockets: ReplicaSockets,
        output: ReplicaOutput,
        guardian: Guardian,
        on_change: Callable[[Replica], None],
    ) -> None:
        self.launch = launch
        self.output = output
        self.pid: int | None = None
        self.phase = ReplicaPhase.STARTING
        self.reason: str | None = None
        self.message = ""
        self.exit_code: int | None = None
        self.started_at: datetime | None = None
        self.ready_since: float | None = None
        self._sockets = sockets
        self._guardian = guardian
        self._on_change = on_change
        self._killed = False
        self._told_ready = anyio.Event()
        self._stop_asked = anyio.Event()

    @property
    def name(self) -> str:
        """The replica's name."""
        return self.launch.name

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where it alone serves, ``host:port`` each; none where replicas share their ports."""
        return self._sockets.endpoints

    def instance(self) -> Instance:
        """Return how it is, as data."""
        return Instance(
            name=self.name,
            version=self.launch.version,
            revision=self.launch.revision,
            phase=self.phase,
            ready=self.phase is ReplicaPhase.READY,
            reason=self.reason,
            address=next(iter(self.endpoints), None),
            pid=None if self.phase is ReplicaPhase.ENDED else self.pid,
            started_at=self.started_at,
        )

    async def run(self) -> None:
        """Start it, take its output, probe it, until it has ended and nothing of its group is left.

        Failures are told in `reason`. Cancelled, it kills the process group first.
        """
        try:
            async with AsyncExitStack() as stack:
                path: str | None = None
                messages: Messages | None = None
                if any(_is_notify(probe) for probe in (self.launch.readiness, self.launch.startup)):
                    path, messages = await stack.enter_async_context(notifications())
                if not self._stop_asked.is_set():
                    process = await start(self.launch, self._sockets, self._guardian, path)
                    await self._accompany(process, messages)
        except (ConfigurationError, OSError) as error:
            told = error.message if isinstance(error, ConfigurationError) else error.strerror or str(error)
            self.reason, self.message = "StartFailed", told
        except Exception as error:  # noqa: BLE001 - whatever it is, the others run on
            self.reason, self.message = "SupervisorFailed", describe(error)
        finally:
            self._sockets.close()
            self.output.flush()
            self.ready_since = None
            if self.reason in (None, "ProbeFailed") and self.exit_code is not None:
                self.reason, self.message = self._end(self.exit_code)
            self.phase = ReplicaPhase.ENDED
            self._on_change(self)

    def stop(self) -> None:
        """Let it end: SIGTERM to the process, which may finish what it has begun; in the end SIGKILL to all.

        `run` returns when nothing of it is left.
        """
        self._stop_asked.set()

    def kill(self) -> None:
        """End it at once, and all of its process group."""
        self._killed = True
        self._stop_asked.set()
        if self.pid is not None and self.exit_code is None:
            kill_group(self.pid)

    async def _accompany(self, process: Process, messages: Messages | None) -> None:
        self.pid, self.started_at = process.pid, datetime.now(UTC)
        try:
            self._on_change(self)
            if self._killed:  # while it was being started
                kill_group(process.pid)
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(self._pump, process, task_group)
                task_group.start_soon(self._end_when_asked, process, task_group)
                if messages is not None:
                    task_group.start_soon(self._listen, messages)
                task_group.start_soon(self._look_after)
        finally:
            await self._bury(process)

    async def _pump(self, process: Process, task_group: TaskGroup) -> None:
        """Take its output until it has ended, and then end what else this replica has going on."""
        async with anyio.create_task_group() as readers:
            for stream, source in (("stdout", process.stdout), ("stderr", process.stderr)):
                assert source is not None  # noqa: S101 - both are pipes
                readers.start_soon(self._read, stream, source)
            await process.wait()
            kill_group(process.pid)
            # What has left the group may hold the pipes open for ever.
            readers.cancel_scope.deadline = anyio.current_time() + _PATIENCE
        task_group.cancel_scope.cancel()

    async def _read(self, stream: str, source: ByteReceiveStream) -> None:
        # Not all that there is: taking it line by line, nothing else would go on for as long.
        with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
            while True:
                self.output.write(stream, await source.receive(_CHUNK))
                await checkpoint()

    async def _end_when_asked(self, process: Process, task_group: TaskGroup) -> None:
        await self._stop_asked.wait()
        self.ready_since = None
        self.phase = ReplicaPhase.STOPPING
        self._on_change(self)
        if process.returncode is None:
            # Not by `Popen.send_signal`, which may reap the process, and whoever waits for it then gets no
            # exit code but 255.
            with suppress(ProcessLookupError, PermissionError):  # it may have become another user's
                os.kill(process.pid, signal.SIGTERM)
        timeout = self.launch.stop_timeout
        await anyio.sleep(timeout)
        if self.reason != "LivenessFailed":
            self.reason, self.message = "StopTimeout", f"killed: it went on for {timeout:g} s after SIGTERM"
        kill_group(process.pid)
        await anyio.sleep(_PATIENCE)
        self.message = f"it went on for {timeout:g} s after SIGTERM, and could not be killed"
        task_group.cancel_scope.cancel()

    async def _bury(self, process: Process) -> None:
        """Kill what is left of its group, and wait until that has gone."""
        with anyio.move_on_after(_PATIENCE, shield=True):
            kill_group(process.pid)
            await process.wait()
            while group_lives(process.pid):
                reap_group(process.pid)
                await anyio.sleep(_PAUSE)
        self.exit_code = process.returncode
        with anyio.move_on_after(_PATIENCE, shield=True):
            await process.aclose()
        if not group_lives(process.pid):
            self._guardian.remove(process.pid)

    @staticmethod
    def _end(code: int) -> tuple[str, str]:
        if code >= 0:
            return "Exited", f"exit code {code}"
        with suppress(ValueError):
            return (
                "Killed" if -code == signal.SIGKILL else "Signaled",
                f"ended by {signal.Signals(-code).name}",
            )
        return "Signaled", f"ended by signal {-code}"

    # What makes it ready, and what doesn't.

    async def _listen(self, messages: Messages) -> None:
        async for message in messages():
            if message.get("READY") == "1":
                self._told_ready.set()
            if "STATUS" in message and self.phase is ReplicaPhase.STARTING:
                self.message = message["STATUS"]
                self._on_change(self)

    async def _look_after(self) -> None:
        """Ask the startup probe until it is well once; then the other two for as long as it runs."""
        startup, readiness, liveness = self.launch.startup, self.launch.readiness, self.launch.liveness
        if startup is not None:
            await self._started(startup)
        async with anyio.create_task_group() as task_group:
            if liveness is not None:
                task_group.start_soon(keep_asking, liveness, self._question(liveness), self._on_liveness)
            if _is_notify(readiness):
                await self._told_ready.wait()
            elif readiness is not None:
                task_group.start_soon(keep_asking, readiness, self._question(readiness), self._on_readiness)
                return
            self._on_readiness(None)

    async def _started(self, probe: Probe) -> None:
        if _is_notify(probe):
            await self._told_ready.wait()
            return
        async with anyio.create_task_group() as task_group:

            def tell(problem: str | None) -> None:
                if problem is None:
                    task_group.cancel_scope.cancel()
                else:
                    self._on_liveness(problem)

            task_group.start_soon(keep_asking, probe, self._question(probe), tell)

    def _question(self, probe: Probe) -> Callable[[], Awaitable[str | None]]:
        address = self._sockets.address_of(probe.port)
        return partial(ask, probe, self.launch, address, self._guardian)

    def _on_readiness(self, problem: str | None) -> None:
        if self.phase is ReplicaPhase.STOPPING:
            return
        if problem is None:
            self.phase, self.reason, self.message = ReplicaPhase.READY, None, ""
            self.ready_since = anyio.current_time()
        else:
            if self.phase is ReplicaPhase.READY:
                self.phase = ReplicaPhase.UNREADY
            self.reason, self.message, self.ready_since = "ProbeFailed", problem, None
        self._on_change(self)

    def _on_liveness(self, problem: str | None) -> None:
        if problem is not None and not self._stop_asked.is_set():
            self.reason, self.message = "LivenessFailed", problem
            self._stop_asked.set()


def _is_notify(probe: Probe | None) -> bool:
    return probe is not None and probe.kind == "notify"
