"""Authentication of the HTTP provider: what is sent, and tokens fetched once, replaced, never leaked."""

import base64
import json

import anyio
import pytest

from aioproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    ProviderError,
    ProviderUnavailableError,
)
from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider
from aioproviders.sdk.http.oauth import Token, TokenSource


def oauth(url, **settings):
    return {
        "type": "oauth2",
        "token_url": f"{url}/token",
        "client_id": "client",
        "client_secret": "secret",
        **settings,
    }


@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        ({"api_key": "k"}, "authorization", "Bearer k"),
        ({"auth": {"type": "bearer", "token": "t"}}, "authorization", "Bearer t"),
        ({"api_key": "k", "auth": {"type": "bearer"}}, "authorization", "Bearer k"),
        ({"api_key": "k", "auth": {"type": "api_key"}}, "x-api-key", "k"),
        ({"auth": {"type": "api_key", "header": "X-Key", "key": "k"}}, "x-key", "k"),
        (
            {"auth": {"type": "basic", "username": "ü", "password": "p:w"}},
            "authorization",
            "Basic " + base64.b64encode("ü:p:w".encode()).decode(),
        ),
        ({}, "authorization", None),
    ],
)
async def test_credentials_are_sent(make_http, fault_server, settings, header, value):
    """Each kind of authentication puts its credentials where they belong."""
    assert (await (await make_http(**settings)).make_request("/echo")).success
    (seen,) = await fault_server.requests()
    assert seen.header(header) == value


async def test_credentials_in_the_url_are_basic_authentication(make_http, fault_server):
    """User and password in ``api_endpoint`` are sent as a header, and not in the target."""
    url = fault_server.url.replace("://", "://us%40er:p%2Fw@")
    await (await make_http(api_endpoint=url)).make_request("/echo")
    (seen,) = await fault_server.requests()
    assert seen.header("authorization") == "Basic " + base64.b64encode(b"us@er:p/w").decode()
    assert "@" not in seen.header("host")


async def test_a_calls_own_authorization_comes_first(make_http, fault_server):
    """A call may act as somebody else; no token is fetched for it."""
    provider = await make_http(auth=oauth(fault_server.url))
    await provider.make_request("/echo", headers={"Authorization": "Bearer other"})
    (seen,) = await fault_server.requests()
    assert seen.header("authorization") == "Bearer other"


@pytest.mark.parametrize("client_auth", ["basic", "body"])
async def test_oauth_token_is_fetched_and_used(make_http, fault_server, client_auth):
    """The client credentials grant goes as RFC 6749 says, and the token is sent as bearer."""
    settings = oauth(fault_server.url, client_auth=client_auth, scopes=["a", "b"], audience="me")
    provider = await make_http(auth=settings, headers={"X-Api-Key": "for-the-api-only"})
    assert (await provider.make_request("/protected")).success
    token, request = await fault_server.requests()
    expected = "grant_type=client_credentials&scope=a+b&audience=me"
    if client_auth == "body":
        expected += "&client_id=client&client_secret=secret"
    assert token.body == expected
    assert (token.header("authorization") is None) == (client_auth == "body")
    assert token.header("content-type") == "application/x-www-form-urlencoded"
    assert token.header("x-api-key") is None
    assert request.header("authorization") == "Bearer token-1"


async def test_fifty_callers_make_one_token_request(make_http, fault_server):
    """However many need a token at once, one fetches it."""
    provider = await make_http(auth=oauth(fault_server.url))
    responses = []

    async def call():
        responses.append(await provider.make_request("/protected"))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(call)
    assert [r.success for r in responses] == [True] * 50
    assert len(await fault_server.requests("/token")) == 1


async def test_fifty_refused_callers_make_one_new_token(make_http, fault_server):
    """When a token is revoked, all who were refused share one new one and go again, writes too."""
    provider = await make_http(auth=oauth(fault_server.url), retry_attempts=1)
    await provider.make_request("/revoke")
    responses = []

    async def call():
        responses.append(await provider.make_request("/protected", {"write": 1}))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(call)
    assert [(r.success, r.attempts) for r in responses] == [(True, 1)] * 50
    assert len(await fault_server.requests("/token")) == 2


async def test_refused_again_is_an_authentication_error(make_http, fault_server):
    """A new token that is refused as well ends it: two requests, two tokens."""
    provider = await make_http(auth=oauth(fault_server.url))
    response = await provider.make_request("/status/401")
    assert response.error_detail.code == "authentication"
    assert len(await fault_server.requests("/status")) == 2
    assert len(await fault_server.requests("/token")) == 2


