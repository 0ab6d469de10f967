"""The process groups that run, written down for who has to end them if this supervisor can't."""

from __future__ import annotations

import anyio

from aioproviders.deployment.process.folder import start_time
from aioproviders.deployment.process.journal import Journal
from aioproviders.logs import ProviderLogger

__all__ = ["RunningGroups"]


class RunningGroups:
    """Keeps the journal's list of process groups up to date.

    Args:
        journal: The journal.
        logger: Told when nothing can be written.
    """

    def __init__(self, journal: Journal, logger: ProviderLogger) -> None:
        self._journal, self._logger = journal, logger
        self._pids: dict[str, int] = {}
        self._changed = anyio.Event()

    def note(self, name: str, pid: int | None) -> None:
        """Note the process that an instance has now; None for no longer any."""
        if pid == self._pids.get(name):
            return
        if pid is None:
            self._pids.pop(name, None)
        else:
            self._pids[name] = pid
        self._changed.set()
        self._changed = anyio.Event()

    async def keep(self) -> None:
        """Write down what is noted, until cancelled."""
        written: dict[str, int] = {}
        while True:
            changed = self._changed
            now = dict(self._pids)
            try:
                for name, pid in written.items():
                    if now.get(name) != pid:
                        await self._journal.ended(pid)
                for name, pid in now.items():
                    since = start_time(pid)
                    if written.get(name) != pid and since is not None:
                        await self._journal.started(pid, since)
            except OSError as error:
                # On a full disk the processes run on; the guardian knows them, too.
                self._logger.warning("supervisor.journal_failed", error=error)
            written = now
            await changed.wait()
