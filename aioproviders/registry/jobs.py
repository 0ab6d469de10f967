"""Tasks that a registry runs for its callers: sweeps, probes, monitors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup

__all__ = ["Job", "Jobs"]


class Job:
    """One task that can be waited for and ended, by itself."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()

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
    """The jobs in a registry's task group; they don't raise."""

    def __init__(self, task_group: TaskGroup) -> None:
        self._task_group = task_group
        self._running: set[Job] = set()

    def start(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Job:
        """Run ``function(*args)`` as a job, in the caller's context."""
        job = Job()
        self._running.add(job)
        self._task_group.start_soon(self._run, job, function, args)
        return job

    def cancel(self) -> None:
        """Cancel all of them."""
        for job in self._running:
            job.scope.cancel()

    async def _run(self, job: Job, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        try:
            with job.scope:
                await function(*args)
        finally:
            self._running.discard(job)
            job.over.set()
