"""Keeping secrets out of everything that leaves: logs, errors, `repr`, health details.

Three nets: values known to be secret (from a provider's config), keys whose values are secret by
their name, and shapes that carry credentials (userinfo in URLs, authorization headers).
"""

from __future__ import annotations

import base64
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from operator import is_
from typing import Any
from urllib.parse import quote, quote_plus, unquote
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr

from aioproviders.errors import ProviderError

__all__ = ["MASK", "Redactor", "describe", "is_secret_key", "secrets_in"]

MASK = "**********"
"""What stands in a secret's place; the same that pydantic prints."""

_SECRET_WORD = re.compile(
    r"passw|passphrase|passcode|\bpwd\b|secrets?\b|tokens?\b|authorization|credential|cookies?\b|bearer\b"
    r"|\b(api|access|private|signing|encryption|client|account|shared)[ ]?key",
    re.IGNORECASE,
)
# What a name ends with when a number under it is the secret itself, not a count or a limit of such.
_ITSELF = re.compile(r"(password|passwd|pwd|passphrase|passcode|secret|token|key)$", re.IGNORECASE)
_WORD_BREAK = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
# A quote may be part of a password, but not where it ends a quoted text.
_USERINFO = re.compile(r"(?<=://)(?:[^/?#\s'\"]|['\"](?![,:;)\]}\s]|$))+(?=@)")
_QUERY = re.compile(r"(?<=[?&;])([\w.\-%\[\]]+)=([^&#\s'\"]+)")
_QUERY_SECRET = re.compile(r"\b(sig|signature|key|auth|hmac)$", re.IGNORECASE)
# What follows must look like a token and not like a word: "basic authentication failed".
_SCHEME = re.compile(
    r"(?i)\b(bearer|basic|digest|negotiate)(\s+)"
    r"(?=[\w.~+/=\-]*(?:[0-9._~+/=]|(?-i:[a-z][A-Z]))|[\w\-]{20,})[\w.~+/=\-]{6,}"
)
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s*[:=]\s*)(?:(['\"])(?:(?!\3).)+|[^\s'\"][^\r\n]*)"
)
_ENTRY = re.compile(r"(['\"])([\w.\- ]{1,64})\1(\s*:\s*b?)(['\"])((?:\\.|(?!\4)[^\\])*)\4")
_ASSIGNED = re.compile(r"(?i)\b(x-api-key|x-auth-token|api-key)(\s*[:=]\s*)([^\s'\",;]+)")
_COUNTS = (int, float, Decimal, date, time, timedelta)
_PLAIN = (*_COUNTS, type(None))
_MANY = (list, tuple, AbstractSet, deque, ValuesView)
_SHORT = 4
_DEEPEST = 12
_MOST_ITEMS = 10_000
_MOST_PASSING = 16
_CUT = "…"


def is_secret_key(key: object) -> bool:
    """Whether a value under `key` (``api_key``, ``X-Auth-Token``, ``dbPassword`` …) is taken for secret."""
    return isinstance(key, str) and bool(_SECRET_WORD.search(_words(key)))


def describe(error: BaseException) -> str:
    """Return the type and the text of `error` in one line, also of one that can't print itself."""
    text = _printed(str, error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _words(key: str) -> str:
    return _WORD_BREAK.sub(" ", key).strip()


def _printed(how: Callable[[Any], str], value: object) -> str:
    try:
        return how(value)
    except Exception:  # noqa: BLE001 - a foreign __str__ or __repr__ may raise anything
        return f"<{type(value).__name__} that can't be printed>"


class Redactor:
    """Masks secrets in texts and in nested values.

    Args:
        secrets: Values to mask wherever they turn up, also URL-quoted, in JSON or in base64.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known = {secret for secret in secrets if secret.strip()}
        forms = _longest_first(map(_forms, self._known))
        self._pattern = re.compile("|".join(map(_exact, forms))) if forms else None
        # Kept out of the pattern: compiling one anew for each fetched token costs time and memory.
        self._passing: dict[str, set[str]] = {}
        self._passing_first: tuple[str, ...] = ()
        self._passing_then: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Redactor({len(self._known) + len(self._passing)} secrets)"

    def add(self, *secrets: str) -> None:
        """Learn secrets that come and go, such as fetched tokens; the latest 16 are known."""
        learnt = False
        for secret in secrets:
            if secret in self._passing:
                self._passing[secret] = self._passing.pop(secret)  # now the latest
            elif secret.strip() and secret not in self._known:
                self._passing[secret] = _forms(secret)
                learnt = True
        if not learnt:
            return
        while len(self._passing) > _MOST_PASSING:
            del self._passing[next(iter(self._passing))]
        forms = _longest_first(self._passing.values())
        # One that contains a secret of the config goes before that, to be masked whole.
        self._passing_first = tuple(form for form in forms if self._pattern and self._pattern.search(form))
        self._passing_then = tuple(form for form in forms if form not in self._passing_first)

    def text(self, text: str) -> str:
        """Return `text` with every secret masked."""
        for form in self._passing_first:
            text = _masked(form, text)
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        for form in self._passing_then:
            text = _masked(form, text)
        if "://" in text:
            text = _USERINFO.sub(MASK, text)
        if "=" in text:
            text = _QUERY.sub(_query, text)
        if ":" in text or "=" in text:
            text = _HEADER.sub(_header, text)
            text = _ENTRY.sub(_entry, text)
            text = _ASSIGNED.sub(rf"\1\2{MASK}", text)
        return _SCHEME.sub(rf"\1\2{MASK}", text)

    def value(self, value: Any) -> Any:
        """Return a copy of `value` made of plain types, with every secret in it masked.

        It ends in "…" where `value` comes back to what it is in, is more than 12 levels deep, or has
        more than 10,000 items in all.
        """
        return self._value(value, _Walk())

    def _value(self, value: Any, walk: _Walk) -> Any:
        if isinstance(value, str):
            return self.text(str(value))
        if isinstance(value, _PLAIN):
            return value
        if len(walk.path) >= _DEEPEST or id(value) in walk.path:
            return _CUT
        fields = _fields(value)
        if fields is None and not isinstance(value, _MANY):
            return MASK if isinstance(value, (SecretStr, SecretBytes)) else self.text(_plain_text(value))
        walk.path.append(id(value))
        copy: Any
        if fields is None:
            copy = [self._value(item, walk) for item in walk.through(value, _CUT)]
        else:
            entries = walk.through(fields.items(), (_CUT, _CUT))
            copy = {self._key(key): self._entry(key, item, walk) for key, item in entries}
        walk.path.pop()
        return copy

    def _key(self, key: Any) -> str:
        return self.text(key if isinstance(key, str) else _printed(str, key))

    def _entry(self, key: Any, item: Any, walk: _Walk) -> Any:
        if not is_secret_key(key) or item is None or isinstance(item, bool):
            return self._value(item, walk)
        # A number may be a count or a limit (`max_tokens`).
        if isinstance(item, _COUNTS) and not _ITSELF.search(_words(key)):
            return item
        return MASK

    def scrub(self, error: BaseException) -> None:
        """Make `error` and all it is chained from safe to print.

        A foreign exception can't be changed safely, so one that shows a secret is replaced in the
        chain by a stand-in that keeps its type's name, its text without the secret and its traceback.
        """
        done: dict[int, BaseException] = {id(error): error}
        self._clean(error)
        self._link(error, error, done)

    def _link(self, old: BaseException, new: BaseException, done: dict[int, BaseException]) -> None:
        """Give `new` the chain of `old`, made safe."""
        silent = old.__suppress_context__
        cause, context = old.__cause__, old.__context__
        new.__cause__ = cause and self._safe(cause, done)
        new.__context__ = context and self._safe(context, done)
        new.__suppress_context__ = silent

    def _safe(self, error: BaseException, done: dict[int, BaseException]) -> BaseException:
        """Return `error` if nothing of it shows a secret, else what stands for it."""
        if id(error) in done:
            return done[id(error)]
        done[id(error)] = safe = self._stand_in(error, done)
        if safe is not error:
            safe.__traceback__ = error.__traceback__
            for note in getattr(error, "__notes__", ()):
                safe.add_note(self.text(str(note)))
        self._link(error, safe, done)
        return safe

    def _stand_in(self, error: BaseException, done: dict[int, BaseException]) -> BaseException:
        if isinstance(error, ProviderError):
            self._clean(error)
            return error
        notes = map(str, getattr(error, "__notes__", ()))
        if isinstance(error, BaseExceptionGroup):
            members = [self._safe(member, done) for member in error.exceptions]
            shown = "\n".join([error.message, *notes])
            if self.text(shown) == shown and all(map(is_, members, error.exceptions)):
                return error
            return BaseExceptionGroup(self.text(error.message), members)
        shown = "\n".join([_printed(str, error), _printed(repr, error), *notes])
        return error if self.text(shown) == shown else RedactedError(self.text(describe(error)))

    def _clean(self, error: BaseException) -> None:
        """Mask secrets in the error itself, which is one of ours."""
        if isinstance(error, ProviderError):
            error.message = self.text(error.message)
        error.args = tuple(self.text(item) if isinstance(item, str) else item for item in error.args)
        if hasattr(error, "__notes__"):
            error.__notes__ = [self.text(str(note)) for note in error.__notes__]


class _Walk:
    """Where a walk through a nested value is, and how far it may go on.

    Attributes:
        path: The ids of what it is inside of.
        left: How many items it may still visit.
    """

    __slots__ = ("left", "path")

    def __init__(self) -> None:
        self.path: list[int] = []
        self.left = _MOST_ITEMS

    def through(self, items: Iterable[Any], end: Any) -> Iterator[Any]:
        """Go through `items`; where it may not go on, `end` stands for the rest."""
        for item in items:
            if not self.left:
                yield end
                return
            self.left -= 1
            yield item


def _query(found: re.Match[str]) -> str:
    name = found[1]
    hidden = is_secret_key(name) or _QUERY_SECRET.search(_words(name))
    return f"{name}={MASK}" if hidden else found[0]


def _header(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}{found[3] or ''}{MASK}"


def _entry(found: re.Match[str]) -> str:
    quote_1, key, colon, quote_2 = found[1], found[2], found[3], found[4]
    return f"{quote_1}{key}{quote_1}{colon}{quote_2}{MASK}{quote_2}" if is_secret_key(key) else found[0]


def _fields(value: Any) -> Mapping[Any, Any] | None:
    """Return what `value` holds by name, if it does: a mapping, a model, a dataclass, a named tuple."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, type):
        return None
    if isinstance(value, BaseModel):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    return None


def _plain_text(value: Any) -> str:
    if isinstance(value, BaseException):
        return describe(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    return _printed(str if isinstance(value, UUID) else repr, value)


class RedactedError(Exception):
    """Stands in an exception chain for a foreign exception whose text held a secret."""


def secrets_in(value: Any, *, _key: object = None) -> set[str]:
    """Collect what is secret in a config.

    That is `SecretStr` values, credentials in URLs, and strings under secret keys.
    """
    if isinstance(value, (SecretStr, SecretBytes)):
        secret = value.get_secret_value()
        return {secret if isinstance(secret, str) else secret.decode("utf-8", "backslashreplace")}
    if isinstance(value, str):
        found = {value} if is_secret_key(_key) else set()
        for userinfo in _USERINFO.findall(value) if "://" in value else ():
            _, _, password = userinfo.partition(":")
            found |= {password, unquote(password)} if password else {userinfo, unquote(userinfo)}
        return found
    if isinstance(value, BaseModel):
        # A field's name is no sign: only what the author typed as secret is (`token_url` is none).
        return set().union(*(secrets_in(getattr(value, name)) for name in type(value).model_fields))
    if isinstance(value, Mapping):
        return set().union(*(secrets_in(item, _key=key) for key, item in value.items()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return set().union(*(secrets_in(item, _key=_key) for item in value))
    return set()


def _forms(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode()).decode()
    forms = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        encoded,
    }
    return forms | {repr(secret)[1:-1]}


def _longest_first(forms: Iterable[set[str]]) -> list[str]:
    # So that a secret that contains another is masked whole.
    return sorted(set().union(*forms), key=len, reverse=True)


def _masked(form: str, text: str) -> str:
    return text.replace(form, MASK) if len(form) >= _SHORT else re.sub(_exact(form), MASK, text)


def _exact(form: str) -> str:
    # A short secret is masked only where it stands alone, or it would mask half of every text.
    return re.escape(form) if len(form) >= _SHORT else rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"
