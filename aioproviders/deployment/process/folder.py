"""Holding a deployment's folder: only one supervisor may, and it ends what one before has left."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from aioproviders.deployment.process.groups import kill_group
from aioproviders.errors import ConfigurationError

__all__ = ["LOCK", "is_locked", "kill_group_of", "start_time", "take_lock"]

LOCK = "supervisor.lock"
"""The file whose lock (flock(2)) the supervisor has."""


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


def kill_group_of(pid: int, since: int) -> bool:
    """Kill a process group, if its leader is the process that was started then; return whether it was."""
    if start_time(pid) != since:
        return False
    kill_group(pid)
    return True


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot (proc(5), ``starttime``)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may hold blanks.
    return int(stat.rpartition(")")[2].split()[19])
