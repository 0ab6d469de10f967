"""What the fault server answers: one handler a path. The table with all of them is at the end.

`aioproviders.testing.faults` describes each path and its query parameters.
"""

import asyncio
import base64
import datetime as dt
import email.utils
import gzip
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qsl, urlencode

from aioproviders.testing.fault_wire import Exchange

Handler = Callable[[Exchange], Awaitable[None]]

_PIECE = 65_536  # bytes sent at once of a large body


async def _echo(exchange: Exchange) -> None:
    seen = exchange.request
    await exchange.reply(
        {
            "method": seen.method,
            "target": seen.target,
            "path": exchange.path,
            "query": exchange.query,
            "headers": dict(seen.headers),
            "body": seen.body,
            "connection": seen.connection,
        }
    )


async def _status(exchange: Exchange) -> None:
    status = int(exchange.path.rpartition("/")[2])
    await exchange.reply({"status": status}, status=status)


async def _delay(exchange: Exchange) -> None:
    await asyncio.sleep(exchange.seconds("seconds", 0.1))
    await exchange.reply({"delayed": True})


async def _hang(exchange: Exchange) -> None:
    await exchange.hang()


async def _stall(exchange: Exchange) -> None:
    await exchange.state.ended.wait()  # not even what would show that the client left is read
    exchange.keep = False


async def _hang_after_headers(exchange: Exchange) -> None:
    await exchange.send(exchange.head(200, [("Content-Length", "10")]) + b"begin")
    await exchange.hang()


async def _reset(exchange: Exchange) -> None:
    exchange.reset()


async def _reset_mid_body(exchange: Exchange) -> None:
    await exchange.send(exchange.head(200, [("Content-Length", "10")]) + b"begin")
    await asyncio.sleep(0.05)  # a reset right away would overtake the bytes on their way
    exchange.reset()


async def _close(exchange: Exchange) -> None:
    exchange.keep = False


async def _truncate(exchange: Exchange) -> None:
    await exchange.send(exchange.head(200, [("Content-Length", "10")]) + b"begin")
    exchange.keep = False


async def _drip(exchange: Exchange) -> None:
    size = exchange.number("bytes", 10)
    await exchange.send(exchange.head(200, [("Content-Length", str(size))]))
    for _ in range(size):
        await asyncio.sleep(exchange.seconds("interval", 0.01))
        await exchange.send(b"*")


async def _bad_json(exchange: Exchange) -> None:
    await exchange.reply(b'{"broken": ', content_type="application/json")


async def _garbage(exchange: Exchange) -> None:
    await exchange.send(b"\x00\x01\x02 this is not HTTP\r\n\r\n")
    exchange.keep = False


async def _bad_chunk(exchange: Exchange) -> None:
    await exchange.send(exchange.head(200, [("Transfer-Encoding", "chunked")]) + b"5\r\nbegin\r\nxyz\r\n")
    exchange.keep = False


async def _big_header(exchange: Exchange) -> None:
    await exchange.reply({}, headers=[("X-Big", "x" * exchange.number("bytes", 9000))])


async def _large(exchange: Exchange) -> None:
    left = exchange.number("bytes", 1_000_000)
    if exchange.text("length", "yes") == "yes":
        await exchange.send(exchange.head(200, [("Content-Length", str(left))]))
    else:
        await exchange.send(exchange.head(200, [("Connection", "close")]))
        exchange.keep = False
    while left > 0:
        await exchange.send(b"x" * min(_PIECE, left))
        left -= _PIECE


