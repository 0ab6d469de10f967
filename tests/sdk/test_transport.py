"""The transport sends what httpx made, once, and says truly what may have arrived."""

import asyncio
import errno
import gc
import os
import socket
import ssl
import threading

import aiohttp
import anyio
import anyio.lowlevel
import httpx
import pytest
import trustme
from aiohttp.client_proto import ResponseHandler

from aioproviders.phases import record_phases
from aioproviders.sdk.http.connector import Slots
from aioproviders.sdk.http.messages import fields_of
from aioproviders.sdk.http.pooled_client import PooledClient
from aioproviders.sdk.http.transport import AiohttpTransport
from aioproviders.sdk.http.wire import head_of
from aioproviders.testing.faults import FaultServer

NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
MAYBE_SENT = (
    httpx.ReadError,
    httpx.ReadTimeout,
    httpx.WriteError,
    httpx.WriteTimeout,
    httpx.RemoteProtocolError,
)


@pytest.fixture
async def make_client():
    """Make clients whose transports must have given everything back in the end."""
    clients = []

    def make(*, timeout=5, **options):
        client = httpx.AsyncClient(transport=AiohttpTransport(**options), timeout=timeout)
        clients.append(client)
        return client

    yield make
    for client in clients:
        transport = client._transport
        assert (transport.in_use, transport.waiting) == (0, 0)
        await client.aclose()
        assert transport.open_connections == 0


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(authority, tmp_path_factory):
    certificate = tmp_path_factory.mktemp("tls") / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    with FaultServer(certificate=certificate) as server:
        yield server


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def silent_port():
    """A port where connections succeed and nobody ever says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
async def listen():
    """Start servers that do one thing with each connection and close it; hands out their ports."""
    servers = []

    async def start(handle):
        async def serve(reader, writer):
            await handle(reader, writer)
            writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return servers[-1].sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()


async def until(condition):
    with anyio.fail_after(5):
        while not condition():  # noqa: ASYNC110 -- what is waited for tells nobody
            await anyio.sleep(0.001)


async def failure(client, method, url, **options):
    with pytest.raises(httpx.HTTPError) as caught:
        await client.request(method, url, **options)
    error = caught.value
    assert error.request.method == method
    return error


# What was not sent


async def test_refused_connections_were_not_sent(make_client, fault_server):
    """A refused connection is a ConnectError that names host and port."""
    error = await failure(make_client(), "POST", fault_server.refused_url, content=b"x")
    assert type(error) is httpx.ConnectError
    assert "127.0.0.1" in str(error)
    assert error.__cause__ is not None


async def test_unknown_hosts_were_not_sent(make_client, monkeypatch):
    """A host that can't be resolved is a ConnectError."""

    def fail(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert type(await failure(make_client(), "POST", "http://unknown.test")) is httpx.ConnectError


@pytest.mark.parametrize("host", ["x" * 70 + ".test", "127.1"])
async def test_impossible_hosts_were_not_sent(make_client, host):
    """A host that can't be a host is a ConnectError."""
    assert type(await failure(make_client(), "GET", f"http://{host}")) is httpx.ConnectError


async def test_slow_handshakes_were_not_sent(make_client, silent_port):
    """A TLS handshake that doesn't end is a ConnectTimeout."""
    client = make_client(timeout=httpx.Timeout(5, connect=0.05))
    error = await failure(client, "POST", f"https://127.0.0.1:{silent_port}", content=b"x")
    assert type(error) is httpx.ConnectTimeout


async def test_a_timeout_of_nothing_is_a_timeout(make_client, fault_server, silent_port):
    """Zero seconds are not taken for no limit at all."""
    client = make_client(timeout=0)
    assert type(await failure(client, "GET", f"https://127.0.0.1:{silent_port}")) is httpx.ConnectTimeout


async def test_untrusted_certificates_were_not_sent(make_client, tls_server):
    """A certificate of an unknown authority is a ConnectError."""
    error = await failure(make_client(), "POST", f"{tls_server.url}/echo")
    assert type(error) is httpx.ConnectError
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


async def test_tls_with_a_server_that_speaks_none_was_not_sent(make_client, listen):
    """A failed TLS handshake is a ConnectError."""

    async def greet(reader, writer):
        writer.write(b"220 this is no TLS\r\n")

    port = await listen(greet)
    assert type(await failure(make_client(), "GET", f"https://127.0.0.1:{port}")) is httpx.ConnectError


async def test_a_full_pool_was_not_sent(make_client, fault_server):
    """Waiting too long for a connection is a PoolTimeout, and the queue is left."""
    client = make_client(limits=httpx.Limits(max_connections=1), timeout=httpx.Timeout(5, pool=0.05))
    async with client.stream("GET", f"{fault_server.url}/hang-after-headers"):
        assert type(await failure(client, "POST", f"{fault_server.url}/echo")) is httpx.PoolTimeout
    assert len(await fault_server.requests("/echo")) == 0


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "/relative", "http:///nowhere"])
async def test_other_protocols_were_not_sent(make_client, url):
    """What is no http URL with a host is refused as httpx refuses it."""
    assert type(await failure(make_client(), "GET", url)) is httpx.UnsupportedProtocol


