"""The SDK kind: providers that make requests of a service.

Here are the interface and its models; the drivers are modules of their own beside it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, SecretStr, field_validator
from typing_extensions import TypeVar

from aioproviders.calls import Call
from aioproviders.config import ProviderConfig
from aioproviders.errors import ProviderError, RequestError
from aioproviders.limits import RateLimiter
from aioproviders.operations import operation
from aioproviders.provider import BaseProvider, ProviderType
from aioproviders.results import OperationResult

__all__ = ["SDKConfig", "SDKProvider", "SDKResponse"]


class SDKConfig(ProviderConfig):
    """Configuration of SDK providers.

    Attributes:
        api_endpoint: Base URL, or whatever the package behind it takes for one.
        api_key: Credential; shown nowhere.
        rate_limit: Requests per second, counted per attempt; None, or 0 where a file can't say None,
            is unlimited.
        rate_limit_burst: Requests that may come on top of `rate_limit` within a second; by default
            a tenth of it, at least 1.
    """

    api_endpoint: Annotated[str, Field(min_length=1)]
    api_key: SecretStr | None = None
    timeout_ms: int = 10_000
    retry_attempts: int = 3
    rate_limit: int | None = 100
    rate_limit_burst: int | None = None

    @field_validator("rate_limit")
    @classmethod
    def _zero_is_unlimited(cls, value: int | None) -> int | None:
        if value is not None and value < 0:
            raise ValueError("should be 0 (unlimited) or more")
        return value or None

    @field_validator("rate_limit_burst")
    @classmethod
    def _burst_at_least_one(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("should be 1 or more")
        return value


class SDKResponse(OperationResult):
    """What a request came to.

    Attributes:
        success: Whether it worked; if not, `error` and `error_detail` say why.
        data: The answer: parsed JSON, or text or bytes where it was not JSON.
        error: What went wrong, in one line.
        latency_ms: From the call to its end, all attempts and waits included.
        request_id: The service's id of the request, or the call's own.
        status_code: HTTP status, where there is one.
        headers: The answer's headers, names in lower case.
        attempts: Attempts made.
        error_detail: The error as data.
    """

    data: Any = None
    error: str | None = None
    latency_ms: int
    request_id: str
    status_code: int | None = None
    headers: Mapping[str, str] = {}
    attempts: int = 1

    @classmethod
    def from_error(cls, error: ProviderError, call: Call) -> Self:
        """Make the response of a call that failed with `error`."""
        response = cls(
            success=False,
            error=error.message,
            latency_ms=round(call.elapsed * 1000),
            request_id=call.id,
            status_code=error.status_code,
            attempts=call.attempt,
        )
        return response.because_of(error)

    def _plain_error(self) -> ProviderError:
        message = self.error or "the request failed"
        return RequestError(message, status_code=self.status_code, attempts=self.attempts)


SDKConfigT = TypeVar("SDKConfigT", bound=SDKConfig, default=SDKConfig)


class SDKProvider(BaseProvider[SDKConfigT]):
    """Interface of SDK providers."""

    provider_type: ClassVar[ProviderType | None] = ProviderType.SDK

    @operation(failure=SDKResponse.from_error)
    @abstractmethod
    async def make_request(self, endpoint: str, data: dict[str, Any] | None = None) -> SDKResponse:
        """Make a request. A failure comes back as a response with ``success=False``.

        Args:
            endpoint: What to call: a path below ``api_endpoint``, or a method of the package.
            data: What to send.
        """

    @operation(idempotent=True)
    @abstractmethod
    async def authenticate(self, credentials: dict[str, str]) -> bool:
        """Try `credentials` on the service: True where they are right, False where they are wrong.

        Raises:
            ProviderError: That could not be found out.
        """

    @operation(idempotent=True)
    @abstractmethod
    async def get_capabilities(self) -> dict[str, Any]:
        """Tell what this provider, and the service behind it, can do."""

    def _make_rate_limiter(self) -> RateLimiter | None:
        config = self.config
        return RateLimiter(config.rate_limit, config.rate_limit_burst) if config.rate_limit else None