async def test_stream_goes_again_after_a_revoked_token(make_http, fault_server):
    """A stream is opened anew with a new token."""
    provider = await make_http(auth=oauth(fault_server.url))
    await provider.make_request("/revoke")
    assert b"".join([piece async for piece in provider.stream_request("/protected")]) == b'{"ok": true}'
    assert provider._client._plain.in_use == 0


@pytest.mark.parametrize(
    ("expires_in", "margin", "tokens"),
    [(3600, 30_000, 1), (0.05, 0, 2), (0.05, 30_000, 2)],
)
async def test_token_is_replaced_before_it_expires(make_http, fault_server, expires_in, margin, tokens):
    """A token near its end is replaced without a refusal first; one with time left is kept."""
    settings = oauth(fault_server.url, expiry_margin_ms=margin)
    settings["token_url"] += f"?expires_in={expires_in}"
    provider = await make_http(auth=settings)
    await provider.make_request("/echo")
    await anyio.sleep(0.06)
    await provider.make_request("/echo")
    assert len(await fault_server.requests("/token")) == tokens


async def test_wrong_client_is_an_authentication_error(make_http, fault_server):
    """A refused client is told as such, with the token endpoint's reason, and not tried again."""
    provider = await make_http(auth=oauth(fault_server.url, client_secret="canary-wrong"))
    response = await provider.make_request("/protected")
    assert response.error == "POST /token for a token was answered 401 Unauthorized: invalid_client"
    assert (response.error_detail.code, response.error_detail.sent) == ("authentication", False)
    assert [r.target for r in await fault_server.requests()] == ["/token"]


@pytest.mark.parametrize("path", ["/flaky?status=500", "/reset", "/hang"])
async def test_write_goes_again_when_only_its_token_failed(make_http, fault_server, path):
    """What needed the token was not sent, so a write may be tried again."""
    settings = oauth(fault_server.url)
    settings["token_url"] = fault_server.url + path
    provider = await make_http(auth=settings, retry_attempts=2, timeout_ms=600)
    response = await provider.make_request("/protected")
    assert response.attempts == 2
    assert response.error_detail.sent is False
    assert response.data is None, "the token endpoint's answer is not the caller's"
    assert await fault_server.requests("/protected") == []


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"access_token": ""}',
        b'{"access_token": "a\\nb"}',
        b'{"access_token": "x", "token_type": "mac"}',
    ],
)
async def test_answer_without_a_usable_token(make_http, answer_with, body):
    """A token endpoint that answers with something else is an authentication error."""
    server = await answer_with((200, {"Content-Type": "application/json"}, body))
    response = await (await make_http(auth=oauth(server.url))).make_request("/echo")
    assert response.error_detail.code == "authentication"
    assert "the token endpoint's answer holds" in response.error


@pytest.mark.parametrize("expires", ["", ', "expires_in": "soon"', ', "expires_in": null'])
async def test_token_without_a_known_end_is_kept(make_http, answer_with, fault_server, expires):
    """Where the service does not say when, a token is used until it is refused."""
    body = f'{{"access_token": "forever"{expires}}}'.encode()
    server = await answer_with((200, {"Content-Type": "application/json"}, body))
    provider = await make_http(auth=oauth(server.url))
    for _ in range(2):
        assert (await provider.make_request("/echo")).data["headers"]["authorization"] == "Bearer forever"
    assert len(server.seen) == 1


async def test_token_endpoint_is_not_followed_elsewhere(make_http, answer_with):
    """A token endpoint that redirects gets no second request, nor does its target."""
    other = await answer_with((200, {}))
    server = await answer_with((307, {"Location": other.url}))
    response = await (await make_http(auth=oauth(server.url))).make_request("/echo")
    assert not response.success
    assert other.seen == []


async def test_token_requests_take_the_rate_limit(make_http, fault_server):
    """A token request counts as a request: with one a second, the second has to wait."""
    provider = await make_http(auth=oauth(fault_server.url), rate_limit=1, timeout_ms=200, retry_attempts=1)
    response = await provider.make_request("/protected")
    assert response.error_detail.code == "rate_limited"
    assert response.error_detail.sent is False
    assert await fault_server.requests() == []


