"""aiohttp's exceptions as httpx's: a retry policy must tell what was surely not sent from what may have been.

Surely not sent: `httpx.ConnectError`, `ConnectTimeout`, `PoolTimeout`, `ProxyError`, `UnsupportedProtocol`.
May have been sent: `httpx.ReadError`, `ReadTimeout`, `WriteError`, `WriteTimeout`, `RemoteProtocolError`.
The caller's mistake: `httpx.LocalProtocolError` (a header that can't be sent, a body unlike its length).

No message and no chained exception carries the request's URL or headers: both may hold secrets.
"""

import errno
import os

import aiohttp
import httpx


def not_sent(exc: Exception, req: aiohttp.ClientRequest) -> httpx.TransportError:
    """The httpx exception for a failure before the request's first byte was written."""
    place = f"{req.host}:{req.port}"
    if isinstance(exc, TimeoutError):
        return httpx.ConnectTimeout(f"connecting to {place} took too long")
    if isinstance(exc, aiohttp.ClientSSLError):
        return httpx.ConnectError(f"TLS with {place} failed: {exc.os_error}")
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return httpx.ProxyError(f"the proxy refused a tunnel to {place}: {exc.status} {exc.message}")
    reason = _reason(exc.os_error) if isinstance(exc, aiohttp.ClientConnectorError) else type(exc).__name__
    if req.proxy is not None:
        return httpx.ProxyError(f"cannot connect to {place} through the proxy: {reason}")
    return httpx.ConnectError(f"cannot connect to {place}: {reason}")


def _reason(error: OSError) -> str:
    """The system's words for it ("Connection refused"), without asyncio's own around them."""
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def maybe_sent(exc: Exception, request: httpx.Request) -> tuple[Exception, BaseException | None]:
    """The httpx exception for a failure on a connection and what to chain it from.

    What is no error of the wire stays itself, and its chain what it was.
    """
    error = _maybe_sent(exc, request)
    return error, (exc.__cause__ if error is exc else bare_cause(exc))


def _maybe_sent(exc: Exception, request: httpx.Request) -> Exception:  # noqa: C901, PLR0911 -- one table
    match exc:
        case httpx.RequestError():  # from the connector or the request's body
            exc.request = request
            return exc
        case TimeoutError():
            return httpx.ReadTimeout("the server sent nothing for too long", request=request)
        case aiohttp.ServerDisconnectedError():
            return httpx.RemoteProtocolError(
                "the server closed the connection without an answer", request=request
            )
        case aiohttp.ClientPayloadError():
            return httpx.RemoteProtocolError("the response's body broke off or is malformed", request=request)
        case aiohttp.ClientResponseError() | aiohttp.http_exceptions.HttpProcessingError():
            return httpx.RemoteProtocolError("the server's answer is no valid HTTP", request=request)
        case aiohttp.InvalidURL():
            return httpx.ConnectError("the request's URL is invalid", request=request)
        case aiohttp.ClientConnectionResetError() | OSError(errno=errno.EPIPE):
            return httpx.WriteError("the connection was lost while the request was sent", request=request)
        case aiohttp.ClientError() | OSError():
            return httpx.ReadError(
                "the connection was lost before the response was complete", request=request
            )
        case ValueError():  # raised by aiohttp while it builds the request
            return httpx.LocalProtocolError(
                "the request's method, headers or target can't be sent", request=request
            )
    if type(exc).__module__.partition(".")[0] == "aiohttp":
        return httpx.RemoteProtocolError(f"the exchange failed: {type(exc).__name__}", request=request)
    return exc


def bare_cause(exc: BaseException) -> BaseException | None:
    """What to chain a translated exception from: aiohttp's own unless that carries the URL or headers."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        return exc
    telling = isinstance(exc, (aiohttp.ClientResponseError, aiohttp.InvalidURL, aiohttp.ClientOSError))
    partial = isinstance(exc, aiohttp.ServerDisconnectedError) and not isinstance(exc.message, str)
    return exc.__cause__ if telling or partial else exc
