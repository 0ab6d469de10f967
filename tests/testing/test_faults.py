"""The fault server does on the wire what its table says."""

import json
import os
import signal
import socket
import subprocess
import sys

import anyio
import httpx
import pytest

from aioproviders.testing.faults import FaultServer


@pytest.fixture
async def client(fault_server):
    async with httpx.AsyncClient(base_url=fault_server.url, timeout=5) as client:
        yield client


async def raw(server, request):
    """Everything that the server sends for a raw request, and whether it ended with a reset."""
    async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
        await stream.send(request)
        received = b""
        try:
            while True:
                received += await stream.receive()
        except anyio.EndOfStream:
            return received, False
        except anyio.BrokenResourceError:
            return received, True


def get(path, *headers):
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


async def test_echo_tells_the_request_back_and_the_log_keeps_it(client, fault_server):
    """What the server tells back and what it logged is the request as it was sent."""
    told = (await client.post("/echo/a?b=c", content=b"body", headers={"X-Name": "value"})).json()
    (seen,) = await fault_server.requests()
    assert (told["method"], told["path"], told["query"], told["body"]) == (
        "POST",
        "/echo/a",
        {"b": "c"},
        "body",
    )
    assert (seen.method, seen.target, seen.body, seen.complete) == ("POST", "/echo/a?b=c", "body", True)
    assert seen.header("x-name") == told["headers"]["x-name"] == "value"
    assert seen.header("x-other") is None


async def test_chunked_bodies_are_read(client):
    """A request body without a length is put together from its chunks."""

    async def chunks():
        yield b"one"
        yield b"two"

    assert (await client.post("/echo", content=chunks())).json()["body"] == "onetwo"


async def test_a_client_may_wait_for_100_continue(client):
    """An Expect header is answered before the body is read."""
    answer = await client.post("/echo", content=b"x", headers={"Expect": "100-continue"})
    assert answer.json()["body"] == "x"


async def test_requests_are_listed_by_prefix_and_forgotten_at_reset(client, fault_server):
    """The log can be asked for one path and starts anew after a reset."""
    await client.get("/echo")
    await client.get("/status/204")
    assert [seen.target for seen in await fault_server.requests("/status")] == ["/status/204"]
    await fault_server.reset()
    assert await fault_server.requests() == []


async def test_connections_are_told_apart(client, fault_server):
    """Requests on one kept-alive connection share its number, which others don't have."""
    await client.get("/echo")
    await client.get("/echo")
    await raw(fault_server, get("/echo", "Connection: close"))
    first, second, third = [seen.connection for seen in await fault_server.requests()]
    assert first == second != third


@pytest.mark.parametrize(("path", "status"), [("/status/418", 418), ("/status/204", 204), ("/nothing", 404)])
async def test_status(client, path, status):
    """A status is answered as asked, and an unknown path is a 404."""
    assert (await client.get(path)).status_code == status


@pytest.mark.parametrize(
    ("path", "received", "reset"),
    [
        ("/reset", b"", True),
        ("/close", b"", False),
        ("/truncate", b"begin", False),
        ("/garbage", b"\x00\x01\x02 this is not HTTP\r\n\r\n", False),
        ("/bad-chunk", b"5\r\nbegin\r\nxyz\r\n", False),
        ("/reset-mid-body", b"", True),
    ],
)
async def test_broken_answers(fault_server, path, received, reset):
    """Each broken answer is broken in its own way."""
    data, was_reset = await raw(fault_server, get(path))
    assert data.endswith(received)
    assert was_reset is reset


@pytest.mark.parametrize("path", ["/hang", "/hang-after-headers", "/stall"])
async def test_hanging_answers_never_end(fault_server, path):
    """A hanging server keeps the connection and says no more."""
    with anyio.move_on_after(0.1) as scope:
        await raw(fault_server, get(path))
    assert scope.cancelled_caught


async def test_timed_answers_take_their_time(client):
    """A late answer is late by as much as was asked for, and so is a dripping one."""
    start = anyio.current_time()
    await client.get("/delay?seconds=0.05")
    assert (await client.get("/drip?bytes=5&interval=0.01")).content == b"*****"
    assert anyio.current_time() - start >= 0.1


