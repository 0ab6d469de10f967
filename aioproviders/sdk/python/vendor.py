"""What a vendor's package raises and returns, in our terms: `ProviderError`, and plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from aioproviders.errors import (
    AuthenticationError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from aioproviders.resilience import translate
from aioproviders.sdk.statuses import error_of_status

__all__ = ["as_data", "error_of_vendor"]

_STATUS_NAMES = ("status_code", "status", "http_status")
_AUTHENTICATION = frozenset(
    {"AuthenticationError", "AuthenticationFailed", "AuthError", "Unauthorized", "UnauthorizedError"}
)
_LONGEST_CHAIN = 10
_DEEPEST = 32
_FAILURES = range(400, 600)


def error_of_vendor(exc: Exception) -> ProviderError:
    """Return the error that `exc` means; chaining is the caller's.

    In this order: a connection error or timeout; a status that it or its ``response`` carries; a class
    called ``AuthenticationError`` or the like; a connection error or timeout that it was raised from;
    else one that is not worth a retry.
    """
    if isinstance(exc, (ProviderError, ConnectionError, TimeoutError)):
        return translate(exc)
    text = str(exc)
    message = f"{type(exc).__name__}: {text}" if text else type(exc).__name__
    response = getattr(exc, "response", None)
    for source in (exc, response):
        for name in _STATUS_NAMES:
            status = getattr(source, name, None)
            if isinstance(status, int) and status in _FAILURES:
                return error_of_status(int(status), message, _headers(response) or _headers(exc))
    if any(cls.__name__ in _AUTHENTICATION for cls in type(exc).__mro__):
        return AuthenticationError(message)
    # The vendor may have tried more than this one time, so what it was raised from counts as sent.
    if any(isinstance(origin, TimeoutError) for origin in _origins(exc)):
        return ProviderTimeoutError(message)
    if any(isinstance(origin, ConnectionError) for origin in _origins(exc)):
        return ProviderUnavailableError(message)
    return translate(exc)


def as_data(value: Any, *, _path: frozenset[int] = frozenset()) -> Any:
    """Return a vendor's result as plain data, as far as it says how.

    Pydantic models, dataclasses and what has ``model_dump()`` or ``to_dict()`` become dicts, inside
    lists and dicts too; every other object stays what it is, as does one that leads back to itself.
    """
    if value is None or isinstance(value, (str, bytes, int, float, type)):
        return value
    if id(value) in _path or len(_path) > _DEEPEST:
        return value
    path = _path | {id(value)}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [as_data(item, _path=path) for item in value]
    plain = _fields(value)
    if plain is value and not isinstance(value, Mapping):
        return value
    if not isinstance(plain, Mapping):
        return as_data(plain, _path=path)
    return {key: as_data(item, _path=path) for key, item in plain.items()}


def _fields(value: Any) -> Any:
    if isinstance(value, Mapping):
        return value
    for name in ("model_dump", "to_dict"):
        dump = getattr(value, name, None)
        if callable(dump):
            try:
                return dump()
            except Exception:  # noqa: BLE001 - the request worked: its result is handed over as it came
                return value
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return value


def _headers(source: Any) -> dict[str, str]:
    headers = getattr(source, "headers", None)
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _origins(exc: BaseException) -> Iterator[BaseException]:
    link = exc
    for _ in range(_LONGEST_CHAIN):
        origin = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        if origin is None:
            return
        yield origin
        link = origin
