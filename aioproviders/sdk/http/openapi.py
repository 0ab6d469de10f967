"""Reading a service's OpenAPI document for what it offers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioproviders.errors import RequestError

__all__ = ["describe_service"]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def describe_service(document: Any) -> dict[str, Any]:
    """Return title, version and operations of an OpenAPI 3 (or Swagger 2) document.

    Returns:
        ``title`` and ``version`` (text or None), and ``operations``: a list of dicts with ``method``,
        ``path``, ``operation_id`` and ``summary``, the last two None where they are not given.

    Raises:
        RequestError: It is no such document.
    """
    if not isinstance(document, Mapping) or not ({"openapi", "swagger"} & document.keys()):
        raise RequestError("openapi_path should lead to an OpenAPI document in JSON")
    info = _mapping(document.get("info"))
    return {
        "title": info.get("title"),
        "version": info.get("version"),
        "operations": [
            {
                "method": method.upper(),
                "path": path,
                "operation_id": _mapping(item[method]).get("operationId"),
                "summary": _mapping(item[method]).get("summary"),
            }
            for path, item in _mapping(document.get("paths")).items()
            if isinstance(item, Mapping)
            for method in _METHODS
            if method in item
        ],
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