async def test_a_dead_proxy_was_not_sent(make_client, fault_server):
    """A proxy that can't be reached is a ProxyError."""
    for target in ("http://target.test", "https://target.test"):
        client = make_client(proxy=fault_server.refused_url)
        assert type(await failure(client, "POST", target)) is httpx.ProxyError


@pytest.mark.parametrize("user", ["refused", "garbage", "close"])
async def test_failing_tunnels_were_not_sent(make_client, fault_server, user):
    """A proxy that refuses the tunnel, talks nonsense or goes away is a ProxyError without its password."""
    proxy = fault_server.url.replace("://", f"://{user}:hunter2@")
    error = await failure(make_client(proxy=proxy), "POST", "https://target.test/secret")
    assert type(error) is httpx.ProxyError
    while error is not None:
        assert "hunter2" not in f"{error!s} {error!r}"
        assert "aHVudGVy" not in repr(error)
        error = error.__cause__


# What may have been sent


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/reset", httpx.ReadError),
        ("/close", httpx.RemoteProtocolError),
        ("/garbage", httpx.RemoteProtocolError),
        ("/big-header", httpx.RemoteProtocolError),
        ("/bad-chunk", httpx.RemoteProtocolError),
        ("/truncate", httpx.RemoteProtocolError),
        ("/reset-mid-body", httpx.RemoteProtocolError),
        ("/hang", httpx.ReadTimeout),
        ("/hang-after-headers", httpx.ReadTimeout),
    ],
)
async def test_failures_after_connecting_may_have_been_sent(
    make_client, fault_server, method, path, expected
):
    """Whatever fails on an open connection is told apart from connecting, and the request was sent once."""
    client = make_client(timeout=httpx.Timeout(5, read=0.1))
    body = b"body" if method in {"PUT", "POST"} else None
    error = await failure(client, method, f"{fault_server.url}{path}?password=hunter2", content=body)
    assert type(error) is expected
    assert isinstance(error, MAYBE_SENT)
    assert not isinstance(error, NOT_SENT)
    assert len(await fault_server.requests(path)) == 1
    while error is not None:
        assert "hunter2" not in f"{error!s} {error!r}"
        error = error.__cause__


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_dropped_kept_connections_are_no_silent_second_try(make_client, fault_server, method):
    """A kept connection that drops when it is used again is an error; nothing is sent a second time."""
    client = make_client()
    await client.get(f"{fault_server.url}/drop-keepalive?when=next")
    error = await failure(client, method, f"{fault_server.url}/echo")
    assert isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError))
    assert len(await fault_server.requests("/echo")) == 1


async def test_connections_closed_while_idle_are_not_used_again(make_client, fault_server):
    """A connection whose end was noticed is replaced without an error."""
    client = make_client()
    await client.get(f"{fault_server.url}/drop-keepalive")
    await until(lambda: client._transport.open_connections == 0)
    assert (await client.post(f"{fault_server.url}/echo")).status_code == 200


async def test_answers_that_nobody_asked_for_are_not_believed(make_client, fault_server):
    """What came while a connection was idle is not taken for the answer to the next request."""
    client = make_client()
    await client.get(f"{fault_server.url}/unsolicited?after=0.05")
    (connections,) = client._transport._connector._conns.values()
    await until(lambda: connections[0][0].should_close)
    assert (await client.get(f"{fault_server.url}/echo")).status_code == 200


async def test_a_server_that_reads_nothing_is_a_write_timeout(make_client, fault_server):
    """A body that doesn't leave is a WriteTimeout, and its iterator is closed."""
    closed = anyio.Event()

    class Endless(httpx.AsyncByteStream):
        async def __aiter__(self):
            try:
                while True:
                    yield b"x" * 100_000
            finally:
                closed.set()

    client = make_client(timeout=httpx.Timeout(5, write=0.1))
    request = httpx.Request("POST", f"{fault_server.url}/stall", stream=Endless())
    with pytest.raises(httpx.WriteTimeout) as caught:
        await client.send(request)
    assert caught.value.request is request
    assert closed.is_set()
    await until(lambda: client._transport.open_connections == 0)


async def test_a_connection_that_breaks_while_sending_may_have_been_sent(make_client, listen):
    """A server that leaves in the middle of the body is an error of sending or receiving."""
    port = await listen(lambda reader, writer: reader.readline())
    error = await failure(make_client(), "PUT", f"http://127.0.0.1:{port}", content=b"x" * 10_000_000)
    assert isinstance(error, MAYBE_SENT)


async def test_an_early_answer_is_an_answer(make_client, fault_server):
    """A server that refuses the body before it has it is heard, and its connection not used again."""

    async def slow():
        yield b"begin"
        await anyio.sleep(60)

    client = make_client()
    url = f"{fault_server.url}/early"
    assert (await client.post(url, content=slow())).status_code == 413
    assert (await client.post(url, content=slow())).status_code == 413
    first, second = await fault_server.requests()
    assert first.connection != second.connection


