"""Becomes the program of a replica: ``python -IS launcher.py``, a script of the standard library alone.

It reads one JSON document from standard input, arranges what can only be arranged from within the new
process, and replaces itself by the program. What keeps it from that is written to the descriptor
``report``, which otherwise is just closed.
"""

import ctypes
import fcntl
import json
import os
import resource
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing takes as long to load as all the rest
    from typing import Any

_FIRST = 3
"""The first descriptor that is handed over, by sd_listen_fds(3)."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    """Read the plan and become the program; returns where that failed."""
    plan = json.load(sys.stdin)
    report = aside(plan, plan["report"])
    try:
        become(plan)
    except (OSError, ValueError) as error:
        os.write(report, f"{getattr(error, 'strerror', None) or error}".encode()[:4000])
    return 127


def aside(plan: "dict[str, Any]", number: int) -> int:
    """Return a copy of a descriptor, out of the way of the numbers to come; the program gets neither."""
    os.set_inheritable(number, False)
    return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _FIRST + len(plan["descriptors"]))


def become(plan: "dict[str, Any]") -> None:
    """Arrange all that the plan says, and replace this process by the program."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != plan["parent"]:
        return  # it has gone already
    env, descriptors = plan["env"], plan["descriptors"]
    # All copies first: a number to come may be one that is still to be copied.
    for index, number in enumerate([aside(plan, number) for number in descriptors]):
        os.dup2(number, _FIRST + index)
    if descriptors:
        env["LISTEN_FDS"] = str(len(descriptors))
        env["LISTEN_PID"] = str(os.getpid())
        env["LISTEN_FDNAMES"] = ":".join(plan["names"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if plan["directory"]:
        try:
            os.chdir(plan["directory"])
        except OSError as error:
            raise ValueError(f"working_directory {plan['directory']}: {error.strerror}") from None
    reset_signals()
    if plan["open_files"]:
        limit(resource.RLIMIT_NOFILE, plan["open_files"])
    if plan["memory"]:
        limit(resource.RLIMIT_AS, plan["memory"])
    program = plan["argv"][0]
    try:
        os.execvpe(program, plan["argv"], env)  # noqa: S606 - that is what it is for
    except OSError as error:
        # A program that is not there and a folder that is not read alike.
        raise ValueError(f"{program}: {error.strerror}") from None


def reset_signals() -> None:
    """Undo what this interpreter and whoever started it have done: an ignored signal would stay ignored."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def limit(what: int, most: int) -> None:
    """Set a resource limit, as far as that may be raised."""
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    sys.exit(main())