async def _bomb(exchange: Exchange) -> None:
    coding = exchange.text("coding", "gzip")
    packer = zlib.compressobj(wbits=31 if coding == "gzip" else 15)
    zeros = b"\0" * _PIECE
    packed = b"".join(packer.compress(zeros) for _ in range(exchange.number("bytes", 20_000_000) // _PIECE))
    await exchange.reply(packed + packer.flush(), headers=[("Content-Encoding", coding)])


async def _gzip(exchange: Exchange) -> None:
    await exchange.reply(
        gzip.compress(b'{"gzipped": true}'),
        headers=[("Content-Encoding", "gzip")],
        content_type="application/json",
    )


async def _retry_after(exchange: Exchange) -> None:
    if not exchange.failures_left():
        await exchange.reply({"ok": True})
        return
    value = exchange.text("value", "1")
    if exchange.text("form", "seconds") == "date":
        moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=float(value))
        value = email.utils.format_datetime(moment, usegmt=True)
    await exchange.reply(
        {"ok": False}, status=exchange.number("status", 429), headers=[("Retry-After", value)]
    )


async def _flaky(exchange: Exchange) -> None:
    failed = exchange.failures_left()
    await exchange.reply({"ok": not failed}, status=exchange.number("status", 503) if failed else 200)


async def _drop_keepalive(exchange: Exchange) -> None:
    await exchange.reply({"ok": True}, headers=[("Connection", "keep-alive")])
    if exchange.text("when", "idle") == "next":
        exchange.doomed = True
    else:
        exchange.keep = False


async def _unsolicited(exchange: Exchange) -> None:
    await exchange.reply({"ok": True})
    await asyncio.sleep(exchange.seconds("after", 0.0))
    await exchange.reply({"ok": False}, status=408, headers=[("Connection", "close")])


async def _sse(exchange: Exchange) -> None:
    first = int(exchange.request.header("last-event-id") or 0) + 1

    async def events() -> AsyncIterator[bytes]:
        yield b": a comment\nretry: 10\n\n"
        for number in range(first, exchange.number("events", 3) + 1):
            await asyncio.sleep(exchange.seconds("interval", 0))
            yield f"id: {number}\nevent: tick\ndata: event {number}\ndata: second line\n\n".encode()

    await exchange.reply_chunks(events(), content_type="text/event-stream")


async def _lines(exchange: Exchange) -> None:
    async def lines() -> AsyncIterator[bytes]:
        for number in range(exchange.number("count", 3)):
            await asyncio.sleep(exchange.seconds("interval", 0))
            yield b'{"line": %d}\n' % number

    await exchange.reply_chunks(lines(), content_type="application/x-ndjson")


async def _bytes(exchange: Exchange) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for number in range(exchange.number("count", 3)):
            await asyncio.sleep(exchange.seconds("interval", 0))
            yield bytes([number % 256]) * exchange.number("size", 1000)

    await exchange.reply_chunks(pieces(), content_type="application/octet-stream")


async def _redirect(exchange: Exchange) -> None:
    await exchange.reply(
        status=exchange.number("status", 302), headers=[("Location", exchange.text("to", "/echo"))]
    )


async def _set_cookie(exchange: Exchange) -> None:
    cookies = [("Set-Cookie", f"{name}={value}; Path=/") for name, value in exchange.query.items()]
    await exchange.reply({"ok": True}, headers=cookies)


async def _token(exchange: Exchange) -> None:
    form = dict(parse_qsl(exchange.raw_body.decode()))
    client = (form.get("client_id"), form.get("client_secret"))
    if authorization := exchange.request.header("authorization"):
        name, _, secret = base64.b64decode(authorization.partition(" ")[2]).decode().partition(":")
        client = (name, secret)
    if client != (exchange.text("client_id", "client"), exchange.text("client_secret", "secret")):
        await exchange.reply({"error": "invalid_client"}, status=401)
        return
    if form.get("grant_type") != "client_credentials":
        await exchange.reply({"error": "unsupported_grant_type"}, status=400)
        return
    exchange.state.counts["tokens"] += 1
    token = f"token-{exchange.state.counts['tokens']}"
    expires_in = exchange.seconds("expires_in", 3600)
    exchange.state.tokens[token] = time.monotonic() + expires_in
    answer = {"access_token": token, "token_type": "Bearer", "expires_in": expires_in}
    await exchange.reply(answer | ({"scope": form["scope"]} if "scope" in form else {}))


async def _guarded(exchange: Exchange, *, allowed: bool, scheme: str) -> None:
    if allowed:
        await exchange.reply({"ok": True})
    else:
        await exchange.reply({"ok": False}, status=401, headers=[("WWW-Authenticate", scheme)])


async def _protected(exchange: Exchange) -> None:
    scheme, _, token = (exchange.request.header("authorization") or "").partition(" ")
    valid = exchange.state.tokens.get(token, 0) > time.monotonic()
    await _guarded(exchange, allowed=scheme == "Bearer" and valid, scheme="Bearer")


async def _revoke(exchange: Exchange) -> None:
    exchange.state.tokens.clear()
    await exchange.reply({"ok": True})


async def _basic(exchange: Exchange) -> None:
    pair = f"{exchange.text('user', 'user')}:{exchange.text('password', 'pass')}"
    expected = f"Basic {base64.b64encode(pair.encode()).decode()}"
    await _guarded(exchange, allowed=exchange.request.header("authorization") == expected, scheme="Basic")


async def _bearer(exchange: Exchange) -> None:
    expected = f"Bearer {exchange.text('token', 'secret')}"
    await _guarded(exchange, allowed=exchange.request.header("authorization") == expected, scheme="Bearer")


async def _api_key(exchange: Exchange) -> None:
    given = exchange.request.header(exchange.text("header", "X-API-Key"))
    await _guarded(exchange, allowed=given == exchange.text("key", "secret"), scheme="ApiKey")


async def _pages(exchange: Exchange) -> None:
    style, pages, size = (
        exchange.text("style", "page"),
        exchange.number("pages", 3),
        exchange.number("size", 2),
    )
    page = exchange.number("cursor" if style == "cursor" else "page", 1)
    items = [{"id": (page - 1) * size + offset} for offset in range(size)] if page <= pages else []
    more = page < pages
    if style == "link":
        host = exchange.request.header("host")
        target = urlencode(exchange.query | {"page": str(page + 1)})
        link = [("Link", f'<http://{host}/pages?{target}>; rel="next"')] if more else []
        await exchange.reply(items, headers=link)
    elif style == "cursor":
        await exchange.reply({"items": items, "next_cursor": str(page + 1) if more else None})
    else:
        await exchange.reply({"items": items, "page": page, "pages": pages})


async def _early(exchange: Exchange) -> None:
    await exchange.reply({"error": "too large"}, status=413, headers=[("Connection", "close")])
    await exchange.hang()


async def _openapi(exchange: Exchange) -> None:
    fine = {"responses": {"200": {"description": "fine"}}}
    number = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    await exchange.reply(
        {
            "openapi": "3.1.0",
            "info": {"title": "Faults", "version": "1.0.0"},
            "paths": {
                "/echo": {"get": {"operationId": "echo", **fine}, "post": {"operationId": "send", **fine}},
                "/echo/{id}": {"get": {"operationId": "echo_one", "parameters": [number], **fine}},
                "/pages": {"get": {"operationId": "pages", **fine}},
            },
        }
    )


# By the path's first part.
HANDLERS: dict[str, Handler] = {
    "api-key": _api_key,
    "bad-chunk": _bad_chunk,
    "bad-json": _bad_json,
    "basic": _basic,
    "bearer": _bearer,
    "big-header": _big_header,
    "bomb": _bomb,
    "bytes": _bytes,
    "close": _close,
    "delay": _delay,
    "drip": _drip,
    "drop-keepalive": _drop_keepalive,
    "early": _early,
    "echo": _echo,
    "flaky": _flaky,
    "garbage": _garbage,
    "gzip": _gzip,
    "hang": _hang,
    "hang-after-headers": _hang_after_headers,
    "large": _large,
    "lines": _lines,
    "openapi.json": _openapi,
    "pages": _pages,
    "protected": _protected,
    "redirect": _redirect,
    "reset": _reset,
    "reset-mid-body": _reset_mid_body,
    "retry-after": _retry_after,
    "revoke": _revoke,
    "set-cookie": _set_cookie,
    "sse": _sse,
    "status": _status,
    "stall": _stall,
    "token": _token,
    "truncate": _truncate,
    "unsolicited": _unsolicited,
}

# These answer, or don't, without reading the request's body.
BEFORE_BODY = frozenset({"early", "stall"})
