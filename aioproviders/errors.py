"""Every error this library raises, in one tree.

    ProviderError
    ├── ConfigurationError (ValueError)               settings or credentials that can't work
    ├── ProviderNotFoundError (ValueError, LookupError)  no such provider or driver
    ├── ProviderStateError                            used while closing, closed or disabled
    ├── ProviderTimeoutError (TimeoutError)           an attempt, or the whole call, took too long
    ├── ProviderUnavailableError (ConnectionError)    the other side could not be reached
    ├── AuthenticationError                           the other side refused the credentials
    ├── RateLimitedError                              too many requests, here or there
    ├── CircuitOpenError                              not tried: the circuit breaker is open
    ├── RequestError                                  the other side answered with a failure
    ├── ConflictError                                 the state there changed, or belongs to another
    ├── NotFoundError                                 the thing asked for is not there
    └── UnsupportedCapabilityError                    this driver can't do that

Foreign exceptions are translated into one of these where they enter, with the original as
``__cause__``. All of them survive ``pickle`` and carry no secrets.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

__all__ = [
    "AuthenticationError",
    "CircuitOpenError",
    "ConfigurationError",
    "ConfigurationWarning",
    "ConflictError",
    "ErrorDetail",
    "NotFoundError",
    "ProviderError",
    "ProviderNotFoundError",
    "ProviderStateError",
    "ProviderTimeoutError",
    "ProviderUnavailableError",
    "RateLimitedError",
    "Reason",
    "RequestError",
    "UnsupportedCapabilityError",
]

Reason = Literal["attempts", "deadline", "budget", "non_retryable", "circuit"]
"""Why a call was given up: no attempt left, no time left, no retry budget left, not worth or not
safe to repeat, or not let through by the circuit breaker."""


class ConfigurationWarning(UserWarning):
    """Settings that are valid one by one but can't all take effect together."""


