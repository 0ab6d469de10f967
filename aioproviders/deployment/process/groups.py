"""Process groups: ended at once, and looked for."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

__all__ = ["group_lives", "kill_group", "reap_group"]


def kill_group(group: int) -> None:
    """Send SIGKILL to all processes of a group that may be killed, if there are any."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def group_lives(group: int) -> bool:
    """Whether there is a process in a group, if only an entry in the process table."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def reap_group(group: int) -> None:
    """Take what has ended in a group out of the process table, as far as we are its parent, as init is."""
    with suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            continue
