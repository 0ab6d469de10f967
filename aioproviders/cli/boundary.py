"""The edge of the program: every way a command can end becomes an exit code and a line a problem."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from aioproviders.cli.output import OutputClosedError, OutputError, complain, one_line, print_document

__all__ = ["FAILED", "INTERRUPTED", "OK", "TERMINATED", "USAGE", "UsageError", "guarded"]

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM

DEBUG = "AIOPROVIDERS_DEBUG"


class UsageError(Exception):
    """The command line asks for what can't be; the text says what would be right."""


def guarded(command: Callable[[], int], *, json: bool = False) -> int:
    """Run `command` and return its exit code, whatever it raises (but `SystemExit`).

    Args:
        command: Prints its results.
        json: Whether to print a failure as a JSON document too, for programs.
    """
    debug = os.environ.get(DEBUG) == "1"
    terminated: list[int] = []
    with _terminable(terminated):
        if debug:
            from aioproviders.logs import configure_logging  # noqa: PLC0415 - as in `_told`

            configure_logging("console", "debug")
        try:
            return command()
        except KeyboardInterrupt:
            complain("terminated" if terminated else "interrupted", label="")
            return TERMINATED if terminated else INTERRUPTED
        except BaseException as error:
            if isinstance(error, (SystemExit, GeneratorExit)):
                raise
            if debug:
                _print_traceback(error)
            return _explain(error, json=json)


def _explain(error: BaseException, *, json: bool) -> int:
    """Print what went wrong and return the exit code for it."""
    causes = list(_leaves(error))
    if any(isinstance(cause, OutputClosedError) for cause in causes):
        return OK
    if any(isinstance(cause, KeyboardInterrupt) for cause in causes):
        complain("interrupted", label="")
        return INTERRUPTED
    code = FAILED
    told: list[tuple[str, str]] = []
    for cause in causes:
        if isinstance(cause, UsageError):
            code = USAGE
            told += [("error: ", line) for line in str(cause).splitlines()]
        elif isinstance(cause, OutputError):
            told.append(("error: ", str(cause)))
        else:
            usage, lines = _told(cause)
            code = USAGE if usage else code
            told += lines
    # Requests made at once fail alike.
    told = list(dict.fromkeys(told))
    for label, text in told:
        complain(text, label=label)
    if json and not any(isinstance(cause, OutputError) for cause in causes):
        with suppress(OutputClosedError, OutputError):
            text = "\n".join(one_line(text) for _, text in told)
            print_document({"error": text, "exit_code": code}, compact=True)
    return code


def _told(cause: BaseException) -> tuple[bool, list[tuple[str, str]]]:
    """Return whether `cause` is bad usage, and its lines, each after a label."""
    # Only what comes from the library needs it: help, and mistakes in the command line, come without.
    from aioproviders.errors import (  # noqa: PLC0415 - see above
        ConfigurationError,
        ProviderError,
        ProviderNotFoundError,
    )
    from aioproviders.redaction import Redactor  # noqa: PLC0415 - likewise

    if isinstance(cause, ConfigurationError):
        return True, [("error: ", line) for line in str(cause).splitlines()]
    if isinstance(cause, ProviderError):
        return isinstance(cause, ProviderNotFoundError), [("error: ", str(cause))]
    text = f"{type(cause).__name__}: {cause} (set {DEBUG}=1 to see where)"
    return False, [("internal error: ", Redactor().text(text))]


def _print_traceback(error: BaseException) -> None:
    import traceback  # noqa: PLC0415 - as in `_told`

    from aioproviders.redaction import Redactor  # noqa: PLC0415 - likewise

    sys.stderr.write(Redactor().text("".join(traceback.format_exception(error))))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


@contextmanager
def _terminable(terminated: list[int]) -> Iterator[None]:
    """Let SIGTERM end a command as orderly as Ctrl-C does."""

    def interrupt(number: int, _: FrameType | None) -> None:
        terminated.append(number)
        signal.raise_signal(signal.SIGINT)

    if (
        threading.current_thread() is not threading.main_thread()
        # In the background of a script Ctrl-C is ignored; SIGTERM then ends it the plain way.
        or signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
