"""What an answer to a health probe says of the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import httpx

from aioproviders.health import HealthStatus
from aioproviders.sdk.http.answers import read_failure
from aioproviders.sdk.http.drafts import Draft
from aioproviders.sdk.http.errors import error_of_answer
from aioproviders.sdk.http.exchange import succeeded
from aioproviders.sdk.statuses import CREDENTIALS_REFUSED

__all__ = ["verdict"]

_SERVER_ERROR = 500
_NOT_IMPLEMENTED = 501  # what many a server says to HEAD


def verdict(
    response: httpx.Response, draft: Draft, mask: Callable[[str], str], *, any_answer: bool
) -> Mapping[str, Any]:
    """Return the health that a response tells of.

    Args:
        response: The answer, read.
        draft: What was asked.
        mask: Masks secrets in a text.
        any_answer: Whether any answer below 500, and 501, is a sign of life; else it takes a 2xx.
    """
    status = response.status_code
    seen = {"status_code": status, "checked": str(draft)}
    if succeeded(response):
        return {"status": HealthStatus.HEALTHY, **seen}
    error = error_of_answer(read_failure(response, mask), str(draft)).message
    if status in CREDENTIALS_REFUSED:
        return {"status": HealthStatus.DEGRADED, "error": f"reachable, but unauthorised: {error}", **seen}
    if any_answer and (status < _SERVER_ERROR or status == _NOT_IMPLEMENTED):
        return {"status": HealthStatus.HEALTHY, **seen}
    return {"status": HealthStatus.UNHEALTHY, "error": error, **seen}
