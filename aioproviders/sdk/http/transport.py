"""httpx on aiohttp's wire: an `httpx.AsyncBaseTransport` over one pool of aiohttp's connections.

It sends what httpx made of a request, byte for byte, and once: no header, cookie, redirect, quoting,
decompression or second try of aiohttp's own. What can go wrong, and what it means for a retry, is in
`aioproviders.sdk.http.wire_errors`. HTTP/1.1 only.
"""

import asyncio
import base64
import functools
import re
import ssl
import time
import urllib.request
from collections.abc import Iterable
from typing import Any

import aiohttp
import anyio
import httpx
import yarl
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection

from aioproviders.phases import recorded_phases
from aioproviders.sdk.http.bodies import RequestBody, ResponseBody, ResponseTooLarge, has_content, too_large
from aioproviders.sdk.http.config import TOKEN
from aioproviders.sdk.http.connector import Connector, Slots
from aioproviders.sdk.http.messages import PlainRequest, StreamedResponse, Target
from aioproviders.sdk.http.wire import BareRequest, Reply, head_of, send
from aioproviders.sdk.http.wire_errors import maybe_sent

__all__ = ["DEFAULT_LIMITS", "AiohttpTransport", "ResponseTooLarge"]

DEFAULT_LIMITS = httpx.Limits(max_connections=100)
"""100 connections, kept alive for 5 idle seconds."""

_WHOLE_BODY = 32_768  # bytes that always fit the socket's buffer, so that no write timeout is needed
_MOST_ORIGINS = 512
_CLOSE_SECONDS = 2.0  # for sockets to close in
_EMPTY: dict[str, Any] = {}
_NOT_IN_TARGET = re.compile(r"[\x00-\x20\x7f]")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")  # RFC 9110, 5.5


