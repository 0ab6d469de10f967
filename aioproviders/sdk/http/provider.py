"""`HTTPSDKProvider`: what each of its operations does.

Credentials go to the origin of ``api_endpoint`` and nowhere else. Cookies are not kept: a provider is
shared by many users. A redirect is followed within the origin, for methods that only read.
"""

from __future__ import annotations

import copy
import functools
import importlib.metadata
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, Self, cast

import anyio
import anyio.to_thread
import httpx
from pydantic import SecretStr

from aioproviders.calls import Call, current_call
from aioproviders.config import ProviderConfig
from aioproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    ProviderError,
    ProviderStateError,
    RequestError,
)
from aioproviders.health import HealthStatus
from aioproviders.limits import RateLimiter
from aioproviders.operations import Kind, operation
from aioproviders.redaction import Redactor, secrets_in
from aioproviders.sdk import SDKProvider, SDKResponse
from aioproviders.sdk.http.answers import read_answer, read_failure
from aioproviders.sdk.http.auth import auth_headers, auth_of, auth_with
from aioproviders.sdk.http.client import make_client
from aioproviders.sdk.http.config import (
    FIELD_VALUE,
    HTTPSDKConfig,
    OAuth2Auth,
)
from aioproviders.sdk.http.drafts import (
    IDEMPOTENT,
    METHODS,
    SAFE,
    Draft,
    Endpoints,
    InvalidRequestError,
    draft_request,
)
from aioproviders.sdk.http.errors import error_of_answer, failed_response
from aioproviders.sdk.http.exchange import Exchange, chunks_of, close, succeeded
from aioproviders.sdk.http.health import verdict
from aioproviders.sdk.http.oauth import Token, TokenSource, ask_token
from aioproviders.sdk.http.openapi import describe_service
from aioproviders.sdk.http.pages import Pages, PagingStyle
from aioproviders.sdk.http.streams import DECODERS, StreamKind
from aioproviders.sdk.statuses import CREDENTIALS_REFUSED

__all__ = ["HTTPSDKProvider"]


_MOST_PAGES = 1000
_STREAM_HEADERS = {
    "bytes": {"accept": "*/*", "accept-encoding": "identity"},
    "lines": {"accept": "*/*", "accept-encoding": "identity"},
    "events": {"accept": "text/event-stream", "accept-encoding": "identity", "cache-control": "no-store"},
}


