"""`BaseProvider`: what every provider is. Start reading here.

A provider is a class with a typed config and a few ``async`` methods. The interface marks those
methods with `operation`; whoever writes a provider overrides them as plain methods, and
`BaseProvider` wraps each override once, so that every call runs under the config's deadline,
limits, retries and timeout (`aioproviders.resilience`), is logged, and fails with a `ProviderError`
or, where the method returns a result model, with ``success=False``.

    NEW ──initialize──▶ STARTING ──▶ READY ──cleanup──▶ CLOSING ──▶ CLOSED

The first use initializes; nothing works once cleanup has begun.
"""

from __future__ import annotations

import inspect
import typing
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Any, ClassVar, Generic, Self

import anyio
from typing_extensions import TypeVar

from aioproviders.calls import Call
from aioproviders.config import ProviderConfig, fit
from aioproviders.errors import ProviderError, ProviderStateError, ProviderTimeoutError
from aioproviders.health import HealthCheck, HealthStatus, normalize
from aioproviders.lifecycle import Lifecycle, ProviderState
from aioproviders.limits import CircuitBreaker, CircuitState, RateLimiter, RetryBudget
from aioproviders.logs import ProviderLogger
from aioproviders.operations import Kind, Operation, operation, operations_of, wrap_operations
from aioproviders.redaction import Redactor, secrets_in
from aioproviders.resilience import NO_LIMITS, Limits, Policy, acquire_slot, execute, translate

__all__ = ["BaseProvider", "ProviderState", "ProviderType", "operation"]

ConfigT = TypeVar("ConfigT", bound=ProviderConfig, default=ProviderConfig)

_END: Any = object()


class ProviderType(StrEnum):
    """The kinds of providers."""

    DEPLOYMENT = "deployment"
    SDK = "sdk"
    MONITORING = "monitoring"
    STORAGE = "storage"
    CONFIGURATION = "configuration"


