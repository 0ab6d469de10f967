"""One place of a deployment: a process, started anew whenever it ends, for ever."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import anyio

from aioproviders.deployment.models import Instance
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.environment import prepare
from aioproviders.deployment.process.guardian import Guardian
from aioproviders.deployment.process.output import ReplicaOutput
from aioproviders.deployment.process.replica import Replica, ReplicaPhase
from aioproviders.deployment.process.sockets import Sockets
from aioproviders.errors import ProviderError

__all__ = ["Member"]

_EVENTS_KEPT = 20


class Member:
    """Keeps one replica running.

    Args:
        name: The instance's name.
        index: Its number among those of its release.
        revision: The release's number.
        config: What it is started with.
        sockets: Returns what it listens on; may raise `ProviderError`.
        guardian: Ends its processes if the supervisor has gone.
        output: Takes what it writes; closed with it.
        on_change: Called when something about it has changed.
        on_process: Called with its name and the process that it has now; None for no longer any.

    Attributes:
        revision: The release it belongs to now.
        config: That release's config.
        outdated: Whether it is to be replaced though its release is the current one.
        stopping: Whether it is on its way out.
        restarts: How often it was started anew.
        ends: How often in a row it has ended soon after its start.
        events: The last things that happened to it, a line each, oldest first.
        problem: Why it could not even be tried to start it.
    """

    def __init__(  # noqa: PLR0913 - a member is all of this
        self,
        name: str,
        index: int,
        revision: int,
        config: ProcessDeploymentConfig,
        *,
        sockets: Callable[[], Sockets],
        guardian: Guardian,
        output: ReplicaOutput,
        on_change: Callable[[], None],
        on_process: Callable[[str, int | None], None],
    ) -> None:
        self.name, self.index = name, index
        self.revision, self.config = revision, config
        self.output = output
        self.outdated = self.stopping = False
        self.restarts = self.ends = 0
        self.events: deque[str] = deque(maxlen=_EVENTS_KEPT)
        self.problem: str | None = None
        self._sockets, self._guardian = sockets, guardian
        self._on_change, self._on_process = on_change, on_process
        self._replica: Replica | None = None
        self._last: Replica | None = None
        self._stop_asked = anyio.Event()

    async def run(self) -> None:
        """Run until `stop` or cancellation; the process is gone then."""
        try:
            while not self.stopping:
                began = anyio.current_time()
                await self._run_once()
                if self.stopping:
                    break
                ran = (anyio.current_time() - began) * 1000
                self.ends = 1 if ran >= self.config.crash_loop_window_ms else self.ends + 1
                self._on_change()
                with anyio.move_on_after(self._backoff):
                    await self._stop_asked.wait()
                self.restarts += not self.stopping
        finally:
            self.output.close()

    async def _run_once(self) -> None:
        try:
            launch, own = prepare(self.config, self.name, self.index, self.revision, self._sockets())
        except (ProviderError, OSError) as error:  # no descriptors left, for one
            told = error.message if isinstance(error, ProviderError) else error.strerror or str(error)
            self.problem = told
            self.note(f"could not be started: {told}")
            return
        self.problem = None
        self._replica = replica = Replica(launch, own, self.output, self._guardian, self._look)
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(self._stop_when_asked, replica)
            # Stopped, not cancelled: it shall drain.
            with anyio.CancelScope(shield=True):
                await replica.run()
            task_group.cancel_scope.cancel()
        self._replica, self._last = None, replica
        self._on_process(self.name, None)

    async def _stop_when_asked(self, replica: Replica) -> None:
        try:
            await self._stop_asked.wait()
        finally:
            replica.stop()

    def _look(self, replica: Replica) -> None:
        self._on_process(self.name, None if replica.phase is ReplicaPhase.ENDED else replica.pid)
        told = (replica.phase, replica.reason, replica.message)
        self.note(": ".join(filter(None, told)))
        self._on_change()

    def stop(self) -> None:
        """Let it end: SIGTERM, then, after the time it may take, SIGKILL for its process group."""
        self.stopping = True
        self._stop_asked.set()
        self._on_change()

    def kill(self) -> None:
        """End it at once."""
        self.stop()
        if self._replica is not None:
            self._replica.kill()

    def belong(self, revision: int, config: ProcessDeploymentConfig) -> None:
        """Be part of another release, whose processes are the same."""
        self.revision, self.config = revision, config

    def note(self, event: str) -> None:
        """Keep what happened, for a diagnosis."""
        self.events.append(f"{datetime.now(UTC):%H:%M:%S} {event}")

    @property
    def replica(self) -> Replica | None:
        """What ran to its end last; before that, what runs."""
        return self._last or self._replica

    @property
    def ready(self) -> bool:
        """Whether it can serve."""
        return self._replica is not None and not self.stopping and self._replica.ready_since is not None

    @property
    def available_in(self) -> float:
        """Seconds until it has been ready for long enough; inf where it isn't ready, or long since."""
        return math.inf if not self.ready or self.available else max(self._left, 0.001)

    @property
    def available(self) -> bool:
        """Whether it has been ready for ``min_ready_seconds``."""
        return self.ready and self._left <= 0

    @property
    def _left(self) -> float:
        since = self._replica.ready_since if self._replica else None
        return math.inf if since is None else since + self.config.min_ready_seconds - anyio.current_time()

    @property
    def in_crash_loop(self) -> bool:
        """Whether it has ended so often in a row that it won't come up by itself."""
        return self.ends >= self.config.crash_loop_threshold

    @property
    def start_failed(self) -> bool:
        """Whether its program can't be started at all."""
        return self.problem is not None or (self._last is not None and self._last.reason == "StartFailed")

    @property
    def doomed(self) -> bool:
        """Whether a rollout needn't wait for it any longer."""
        return not self.ready and (self.in_crash_loop or self.start_failed)

    @property
    def in_trouble(self) -> bool:
        """Whether it ended the last time by itself."""
        return self.ends > 0 and not self.available

    @property
    def _backoff(self) -> float:
        config = self.config
        longest = config.restart_backoff_max_ms
        wait = config.restart_backoff_initial_ms * 2 ** min(self.ends - 1, 30)
        return (longest if self.in_crash_loop else min(wait, longest)) / 1000

    def instance(self) -> Instance:
        """Describe it."""
        replica = self._replica
        shown = Instance(name=self.name) if replica is None else replica.instance()
        reason = shown.reason
        phase = shown.phase
        if self.stopping:
            phase = ReplicaPhase.STOPPING
        elif self.in_crash_loop and not self.ready:
            phase, reason = "crash_loop", "CrashLoop"
        elif replica is None:
            phase = "backoff"
            reason = self.problem or (self._last.reason if self._last else None)
        return shown.model_copy(
            update={
                "phase": str(phase),
                "ready": self.ready,
                "version": self.config.version,
                "revision": self.revision,
                "restarts": self.restarts,
                "reason": reason,
            }
        )
