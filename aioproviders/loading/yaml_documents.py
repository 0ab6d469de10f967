"""Parsing YAML safely; the only file that imports PyYAML."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["parse"]

# The parser in C is some ten times faster, and not in every build of PyYAML.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"

Flaw = tuple[int, int, str]


def parse(text: str) -> tuple[Any, Flaw | None]:
    """Return the document and None, or None and the line, the column and the reason of what is wrong.

    A key that stands twice in one table is a flaw too; PyYAML itself would take the last.

    Raises:
        ValueError: A number or date can't be read.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        twice = _duplicate(node)
        if twice is None:
            return loader.construct_document(node), None
        line, column, reason = twice.line, twice.column, "a key stands twice in one table"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column, reason = (mark.line, mark.column, "") if mark else (0, 0, "")
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n"), len(before) - before.rfind("\n") - 1
        reason = "a character that YAML does not allow"
    finally:
        if loader is not None:
            loader.dispose()
    return None, (line + 1, column + 1, reason)


def _duplicate(root: yaml.Node) -> yaml.Mark | None:
    """Return where a key stands that its table has already."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            keys = set()
            for key, item in node.value:
                waiting.append(item)
                if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                    continue
                if (key.tag, key.value) in keys:
                    return key.start_mark
                keys.add((key.tag, key.value))
    return None