class BaseProvider(ABC, Generic[ConfigT]):
    """Base of all providers.

    Use it with ``async with provider``, or through a registry, or call `initialize` (the first use
    does, too) and, when done, `cleanup`.

    Args:
        config: An instance of `config_class`, or a `ProviderConfig` whose fields are all it needs.

    Attributes:
        config: The config.
        logger: Logs with the provider's name, the operation and the trace id, secrets masked.

    Raises:
        ConfigurationError: `config` is of the wrong class, or has overrides for unknown operations.
    """

    provider_type: ClassVar[ProviderType | None] = None
    """The kind of provider; the interface of the kind says."""
    config_class: ClassVar[type[ProviderConfig]] = ProviderConfig
    """The class of its config: from ``BaseProvider[SomeConfig]`` or from ``__init__``'s annotation."""
    _operations: ClassVar[Mapping[str, Operation]] = {}

    config: ConfigT
    logger: ProviderLogger

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "config_class" not in vars(cls):
            found = _config_class_of(cls)
            if found is not None:
                cls.config_class = found
        wrap_operations(cls)
        cls._operations = operations_of(cls)

    def __init__(self, config: ConfigT) -> None:
        self.config = typing.cast(
            "ConfigT", fit(config, self.config_class, type(self).__name__, self._operations)
        )
        self._redactor = Redactor(secrets_in(self.config))
        self.logger = ProviderLogger(type(self).__name__, self._redactor, provider=self.config.name)
        self._policies = {name: Policy.of(self.config.for_operation(name)) for name in self._operations}
        self._limits = self._make_limits()
        self._background_errors: dict[str, str] = {}
        self._lifecycle = Lifecycle(self._on_background_error)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.state}>"

    @property
    def name(self) -> str:
        """The name in the config."""
        return self.config.name

    @property
    def state(self) -> ProviderState:
        """Where the provider stands in its life."""
        return self._lifecycle.state

    # What a provider implements.

    @operation(idempotent=True, kind=Kind.INITIALIZE)
    @abstractmethod
    async def initialize(self) -> None:
        """Open what the provider needs; runs once, at the first use at the latest.

        When it fails or is cancelled, `cleanup` is run for what it had opened. It must not enter a
        task group or cancel scope that outlives it: background work goes through `spawn`.
        """

    @operation(idempotent=True, kind=Kind.HEALTH)
    @abstractmethod
    async def health_check(self) -> Mapping[str, Any]:
        """Say how the provider is, as a mapping with a ``status`` (see `HealthStatus`).

        Callers get a `HealthCheck`, and never an exception: one raised here becomes status
        ``error`` or ``timeout``.
        """

    @operation(idempotent=True, kind=Kind.CLEANUP)
    @abstractmethod
    async def cleanup(self) -> None:
        """Give back what `initialize` opened; must cope with what was never opened.

        Callers may call it any number of times; it runs once, shielded from cancellation, after the
        calls in flight have ended, each step within the config's ``timeout_ms``.
        """

    # What a provider may use.

    def spawn(self, function: Callable[..., Awaitable[Any]], *args: Any, name: str | None = None) -> None:
        """Run ``function(*args)`` in the background until it ends or the provider is closed.

        A failure is logged, and shows as degraded health.

        Raises:
            ProviderStateError: The provider is not in ``async with`` or a registry, or is closing.
        """
        self._lifecycle.spawn(function, args, name or str(getattr(function, "__name__", "background")))

    def conceal(self, *secrets: str) -> None:
        """Mask `secrets` that the config does not hold, such as a fetched token, in all that leaves."""
        self._redactor.add(*secrets)

    def _make_rate_limiter(self) -> RateLimiter | None:
        """Return the limiter of the provider's attempts; a kind whose config has a rate overrides it."""
        return None

    # What the framework does with it.

    async def __aenter__(self) -> Self:
        task_group = anyio.create_task_group()
        await task_group.__aenter__()
        self._lifecycle.task_group = task_group
        try:
            await self.initialize()
        except BaseException as error:
            await self._leave(error)
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave(exc)

    async def _leave(self, error: BaseException | None) -> None:
        task_group, self._lifecycle.task_group = self._lifecycle.task_group, None
        try:
            await self.cleanup()
        finally:
            if task_group is not None:
                task_group.cancel_scope.cancel()
                # Background tasks never raise, so all the group can hold is the body's own error,
                # which reaches the caller as it is.
                with suppress(BaseExceptionGroup):
                    await task_group.__aexit__(type(error) if error else None, error, None)

    def _make_limits(self) -> Limits:
        config = self.config
        return Limits(
            slots=anyio.Semaphore(config.max_concurrency, fast_acquire=True)
            if config.max_concurrency
            else None,
            budget=RetryBudget(config.retry_budget, config.retry_attempts) if config.retry_budget else None,
            breaker=(
                CircuitBreaker(config.circuit_breaker, on_change=self._on_circuit_change)
                if config.circuit_breaker
                else None
            ),
            rate=self._make_rate_limiter(),
        )

    async def _perform(
        self, op: Operation, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run an override; the wrappers of `aioproviders.operations` call this."""
        if op.kind is Kind.CALL:
            return await self._perform_call(op, function, args, kwargs)
        if op.kind is Kind.HEALTH:
            return await self._perform_health(op, function)
        if op.kind is Kind.INITIALIZE:
            return await self._perform_initialize(op, function)
        return await self._perform_cleanup(op, function)

    def _call(self, op: Operation) -> Call:
        policy = self._policies[op.name]
        return Call(self, self.config.name, op.name, idempotent=op.idempotent, deadline=policy.deadline)

    async def _perform_call(
        self, op: Operation, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        policy, limits, lifecycle = self._policies[op.name], self._limits, self._lifecycle
        call = self._call(op)
        with call.active():
            try:
                if lifecycle.state is not ProviderState.READY:
                    await self._make_ready(call)
                # A call made inside another one of this provider has that one's slot.
                slots = None if limits.slots is None or call.is_within(self) else limits.slots
                lifecycle.enter()
                try:
                    if slots is not None:
                        await acquire_slot(call, slots)
                    try:
                        result = await execute(
                            call, policy, limits, self.logger, function, self, *args, **kwargs
                        )
                    finally:
                        if slots is not None:
                            slots.release()
                finally:
                    lifecycle.leave()
            except ProviderError as error:
                self._complete(call, error)
                if isinstance(error.__cause__, TypeError):
                    inspect.signature(function).bind(
                        self, *args, **kwargs
                    )  # wrong arguments are the caller's mistake
                if op.failure is None or (isinstance(error, ProviderStateError) and not call.attempt):
                    raise
                return op.failure(error, call)
        self.logger.debug("operation.completed", operation=op.name, attempts=call.attempt)
        return result

    async def _perform_stream(
        self, op: Operation, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run an override that is an async generator; the current call is set only while it runs."""
        policy, limits, lifecycle = self._policies[op.name], self._limits, self._lifecycle
        call = self._call(op)
        source: AsyncGenerator[Any, None] | None = None
        slots: anyio.Semaphore | None = None
        lifecycle.enter()
        try:
            with call.active():
                if lifecycle.state is not ProviderState.READY:
                    await self._make_ready(call)
                if limits.slots is not None and not call.is_within(self):
                    await acquire_slot(call, limits.slots)
                    slots = limits.slots
                source, item = await execute(
                    call, policy, limits, self.logger, self._open_stream, policy, function, args, kwargs
                )
            while item is not _END:
                yield item
                with call.active():
                    item = await anext(source, _END)
        except Exception as exc:
            error = translate(exc)
            with call.active():
                self._complete(call, error)
            if error is exc:
                raise
            raise error from exc
        finally:
            try:
                if source is not None:
                    await _close_stream(source, policy)
            finally:
                if slots is not None:
                    slots.release()
                lifecycle.leave()

    async def _open_stream(
        self, policy: Policy, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[AsyncGenerator[Any, None], Any]:
        """Begin a stream and fetch its first item; up to here a retry may start over."""
        source = function(self, *args, **kwargs)
        try:
            return source, await anext(source, _END)
        except BaseException:
            await _close_stream(source, policy)
            raise

    async def _make_ready(self, call: Call) -> None:
        """Initialize, at the first use; within the call's deadline."""
        if call.is_within(self, "initialize"):
            return
        self._refuse()
        left = None if call.deadline is None else call.deadline - call.started
        with anyio.move_on_after(left) as scope:
            await self.initialize()
        if scope.cancelled_caught:
            raise ProviderTimeoutError(
                "the deadline of the call passed while the provider was starting",
                sent=False,
                reason="deadline",
            )

    def _refuse(self) -> None:
        self._lifecycle.refuse_if_closed()
        if not self.config.enabled:
            raise ProviderStateError("the provider is disabled by its config", sent=False)

    async def _perform_initialize(self, op: Operation, function: Callable[..., Any]) -> None:
        call = self._call(op)
        with call.active():
            try:
                self._refuse()
                if call.is_within(self, op.name):
                    raise ProviderStateError("initialize() called from within itself", sent=False)
                await self._lifecycle.start(lambda: self._start(call, op, function))
            except ProviderError as error:
                self._complete(call, error)
                raise

    async def _start(self, call: Call, op: Operation, function: Callable[..., Any]) -> None:
        await execute(
            call, self._policies[op.name], NO_LIMITS, self.logger, self._initialize_or_undo, function
        )
        self.logger.info("provider.initialized", attempts=call.attempt, elapsed_ms=_milliseconds(call))

    async def _initialize_or_undo(self, function: Callable[..., Any]) -> None:
        try:
            await function(self)
        except BaseException:
            op = self._operations["cleanup"]
            with self._call(op).active(), anyio.move_on_after(self._policies[op.name].timeout, shield=True):
                try:
                    await inspect.unwrap(type(self).cleanup)(self)
                except Exception as error:  # noqa: BLE001 - what made initialize fail is what the caller must see
                    self.logger.warning("provider.cleanup_failed", error=error)
            raise

    async def _perform_cleanup(self, op: Operation, function: Callable[..., Any]) -> None:
        call = self._call(op)
        with call.active():
            if call.is_within(self, "initialize"):
                await function(self)
                return
            already = self._lifecycle.state in (ProviderState.CLOSING, ProviderState.CLOSED)
            try:
                await self._lifecycle.close(
                    lambda: function(self), self._policies[op.name].timeout, drain=not call.is_within(self)
                )
            except ProviderError as error:
                self._complete(call, error)
                raise
            if not already:
                self.logger.info("provider.closed", elapsed_ms=_milliseconds(call))

    async def _perform_health(self, op: Operation, function: Callable[..., Any]) -> HealthCheck:
        if not self.config.enabled:
            return HealthCheck(status=HealthStatus.DISABLED)
        checked_at = datetime.now(UTC)
        call = self._call(op)
        # A probe must tell the truth when the breaker is open and all slots are taken, so it heeds neither.
        limits = Limits(rate=self._limits.rate)
        with call.active():
            self._lifecycle.enter()
            try:
                if self._lifecycle.state is not ProviderState.READY:
                    await self._make_ready(call)
                answer = await execute(call, self._policies[op.name], limits, self.logger, function, self)
                check = normalize(answer)
            except ProviderError as error:
                self._complete(call, error)
                status = (
                    HealthStatus.TIMEOUT if isinstance(error, ProviderTimeoutError) else HealthStatus.ERROR
                )
                check = HealthCheck(status=status, error=error.message)
            finally:
                self._lifecycle.leave()
        if self._background_errors and check["status"] is HealthStatus.HEALTHY:
            check["status"] = HealthStatus.DEGRADED
            check["error"] = "; ".join(
                f"background task {task}: {why}" for task, why in self._background_errors.items()
            )
        check.setdefault("latency_ms", _milliseconds(call))
        check.setdefault("checked_at", checked_at)
        check["attempts"] = call.attempt
        if "error" in check:
            check["error"] = self._redactor.text(check["error"])
        if "details" in check:
            check["details"] = self._redactor.value(check["details"])
        return check

    def _complete(self, call: Call, error: ProviderError) -> None:
        """Make a failed call's error fit to leave: say where it arose, without secrets; and log it."""
        seen_here = error.provider == self.name
        if error.provider is None:
            error.provider = self.name
            error.operation = call.operation
            error.attempts = call.attempt
            error.elapsed = call.elapsed
        message = self._redactor.text(error.message)
        if message != error.message:
            error.message = message
            error.args = (message, *error.args[1:])
        self._redactor.scrub(error)
        if seen_here:
            return
        self.logger.error(
            "operation.failed",
            code=error.code,
            error=error.message,
            reason=error.reason,
            attempts=error.attempts,
            elapsed_ms=_milliseconds(call),
        )

    def _on_circuit_change(self, state: CircuitState) -> None:
        self.logger.warning("circuit_breaker.changed", state=state)

    def _on_background_error(self, task: str, error: Exception) -> None:
        self._background_errors[task] = self._redactor.text(f"{type(error).__name__}: {error}")
        self.logger.error("background.failed", task=task, exc_info=error)


async def _close_stream(source: AsyncGenerator[Any, None], policy: Policy) -> None:
    with anyio.move_on_after(policy.timeout, shield=True):
        await source.aclose()


def _milliseconds(call: Call) -> float:
    return round(call.elapsed * 1000, 3)


def _config_class_of(cls: type[BaseProvider[Any]]) -> type[ProviderConfig] | None:
    """Find the config class that `cls` itself names: as type argument, or on ``__init__``'s ``config``."""
    if "__init__" in vars(cls):
        # A class defined in a function may name a config that cannot be looked up from here.
        with suppress(NameError, AttributeError, TypeError):
            found = _as_config_class(typing.get_type_hints(cls.__init__).get("config"))
            if found is not None:
                return found
    for base in getattr(cls, "__orig_bases__", ()) if "__orig_bases__" in vars(cls) else ():
        for argument in typing.get_args(base):
            found = _as_config_class(argument)
            if found is not None:
                return found
    return None


def _as_config_class(annotation: Any) -> type[ProviderConfig] | None:
    if isinstance(annotation, (TypeVar, typing.TypeVar)):
        default = getattr(annotation, "__default__", None)
        annotation = default if isinstance(default, type) else annotation.__bound__
    return annotation if isinstance(annotation, type) and issubclass(annotation, ProviderConfig) else None
