"""The client behind the HTTP provider: pool, TLS, proxy, HTTP/2, or one of the user's own."""

import importlib.util

import anyio
import httpx
import pytest
import trustme

from aioproviders.errors import ConfigurationError
from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider
from aioproviders.sdk.http.messages import PlainRequest, Target
from aioproviders.sdk.http.pooled_client import PooledClient
from aioproviders.testing.faults import FaultServer


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A certificate authority, its CA file, a server's and a client's certificate on disk."""
    folder = tmp_path_factory.mktemp("tls")
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    client = ca.issue_cert("client@example.com")
    client.private_key_pem.write_to_path(folder / "client.key")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    return folder


@pytest.fixture(scope="session")
def tls_server(authority):
    """A fault server that speaks TLS and asks for a certificate."""
    with FaultServer(certificate=authority / "server.pem", client_ca=authority / "ca.pem") as server:
        yield server


def tls(authority, **more):
    return {
        "verify": str(authority / "ca.pem"),
        "client_certificate": str(authority / "client.pem"),
        "client_key": str(authority / "client.key"),
        **more,
    }


TRANSPORTS = pytest.mark.parametrize("transport", ["aiohttp", "httpx"])


@TRANSPORTS
async def test_mutual_tls(make_http, tls_server, authority, transport):
    """A CA file and a client's certificate are used by either transport."""
    provider = await make_http(api_endpoint=tls_server.url, transport=transport, **tls(authority))
    response = await provider.make_request("/echo")
    assert response.success, response.error


@TRANSPORTS
async def test_unknown_authority_is_refused_once(make_http, tls_server, authority, transport):
    """A certificate that can't be verified is one clear message with host and port, not retried."""
    provider = await make_http(api_endpoint=tls_server.url, transport=transport)
    response = await provider.make_request("/echo", method="GET")
    assert "CERTIFICATE_VERIFY_FAILED" in response.error
    assert tls_server.url.removeprefix("https://") in response.error
    assert "\n" not in response.error
    assert (response.attempts, response.error_detail.sent) == (1, False)


@TRANSPORTS
async def test_verification_can_be_switched_off(make_http, tls_server, authority, transport):
    """``verify=False`` asks nobody who the server is."""
    provider = await make_http(
        api_endpoint=tls_server.url, transport=transport, **tls(authority, verify=False)
    )
    assert (await provider.make_request("/echo")).success


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"verify": "/nowhere/ca.pem"}, "verify /nowhere/ca.pem should be readable PEM files"),
        (
            {"client_certificate": "/nowhere/c.pem", "client_key": "/nowhere/k.pem"},
            "client_key /nowhere/k.pem",
        ),
    ],
)
async def test_unreadable_certificate_is_a_configuration_error(make_http, settings, said):
    """Files that are not there are named, when the provider starts."""
    with pytest.raises(ConfigurationError, match=said):
        await make_http(**settings)


async def test_protected_key_needs_its_password(make_http, authority, tls_server):
    """A key's password is used; without it, or with a wrong one, nothing is asked on a terminal."""
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key((authority / "client.key").read_bytes(), None)
    locked = authority / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"canary"),
        )
    )
    settings = tls(authority, client_key=str(locked), api_endpoint=tls_server.url)
    assert (await (await make_http(**settings, client_key_password="canary")).make_request("/echo")).success
    for wrong in ({}, {"client_key_password": "canary-2"}):
        with pytest.raises(ConfigurationError, match="that fit together") as caught:
            await make_http(**settings, **wrong)
        assert "canary" not in str(caught.value)


@TRANSPORTS
async def test_proxy_carries_the_request(make_http, fault_server, transport):
    """Requests go to the proxy, with its credentials and the service's own."""
    proxy = fault_server.url.replace("://", "://user:canary@")
    provider = await make_http(
        api_endpoint="http://api.invalid/echo", proxy=proxy, transport=transport, api_key="k"
    )
    response = await provider.make_request("/x")
    assert response.success, response.error
    (seen,) = await fault_server.requests()
    assert seen.target == "http://api.invalid/echo/x"
    assert seen.header("proxy-authorization").startswith("Basic ")
    assert seen.header("authorization") == "Bearer k"


