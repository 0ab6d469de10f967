"""Parsing YAML safely; the only file that imports PyYAML, but for what reads Kubernetes' own."""

from __future__ import annotations

from typing import Any

import yaml

__all__ = ["parse"]

# The parser in C is some ten times faster, and not in every build of PyYAML.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_MOST_MERGED = 10_000

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
        if twice is not None:
            line, column, reason = twice.line, twice.column, "a key stands twice in one table"
        elif _merged_size(node, {}) > _MOST_MERGED:
            line, column, reason = 0, 0, f"merge keys ('<<') would make more than {_MOST_MERGED} entries"
        else:
            return loader.construct_document(node), None
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


def _merged_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return how many entries `node` has once its merge keys are laid out, which PyYAML does at once."""
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)] = 0  # a node may lead back to itself
    if isinstance(node, yaml.MappingNode):
        size = sum(1 + _merged_size(item, sizes) for _, item in node.value)
    elif isinstance(node, yaml.SequenceNode):
        size = sum(_merged_size(item, sizes) for item in node.value)
    else:
        size = 0
    sizes[id(node)] = size
    return size
