"""What `HTTPSDKProvider.make_request` puts on the wire, and what it makes of the answer."""

import json

import pytest

from aioproviders.calls import trace_context


async def test_post_sends_json_and_returns_parsed_json(make_http, fault_server):
    """Data goes out as JSON in one request, and the JSON that comes back is parsed."""
    provider = await make_http()
    response = await provider.make_request("/echo", {"name": "é", "n": [1, None]})
    assert response.success
    (seen,) = await fault_server.requests("/echo")
    assert seen.method == "POST"
    assert json.loads(seen.body.encode("latin-1")) == {"name": "é", "n": [1, None]}
    assert seen.header("content-type") == "application/json"
    assert response.data["path"] == "/echo"


async def test_response_tells_status_headers_attempts_and_latency(make_http):
    """The facts of the exchange are on the response, header names in lower case."""
    response = await (await make_http()).make_request("/echo", method="GET")
    assert (response.status_code, response.attempts, response.error_detail) == (200, 1, None)
    assert response.headers["content-type"] == "application/json"
    assert response.latency_ms >= 0
    assert len(response.request_id) == 32


@pytest.mark.parametrize("header", ["X-Request-Id", "Request-Id"])
async def test_request_id_is_the_services_own(make_http, answer_with, header):
    """Where the service names its request, that is the response's id, also of a failure."""
    server = await answer_with((200, {header: "abc-1"}), (400, {header: "abc-2"}))
    provider = await make_http(api_endpoint=server.url)
    assert (await provider.make_request("/")).request_id == "abc-1"
    assert (await provider.make_request("/")).request_id == "abc-2"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_data_of_a_bodyless_method_becomes_the_query(make_http, fault_server, method):
    """GET, HEAD and DELETE carry data as query parameters, and no body."""
    await (await make_http()).make_request(
        "/echo?x=1", {"a": 1, "b": [True, "ü"], "c": None}, method=method.lower(), params={"d": 2.5}
    )
    (seen,) = await fault_server.requests("/echo")
    assert (seen.method, seen.target) == (method, "/echo?x=1&a=1&b=true&b=%C3%BC&d=2.5")
    assert seen.body == ""
    assert seen.header("content-length") is None


@pytest.mark.parametrize(
    ("base", "endpoint", "target"),
    [
        ("", "", "/"),
        ("/echo", "", "/echo"),
        ("/echo/", "", "/echo/"),
        ("/echo", "/", "/echo"),
        ("/echo", "?q=1", "/echo?q=1"),
        ("/echo", "a", "/echo/a"),
        ("/echo/", "/a/b", "/echo/a/b"),
        ("/echo", "a%2Fb/c d/~%7E", "/echo/a%2Fb/c%20d/~%7E"),
    ],
)
async def test_endpoint_is_a_path_below_the_base(make_http, fault_server, base, endpoint, target):
    """The base's path stays, there is one slash between, and quoting is left as it is."""
    provider = await make_http(api_endpoint=fault_server.url + base)
    await provider.make_request(endpoint, method="GET")
    (seen,) = await fault_server.requests()
    assert seen.target == target


async def test_url_of_the_same_origin_is_an_endpoint(make_http, fault_server):
    """A whole URL, such as a service's link, is used as it is where it stays with the origin."""
    provider = await make_http(api_endpoint=fault_server.url + "/status")
    assert (await provider.make_request(f"{fault_server.url}/echo?page=2", method="GET")).success
    (seen,) = await fault_server.requests()
    assert seen.target == "/echo?page=2"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://evil.example/x",
        "https://127.0.0.1/x",
        "http://user:pw@{host}/x",
        "//evil.example/x",
        "../x",
        "a/../../x",
        "a/%2E%2e/x",
        "a%2f..%2fx",
        "..\\x",
        "a#b",
        "a\r\nb",
        "a\x00b",
        7,
        None,
    ],
)
async def test_endpoint_that_leads_elsewhere_is_refused(make_http, fault_server, endpoint):
    """Nothing is sent for an endpoint that leaves the base, and the error says what would be right."""
    if isinstance(endpoint, str):
        endpoint = endpoint.replace("{host}", fault_server.url.removeprefix("http://"))
    response = await (await make_http()).make_request(endpoint, method="GET")
    assert not response.success
    assert response.error.startswith("endpoint ")
    assert (response.error_detail.sent, response.error_detail.retryable) == (False, False)
    assert response.attempts == 1
    assert await fault_server.requests() == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"method": "GE T"}, "method should be one of GET, HEAD, POST"),
        ({"method": "CONNECT"}, "method should be one of"),
        ({"method": None}, "method should be one of"),
        ({"data": {"x": object()}}, "data can't be sent as JSON"),
        ({"data": {"x": float("nan")}}, "JSON has no NaN and no infinity"),
        ({"data": {"x": float("inf")}}, "JSON has no NaN and no infinity"),
        ({"data": {"x": "\ud800"}}, "data can't be sent as JSON"),
        ({"data": [1], "method": "GET"}, "so it should be a dict"),
        ({"params": {"x": {"y": 1}}}, "query parameter 'x' should be text"),
        ({"params": {1: "x"}}, "query parameter '1' should be text"),
        ({"params": {"x": "\ud800"}}, "query parameter 'x' is no valid Unicode"),
        ({"params": "x=1"}, "params should be a dict"),
        ({"params": "x=1", "data": {"y": 1}, "method": "GET"}, "params should be a dict, not str"),
        ({"headers": [1]}, "headers should be a dict, not list"),
        ({"headers": "X-A: b"}, "headers should be a dict, not str"),
        ({"headers": {"X-A": "b\r\nX-Evil: 1"}}, "header X-A should be one line"),
        ({"headers": {"X-A": "ü"}}, "header X-A should be one line"),
        ({"headers": {"X-A": 1}}, "header X-A should be one line"),
        ({"headers": {"X A": "b"}}, "the name of a header should be"),
        ({"headers": {"Host": "evil.example"}}, "header Host follows from the request"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "header Transfer-Encoding follows"),
        ({"idempotency_key": ""}, "idempotency_key should be one line"),
        ({"idempotency_key": "a\nb"}, "idempotency_key should be one line"),
    ],
)
async def test_what_cannot_be_sent_is_one_clear_error(make_http, fault_server, arguments, said):
    """A mistake of the caller's is told in one line, not retried, and nothing is sent."""
    provider = await make_http(circuit_breaker={"minimum_calls": 1})
    response = await provider.make_request("/echo", **arguments)
    assert said in response.error
    assert "\n" not in response.error
    assert (response.attempts, response.error_detail.sent) == (1, False)
    assert response.error_detail.reason == "non_retryable"
    assert await fault_server.requests() == []
    assert (await provider.make_request("/echo")).success, "the breaker counts no mistakes of the caller's"


