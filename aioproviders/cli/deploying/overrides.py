"""``--set key=value``: a deployment's config with some of its settings replaced."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from aioproviders.cli.boundary import UsageError
from aioproviders.deployment import DeploymentConfig
from aioproviders.loading.messages import Explainer
from aioproviders.loading.problems import KeyPath, render

__all__ = ["overridden"]

_PART = re.compile(r'(?:"([^"]+)"|([^."=]+))([.=])')

ConfigT = TypeVar("ConfigT", bound=DeploymentConfig)


@dataclass(frozen=True, slots=True)
class _Assignment:
    """One key, and what its text likely means, and what else it may mean, if anything.

    `flaw` is why the text is not the JSON that it begins as.
    """

    path: KeyPath
    likely: Any
    other: tuple[Any, ...] = ()
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class _Wrong:
    """What a config's class has against it: where, and what would be right."""

    found: tuple[tuple[KeyPath, str], ...]

    def blames(self, assignment: _Assignment) -> bool:
        return any(path[: len(assignment.path)] == assignment.path for path, _ in self.found)

    def lines(self, wanted: Sequence[_Assignment], *, version: bool) -> list[str]:
        """Return a line for each; with `version` that one is an option's own."""
        flaws = {assignment.path: assignment.flaw for assignment in wanted if assignment.flaw}
        lines = []
        for path, phrase in self.found:
            own = version and path == ("version",)
            parts = ("--version" if own else "--set", "" if own else render(path), phrase)
            lines.append(": ".join(filter(None, parts)) + flaws.get(path, ""))
        return lines


def overridden(config: ConfigT, assignments: Sequence[str], version: str | None = None) -> ConfigT:
    """Return `config` with settings replaced.

    A value is what its setting's type makes of the text, or of the text as JSON. What was secret stays so.

    Args:
        config: What the providers file says.
        assignments: ``key.of.setting=value`` each; a key with dots in it stands in double quotes.
        version: The version, if another one.

    Raises:
        UsageError: Unknown settings, or values that are not right for theirs; a line each.
    """
    wanted = [_read(text) for text in assignments]
    if version is not None:
        wanted.append(_Assignment(("version",), version))
    if not wanted:
        return config
    plain = _plain(config)
    chosen = [0] * len(wanted)
    outcome = _attempt(config, plain, wanted, chosen)
    # What is wrong as the likeliest reading may be right as the other: first those that are blamed by name.
    for by_name in (True, False):
        for index, assignment in enumerate(wanted):
            if not isinstance(outcome, _Wrong):
                return outcome
            if chosen[index] or not assignment.other or (by_name and not outcome.blames(assignment)):
                continue
            chosen[index] = 1
            other = _attempt(config, plain, wanted, chosen)
            if not isinstance(other, _Wrong) or (by_name and not other.blames(assignment)):
                outcome = other
            else:
                chosen[index] = 0
    if isinstance(outcome, _Wrong):
        raise UsageError("\n".join(outcome.lines(wanted, version=version is not None)))
    return outcome


def _attempt(
    config: ConfigT, plain: Mapping[str, Any], wanted: Sequence[_Assignment], chosen: Sequence[int]
) -> ConfigT | _Wrong:
    """Return the config with one reading of each value, or what is wrong with it."""
    data = _copied(plain)
    for assignment, other in zip(wanted, chosen, strict=True):
        _put(data, assignment.path, assignment.other[0] if other else assignment.likely)
    try:
        return type(config).model_validate(data)
    except ValidationError as error:
        texts = (reading for each in wanted for reading in (each.likely, *each.other))
        inserted = frozenset(text for text in texts if isinstance(text, str))
        return _Wrong(tuple(Explainer(type(config), data, inserted).explain(error)))


def _read(text: str) -> _Assignment:
    path: list[str | int] = []
    position, end = 0, ""
    while end != "=":
        match = _PART.match(text, position)
        if match is None:
            # Not shown: the value may well be a secret.
            raise UsageError("--set: should be 'key=value', such as 'replicas=3' or 'env.MODE=fast'")
        part = match[1] or match[2]
        path.append(int(part) if part.isdecimal() and path and match[1] is None else part)
        position, end = match.end(), match[3]
    if path[0] == "name":
        raise UsageError("--set: name: is the file's; another deployment needs a table of its own")
    return _meant(tuple(path), text[position:])


def _meant(path: KeyPath, text: str) -> _Assignment:
    try:
        decoded = json.loads(text)
    except json.JSONDecodeError as error:
        flaw = f" (it is no JSON: {error.msg} at character {error.pos + 1})" if text[:1] in "{[" else ""
        return _Assignment(path, text, flaw=flaw)
    except (ValueError, RecursionError):
        return _Assignment(path, text)
    if isinstance(decoded, (dict, list)):
        # A secret that is misspelt should be refused, not become a variable in clear.
        meant_secret = isinstance(decoded, dict) and difflib.get_close_matches("secret", decoded)
        return _Assignment(path, decoded, () if meant_secret else (text,))
    if decoded is None:
        return _Assignment(path, None, (text,))  # what can be unset is meant to be, and no file called null
    return _Assignment(path, text, (decoded,))


def _plain(value: Any) -> Any:
    """Return what was said of `value`, without defaults, as dicts and lists that can be changed."""
    if isinstance(value, BaseModel):
        return {
            name: _plain(getattr(value, name))
            for name in type(value).model_fields
            if name in value.model_fields_set
        }
    return _copied(value)


def _copied(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copied(item) for item in value]
    return value


def _put(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    """Set the value at `path`, and make the tables on the way where there are none."""
    inner: Any = data
    if len(path) > 1 and path[-1] == "secret" and isinstance(_at(data, path[:-1]), SecretStr):
        path = path[:-1]  # as the file has it; here it is the secret itself
    for position, part in enumerate(path):
        where = render(path[: position + 1])
        key = _key_in(inner, part, where)
        if position == len(path) - 1:
            before = inner[key] if isinstance(inner, list) else inner.get(key)
            keep_secret = isinstance(before, SecretStr) and isinstance(value, str)
            inner[key] = SecretStr(value) if keep_secret else value
            return
        if not isinstance(inner, list) and inner.get(key) is None:
            inner[key] = {}
        inner = inner[key]


def _at(data: Any, path: KeyPath) -> Any:
    """Return what stands at `path`; None where nothing does."""
    for part in path:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _key_in(inner: Any, part: str | int, where: str) -> Any:
    if isinstance(inner, dict):
        return str(part)
    if isinstance(inner, list):
        if isinstance(part, int) and part < len(inner):
            return part
        raise UsageError(f"--set: {where}: should be one of the {len(inner)} there are, from 0 on")
    raise UsageError(f"--set: {where}: is no known setting, there are none in it")