class AiohttpTransport(httpx.AsyncBaseTransport):
    """A transport for `httpx.AsyncClient` whose queue is fair and whose errors can be trusted.

    It belongs to the event loop of its first request. Request extensions that it knows: ``timeout`` (httpx's
    own: ``connect`` covers DNS, TCP, proxy and TLS together), ``max_response_bytes`` (see `ResponseTooLarge`;
    None, the default, means no limit) and ``target`` (bytes to send as the request target).

    Args:
        verify: True for the usual authorities, False for no check at all, a path to a CA file, or a context.
        cert: The client's certificate: a path to a PEM file, or (certificate, key[, password]).
        limits: Of the pool; None in ``max_connections`` or ``max_keepalive_connections`` means unlimited.
        proxy: An ``http://`` or ``https://`` URL, credentials and all, or an `httpx.Proxy`; None: direct.
        trust_env: Whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY and SSL_CERT_FILE, SSL_CERT_DIR count.

    Raises:
        ValueError: The proxy is none that can be used, or ``cert`` is given beside a context of your own.
        OSError: A certificate can't be read.
    """

    def __init__(
        self,
        *,
        verify: bool | str | ssl.SSLContext = True,
        cert: str | tuple[str, str] | tuple[str, str, str] | None = None,
        limits: httpx.Limits = DEFAULT_LIMITS,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        trust_env: bool = False,
    ) -> None:
        self._limits = limits
        self._ssl = _context(verify, cert, trust_env=trust_env)
        self._proxy = None if proxy is None else _Proxy(proxy)
        self._env_proxies: dict[str, str] = {}
        if trust_env and proxy is None:
            self._env_proxies = urllib.request.getproxies_environment()
        self._by_scheme = {
            scheme: _Proxy(url)
            for scheme in ("http", "https")
            if (url := self._env_proxies.get(scheme) or self._env_proxies.get("all"))
        }
        self._slots = Slots(limits.max_connections)
        self._live: set[Reply | aiohttp.ClientResponse] = set()
        self._keys: dict[tuple[str, bytes], ConnectionKey] = {}
        self._session: aiohttp.ClientSession | None = None
        self._connector: Connector | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def in_use(self) -> int:
        """Requests that hold a slot of the pool now."""
        return self._slots.in_use

    @property
    def waiting(self) -> int:
        """Requests in the queue for a slot."""
        return self._slots.waiting

    @property
    def open_connections(self) -> int:
        """Sockets open now, whether in use, idle or closing."""
        return 0 if self._connector is None else self._connector.open_connections

    async def handle_async_request(self, request: httpx.Request) -> StreamedResponse:
        """Send a request and return its response, the body yet to be read.

        Raises:
            httpx.TransportError: As `aioproviders.sdk.http.wire_errors` says; its ``request`` is set.
            ResponseTooLarge: The response announces more bytes than allowed.
            RuntimeError: The transport is closed or used in another event loop than before.
        """
        session = self._session_here()
        timeouts = request.extensions.get("timeout") or _EMPTY
        body = _body(request, timeouts)
        slots = self._slots
        phases = recorded_phases()
        if not slots.take():
            queued = time.perf_counter()
            if not await slots.wait(timeouts.get("pool")):
                raise self._not_pooled(request)
            if phases is not None:
                phases.waiting += time.perf_counter() - queued
        started = 0.0 if phases is None else time.perf_counter() - phases.connecting
        try:
            response = await self._send(session, request, body, timeouts)
        except Exception as exc:  # noqa: BLE001 -- translated below
            slots.release()
            error, cause = maybe_sent(exc, request)
            if isinstance(body, RequestBody) and body.error is not None:  # aiohttp wraps what a body raised
                error, cause = body.failure(request), body.error.__cause__
        except BaseException:
            slots.release()
            raise
        else:
            if phases is not None:
                phases.first_byte += time.perf_counter() - phases.connecting - started
            return self._response(request, response)
        raise error from cause

    async def _send(
        self,
        session: aiohttp.ClientSession,
        request: httpx.Request,
        body: bytes | RequestBody,
        timeouts: dict[str, Any],
    ) -> Reply | aiohttp.ClientResponse:
        if self._connector is None:
            raise self._not_pooled(request)  # closed since the request got its slot
        url = request.url
        if isinstance(request, PlainRequest) and not request.was_looked_into:
            headers: Iterable[tuple[str, str]] = request.fields.items()
        else:
            headers = _headers(request, body)
        proxy = self._proxy_for(url)
        timeout = _client_timeout(timeouts.get("connect"), timeouts.get("read"))
        if proxy is None and not isinstance(body, RequestBody):
            sent = head_of(request.method, _target(request), headers) + body
            connection = await self._connection(session, request, timeout)
            return await send(connection, request.method, sent, timeout.sock_read)
        options: dict[str, Any] = {}
        if proxy is not None:
            options["proxy"] = proxy.url
            if url.scheme == "https":
                options["proxy_headers"] = proxy.headers
            else:
                headers = [*headers, *proxy.headers]
        return await session.request(
            request.method,
            _wire_url(url, _target(request)),
            data=body or None,
            headers=headers,
            allow_redirects=False,
            timeout=timeout,
            **options,
        )

    async def _connection(
        self,
        session: aiohttp.ClientSession,
        request: httpx.Request,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 -- aiohttp's own
    ) -> Connection:
        """Get an idle connection or make one; aiohttp wants a request for that, which is never sent."""
        url = request.url
        origin = url.origin if isinstance(url, Target) else (url.scheme, url.netloc)
        connector, key = self._connector, self._keys.get(origin)
        assert connector is not None and self._loop is not None  # noqa: S101, PT018 -- made with the session
        if key is not None and (idle := connector.idle(key)) is not None:
            return idle
        asking = BareRequest("GET", _wire_url(url, "/"), loop=self._loop, session=session)
        if len(self._keys) >= _MOST_ORIGINS:
            self._keys.clear()
        self._keys[origin] = asking.connection_key
        return await connector.connect(asking, traces=[], timeout=timeout)

    async def aclose(self) -> None:
        """Close every connection, those in use too, and wait (2 s at most) until their sockets are closed."""
        self._closed = True
        session, self._session = self._session, None
        connector, self._connector = self._connector, None
        self._slots.close()
        for response in list(self._live):
            response.close()
        if session is not None and connector is not None:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await session.close()
                await connector.drained()

    def _session_here(self) -> aiohttp.ClientSession:
        """The session, made at the first request because aiohttp binds it to the running loop."""
        loop = asyncio.get_running_loop()  # aiohttp is bound to asyncio, so the loop is what to compare
        if self._session is not None and self._loop is loop:
            return self._session
        if self._closed:
            raise RuntimeError("the transport is closed")
        if self._session is not None:
            raise RuntimeError("the transport belongs to another event loop")
        self._loop = loop
        self._connector = Connector(self._limits, self._ssl)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),  # httpx's jar is the only one
            request_class=BareRequest,
            auto_decompress=False,  # httpx's Response decodes
            trust_env=False,
        )
        # aiohttp would send GET, PUT and DELETE again where a kept-alive connection drops. Whether a request
        # may be repeated is for the caller to say.
        self._session._retry_connection = False  # noqa: SLF001 -- there is no public name for it
        return self._session

    def _proxy_for(self, url: httpx.URL) -> "_Proxy | None":
        if not self._by_scheme:
            return self._proxy
        if urllib.request.proxy_bypass_environment(url.host, self._env_proxies):  # type: ignore[attr-defined] # typeshed lacks it
            return None
        return self._by_scheme.get(url.scheme)

    def _not_pooled(self, request: httpx.Request) -> httpx.TransportError:
        if self._closed:
            return httpx.ConnectError(
                "the transport was closed while the request was queued", request=request
            )
        return httpx.PoolTimeout("no connection of the pool came free in time", request=request)

    def _response(self, request: httpx.Request, response: Reply | aiohttp.ClientResponse) -> StreamedResponse:
        """Wrap aiohttp's response, whose slot is the body's from here on."""
        limit = request.extensions.get("max_response_bytes")
        coding = response.headers.get("Content-Encoding", "")
        if coding:
            coding = coding.strip().lower()
            coding = "" if coding == "identity" else coding
        body = ResponseBody(response, request, self._slots, self._live, limit, coding)
        if limit is not None:
            length = response.headers.get("Content-Length", "0")
            if has_content(request.method, response.status) and length.isdecimal() and int(length) > limit:
                body.abort()
                raise too_large(limit, request)
            if "," in coding:
                body.abort()  # a bomb in a bomb: pieces of it can't be kept small
                raise httpx.DecodingError(
                    "more than one content coding is refused under a limit", request=request
                )
        return StreamedResponse(response, body, request, limit)


