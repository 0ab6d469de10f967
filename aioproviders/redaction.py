"""Keeping secrets out of everything that leaves: logs, errors, `repr`, health details.

Three nets: values known to be secret (from a provider's config), keys whose values are secret by
their name, and shapes that carry credentials (userinfo in URLs, authorization headers).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote, quote_plus, unquote
from uuid import UUID

from pydantic import BaseModel, SecretBytes, SecretStr

__all__ = ["MASK", "Redactor", "is_secret_key", "secrets_in"]

MASK = "**********"
"""What stands in a secret's place; the same that pydantic prints."""

_SECRET_WORD = re.compile(
    r"passw|passphrase|passcode|\bpwd\b|secret|token|authorization|credential|cookie|bearer"
    r"|\b(api|access|private|signing|encryption|client|account|shared)[ ]?key",
    re.IGNORECASE,
)
_WORD_BREAK = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_USERINFO = re.compile(r"(?<=://)[^/?#\s@'\"]+(?:@[^/?#\s@'\"]+)*(?=@)")
_QUERY = re.compile(
    r"(?i)(?<=[?&;])([a-z0-9_.\-]*(?:pass|secret|token|key|sig|auth|credential)[a-z0-9_.\-]*=)[^&#\s'\"]+"
)
_SCHEME = re.compile(r"(?i)\b(bearer|basic|digest|negotiate)(\s+)(?=[a-z0-9])[\w.~+/=\-]{6,}")
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|cookie|set-cookie|x-api-key|x-auth-token|api-key)(['\"]?\s*[:=]\s*['\"]?)"
    r"(?!(?:bearer|basic|digest|negotiate)\b)([^\s'\",;]+)"
)
_PLAIN = (bool, int, float, Decimal, date, time, timedelta, UUID, type(None))
_SHORT = 6
_DEEPEST = 12


def is_secret_key(key: object) -> bool:
    """Whether a value under `key` (``api_key``, ``X-Auth-Token``, ``dbPassword`` …) is taken for secret."""
    return isinstance(key, str) and bool(_SECRET_WORD.search(_WORD_BREAK.sub(" ", key)))


class Redactor:
    """Masks secrets in texts and in nested values.

    Args:
        secrets: Values to mask wherever they turn up, also URL-quoted, in JSON or in base64.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self.add(*secrets)

    def __repr__(self) -> str:
        return f"Redactor({len(self._known)} secrets)"

    def add(self, *secrets: str) -> None:
        """Learn more secrets, such as a token that was fetched."""
        new = {secret for secret in secrets if secret.strip()} - self._known
        if not new:
            return
        self._known |= new
        forms = {form for secret in self._known for form in _forms(secret)}
        # Longest first, so that a secret that contains another is masked whole.
        self._pattern = re.compile("|".join(map(_exact, sorted(forms, key=len, reverse=True))))

    def text(self, text: str) -> str:
        """Return `text` with every secret masked."""
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        if "://" in text:
            text = _USERINFO.sub(MASK, text)
        text = _QUERY.sub(rf"\1{MASK}", text)
        text = _SCHEME.sub(rf"\1\2{MASK}", text)
        return _HEADER.sub(rf"\1\2{MASK}", text)

    def value(self, value: Any, *, _depth: int = 0) -> Any:
        """Return a copy of `value` made of plain types, with every secret in it masked."""
        if isinstance(value, str):
            return self.text(str(value))
        if isinstance(value, _PLAIN):
            return value
        if isinstance(value, (SecretStr, SecretBytes)):
            return MASK
        if _depth >= _DEEPEST:
            return "…"
        if isinstance(value, BaseModel):
            return self.value(
                {name: getattr(value, name) for name in type(value).model_fields}, _depth=_depth
            )
        if isinstance(value, Mapping):
            return {self._key(key): self._entry(key, item, _depth + 1) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.value(item, _depth=_depth + 1) for item in value]
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {value}")
        if isinstance(value, (bytes, bytearray, memoryview)):
            return self.text(bytes(value).decode("utf-8", "backslashreplace"))
        return self.text(repr(value))

    def _key(self, key: Any) -> str:
        return self.text(key if isinstance(key, str) else str(key))

    def _entry(self, key: Any, item: Any, depth: int) -> Any:
        # Numbers under such keys are counts and limits (`max_tokens`), not secrets.
        if is_secret_key(key) and not isinstance(item, _PLAIN):
            return MASK
        return self.value(item, _depth=depth)

    def scrub(self, error: BaseException) -> None:
        """Make `error` and all it is chained from safe to print.

        A foreign exception can't be changed safely, so one that shows a secret is replaced in the
        chain by a stand-in that keeps its type's name, its text without the secret and its traceback.
        """
        seen = {id(error)}
        link: BaseException = error
        while True:
            cause = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
            if cause is None or id(cause) in seen:
                return
            safe = self._safe(cause)
            if safe is not cause:
                if link.__cause__ is not None:
                    link.__cause__ = safe
                else:
                    link.__context__ = safe
            seen.add(id(safe))
            link = safe

    def _safe(self, error: BaseException) -> BaseException:
        shown = "\n".join([str(error), repr(error), *getattr(error, "__notes__", ())])
        if not isinstance(error, BaseExceptionGroup) and self.text(shown) == shown:
            return error
        if isinstance(error, BaseExceptionGroup):
            members = [self._safe(member) for member in error.exceptions]
            if all(new is old for new, old in zip(members, error.exceptions, strict=True)):
                return error
            stand_in: BaseException = error.derive(members)
        else:
            stand_in = RedactedError(self.text(f"{type(error).__name__}: {error}"))
        stand_in.__traceback__ = error.__traceback__
        stand_in.__cause__ = error.__cause__
        stand_in.__context__ = error.__context__
        stand_in.__suppress_context__ = error.__suppress_context__
        return stand_in


class RedactedError(Exception):
    """Stands in an exception chain for a foreign exception whose text held a secret."""


def secrets_in(value: Any, *, _key: object = None) -> set[str]:
    """Collect what is secret in a config: `SecretStr` values, credentials in URLs, values under secret keys."""
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


def _exact(form: str) -> str:
    # A short secret is masked only where it stands alone, or it would mask half of every text.
    return re.escape(form) if len(form) >= _SHORT else rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"
