"""Worker threads for a package that blocks: few, counted, and given up on without being forgotten.

A thread can't be stopped from outside. A call that is cancelled leaves its thread behind, and that
thread keeps its place until it really ends, so that calls that hang can't pile up threads. At its exit
the interpreter waits for all of them.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

import anyio
import anyio.to_thread

__all__ = ["WorkerThreads"]

_DISCARD_SECONDS = 1


class WorkerThreads:
    """Runs sync functions in worker threads, at most `most` at a time.

    Args:
        most: Threads, those left behind included.
        on_abandoned: Called on the event loop when a thread is left behind.
    """

    def __init__(self, most: int, on_abandoned: Callable[[], None]) -> None:
        self._places = anyio.CapacityLimiter(most)
        # anyio's own limit is the whole process's; ours decides.
        self._unlimited = anyio.CapacityLimiter(inf)
        self._on_abandoned = on_abandoned
        self._left: set[_Job] = set()
        self._all_ended: anyio.Event | None = None
        self.abandoned_total = 0

    @property
    def busy(self) -> int:
        """Threads at work, those left behind included."""
        return self._places.borrowed_tokens

    @property
    def abandoned(self) -> int:
        """Threads left behind that have not ended yet."""
        return len(self._left)

    async def run(
        self,
        function: Callable[..., Any],
        *args: Any,
        discard: Callable[[Any], Any] | None = None,
        queue: bool = True,
    ) -> Any:
        """Run ``function(*args)`` in a thread, in a copy of this task's context.

        Args:
            function: What to run.
            *args: Its arguments.
            discard: Called in the thread with a result that nobody waits for any more.
            queue: False lets it begin at once, without a place.
        """
        job = _Job(partial(function, *args), discard)
        if queue:
            await self._places.acquire_on_behalf_of(job)
            job.on_end = partial(_call_on, asyncio.get_running_loop(), partial(self._give_back, job))
        try:
            return await self._in_thread(job.run)
        except BaseException:
            if job.result is not None:
                # It had ended just when the caller was cancelled.
                with anyio.move_on_after(_DISCARD_SECONDS, shield=True):
                    await self._in_thread(job.drop)
            raise
        finally:
            if job.leave():
                self.abandoned_total += 1
                if queue:
                    self._left.add(job)
                self._on_abandoned()
            elif queue:
                self._places.release_on_behalf_of(job)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=self._unlimited)

    async def wait_for_abandoned(self) -> None:
        """Wait until all threads left behind have ended."""
        if self._left:
            self._all_ended = anyio.Event()
            await self._all_ended.wait()

    def _give_back(self, job: _Job) -> None:
        self._left.discard(job)
        self._places.release_on_behalf_of(job)
        if not self._left and self._all_ended is not None:
            self._all_ended.set()


class _Job:
    """One function in a thread, which its caller may leave before it ends or even begins."""

    def __init__(self, function: Callable[[], Any], discard: Callable[[Any], Any] | None) -> None:
        self._function = function
        self._discard = discard
        self._turn = threading.Lock()
        self._running = False
        self._left = False
        self.result: Any = None
        self.on_end: Callable[[], None] | None = None

    def run(self) -> Any:
        """Run the function; in the thread."""
        with self._turn:
            if self._left:
                return None
            self._running = True
        try:
            self.result = self._function()
        finally:
            with self._turn:
                self._running = False
                left = self._left
            if left:
                try:
                    self.drop()
                finally:
                    if self.on_end is not None:
                        self.on_end()
        return self.result

    def leave(self) -> bool:
        """Stop waiting; returns whether a thread is left behind. On the event loop."""
        with self._turn:
            self._left = True
            return self._running

    def drop(self) -> None:
        """Do away with a result that nobody waits for; in a thread."""
        result, self.result = self.result, None
        if inspect.iscoroutine(result):
            result.close()
        elif self._discard is not None and result is not None:
            with suppress(Exception):
                self._discard(result)


def _call_on(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    # Where the loop is closed nobody waits for the place.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(function)
