"""Streams over HTTP: bytes, lines and server-sent events, closed early or broken off."""

from contextlib import aclosing

import anyio
import pytest

from aioproviders.errors import NotFoundError, ProviderTimeoutError, ProviderUnavailableError, RequestError
from aioproviders.sdk.http import ServerSentEvent
from aioproviders.sdk.http.streams import DECODERS


def decode(kind, *chunks, limit=1000):
    decoder = DECODERS[kind](limit)
    items = [item for chunk in chunks for item in decoder.feed(chunk)]
    return [*items, *decoder.end()]


async def collect(stream, items):
    async for item in stream:
        items.append(item)


class TestLines:
    """Splitting into lines, however the bytes come."""

    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            (b"", []),
            (b"a", ["a"]),
            (b"a\n", ["a"]),
            (b"a\r\nb\rc\nd", ["a", "b", "c", "d"]),
            (b"\n\r\n\r", ["", "", ""]),
            ("ü\n\u2028x\n".encode(), ["ü", "\u2028x"]),
            (b"\xff\n", ["\ufffd"]),
        ],
    )
    def test_any_cut_gives_the_same_lines(self, text, lines):
        """LF, CRLF and CR end a line wherever the pieces were cut."""
        assert decode("lines", text) == lines
        for cut in range(len(text) + 1):
            assert decode("lines", text[:cut], b"", text[cut:]) == lines
        assert decode("lines", *(bytes([byte]) for byte in text)) == lines

    @pytest.mark.parametrize(
        "chunks", [(b"x" * 11,), (b"x" * 6, b"x" * 5), (b"x" * 11 + b"\n",), (b"xxx\n" + b"x" * 11,)]
    )
    def test_line_without_end_is_bounded(self, chunks):
        """A line over the limit is an error, also before its end has come."""
        with pytest.raises(RequestError, match="a line of the stream has more than 10 bytes"):
            decode("lines", *chunks, limit=10)

    def test_many_short_lines_are_no_long_one(self):
        """The limit is each line's own."""
        assert len(decode("lines", b"xxxxxxxx\n" * 100, limit=10)) == 100


class TestEvents:
    """The parser of server-sent events, after WHATWG HTML, 9.2.6."""

    @pytest.mark.parametrize(
        ("text", "events"),
        [
            (b"data: a\n\n", [ServerSentEvent(data="a")]),
            (b"data:a\ndata: b\ndata\n\n", [ServerSentEvent(data="a\nb\n")]),
            (b"data:  two\r\n\r\n", [ServerSentEvent(data=" two")]),
            (b"\xef\xbb\xbfdata: bom\n\n", [ServerSentEvent(data="bom")]),
            (b"data: x\r\rdata: y\r\r", [ServerSentEvent(data="x"), ServerSentEvent(data="y")]),
            (b": comment\n\nevent: e\n\ndata: a\n\n", [ServerSentEvent(data="a")]),
            (b"event: e\ndata: a\n\ndata: b\n\n", [ServerSentEvent("e", "a"), ServerSentEvent(data="b")]),
            (
                b"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n",
                [
                    ServerSentEvent(data="a", id="1"),
                    ServerSentEvent(data="b", id="1"),
                    ServerSentEvent(data="c"),
                ],
            ),
            (
                b"id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n",
                [ServerSentEvent(data="a", id="1"), ServerSentEvent(data="b", id="1")],
            ),
            (b"retry: 50\n\ndata: a\n\n", [ServerSentEvent(data="a", retry=50)]),
            (b"retry: 5x\nretry: \nunknown: 1\ndata: a\n\n", [ServerSentEvent(data="a")]),
            (b"data: a:b\n\n", [ServerSentEvent(data="a:b")]),
            (b"data\n\n", [ServerSentEvent()]),
            (b"data: cut off\n", []),
        ],
    )
    def test_events(self, text, events):
        """Fields make events as the standard says, wherever the pieces were cut."""
        assert decode("events", text) == events
        assert decode("events", *(bytes([byte]) for byte in text)) == events

    def test_event_is_bounded(self):
        """An event of many lines is limited as a whole."""
        with pytest.raises(RequestError, match="an event of the stream has more than 20 bytes"):
            decode("events", b"data: 1234\n" * 3, limit=20)
        assert len(decode("events", b"data: 1234\n\n" * 3, limit=20)) == 3


async def test_events_come_one_by_one(make_http, fault_server):
    """A stream of events is read while it comes, asked for as what it is."""
    provider = await make_http()
    events = [event async for event in provider.stream_request("/sse?events=2", as_="events")]
    assert events == [
        ServerSentEvent("tick", "event 1\nsecond line", "1", 10),
        ServerSentEvent("tick", "event 2\nsecond line", "2", 10),
    ]
    (seen,) = await fault_server.requests()
    assert (seen.header("accept"), seen.header("accept-encoding")) == ("text/event-stream", "identity")


async def test_events_go_on_after_the_last_id(make_http):
    """A caller goes on with ``Last-Event-ID``."""
    provider = await make_http()
    stream = provider.stream_request("/sse?events=3", as_="events", headers={"Last-Event-ID": "2"})
    assert [event.id async for event in stream] == ["3"]


async def test_lines_and_bytes(make_http):
    """The same machinery yields lines without their ends, and bytes as they come."""
    provider = await make_http()
    assert [line async for line in provider.stream_request("/lines?count=2", as_="lines")] == [
        '{"line": 0}',
        '{"line": 1}',
    ]
    content = b"".join([piece async for piece in provider.stream_request("/bytes?count=2&size=3")])
    assert content == b"\0\0\0\1\1\1"


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_streams_may_be_larger_than_responses(make_http, transport):
    """The bound on responses does not bound a stream as a whole; packed ones come unpacked."""
    provider = await make_http(max_response_bytes=1000, transport=transport)
    assert sum([len(piece) async for piece in provider.stream_request("/large?bytes=200000")]) >= 200_000
    assert sum([len(piece) async for piece in provider.stream_request("/bomb?bytes=200000")]) == 196_608