async def test_errors_of_the_body_itself_come_through(make_client, fault_server):
    """What the caller's own iterator raises is raised as it is."""

    class MineError(TimeoutError):
        pass

    async def broken():
        yield b"begin"
        raise MineError

    with pytest.raises(MineError):
        await make_client().post(f"{fault_server.url}/echo", content=broken())


@pytest.mark.parametrize("length", ["3", "7"])
async def test_a_body_unlike_its_length_is_refused(make_client, fault_server, length):
    """A body longer or shorter than announced is the caller's mistake."""

    async def five():
        yield b"12345"

    headers = {"Content-Length": length}
    error = await failure(make_client(), "POST", f"{fault_server.url}/echo", content=five(), headers=headers)
    assert type(error) is httpx.LocalProtocolError


@pytest.mark.parametrize("headers", [{"X-Name": b"\xe9"}, {"X-Name": "a\r\nB: c"}])
async def test_headers_that_cannot_be_sent_are_refused(make_client, fault_server, headers):
    """A header is sent as it is or not at all."""
    error = await failure(make_client(), "GET", f"{fault_server.url}/echo", headers=headers)
    assert type(error) is httpx.LocalProtocolError
    assert await fault_server.requests() == []


async def test_sync_bodies_are_refused(make_client, fault_server):
    """A body that would block the loop is refused as httpx refuses it."""
    with pytest.raises(RuntimeError, match="sync"):
        await make_client()._transport.handle_async_request(
            httpx.Request("POST", f"{fault_server.url}/echo", content=iter([b"x"]))
        )


class MeantError(Exception):
    """An error that is nobody's on the wire."""


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (aiohttp.ClientConnectionResetError("Cannot write to closing transport"), httpx.WriteError),
        (aiohttp.ClientOSError(errno.EPIPE, "Broken pipe"), httpx.WriteError),
        (aiohttp.ClientOSError(errno.ECONNRESET, "for http://target.test/?key=hunter2"), httpx.ReadError),
        (aiohttp.ServerTimeoutError(), httpx.ReadTimeout),
        (aiohttp.ServerDisconnectedError(), httpx.RemoteProtocolError),
        (aiohttp.InvalidURL("http://?key=hunter2"), httpx.ConnectError),
        (aiohttp.ClientError(), httpx.ReadError),
        (aiohttp.http_exceptions.BadHttpMessage("bad"), httpx.RemoteProtocolError),
        (MeantError(), MeantError),
    ],
)
async def test_every_error_of_the_library_below_is_translated(
    make_client, fault_server, monkeypatch, raised, expected
):
    """Whatever the library below raises becomes httpx's, without the URL; other errors stay themselves."""
    client = make_client()
    await client.get(f"{fault_server.url}/echo")

    async def fail(*arguments, **options):
        raise raised

    monkeypatch.setattr(ResponseHandler, "read", fail)
    with pytest.raises(expected) as caught:
        await client.get(f"{fault_server.url}/echo?key=hunter2")
    error = caught.value
    while error is not None:
        assert "hunter2" not in f"{error!s} {error!r}"
        error = error.__cause__


# What is sent


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "PURGE"])
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain", "X-Twice": "1"}])
async def test_headers_are_those_of_httpx_alone(make_client, fault_server, method, headers):
    """Exactly httpx's headers are sent: none is added, dropped or changed, nor is a body announced."""
    request = httpx.Request(method, f"{fault_server.url}/echo", headers=headers)
    await make_client().send(request)
    (seen,) = await fault_server.requests()
    assert seen.headers == [(name.decode().lower(), value.decode()) for name, value in request.headers.raw]


async def test_bodies_arrive_whole(make_client, fault_server):
    """Small, large and streamed bodies arrive, with a length where it is known and in chunks where not."""

    async def parts():
        for _ in range(3):
            yield b"y" * 10

    client = make_client()
    for content, length, encoding in [
        (b"small", "5", None),
        (b"x" * 2_000_000, "2000000", None),
        (parts(), None, "chunked"),
    ]:
        await fault_server.reset()
        assert (await client.put(f"{fault_server.url}/echo", content=content)).status_code == 200
        (seen,) = await fault_server.requests()
        assert seen.complete
        assert (seen.header("content-length"), seen.header("transfer-encoding")) == (length, encoding)
    assert seen.body == "y" * 30


async def test_targets_are_sent_as_they_are(make_client, fault_server):
    """No part of a URL is quoted anew, so that signed URLs stay valid."""
    client = make_client()
    for target in ("/echo/a%7Eb%2Fc%20d?x=%2F&y=~&&z", "/echo/?", "/echo/../echo", "/echo/%e4?q=a+b"):
        request = httpx.Request("GET", fault_server.url, extensions={"target": target.encode()})
        await client.send(request)
        await client.get(fault_server.url + target)
    sent = [seen.target for seen in await fault_server.requests()]
    assert sent[:4] == ["/echo/a%7Eb%2Fc%20d?x=%2F&y=~&&z"] * 2 + ["/echo/?"] * 2
    assert sent[4] == "/echo/../echo"
    assert sent[6:] == ["/echo/%e4?q=a+b"] * 2
    await client.request("OPTIONS", fault_server.url, extensions={"target": b"*"})
    assert (await fault_server.requests())[-1].target == "*"