async def test_nan_in_a_text_is_no_nan(make_http, fault_server):
    """Words that look like JavaScript's numbers are texts like any other."""
    assert (await (await make_http()).make_request("/echo", {"x": "NaN and Infinity"})).success


async def test_headers_of_config_and_call_are_sent(make_http, fault_server):
    """The config's headers go with each request, a call's own come before them."""
    provider = await make_http(headers={"X-Team": "a", "X-Api-Token": "t", "Accept": "text/plain"})
    await provider.make_request("/echo", headers={"x-team": "b"}, method="GET")
    (seen,) = await fault_server.requests()
    assert [value for name, value in seen.headers if name == "x-team"] == ["b"]
    assert (seen.header("x-api-token"), seen.header("accept")) == ("t", "text/plain")
    assert seen.header("user-agent").startswith("aioproviders/")


async def test_trace_goes_along(make_http, fault_server):
    """The call's trace id is in ``traceparent``; each attempt has a parent id of its own."""
    provider = await make_http()
    with trace_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        await provider.make_request("/flaky")
    first, second = [r.header("traceparent").split("-") for r in await fault_server.requests()]
    assert first[1] == second[1] == "0af7651916cd43dd8448eb211c80319c"
    assert first[2] != second[2]
    assert (len(first[2]), first[0], first[3]) == (16, "00", "01")


async def test_trace_of_an_open_span_goes_along(make_http, fault_server):
    """Under an OpenTelemetry span the request is that span's child, sampled as it is."""
    from opentelemetry import trace

    context = trace.SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(0))
    provider = await make_http()
    with trace.use_span(trace.NonRecordingSpan(context)):
        await provider.make_request("/echo")
    (seen,) = await fault_server.requests()
    assert seen.header("traceparent") == f"00-{0xABC:032x}-{0xDEF:016x}-00"


async def test_trace_can_be_kept_back(make_http, fault_server):
    """With ``propagate_trace`` off there is no ``traceparent``."""
    await (await make_http(propagate_trace=False)).make_request("/echo")
    (seen,) = await fault_server.requests()
    assert seen.header("traceparent") is None


async def test_cookies_are_not_kept(make_http, fault_server):
    """A cookie that one call was given is not sent with the next."""
    provider = await make_http()
    await provider.make_request("/set-cookie?session=1", method="GET")
    await provider.make_request("/echo", method="GET")
    assert (await fault_server.requests("/echo"))[0].header("cookie") is None
    assert len(provider._client.cookies) == 0


@pytest.mark.parametrize(
    ("kind", "body", "data"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/vnd.api+json; charset=utf-8", b"[1]", [1]),
        ("application/json", b"", None),
        ("text/plain; charset=latin-1", b"\xfc", "ü"),
        ("application/soap+xml", b"<a/>", "<a/>"),
        ("application/octet-stream", b"\xff\x00", b"\xff\x00"),
        ("image/png", b"\x89PNG", b"\x89PNG"),
    ],
)
async def test_data_is_what_the_content_type_says(make_http, answer_with, kind, body, data):
    """JSON is parsed, textual types are text, all else stays bytes."""
    server = await answer_with((200, {"Content-Type": kind}, body))
    response = await (await make_http(api_endpoint=server.url)).make_request("/")
    assert response.success
    assert response.data == data


