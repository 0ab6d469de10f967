"""One attempt of a request: sent, redirected, authorised anew; its response read within bounds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, cast

import anyio
import httpx

from aioproviders.errors import ProviderTimeoutError, RequestError
from aioproviders.sdk.http.answers import read_failure
from aioproviders.sdk.http.bodies import has_content, piece_of, too_large
from aioproviders.sdk.http.drafts import SAFE, Draft, origin
from aioproviders.sdk.http.errors import error_of_answer, error_of_exception
from aioproviders.sdk.http.messages import PlainRequest, Target
from aioproviders.sdk.http.oauth import TokenSource
from aioproviders.sdk.http.pooled_client import PooledClient

__all__ = ["Exchange", "close", "succeeded"]

_MOST_REDIRECTS = 10
_CLOSE_SECONDS = 2.0
_NOT_MODIFIED = 304
_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})  # they say so where there is none
_UNAUTHORIZED = 401


class Exchange:
    """Sends requests through one client.

    Args:
        client: Made by `aioproviders.sdk.http.client.make_client`, or the user's own.
        own: Whether it is ours: then a request carries our headers and nothing else.
        own_auth: Whether authentication is ours; a user's client may have its own.
        max_bytes: Limit of a response's body.
        tokens: For OAuth 2.
        before_extra: Awaited before each request beyond the attempt's first, for the rate limit.
        mask: Masks secrets in a text.
    """

    def __init__(  # noqa: PLR0913 - all that an attempt depends on
        self,
        client: httpx.AsyncClient,
        *,
        own: bool,
        own_auth: bool,
        max_bytes: int,
        tokens: TokenSource | None,
        before_extra: Callable[[], Awaitable[None]],
        mask: Callable[[str], str],
    ) -> None:
        self._client = client
        self._own = own
        self._lean = own and isinstance(client, PooledClient)
        self._auth: Any = None if own or own_auth else httpx.USE_CLIENT_DEFAULT
        self._max_bytes = max_bytes
        self._tokens = tokens
        self._before_extra = before_extra
        self._mask = mask

    async def run(self, draft: Draft, extensions: dict[str, Any], *, stream: bool = False) -> httpx.Response:
        """Make one attempt. With `stream` the body is not read, and the response to be closed.

        Raises:
            ProviderError: No success came of it.
        """
        if self._tokens is None:
            response = await self._send(draft, extensions, self._auth, stream=stream)
        else:
            response = await self.ask(draft, extensions, stream=stream)
        if succeeded(response):
            return response
        raise error_of_answer(read_failure(await self._read_rest(draft, response), self._mask), str(draft))

    async def ask(
        self, draft: Draft, extensions: dict[str, Any], *, stream: bool = False, as_drafted: bool = False
    ) -> httpx.Response:
        """Make one attempt and return the response, whatever its status.

        With `as_drafted` it goes with the draft's credentials only, not with those of a user's client.

        Raises:
            ProviderError: There was none, or a redirect that is not to be followed.
        """
        tokens = self._tokens
        auth = None if as_drafted else self._auth
        if tokens is None or "authorization" in draft.headers:
            return await self._send(draft, extensions, auth, stream=stream)
        token = await tokens.get()
        draft.headers["authorization"] = f"Bearer {token}"
        response = await self._send(draft, extensions, auth, stream=stream)
        if response.status_code == _UNAUTHORIZED:
            # It may have been revoked. Refused requests were not acted upon, so writes may go again too.
            tokens.reject(token)
            if stream:
                await close(response)
            await self._before_extra()
            draft.headers["authorization"] = f"Bearer {await tokens.get()}"
            response = await self._send(draft, extensions, auth, stream=stream)
        return response

    async def ask_bare(self, draft: Draft, extensions: dict[str, Any]) -> httpx.Response:
        """Make a request that carries nothing but the draft: none of the client's headers, cookies or auth.

        Raises:
            ProviderError: There was no response.
        """
        return await self._send(draft, extensions, None, stream=False, bare=True)

    async def next_chunk(
        self, draft: Draft, chunks: AsyncGenerator[bytes, None], silence: float
    ) -> bytes | None:
        """Return the next bytes of a stream, None at its end.

        Args:
            draft: The request, for messages.
            chunks: From `chunks_of`.
            silence: Seconds after which it is given up.

        Raises:
            ProviderError: The stream broke off or fell silent.
        """
        try:
            with anyio.fail_after(silence):
                return await anext(chunks, None)
        except TimeoutError as exc:
            raise ProviderTimeoutError(f"{draft}: the stream was silent for {silence * 1000:g} ms") from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise error_of_exception(exc, str(draft), draft.url) from exc

    async def _send(
        self, draft: Draft, extensions: dict[str, Any], auth: Any, *, stream: bool, bare: bool = False
    ) -> httpx.Response:
        """Send a request and, unless it is to go `bare`, what redirects ask for."""
        seen: list[httpx.URL] | None = None
        while True:
            try:
                if self._lean and not stream:
                    response = await self._client.send(
                        self._request(draft, extensions), auth=None, follow_redirects=False
                    )
                else:
                    response = await self._send_through_httpx(
                        draft, extensions, auth, stream=stream, bare=bare
                    )
            except (httpx.HTTPError, httpx.InvalidURL) as exc:
                raise error_of_exception(exc, str(draft), draft.url) from exc
            if response.status_code // 100 != 3 or bare or not response.has_redirect_location:  # noqa: PLR2004 - 3xx
                return response
            if stream:
                await close(response)
            seen = [*(seen or ()), draft.url]
            draft = _redirected(draft, response, seen)
            await self._before_extra()

    def _request(self, draft: Draft, extensions: dict[str, Any]) -> httpx.Request:
        body, headers = draft.body or b"", draft.headers
        headers["host"] = draft.url.authority
        if body or draft.method in _WITH_CONTENT:
            headers["content-length"] = str(len(body))
        return PlainRequest(draft.method, draft.url, headers, body, extensions)

    async def _send_through_httpx(
        self, draft: Draft, extensions: dict[str, Any], auth: Any, *, stream: bool, bare: bool
    ) -> httpx.Response:
        if stream:
            # What it sums up to is no matter; its lines and events are bounded one by one.
            extensions = {**extensions, "max_response_bytes": None}
        if self._own or bare:
            request = self._request(draft, extensions)
        else:
            request = self._client.build_request(
                draft.method,
                draft.url,
                headers=draft.headers,
                content=draft.body,
                extensions=extensions,
            )
        response = await self._client.send(request, stream=True, auth=auth, follow_redirects=False)
        if stream:
            _cut(response)
            return response
        return await _read_bounded(response, self._max_bytes)

    async def _read_rest(self, draft: Draft, response: httpx.Response) -> httpx.Response:
        """Read the body of a failure, unless that is done."""
        if response.is_closed:
            return response
        try:
            return await _read_bounded(response, self._max_bytes)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise error_of_exception(exc, str(draft), draft.url) from exc


def succeeded(response: httpx.Response) -> bool:
    """Whether the status says success; 304 does, being the answer to a condition."""
    return 200 <= response.status_code < 300 or response.status_code == _NOT_MODIFIED  # noqa: PLR2004 - 2xx


async def chunks_of(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a stream as they come, decoded; to be closed by who leaves early."""
    # Without a coding straight from the wire: httpx's layers leave their own generators to the collector.
    plain = not isinstance(response.stream, _InPieces)
    source: Any = aiter(cast("httpx.AsyncByteStream", response.stream)) if plain else response.aiter_bytes()
    try:
        async for chunk in source:
            yield chunk
    finally:
        if hasattr(source, "aclose"):
            await source.aclose()


