"""What an HTTP status means as a `ProviderError`, and when to come back (RFC 9110, 10.2.3 and 15)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

from aioproviders.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    ProviderError,
    RateLimitedError,
    RequestError,
)

__all__ = ["CREDENTIALS_REFUSED", "error_of_status", "retry_after"]

CREDENTIALS_REFUSED = frozenset({401, 403})
"""Answers that say that the credentials are missing, wrong or not enough."""
_REFUSED = frozenset({408, 425, 429, 503})
"""Answers that say that the request was not acted upon."""
_CLASSES: Mapping[int, type[ProviderError]] = {
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    409: ConflictError,
    410: NotFoundError,
    412: ConflictError,
    429: RateLimitedError,
}
_SERVER_ERROR = 500
_SECONDS = re.compile(r"[+-]?\d+(?:\.\d+)?")
_VERY_LONG = 1e9  # seconds


def error_of_status(status: int, message: str, headers: Mapping[str, str]) -> ProviderError:
    """Return the error for an answer that is a failure.

    Args:
        status: HTTP status, 400 or more.
        message: What happened, in one line.
        headers: The answer's, names in lower case.
    """
    refused = status in _REFUSED
    return _CLASSES.get(status, RequestError)(
        message,
        status_code=status,
        retryable=refused or status >= _SERVER_ERROR,
        sent=not refused,
        retry_after=retry_after(headers),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks to wait; None if it is not there or can't be read.

    A date is taken relative to the response's own ``Date``, so that clocks need not agree.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return min(max(float(value), 0.0), _VERY_LONG)
    then = _timestamp(value)
    if then is None:
        return None
    now = _timestamp(headers.get("date", ""))
    return max(then - (time.time() if now is None else now), 0.0)


def _timestamp(value: str) -> float | None:
    try:
        then = parsedate_to_datetime(value)
        # A date without a zone is GMT (RFC 9110, 5.6.7).
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
