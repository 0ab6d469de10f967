"""`PooledClient`: an `httpx.AsyncClient` whose plain requests cost little more than aiohttp's."""

import ssl
import time
from typing import Any

import httpx

from aioproviders.phases import recorded_phases
from aioproviders.sdk.http.transport import DEFAULT_LIMITS, AiohttpTransport


class PooledClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` over `AiohttpTransport`.

    A request without an authentication flow, event hook, credentials in the URL, redirect to follow, mount
    or streaming to serve takes a short path past httpx's layers for those; any other takes httpx's own. What
    comes back is the same `httpx.Response`. Unlike httpx, the short path logs no URL.

    Args:
        transport: Instead of one made from the arguments below; with another than `AiohttpTransport` there is
            no short path and no limit on responses.
        verify: As for `AiohttpTransport`, and so are the next four.
        cert: The client's certificate.
        limits: Of the connection pool.
        proxy: URL of a proxy.
        trust_env: Whether proxies and authorities are taken from the environment; off unless asked for.
        max_response_bytes: The most bytes that a response may have, on the wire and decoded; more raises
            `ResponseTooLarge` and is not read. None means no limit. The extension
            of the same name overrides it for one request, with None too (a long stream, say).
        options: What else `httpx.AsyncClient` takes: ``auth``, ``base_url``, ``cookies``, ``headers``,
            ``timeout`` and so on.

    Raises:
        ValueError: HTTP/2 is asked for, or the transport's arguments don't fit.
    """

    def __init__(  # noqa: PLR0913 -- httpx's names, keyword-only
        self,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        verify: bool | str | ssl.SSLContext = True,
        cert: str | tuple[str, str] | tuple[str, str, str] | None = None,
        limits: httpx.Limits = DEFAULT_LIMITS,
        proxy: str | httpx.URL | httpx.Proxy | None = None,
        trust_env: bool = False,
        max_response_bytes: int | None = None,
        **options: Any,
    ) -> None:
        if options.get("http2"):
            raise ValueError("this client speaks HTTP/1.1 only; for HTTP/2 use an httpx.AsyncClient")
        if transport is None:
            transport = AiohttpTransport(
                verify=verify, cert=cert, limits=limits, proxy=proxy, trust_env=trust_env
            )
        super().__init__(transport=transport, trust_env=trust_env, **options)
        self.max_response_bytes = max_response_bytes
        self._plain = transport if isinstance(transport, AiohttpTransport) else None

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: Any = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        """Send a request; arguments, result and errors are those of `httpx.AsyncClient.send`.

        Raises:
            ResponseTooLarge: The response exceeds the limit.
        """
        if self.max_response_bytes is not None:
            request.extensions.setdefault("max_response_bytes", self.max_response_bytes)
        transport = self._plain
        if stream or transport is None or not self._is_plain(request, auth, follow_redirects):
            return await super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)
        if self.is_closed:
            raise RuntimeError("Cannot send a request, as the client has been closed.")
        started = time.perf_counter()
        if "timeout" not in request.extensions:
            request.extensions["timeout"] = self.timeout.as_dict()
        response = await transport.handle_async_request(request)
        phases = recorded_phases()
        reading = 0.0 if phases is None else time.perf_counter()
        try:
            await response.aread()
        except BaseException:
            await response.aclose()  # closes the connection without waiting for anything
            raise
        response.seconds = time.perf_counter() - started
        if phases is not None:
            phases.body += time.perf_counter() - reading
        response.default_encoding = self._default_encoding
        if response.sets_cookies:
            self.cookies.extract_cookies(response)
        if response.status_code // 100 == 3 and response.has_redirect_location:  # noqa: PLR2004 -- 3xx
            response.next_request = self._build_redirect_request(request, response)
        return response

    def _is_plain(self, request: httpx.Request, auth: Any, follow_redirects: Any) -> bool:
        default = httpx.USE_CLIENT_DEFAULT
        hooks = self._event_hooks
        return not (
            (self.follow_redirects if follow_redirects is default else follow_redirects)
            or (self._auth if auth is default else auth) is not None
            or hooks["request"]
            or hooks["response"]
            or self._mounts
            or request.url.userinfo
        )