@TRANSPORTS
async def test_dead_proxy_is_not_sent(make_http, fault_server, transport):
    """A proxy that is not there is told without its credentials; nothing was sent."""
    proxy = fault_server.refused_url.replace("://", "://user:canary@")
    provider = await make_http(proxy=proxy, transport=transport, retry_attempts=2)
    response = await provider.make_request("/x")
    assert (response.error_detail.code, response.error_detail.sent) == ("unavailable", False)
    assert response.attempts == 2
    assert "canary" not in response.model_dump_json()


async def test_http2_is_offered(make_http, fault_server):
    """HTTP/2 is a matter of the httpx transport, and falls back to 1.1."""
    provider = await make_http(transport="httpx", http2=True)
    assert (await provider.make_request("/echo")).success
    assert (await provider.get_capabilities())["http_versions"] == ["1.1", "2"]


@pytest.mark.parametrize(
    ("settings", "missing", "line"),
    [
        ({"http2": True}, "h2", "pip install 'httpx[http2]'"),
        ({"proxy": "socks5://127.0.0.1:1"}, "socksio", "pip install 'httpx[socks]'"),
    ],
)
async def test_missing_package_names_the_line_to_install_it(make_http, monkeypatch, settings, missing, line):
    """An optional package that is not there is one error with the pip line."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(ConfigurationError) as caught:
        await make_http(transport="httpx", **settings)
    assert line in str(caught.value)


async def test_socks_proxy_is_taken(make_http, fault_server):
    """With its package there, a SOCKS proxy is tried."""
    proxy = fault_server.refused_url.replace("http://", "socks5://")
    provider = await make_http(transport="httpx", proxy=proxy, retry_attempts=1)
    assert (await provider.make_request("/x")).error_detail.code == "unavailable"


async def test_pool_limits_are_the_configs(make_http, fault_server):
    """No more connections are open than the config says, and they are kept."""
    provider = await make_http(max_connections=3, max_keepalive_connections=1)
    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(provider.make_request, "/delay?seconds=0.05")
        with anyio.fail_after(5):
            while provider._client._plain.waiting < 9:  # noqa: ASYNC110 - the queue sets no event
                await anyio.sleep(0.001)
        assert provider._client._plain.in_use == 3
        assert await fault_server.open_connections() <= 3
    with anyio.fail_after(5):
        while provider._client._plain.open_connections > 1:  # noqa: ASYNC110 - sockets set no event
            await anyio.sleep(0.005)
    await fault_server.reset()
    await provider.make_request("/echo")
    await provider.make_request("/echo")
    first, second = await fault_server.requests()
    assert first.connection == second.connection


async def test_one_client_from_start_to_end(make_http):
    """The client is made once, when the provider starts, and closed with it."""
    provider = await make_http()
    client = provider._client
    assert isinstance(client, PooledClient)
    await provider.make_request("/echo")
    assert provider._client is client
    await provider.cleanup()
    assert client.is_closed


async def test_subclass_that_forgets_to_start_is_told(fault_server):
    """An ``initialize`` that does not call its parent's is named as what is wrong."""

    class Forgetful(HTTPSDKProvider):
        async def initialize(self):
            self.ready = True

    async with Forgetful(HTTPSDKConfig(name="api", version="1", api_endpoint=fault_server.url)) as provider:
        response = await provider.make_request("/echo")
    assert "its initialize() was not run" in response.error


async def test_cleanup_of_what_was_never_started():
    """Closing copes with a provider that was not used."""
    await HTTPSDKProvider(HTTPSDKConfig(name="api", version="1", api_endpoint="http://h")).cleanup()