class TestTokenSource:
    """One token for many callers."""

    async def test_cancelled_fetch_is_taken_over(self):
        """When the caller that fetches is cancelled, the next one fetches."""
        started, fetches, got = anyio.Event(), [], []

        async def fetch():
            fetches.append(1)
            if len(fetches) == 1:
                started.set()
                await anyio.sleep_forever()
            return Token("second", float("inf"))

        source = TokenSource(fetch)

        async def wait():
            got.append(await source.get())

        async with anyio.create_task_group() as group:
            scope = anyio.CancelScope()

            async def first():
                with scope:
                    await source.get()

            group.start_soon(first)
            await started.wait()
            for _ in range(3):
                group.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
        assert got == ["second"] * 3
        assert len(fetches) == 2

    async def test_failed_fetch_fails_those_who_waited_once(self):
        """All who waited get the failure, each its own copy; who comes later tries anew."""
        release, fetches, errors = anyio.Event(), [], []

        async def fetch():
            fetches.append(1)
            await release.wait()
            raise ProviderUnavailableError("down") from OSError("cause")

        source = TokenSource(fetch)

        async def call():
            try:
                await source.get()
            except ProviderError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            release.set()
        assert len(fetches) == 1
        assert [(str(e), str(e.__cause__)) for e in errors] == [("down", "cause")] * 5
        assert len({id(e) for e in errors}) == 5
        await call()
        assert len(fetches) == 2

    async def test_only_the_current_token_can_be_rejected(self):
        """A late refusal of an old token does not throw the new one away."""
        values = iter(["one", "two", "three"])

        async def fetch():
            return Token(next(values), float("inf"))

        source = TokenSource(fetch)
        assert await source.get() == "one"
        source.reject("one")
        assert await source.get() == "two"
        source.reject("one")
        assert await source.get() == "two"

    async def test_clock_decides(self):
        """A token is kept until the clock says that it is time."""
        now = [0.0]
        values = iter(["one", "two"])

        async def fetch():
            return Token(next(values), now[0] + 10)

        source = TokenSource(fetch, clock=lambda: now[0])
        assert await source.get() == "one"
        now[0] = 9.9
        assert await source.get() == "one"
        now[0] = 10.0
        assert await source.get() == "two"

    def test_token_is_not_shown(self):
        """A token's repr does not show it."""
        assert repr(Token("canary", 1.0)) == "<Token>"


