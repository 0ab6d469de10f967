"""The edge of the program: every way a command can end becomes an exit code and a line a problem."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from aioproviders.cli.output import OutputClosedError, OutputError, complain, one_line, print_document
from aioproviders.errors import (
    ConfigurationError,
    ConfigurationWarning,
    ProviderError,
    ProviderNotFoundError,
)
from aioproviders.logs import configure_logging
from aioproviders.redaction import Redactor

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
    with warnings.catch_warnings(), _terminable(terminated):
        # `check` prints them; elsewhere they would stand between the results.
        warnings.simplefilter("ignore", ConfigurationWarning)
        if debug:
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
                sys.stderr.write(Redactor().text("".join(traceback.format_exception(error))))
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
        if isinstance(cause, (ConfigurationError, ProviderNotFoundError, UsageError)):
            code = USAGE
        if isinstance(cause, (ConfigurationError, UsageError)):
            told += [("error: ", line) for line in str(cause).splitlines()]
        elif isinstance(cause, (OutputError, ProviderError)):
            told.append(("error: ", str(cause)))
        else:
            text = f"{type(cause).__name__}: {cause} (set {DEBUG}=1 to see where)"
            told.append(("internal error: ", Redactor().text(text)))
    # Requests made at once fail alike.
    told = list(dict.fromkeys(told))
    for label, text in told:
        complain(text, label=label)
    if json and not any(isinstance(cause, OutputError) for cause in causes):
        with suppress(OutputClosedError, OutputError):
            text = "\n".join(one_line(text) for _, text in told)
            print_document({"error": text, "exit_code": code}, compact=True)
    return code


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
