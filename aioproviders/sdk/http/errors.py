"""Where httpx's exceptions and HTTP's statuses become a `ProviderError`, and what may be retried is decided.

| what | becomes | sent | retried |
|---|---|---|---|
| no connection: refused, DNS, proxy, connect and pool timeout | unavailable, timeout | no | any method |
| TLS failed | unavailable | no | never |
| reset, broken off, read and write timeout | unavailable, timeout | yes | idempotent ones |
| 408, 425, 429, 503: refused | request, rate limited | no | any method |
| other 5xx | request | yes | idempotent ones |
| 401, 403 / 404, 410 / 409, 412 / other 4xx | authentication / not found / conflict / request | yes | never |

Idempotent is what RFC 9110, 9.2.2 says, and what carries an idempotency key.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus

import httpx

from aioproviders.calls import Call
from aioproviders.errors import (
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RequestError,
)
from aioproviders.sdk import SDKResponse
from aioproviders.sdk.http.answers import Answer, excerpt
from aioproviders.sdk.http.bodies import ResponseTooLarge
from aioproviders.sdk.http.drafts import InvalidRequestError
from aioproviders.sdk.statuses import error_of_status

__all__ = ["error_of_answer", "error_of_exception", "failed_response"]

_BAD_LOCATION = "Invalid URL in location header"  # how httpx begins to say so


def error_of_answer(answer: Answer, what: str, *, attach: bool = True) -> ProviderError:
    """Return the error for an answer that is a failure.

    Args:
        answer: Of a status that is no success.
        what: The request, for the message.
        attach: Whether the answer goes along, for `failed_response`.
    """
    status = answer.status
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    said = excerpt(answer)
    message = f"{what} was answered {status}{phrase}{f': {said}' if said else ''}"
    error = error_of_status(status, message, answer.headers)
    if attach:
        vars(error)["answer"] = answer
    return error


def failed_response(error: ProviderError, call: Call) -> SDKResponse:
    """Make the response of a call that failed; with the service's answer, where there was one."""
    response = SDKResponse.from_error(error, call)
    answer = vars(error).get("answer")
    if not isinstance(answer, Answer):
        return response
    found = {"data": answer.data, "headers": answer.headers, "request_id": answer.request_id or call.id}
    return response.model_copy(update=found)


def error_of_exception(exc: httpx.HTTPError | httpx.InvalidURL, what: str, url: httpx.URL) -> ProviderError:  # noqa: PLR0911 - one table
    """Return the error for what httpx raised.

    Args:
        exc: The exception; to be chained by the caller.
        what: The request, for the message.
        url: Where it went; host and port are named.
    """
    host = f"{url.host}:{url.port or (443 if url.scheme == 'https' else 80)}"
    text = str(exc) or type(exc).__name__
    message = f"{what}: {text}" if host in text else f"{what} to {host}: {text}"
    if text.startswith(_BAD_LOCATION):
        return RequestError(f"{what} was redirected to what is no valid URL")
    match exc:
        case ResponseTooLarge() | httpx.DecodingError():
            return RequestError(message)
        case httpx.PoolTimeout() | httpx.ConnectTimeout():
            return ProviderTimeoutError(message, sent=False)
        case httpx.ConnectError() | httpx.ProxyError():
            return ProviderUnavailableError(message, sent=False, retryable=not _is_tls(exc))
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError() | httpx.InvalidURL():
            return InvalidRequestError(message)
        case httpx.TimeoutException():
            return ProviderTimeoutError(message)
        case httpx.TransportError():
            return ProviderUnavailableError(message)
    return RequestError(message)


def _is_tls(exc: BaseException | None) -> bool:
    seen = 0
    while exc is not None and seen < 10:  # noqa: PLR2004 - a chain may be a ring
        if isinstance(exc, ssl.SSLError):
            return True
        exc, seen = exc.__cause__ or exc.__context__, seen + 1
    return False