async def close(response: httpx.Response) -> None:
    """Close a response that may not have been read to its end; also while being cancelled."""
    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
        await response.aclose()


def _redirected(draft: Draft, response: httpx.Response, seen: list[httpx.URL]) -> Draft:
    """Return the request that a redirect asks for (RFC 9110, 15.4).

    Raises:
        RequestError: It should not be followed: it leaves the origin, is no reading, or goes on and on.
    """
    target = response.next_request.url if response.next_request is not None else draft.url
    where = f"{target.scheme}://{target.netloc.decode('ascii')}"
    status = response.status_code
    why = ""
    if draft.method not in SAFE:
        why = f"a {draft.method} is not sent again"
    elif origin(target) != origin(draft.url) or target.userinfo:
        why = "it leaves the origin"
    elif target in seen:
        why = "it goes round in a circle"
    elif len(seen) > _MOST_REDIRECTS:
        why = f"there were {_MOST_REDIRECTS} before it"
    if why:
        raise RequestError(
            f"{draft} was redirected ({status}) to {where}; not followed, since {why}", status_code=status
        )
    see_other = status == HTTPStatus.SEE_OTHER and draft.method != "HEAD"
    method = "GET" if see_other else draft.method
    url = Target(target.copy_with(fragment=None))
    if not see_other:
        return Draft(method, url, draft.headers, draft.body)
    of_content = {"content-type", "content-length"}
    return Draft(method, url, {k: v for k, v in draft.headers.items() if k not in of_content}, None)


async def _read_bounded(response: httpx.Response, limit: int) -> httpx.Response:
    """Read the body, through whichever transport it comes, and return a response that holds it decoded.

    Raises:
        ResponseTooLarge: It exceeds `limit` bytes; the rest is not read.
    """
    try:
        length = response.headers.get("content-length", "")
        content = has_content(response.request.method, response.status_code)
        if content and length.isdecimal() and int(length) > limit:
            raise too_large(limit, response.request)
        if "," in response.headers.get("content-encoding", ""):
            # A bomb in a bomb: pieces of it can't be kept small.
            raise httpx.DecodingError("more than one content coding is refused", request=response.request)
        _cut(response)
        total = 0
        chunks = []
        # httpx's iterators are generators, by whatever name they are typed.
        async with aclosing(cast("Any", response.aiter_bytes())) as pieces:
            async for piece in pieces:
                total += len(piece)
                if total > limit:
                    raise too_large(limit, response.request)
                chunks.append(piece)
    finally:
        await close(response)
    headers = [item for item in response.headers.multi_items() if item[0] not in _OF_THE_WIRE]
    read = httpx.Response(
        response.status_code,
        headers=headers,
        content=b"".join(chunks) if chunks else None,
        request=response.request,
        extensions=response.extensions,
    )
    read.next_request = response.next_request
    return read


_OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def _cut(response: httpx.Response) -> None:
    """Have a compressed body decoded in small pieces."""
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity"} and not isinstance(response.stream, _InPieces):
        response.stream = _InPieces(cast("httpx.AsyncByteStream", response.stream), piece_of(coding))


class _InPieces(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, size: int) -> None:
        self._stream = stream
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            for start in range(0, len(chunk), self._size):
                yield chunk[start : start + self._size]

    async def aclose(self) -> None:
        await self._stream.aclose()
