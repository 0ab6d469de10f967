"""The pooled client answers as httpx does, on its short path too, and holds to a limit."""

import asyncio
import gzip
import pickle

import anyio
import anyio.lowlevel
import httpx
import pytest

from aioproviders.sdk.http.pooled_client import PooledClient
from aioproviders.sdk.http.transport import ResponseTooLarge


@pytest.fixture
async def make_client(fault_server):
    """Make clients whose transports must have given everything back in the end."""
    clients = []

    def make(**options):
        clients.append(PooledClient(base_url=fault_server.url, **options))
        return clients[-1]

    yield make
    for client in clients:
        if client._plain is not None:
            assert (client._plain.in_use, client._plain.waiting) == (0, 0)
        await client.aclose()


@pytest.fixture
async def answer_with():
    """Start servers that answer every connection's first request with given bytes; hands out their ports."""
    servers = []

    async def start(answer):
        async def serve(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        servers.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return servers[-1].sockets[0].getsockname()[1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def long_way(monkeypatch):
    """Count the requests that take httpx's own path."""
    taken = []
    original = httpx.AsyncClient.send

    async def send(self, request, **options):
        taken.append(request.url.path)
        return await original(self, request, **options)

    monkeypatch.setattr(httpx.AsyncClient, "send", send)
    return taken


async def test_plain_requests_take_the_short_path(make_client, fault_server, long_way):
    """A plain request goes past httpx's layers and gives the same response as with them."""
    client = make_client(headers={"X-Mine": "1"}, default_encoding="latin-1")
    async with httpx.AsyncClient(headers={"X-Mine": "1"}) as plain:
        for path in ("/echo?a=b", "/gzip", "/status/503", "/status/204", "/lines", "/large?length=no"):
            short, long = await client.get(path), await plain.get(fault_server.url + path)
            assert long_way.pop().endswith(path.partition("?")[0])
            assert (short.status_code, short.headers) == (long.status_code, long.headers)
            if path != "/echo?a=b":
                assert short.content == long.content
            assert short.is_closed
            assert short.is_stream_consumed
            assert short.num_bytes_downloaded == long.num_bytes_downloaded
            assert short.elapsed.total_seconds() > 0
            assert short.request.url == long.request.url
            assert short.history == []
    assert long_way == []
    assert (await client.post("/echo", json={"a": 1})).json()["body"] == '{"a":1}'
    assert (await client.head("/echo")).content == b""


async def test_requests_without_a_timeout_get_the_clients(make_client, fault_server):
    """A request built by hand is bound by the client's timeout."""
    client = make_client(timeout=0.05)
    with pytest.raises(httpx.ReadTimeout):
        await client.send(httpx.Request("GET", f"{fault_server.url}/hang"))


async def test_cookies_are_kept(make_client):
    """Cookies are kept and sent on the short path as on any."""
    client = make_client()
    await client.get("/set-cookie?a=b")
    assert (await client.get("/echo")).json()["headers"]["cookie"] == "a=b"
    client.cookies.clear()
    assert "cookie" not in (await client.get("/echo")).json()["headers"]


async def test_redirects_are_offered_or_followed(make_client, fault_server, long_way):
    """A redirect that is not followed offers the next request; following one is httpx's work."""
    client = make_client()
    response = await client.get("/redirect?to=/echo")
    assert response.next_request.url.path == "/echo"
    assert long_way == []
    response = await client.get("/redirect?to=/echo", follow_redirects=True)
    assert (response.status_code, len(response.history), len(long_way)) == (200, 1, 1)


async def test_authentication_hooks_and_streams_are_served_by_httpx(make_client, fault_server, long_way):
    """Whatever httpx has a layer for goes through that layer."""
    seen = []

    async def hook(response):
        await anyio.lowlevel.checkpoint()
        seen.append(response.status_code)

    assert (await make_client(auth=("user", "pass")).get("/basic")).status_code == 200
    assert (await make_client().get("/basic", auth=("user", "pass"))).status_code == 200
    url = fault_server.url.replace("://", "://user:pass@")
    assert (await make_client().get(f"{url}/basic")).status_code == 200
    assert (await make_client(event_hooks={"response": [hook]}).get("/echo")).status_code == 200
    async with make_client().stream("GET", "/lines?count=2") as response:
        assert [line async for line in response.aiter_lines()] == ['{"line": 0}', '{"line": 1}']
    mounted = make_client(mounts={"all://": httpx.MockTransport(lambda _: httpx.Response(418))})
    assert (await mounted.get("/echo")).status_code == 418
    assert (len(long_way), seen) == (6, [200])
    await make_client(auth=("user", "pass")).get("/echo", auth=None)
    assert len(long_way) == 6


async def test_any_transport_will_do(make_client, long_way):
    """With a transport of the user's own httpx does it all."""
    client = make_client(transport=httpx.MockTransport(lambda _: httpx.Response(418)))
    assert (await client.get("/echo")).status_code == 418
    assert len(long_way) == 1


async def test_a_closed_client_serves_no_more(make_client):
    """A closed client says so, like httpx."""
    client = make_client()
    await client.aclose()
    with pytest.raises(RuntimeError, match="closed"):
        await client.get("/echo")


def test_http2_is_refused():
    """What can't be had is refused, not left out silently."""
    with pytest.raises(ValueError, match=r"HTTP/1\.1"):
        PooledClient(http2=True)


async def test_responses_pickle(make_client):
    """A response that was read pickles as httpx's own does."""
    response = pickle.loads(pickle.dumps(await make_client().get("/gzip")))
    assert response.json() == {"gzipped": True}


async def test_a_body_that_breaks_off_leaves_nothing_behind(make_client):
    """An error within a body comes through, and the connection is given back."""
    client = make_client()
    for path in ("/truncate", "/bad-chunk", "/reset-mid-body"):
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(path)
    assert client._plain.in_use == 0


async def test_cancellation_in_a_body_leaves_nothing_behind(make_client):
    """A request cancelled while its body is read frees its slot at once."""
    client = make_client(limits=httpx.Limits(max_connections=1))
    for path in ("/hang-after-headers", "/bytes?count=1000&interval=0.01", "/drip?bytes=1000"):
        with anyio.move_on_after(0.05) as scope:
            await client.get(path)
        assert scope.cancelled_caught
        assert client._plain.in_use == 0
    assert (await client.get("/echo")).status_code == 200


# The limit

TOO_LARGE = [
    "/large?bytes=2000",
    "/large?bytes=2000000&length=no",
    "/bytes?count=9",
    "/bomb",
    "/bomb?coding=deflate",
]


@pytest.mark.parametrize("path", TOO_LARGE)
@pytest.mark.parametrize("options", [{}, {"auth": ("user", "pass")}])
async def test_large_responses_are_refused(make_client, path, options):
    """A response over the limit is refused, announced or not, compressed or not, whichever path it takes."""
    client = make_client(max_response_bytes=1000, **options)
    with pytest.raises(ResponseTooLarge) as caught:
        await client.get(path)
    assert caught.value.limit == 1000
    assert caught.value.request.url.path == path.partition("?")[0]
    assert pickle.loads(pickle.dumps(caught.value)).limit == 1000
    assert (await client.get("/bytes?count=1&size=1000")).content == b"\0" * 1000


@pytest.mark.parametrize("path", TOO_LARGE)
async def test_large_streams_are_refused(make_client, path):
    """A stream over the limit ends with an error, its pieces before having come."""
    client = make_client(max_response_bytes=1000)
    total = 0
    with pytest.raises(ResponseTooLarge):  # noqa: PT012 -- opening the stream may be refused, or reading it
        async with client.stream("GET", path) as response:
            async for chunk in response.aiter_bytes():
                total += len(chunk)
    assert total <= 1000


async def test_a_bomb_is_defused_early(make_client, monkeypatch):
    """Of a decompression bomb hardly more than the limit is ever unpacked."""
    largest = 0
    decoder = httpx.Response(200, headers={"Content-Encoding": "gzip"})._get_content_decoder()
    original = type(decoder).decode

    def decode(self, data):
        nonlocal largest
        largest = max(largest, len(unpacked := original(self, data)))
        return unpacked

    monkeypatch.setattr(type(decoder), "decode", decode)
    with pytest.raises(ResponseTooLarge):
        await make_client(max_response_bytes=100_000).get("/bomb?bytes=50000000")
    assert largest < 300_000


async def test_the_limit_can_be_lifted_for_one_request(make_client):
    """A request's own limit goes before the client's, None too; HEAD has no body to limit."""
    client = make_client(max_response_bytes=1000)
    assert (
        len((await client.get("/large?bytes=2000", extensions={"max_response_bytes": None})).content) == 2000
    )
    assert (
        len((await client.get("/large?bytes=2000", extensions={"max_response_bytes": 2000})).content) == 2000
    )
    with pytest.raises(ResponseTooLarge):
        await make_client().get("/large?bytes=2000", extensions={"max_response_bytes": 1999})


async def test_compressed_responses_within_the_limit_are_read(make_client):
    """A limit leaves smaller responses alone, compressed ones too."""
    client = make_client(max_response_bytes=1000)
    assert (await client.get("/gzip")).json() == {"gzipped": True}
    async with client.stream("GET", "/gzip") as response:
        assert await response.aread() == b'{"gzipped": true}'
        assert [chunk async for chunk in response.aiter_bytes()] == [b'{"gzipped": true}']


@pytest.mark.parametrize(
    ("coding", "error"), [("gzip, gzip", httpx.DecodingError), ("identity", None), ("unknown", None)]
)
async def test_other_codings(coding, error, answer_with):
    """Under a limit a bomb within a bomb is refused unseen; what is no coding is none."""
    body = gzip.compress(gzip.compress(b"x")) if error else b"x"
    port = await answer_with(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n%b"
        % (coding.encode(), len(body), body)
    )
    async with PooledClient(max_response_bytes=1000) as client:
        if error is None:
            assert (await client.get(f"http://127.0.0.1:{port}")).content == b"x"
        else:
            with pytest.raises(error):
                await client.get(f"http://127.0.0.1:{port}")


async def test_a_broken_coding_is_a_decoding_error(answer_with):
    """A body that can't be decoded is an error, and its connection is given back."""
    port = await answer_with(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain")
    async with PooledClient() as client:
        with pytest.raises(httpx.DecodingError):
            await client.get(f"http://127.0.0.1:{port}")
        assert client._plain.in_use == 0


async def test_http_1_0_is_told(answer_with):
    """The version and reason of an old server are told as they were."""
    port = await answer_with(b"HTTP/1.0 200 Fine\r\n\r\nx")
    async with PooledClient() as client:
        response = await client.get(f"http://127.0.0.1:{port}")
    assert (response.http_version, response.reason_phrase, response.content) == ("HTTP/1.0", "Fine", b"x")