class ProviderError(Exception):
    """Base of all errors of this library.

    Args:
        message: What happened, in one line.
        provider: Name of the provider, filled in by the framework.
        operation: Name of the method, filled in by the framework.
        retryable: Whether the same call may work later; by default what the class says.
        sent: False where the request surely was not acted upon (never sent, or refused), so that
            any operation, a write too, may be repeated.
        attempts: Attempts made, 0 where there was none.
        elapsed: Seconds since the call began.
        reason: Why the call was given up; None while it has not been.
        status_code: The status the other side answered with, if it did.
        retry_after: Seconds the other side, or the circuit breaker, asks to wait.
        outage: Whether the circuit breaker takes it for a sign that the other side is down; by default
            what the status code says, or the class.
    """

    code: ClassVar[str] = "provider_error"
    """Stable name of the kind of error, for logs and structured results."""
    retryable_by_default: ClassVar[bool] = False
    counts_as_outage: ClassVar[bool] = True
    """Whether the circuit breaker takes it for a sign that the other side is down."""

    def __init__(  # noqa: PLR0913 - an error has as many facts, all of them optional
        self,
        message: str = "",
        *,
        provider: str | None = None,
        operation: str | None = None,
        retryable: bool | None = None,
        sent: bool = True,
        attempts: int = 0,
        elapsed: float = 0.0,
        reason: Reason | None = None,
        status_code: int | None = None,
        retry_after: float | None = None,
        outage: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.operation = operation
        self.retryable = self.retryable_by_default if retryable is None else retryable
        self.sent = sent
        self.attempts = attempts
        self.elapsed = elapsed
        self.reason = reason
        self.status_code = status_code
        self.retry_after = retry_after
        self.outage = outage

    def __str__(self) -> str:
        where = ".".join(part for part in (self.provider, self.operation) if part)
        count = f" ({self.attempts} attempts in {self.elapsed:.2f} s)" if self.attempts > 1 else ""
        return f"{where}: {self.message}{count}" if where else f"{self.message}{count}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)

    @property
    def is_outage(self) -> bool:
        """Whether the circuit breaker counts it: not for answers 4xx, nor for mistakes on this side."""
        if self.outage is not None:
            return self.outage
        if self.status_code is not None and 400 <= self.status_code < 500:  # noqa: PLR2004 - RFC 9110, 15.5
            return False
        return self.counts_as_outage


def _rebuild(cls: type[ProviderError], args: tuple[Any, ...], state: dict[str, Any]) -> ProviderError:
    # A subclass may have a constructor of its own, so unpickling goes around it.
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(ProviderError, ValueError):
    """Settings or credentials that can't work; says where and what would be right."""

    code = "configuration"
    counts_as_outage = False


class ProviderNotFoundError(ProviderError, ValueError, LookupError):
    """No provider or driver of that name; names near matches."""

    code = "provider_not_found"
    counts_as_outage = False


class ProviderStateError(ProviderError):
    """The provider is closing, closed or disabled, or the call does not fit its state."""

    code = "provider_state"
    counts_as_outage = False


class ProviderTimeoutError(ProviderError, TimeoutError):
    """An attempt ran into its timeout, or the whole call into its deadline (``reason="deadline"``)."""

    code = "timeout"
    retryable_by_default = True


class ProviderUnavailableError(ProviderError, ConnectionError):
    """The other side could not be reached, or dropped the connection."""

    code = "unavailable"
    retryable_by_default = True


class AuthenticationError(ProviderError):
    """The credentials are missing, wrong, expired or not enough."""

    code = "authentication"
    counts_as_outage = False


class RateLimitedError(ProviderError):
    """Too many requests; ``retry_after`` (seconds) says when to come back, where that is known."""

    code = "rate_limited"
    retryable_by_default = True
    counts_as_outage = False


class CircuitOpenError(ProviderError):
    """Not tried, since the circuit breaker is open for another ``retry_after`` seconds.

    ``retry_after`` is None while the breaker waits for its probe, as long as that may take.
    """

    code = "circuit_open"
    counts_as_outage = False


class RequestError(ProviderError):
    """The other side answered with a failure, told by ``status_code``, or with what can't be read."""

    code = "request_failed"


class ConflictError(ProviderError):
    """The state on the other side changed meanwhile, or belongs to somebody else."""

    code = "conflict"
    counts_as_outage = False


class NotFoundError(ProviderError):
    """The thing asked for is not there."""

    code = "not_found"
    counts_as_outage = False


class UnsupportedCapabilityError(ProviderError):
    """This driver, or the other side, can't do what was asked."""

    code = "unsupported_capability"
    counts_as_outage = False


class ErrorDetail(BaseModel):
    """A `ProviderError` as data: what a result model carries when ``success`` is False.

    It is what its fields say: that it may know the error itself makes it no other.
    """

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    provider: str | None = None
    operation: str | None = None
    retryable: bool = False
    sent: bool = True
    attempts: int = 0
    elapsed: float = 0.0
    reason: Reason | None = None
    status_code: int | None = None
    retry_after: float | None = None
    outage: bool | None = None
    _error: ProviderError | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        """Whether it is of the same class with the same fields."""
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    @classmethod
    def from_error(cls, error: ProviderError) -> Self:
        """Copy the fields of `error`."""
        detail = cls.model_validate({**vars(error), "code": error.code})
        detail._error = error  # noqa: SLF001 - of this class
        return detail

    @property
    def error(self) -> ProviderError:
        """The error itself where it is known, otherwise one of the same class with the same fields."""
        known = self._error
        # A copy may say something else than the error that it was made of.
        return known if known is not None and type(self).from_error(known) == self else self.to_error()

    def __getstate__(self) -> dict[str, Any]:
        # Data is what travels: an error may hold what can't.
        return {**super().__getstate__(), "__pydantic_private__": {"_error": None}}

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self  # frozen

    def to_error(self) -> ProviderError:
        """Build the error again, of the class that `code` names (`ProviderError` for a stranger's)."""
        fields = self.model_dump(exclude={"code", "message"})
        return _by_code().get(self.code, ProviderError)(self.message, **fields)


def _by_code() -> dict[str, type[ProviderError]]:
    return {cls.code: cls for cls in ProviderError.__subclasses__() if cls.__module__ == __name__}
