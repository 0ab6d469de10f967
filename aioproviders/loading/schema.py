"""The JSON Schema of providers files, from the config classes of all drivers, for editors.

It is a help while writing, `load_providers` is what decides: a schema can't see that an overlay
completes its base, or which driver an overlay without one is for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote, unquote

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from aioproviders.config import ProviderConfig
from aioproviders.errors import ProviderError
from aioproviders.factory import DriverInfo, ProviderFactory
from aioproviders.loading.interpolation import REFERENCE_PATTERN
from aioproviders.provider import ProviderType

__all__ = ["providers_schema"]

Schema = dict[str, Any]
Key = tuple[ProviderType, str | None]

# The colons keep our definitions apart from pydantic's, whose names have none.
_REFERENCE = {"$ref": "#/$defs/file:reference"}
_OVERLAY = ":overlay"
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)
_PLAIN_TEXT = {"type": "string"}
_SCHEMA_KEYWORDS = frozenset(
    {"items", "additionalProperties", "contains", "propertyNames", "not", "if", "then", "else"}
)
_LIST_KEYWORDS = frozenset({"anyOf", "allOf", "prefixItems"})
_TABLE_KEYWORDS = frozenset({"properties", "patternProperties"})


class _Lenient(GenerateJsonSchema):
    """Allows anything where a type has no JSON Schema, and warns of nothing."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default", "skipped-discriminator"}  # noqa: RUF012 - as in its base

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Schema:  # noqa: ARG002 - its base's arguments
        return {}


def providers_schema(*, drivers: Iterable[DriverInfo] | None = None) -> Schema:
    """Return a JSON Schema (draft 2020-12) of providers files.

    A table's ``type`` and ``driver`` select which settings it may have. Where a setting is no text,
    a text with a reference such as ``${NAME}`` is allowed too. Overlays of environments need not be
    complete.

    Args:
        drivers: Which drivers to describe; by default all there are. It imports them, and leaves
            out those that can't be loaded.
    """
    found = _config_classes(ProviderFactory.get_drivers() if drivers is None else drivers)
    classes = list(dict.fromkeys(found.values()))
    refs, whole = models_json_schema([(cls, "validation") for cls in classes], schema_generator=_Lenient)
    raw = whole.get("$defs", {})
    # Of two classes with one name pydantic changes both names, so what it calls them stands in the $ref.
    names = {cls: refs[cls, "validation"]["$ref"].rpartition("/")[2] for cls in classes}

    definitions: Schema = {}
    for key, cls in found.items():
        label = _label(*key)
        table = raw[names[cls]]
        definitions[label] = _table(_editable(table), *key, complete=True)
        definitions[label + _OVERLAY] = _table(_partial(_editable(table)), *key, complete=False)
    for name, definition in raw.items():
        definitions[name] = _editable(definition)
        definitions[name + _OVERLAY] = _partial(definitions[name])
    schema: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Providers",
        "type": "object",
        "properties": {
            "$schema": {"type": "string"},
            "providers": _tables("file:provider"),
            "environments": {
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "properties": {"providers": _tables("file:overlay")},
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
    }
    definitions["file:reference"] = {"type": "string", "pattern": REFERENCE_PATTERN}
    definitions["file:provider"] = _provider(found)
    definitions["file:overlay"] = _overlay(found)
    schema["$defs"] = {name: definitions[name] for name in sorted(_reachable(schema, definitions))}
    return schema


def _config_classes(drivers: Iterable[DriverInfo]) -> dict[Key, type[ProviderConfig]]:
    found: dict[Key, type[ProviderConfig]] = {}
    for info in drivers:
        if info.type is None:
            continue
        try:
            found[info.type, info.driver] = ProviderFactory.get_driver(info.type, info.driver).config_class
        except ProviderError:
            continue
    for kind in ProviderType:
        named = [key for key in found if key[0] is kind]
        if len(named) == 1 and named[0][1] is not None:
            found[kind, None] = found[named[0]]
    return found


def _label(kind: ProviderType, driver: str | None) -> str:
    return f"driver:{kind}" if driver is None else f"driver:{kind}.{driver}"


def _tables(definition: str) -> Schema:
    return {"type": "object", "additionalProperties": {"$ref": f"#/$defs/{definition}"}}


def _provider(found: dict[Key, Any]) -> Schema:
    """Return the schema of a provider's table, a branch per driver."""
    kinds = sorted({kind for kind, _ in found})
    table: Schema = {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"anyOf": [{"enum": kinds}, _REFERENCE]}},
    }
    branches = [_branch(*key, "") for key in found] + [_choice(kind, found) for kind in kinds]
    return {**table, "allOf": branches} if branches else table


