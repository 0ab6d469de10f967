"""Health and capabilities of the HTTP provider."""

import json

import pytest

from aioproviders.errors import RequestError
from aioproviders.sdk.http.openapi import describe_service


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/echo", "healthy"),
        ("/status/404", "healthy"),
        ("/status/405", "healthy"),
        ("/status/429", "healthy"),
        ("/status/501", "healthy"),
        ("/status/401", "degraded"),
        ("/status/403", "degraded"),
        ("/status/500", "unhealthy"),
        ("/status/503", "unhealthy"),
        ("/reset", "error"),
        ("/hang", "timeout"),
    ],
)
async def test_any_sign_of_life_will_do_without_a_health_path(make_http, fault_server, path, status):
    """Without ``health_path`` only the head of the endpoint is asked for, and most answers are fine."""
    provider = await make_http(api_endpoint=fault_server.url + path, timeout_ms=600, retry_attempts=1)
    check = await provider.health_check()
    assert check["status"] == status
    assert [(r.method, r.target, r.body) for r in await fault_server.requests()] == [("HEAD", path, "")]
    assert ("error" in check) == (status != "healthy")


async def test_redirect_is_a_sign_of_life(make_http, fault_server):
    """Without ``health_path`` a redirect within the origin leads to an answer."""
    provider = await make_http(api_endpoint=fault_server.url + "/redirect")
    assert (await provider.health_check())["status"] == "healthy"


async def test_redirect_elsewhere_is_a_sign_of_life_and_not_followed(make_http, answer_with):
    """A service that sends us elsewhere is there; with a ``health_path`` that is not enough."""
    server = await answer_with((302, {"Location": "http://other.invalid/login"}))
    check = await (await make_http(api_endpoint=server.url)).health_check()
    assert (check["status"], check["details"]["status_code"]) == ("healthy", 302)
    check = await (await make_http(api_endpoint=server.url, health_path="/")).health_check()
    assert check["status"] == "error"
    assert "leaves the origin" in check["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/status/200", "healthy"),
        ("/status/204", "healthy"),
        ("/redirect?to=/echo", "healthy"),
        ("/status/404", "unhealthy"),
        ("/status/429", "unhealthy"),
        ("/status/500", "unhealthy"),
        ("/status/401", "degraded"),
    ],
)
async def test_health_path_must_be_fine(make_http, fault_server, path, status):
    """With ``health_path`` that is got, and nothing but 2xx is healthy."""
    provider = await make_http(health_path=path)
    check = await provider.health_check()
    assert check["status"] == status
    assert (await fault_server.requests())[0].method == "GET"
    if status == "unhealthy":
        assert check["error"].startswith(f"GET {path} was answered")
        assert check["details"]["status_code"] == int(path[-3:])


async def test_unauthorised_says_so(make_http):
    """A service that is there but refuses us is degraded, with the reason."""
    check = await (await make_http(health_path="/protected", api_key="wrong")).health_check()
    assert check["error"] == "reachable, but unauthorised: GET /protected was answered 401 Unauthorized"


async def test_unreachable_service_is_an_error_with_its_address(make_http, fault_server):
    """A refused connection is told with host and port."""
    provider = await make_http(api_endpoint=fault_server.refused_url, retry_attempts=1)
    check = await provider.health_check()
    assert check["status"] == "error"
    assert fault_server.refused_url.removeprefix("http://") in check["error"]


async def test_health_uses_credentials(make_http, fault_server):
    """The check is made as whom the provider is."""
    settings = {
        "type": "oauth2",
        "token_url": f"{fault_server.url}/token",
        "client_id": "client",
        "client_secret": "secret",
    }
    provider = await make_http(auth=settings, health_path="/protected")
    assert (await provider.health_check())["status"] == "healthy"


async def test_capabilities_tell_what_can_be_asked(make_http, fault_server):
    """Methods, authentication, limits and pool come from the config, without a request."""
    provider = await make_http(api_key="canary", max_connections=7)
    found = await provider.get_capabilities()
    assert "POST" in found["methods"]
    assert (found["auth"], found["transport"], found["pool"]["max_connections"]) == ("bearer", "aiohttp", 7)
    assert found["limits"]["max_response_bytes"] == 10 * 1024 * 1024
    assert found["service"] is None
    assert json.loads(json.dumps(found)) == found
    assert "canary" not in str(found)
    assert await fault_server.requests() == []


async def test_capabilities_list_the_services_operations_once_read(make_http, fault_server):
    """What the OpenAPI document lists is told, read once, and safe from the caller's hands."""
    provider = await make_http(openapi_path="/openapi.json")
    service = (await provider.get_capabilities())["service"]
    assert (service["title"], service["version"]) == ("Faults", "1.0.0")
    assert {"method": "POST", "path": "/echo", "operation_id": "send", "summary": None} in service[
        "operations"
    ]
    service["operations"].clear()
    assert (await provider.get_capabilities())["service"]["operations"]
    assert len(await fault_server.requests("/openapi.json")) == 1


@pytest.mark.parametrize("path", ["/echo", "/status/404", "/bytes"])
async def test_what_is_no_openapi_document_is_an_error(make_http, path):
    """A path that leads to something else is told, and read anew the next time."""
    provider = await make_http(openapi_path=path, retry_attempts=1)
    for _ in range(2):
        with pytest.raises(Exception, match=r"OpenAPI document|404") as caught:
            await provider.get_capabilities()
        assert caught.value.provider == "api"


def test_documents_with_holes_are_read_as_far_as_they_go():
    """Oddities in a document cost no more than themselves."""
    document = {
        "swagger": "2.0",
        "info": None,
        "paths": {"/a": {"get": None, "parameters": []}, "/b": None, "/c": {"put": {"summary": "Put"}}},
    }
    assert describe_service(document) == {
        "title": None,
        "version": None,
        "operations": [
            {"method": "GET", "path": "/a", "operation_id": None, "summary": None},
            {"method": "PUT", "path": "/c", "operation_id": None, "summary": "Put"},
        ],
    }
    with pytest.raises(RequestError):
        describe_service([])
