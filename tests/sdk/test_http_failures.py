"""How failures of an HTTP request are told, and which are retried: seen on the wire."""

import email.utils
import json
import pickle
import socket

import httpx
import pytest

from aioproviders.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestError,
)
from aioproviders.sdk.http.errors import error_of_exception
from aioproviders.sdk.statuses import retry_after

WRITES = ["POST", "PATCH"]
REPEATABLE = ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, RequestError, "request_failed"),
        (401, AuthenticationError, "authentication"),
        (403, AuthenticationError, "authentication"),
        (404, NotFoundError, "not_found"),
        (409, ConflictError, "conflict"),
        (410, NotFoundError, "not_found"),
        (412, ConflictError, "conflict"),
        (422, RequestError, "request_failed"),
        (500, RequestError, "request_failed"),
        (599, RequestError, "request_failed"),
    ],
)
async def test_status_becomes_a_typed_error(make_http, status, kind, code):
    """A failed status comes back as a response that raises the error of its kind."""
    response = await (await make_http(retry_attempts=1)).make_request(f"/status/{status}")
    assert (response.success, response.status_code, response.error_detail.code) == (False, status, code)
    with pytest.raises(kind) as caught:
        response.raise_for_error()
    assert caught.value.status_code == status
    assert (caught.value.provider, caught.value.operation) == ("api", "make_request")


async def test_failure_brings_the_services_answer(make_http, answer_with):
    """Data and headers of a failed answer reach the caller, and the response survives pickling."""
    body = json.dumps({"error": "too small", "minimum": 3}).encode()
    server = await answer_with((422, {"Content-Type": "application/json", "X-Hint": "more"}, body))
    response = await (await make_http(api_endpoint=server.url)).make_request("/", {})
    again = pickle.loads(pickle.dumps(response))
    for each in (response, again):
        assert each.data == {"error": "too small", "minimum": 3}
        assert each.headers["x-hint"] == "more"
    with pytest.raises(RequestError):
        again.raise_for_error()


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        (
            "application/problem+json",
            {"type": "/x", "title": "No credit", "detail": "needs 5"},
            "No credit: needs 5",
        ),
        ("application/json", {"error": "bad", "error_description": "very bad"}, "bad: very bad"),
        ("application/json", {"error": {"code": "E1", "message": "broken"}}, "E1: broken"),
        ("application/json", {"message": "no\nsuch\x00 thing"}, "no such thing"),
        ("application/json", {"errors": [1]}, None),
        ("application/json", ["x"], None),
        ("text/plain", "plain words", "plain words"),
        ("text/plain", "x" * 900, "x" * 199 + "…"),
        ("text/html", "<html>oops</html>", None),
        ("application/octet-stream", "binary", None),
        ("application/json", "{broken", "{broken"),
    ],
)
async def test_error_says_what_the_service_says(make_http, answer_with, kind, body, said):
    """The message has request, status and, in short, the service's own words."""
    raw = body if isinstance(body, str) else json.dumps(body)
    server = await answer_with((400, {"Content-Type": kind}, raw.encode()))
    response = await (await make_http(api_endpoint=server.url)).make_request("/pay?q=hidden")
    expected = "POST /pay was answered 400 Bad Request"
    assert response.error == (f"{expected}: {said}" if said else expected)


@pytest.mark.parametrize("status", [408, 425, 429, 503])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
async def test_refused_requests_are_sent_again_by_any_method(make_http, fault_server, status, method):
    """A service that says that it did not act is asked again, for writes too."""
    response = await (await make_http()).make_request(f"/flaky?times=2&status={status}", method=method)
    assert (response.success, response.attempts) == (True, 3)
    assert len(await fault_server.requests()) == 3