class TestGivenClient:
    """A client of the user's own."""

    async def test_it_is_used_with_what_it_brings(self, make_http, fault_server):
        """Its headers and cookies go along, its hooks run, and it stays open."""
        hooked = []

        async def hook(request):
            hooked.append(request.method)

        async with httpx.AsyncClient(
            headers={"X-Own": "1"}, cookies={"c": "2"}, event_hooks={"request": [hook]}
        ) as client:
            provider = await make_http(client=client, api_key="k")
            response = await provider.make_request("/echo", {"a": 1})
            assert response.success
            assert (await provider.get_capabilities())["transport"] == "given"
            await provider.cleanup()
            assert not client.is_closed
        (seen,) = await fault_server.requests()
        assert (seen.header("x-own"), seen.header("cookie"), hooked) == ("1", "c=2", ["POST"])
        assert (seen.header("authorization"), seen.body) == ("Bearer k", '{"a":1}')

    @pytest.mark.parametrize(("settings", "sent"), [({}, "Basic dTpw"), ({"api_key": "k"}, "Bearer k")])
    async def test_its_authentication_holds_unless_the_config_has_one(
        self, make_http, fault_server, settings, sent
    ):
        """The config's credentials come before the client's."""
        async with httpx.AsyncClient(auth=("u", "p")) as client:
            await (await make_http(client=client, **settings)).make_request("/echo")
        assert (await fault_server.requests())[0].header("authorization") == sent

    async def test_its_redirects_and_headers_stay_with_the_origin(self, make_http, answer_with):
        """A client that follows redirects does not: neither its headers reach another origin."""
        other = await answer_with((200, {}))
        server = await answer_with((302, {"Location": other.url}))
        async with httpx.AsyncClient(follow_redirects=True, headers={"X-API-Key": "canary"}) as client:
            provider = await make_http(client=client, api_endpoint=server.url)
            response = await provider.make_request("/", method="GET")
        assert "it leaves the origin" in response.error
        assert other.seen == []

    async def test_token_requests_carry_nothing_of_it(self, make_http, fault_server):
        """The token's endpoint, elsewhere, sees neither its headers nor its cookies nor its auth."""
        auth = {
            "type": "oauth2",
            "token_url": f"{fault_server.url}/token",
            "client_id": "client",
            "client_secret": "secret",
        }
        async with httpx.AsyncClient(headers={"X-Own": "1"}, cookies={"c": "2"}, auth=("u", "p")) as client:
            provider = await make_http(client=client, auth=auth)
            assert (await provider.make_request("/protected")).success
        (token,) = await fault_server.requests("/token")
        assert (token.header("x-own"), token.header("cookie")) == (None, None)
        assert "dTpw" not in token.header("authorization")

    async def test_bounds_hold_for_it_too(self, make_http):
        """Large responses are refused whichever client reads them."""
        async with httpx.AsyncClient() as client:
            provider = await make_http(client=client, max_response_bytes=1000)
            assert "more than 1000 bytes" in (await provider.make_request("/bomb?bytes=200000")).error

    async def test_streams_and_pages_through_it(self, make_http):
        """All else works as well."""
        async with httpx.AsyncClient() as client:
            provider = await make_http(client=client)
            assert len([e async for e in provider.stream_request("/sse", as_="events")]) == 3
            assert len([i async for i in provider.paginate("/pages?style=link")]) == 6
            assert (await provider.health_check())["status"] == "healthy"

    async def test_closed_client_is_an_error(self, make_http):
        """A client closed by its owner is told, not retried."""
        client = httpx.AsyncClient()
        await client.aclose()
        response = await (await make_http(client=client)).make_request("/echo", method="GET")
        assert "client has been closed" in response.error
        assert response.attempts == 1


async def test_the_host_of_a_given_client_is_its_own(make_http, fault_server):
    """A client of the user's that names another Host keeps it."""
    async with httpx.AsyncClient(headers={"Host": "virtual.example"}) as client:
        provider = await make_http(client=client)
        await provider.make_request("/echo", method="GET")
        await provider.health_check()
    assert {seen.header("host") for seen in await fault_server.requests()} == {"virtual.example"}


async def test_hooks_of_a_given_client_reach_what_is_sent(fault_server):
    """A header that a request hook adds is sent, through the pooled client too."""

    async def sign(request):
        request.headers["x-signed"] = "yes"

    async with PooledClient(event_hooks={"request": [sign]}) as client:
        await client.send(PlainRequest("GET", Target(f"{fault_server.url}/echo"), {"host": "a"}, b"", {}))
    (seen,) = await fault_server.requests()
    assert (seen.header("x-signed"), seen.header("host")) == ("yes", "a")
