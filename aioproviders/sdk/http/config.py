"""What an HTTP provider is configured with: `HTTPSDKConfig` and the kinds of authentication."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator

from aioproviders.config import LocalPathText, Milliseconds, Settings
from aioproviders.redaction import is_secret_key
from aioproviders.sdk import SDKConfig

__all__ = ["ApiKeyAuth", "Auth", "BasicAuth", "BearerAuth", "HTTPSDKConfig", "OAuth2Auth"]

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""What a header's name is made of (RFC 9110, 5.6.2)."""
FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
"""What a header's value is made of (RFC 9110, 5.5, without the obsolete part)."""

_LAST_PORT = 65_535
# Names in any language, and addresses; no spaces, nor what stands for them.
_HOST = re.compile(r"[\w.\-]+|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%\w+)?")
_HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$")]


class BearerAuth(Settings):
    """``Authorization: Bearer …`` (RFC 6750); the token is the config's ``api_key`` unless given here."""

    type: Literal["bearer"] = "bearer"
    token: SecretStr | None = None


class ApiKeyAuth(Settings):
    """A key in a header of its own; it is the config's ``api_key`` unless given here."""

    type: Literal["api_key"] = "api_key"
    header: _HeaderName = "X-API-Key"
    key: SecretStr | None = None


class BasicAuth(Settings):
    """``Authorization: Basic …`` (RFC 7617)."""

    type: Literal["basic"] = "basic"
    username: Annotated[str, Field(pattern="^[^:]*$")]
    password: SecretStr


