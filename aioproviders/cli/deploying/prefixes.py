"""Lines of several sources on one terminal: each with its source's name before it, in its colour."""

from __future__ import annotations

import sys

from aioproviders.cli.deploying.report import clean
from aioproviders.cli.output import console_for, one_line, show_line, write

__all__ = ["Prefixes"]

_COLOURS = ("cyan", "magenta", "yellow", "green", "blue", "bright_cyan", "bright_magenta", "bright_yellow")


class Prefixes:
    """Writes lines, each after the name of its source.

    Args:
        width: Of the names at first; it grows with them.
    """

    def __init__(self, width: int = 0) -> None:
        self._coloured = console_for(sys.stdout).is_terminal
        self._width = width
        self._colours: dict[str, str] = {}

    def write(self, source: str, text: str, *, style: str = "") -> None:
        """Write one line, as long as it is."""
        from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

        name = one_line(source)
        self._width = max(self._width, len(name))
        prefix = f"{name:<{self._width}} | "
        if not self._coloured:
            write(f"{prefix}{clean(text)}\n")
            return
        colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
        show_line(Text.assemble((prefix, colour), (clean(text), style)))