async def test_cookies_live_in_one_jar(make_client, fault_server):
    """A cookie cleared from httpx's jar is gone."""
    client = make_client()
    await client.get(f"{fault_server.url}/set-cookie?a=b")
    assert (await client.get(f"{fault_server.url}/echo")).json()["headers"]["cookie"] == "a=b"
    client.cookies.clear()
    assert "cookie" not in (await client.get(f"{fault_server.url}/echo")).json()["headers"]


async def test_redirects_are_for_the_client(make_client, fault_server):
    """A redirect is handed back; when httpx follows it, no body is announced."""
    client = make_client()
    url = f"{fault_server.url}/redirect?to=/echo"
    assert (await client.get(url)).status_code == 302
    headers = (await client.get(url, follow_redirects=True)).json()["headers"]
    assert not {"transfer-encoding", "content-length"} & set(headers)


async def test_responses_are_whole(make_client, fault_server):
    """Status, version, reason, headers and decoded content come with the response."""
    response = await make_client().get(f"{fault_server.url}/gzip")
    assert response.json() == {"gzipped": True}
    assert (response.http_version, response.reason_phrase) == ("HTTP/1.1", "OK")
    assert response.headers["content-encoding"] == "gzip"


async def test_streams_come_piece_by_piece(make_client, fault_server):
    """A stream's pieces are handed on as they come, and its connection is used again at its end."""
    client = make_client()
    async with client.stream("GET", f"{fault_server.url}/lines?count=3&interval=0.01") as response:
        assert client._transport.in_use == 1
        assert [line async for line in response.aiter_lines()] == [f'{{"line": {n}}}' for n in range(3)]
    await client.get(f"{fault_server.url}/echo")
    first, second = await fault_server.requests()
    assert first.connection == second.connection


async def test_a_stream_left_early_closes_its_connection(make_client, fault_server):
    """A response closed before its end frees its slot and its socket."""
    client = make_client()
    async with client.stream("GET", f"{fault_server.url}/drip?bytes=1000") as response:
        async for _ in response.aiter_raw():
            break
    assert client._transport.in_use == 0
    await until(lambda: client._transport.open_connections == 0)


@pytest.mark.parametrize("failure_kind", ["close", "reset"])
async def test_a_stream_that_breaks_off_is_an_error(make_client, fault_server, failure_kind):
    """What came before a stream broke is handed on, then the error."""
    url = f"{fault_server.url}/lines?count=9&fail_after=2&interval=0.02&failure={failure_kind}"
    lines = []
    with pytest.raises(httpx.RemoteProtocolError):
        async with make_client().stream("GET", url) as response:
            lines.extend([line async for line in response.aiter_lines()])
    assert response.is_closed


async def test_a_forgotten_response_gives_its_slot_back(make_client, fault_server):
    """A response that nobody closed takes no slot to its grave."""
    client = make_client(limits=httpx.Limits(max_connections=1))
    request = client.build_request("GET", f"{fault_server.url}/hang-after-headers")
    response = await client.send(request, stream=True)
    assert client._transport.in_use == 1
    del response
    gc.collect()
    assert client._transport.in_use == 0


# The pool


async def test_the_queue_is_fair(make_client, fault_server):
    """Whoever asked first is served first."""
    client = make_client(limits=httpx.Limits(max_connections=1))
    done = []

    async def ask(number):
        await client.get(f"{fault_server.url}/echo/{number}")
        done.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(ask, number)
    assert done == list(range(10))
    assert [seen.target for seen in await fault_server.requests()] == [f"/echo/{n}" for n in range(10)]


async def test_phases_are_told_apart(make_client, fault_server):
    """Where somebody measures, waiting in the queue, connecting and waiting for the server are told apart."""
    client = make_client(limits=httpx.Limits(max_connections=1))
    found = []

    async def ask():
        with record_phases() as phases:
            await client.get(f"{fault_server.url}/delay?seconds=0.05")
        found.append(phases)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        group.start_soon(ask)
    first, second = found
    assert first.waiting == 0
    assert first.connecting > 0
    assert second.waiting > second.connecting == 0
    for phases in found:
        assert phases.first_byte > 0.04


async def test_no_limit_is_no_limit(make_client, fault_server):
    """With max_connections None more than aiohttp's 100 are open at once."""
    client = make_client(limits=httpx.Limits(), timeout=30)
    async with anyio.create_task_group() as group:
        for _ in range(110):
            group.start_soon(client.get, f"{fault_server.url}/hang")
        with anyio.fail_after(20):
            while len(await fault_server.requests()) < 110:  # noqa: ASYNC110 -- another process is asked
                await anyio.sleep(0.01)
        assert client._transport.open_connections == 110
        group.cancel_scope.cancel()


