"""Reading a TOML, YAML or JSON file into plain tables, with errors that never show the file's text."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aioproviders.loading.problems import KeyPath, Problems, render

__all__ = ["read_document"]

_SUFFIXES = ".toml, .yaml, .yml or .json"
_DEEPEST = 64
_MOST_VALUES = 1_000_000
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
# What tomllib says without quoting the file.
_TOML_REASONS = frozenset(
    {
        "Cannot overwrite a value",
        "Expected ']' at the end of a table declaration",
        "Expected ']]' at the end of an array declaration",
        "Expected '=' after a key in a key/value pair",
        "Expected newline or end of document after a statement",
        "Invalid date or datetime",
        "Invalid initial character for a key part",
        "Invalid statement",
        "Invalid value",
        "Unclosed array",
        "Unclosed inline table",
        "Unterminated string",
    }
)


class _DocumentError(Exception):
    """Why a file's text can't be used; says nothing of what is in it but keys."""


def read_document(path: Path, problems: Problems) -> dict[str, Any] | None:
    """Return a file's top-level table, all keys strings; None when it has `problems`."""
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None:
        problems.add((), f"should be a file that ends in {_SUFFIXES}")
        return None
    try:
        document = parse(_read(path))
        _check(document, (), [0])
    except _DocumentError as error:
        problems.add((), str(error))
    except RecursionError:
        problems.add((), "is nested too deeply")
    except ValueError:
        # A number with thousands of digits, a date on the 31st of February: no parser says where.
        problems.add((), "holds a number or date that can't be read")
    else:
        if isinstance(document, dict):
            return document
        if document is None:
            problems.add((), "is empty, it should have a table 'providers'")
        else:
            problems.add((), "should be a table with the key 'providers'")
    return None


def _read(path: Path) -> str:
    try:
        # Editors on Windows put a mark at the beginning.
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        failure = "does not exist"
    except IsADirectoryError:
        failure = "is a directory, it should be a file"
    except OSError as error:
        failure = f"can't be read: {error.strerror}"
    except UnicodeDecodeError as error:
        failure = f"is not UTF-8: wrong byte at offset {error.start}"
    else:
        if text.strip():
            return text
        failure = "is empty, it should have a table 'providers'"
    raise _DocumentError(failure)


def _parse_toml(text: str) -> Any:
    # Parsers' errors hold the text, so they are left behind before another is raised.
    try:
        return tomllib.loads(text) or None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
    place = _TOML_PLACE.search(message)
    if place is not None and place[1]:
        line, column = int(place[1]), int(place[2])
    else:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    reason = _TOML_PLACE.sub("", message)
    if "twice" in reason or "Duplicate" in reason:
        reason = "a key or table stands there twice"
    raise _DocumentError(
        _syntax("TOML", line, column, reason if reason in _TOML_REASONS or "twice" in reason else "")
    )


def _parse_json(text: str) -> Any:
    twice: list[str] = []

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice.extend(render((key,)) for key in found if keys.count(key) > 1)
        return found

    try:
        document = json.loads(text, object_pairs_hook=table)
    except json.JSONDecodeError as error:
        line, column = error.lineno, error.colno
    else:
        if twice:
            raise _DocumentError(f"has the key {twice[0]} twice in one table")
        return document
    raise _DocumentError(_syntax("JSON", line, column))


def _parse_yaml(text: str) -> Any:
    if importlib.util.find_spec("yaml") is None:
        raise _DocumentError("YAML files need PyYAML: pip install 'aioproviders[files]'")
    from aioproviders.loading import yaml_documents  # noqa: PLC0415 - PyYAML comes with an extra

    document, flaw = yaml_documents.parse(text)
    if flaw is None:
        return document
    raise _DocumentError(_syntax("YAML", *flaw))


def _syntax(kind: str, line: int, column: int, reason: str = "") -> str:
    return f"is not valid {kind} at line {line}, column {column}{f': {reason}' if reason else ''}"


def _check(value: Any, path: KeyPath, count: list[int]) -> None:
    """Refuse keys that are no strings, and what aliases in YAML can blow up."""
    count[0] += 1
    if count[0] > _MOST_VALUES:
        raise _DocumentError(f"holds more than {_MOST_VALUES} values")
    if len(path) > _DEEPEST:
        raise _DocumentError("is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                where = render(path) or "the top level"
                raise _DocumentError(f"{where}: should have strings for keys; put quotes around them")
            _check(item, (*path, key), count)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, (*path, index), count)


_PARSERS: dict[str, Callable[[str], Any]] = {
    ".toml": _parse_toml,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
    ".json": _parse_json,
}