class _Proxy:
    """A proxy's address without its credentials, and the headers that carry them."""

    def __init__(self, proxy: str | httpx.URL | httpx.Proxy) -> None:
        if not isinstance(proxy, httpx.Proxy):
            url = httpx.URL(proxy)
            if url.scheme not in {"http", "https"}:
                raise ValueError(
                    f"a proxy must be http:// or https://, not {url.scheme}://: SOCKS is not supported"
                )
            proxy = httpx.Proxy(url)
        elif proxy.url.scheme not in {"http", "https"}:
            raise ValueError(
                f"a proxy must be http:// or https://, not {proxy.url.scheme}://: SOCKS is not supported"
            )
        if proxy.ssl_context is not None:
            raise ValueError("a proxy has no TLS context of its own here: give it as verify")
        self.url = yarl.URL(str(proxy.url))
        self.headers = [(name.decode("ascii"), value.decode("utf-8")) for name, value in proxy.headers.raw]
        if proxy.raw_auth is not None:
            token = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
            self.headers.append(("Proxy-Authorization", f"Basic {token}"))


def _headers(request: httpx.Request, body: bytes | RequestBody) -> list[tuple[str, str]]:
    """Return all the headers of a request, as aiohttp takes them.

    Raises:
        httpx.TransportError: It can't be sent.
    """
    url = request.url
    if not TOKEN.fullmatch(request.method) or _NOT_IN_TARGET.search(_target(request)):
        raise httpx.LocalProtocolError("the request's method or target can't be sent", request=request)
    if url.scheme not in {"http", "https"} or not url.host:
        raise httpx.UnsupportedProtocol(
            "the request's URL has no http:// or https:// and host", request=request
        )
    try:
        headers = [
            (name.decode("ascii"), value.decode("utf-8"))
            for name, value in request.headers.raw
            if name.lower() != b"transfer-encoding"  # aiohttp's to say, and never beside a Content-Length
        ]
    except UnicodeDecodeError:
        # UTF-8 is what is sent: other bytes would arrive changed.
        raise httpx.LocalProtocolError("a header of the request is no UTF-8", request=request) from None
    if not all(TOKEN.fullmatch(name) and not _NOT_IN_VALUE.search(value) for name, value in headers):
        raise httpx.LocalProtocolError("a header of the request can't be sent", request=request)
    hosts = request.headers.get_list("host")
    if not hosts:
        headers.insert(0, ("Host", url.netloc.decode("ascii")))
    if len(hosts) > 1:
        raise httpx.LocalProtocolError("a request has one Host", request=request)
    if isinstance(body, bytes):
        lengths = request.headers.get_list("content-length")
        if body and not lengths:
            headers.append(("Content-Length", str(len(body))))
        elif lengths and lengths != [str(len(body))]:
            # What is beyond it would be taken for the next request.
            raise httpx.LocalProtocolError("the body is not as long as its Content-Length", request=request)
    return headers