@pytest.mark.parametrize("kept", [0, 1])
async def test_no_more_than_so_many_connections_are_kept(make_client, fault_server, kept):
    """Connections over max_keepalive_connections are closed when they come back."""
    client = make_client(limits=httpx.Limits(max_connections=3, max_keepalive_connections=kept))
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(client.get, f"{fault_server.url}/delay?seconds=0.05")
    await until(lambda: client._transport.open_connections == kept)


async def test_kept_connections_expire(make_client, fault_server):
    """A connection idle for longer than keepalive_expiry is not used again."""
    client = make_client(limits=httpx.Limits(keepalive_expiry=0.01))
    await client.get(f"{fault_server.url}/echo")
    await until(lambda: client._transport.open_connections == 0)
    await client.get(f"{fault_server.url}/echo")
    first, second = await fault_server.requests()
    assert first.connection != second.connection


async def test_idle_connections_make_room(make_client, fault_server, tls_server, trusting):
    """Idle connections count as connections: the longest idle is closed for a new one elsewhere."""
    client = make_client(verify=trusting, limits=httpx.Limits(max_connections=2))
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(client.get, f"{fault_server.url}/delay?seconds=0.05")
    assert client._transport.open_connections == 2
    for _ in range(3):
        async with client.stream("GET", f"{tls_server.url}/hang-after-headers"):
            await until(lambda: client._transport.open_connections <= 2)


# Cancellation


async def request_plain(client, url):
    await client.get(f"{url}/echo")


async def request_body(client, url):
    async def parts():
        yield b"one"
        await anyio.lowlevel.checkpoint()
        yield b"two"

    await client.post(f"{url}/echo", content=parts())


async def request_large(client, url):
    await client.get(f"{url}/large?bytes=600000")


async def request_stream(client, url):
    async with client.stream("GET", f"{url}/lines?count=5") as response:
        async for _ in response.aiter_lines():
            await anyio.lowlevel.checkpoint()


async def request_hanging(client, url):
    await client.get(f"{url}/hang-after-headers")


async def request_failing(client, url):
    with pytest.raises(httpx.HTTPError):
        await client.get(f"{url}/reset-mid-body")


REQUESTS = [request_plain, request_body, request_large, request_stream, request_hanging, request_failing]


@pytest.mark.parametrize("work", REQUESTS)
async def test_cancellation_at_any_point_loses_nothing(make_client, fault_server, work):
    """A request cancelled at any of the loop's turns leaves no slot, no socket and no task behind."""
    client = make_client(limits=httpx.Limits(max_connections=1, max_keepalive_connections=1))
    transport = client._transport
    for turns in range(40):
        async with anyio.create_task_group() as group:
            group.start_soon(work, client, fault_server.url)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert (transport.in_use, transport.waiting) == (0, 0)
    assert (await client.get(f"{fault_server.url}/echo")).status_code == 200
    await until(lambda: transport.open_connections == 1)
    with anyio.fail_after(5):
        while await fault_server.open_connections() > 1:  # noqa: ASYNC110 -- another process is asked
            await anyio.sleep(0.01)


async def test_cancellation_at_random_moments_loses_nothing(make_client, fault_server):
    """Hundreds of requests in a crowded pool, each cancelled at some moment, leave nothing behind."""
    client = make_client(limits=httpx.Limits(max_connections=3))
    transport = client._transport

    async def one(number):
        with anyio.move_on_after((number * 7919 % 100) / 1500):
            await REQUESTS[number % len(REQUESTS)](client, fault_server.url)

    async with anyio.create_task_group() as group:
        for number in range(300):
            group.start_soon(one, number)
    assert (transport.in_use, transport.waiting) == (0, 0)
    assert (await client.get(f"{fault_server.url}/echo")).status_code == 200
    await until(lambda: transport.open_connections <= 3)


async def test_a_slot_handed_over_at_the_moment_of_cancellation_is_passed_on(make_client, fault_server):
    """Of two in the queue the second gets the slot that the first was cancelled with."""
    client = make_client(limits=httpx.Limits(max_connections=1))
    transport = client._transport
    async with (
        client.stream("GET", f"{fault_server.url}/hang-after-headers") as response,
        anyio.create_task_group() as group,
        anyio.create_task_group() as doomed,
    ):
        doomed.start_soon(client.get, f"{fault_server.url}/echo/first")
        await until(lambda: transport.waiting == 1)
        group.start_soon(client.get, f"{fault_server.url}/echo/second")
        await until(lambda: transport.waiting == 2)
        await response.aclose()  # hands the slot to the first
        doomed.cancel_scope.cancel()
    assert [seen.target for seen in await fault_server.requests("/echo")] == ["/echo/second"]


# TLS, proxies and the environment


async def test_tls_works_and_is_kept(make_client, tls_server, trusting):
    """A connection over TLS is verified and used again."""
    await tls_server.reset()
    client = make_client(verify=trusting)
    for _ in range(2):
        assert (await client.get(f"{tls_server.url}/echo")).status_code == 200
    first, second = await tls_server.requests()
    assert first.connection == second.connection


