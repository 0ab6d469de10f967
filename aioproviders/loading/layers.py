"""The base of a providers file, the overlay of an environment, and the two merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aioproviders.factory import did_you_mean
from aioproviders.loading.problems import KeyPath, Problems, look_up, render

__all__ = ["Layers", "layers_of", "merge"]

Table = dict[str, Any]


def merge(base: Table, overlay: Table) -> Table:
    """Return `base` with `overlay` put on: tables are merged, all else, arrays too, replaces."""
    merged = dict(base)
    for key, value in overlay.items():
        before = merged.get(key)
        merged[key] = merge(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


@dataclass(frozen=True, slots=True)
class Layers:
    """The providers of a file: the base, and the overlay of one environment.

    Attributes:
        base: Tables by provider name.
        overlay: Likewise; empty without an environment.
        environment: Whose overlay it is.
    """

    base: Table
    overlay: Table
    environment: str | None

    def merged(self) -> Table:
        """Return the tables as they hold, in the file's order."""
        return merge(self.base, self.overlay)

    def path(self, name: str, *keys: str | int) -> KeyPath:
        """Return where in the file the value at `keys` of a provider comes from."""
        own = (name, *keys)
        overlaid = name not in self.base or (bool(keys) and look_up(self.overlay, own)[0])
        if self.environment is not None and overlaid:
            return ("environments", self.environment, "providers", *own)
        return ("providers", *own)


def layers_of(document: Table, environment: str | None, problems: Problems) -> Layers | None:
    """Check the outer shape of a file, and take out what holds for `environment`.

    None when there is nothing sensible to go on with; `problems` says why.
    """
    _only(document, ("providers", "environments", "$schema"), (), problems)
    if not isinstance(document.get("$schema", ""), str):
        problems.add(("$schema",), "should be a string")
    if "providers" not in document and "environments" not in document:
        problems.add((), "should have a table 'providers'")
        return None
    base = _tables(document.get("providers", {}), ("providers",), problems)
    environments = _table(document.get("environments", {}), ("environments",), problems)
    overlays = {}
    for name, table in environments.items():
        path = ("environments", name)
        overlay = _table(table, path, problems)
        _only(overlay, ("providers",), path, problems)
        overlays[name] = _tables(overlay.get("providers", {}), (*path, "providers"), problems)
    if environment is None:
        return Layers(base, {}, None)
    if environment in overlays:
        return Layers(base, overlays[environment], environment)
    if overlays:
        known = ", ".join(render((name,)) for name in overlays)
        text = f"has no {render((environment,))}; there are {known}{did_you_mean(environment, overlays)}"
    else:
        text = f"the file has none, so no {render((environment,))}"
    problems.add(("environments",), text)
    return None


def _table(value: Any, path: KeyPath, problems: Problems) -> Table:
    if isinstance(value, dict):
        return value
    problems.add(path, "should be a table")
    return {}


def _tables(value: Any, path: KeyPath, problems: Problems) -> Table:
    """Return the entries of a table of tables, those that are none noted and left out."""
    found = {}
    for name, table in _table(value, path, problems).items():
        if not isinstance(table, dict):
            problems.add((*path, name), "should be a table")
        elif not name.strip():
            problems.add((*path, name), "should have a name that is not empty")
        else:
            found[name] = table
    return found


def _only(table: Table, known: tuple[str, ...], path: KeyPath, problems: Problems) -> None:
    """Note the keys of `table` that aren't `known`."""
    for key in table:
        if key not in known:
            problems.add(
                (*path, key), f"is no key here; there may be {', '.join(known)}{did_you_mean(key, known)}"
            )
