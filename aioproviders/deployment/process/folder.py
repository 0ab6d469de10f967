"""Holding a deployment's folder: only one supervisor may, and it ends what one before has left."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

import anyio
from anyio import to_thread

from aioproviders.deployment.process.groups import group_lives, kill_group
from aioproviders.errors import ConfigurationError

__all__ = ["LOCK", "claim", "end_leftovers", "is_locked", "start_time", "take_lock"]

LOCK = "supervisor.lock"
"""The file whose lock (flock(2)) the supervisor has."""
_PATIENCE = 5.0
"""Seconds for what a crashed supervisor has left to end, once it is killed."""
_PAUSE = 0.02


def take_lock(directory: Path) -> int | None:
    """Take the lock of a deployment's folder, which is made where it is missing; None if another has it."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"can't use {directory}: {error.strerror or error}; see 'state_directory'"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)  # for people to read
    except BlockingIOError:
        os.close(lock)
        return None
    except BaseException:
        os.close(lock)
        raise
    return lock


async def claim(directory: Path) -> int | None:
    """Take the lock as `take_lock` does; it is nobody's where whoever wanted it has gone meanwhile."""
    taken: list[int | None] = []
    failures: list[Exception] = []

    async def take() -> None:
        try:
            taken.append(await to_thread.run_sync(take_lock, directory))
        except Exception as error:  # noqa: BLE001 - raised below, or it would come in a group
            failures.append(error)

    try:
        # In a task of its own: `asyncio.Task.cancel()` would leave the thread to itself.
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(take)
    except BaseException:
        for lock in taken:
            if lock is not None:
                os.close(lock)
        raise
    if failures:
        raise failures[0]
    return taken[0]


def is_locked(directory: Path) -> bool:
    """Whether somebody runs the deployment of this folder; it blocks."""
    try:
        lock = os.open(directory / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


async def end_leftovers(groups: Mapping[int, int]) -> list[int]:
    """Kill the process groups that a supervisor has left, and wait until they have gone.

    What is still about to end holds its ports, and its memory.

    Args:
        groups: Process ids of their leaders, with when each was started, see `start_time`; another process
            that has the id by now is left alone.

    Returns:
        Those that there were.
    """
    left = [pid for pid, since in groups.items() if start_time(pid) == since]
    for pid in left:
        kill_group(pid)
    with anyio.move_on_after(_PATIENCE):
        for pid in left:
            while group_lives(pid):  # noqa: ASYNC110 - nothing tells of the end of another's child
                await anyio.sleep(_PAUSE)
    return left


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot (proc(5), ``starttime``)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold blanks.
    return int(stat.rpartition(")")[2].split()[19])