@pytest.mark.parametrize(
    "path", ["/status/500", "/status/502", "/reset", "/close", "/reset-mid-body", "/truncate"]
)
@pytest.mark.parametrize(
    ("method", "sent"), [*((m, 1) for m in WRITES), ("GET", 3), ("PUT", 3), ("DELETE", 3)]
)
async def test_what_may_have_been_acted_upon_is_repeated_only_where_harmless(
    make_http, fault_server, path, method, sent
):
    """After a 5xx or a lost connection a write was sent once, an idempotent method as often as allowed."""
    response = await (await make_http()).make_request(path, method=method)
    assert not response.success
    assert response.error_detail.sent
    assert len(await fault_server.requests()) == response.attempts == sent


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
async def test_final_answers_are_not_asked_for_again(make_http, fault_server, status):
    """4xx says that the same request will fail again."""
    await (await make_http()).make_request(f"/status/{status}", method="GET")
    assert len(await fault_server.requests()) == 1


@pytest.mark.parametrize(("method", "sent"), [("POST", 1), ("GET", 2)])
async def test_timeout_of_an_attempt(make_http, fault_server, method, sent):
    """A hanging service is given up after ``timeout_ms``; only what is harmless goes again."""
    provider = await make_http(timeout_ms=250, retry_attempts=2)
    response = await provider.make_request("/hang", method=method)
    assert response.error_detail.code == "timeout"
    assert response.error == "not done within 250 ms"
    with pytest.raises(ProviderTimeoutError):
        response.raise_for_error()
    assert len(await fault_server.requests()) == sent
    assert provider._client._plain.in_use == 0


async def test_slow_but_steady_answers_are_waited_for(make_http):
    """No read timeout of httpx's is shorter than the attempt's."""
    provider = await make_http(timeout_ms=5000, connect_timeout_ms=250)
    assert (await provider.make_request("/delay?seconds=0.3")).success


async def test_refused_connection_may_be_tried_again_by_any_method(make_http, fault_server):
    """A write that found nobody was surely not sent, so it goes again; the error names host and port."""
    provider = await make_http(api_endpoint=fault_server.refused_url)
    response = await provider.make_request("/x")
    assert response.attempts == 3
    assert (response.error_detail.code, response.error_detail.sent) == ("unavailable", False)
    assert f"cannot connect to {fault_server.refused_url.removeprefix('http://')}" in response.error
    with pytest.raises(ProviderUnavailableError):
        response.raise_for_error()


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_unknown_host_is_named(make_http, transport):
    """A name that can't be resolved is one clear message with host and port."""
    provider = await make_http(
        api_endpoint="http://nowhere.invalid:81/x", transport=transport, retry_attempts=1
    )
    response = await provider.make_request("/secret-path")
    assert "nowhere.invalid:81" in response.error
    assert "\n" not in response.error
    assert (response.error_detail.code, response.error_detail.sent) == ("unavailable", False)


async def test_full_pool_is_not_sent(make_http, fault_server):
    """A request that got no connection was not sent, and says so."""
    provider = await make_http(max_connections=1, connect_timeout_ms=200, retry_attempts=1)
    stream = provider.stream_request("/bytes?count=2&interval=0.4&size=1")
    await anext(stream)
    response = await provider.make_request("/echo")
    assert (response.error_detail.code, response.error_detail.sent) == ("timeout", False)
    assert "no connection of the pool" in response.error
    await stream.aclose()
    assert (await provider.make_request("/echo")).success
    assert len(await fault_server.requests("/echo")) == 1


async def test_connection_that_hangs_is_not_sent():
    """Connecting has a limit of its own, half the attempt's, after which a write may go again."""
    from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider

    # A listener with a full backlog: more connections are neither taken nor refused.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        blockers = []
        for _ in range(8):
            blocker = socket.socket()
            blocker.setblocking(False)
            blocker.connect_ex(listener.getsockname())
            blockers.append(blocker)
        config = HTTPSDKConfig(
            name="api",
            version="1",
            api_endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}",
            timeout_ms=200,
            retry_attempts=2,
            backoff_initial_ms=1,
        )
        async with HTTPSDKProvider(config) as provider:
            response = await provider.make_request("/x")
        for blocker in blockers:
            blocker.close()
    assert (response.error_detail.code, response.error_detail.sent, response.attempts) == (
        "timeout",
        False,
        2,
    )
    assert "took too long" in response.error


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
async def test_configured_header_gives_every_write_a_key(make_http, fault_server, method):
    """With ``idempotency_header`` a write is retried, with the same key on all attempts."""
    provider = await make_http(idempotency_header="X-Once")
    await provider.make_request("/reset", {"a": 1}, method=method)
    keys = {seen.header("x-once") for seen in await fault_server.requests()}
    assert len(await fault_server.requests()) == 3
    assert len(keys) == 1
    assert len(keys.pop()) == 36