async def test_tls_may_go_unverified_or_be_verified_by_a_file(make_client, tls_server, authority, tmp_path):
    """Without verification any certificate will do; with a file its authorities count."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for verify in (False, str(tmp_path / "ca.pem")):
        assert (await make_client(verify=verify).get(f"{tls_server.url}/echo")).status_code == 200


async def test_client_certificates(make_client, authority, tmp_path):
    """A server that asks for a certificate gets the client's."""
    server_file, client_file, ca_file = (
        str(tmp_path / name) for name in ("server.pem", "client.pem", "ca.pem")
    )
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server_file)
    authority.issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(client_file)
    authority.cert_pem.write_to_path(ca_file)
    async with FaultServer(certificate=server_file, client_ca=ca_file) as server:
        for cert in (client_file, (client_file, client_file)):
            client = make_client(verify=ca_file, cert=cert)
            assert (await client.get(f"{server.url}/echo")).status_code == 200
        error = await failure(make_client(verify=ca_file), "GET", f"{server.url}/echo")
        assert isinstance(error, NOT_SENT + MAYBE_SENT)


async def test_closing_leaves_no_tls_connection_behind(tls_server, trusting):
    """Closing waits for TLS connections too, those in the middle of something included."""
    transport = AiohttpTransport(verify=trusting)
    client = httpx.AsyncClient(transport=transport)
    async with client, anyio.create_task_group() as group:
        group.start_soon(client.get, f"{tls_server.url}/hang")
        await client.get(f"{tls_server.url}/echo")
        with anyio.move_on_after(0.05):
            await client.get(f"{tls_server.url}/hang-after-headers")
        group.cancel_scope.cancel()
    assert transport.open_connections == 0
    gc.collect()


def test_a_certificate_goes_into_ones_own_context(trusting):
    """A context of the caller's own is not changed behind its back."""
    with pytest.raises(ValueError, match="context"):
        AiohttpTransport(verify=trusting, cert="client.pem")


async def test_a_proxy_forwards_http(make_client, fault_server):
    """A plain request goes to the proxy with an absolute target and the proxy's credentials."""
    client = make_client(proxy=fault_server.url.replace("://", "://user:pass@"))
    for _ in range(2):
        assert (await client.get("http://target.test/echo?a=%2F")).status_code == 200
    seen = (await fault_server.requests())[-1]
    assert (seen.target, seen.header("host")) == ("http://target.test/echo?a=%2F", "target.test")
    assert seen.header("proxy-authorization") == "Basic dXNlcjpwYXNz"


async def test_a_proxy_tunnels_https(make_client, fault_server, tls_server, trusting):
    """A TLS connection goes through a tunnel; the proxy's credentials stay with the proxy."""
    await tls_server.reset()
    proxy = httpx.Proxy(fault_server.url, auth=("user", "pass"), headers={"X-Proxy": "yes"})
    client = make_client(proxy=proxy, verify=trusting)
    for _ in range(2):
        assert (await client.get(f"{tls_server.url}/echo")).status_code == 200
    (connect,) = await fault_server.requests()
    assert (connect.method, connect.header("x-proxy")) == ("CONNECT", "yes")
    assert connect.header("proxy-authorization") == "Basic dXNlcjpwYXNz"
    assert [seen.header("proxy-authorization") for seen in await tls_server.requests()] == [None, None]


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://127.0.0.1:1",
        httpx.Proxy("socks5://user:hunter2@127.0.0.1:1"),
        httpx.Proxy("https://127.0.0.1:1", ssl_context=ssl.create_default_context()),
    ],
)
def test_other_proxies_are_refused(proxy):
    """A proxy that can't be used is refused at once."""
    with pytest.raises(ValueError, match="proxy") as caught:
        AiohttpTransport(proxy=proxy)
    assert "hunter2" not in str(caught.value)