async def test_sizes(client):
    """Large bodies and headers are as large as was asked for, with a length or without."""
    known, unknown = await client.get("/large?bytes=70000"), await client.get("/large?bytes=70000&length=no")
    assert len(known.content) == len(unknown.content) == 70000
    assert "content-length" in known.headers
    assert "content-length" not in unknown.headers
    assert len((await client.get("/big-header?bytes=500")).headers["x-big"]) == 500
    assert len((await client.get("/bomb?bytes=1000000")).content) > 900_000
    assert len((await client.get("/bomb?bytes=1000000&coding=deflate")).content) > 900_000
    assert (await client.get("/gzip")).json() == {"gzipped": True}


async def test_bad_json_is_bad(client):
    """A broken document claims to be JSON."""
    with pytest.raises(json.JSONDecodeError):
        (await client.get("/bad-json")).json()


async def test_failures_are_counted_by_key(client):
    """Each key fails as often as it was asked to, then never again."""
    path = "/flaky?key=a&times=2&status=500"
    assert [(await client.get(path)).status_code for _ in range(3)] == [500, 500, 200]
    assert (await client.get(path.replace("key=a", "key=b"))).status_code == 500


async def test_retry_after(client):
    """Retry-After comes in seconds or as a date, until the key has failed enough."""
    seconds = await client.get("/retry-after?key=a&value=7")
    date = await client.get("/retry-after?key=b&value=7&form=date&status=503")
    assert (seconds.status_code, seconds.headers["retry-after"]) == (429, "7")
    assert date.status_code == 503
    assert date.headers["retry-after"].endswith("GMT")
    assert (await client.get("/retry-after?key=a&value=7")).status_code == 200


async def test_kept_connections_are_dropped(fault_server):
    """A connection that is to be kept is closed, once idle or at its next request."""
    idle, _ = await raw(fault_server, get("/drop-keepalive"))
    both, _ = await raw(fault_server, get("/drop-keepalive?when=next") + get("/echo"))
    assert idle.count(b"200 OK") == both.count(b"200 OK") == 1
    assert [seen.target for seen in await fault_server.requests("/echo")] == ["/echo"]
    unsolicited, _ = await raw(fault_server, get("/unsolicited", "Connection: close"))
    assert b"408" in unsolicited


async def test_streams(client):
    """Streams carry as many parts as asked for, and break off where asked to."""
    events = (await client.get("/sse?events=2")).text
    assert ": a comment" in events
    assert "id: 2\nevent: tick\ndata: event 2\ndata: second line\n\n" in events
    assert "id: 1" not in (await client.get("/sse?events=2", headers={"Last-Event-ID": "1"})).text
    assert (await client.get("/lines?count=2")).text == '{"line": 0}\n{"line": 1}\n'
    assert len((await client.get("/bytes?count=2&size=10")).content) == 20
    for failure in ("close", "reset"):
        with pytest.raises(httpx.TransportError):
            await client.get(f"/bytes?fail_after=1&failure={failure}")


async def test_redirects_and_cookies(client):
    """A redirect goes where it was told, a cookie is set as it was told."""
    assert (await client.get("/redirect?to=/x&status=307")).headers["location"] == "/x"
    assert (await client.get("/set-cookie?a=b")).cookies == {"a": "b"}


async def test_tokens(client):
    """Tokens are handed out to the right client, are numbered, expire and can be revoked."""
    form = {"grant_type": "client_credentials", "scope": "all"}
    basic = await client.post("/token", data=form, auth=("client", "secret"))
    body = await client.post("/token", data={**form, "client_id": "client", "client_secret": "secret"})
    expired = await client.post("/token?expires_in=0", data=form, auth=("client", "secret"))
    assert [answer.json()["access_token"] for answer in (basic, body)] == ["token-1", "token-2"]
    assert basic.json()["scope"] == "all"

    async def allowed(answer):
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return (await client.get("/protected", headers=headers)).status_code

    assert [await allowed(answer) for answer in (basic, body, expired)] == [200, 200, 401]
    await client.post("/revoke")
    assert await allowed(basic) == 401
    assert (await client.post("/token", data=form, auth=("client", "wrong"))).status_code == 401
    assert (await client.post("/token", auth=("client", "secret"))).json()[
        "error"
    ] == "unsupported_grant_type"


