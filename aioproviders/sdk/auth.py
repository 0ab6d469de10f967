"""Who we are to the service: headers made once, or an OAuth 2 token that is fetched, kept and replaced."""

from __future__ import annotations

import base64
import copy
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any
from urllib.parse import quote_plus, unquote, urlencode

import anyio
import httpx
from pydantic import SecretStr, ValidationError

from aioproviders.errors import AuthenticationError, ConfigurationError, ProviderError
from aioproviders.sdk.answers import Answer
from aioproviders.sdk.drafts import Draft
from aioproviders.sdk.http_config import (
    FIELD_VALUE,
    ApiKeyAuth,
    Auth,
    BasicAuth,
    BearerAuth,
    HTTPSDKConfig,
    OAuth2Auth,
)

__all__ = ["Token", "TokenSource", "auth_headers", "auth_of", "auth_with", "token_draft", "token_of"]


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
        return {"authorization": _basic(auth.username, auth.password.get_secret_value())}
    return {}


@dataclass(frozen=True, slots=True)
class Token:
    """A token and when to replace it, in seconds of `time.monotonic`; inf where the service did not say."""

    value: str
    replace_at: float

    def __repr__(self) -> str:
        return "<Token>"


class TokenSource:
    """Keeps one token, and has it fetched by one caller at a time, however many need it.

    Those who wait while a fetch fails get its error; when the caller that runs it is cancelled, the
    next one takes over.

    Args:
        fetch: Fetches a token.
        clock: Seconds, for tests to drive.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[Token]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._token: Token | None = None
        self._turn = anyio.Lock()
        self._failures = 0
        self._error: ProviderError | None = None

    async def get(self) -> str:
        """Return a token that has not expired, fetching one where there is none.

        Raises:
            ProviderError: That failed.
        """
        token = self._fresh()
        if token is not None:
            return token
        failures_before = self._failures
        async with self._turn:
            token = self._fresh()
            if token is not None:
                return token
            if self._error is not None and self._failures != failures_before:
                error = copy.copy(self._error)
                error.__cause__ = self._error.__cause__
                raise error
            try:
                self._token = await self._fetch()
            except ProviderError as error:
                self._failures += 1
                self._error = error
                raise
            return self._token.value

    def reject(self, value: str) -> None:
        """Forget a token that the service refused, unless it has been replaced already."""
        if self._token is not None and self._token.value == value:
            self._token = None

    def _fresh(self) -> str | None:
        token = self._token
        return token.value if token is not None and self._clock() < token.replace_at else None


def token_draft(auth: OAuth2Auth, headers: Mapping[str, str]) -> Draft:
    """Return the request for a token (RFC 6749, 4.4.2).

    Args:
        auth: Whose, and where.
        headers: What else to send; nothing that is secret to others than the token's endpoint.
    """
    form = {"grant_type": "client_credentials"}
    if auth.scopes:
        form["scope"] = " ".join(auth.scopes)
    if auth.audience is not None:
        form["audience"] = auth.audience
    secret = auth.client_secret.get_secret_value()
    merged = {**headers, "content-type": "application/x-www-form-urlencoded"}
    if auth.client_auth == "basic":
        merged["authorization"] = _basic(quote_plus(auth.client_id), quote_plus(secret))
    else:
        form |= {"client_id": auth.client_id, "client_secret": secret}
    return Draft("POST", httpx.URL(auth.token_url), merged, urlencode(form).encode("ascii"))


def token_of(answer: Answer, auth: OAuth2Auth, now: float) -> Token:
    """Read the token out of a successful answer (RFC 6749, 5.1).

    Raises:
        AuthenticationError: There is none, or of a type that is not "Bearer".
    """
    data = answer.data if isinstance(answer.data, Mapping) else {}
    value = data.get("access_token")
    if not isinstance(value, str) or not value or not FIELD_VALUE.fullmatch(value):
        raise AuthenticationError("the token endpoint's answer holds no access_token")
    if str(data.get("token_type", "bearer")).lower() != "bearer":
        raise AuthenticationError("the token endpoint's answer holds a token of a type other than Bearer")
    try:
        life = float(data.get("expires_in") or inf)
    except (TypeError, ValueError):
        life = inf
    return Token(value, now + life - min(auth.expiry_margin_ms / 1000, life / 2) if 0 < life < inf else inf)


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
