"""From arguments to a request: where it goes, its headers, its body. Everything wrong is found here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import httpx
from pydantic_core import from_json, to_json

from aioproviders.errors import RequestError
from aioproviders.sdk.http.config import FIELD_VALUE, TOKEN
from aioproviders.sdk.http.messages import Target

__all__ = ["IDEMPOTENT", "METHODS", "SAFE", "Draft", "Endpoints", "InvalidRequestError", "draft_request"]

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that only read (RFC 9110, 9.2.1)."""
IDEMPOTENT: Final = SAFE | {"PUT", "DELETE"}
"""Methods whose repetition does no harm (RFC 9110, 9.2.2)."""

_IN_QUERY = frozenset({"GET", "HEAD", "DELETE"})
_PORTS = {"http": 80, "https": 443}
_MOST_CACHED = 512
_BETWEEN_SEGMENTS = re.compile(r"[/\\]|%2f|%5c", re.IGNORECASE)
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")


class InvalidRequestError(RequestError, ValueError):
    """A request that can't be made: a mistake of the caller's, nothing was sent."""

    counts_as_outage = False

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message, **{"retryable": False, "sent": False, **facts})


@dataclass(slots=True, repr=False)  # the headers hold credentials
class Draft:
    """A request as far as it does not depend on the attempt.

    Attributes:
        method: In capitals.
        url: Absolute, without credentials.
        headers: By name in lower case.
        body: The bytes to send, if any.
    """

    method: str
    url: Target
    headers: dict[str, str]
    body: bytes | None

    def __str__(self) -> str:
        # Without the query, which may hold what is not for everybody.
        path = self.url.path
        return f"{self.method} {path if len(path) <= 100 else path[:99] + '…'}"  # noqa: PLR2004 - a line's worth


class Endpoints:
    """Turns endpoints into URLs below one base.

    Args:
        base: The base URL; its credentials are left out.
    """

    def __init__(self, base: str) -> None:
        url = Target(httpx.URL(base).copy_with(userinfo=b""))
        self.base = url
        self.origin = origin(url)
        self._prefix = str(url).rstrip("/")
        self._known: dict[str, Target] = {}

    def url(self, endpoint: Any, params: Any = None) -> Target:
        """Return the URL of `endpoint`: a path below the base, or a whole URL of the same origin.

        Raises:
            InvalidRequestError: It is neither, or the parameters can't be put into a query.
        """
        url = self._known.get(endpoint) if isinstance(endpoint, str) else None
        if url is None:
            url = self._resolve(endpoint)
            if len(self._known) >= _MOST_CACHED:
                self._known.clear()
            self._known[endpoint] = url
        return url if not params else Target(url.copy_merge_params(_query(params)))

    def _resolve(self, endpoint: Any) -> Target:
        if not isinstance(endpoint, str):
            raise InvalidRequestError(f"endpoint should be a text, not {type(endpoint).__name__}")
        path = endpoint.partition("?")[0]
        if "#" in endpoint:
            raise InvalidRequestError("endpoint should have no '#': write %23 where it belongs to a name")
        if any(unquote(segment) in {".", ".."} for segment in _BETWEEN_SEGMENTS.split(path)):
            raise InvalidRequestError("endpoint should have no '.' or '..' between slashes")
        absolute = _ABSOLUTE.match(endpoint)
        if endpoint.startswith("//"):
            raise InvalidRequestError("endpoint should begin with one slash at most")
        if absolute:
            text = endpoint
        elif not path.strip("/"):
            # The base itself, with the slash at its end or without, as it was configured.
            text = str(self.base) + endpoint.lstrip("/")
        else:
            text = f"{self._prefix}/{endpoint.lstrip('/')}"
        try:
            url = Target(text)
        except httpx.InvalidURL:
            raise InvalidRequestError("endpoint can't be part of a URL") from None
        if origin(url) != self.origin or url.userinfo:
            raise InvalidRequestError(
                f"endpoint should be a path or a URL below {'{}://{}:{}'.format(*self.origin)}, without "
                f"credentials; requests to another origin are refused"
            )
        return url


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return scheme, host and port (RFC 6454, 4)."""
    return url.scheme, url.host, url.port or _PORTS.get(url.scheme)


def draft_request(  # noqa: PLR0913, PLR0917 - what a request is made of
    endpoints: Endpoints,
    base_headers: Mapping[str, str],
    method: Any,
    endpoint: Any,
    data: Any,
    params: Any,
    headers: Mapping[Any, Any] | None,
) -> Draft:
    """Put a request together. Nothing is taken for granted of what a caller gave.

    Args:
        endpoints: Where endpoints are.
        base_headers: Sent with every request, names in lower case; `headers` come before them.
        method: One of `METHODS`, in any case.
        endpoint: See `Endpoints.url`.
        data: JSON to send; for GET, HEAD and DELETE more query parameters.
        params: Query parameters; None leaves one out, a list repeats it.
        headers: More headers.

    Raises:
        InvalidRequestError: It can't be sent as it is.
    """
    verb = method.upper() if isinstance(method, str) else ""
    if verb not in METHODS:
        raise InvalidRequestError(f"method should be one of {', '.join(METHODS)}")
    body = None
    if data is not None and verb in _IN_QUERY:
        if not isinstance(data, Mapping):
            raise InvalidRequestError(f"data of a {verb} goes into the query, so it should be a dict")
        params = {**data, **(_mapping("params", params) if params else {})}
    elif data is not None:
        body = _json(data)
    url = endpoints.url(endpoint, params)
    merged = dict(base_headers)
    if body is not None:
        merged["content-type"] = "application/json"
    for name, value in _mapping("headers", headers).items() if headers else ():
        if not isinstance(name, str) or not TOKEN.fullmatch(name):
            raise InvalidRequestError("the name of a header should be letters, digits and hyphens")
        if not isinstance(value, str) or not FIELD_VALUE.fullmatch(value):
            raise InvalidRequestError(f"header {name} should be one line of printable ASCII")
        if name.lower() in _FRAMING:
            raise InvalidRequestError(f"header {name} follows from the request and can't be set")
        merged[name.lower()] = value
    return Draft(verb, url, merged, body)


_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade"}
)


def _json(data: Any) -> bytes:
    try:
        body = to_json(data)
        if b"NaN" in body or b"Infinity" in body:
            from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        why = str(exc).removeprefix("Error serializing to JSON: ")
        if why.startswith("expected"):
            why = "JSON has no NaN and no infinity"
        raise InvalidRequestError(f"data can't be sent as JSON: {why}") from None
    return body


def _mapping(argument: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{argument} should be a dict, not {type(value).__name__}")
    return value


def _query(params: Any) -> dict[str, Any]:
    query: dict[str, Any] = {}
    for name, value in _mapping("params", params).items():
        values = value if isinstance(value, (list, tuple)) else [value]
        if not isinstance(name, str) or not all(isinstance(v, (str, int, float, type(None))) for v in values):
            raise InvalidRequestError(
                f"query parameter {str(name)[:40]!r} should be text, a number, a truth value, or a list"
            )
        try:
            query[name] = [v.encode() and v if isinstance(v, str) else v for v in values if v is not None]
        except UnicodeEncodeError:
            raise InvalidRequestError(f"query parameter {name[:40]!r} is no valid Unicode") from None
    return query
