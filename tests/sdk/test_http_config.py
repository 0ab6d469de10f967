"""What `HTTPSDKConfig` accepts, and what it says to the rest."""

import pytest
from pydantic import SecretStr, ValidationError

from aioproviders.sdk.http import BearerAuth, HTTPSDKConfig, OAuth2Auth

BASE = {"name": "api", "version": "1", "api_endpoint": "https://api.example.com/v1"}
OAUTH = {
    "type": "oauth2",
    "token_url": "https://id.example.com/t",
    "client_id": "c",
    "client_secret": "canary",
}


def test_defaults_suit_most():
    """Endpoint, name and version are all that is needed."""
    config = HTTPSDKConfig(**BASE)
    assert (config.transport, config.max_connections, config.max_response_bytes) == (
        "aiohttp",
        100,
        10 * 1024**2,
    )
    assert (config.verify, config.http2, config.auth, config.propagate_trace) == (True, False, None, True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"api_endpoint": "ftp://x"}, "should be a URL that begins with http:// or https://"),
        ({"api_endpoint": "api.example.com"}, "should be a URL that begins with http:// or https://"),
        ({"api_endpoint": "http://"}, "the name or address of a host"),
        ({"api_endpoint": "http://h:65536/"}, "a port from 1 to 65535"),
        ({"api_endpoint": "http://a b"}, "the name or address of a host"),
        ({"api_endpoint": "http://h:canary/"}, "should be a URL such as https://host.example/path"),
        ({"api_endpoint": "http://h/?key=canary"}, "should have no query and no fragment"),
        ({"api_endpoint": "http://h/#canary"}, "should have no query and no fragment"),
        ({"http2": True}, 'http2 needs transport = "httpx": aiohttp speaks HTTP/1.1 only'),
        ({"transport": "carrier-pigeon"}, "'aiohttp' or 'httpx'"),
        ({"proxy": "ftp://u:canary@h"}, "proxy should be a URL that begins with http:// or https://"),
        ({"proxy": "socks5://u:canary@h"}, "proxy should be a URL that begins with http:// or https://"),
        ({"client_key": "k.pem"}, "belong to a client_certificate, which is missing"),
        ({"headers": {"X Bad": "canary"}}, "a header's name should be letters, digits and hyphens"),
        ({"headers": {"X-A": "canary\r\nX: y"}}, "the value of X-A should be one line of printable ASCII"),
        ({"headers": {"X-Token": SecretStr("canary\n")}}, "the value of X-Token should be one line"),
        ({"headers": {"X-A": 1}}, "the value of X-A should be one line"),
        ({"headers": "canary"}, "valid dictionary"),
        ({"api_key": "canary\n"}, "a key or token should be one line of printable ASCII"),
        (
            {"auth": {"type": "bearer"}},
            "auth of type bearer needs either api_key or auth.token, and not both",
        ),
        ({"auth": {"type": "bearer", "token": "canary"}, "api_key": "canary"}, "and not both"),
        ({"auth": {"type": "api_key"}}, "needs either api_key or auth.key"),
        ({"auth": {"type": "api_key", "header": "a b", "key": "canary"}}, "String should match pattern"),
        ({"auth": {"type": "basic", "username": "a:b", "password": "canary"}}, "String should match pattern"),
        (
            {"auth": {"type": "basic", "username": "a", "password": "canary"}, "api_key": "canary"},
            "api_key goes unused",
        ),
        ({"auth": {"type": "digest"}}, "'bearer', 'api_key', 'basic', 'oauth2'"),
        ({"auth": {**OAUTH, "token_url": "https://u:canary@h/"}}, "should carry no credentials"),
        ({"auth": {**OAUTH, "scope": "x"}}, "Extra inputs are not permitted"),
        (
            {"api_endpoint": "https://u:canary@h/", "api_key": "canary"},
            "credentials stand in api_endpoint and in auth",
        ),
        ({"idempotency_header": "a b"}, "String should match pattern"),
        ({"max_connections": 0}, "greater than or equal to 1"),
        ({"max_response_bytes": 0}, "greater than or equal to 1"),
        ({"connect_timeout_ms": 0}, "greater than 0"),
        ({"nonsense": 1}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_work_is_told_without_values(settings, said):
    """Each mistake says what would be right, and shows nothing of what was given."""
    with pytest.raises(ValidationError) as caught:
        HTTPSDKConfig(**{**BASE, **settings})
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)


def test_values_under_secret_names_are_kept_as_secrets():
    """A header whose name looks secret is a SecretStr; others stay readable."""
    config = HTTPSDKConfig(
        **BASE, headers={"X-API-Key": "canary", "X-Team": "blue", "X-Other": SecretStr("canary")}
    )
    assert config.headers["X-API-Key"] == SecretStr("canary")
    assert config.headers["X-Team"] == "blue"
    for shown in (repr(config), str(config), config.model_dump_json(), str(config.model_dump())):
        assert "canary" not in shown
        assert "blue" in shown


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "canary"},
        {"auth": OAUTH},
        {"auth": {"type": "basic", "username": "u", "password": "canary"}},
        {"auth": {"type": "api_key", "key": "canary"}},
        {"api_endpoint": "https://u:canary@h/"},
        {"proxy": "http://u:canary@h:1"},
        {"client_certificate": "c.pem", "client_key_password": "canary"},
    ],
)
def test_repr_shows_no_secret(settings):
    """No secret of any kind is in the config's repr."""
    config = HTTPSDKConfig(**{**BASE, **settings})
    assert "canary" not in repr(config) + str(config)


def test_config_is_frozen_in_depth():
    """Nothing in the config can be changed."""
    config = HTTPSDKConfig(**BASE, headers={"X-A": "b"}, auth=OAUTH)
    with pytest.raises(ValidationError):
        config.max_connections = 1
    with pytest.raises(ValidationError):
        config.auth.client_id = "x"
    with pytest.raises(TypeError):
        config.headers["X-A"] = "c"


def test_auth_is_told_apart_by_its_type():
    """The table's ``type`` decides on the class."""
    assert isinstance(HTTPSDKConfig(**BASE, auth=OAUTH).auth, OAuth2Auth)
    assert isinstance(HTTPSDKConfig(**BASE, auth={"type": "bearer"}, api_key="k").auth, BearerAuth)


def test_socks_proxy_is_for_httpx():
    """SOCKS works over httpx's own transport."""
    assert HTTPSDKConfig(**BASE, transport="httpx", proxy="socks5://h:1").proxy == "socks5://h:1"
