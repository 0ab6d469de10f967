"""Who we are to the service: what the config says, what a user tries, and the headers that come of it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import httpx
from pydantic import SecretStr, ValidationError

from aioproviders.errors import ConfigurationError
from aioproviders.sdk.http.config import (
    FIELD_VALUE,
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    HTTPSDKConfig,
    OAuth2Auth,
)

__all__ = ["auth_headers", "auth_of", "auth_with", "basic"]


def auth_of(config: HTTPSDKConfig) -> Auth | None:
    """Return how the config says to authenticate, its keys and tokens filled in."""
    auth = config.auth
    if isinstance(auth, BearerAuth):
        return auth if auth.token is not None else auth.model_copy(update={"token": config.api_key})
    if isinstance(auth, ApiKeyAuth):
        return auth if auth.key is not None else auth.model_copy(update={"key": config.api_key})
    if auth is not None:
        return auth
    if config.api_key is not None:
        return BearerAuth(token=config.api_key)
    user, _, password = httpx.URL(config.api_endpoint).userinfo.decode("ascii").partition(":")
    return BasicAuth(username=unquote(user), password=SecretStr(unquote(password))) if user else None


def auth_with(auth: Auth | None, credentials: Mapping[str, Any]) -> Auth:
    """Return `auth` with other credentials; without one, what the credentials' names suggest.

    Args:
        auth: How the provider authenticates.
        credentials: ``username`` and ``password``; ``client_id`` and ``client_secret``; or ``api_key``.

    Raises:
        ConfigurationError: Some are missing, too many, or can't be sent.
    """
    names = set(credentials)
    if isinstance(auth, OAuth2Auth):
        needed = {"client_id", "client_secret"}
    elif isinstance(auth, BasicAuth) or (auth is None and "username" in names):
        needed = {"username", "password"}
    else:
        needed = {"token"} if "token" in names and not isinstance(auth, ApiKeyAuth) else {"api_key"}
    if names != needed or not all(
        isinstance(value, str) and (value or name == "password") for name, value in credentials.items()
    ):
        given = ", ".join(sorted(map(str, names))) or "none"
        raise ConfigurationError(
            f"credentials should be the texts {' and '.join(sorted(needed))}, not {given}"
        )
    if needed & {"token", "api_key"}:
        (secret,) = credentials.values()
        if not FIELD_VALUE.fullmatch(secret):
            raise ConfigurationError("credentials: a key or token should be one line of printable ASCII")
        if isinstance(auth, ApiKeyAuth):
            return auth.model_copy(update={"key": SecretStr(secret)})
        return BearerAuth(token=SecretStr(secret))
    try:
        if isinstance(auth, OAuth2Auth):
            return OAuth2Auth.model_validate({**dict(auth), **credentials})
        return BasicAuth.model_validate(dict(credentials))
    except ValidationError:
        raise ConfigurationError("credentials: a username should have no colon") from None


def auth_headers(auth: Auth | None) -> dict[str, str]:
    """Return the headers that carry the credentials, name in lower case; none for OAuth 2."""
    if isinstance(auth, BearerAuth) and auth.token is not None:
        return {"authorization": f"Bearer {auth.token.get_secret_value()}"}
    if isinstance(auth, ApiKeyAuth) and auth.key is not None:
        return {auth.header.lower(): auth.key.get_secret_value()}
    if isinstance(auth, BasicAuth):
        return {"authorization": basic(auth.username, auth.password.get_secret_value())}
    return {}


def basic(user: str, password: str) -> str:
    """Return the value of a basic ``Authorization`` (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