async def test_the_environment_counts_when_asked(make_client, fault_server, monkeypatch):
    """Proxies of the environment are used only with trust_env, and not for hosts in NO_PROXY."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", fault_server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    trusting = make_client(trust_env=True)
    assert (await trusting.get("http://target.test/echo")).status_code == 200
    assert (await trusting.get(f"{fault_server.url}/echo")).json()["target"] == "/echo"
    error = await failure(trusting, "GET", f"https://{fault_server.refused_url[7:]}")
    assert type(error) is httpx.ConnectError
    error = await failure(make_client(), "GET", fault_server.refused_url)
    assert type(error) is httpx.ConnectError


# Closing


async def test_closing_ends_what_is_under_way(fault_server):
    """Requests in flight, half read or queued fail when the transport is closed, and none hangs."""
    transport = AiohttpTransport(limits=httpx.Limits(max_connections=2))
    client = httpx.AsyncClient(transport=transport, timeout=30)
    errors = []

    async def ask(path):
        try:
            await client.get(f"{fault_server.url}{path}")
        except httpx.HTTPError as error:
            errors.append(type(error))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask, "/hang")
            group.start_soon(ask, "/hang-after-headers")
            await until(lambda: transport.in_use == 2)
            await until(lambda: transport._live)  # one has its headers, the other is on its way
            while len(await fault_server.requests("/hang")) < 2:  # noqa: ASYNC110 - another process
                await anyio.sleep(0.01)
            group.start_soon(ask, "/echo")
            await until(lambda: transport.waiting == 1)
            await transport.aclose()
    assert sorted(errors, key=str) == sorted(
        [httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError], key=str
    )
    assert (transport.in_use, transport.waiting, transport.open_connections) == (0, 0, 0)


async def test_closing_twice_or_unused_is_nothing(fault_server):
    """Closing again does nothing, and a closed transport serves no more."""
    transport = AiohttpTransport()
    await transport.aclose()
    await transport.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await transport.handle_async_request(httpx.Request("GET", fault_server.url))


async def test_another_loop_is_refused(make_client, fault_server):
    """A transport says so when it is used in another loop than its own."""
    client = make_client()
    await client.get(f"{fault_server.url}/echo")
    errors = []

    def elsewhere():
        try:
            anyio.run(client.get, f"{fault_server.url}/echo")
        except RuntimeError as error:
            errors.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    assert "another event loop" in errors[0]


# What is written, and what is read, by hand


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/", {"x": "1\r\nx-admin: yes"}),
        ("GET", "/", {"x": "1\nx-admin: yes"}),
        ("GET", "/", {"x\r\ny": "1"}),
        ("GET", "/\r\nhost: other.test", {}),
        ("GET /other HTTP/1.1\r\nx:", "/", {}),
        ("GET", "/", {"x": "1\r"}),
        ("GET", "/", {"x": "1\0"}),
    ],
)
def test_nothing_can_end_a_line_of_the_head(method, target, headers):
    """A line break or a null byte in any part of a request's head is refused, not sent."""
    with pytest.raises(ValueError, match="line break or a null byte"):
        head_of(method, target, headers.items())


async def test_what_cannot_be_sent_is_the_callers_mistake(make_client, fault_server):
    """A header that would end its line is httpx's LocalProtocolError, and nothing reaches the server."""
    client = make_client()
    request = client.build_request("GET", f"{fault_server.url}/echo")
    request.headers = httpx.Headers([(b"Host", b"a"), (b"x", b"1\r\ny: 2")])
    with pytest.raises(httpx.LocalProtocolError):
        await client.send(request)
    assert await fault_server.requests() == []


async def test_a_bare_request_gets_what_framing_needs(make_client, fault_server):
    """A request built without Host and Content-Length gets both, so that the server can read it."""
    client = make_client()
    request = httpx.Request("POST", f"{fault_server.url}/echo", stream=httpx.ByteStream(b"12345"))
    assert not request.headers
    assert (await client.send(request)).status_code == 200
    (seen,) = await fault_server.requests()
    headers = {name.lower(): value for name, value in seen.headers}
    assert headers == {"host": fault_server.url.removeprefix("http://"), "content-length": "5"}


async def raw_server(task_group, *answers):
    """Serve connections on which each request is answered by the next of `answers`, word for word."""

    async def serve(stream):
        async with stream:
            for answer in answers:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += await stream.receive()
                await stream.send(answer)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")

    async def listen():
        async with listener:
            await listener.serve(serve)

    task_group.start_soon(listen)
    return f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"


