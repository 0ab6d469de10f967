"""What a command prints: tables for people, JSON for programs, a line for each error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from aioproviders.health import HealthStatus

__all__ = [
    "OutputClosedError",
    "OutputError",
    "complain",
    "console_for",
    "deployment_style",
    "milliseconds",
    "one_line",
    "plural",
    "print_document",
    "show",
    "show_line",
    "status_style",
    "table",
    "write",
    "write_bytes",
]

_STYLES = {
    "healthy": "green",
    "degraded": "yellow",
    "unhealthy": "red",
    "error": "red",
    "timeout": "red",
    "blocked": "magenta",
}

_DEPLOYMENT_STYLES = {
    "healthy": "green",
    "deployed": "green",
    "scaled_to_zero": "green",
    "pending": "cyan",
    "progressing": "cyan",
    "degraded": "yellow",
    "paused": "yellow",
    "rolled_back": "yellow",
    "terminating": "yellow",
    "failed": "red",
    "not_found": "red",
}


_ANY_WIDTH = 10_000
"""Columns, where nothing says how many there are."""


class OutputClosedError(Exception):
    """Whoever read standard output has gone, as ``head`` does when it has enough."""


class OutputError(Exception):
    """Standard output can't be written; the text says why."""


def write(text: str) -> None:
    """Write `text` to standard output, at once.

    Raises:
        OutputClosedError: Nobody reads it any more.
        OutputError: It can't be written.
    """
    with _readable():
        sys.stdout.write(text)
        sys.stdout.flush()


def write_bytes(content: bytes) -> None:
    """Write `content` to standard output, as it is.

    Raises:
        OutputClosedError: Nobody reads it any more.
        OutputError: It can't be written.
    """
    with _readable():
        sys.stdout.buffer.write(content)
        sys.stdout.flush()


@contextmanager
def _readable() -> Iterator[None]:
    if sys.stdout is None:
        raise OutputError("can't write to standard output: it is closed")
    try:
        yield
    except OSError as error:
        _give_up_stdout()
        if isinstance(error, BrokenPipeError):
            raise OutputClosedError from None
        raise OutputError(f"can't write to standard output: {error.strerror}") from None


def _give_up_stdout() -> None:
    # What is still in the buffer would fail again when the interpreter ends.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def print_document(value: Any, *, compact: bool = False) -> None:
    """Print `value` as a JSON document; in one line if `compact`."""
    from pydantic_core import to_json  # noqa: PLC0415 - loaded only where JSON is asked for

    encoded = to_json(
        value,
        indent=None if compact else 2,
        bytes_mode="base64",
        inf_nan_mode="null",
        serialize_unknown=True,
    )
    write(encoded.decode() + "\n")


def complain(text: str, *, label: str = "error: ") -> None:
    """Print one line to standard error."""
    if sys.stderr is not None:
        sys.stderr.write(f"{label}{one_line(text)}\n")
        sys.stderr.flush()


def one_line(text: str) -> str:
    """Return `text` in one line that does nothing to a terminal: no line breaks, no control characters."""
    joined = " ".join(text.split())
    return (
        joined
        if joined.isprintable()
        else "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in joined
        )
    )


def console_for(stream: TextIO) -> Console:
    """Return a console for `stream`: in colour on a terminal without ``NO_COLOR``, ``COLUMNS`` wide."""
    from rich.console import Console  # noqa: PLC0415 - loaded only where something is drawn

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:
            _give_up_stdout()
            raise OutputClosedError

        def end_capture(self) -> str:
            # It writes an empty text to the file, which some devices refuse, too.
            with _readable():
                return super().end_capture()

    return OurConsole(file=stream, highlight=False, markup=False, emoji=False)


def _is_of_any_width() -> bool:
    """Whether lines may be as long as they are: a folded name can't be found by ``grep``, or pasted."""
    return "COLUMNS" not in os.environ and (sys.stdout is None or not sys.stdout.isatty())


def show(*drawn: RenderableType) -> None:
    """Print what rich can draw; on a terminal, or with ``COLUMNS``, made to fit."""
    console = console_for(sys.stdout)
    if _is_of_any_width():
        console.width = _ANY_WIDTH
    with console.capture() as captured:
        for item in drawn:
            console.print(item)
    text = captured.get()
    if not console.is_terminal:
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    write(text)


def show_line(text: Text) -> None:
    """Print one line, as long as it is."""
    console = console_for(sys.stdout)
    with console.capture() as captured:
        console.print(text, soft_wrap=True)
    write(captured.get())


def table(*columns: str, right: Iterable[str] = (), wide: str = "") -> Table:
    """Return an empty table without lines.

    Args:
        columns: The headings.
        right: Those of numbers, set to the right.
        wide: The one that takes what room is left, where there is an end to it.
    """
    from rich import box  # noqa: PLC0415 - loaded only where something is drawn
    from rich.table import Table  # noqa: PLC0415 - likewise

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    made.expand = bool(wide) and not _is_of_any_width()
    for column in columns:
        number = column in right
        made.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
            ratio=1 if column == wide else None,
        )
    return made


def status_style(status: HealthStatus) -> str:
    """Return the colour of a status."""
    return _STYLES.get(status, "dim")


def deployment_style(status: str) -> str:
    """Return the colour of a deployment's status; a driver of somebody else's may have its own."""
    return _DEPLOYMENT_STYLES.get(status, "dim")


def milliseconds(value: float | None) -> str:
    """Return a latency in few digits: ``0.42 ms``, ``12.3 ms``, ``1.25 s``; a dash for None."""
    if value is None:
        return "-"
    if value >= 1000:  # noqa: PLR2004 - a second
        return f"{value / 1000:.2f} s"
    return f"{value:.{2 if value < 1 else 1 if value < 100 else 0}f} ms"  # noqa: PLR2004 - three digits


def plural(count: int, noun: str) -> str:
    """Return ``1 request``, ``2 requests``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
