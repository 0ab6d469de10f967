"""The HTTP provider against httpbin, a server that nobody here wrote."""

import pytest


@pytest.fixture
async def httpbin(make_http, httpbin_url):
    """Makes providers of httpbin."""

    async def make(**settings):
        return await make_http(api_endpoint=httpbin_url, **settings)

    return make


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_methods(httpbin, method):
    """Each method arrives, with its data in the query or as JSON."""
    response = await (await httpbin()).make_request(f"/{method.lower()}", {"a": "ü"}, method=method)
    assert response.success, response.error
    if method in {"GET", "DELETE"}:
        assert response.data["args"] == {"a": "ü"}
    else:
        assert response.data["json"] == {"a": "ü"}


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("/basic-auth/user/pa%3Ass", {"auth": {"type": "basic", "username": "user", "password": "pa:ss"}}),
        ("/bearer", {"api_key": "anything"}),
    ],
)
async def test_authentication(httpbin, path, settings):
    """Httpbin's own checks take our credentials, and refuse none at all."""
    assert (await (await httpbin(**settings)).make_request(path, method="GET")).success
    response = await (await httpbin()).make_request(path, method="GET")
    assert response.error_detail.code == "authentication"


@pytest.mark.parametrize(("path", "key"), [("/gzip", "gzipped"), ("/deflate", "deflated")])
async def test_compression(httpbin, path, key):
    """Compressed answers come out as JSON."""
    assert (await (await httpbin()).make_request(path, method="GET")).data[key] is True


async def test_redirects(httpbin):
    """Relative and absolute redirects are followed to the end."""
    provider = await httpbin()
    assert (await provider.make_request("/redirect/3", method="GET")).data["url"].endswith("/get")
    assert (await provider.make_request("/absolute-redirect/2", method="GET")).success
    assert (
        "leaves the origin"
        in (await provider.make_request("/redirect-to?url=http://other.invalid/", method="GET")).error
    )


async def test_content_types(httpbin):
    """Text is text, an image is bytes, JSON is parsed."""
    provider = await httpbin()
    assert "<!DOCTYPE html>" in (await provider.make_request("/html", method="GET")).data
    assert (await provider.make_request("/xml", method="GET")).data.startswith("<?xml")
    assert (await provider.make_request("/image/png", method="GET")).data.startswith(b"\x89PNG")
    assert "slideshow" in (await provider.make_request("/json", method="GET")).data


async def test_cookies_set_by_httpbin_are_not_sent_back(httpbin):
    """A cookie from a redirect is forgotten at once."""
    response = await (await httpbin()).make_request("/cookies/set?session=1", method="GET")
    assert response.data == {"cookies": {}}


async def test_streamed_lines(httpbin):
    """A chunked stream comes line by line."""
    provider = await httpbin()
    assert len([line async for line in provider.stream_request("/stream/5", as_="lines")]) == 5


async def test_health(httpbin):
    """Httpbin is healthy where it says so, and not where it does not."""
    assert (await (await httpbin()).health_check())["status"] == "healthy"
    assert (await (await httpbin(health_path="/status/204")).health_check())["status"] == "healthy"
    assert (await (await httpbin(health_path="/status/503")).health_check())["status"] == "unhealthy"
