"""What sees to it that no process outlives its supervisor, not even after ``kill -9``."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import anyio
from anyio.abc import Process

__all__ = ["Guardian"]

_SCRIPT = Path(__file__).with_name("guardian_script.py")
_PATIENCE = 2.0
_PAUSE = 0.1


class Guardian:
    """A process beside the supervisor that kills the replicas' process groups if the supervisor has gone.

    The kernel kills the replicas themselves then (see `aioproviders.deployment.process.launching`), but
    not what they have started.
    """

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._process: Process | None = None
        self._pipe: int | None = None
        self._starting = anyio.Lock()

    @property
    def pid(self) -> int | None:
        """Its process id; None where it doesn't run."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start it; once more does no harm."""
        async with self._starting:
            if self._process is None:
                await self._start()

    async def _start(self) -> None:
        reading, writing = os.pipe()
        try:
            self._process = await anyio.open_process(
                [sys.executable, "-IS", os.fspath(_SCRIPT)],
                stdin=reading,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                # Out of reach of Ctrl-C, which the whole group of a terminal gets.
                start_new_session=True,
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self._pipe = writing
        for group in self._groups:
            self._tell(f"+{group}")

    async def keep(self) -> None:
        """Start it, and start it anew whenever it has ended, until cancelled."""
        while True:
            with suppress(OSError):  # no descriptor or no memory left: there may be some later
                await self.start()
            if self._process is not None:
                await self._process.wait()
                self._forget()
            await anyio.sleep(_PAUSE)

    def add(self, group: int) -> None:
        """Put a process group into its care."""
        self._groups.add(group)
        self._tell(f"+{group}")

    def remove(self, group: int) -> None:
        """Take a group that has ended out of its care."""
        self._groups.discard(group)
        self._tell(f"-{group}")

    async def stop(self) -> None:
        """End it; groups still in its care are killed."""
        process = self._process
        self._forget()
        if process is None:
            return
        with anyio.move_on_after(_PATIENCE, shield=True) as scope:
            await process.wait()
        if scope.cancelled_caught:
            with suppress(ProcessLookupError):  # it may have been stopped
                process.kill()
        with anyio.move_on_after(_PATIENCE, shield=True):
            await process.aclose()

    def _forget(self) -> None:
        pipe, self._pipe, self._process = self._pipe, None, None
        if pipe is not None:
            os.close(pipe)

    def _tell(self, line: str) -> None:
        # One that has died is told all of it when it is started anew.
        if self._pipe is not None:
            with suppress(BrokenPipeError):
                os.write(self._pipe, f"{line}\n".encode())