async def test_stream_posts_json(make_http, fault_server):
    """A stream may be the answer to a write, sent once."""
    provider = await make_http()
    with pytest.raises(ProviderUnavailableError):
        await anext(provider.stream_request("/reset", {"q": 1}, method="POST"))
    (seen,) = await fault_server.requests()
    assert (seen.method, seen.body) == ("POST", '{"q":1}')


@pytest.mark.parametrize("path", ["/flaky", "/flaky?status=500"])
async def test_stream_is_retried_before_its_first_item(make_http, fault_server, path):
    """Until an item is out, a failure leads to another attempt."""
    provider = await make_http()
    assert [line async for line in provider.stream_request(path, as_="lines")] == ['{"ok": true}']
    assert len(await fault_server.requests()) == 2


@pytest.mark.parametrize("failure", ["close", "reset"])
async def test_stream_that_breaks_off_is_not_begun_again(make_http, fault_server, failure):
    """After the first item a lost connection is raised, with what came before it delivered."""
    provider = await make_http()
    lines = []
    with pytest.raises(ProviderUnavailableError):
        await collect(provider.stream_request(f"/lines?fail_after=2&failure={failure}", as_="lines"), lines)
    assert len(lines) == 2
    assert len(await fault_server.requests()) == 1
    assert provider._client._plain.in_use == 0


async def test_silent_stream_is_given_up(make_http):
    """Silence of ``timeout_ms`` after an item ends the stream."""
    provider = await make_http(timeout_ms=400)
    pieces = []
    with pytest.raises(
        ProviderTimeoutError, match="GET /hang-after-headers: the stream was silent for 400 ms"
    ):
        await collect(provider.stream_request("/hang-after-headers"), pieces)
    assert pieces == [b"begin"]
    assert provider._client._plain.in_use == 0


async def test_long_stream_outlives_the_attempts_timeout(make_http):
    """The timeout bounds the wait for an item, not the stream."""
    provider = await make_http(timeout_ms=400)
    pieces = [piece async for piece in provider.stream_request("/drip?bytes=10&interval=0.05")]
    assert b"".join(pieces) == b"*" * 10


async def test_stream_that_never_begins_times_out(make_http, fault_server):
    """The first item has the attempt's timeout, and its retries."""
    provider = await make_http(timeout_ms=250, retry_attempts=2)
    with pytest.raises(ProviderTimeoutError, match="not done within 250 ms"):
        await anext(provider.stream_request("/hang"))
    assert len(await fault_server.requests()) == 2


async def test_leaving_early_closes_the_connection(make_http, fault_server):
    """Who leaves a stream gives back slot and connection at once."""
    provider = await make_http(max_connections=1)
    async with aclosing(provider.stream_request("/bytes?count=1000&interval=0.05")) as stream:
        await anext(stream)
        assert provider._client._plain.in_use == 1
    assert provider._client._plain.in_use == 0
    assert (await provider.make_request("/echo")).success


async def test_cancelled_stream_leaves_nothing_behind(make_http):
    """Cancelling who reads closes the response, and the cancellation goes on."""
    provider = await make_http(max_connections=1)
    with anyio.move_on_after(0.1) as scope:
        async with aclosing(provider.stream_request("/drip?bytes=1000&interval=0.03")) as stream:
            async for _ in stream:
                pass
    assert scope.cancelled_caught
    assert provider._client._plain.in_use == 0


async def test_failed_status_of_a_stream_is_raised(make_http):
    """A stream raises what a request would return."""
    provider = await make_http()
    with pytest.raises(NotFoundError, match="GET /status/404 was answered 404 Not Found"):
        await anext(provider.stream_request("/status/404"))
    assert provider._client._plain.in_use == 0


async def test_failure_that_breaks_off_is_a_lost_connection(make_http, answer_with):
    """When not even the failure's own words arrive whole, the connection is what failed."""
    server = await answer_with(b"HTTP/1.1 400 Bad\r\nContent-Length: 100\r\n\r\nbegin")
    provider = await make_http(api_endpoint=server.url)
    with pytest.raises(ProviderUnavailableError):
        await anext(provider.stream_request("/", method="POST"))
    assert provider._client._plain.in_use == 0


async def test_redirected_stream(make_http):
    """Redirects within the origin are followed here too, their own responses closed."""
    provider = await make_http()
    assert len([line async for line in provider.stream_request("/redirect?to=/lines", as_="lines")]) == 3
    assert provider._client._plain.in_use == 0


async def test_events_must_be_events(make_http):
    """An answer of another type is no stream of events."""
    provider = await make_http()
    with pytest.raises(RequestError, match="was answered with no text/event-stream"):
        await anext(provider.stream_request("/echo", as_="events"))
    assert provider._client._plain.in_use == 0


async def test_unknown_kind_of_stream(make_http, fault_server):
    """A kind that there is none of is told with those there are."""
    provider = await make_http()
    with pytest.raises(RequestError, match="as_ should be one of bytes, lines, events"):
        await anext(provider.stream_request("/echo", as_="words"))
    assert await fault_server.requests() == []


async def test_own_accept_header_of_a_stream_stays(make_http, fault_server):
    """What the caller asks for goes before what the kind of stream suggests."""
    provider = await make_http()
    await anext(provider.stream_request("/echo", headers={"Accept": "text/csv"}))
    assert (await fault_server.requests())[0].header("accept") == "text/csv"