async def test_credentials(client):
    """Each kind of credentials opens its own path only when right."""
    assert (await client.get("/basic", auth=("user", "pass"))).status_code == 200
    assert (await client.get("/basic", auth=("user", "wrong"))).status_code == 401
    assert (await client.get("/bearer", headers={"Authorization": "Bearer secret"})).status_code == 200
    assert (await client.get("/bearer")).headers["www-authenticate"] == "Bearer"
    assert (await client.get("/api-key", headers={"X-API-Key": "secret"})).status_code == 200
    assert (await client.get("/api-key")).status_code == 401


async def test_pages(client):
    """Every style of pages leads from the first to the last and no further."""
    link = await client.get("/pages?style=link&pages=2")
    last = await client.get(link.links["next"]["url"])
    assert (link.json(), last.json(), last.links) == ([{"id": 0}, {"id": 1}], [{"id": 2}, {"id": 3}], {})
    cursor = (await client.get("/pages?style=cursor&pages=2")).json()
    assert cursor["next_cursor"] == "2"
    assert (await client.get("/pages?style=cursor&pages=2&cursor=2")).json()["next_cursor"] is None
    assert (await client.get("/pages?page=4&pages=2")).json() == {"items": [], "page": 4, "pages": 2}


async def test_openapi_describes_itself(client):
    """The description names operations that exist."""
    document = (await client.get("/openapi.json")).json()
    assert document["paths"]["/echo"]["get"]["operationId"] == "echo"


async def test_early_answer(fault_server):
    """A body may be refused before it was sent."""
    request = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
    with anyio.move_on_after(5):
        async with await anyio.connect_tcp("127.0.0.1", fault_server.port) as stream:
            await stream.send(request)
            assert b"413" in await stream.receive()
    assert [seen.complete for seen in await fault_server.requests()] == [False]


async def test_proxy(fault_server):
    """It forwards requests with absolute URLs, tunnels, and fails as the user's name says."""
    proxied = get(f"{fault_server.url}/echo", "Connection: close")
    assert b"200 OK" in (await raw(fault_server, proxied))[0]
    tunnel = f"CONNECT 127.0.0.1:{fault_server.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    answer, _ = await raw(fault_server, tunnel + get("/echo", "Connection: close"))
    assert answer.count(b"200 OK") == 2
    nowhere = fault_server.refused_url.removeprefix("http://")
    assert b"502" in (await raw(fault_server, f"CONNECT {nowhere} HTTP/1.1\r\nHost: x\r\n\r\n".encode()))[0]


async def test_refused_url_refuses(fault_server):
    """Nobody listens at the refusing URL, and its port stays the same."""
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as client:
            await client.get(fault_server.refused_url)
    assert fault_server.refused_url == fault_server.refused_url


async def test_restart_on_the_same_port():
    """A server that was stopped or killed comes back where it was."""
    async with FaultServer() as server, httpx.AsyncClient() as client:
        port = server.port
        for end in (server.stop, server.kill):
            await end()
            assert not server.running
            with pytest.raises(RuntimeError, match="not running"):
                await server.reset()
            with pytest.raises(httpx.ConnectError):
                await client.get(server.url)
            await server.start()
            assert server.port == port
            assert (await client.get(f"{server.url}/echo")).status_code == 200
        with pytest.raises(RuntimeError, match="already"):
            await server.start()


async def test_a_port_in_use_is_an_error(fault_server, capfd):
    """A server that can't listen says so instead of hanging."""
    other = FaultServer(port=fault_server.port)
    with pytest.raises(RuntimeError, match="ended"):
        await other.start()
    assert not other.running
    capfd.readouterr()  # the traceback of the other process


def test_the_command_stops_with_its_parent():
    """The command tells its port and ends when its standard input closes."""
    command = [sys.executable, "-m", "aioproviders.testing.faults", "--port", "0"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        told = json.loads(process.stdout.readline())
        assert told["pid"] == process.pid
        socket.create_connection(("127.0.0.1", told["port"])).close()
        process.stdin.close()
        assert process.wait(10) == 0


def test_the_command_stops_at_sigterm():
    """SIGTERM ends the command in order."""
    command = [sys.executable, "-m", "aioproviders.testing.faults"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10) == 0
