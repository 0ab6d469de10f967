"""No credential of an HTTP provider leaves it but to the service: searched for wherever text comes out."""

import base64
import io
import json
import logging
import pickle
import traceback

import pytest
import structlog

from aioproviders.errors import ProviderError
from aioproviders.logs import configure_logging

CANARY = "canary-Zx81"


@pytest.fixture
def log():
    """All that is logged, at level debug."""
    stream = io.StringIO()
    configure_logging("json", "debug", stream=stream)
    yield stream
    structlog.reset_defaults()


def assert_clean(*texts):
    """None of `texts` shows the canary, plain or in base64."""
    forms = [
        CANARY,
        *(base64.b64encode((p + CANARY).encode()).decode()[4:12] for p in ("", "user:", "u:", "client:")),
    ]
    for text in texts:
        for form in forms:
            assert form not in text, f"{form} in {text[:2000]}"


def kinds(url):
    """Ways to hold a secret."""
    return {
        "api_key": {"api_key": CANARY},
        "bearer": {"auth": {"type": "bearer", "token": CANARY}},
        "header": {"auth": {"type": "api_key", "key": CANARY}},
        "basic": {"auth": {"type": "basic", "username": "user", "password": CANARY}},
        "oauth": {
            "auth": {
                "type": "oauth2",
                "token_url": f"{url}/token",
                "client_id": "client",
                "client_secret": CANARY,
            }
        },
        "oauth_body": {
            "auth": {
                "type": "oauth2",
                "token_url": f"{url}/token",
                "client_id": "client",
                "client_secret": CANARY,
                "client_auth": "body",
            }
        },
        "userinfo": {"api_endpoint": url.replace("://", f"://u:{CANARY}@")},
        "base_header": {"headers": {"X-Api-Key": CANARY, "Cookie": f"a={CANARY}"}},
        "proxy": {"proxy": url.replace("://", f"://u:{CANARY}@"), "api_endpoint": "http://api.invalid"},
    }


PATHS = [
    "/status/401",
    "/status/500",
    "/reset",
    "/garbage",
    "/hang",
    "/bad-json",
    "/bomb",
    "/redirect?to=http://other.invalid/",
    "../x",
]


@pytest.mark.parametrize("kind", kinds("http://h"))
async def test_no_failure_shows_a_secret(make_http, fault_server, log, kind):
    """Of each kind of secret and each kind of failure: repr, error, traceback, dump, pickle, log, health."""
    provider = await make_http(**{"timeout_ms": 60, "retry_attempts": 2, **kinds(fault_server.url)[kind]})
    assert_clean(repr(provider), repr(provider.config), str(provider.config))
    for path in PATHS:
        for query in ({}, {"token": CANARY}):
            response = await provider.make_request(path, method="GET", params=query)
            assert not response.success
            with pytest.raises(ProviderError) as caught:
                response.raise_for_error()
            error = caught.value
            assert_clean(
                str(error),
                repr(error),
                "".join(traceback.format_exception(error)),
                str(pickle.loads(pickle.dumps(error))),
                repr(vars(error)),
                response.model_dump_json(),
                repr(response),
            )
    check = await provider.health_check()
    assert_clean(str(check), str(await provider.get_capabilities()), log.getvalue())
    assert "operation.failed" in log.getvalue()


@pytest.mark.parametrize(
    ("transport", "method"), [("aiohttp", "GET"), ("httpx", "GET"), ("aiohttp", "POST"), ("httpx", "POST")]
)
async def test_a_service_that_repeats_our_secret_is_masked(make_http, answer_with, log, transport, method):
    """What a failing service says of our credentials comes back without them, cut or whole."""
    for body in (
        json.dumps({"error": f"key {CANARY} is bad"}).encode(),
        json.dumps({"detail": "x" * 195 + CANARY}).encode(),
        json.dumps({"message": "Bearer " + CANARY}).encode(),
    ):
        headers = {"Content-Type": "application/json", "X-Echo": CANARY, "X-Request-Id": CANARY}
        server = await answer_with((400, headers, body))
        provider = await make_http(api_endpoint=server.url, api_key=CANARY, transport=transport)
        response = await provider.make_request("/", method=method)
        assert response.status_code == 400
        assert_clean(response.model_dump_json(), response.error, log.getvalue())
        assert "canary" not in response.error


async def test_fetched_tokens_are_masked(make_http, answer_with, log):
    """A token that the provider fetched is a secret like those of the config."""
    body = json.dumps({"access_token": CANARY, "token_type": "bearer"}).encode()
    tokens = await answer_with((200, {"Content-Type": "application/json"}, body))
    server = await answer_with((400, {"Content-Type": "text/plain"}, f"no such token {CANARY}".encode()))
    auth = {"type": "oauth2", "token_url": tokens.url, "client_id": "c", "client_secret": "s3cret-s3cret"}
    provider = await make_http(api_endpoint=server.url, auth=auth)
    response = await provider.make_request("/")
    assert f"Bearer {CANARY}" in server.seen[0]
    assert response.error.endswith("no such token **********")
    assert_clean(response.model_dump_json(), log.getvalue(), repr(provider))


async def test_token_endpoint_that_repeats_the_secret_is_masked(make_http, answer_with, log):
    """The token's endpoint may say what it likes: the client's secret is not handed on."""
    body = json.dumps({"error": "invalid_client", "error_description": f"{CANARY} is wrong"}).encode()
    tokens = await answer_with((401, {"Content-Type": "application/json"}, body))
    auth = {"type": "oauth2", "token_url": tokens.url, "client_id": "c", "client_secret": CANARY}
    provider = await make_http(auth=auth)
    response = await provider.make_request("/x")
    assert response.error.endswith("invalid_client: ********** is wrong")
    assert_clean(response.model_dump_json(), log.getvalue())


async def test_httpx_and_aiohttp_log_no_secret(make_http, fault_server, caplog):
    """With everything logged, the libraries beneath say nothing of our secrets either."""
    caplog.set_level(logging.DEBUG)
    provider = await make_http(**kinds(fault_server.url)["userinfo"])
    await provider.make_request("/echo", params={"token": CANARY}, method="GET")
    await provider.make_request("/reset", params={"token": CANARY}, method="GET")
    assert_clean(caplog.text)
