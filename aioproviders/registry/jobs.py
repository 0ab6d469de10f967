"""Tasks that a registry runs for its callers: sweeps, probes, monitors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup

from aioproviders.errors import ProviderStateError

__all__ = ["Job", "Jobs"]


class Job:
    """One task that can be waited for and ended, by itself.

    Attributes:
        scope: Cancels it.
        over: Set when it has ended.
        error: What it raised, for whoever waits for it.
    """

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()
        self.error: Exception | None = None

    async def end(self, within: float) -> bool:
        """Cancel it and wait until it is over, shielded, but `within` seconds at most.

        Returns:
            Whether it is over; if not, it ends in the registry's task group whenever it can.
        """
        if not self.over.is_set():
            self.scope.cancel()
            with anyio.move_on_after(within, shield=True):
                await self.over.wait()
        return self.over.is_set()


class Jobs:
    """The jobs in a registry's task group; what one raises is kept, and harms nobody else."""

    def __init__(self, task_group: TaskGroup) -> None:
        self._task_group = task_group
        self._running: set[Job] = set()
        self._ended = False

    def start(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Job:
        """Run ``function(*args)`` as a job, in the caller's context.

        Raises:
            ProviderStateError: The registry is closing or closed.
        """
        if self._ended:
            raise ProviderStateError("the registry is closed", sent=False)
        job = Job()
        self._running.add(job)
        self._task_group.start_soon(self._run, job, function, args)
        return job

    def end(self) -> None:
        """Cancel all of them, and start no more."""
        self._ended = True
        for job in self._running:
            job.scope.cancel()

    async def _run(self, job: Job, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        try:
            with job.scope:
                await function(*args)
        except Exception as error:  # noqa: BLE001 - in the task group it would end all the registry's tasks
            job.error = error
        finally:
            self._running.discard(job)
            job.over.set()
