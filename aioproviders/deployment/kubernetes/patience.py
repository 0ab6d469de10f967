"""Requests that are made again and again until they work, as for what must be undone whatever happens."""

from __future__ import annotations

from typing import Any

import anyio

from aioproviders.deployment.kubernetes.api import Attempt
from aioproviders.errors import ProviderError

__all__ = ["Patience"]

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 2.0


class Patience:
    """Runs attempts for an `Api`; who calls bounds the time.

    Args:
        timeout: Limit of one attempt, in seconds.

    Attributes:
        error: Why the latest attempt failed; None where it did not.
    """

    def __init__(self, timeout: float) -> None:
        self.error: ProviderError | None = None
        self._timeout = timeout

    async def run(self, attempt: Attempt, idempotent: bool) -> Any:
        """Make a request.

        Raises:
            ProviderError: Trying again would not help, or might do it twice.
            TimeoutError: The attempt may have arrived, and must not be made twice.
        """
        wait = _FIRST_WAIT
        while True:
            try:
                with anyio.fail_after(self._timeout):
                    answer = await attempt()
            except ProviderError as error:
                self.error = error
                if not error.retryable or (error.sent and not idempotent):
                    raise
            except TimeoutError:
                if not idempotent:
                    raise
            else:
                self.error = None
                return answer
            await anyio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
