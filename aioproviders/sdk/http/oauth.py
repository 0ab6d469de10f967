"""OAuth 2 client credentials (RFC 6749, 4.4): a token that is fetched once for many, kept and replaced."""

from __future__ import annotations

import copy
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from math import inf
from urllib.parse import quote_plus, urlencode

import anyio
import httpx

from aioproviders.errors import AuthenticationError, ProviderError
from aioproviders.sdk.http.answers import Answer, read_answer, read_failure
from aioproviders.sdk.http.auth import basic
from aioproviders.sdk.http.config import FIELD_VALUE, OAuth2Auth
from aioproviders.sdk.http.drafts import Draft
from aioproviders.sdk.http.errors import error_of_answer
from aioproviders.sdk.http.messages import Target
from aioproviders.sdk.statuses import CREDENTIALS_REFUSED

__all__ = ["Token", "TokenSource", "ask_token"]

# RFC 6749, 5.2.
_BAD_REQUEST = 400
_REFUSALS = frozenset(
    {"invalid_client", "unauthorized_client", "invalid_grant", "access_denied"}
)  # RFC 6749, 5.2


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


async def ask_token(
    auth: OAuth2Auth,
    headers: Mapping[str, str],
    send: Callable[[Draft], Awaitable[httpx.Response]],
    mask: Callable[[str], str],
) -> Token:
    """Ask for a token.

    Args:
        auth: Whose, and where.
        headers: What else to send; nothing that is secret to others than the token's endpoint.
        send: Sends the request, whatever status comes back.
        mask: Masks secrets in a text.

    Raises:
        AuthenticationError: The client is not known, or may not have what it asks for.
        ProviderError: Anything else. What needs the token was not sent, so that it may go again.
    """
    draft = _draft(auth, headers)
    try:
        response = await send(draft)
        if response.is_success:
            return _token(read_answer(response, str(draft)), auth, time.monotonic())
        answer = read_failure(response, mask)
        error = error_of_answer(answer, f"{draft} for a token", attach=False)  # the caller asked for another
        said = answer.data.get("error") if isinstance(answer.data, Mapping) else None
        if answer.status in CREDENTIALS_REFUSED or (answer.status == _BAD_REQUEST and said in _REFUSALS):
            raise AuthenticationError(error.message, status_code=answer.status)
        raise error
    except ProviderError as error:
        error.sent = False
        raise


def _draft(auth: OAuth2Auth, headers: Mapping[str, str]) -> Draft:
    form = {"grant_type": "client_credentials"}
    if auth.scopes:
        form["scope"] = " ".join(auth.scopes)
    if auth.audience is not None:
        form["audience"] = auth.audience
    secret = auth.client_secret.get_secret_value()
    merged = {**headers, "content-type": "application/x-www-form-urlencoded"}
    if auth.client_auth == "basic":
        merged["authorization"] = basic(quote_plus(auth.client_id), quote_plus(secret))
    else:
        form |= {"client_id": auth.client_id, "client_secret": secret}
    return Draft("POST", Target(auth.token_url), merged, urlencode(form).encode("ascii"))


def _token(answer: Answer, auth: OAuth2Auth, now: float) -> Token:
    # RFC 6749, 5.1.
    data = answer.data if isinstance(answer.data, Mapping) else {}
    value = data.get("access_token")
    if not isinstance(value, str) or not value or not FIELD_VALUE.fullmatch(value):
        raise AuthenticationError("the token endpoint's answer holds no access_token")
    if str(data.get("token_type", "bearer")).lower() != "bearer":
        raise AuthenticationError("the token endpoint's answer holds a token of a type other than Bearer")
    try:
        life = max(float(data.get("expires_in", inf)), 0.0)
    except (TypeError, ValueError):
        life = inf
    return Token(value, inf if life == inf else now + life - min(auth.expiry_margin_ms / 1000, life / 2))
