"""References in a providers file's strings.

=======================  ===============================================================
``${NAME}``              the environment variable; unset is a problem, empty is not
``${NAME:-default}``     the same, and the default where it is unset or empty (as in a shell)
``${file:PATH}``         a file's text without its last line break; a relative path starts
                         at the providers file's folder
``$${``                  a plain ``${``
=======================  ===============================================================

What is put in is not looked at again, and a default holds no references. All other dollar signs
stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aioproviders.loading.problems import KeyPath

__all__ = ["REFERENCE_PATTERN", "Interpolator"]

REFERENCE_PATTERN = r"\$\{[^}]+\}"
"""Matches texts with a reference in them; for JSON Schema, so roughly."""

_TOKEN = re.compile(r"\$\$\{|\$\{([^}]*)\}|\$\{")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_GRAMMAR = "write ${NAME}, ${NAME:-default} or ${file:PATH}, and $${ for a plain one"


class _UnresolvedError(Exception):
    """A reference that is well-formed, and can't be resolved."""


class _MalformedError(Exception):
    """A ``${`` that begins no reference."""


class Interpolator:
    """Puts the referenced texts into one provider's table, and notes what it could not put in.

    Args:
        env: The environment variables.
        folder: Where relative paths start.

    Attributes:
        folder: Likewise.
        unresolved: Variables that aren't set and files that can't be read, by where they are asked for.
        malformed: What looks like a reference and is none, likewise.
        inserted: The texts that were put in; for masking.
    """

    def __init__(self, env: Mapping[str, str], folder: Path) -> None:
        self._env = env
        self.folder = folder
        self.unresolved: list[tuple[KeyPath, str]] = []
        self.malformed: list[tuple[KeyPath, str]] = []
        self.inserted: set[str] = set()

    def resolve(self, value: Any, path: KeyPath = ()) -> Any:
        """Return a copy of `value` with its references resolved.

        A string with one that can't be stays as it is written.
        """
        if isinstance(value, dict):
            return {key: self.resolve(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            return _TOKEN.sub(self._replace, value)
        except _UnresolvedError as problem:
            self.unresolved.append((path, str(problem)))
        except _MalformedError as problem:
            self.malformed.append((path, str(problem)))
        return value

    def _replace(self, token: re.Match[str]) -> str:
        if token[0] == "$${":
            return "${"
        reference = token[1]
        if reference is None:
            raise _MalformedError(f"has a ${{ that is never closed; {_GRAMMAR}")
        if reference.startswith("file:") and reference != "file:":
            text = self._read(reference.removeprefix("file:"))
        else:
            text = self._variable(reference)
        self.inserted.add(text)
        return text

    def _variable(self, reference: str) -> str:
        parts = _VARIABLE.fullmatch(reference)
        if parts is None:
            raise _MalformedError(f"has a ${{ that begins no reference; {_GRAMMAR}")
        name, default = parts[1], parts[2]
        if default is None:
            text = self._env.get(name)
            if text is None:
                raise _UnresolvedError(f"the environment variable {name} is not set")
            return text
        if "${" in default:
            raise _MalformedError(f"has a reference within a default; {_GRAMMAR}")
        return self._env.get(name) or default

    def _read(self, name: str) -> str:
        try:
            text = (self.folder / name).read_text(encoding="utf-8")
        except OSError as error:
            raise _UnresolvedError(f"the file {name} can't be read: {error.strerror}") from None
        except ValueError:
            # Not decodable, or a path that can't be one; the error's text would hold bytes of the file.
            raise _UnresolvedError("the file it names is no UTF-8 text") from None
        return text.removesuffix("\n")
