"""Reading YAML as Kubernetes does: several documents, JSON values only, no key twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from aioproviders.errors import ConfigurationError

__all__ = ["Document", "read_documents", "read_text"]

_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Document(NamedTuple):
    """One document of a file.

    Attributes:
        where: ``web.yaml, document 2 (line 14)``.
        value: What it says.
    """

    where: str
    value: Any


class _Loader(yaml.SafeLoader):
    """Reads what JSON can say, and refuses a key that stands twice: PyYAML itself would take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {key.value!r} stands twice in one table", problem_mark=key.start_mark
                )
            seen.add(key.value)
        made = super().construct_mapping(node, deep=deep)
        return {key if isinstance(key, str) else _json_key(key): value for key, value in made.items()}


# JSON has no dates: 2024-01-01 is a string to Kubernetes.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _json_key(key: Any) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def read_text(path: Path) -> str:
    """Read a file.

    Raises:
        ConfigurationError: It can't be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: is no text in UTF-8") from error


def read_documents(text: str, source: str) -> list[Document]:
    """Read all documents of `text`, empty ones left out.

    Args:
        text: YAML, or JSON.
        source: What to call it in errors, a path.

    Raises:
        ConfigurationError: It is broken; says where.
    """
    found = []
    try:
        loader = _Loader(text)
        try:
            number = 0
            while loader.check_node():
                node = loader.get_node()
                number += 1
                line = node.start_mark.line + 1 if node is not None else 0
                value = loader.construct_document(node)
                if value is not None:
                    found.append(Document(f"{source}, document {number} (line {line})", value))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigurationError(f"{where}: {error.problem or error.context or 'broken YAML'}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or "broken YAML"
        raise ConfigurationError(f"{source}: {reason}") from None
    return found