def _overlay(found: dict[Key, Any]) -> Schema:
    """Return the schema of a provider's table in an overlay: any driver's, where it does not say which."""
    any_of = [{"$ref": f"#/$defs/{_pointer(_label(*key))}{_OVERLAY}"} for key in found]
    branches = [_branch(*key, _OVERLAY) for key in found if key[1] is not None]
    return {"type": "object", "allOf": [*branches, {"anyOf": any_of}]} if any_of else {"type": "object"}


def _branch(kind: ProviderType, driver: str | None, suffix: str) -> Schema:
    condition: Schema = {"properties": {"type": {"const": kind.value}}, "required": ["type"]}
    if driver is None:
        condition["not"] = {"required": ["driver"]}
    else:
        condition["properties"]["driver"] = {"const": driver}
        condition["required"] = ["type", "driver"]
    return {"if": condition, "then": {"$ref": f"#/$defs/{_pointer(_label(kind, driver))}{suffix}"}}


def _choice(kind: ProviderType, found: dict[Key, Any]) -> Schema:
    """Return which drivers a type has, and whether one has to be named."""
    names = sorted(driver for other, driver in found if other is kind and driver is not None)
    then: Schema = {"properties": {"driver": {"anyOf": [{"enum": names}, _REFERENCE]}}}
    if (kind, None) not in found:
        then["required"] = ["driver"]
    return {"if": {"properties": {"type": {"const": kind.value}}, "required": ["type"]}, "then": then}


def _table(schema: Schema, kind: ProviderType, driver: str | None, *, complete: bool) -> Schema:
    """Return a config class's schema as that of a provider's table: with type and driver, without a name."""
    own: Schema = {"type": {"anyOf": [{"const": kind.value}, _REFERENCE]}}
    own["driver"] = True if driver is None else {"anyOf": [{"const": driver}, _REFERENCE]}
    fields = {name: field for name, field in schema.get("properties", {}).items() if name != "name"}
    table = {**schema, "properties": {**own, **fields}}
    table.pop("required", None)
    if complete:
        table["required"] = ["type", *(name for name in schema.get("required", ()) if name != "name")]
    return table


def _walk(schema: Any, change: Callable[[Schema], Schema]) -> Any:
    """Return a copy of `schema` with `change` applied to each schema in it, the inner ones first."""
    if not isinstance(schema, dict):
        return schema
    copy: Schema = {}
    for key, value in schema.items():
        if key in _SCHEMA_KEYWORDS:
            copy[key] = _walk(value, change)
        elif key in _LIST_KEYWORDS or key == "oneOf":
            copy[key] = [_walk(item, change) for item in value]
        elif key in _TABLE_KEYWORDS:
            copy[key] = {name: _walk(item, change) for name, item in value.items()}
        else:
            copy[key] = value
    return change(copy)


def _editable(schema: Schema) -> Schema:
    """Return `schema` with a reference allowed wherever a single value stands."""
    found: Schema = _walk(schema, _allow_reference)
    return found


def _allow_reference(schema: Schema) -> Schema:
    schema.pop("discriminator", None)  # OpenAPI's, and it points to the names before they are changed
    if "oneOf" in schema:
        # A reference fits several branches.
        schema["anyOf"] = [*schema.pop("oneOf")]
    rules = {key: value for key, value in schema.items() if key not in _ANNOTATIONS}
    single = {"const", "enum"} & rules.keys() or rules.get("type") in {
        "integer",
        "number",
        "boolean",
        "string",
    }
    if not single or rules == _PLAIN_TEXT:
        return schema
    notes = {key: value for key, value in schema.items() if key in _ANNOTATIONS}
    return {**notes, "anyOf": [rules, _REFERENCE]}


def _partial(schema: Schema) -> Schema:
    """Return `schema` with nothing required, and likewise all it refers to."""
    found: Schema = _walk(schema, _require_nothing)
    return found


def _require_nothing(schema: Schema) -> Schema:
    schema.pop("required", None)
    target = schema.get("$ref")
    if target is not None and target != _REFERENCE["$ref"]:
        schema["$ref"] = f"{target}{_OVERLAY}"
    return schema


def _reachable(schema: Schema, definitions: Schema) -> set[str]:
    """Return the names of the definitions that `schema` needs."""
    needed: set[str] = set()
    waiting = _targets(schema)
    while waiting:
        name = _unpointer(waiting.pop().removeprefix("#/$defs/"))
        if name not in needed:
            needed.add(name)
            waiting += _targets(definitions[name])
    return needed


def _targets(schema: Schema) -> list[str]:
    found: list[str] = []

    def look(inner: Schema) -> Schema:
        if "$ref" in inner:
            found.append(inner["$ref"])
        return inner

    _walk(schema, look)
    return found


def _pointer(name: str) -> str:
    """Write a name as part of a JSON Pointer within a URI (RFC 6901, 6)."""
    return quote(name.replace("~", "~0").replace("/", "~1"), safe="~.-_:")


def _unpointer(name: str) -> str:
    return unquote(name).replace("~1", "/").replace("~0", "~")