async def test_calls_have_keys_of_their_own(make_http, fault_server):
    """Two writes are two keys; reading needs none."""
    provider = await make_http(idempotency_header="X-Once")
    await provider.make_request("/echo")
    await provider.make_request("/echo")
    await provider.make_request("/echo", method="GET")
    first, second, read = [seen.header("x-once") for seen in await fault_server.requests()]
    assert first != second
    assert read is None


async def test_given_key_makes_a_write_repeatable(make_http, fault_server):
    """A caller's own key is sent as ``Idempotency-Key`` on each attempt."""
    response = await (await make_http()).make_request("/flaky?status=500", idempotency_key="order-7")
    assert response.attempts == 2
    assert [seen.header("idempotency-key") for seen in await fault_server.requests()] == ["order-7"] * 2


async def test_key_among_the_headers_counts(make_http, fault_server):
    """A key that the caller puts into the configured header itself is kept."""
    provider = await make_http(idempotency_header="X-Once")
    await provider.make_request("/flaky?status=500", headers={"x-once": "mine"})
    assert [seen.header("x-once") for seen in await fault_server.requests()] == ["mine"] * 2


async def test_write_without_a_key_is_not_repeated(make_http, fault_server):
    """Without a key there is none on the wire, and a write that may have worked goes once."""
    await (await make_http()).make_request("/flaky?status=500")
    (seen,) = await fault_server.requests()
    assert seen.header("idempotency-key") is None


@pytest.mark.parametrize(("form", "value"), [("seconds", "7"), ("date", "7")])
async def test_retry_after_is_on_the_error(make_http, fault_server, form, value):
    """What the service asks to wait is told, from seconds and from a date."""
    provider = await make_http(retry_after_max_ms=100)
    response = await provider.make_request(f"/retry-after?form={form}&value={value}")
    assert response.attempts == 1
    assert 5 <= response.error_detail.retry_after <= 7
    with pytest.raises(RateLimitedError):
        response.raise_for_error()


async def test_retry_after_is_waited_for(make_http, fault_server):
    """A short wait that the service asks for is kept."""
    response = await (await make_http()).make_request("/retry-after?value=0.2&status=503")
    assert (response.success, response.attempts) == (True, 2)
    assert response.latency_ms >= 200


@pytest.mark.parametrize(
    ("exception", "kind", "sent"),
    [
        (httpx.LocalProtocolError("bad"), RequestError, False),
        (httpx.UnsupportedProtocol("bad"), RequestError, False),
        (httpx.WriteTimeout("slow"), ProviderTimeoutError, True),
        (httpx.WriteError("lost"), ProviderUnavailableError, True),
        (httpx.ProxyError("dead"), ProviderUnavailableError, False),
        (httpx.TooManyRedirects("many"), RequestError, True),
        (httpx.ReadError(""), ProviderUnavailableError, True),
    ],
)
def test_exceptions_of_other_transports(exception, kind, sent):
    """Whatever a client of the user's own raises falls into one of our classes, with host and port."""
    error = error_of_exception(exception, "GET /x", httpx.URL("https://h/x"))
    assert isinstance(error, kind)
    assert error.sent is sent
    assert str(error) == f"GET /x to h:443: {str(exception) or 'ReadError'}"


def test_a_ring_of_causes_ends():
    """A chain of causes that leads back to itself is not followed for ever."""
    exception = httpx.ConnectError("x")
    exception.__cause__ = other = OSError()
    other.__context__ = exception
    assert error_of_exception(exception, "GET /", httpx.URL("http://h:1")).retryable