async def test_interim_responses_are_passed_over(make_client):
    """What comes before the response proper (100, 103) is no response, and the connection is kept."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    async with anyio.create_task_group() as task_group:
        url = await raw_server(task_group, interim + final, final)
        client = make_client()
        for _ in range(2):
            response = await client.get(url)
            assert (response.status_code, response.text) == (200, "ok")
        assert client._transport.open_connections == 1
        task_group.cancel_scope.cancel()


async def test_a_switch_of_protocols_ends_the_connection(make_client):
    """101, which nobody asked for, is handed out as it is; what follows on the connection is not HTTP."""
    async with anyio.create_task_group() as task_group:
        url = await raw_server(
            task_group, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nnoise"
        )
        client = make_client()
        async with client.stream("GET", url) as response:
            assert response.status_code == 101
        assert client._transport.in_use == 0
        with anyio.fail_after(5):
            while client._transport.open_connections:
                await anyio.lowlevel.checkpoint()
        task_group.cancel_scope.cancel()


async def test_the_queue_gives_up_each_at_its_own_time(make_client, fault_server):
    """Who waits in the queue with less patience is sent away first, whoever came before."""
    client = make_client(limits=httpx.Limits(max_connections=1))
    given_up = []

    async def ask(patience):
        with pytest.raises(httpx.PoolTimeout):
            await client.get(f"{fault_server.url}/echo", timeout=httpx.Timeout(5, pool=patience))
        given_up.append(patience)

    async with client.stream("GET", f"{fault_server.url}/lines?count=1000&interval=0.01"):
        async with anyio.create_task_group() as group:
            for patience in (0.3, 0.1, 0.2):
                group.start_soon(ask, patience)
        assert given_up == [0.1, 0.2, 0.3]
        assert client._transport.waiting == 0


@pytest.mark.parametrize("size", [0, 100_000])
async def test_a_slot_got_while_closing_is_of_no_use(make_client, fault_server, size):
    """A request whose turn comes at the very moment of closing fails as not sent, and gives its slot back."""
    transport = make_client(limits=httpx.Limits(max_connections=1))._transport
    endless = httpx.Request("GET", f"{fault_server.url}/lines?count=1000&interval=0.01")
    first = await transport.handle_async_request(endless)
    failed = []

    async def ask():
        request = httpx.Request("POST", f"{fault_server.url}/echo", content=bytes(size))
        with pytest.raises(httpx.ConnectError, match="the transport was closed") as caught:
            await transport.handle_async_request(request)
        failed.append(caught.value)

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        while not transport.waiting:
            await anyio.lowlevel.checkpoint()
        await first.aclose()  # hands the slot on; the task that gets it has not run yet
        await transport.aclose()
    assert len(failed) == 1
    assert transport.in_use == 0


async def test_a_connection_closed_before_writing_was_not_sent(make_client, fault_server, monkeypatch):
    """A connection that is found closed when the request is to be written means that nothing was sent."""
    client = make_client()
    await client.get(f"{fault_server.url}/echo")
    monkeypatch.setattr(ResponseHandler, "set_response_params", lambda self, **_: self.transport.abort())
    with pytest.raises(httpx.ConnectError, match="before the request was sent"):
        await client.post(f"{fault_server.url}/echo")
    assert len(await fault_server.requests()) == 1


async def test_a_slot_handed_to_one_who_is_cancelled_goes_on():
    """A slot that is handed over at the very moment of its waiter's cancellation goes to the next one."""
    slots = Slots(1)
    assert slots.take()
    first, second = (asyncio.ensure_future(slots.wait(5)) for _ in range(2))
    while slots.waiting < 2:
        await anyio.lowlevel.checkpoint()
    slots.release()
    first.cancel()
    assert await second is True
    assert first.cancelled()
    slots.release()
    assert (slots.in_use, slots.waiting) == (0, 0)


@pytest.mark.parametrize("header", [b"X-Name: caf\xe9", b"X-Name: caf\xc3\xa9"])
async def test_header_values_of_any_encoding_are_read(header):
    """A response's header in Latin-1 or UTF-8 is read as text, beside one that comes twice."""
    answer = b"HTTP/1.1 200 OK\r\n" + header + b"\r\nA: 1\r\na: 2\r\nContent-Length: 0\r\n\r\n"
    async with anyio.create_task_group() as task_group:
        url = await raw_server(task_group, answer)
        async with httpx.AsyncClient(transport=AiohttpTransport()) as client:
            fields = fields_of(await client.get(url))
        task_group.cancel_scope.cancel()
    assert (fields["x-name"], fields["a"]) == ("café", "1, 2")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET /admin"},
        {"headers": [("x", "b\x0bc")]},
        {"headers": [("x y", "1")]},
        {"headers": [("", "1")]},
        {"headers": [("Host", "a"), ("Host", "b")]},
        {"headers": [("Content-Length", "3")]},
        {"headers": [("Content-Length", "3"), ("Content-Length", "27")]},
        {"extensions": {"target": b"/a HTTP/1.1 b"}},
    ],
    ids=str,
)
async def test_nothing_is_sent_that_reads_as_another_request(make_client, fault_server, change):
    """A method, target, header or length by which the server would read another request is refused."""
    client = make_client()
    parts = {"method": "POST", "content": b"abcGET /smuggled HTTP/1.1\r\n", **change}
    request = httpx.Request(url=f"{fault_server.url}/echo", **parts)
    with pytest.raises(httpx.LocalProtocolError):
        await client.send(request)
    assert await fault_server.requests() == []


@pytest.mark.parametrize("head", [b"304 Not Modified", b"204 No Content"])
async def test_a_length_without_content_is_no_length(head):
    """A response that has no content may tell the length of another's, whatever the limit."""
    async with anyio.create_task_group() as task_group:
        url = await raw_server(task_group, b"HTTP/1.1 " + head + b"\r\nContent-Length: 5000\r\n\r\n")
        async with PooledClient(max_response_bytes=100) as client:
            response = await client.get(url)
        task_group.cancel_scope.cancel()
    assert response.content == b""


async def test_silence_after_an_interim_response_is_silence(make_client):
    """A server that says no more after an interim response is given up like any other."""
    async with anyio.create_task_group() as task_group:
        url = await raw_server(task_group, b"HTTP/1.1 103 Early Hints\r\n\r\n", b"")
        client = make_client(timeout=0.1)
        with pytest.raises(httpx.ReadTimeout):
            await client.get(url)
        task_group.cancel_scope.cancel()


async def test_a_waiter_that_is_dropped_takes_nothing():
    """A coroutine that is closed while it waits in the queue ends like that, and has no slot."""
    slots = Slots(1)
    assert slots.take()
    waiting = slots.wait(5)
    waiting.send(None)
    waiting.close()
    assert (slots.in_use, slots.waiting) == (1, 0)
