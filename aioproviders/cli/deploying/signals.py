"""Ctrl-C and SIGTERM, while something has to be ended orderly."""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
from anyio import CancelScope
from anyio.abc import TaskStatus

from aioproviders.cli.boundary import INTERRUPTED, TERMINATED
from aioproviders.cli.output import complain

__all__ = ["Signals", "run_with_signals"]


class Signals:
    """What is done when one of them comes: by default all is cancelled.

    Attributes:
        received: Those that came, oldest first.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.received: list[int] = []
        self._action = cancel

    @contextmanager
    def calling(self, action: Callable[[], None]) -> Iterator[None]:
        """Call `action` instead, each time one comes."""
        before, self._action = self._action, action
        try:
            yield
        finally:
            self._action = before

    @property
    def word(self) -> str:
        """What has happened: ``interrupted`` or ``terminated``."""
        return "interrupted" if self.received[-1:] in ([], [signal.SIGINT]) else "terminated"

    @property
    def code(self) -> int:
        """The exit code for that."""
        return INTERRUPTED if self.word == "interrupted" else TERMINATED

    async def take(self, *, task_status: TaskStatus[None]) -> None:
        """Act upon them, until cancelled."""
        # One that is ignored, as by nohup or in the background of a script, stays so.
        wanted = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
        before = {number: signal.getsignal(number) for number in wanted}
        wanted = [number for number in wanted if before[number] is not signal.SIG_IGN]
        if threading.current_thread() is not threading.main_thread():
            task_status.started()
            return
        try:
            with anyio.open_signal_receiver(*wanted) as received:
                task_status.started()
                async for number in received:
                    self.received.append(number)
                    self._action()
        finally:
            # The event loop puts back the system's defaults, not what was there.
            for number in wanted:
                signal.signal(number, before[number])


async def run_with_signals(work: Callable[[Signals], Awaitable[int]]) -> int:
    """Run `work`, which returns the exit code; where signals cancel it, theirs is returned."""
    code: int | None = None
    scope = CancelScope()
    signals = Signals(scope.cancel)
    async with anyio.create_task_group() as task_group:
        await task_group.start(signals.take)
        with scope:
            code = await work(signals)
        task_group.cancel_scope.cancel()
    if code is None:
        complain(signals.word, label="")
        return signals.code
    return code