class HTTPSDKProvider(SDKProvider[HTTPSDKConfig]):
    """Makes requests of an HTTP API.

    Args:
        config: Where to, as whom, and how.
        client: A client of your own, used through its public methods and left open; the config's
            transport, pool, TLS and proxy then go unused.

    Raises:
        ConfigurationError: `client` is no `httpx.AsyncClient`.
    """

    config_class: ClassVar[type[ProviderConfig]] = HTTPSDKConfig

    def __init__(self, config: HTTPSDKConfig, *, client: httpx.AsyncClient | None = None) -> None:
        if client is not None and not isinstance(client, httpx.AsyncClient):
            raise ConfigurationError(f"client should be an httpx.AsyncClient, not {type(client).__name__}")
        super().__init__(config)
        self._given = client
        self._client: httpx.AsyncClient | None = None
        self._exchange: Exchange | None = None
        self._service: dict[str, Any] | None = None
        self._endpoints = Endpoints(self.config.api_endpoint)
        self._auth = auth_of(self.config)
        self._bare_headers = {
            # First of all (RFC 9110, 7.2); a client of the user's may have another.
            **({"host": self._endpoints.base.authority} if client is None else {}),
            "accept": "application/json, */*;q=0.8",
            "accept-encoding": "gzip, deflate",
            "user-agent": _user_agent(),
        }
        own = {name.lower(): _plain(value) for name, value in self.config.headers.items()}
        credentials = auth_headers(self._auth)
        self.conceal(*_sent(credentials))
        self._headers = self._bare_headers | own | credentials
        self._key_header = (self.config.idempotency_header or "Idempotency-Key").lower()
        self._extensions = {
            name: self._extensions_of(policy.timeout) for name, policy in self._policies.items()
        }

    def rebuilt(self, config: ProviderConfig) -> Self:
        """Make another one like this with another config; a given client is handed on."""
        if self._given is None:
            return super().rebuilt(config)
        return type(self)(cast("HTTPSDKConfig", config), client=self._given)

    async def initialize(self) -> None:
        """Make the client; connections are opened when they are needed.

        Raises:
            ConfigurationError: A certificate can't be read, or an optional package is missing.
        """
        auth = self._auth
        client = self._given
        if client is None:
            # Reading certificates takes some 20 ms.
            client = self._client = await anyio.to_thread.run_sync(make_client, self.config)
        self._exchange = Exchange(
            client,
            own=self._given is None,
            own_auth=auth is not None,
            max_bytes=self.config.max_response_bytes,
            tokens=TokenSource(lambda: self._fetch_token(auth)) if isinstance(auth, OAuth2Auth) else None,
            before_extra=self._acquire_rate,
            mask=self._redactor.text,
        )

    async def cleanup(self) -> None:
        """Close the client and its connections; a client of your own stays open."""
        client, self._client, self._exchange = self._client, None, None
        if client is not None:
            await client.aclose()

    @operation(failure=failed_response)
    async def make_request(  # noqa: PLR0913 - what a request is made of
        self,
        endpoint: str,
        data: Any = None,
        *,
        method: str = "POST",
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> SDKResponse:
        """Make a request. A failure comes back as a response with ``success=False``.

        Idempotent methods (RFC 9110, 9.2.2) and requests with an idempotency key are retried after
        any passing failure, all others only where the service surely did not act.

        Args:
            endpoint: A path below ``api_endpoint``, or a whole URL of the same origin.
            data: What to send as JSON; for GET, HEAD and DELETE, a dict of more query parameters.
            method: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS or TRACE.
            params: Query parameters; a list repeats one, None leaves it out.
            headers: More headers; they come before the provider's own, its credentials included.
            idempotency_key: Makes the service take all attempts for one; sent in the header that
                the config's ``idempotency_header`` names, else in ``Idempotency-Key``.

        Returns:
            With ``data`` parsed where it is JSON, as text where it is of a textual type, else as
            bytes. A failure has the service's answer, secrets masked, as ``data``.
        """
        call = self._call_here()
        draft = self._draft(call, method, endpoint, data, params, headers, idempotency_key)
        response = await self._ready().run(draft, self._extensions["make_request"])
        answer = read_answer(response, draft)
        return SDKResponse(
            success=True,
            data=answer.data,
            latency_ms=round(call.elapsed * 1000),
            request_id=answer.request_id or call.id,
            status_code=answer.status,
            headers=answer.headers,
            attempts=call.attempt,
        )

    @operation(kind=Kind.STREAM)
    async def stream_request(  # noqa: PLR0913 - what a request is made of
        self,
        endpoint: str,
        data: Any = None,
        *,
        method: str = "GET",
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        as_: StreamKind = "bytes",
        idempotency_key: str | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Make a request and yield its response while it comes.

        Until the first item is out, failures are retried as in `make_request`; later ones are
        raised. A read that brings nothing for ``timeout_ms`` ends the stream. Leave early with
        ``contextlib.aclosing``, which closes the connection there and then.

        Args:
            endpoint: As for `make_request`, and so are all but `as_`.
            data: What to send.
            method: The method.
            params: Query parameters.
            headers: More headers; ``Last-Event-ID`` goes on with a stream of events.
            as_: "bytes" yields pieces as they come, "lines" text without line ends, "events"
                `ServerSentEvent`. Lines and events are limited to ``max_response_bytes`` each.
            idempotency_key: Makes the service take all attempts for one.

        Raises:
            ProviderError: The request failed, or the stream broke off or fell silent.
        """
        call = self._call_here()
        if as_ not in DECODERS:
            raise InvalidRequestError(f"as_ should be one of {', '.join(DECODERS)}")
        draft = self._draft(call, method, endpoint, data, params, headers, idempotency_key)
        given = {name.lower() for name in headers or ()}
        # A compressed stream comes in gulps: what is out is not yet at hand.
        draft.headers |= {k: v for k, v in _STREAM_HEADERS[as_].items() if k not in given}
        response = await self._ready().run(draft, self._extensions["stream_request"], stream=True)
        try:
            if as_ == "events" and not response.headers.get("content-type", "").startswith(
                "text/event-stream"
            ):
                raise RequestError(
                    f"{draft} was answered with no text/event-stream", status_code=response.status_code
                )
            decoder = DECODERS[as_](self.config.max_response_bytes)
            silence = self._policies["stream_request"].timeout
            async with aclosing(chunks_of(response)) as chunks:
                while (chunk := await self._ready().next_chunk(draft, chunks, silence)) is not None:
                    for item in decoder.feed(chunk):
                        yield item
            for item in decoder.end():
                yield item
        finally:
            await close(response)

    async def paginate(  # noqa: PLR0913 - services differ
        self,
        endpoint: str,
        *,
        style: PagingStyle = "link",
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        items: str | None = None,
        cursor_field: str = "next_cursor",
        cursor_param: str = "cursor",
        page_param: str = "page",
        first_page: int = 1,
        max_pages: int | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Yield the items of a collection, getting page after page.

        Each page is a call of `make_request` of its own, with its own attempts and deadline;
        nothing is held between them.

        Args:
            endpoint: Where the collection is.
            style: How the next page is found: by ``Link`` header (RFC 8288), by a "cursor" in the
                page, or by "page" number until a page is empty.
            params: Query parameters of the first page; by cursor and number, of all.
            headers: More headers.
            items: Where in a page its items are, such as "result.users"; without it the page itself,
                or its ``items``, ``data`` or ``results``.
            cursor_field: Where in a page the next cursor is; missing, null or empty means the end.
            cursor_param: Query parameter for the cursor.
            page_param: Query parameter for the page's number.
            first_page: The first one's number.
            max_pages: Stop after so many. Without it more than 1000 pages are an error.

        Raises:
            ProviderError: A page failed, has no items where they should be, or the next one is at
                another origin or was seen before.
        """
        try:
            pages = Pages(
                self._endpoints.url(endpoint, params),
                style,
                items,
                cursor_field,
                cursor_param,
                page_param,
                first_page,
            )
            for _ in range(_MOST_PAGES if max_pages is None else max_pages):
                response = await self.make_request(str(pages.url), method="GET", headers=headers)
                response.raise_for_error()
                found = pages.items_of(response.data)
                for item in found:
                    yield item
                if not pages.turn(response.data, len(found), response.headers):
                    return
            if max_pages is None:
                raise RequestError(
                    f"there are more than {_MOST_PAGES} pages: say in max_pages how many to get"
                )
        except ProviderError as error:
            error.provider = error.provider or self.name
            raise

    async def authenticate(self, credentials: dict[str, str]) -> bool:
        """Try `credentials` on the service: True where they are right, False where they are wrong.

        The provider goes on with its own: it may be shared with others. With OAuth 2 a token is
        fetched, else ``auth_check_path`` is got.

        Args:
            credentials: ``api_key`` (or ``token``), ``username`` and ``password``, or ``client_id``
                and ``client_secret``, as the provider's ``auth`` says.

        Raises:
            ConfigurationError: The credentials don't fit `auth`, or there is no ``auth_check_path``.
            ProviderError: The service could not be asked, or answered neither yes nor no.
        """
        auth = auth_with(self._auth, credentials)
        extensions = self._extensions["authenticate"]
        if isinstance(auth, OAuth2Auth):
            try:
                await self._ask_token(auth, extensions)
            except AuthenticationError as error:
                if error.status_code is None:  # not refused: the answer makes no sense
                    raise
                return False
            return True
        path = self.config.auth_check_path
        if path is None:
            raise ConfigurationError("auth_check_path should say what to get to try credentials")
        own, tried = auth_headers(self._auth), auth_headers(auth)
        headers = {name: value for name, value in self._headers.items() if name not in own} | tried
        draft = draft_request(self._endpoints, headers, "GET", path, None, None, None)
        response = await self._ready().ask(draft, extensions, as_drafted=True)
        if response.status_code in CREDENTIALS_REFUSED:
            return False
        if succeeded(response):
            return True
        # Not by `conceal`, which would remember every password that was ever tried.
        redactor = Redactor(secrets_in(auth) | _sent(tried))
        answer = read_failure(response, lambda text: redactor.text(self._redactor.text(text)))
        raise error_of_answer(answer, str(draft), attach=False)

    async def get_capabilities(self) -> dict[str, Any]:
        """Tell what can be asked, as whom, within which limits; and what the service says of itself.

        Returns:
            ``methods``, ``auth`` (its kind, or None), ``transport``, ``http_versions``, ``streams``,
            ``pagination``, ``limits`` and ``pool``; and ``service``, read once from ``openapi_path``
            (see `aioproviders.sdk.http.openapi`), or None.

        Raises:
            ProviderError: The document could not be got.
        """
        config = self.config
        if self._service is None and config.openapi_path is not None:
            draft = draft_request(
                self._endpoints, self._headers, "GET", config.openapi_path, None, None, None
            )
            self._add_trace(self._call_here(), draft)
            response = await self._ready().run(draft, self._extensions["get_capabilities"])
            self._service = describe_service(read_answer(response, draft).data)
        return {
            "methods": list(METHODS),
            "auth": self._auth.type if self._auth is not None else None,
            "transport": config.transport if self._given is None else "given",
            "http_versions": ["1.1", "2"] if config.http2 else ["1.1"],
            "streams": ["bytes", "lines", "events"],
            "pagination": ["link", "cursor", "page"],
            "limits": {
                name: getattr(config, name)
                for name in (
                    "timeout_ms",
                    "retry_attempts",
                    "deadline_ms",
                    "max_concurrency",
                    "rate_limit",
                    "max_response_bytes",
                )
            },
            "pool": {
                name: getattr(config, name)
                for name in ("max_connections", "max_keepalive_connections", "keepalive_expiry_ms")
            },
            "service": copy.deepcopy(self._service),
        }

    async def health_check(self) -> Mapping[str, Any]:
        """Get ``health_path`` and expect 2xx; without one, ask for the head of ``api_endpoint``.

        There any answer below 500 is a sign of life, as is 501; 401 and 403 are "degraded".
        """
        path = self.config.health_path
        draft = draft_request(
            self._endpoints, self._headers, "HEAD" if path is None else "GET", path or "", None, None, None
        )
        self._add_trace(self._call_here(), draft)
        try:
            response = await self._ready().ask(draft, self._extensions["health_check"])
        except RequestError as exc:
            if (
                path is None and exc.status_code is not None
            ):  # a redirect that is not followed is an answer too
                return {"status": HealthStatus.HEALTHY, "status_code": exc.status_code, "checked": str(draft)}
            raise
        return verdict(response, draft, self._redactor.text, any_answer=path is None)

    def _draft(  # noqa: PLR0913, PLR0917 - what a request is made of
        self,
        call: Call,
        method: str,
        endpoint: str,
        data: Any,
        params: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        idempotency_key: str | None,
    ) -> Draft:
        """Put the request together, and tell the call whether it may be repeated."""
        draft = draft_request(self._endpoints, self._headers, method, endpoint, data, params, headers)
        if draft.method in IDEMPOTENT:
            call.idempotent = True
        if idempotency_key is not None:
            if not idempotency_key or not FIELD_VALUE.fullmatch(str(idempotency_key)):
                raise InvalidRequestError("idempotency_key should be one line of printable ASCII")
            draft.headers[self._key_header] = call.idempotency_key = str(idempotency_key)
        elif self.config.idempotency_header is not None and draft.method not in SAFE:
            given = draft.headers.get(self._key_header)
            if given:
                call.idempotency_key = given
            else:
                draft.headers[self._key_header] = call.ensure_idempotency_key()
        self._add_trace(call, draft)
        return draft

    def _add_trace(self, call: Call, draft: Draft) -> None:
        if self.config.propagate_trace:
            draft.headers.setdefault("traceparent", call.traceparent())

    async def _fetch_token(self, auth: OAuth2Auth) -> Token:
        await self._acquire_rate()
        token = await self._ask_token(auth, self._extensions["make_request"])
        self.conceal(token.value)
        return token

    async def _ask_token(self, auth: OAuth2Auth, extensions: dict[str, Any]) -> Token:
        secrets, exchange = Redactor(secrets_in(auth)), self._ready()
        # A token that takes too long should be known as that, before the whole attempt is over.
        limits = extensions["timeout"]
        limits = {**limits, "read": limits["connect"], "write": limits["connect"]}
        return await ask_token(
            auth,
            self._bare_headers,
            lambda draft: exchange.ask_bare(draft, {**extensions, "timeout": limits}),
            lambda text: secrets.text(self._redactor.text(text)),
        )

    async def _acquire_rate(self) -> None:
        """Take a token of the rate limit for a request beyond the attempt's first."""
        if self._rate is not None:
            await self._rate.acquire(anyio.current_effective_deadline() - anyio.current_time())

    def _make_rate_limiter(self) -> RateLimiter | None:
        self._rate = super()._make_rate_limiter()
        return self._rate

    def _extensions_of(self, attempt: float) -> dict[str, Any]:
        """Return the limits of a request, as httpx takes them; the attempt as a whole is the framework's."""
        connect = self.config.connect_timeout_ms
        limit = attempt / 2 if connect is None else connect / 1000
        return {
            "timeout": {"connect": limit, "pool": limit, "read": None, "write": None},
            "max_response_bytes": self.config.max_response_bytes,
        }

    def _call_here(self) -> Call:
        call = current_call()
        assert call is not None  # noqa: S101 - operations run within one
        return call

    def _ready(self) -> Exchange:
        if self._exchange is None:
            raise ProviderStateError("the provider has no client: its initialize() was not run", sent=False)
        return self._exchange


@functools.cache
def _user_agent() -> str:
    return f"aioproviders/{importlib.metadata.version('aioproviders')}"


def _sent(headers: Mapping[str, str]) -> set[str]:
    """Return the credentials as they are sent, without the word before them."""
    return {part for value in headers.values() for part in (value, value.rpartition(" ")[2])}


def _plain(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
