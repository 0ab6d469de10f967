"""What the demo tells: as it goes for people, as one document at the end for programs."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING, Any

from aioproviders.cli.output import console_for, show

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Narrator"]


class Narrator:
    """Tells the steps of the demo, and remembers whether all went as it should.

    Args:
        json: Whether to keep silent and only collect.
    """

    def __init__(self, *, json: bool) -> None:
        self.ok = True
        self.steps: list[dict[str, Any]] = []
        self._json = json

    def step(self, title: str) -> None:
        """Begin a step."""
        self.steps.append({"step": title, "facts": []})
        if self._json:
            return
        from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

        show("", Text(f"{len(self.steps)}. {title}", style="bold"))

    def fact(self, text: str, *, ok: bool, **data: Any) -> None:
        """Tell what was seen, and whether that is what should have been.

        Args:
            text: What was seen.
            ok: Whether it is as it should be.
            data: More of it, for programs.
        """
        self.ok = self.ok and ok
        self.steps[-1]["facts"].append({"ok": ok, "text": text, **data})
        if self._json:
            return
        from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

        told = text if ok else f"{text} (not as it should be)"
        folded = textwrap.fill(
            told, console_for(sys.stdout).width - 3, break_long_words=False, break_on_hyphens=False
        )
        mark, style = (" + ", "green") if ok else (" ! ", "bold red")
        show(Text.assemble((mark, style), textwrap.indent(folded, "   ")[3:]))

    def draw(self, drawn: RenderableType) -> None:
        """Show a table."""
        if not self._json:
            show(drawn)