class TestAuthenticate:
    """`authenticate` tries credentials and leaves the provider's own alone."""

    @pytest.mark.parametrize(
        ("auth", "path", "right", "wrong"),
        [
            ({"type": "bearer", "token": "own"}, "/bearer", {"token": "secret"}, {"token": "bad"}),
            (None, "/bearer", {"api_key": "secret"}, {"api_key": "bad"}),
            ({"type": "api_key", "key": "own"}, "/api-key", {"api_key": "secret"}, {"api_key": "bad"}),
            (
                {"type": "basic", "username": "own", "password": "own"},
                "/basic",
                {"username": "user", "password": "pass"},
                {"username": "user", "password": ""},
            ),
            (None, "/basic", {"username": "user", "password": "pass"}, {"username": "x", "password": "y"}),
        ],
    )
    async def test_right_and_wrong(  # noqa: PLR0917 - a scenario
        self, make_http, fault_server, auth, path, right, wrong
    ):
        """True for the right ones, False for wrong ones; the provider goes on as before."""
        provider = await make_http(auth=auth, auth_check_path=path)
        assert await provider.authenticate(right) is True
        assert await provider.authenticate(wrong) is False
        await fault_server.reset()
        await provider.make_request("/echo")
        sent = str((await fault_server.requests())[0].headers)
        assert "secret" not in sent
        assert ("own" in sent) == (auth is not None and auth["type"] != "basic")

    async def test_oauth_clients_are_tried_by_fetching_a_token(self, make_http, fault_server):
        """A client is right where it gets a token."""
        provider = await make_http(auth=oauth(fault_server.url, client_id="own", client_secret="own"))
        assert await provider.authenticate({"client_id": "client", "client_secret": "secret"}) is True
        assert await provider.authenticate({"client_id": "client", "client_secret": "bad"}) is False
        assert len(await fault_server.requests("/token")) == 2

    async def test_token_endpoint_that_makes_no_sense_is_raised(self, make_http, answer_with):
        """An answer without a token says nothing about the client."""
        server = await answer_with((200, {"Content-Type": "application/json"}, b"{}"))
        provider = await make_http(auth=oauth(server.url))
        with pytest.raises(AuthenticationError, match="no access_token"):
            await provider.authenticate({"client_id": "a", "client_secret": "b"})

    @pytest.mark.parametrize(
        ("reason", "error"),
        [
            ("invalid_client", None),
            ("unauthorized_client", None),
            ("invalid_scope", ProviderError),
            (1, ProviderError),
        ],
    )
    async def test_bad_request_for_a_token_is_wrong_only_where_it_says_so(
        self, make_http, answer_with, reason, error
    ):
        """Of the 400s of a token endpoint, those about the client mean wrong credentials."""
        body = json.dumps({"error": reason}).encode()
        server = await answer_with((400, {"Content-Type": "application/json"}, body))
        provider = await make_http(auth=oauth(server.url))
        credentials = {"client_id": "a", "client_secret": "b"}
        if error is None:
            assert await provider.authenticate(credentials) is False
        else:
            with pytest.raises(error, match="400"):
                await provider.authenticate(credentials)

    @pytest.mark.parametrize("path", ["/reset", "/status/500", "/status/404"])
    async def test_neither_yes_nor_no_is_raised(self, make_http, path):
        """A service that can't be asked, or has no such path, says nothing about credentials."""
        provider = await make_http(auth_check_path=path)
        with pytest.raises(ProviderError) as caught:
            await provider.authenticate({"api_key": "x"})
        assert not isinstance(caught.value, AuthenticationError)

    async def test_tried_credentials_are_masked(self, make_http, answer_with):
        """An error that repeats the tried credentials does so without them."""
        body = b'{"error": "what is canary-1 supposed to be?"}'
        server = await answer_with((500, {"Content-Type": "application/json"}, body))
        provider = await make_http(api_endpoint=server.url, auth_check_path="/", retry_attempts=1)
        with pytest.raises(ProviderError) as caught:
            await provider.authenticate({"api_key": "canary-1"})
        assert "canary-1" not in str(caught.value)
        assert "canary-1" not in repr(vars(caught.value))

    async def test_without_a_path_there_is_no_knowing(self, make_http):
        """Without ``auth_check_path`` the error says that it is missing."""
        with pytest.raises(ConfigurationError, match="auth_check_path should say"):
            await (await make_http()).authenticate({"api_key": "x"})

    @pytest.mark.parametrize(
        ("auth", "credentials", "said"),
        [
            (None, {}, "should be the texts api_key, not none"),
            (None, {"username": "u"}, "should be the texts password and username, not username"),
            (None, {"api_key": ""}, "should be the texts api_key"),
            (None, {"api_key": 5}, "should be the texts api_key"),
            (None, {"api_key": "a\nb"}, "one line of printable ASCII"),
            (None, {"username": "a:b", "password": "x"}, "no colon"),
            ({"type": "api_key", "key": "k"}, {"token": "x"}, "should be the texts api_key, not token"),
            (
                oauth("http://h", client_secret="own"),
                {"api_key": "x"},
                "should be the texts client_id and client_secret, not api_key",
            ),
        ],
    )
    async def test_credentials_of_the_wrong_shape(self, make_http, auth, credentials, said):
        """Credentials that don't fit are told by their names, never by their values."""
        provider = await make_http(auth=auth, auth_check_path="/bearer")
        with pytest.raises(ConfigurationError, match=said):
            await provider.authenticate(credentials)


def test_client_of_another_kind_is_refused():
    """A client that is no async httpx client is one clear error."""
    config = HTTPSDKConfig(name="api", version="1", api_endpoint="http://h")
    with pytest.raises(ConfigurationError, match=r"should be an httpx\.AsyncClient, not dict"):
        HTTPSDKProvider(config, client={})


@pytest.mark.parametrize("expires", [0, -5])
async def test_token_that_is_over_already_serves_once(make_http, answer_with, fault_server, expires):
    """A token that is said to have ended is good for the request that fetched it, and no other."""
    body = f'{{"access_token": "brief", "expires_in": {expires}}}'.encode()
    server = await answer_with((200, {"Content-Type": "application/json"}, body))
    provider = await make_http(auth=oauth(server.url))
    for _ in range(2):
        assert (await provider.make_request("/echo")).data["headers"]["authorization"] == "Bearer brief"
    assert len(server.seen) == 2