def _target(request: httpx.Request) -> str:
    """Return the request target: nothing of it is quoted, joined or dropped."""
    if isinstance(request, PlainRequest):
        return request.url.target
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return target.decode("ascii")


def _wire_url(url: httpx.URL, target: str) -> yarl.URL:
    return yarl.URL.build(scheme=url.scheme, authority=url.netloc.decode("ascii"), path=target, encoded=True)


def _body(request: httpx.Request, timeouts: dict[str, Any]) -> bytes | RequestBody:
    if isinstance(request, PlainRequest) and len(request.content) <= _WHOLE_BODY:
        return request.content
    stream = request.stream
    if isinstance(stream, httpx.ByteStream):
        # Not request.content: httpx leaves a request that it made for a redirect unread.
        whole = b"".join(stream)
        if len(whole) <= _WHOLE_BODY:
            return whole
    if not isinstance(stream, httpx.AsyncByteStream):
        raise RuntimeError("a request with a sync body can't be sent by an async client")  # noqa: TRY004 -- as httpx says it
    return RequestBody(stream, timeouts.get("write"))


@functools.lru_cache(maxsize=64)
def _client_timeout(connect: float | None, read: float | None) -> aiohttp.ClientTimeout:
    # To aiohttp 0 means never; a timeout of nothing at all is meant.
    least = 1e-6
    return aiohttp.ClientTimeout(
        total=None,
        connect=None if connect is None else max(connect, least),
        sock_read=None if read is None else max(read, least),
        ceil_threshold=float("inf"),
    )


@functools.cache
def _default_context(*, trust_env: bool) -> ssl.SSLContext:
    """One context for all transports without special wishes: making it costs 20 ms, keeping it a megabyte."""
    context = httpx.create_ssl_context(trust_env=trust_env)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context(
    verify: bool | str | ssl.SSLContext, cert: str | tuple[str, ...] | None, *, trust_env: bool
) -> ssl.SSLContext:
    if isinstance(verify, ssl.SSLContext):
        if cert is not None:
            raise ValueError("load the client's certificate into the context that you give as verify")
        return verify
    if verify is True and cert is None:
        return _default_context(trust_env=trust_env)
    if isinstance(verify, str):
        context = ssl.create_default_context(cafile=verify)
    else:
        context = httpx.create_ssl_context(verify=verify, trust_env=trust_env)
    context.set_alpn_protocols(["http/1.1"])
    if cert is not None:
        context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    return context