class OAuth2Auth(Settings):
    """A token from the client credentials grant (RFC 6749, 4.4), fetched when needed and kept.

    Attributes:
        token_url: Where tokens are to be had.
        client_id: The client's name there.
        client_secret: Its secret.
        scopes: What to ask for.
        audience: For services that want to know what the token is for.
        client_auth: How the client shows who it is: "basic" or in the "body" (RFC 6749, 2.3.1).
        expiry_margin_ms: How long before its end a token is replaced; at most half its life.
    """

    type: Literal["oauth2"] = "oauth2"
    token_url: str
    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr
    scopes: tuple[str, ...] = ()
    audience: str | None = None
    client_auth: Literal["basic", "body"] = "basic"
    expiry_margin_ms: Annotated[int, Field(ge=0)] = 30_000

    @field_validator("token_url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        if _url(value).userinfo:
            raise ValueError("should carry no credentials: they are client_id and client_secret")
        return value


Auth = Annotated[BearerAuth | ApiKeyAuth | BasicAuth | OAuth2Auth, Field(discriminator="type")]


class HTTPSDKConfig(SDKConfig):
    """Configuration of `aioproviders.sdk.http.HTTPSDKProvider`.

    Attributes:
        api_endpoint: Base URL; credentials in it are sent as basic authentication.
        api_key: Sent as bearer token, unless `auth` says otherwise.
        auth: How to authenticate: a table with ``type`` "bearer", "api_key", "basic" or "oauth2".
        headers: Sent with every request; values under names that look secret are kept as secrets.
        transport: What carries the requests. "httpx" is slower by far and its pool loses a
            connection now and then when requests are cancelled: it is there for HTTP/2.
        http2: Whether to offer HTTP/2; with transport "httpx" only.
        max_connections: Connections open at once.
        max_keepalive_connections: Idle ones to keep; None: as many as there may be.
        keepalive_expiry_ms: How long an idle one is kept.
        connect_timeout_ms: Limit of the wait for a free connection, and of making one; by default
            half the attempt's timeout, so that what was surely not sent is known as such.
        verify: True, False for no check of certificates at all, or the path of a CA file (PEM).
        client_certificate: Path of a certificate to show (PEM).
        client_key: Path of its key, unless that is in the same file.
        client_key_password: The key's password.
        proxy: URL of a proxy, credentials and all. Nothing is taken from the environment.
        max_response_bytes: Larger responses are refused; in streams it bounds a line and an event.
        health_path: What `health_check` gets, expecting 2xx; without it any sign of life will do.
        auth_check_path: What `authenticate` gets: a path that is not open to everybody.
        openapi_path: Where the service's OpenAPI document (JSON) is.
        idempotency_header: Header in which every write carries a key, the same in all its attempts.
        propagate_trace: Whether to send ``traceparent`` (W3C Trace Context).
    """

    auth: Auth | None = None
    headers: Mapping[str, str | SecretStr] = {}
    transport: Literal["aiohttp", "httpx"] = "aiohttp"
    http2: bool = False
    max_connections: Annotated[int, Field(ge=1)] = 100
    max_keepalive_connections: Annotated[int, Field(ge=0)] | None = None
    keepalive_expiry_ms: Annotated[int, Field(ge=0)] = 15_000
    connect_timeout_ms: Milliseconds | None = None
    verify: bool | LocalPathText = True
    client_certificate: LocalPathText | None = None
    client_key: LocalPathText | None = None
    client_key_password: SecretStr | None = None
    proxy: str | None = None
    max_response_bytes: Annotated[int, Field(ge=1)] = 10 * 1024 * 1024
    health_path: str | None = None
    auth_check_path: str | None = None
    openapi_path: str | None = None
    idempotency_header: _HeaderName | None = None
    propagate_trace: bool = True

    @field_validator("api_endpoint")
    @classmethod
    def _base_url(cls, value: str) -> str:
        url = _url(value)
        if url.query or url.fragment:
            raise ValueError("should have no query and no fragment: give params with each request")
        return value

    @field_validator("headers", mode="before")
    @classmethod
    def _headers_that_can_be_sent(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        kept: dict[Any, Any] = {}
        for name, item in value.items():
            if not isinstance(name, str) or not TOKEN.fullmatch(name):
                raise ValueError("a header's name should be letters, digits and hyphens")
            text = item.get_secret_value() if isinstance(item, SecretStr) else item
            if not isinstance(text, str) or not FIELD_VALUE.fullmatch(text):
                raise ValueError(f"the value of {name} should be one line of printable ASCII")
            kept[name] = SecretStr(text) if is_secret_key(name) else item
        return kept

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.http2 and self.transport == "aiohttp":
            raise ValueError('http2 needs transport = "httpx": aiohttp speaks HTTP/1.1 only')
        if self.client_certificate is None and (self.client_key or self.client_key_password):
            raise ValueError(
                "client_key and client_key_password belong to a client_certificate, which is missing"
            )
        if self.proxy is not None:
            schemes = {"http", "https"} | ({"socks5", "socks5h"} if self.transport == "httpx" else set())
            _url(self.proxy, "proxy ", schemes)
        self._check_auth()
        return self

    def _check_auth(self) -> None:
        auth = self.auth
        own = (
            auth.token if isinstance(auth, BearerAuth) else auth.key if isinstance(auth, ApiKeyAuth) else None
        )
        if isinstance(auth, (BearerAuth, ApiKeyAuth)) and (own is None) == (self.api_key is None):
            where = "auth.token" if isinstance(auth, BearerAuth) else "auth.key"
            raise ValueError(f"auth of type {auth.type} needs either api_key or {where}, and not both")
        if isinstance(auth, (BasicAuth, OAuth2Auth)) and self.api_key is not None:
            raise ValueError(f"api_key goes unused with auth of type {auth.type}: leave one of them out")
        if (auth is not None or self.api_key is not None) and httpx.URL(self.api_endpoint).userinfo:
            raise ValueError(
                "credentials stand in api_endpoint and in auth or api_key too: leave one of them out"
            )
        for secret in (self.api_key, own):
            if secret is not None and not FIELD_VALUE.fullmatch(secret.get_secret_value()):
                raise ValueError("a key or token should be one line of printable ASCII")


def _url(
    value: str, what: str = "", schemes: frozenset[str] | set[str] = frozenset({"http", "https"})
) -> httpx.URL:
    # httpx's own message may quote a part of the URL.
    try:
        url = httpx.URL(value)
    except httpx.InvalidURL:
        raise ValueError(f"{what}should be a URL such as https://host.example/path") from None
    if url.scheme not in schemes:
        raise ValueError(
            f"{what}should be a URL that begins with {' or '.join(f'{s}://' for s in sorted(schemes))}"
        )
    if not _HOST.fullmatch(url.host):
        raise ValueError(f"{what}should be a URL with the name or address of a host after '://'")
    if url.port is not None and not 0 < url.port <= _LAST_PORT:
        raise ValueError(f"{what}should be a URL with a port from 1 to {_LAST_PORT}")
    return url
