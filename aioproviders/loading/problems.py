"""Key paths, and the problems of a file collected into one error."""

from __future__ import annotations

import json
import re
from typing import Any

from aioproviders.errors import ConfigurationError

__all__ = ["KeyPath", "Problems", "look_up", "render"]

KeyPath = tuple[str | int, ...]
"""Where something stands in a file: the keys of tables and the indices of arrays, outermost first."""

_BARE = re.compile(r"[A-Za-z0-9_$-]+")


def render(path: KeyPath) -> str:
    """Write a key path as TOML would: ``providers."my api".tags[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # Quoted like JSON, so that a key with a line break in it stays on one line.
            text += f".{part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False)}"
    return text.removeprefix(".")


def look_up(value: Any, path: KeyPath) -> tuple[bool, Any]:
    """Return whether `value` has something at `path`, and what."""
    for part in path:
        in_table = isinstance(value, dict) and part in value
        in_array = isinstance(value, list) and isinstance(part, int) and 0 <= part < len(value)
        if not (in_table or in_array):
            return False, None
        value = value[part]
    return True, value


class Problems:
    """Collects what is wrong with a file; it holds texts only, never a value.

    Args:
        file: The file's name as it should stand at the beginning of each line.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._lines: dict[str, None] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, path: KeyPath, text: str) -> None:
        """Note a problem at `path` (empty: the file as a whole); the same one counts once."""
        where = render(path)
        self._lines[f"{self.file}: {where}: {text}" if where else f"{self.file}: {text}"] = None

    def error(self) -> ConfigurationError:
        """Return one error with a line per problem."""
        return ConfigurationError("\n".join(self._lines))
