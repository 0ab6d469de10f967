"""What a request that works does once, and what it does not do: counted, not timed."""

import anyio
import httpx
import pytest
import yarl
from aiohttp.client_proto import ResponseHandler
from anyio._backends._asyncio import AsyncIOBackend

from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider, answers, drafts, pooled_client, transport
from aioproviders.sdk.http.messages import PlainRequest, StreamedResponse, Target
from aioproviders.sdk.http.pooled_client import PooledClient


@pytest.fixture
async def provider(fault_server):
    """A provider with everything on and a connection open."""
    made = HTTPSDKProvider(
        HTTPSDKConfig(
            name="api",
            version="1",
            api_endpoint=fault_server.url,
            api_key="k-12345678",
            deadline_ms=60_000,
            max_concurrency=10,
            circuit_breaker={},
            backoff_initial_ms=1,
            backoff_max_ms=2,
        )
    )
    assert (await made.make_request("/echo", method="GET")).success
    await fault_server.reset()
    yield made
    await made.cleanup()


async def test_a_request_is_one_cancel_scope_and_one_request(provider, fault_server, counted):
    """One attempt enters one cancel scope and sends one request, on the connection that is open."""
    scopes = counted(AsyncIOBackend, "create_cancel_scope")
    connections = counted(transport.Connector, "connect")
    assert (await provider.make_request("/echo", method="GET")).success
    assert (len(scopes), len(connections)) == (1, 0)
    assert len(await fault_server.requests()) == 1


async def test_json_is_encoded_and_decoded_once(provider, counted):
    """A request's data is encoded once, and its answer decoded once."""
    encoded, decoded = counted(drafts, "to_json"), counted(answers, "from_json")
    assert (await provider.make_request("/echo", {"a": [1, 2]})).success
    assert (len(encoded), len(decoded)) == (1, 1)


async def test_an_endpoint_is_made_a_url_once(provider, counted):
    """A URL is parsed for an endpoint's first request and not for the next ones."""
    parsed = counted(httpx._urls, "urlparse")
    for _ in range(3):
        assert (await provider.make_request("/echo/once", method="GET")).success
    assert len(parsed) == 1


async def test_nothing_parses_headers_that_nobody_asks_for(provider, counted, monkeypatch):
    """No headers of httpx's, URL or request of aiohttp's is made for a request on an open connection."""
    made = []
    monkeypatch.setattr(httpx.Headers, "__init__", lambda *_, **__: made.append("headers"))
    monkeypatch.setattr(transport, "BareRequest", lambda *_, **__: made.append("request"))
    urls = counted(yarl.URL, "build")
    assert (await provider.make_request("/echo", {"a": 1})).success
    assert (made, urls) == ([], [])


async def test_phases_are_taken_where_somebody_measures(provider, counted):
    """No clock is read for the phases of a request unless they are recorded."""
    read = counted(transport.time, "perf_counter")
    assert (await provider.make_request("/echo", method="GET")).success
    assert len(read) == 2, "for the response's elapsed, as httpx has it, and no more"


async def test_a_thousand_in_the_queue_have_one_timer(fault_server):
    """Requests that wait for a connection share one timer, and are served in turn all the same."""
    client = PooledClient(limits=httpx.Limits(max_connections=1), timeout=60)
    queue = client._plain._slots
    async with client, anyio.create_task_group() as group:
        for number in range(1000):
            group.start_soon(client.get, f"{fault_server.url}/echo/{number}")
        while queue.waiting < 999:
            await anyio.lowlevel.checkpoint()
        armed = queue._timer
        assert armed is not None
        while queue.waiting > 900:
            await anyio.lowlevel.checkpoint()
        assert queue._timer is armed
    assert queue._timer is None
    assert [seen.target for seen in await fault_server.requests()] == [f"/echo/{n}" for n in range(1000)]


async def test_a_small_body_goes_out_with_its_head(provider, counted):
    """Head and body of a small request are one write, and no task is started for it."""
    sent = counted(pooled_client.AiohttpTransport, "_send")
    before = len(anyio.get_running_tasks())
    protocols = counted(ResponseHandler, "set_response_params")
    assert (await provider.make_request("/echo", {"a": 1})).success
    assert len(sent) == len(protocols) == 1
    assert len(anyio.get_running_tasks()) == before


def test_messages_are_what_httpx_makes_of_them():
    """Requests and responses have every attribute that httpx gives its own, though made without its help."""
    url = Target("http://a.test/x")
    ours = PlainRequest("POST", url, {"host": "a.test", "content-length": "2"}, b"{}", {})
    theirs = httpx.Request("POST", url, content=b"{}")
    for name in vars(theirs):
        assert getattr(ours, name) is not None, name
    assert (ours.headers, ours.content, ours.url) == (theirs.headers, theirs.content, theirs.url)
    assert b"".join(ours.stream) == b"".join(theirs.stream)
    missing = object()

    class Head:
        status, reason, version, headers, raw_headers = 200, "OK", None, {}, ((b"A", b"1"), (b"a", b"2"))

    answer = StreamedResponse(Head, None, ours, None)
    for name in vars(httpx.Response(200, stream=httpx.ByteStream(b""))):
        assert getattr(answer, name, missing) is not missing, name
    assert answer.headers.get_list("a") == ["1", "2"]
    assert answer.fields == {"a": "1, 2"}