NOON = "Sun, 06 Nov 1994 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "120"}, 120.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, 1e9),
        ({"retry-after": "Sun, 99 Nov 1994 12:00:30 GMT"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 12:00:30 GMT", "date": NOON}, 30.0),
        ({"retry-after": "Sunday, 06-Nov-94 12:00:30 GMT", "date": NOON}, 30.0),
        ({"retry-after": "Sun, 06 Nov 1994 11:00:00 GMT", "date": NOON}, 0.0),
        ({"retry-after": "Sun, 06 Nov 1994 12:00:30 GMT", "date": "nonsense"}, 0.0),
    ],
)
def test_retry_after_is_read_as_the_rfc_says(headers, seconds):
    """Seconds or a date relative to the service's clock; the past is now, nonsense is nothing."""
    assert retry_after(headers) == seconds


def test_retry_after_without_a_date_counts_from_now():
    """Without the service's clock ours has to do."""
    then = email.utils.formatdate(email.utils.mktime_tz(email.utils.parsedate_tz(NOON)) + 10**10, usegmt=True)
    assert retry_after({"retry-after": then}) > 10**8


@pytest.mark.parametrize(
    "path",
    [
        "/large?bytes=5000",
        "/large?bytes=5000&length=no",
        "/bomb?bytes=300000",
        "/bomb?bytes=300000&coding=deflate",
    ],
)
@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_too_large_a_response_is_refused(make_http, fault_server, path, transport):
    """More bytes than allowed, announced or not, packed or not, are refused once and for all."""
    provider = await make_http(max_response_bytes=4000, transport=transport)
    response = await provider.make_request(path, method="GET")
    assert "the response has more than 4000 bytes" in response.error
    assert response.attempts == 1
    assert (await provider.make_request("/status/200")).success


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_a_bomb_in_a_bomb_is_refused(make_http, answer_with, transport):
    """Two codings on top of each other can't be unpacked within bounds, so they are not."""
    server = await answer_with((200, {"Content-Encoding": "gzip, gzip"}, b"x"))
    provider = await make_http(api_endpoint=server.url, transport=transport)
    assert "more than one content coding is refused" in (await provider.make_request("/")).error


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_large_failures_are_bounded_too(make_http, answer_with, transport):
    """Of a failure's text 64 Ki characters are kept."""
    server = await answer_with((400, {"Content-Type": "text/plain"}, b"x" * 100_000))
    provider = await make_http(api_endpoint=server.url, transport=transport)
    assert len((await provider.make_request("/")).data) == 65_536


@pytest.mark.parametrize("path", ["/garbage", "/bad-chunk"])
async def test_what_is_no_http_is_unavailable(make_http, path):
    """A server that does not speak HTTP counts as a lost connection."""
    response = await (await make_http(retry_attempts=1)).make_request(path)
    assert (response.error_detail.code, response.error_detail.sent) == ("unavailable", True)


async def test_broken_compression_is_a_failure(make_http, answer_with):
    """A body that can't be unpacked is an error, and not asked for again."""
    server = await answer_with((200, {"Content-Encoding": "gzip"}, b"no gzip"))
    response = await (await make_http(api_endpoint=server.url)).make_request("/", method="GET")
    assert (response.error_detail.code, response.attempts) == ("request_failed", 1)


async def test_truth_survives_the_pool(make_http, fault_server):
    """After failures of every kind no slot is lost and the provider works on."""
    provider = await make_http(
        timeout_ms=200,
        retry_attempts=1,
        max_connections=2,
        max_response_bytes=4000,
        operations={"health_check": {"timeout_ms": 10_000}},
    )
    for path in (
        "/hang",
        "/reset",
        "/close",
        "/truncate",
        "/hang-after-headers",
        "/garbage",
        "/large",
        "/bomb",
    ):
        for method in ("GET", "POST"):
            assert not (await provider.make_request(path, method=method)).success
    assert (provider._client._plain.in_use, provider._client._plain.waiting) == (0, 0)
    assert (await provider.health_check())["status"] == "healthy"