async def test_broken_json_is_a_failure(make_http, fault_server):
    """A success that says JSON and is none is an error with the status, and not asked for again."""
    response = await (await make_http()).make_request("/bad-json", method="GET")
    assert not response.success
    assert response.error.startswith("GET /bad-json was answered 200 with what is no valid JSON")
    assert (response.status_code, response.attempts) == (200, 1)
    assert len(await fault_server.requests()) == 1


async def test_compressed_answer_is_unpacked(make_http):
    """A gzip answer comes out plain."""
    assert (await (await make_http()).make_request("/gzip", method="GET")).data == {"gzipped": True}


async def test_not_modified_is_a_success(make_http, fault_server):
    """304 answers a condition of the caller's, and has no data."""
    response = await (await make_http()).make_request(
        "/status/304", method="GET", headers={"If-None-Match": '"a"'}
    )
    assert (response.success, response.status_code, response.data) == (True, 304, None)


async def test_many_endpoints_do_not_pile_up(make_http):
    """The cache of URLs is bounded."""
    provider = await make_http()
    for number in range(1500):
        provider._endpoints.url(f"/items/{number}")
    assert len(provider._endpoints._known) <= 512


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_redirect_within_the_origin_is_followed_by_reading_methods(make_http, fault_server, method):
    """A redirect to the same origin is followed where the method only reads."""
    response = await (await make_http(api_key="k")).make_request("/redirect?to=/echo/there", method=method)
    assert response.success
    assert [(r.method, r.target) for r in await fault_server.requests()] == [
        (method, "/redirect?to=/echo/there"),
        (method, "/echo/there"),
    ]
    assert (await fault_server.requests("/echo"))[0].header("authorization") == "Bearer k"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirected_write_is_not_sent_again(make_http, fault_server, status):
    """A write is sent once, and the error names status and target."""
    response = await (await make_http()).make_request(f"/redirect?to=/echo&status={status}", {"a": 1})
    assert response.status_code == status
    assert f"({status}) to {fault_server.url}" in response.error
    assert len(await fault_server.requests()) == 1


@pytest.mark.parametrize(("status", "method", "body"), [(303, "GET", ""), (307, "OPTIONS", '{"a":1}')])
async def test_content_goes_along_unless_another_is_to_be_seen(make_http, fault_server, status, method, body):
    """After 303 nothing of the request's content is sent again, after 307 all of it."""
    provider = await make_http()
    await provider.make_request(f"/redirect?to=/echo&status={status}", {"a": 1}, method="OPTIONS")
    _, second = await fault_server.requests()
    assert (second.method, second.body) == (method, body)
    assert second.header("content-type") == ("application/json" if body else None)
    assert second.header("content-length") == (str(len(body)) if body else None)


async def test_redirect_to_another_origin_is_not_followed(make_http, answer_with, fault_server):
    """Neither the request nor any credential reaches another origin."""
    other = await answer_with((200, {}))
    provider = await make_http(api_key="canary", headers={"X-API-Key": "canary", "Cookie": "canary"})
    response = await provider.make_request(f"/redirect?to={other.url}/secret?token=abc", method="GET")
    assert not response.success
    assert f"to {other.url}; not followed, since it leaves the origin" in response.error
    assert "abc" not in response.error
    assert other.seen == []
    assert response.attempts == 1


async def test_redirects_that_go_round_are_noticed(make_http, answer_with):
    """A circle ends where it closes."""
    server = await answer_with((302, {"Location": "/b"}), (302, {"Location": "/a"}))
    response = await (await make_http(api_endpoint=server.url)).make_request("/a", method="GET")
    assert "goes round in a circle" in response.error
    assert len(server.seen) == 2


async def test_redirects_without_end_are_given_up(make_http, answer_with):
    """After ten redirects in a row it is enough."""
    server = await answer_with(*[(302, {"Location": f"/{number}"}) for number in range(20)])
    response = await (await make_http(api_endpoint=server.url)).make_request("/start", method="GET")
    assert "there were 10 before it" in response.error
    assert len(server.seen) == 11


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_redirect_to_no_url_is_a_failure(make_http, answer_with, transport):
    """A target that can't be read is told once, and nothing of it is shown."""
    server = await answer_with((302, {"Location": "http://h:canary/"}))
    provider = await make_http(api_endpoint=server.url, transport=transport)
    response = await provider.make_request("/", method="GET")
    assert response.error == "GET / was redirected to what is no valid URL"
    assert len(server.seen) == 1


async def test_redirect_without_a_target_is_a_failure(make_http, answer_with):
    """A 3xx with nowhere to go is an answer like any other failure."""
    server = await answer_with((300, {}))
    response = await (await make_http(api_endpoint=server.url)).make_request("/", method="GET")
    assert (response.success, response.status_code) == (False, 300)
    assert response.error_detail.code == "request_failed"
