"""What the instances of a deployment have written, and what they go on to write."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.streams.memory import MemoryObjectSendStream

from aioproviders.deployment.models import LogLine
from aioproviders.deployment.process.output import read_tail
from aioproviders.errors import ConfigurationError, NotFoundError

__all__ = ["LOGS", "LogHub", "forget_logs", "read_logs"]

LOGS = "logs"
"""The folder of the logs, in the deployment's."""
_MOST_WAITING = 10_000
"""Lines that wait for a follower."""
_EVER = datetime.min.replace(tzinfo=UTC)


async def read_logs(directory: Path, instance: str | None, lines: int) -> list[LogLine]:
    """Return the last lines of each instance, also of those that have ended, in the order of their times.

    Args:
        directory: The deployment's folder.
        instance: Only this one's.
        lines: So many of each.

    Raises:
        ConfigurationError: `lines` is negative.
        NotFoundError: There is no such instance, and was none.
    """
    if lines < 0:
        raise ConfigurationError(f"lines should be 0 or more, not {lines}")
    return await to_thread.run_sync(_read, directory / LOGS, instance, lines)


def _read(folder: Path, instance: str | None, lines: int) -> list[LogLine]:
    names = sorted(path.name.removesuffix(".log") for path in folder.glob("*.log"))
    if instance is not None and instance not in names:
        raise NotFoundError(f"no instance {instance!r} has written anything; there are: {', '.join(names)}")
    found = [
        line
        for name in names
        if instance in (None, name)
        for line in (read_tail(folder, name, lines) if lines else ())
    ]
    return sorted(found, key=lambda line: line.at or _EVER)


def forget_logs(
    directory: Path, deployment: str, revisions: Collection[int], running: Collection[str]
) -> None:
    """Remove the logs of instances of releases that the history has forgotten. It blocks.

    Args:
        directory: The deployment's folder.
        deployment: Its name.
        revisions: The releases that are kept; what is newer than all of them is being deployed just now.
        running: Instances whose logs are kept in any case.
    """
    newest = max(revisions, default=0)
    for path in (directory / LOGS).glob(f"{deployment}-*-*.log*"):
        instance = path.name.partition(".log")[0]
        revision = instance.removeprefix(f"{deployment}-").partition("-")[0]
        forgotten = revision.isdecimal() and int(revision) < newest and int(revision) not in revisions
        if forgotten and instance not in running:
            path.unlink(missing_ok=True)


class LogHub:
    """Hands on what all instances write, those to come included."""

    def __init__(self) -> None:
        self._followers: set[MemoryObjectSendStream[LogLine]] = set()

    def give(self, line: LogLine) -> None:
        """Hand on a line."""
        for follower in self._followers:
            with suppress(anyio.BrokenResourceError, anyio.WouldBlock):
                follower.send_nowait(line)

    async def follow(
        self, directory: Path, instance: str | None, lines: int
    ) -> AsyncGenerator[LogLine, None]:
        """Yield the last lines, see `read_logs`, and then those to come, until the hub is closed.

        Whoever falls 10,000 lines behind misses the next ones.
        """
        # An instance must not wait for who looks on; and who has stopped reading must not fill the memory.
        sending, receiving = anyio.create_memory_object_stream[LogLine](_MOST_WAITING)
        self._followers.add(sending)
        try:
            told: dict[str, datetime] = {}
            for line in await read_logs(directory, instance, lines):
                told[line.instance] = line.at or _EVER
                yield line
            async for line in receiving:
                if instance in (None, line.instance) and (line.at or _EVER) > told.get(line.instance, _EVER):
                    yield line
        finally:
            self._followers.discard(sending)
            sending.close()
            receiving.close()

    def close(self) -> None:
        """Let all who follow be done."""
        for follower in self._followers:
            follower.close()
        self._followers.clear()
