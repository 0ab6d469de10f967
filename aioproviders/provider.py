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

import typing
from abc import ABC, abstractmethod
from asyncio import get_running_loop
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Generic, Self

import anyio
from typing_extensions import TypeVar

from aioproviders.calls import Call
from aioproviders.config import ProviderConfig, config_class_of, fit
from aioproviders.errors import ProviderError, ProviderStateError, ProviderTimeoutError
from aioproviders.health import HealthCheck, HealthStatus, normalize
from aioproviders.lifecycle import Lifecycle, ProviderState
from aioproviders.limits import CircuitBreaker, CircuitState, RateLimiter, RetryBudget
from aioproviders.logs import ProviderLogger
from aioproviders.operations import Kind, Operation, operation, operations_of, wrap_operations
from aioproviders.redaction import Redactor, describe, secrets_in
from aioproviders.resilience import Limits, Policy, execute, next_item, take_slot, wait_for_slot

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
            found = config_class_of(cls)
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
        limits = self._make_limits()
        self._policies = {name: self._policy(op, limits[op.kind]) for name, op in self._operations.items()}
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
        """Give back what `initialize` opened.

        Callers may call it any number of times; it runs once, shielded from cancellation, after the
        calls in flight have ended, each step within the config's ``timeout_ms``. It does not run where
        `initialize` never began; where that failed it runs for what was opened until then, and once
        more at the end.
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
        """Mask `secrets` that the config does not hold, such as fetched tokens; the latest 16 of them."""
        self._redactor.add(*secrets)

    def rebuilt(self, config: ProviderConfig) -> Self:
        """Make another one like this with another config, as `ProviderRegistry.reconfigure` does.

        A class whose constructor takes more than a config overrides it, and hands the rest on.
        """
        return type(self)(typing.cast("ConfigT", config))

    def _make_rate_limiter(self) -> RateLimiter | None:
        """Return the limiter of the provider's attempts; a kind whose config has a rate overrides it."""
        return None

    # What the framework does with it; the wrappers of `aioproviders.operations` call ``_perform_…``.

    async def __aenter__(self) -> Self:
        task_group = anyio.create_task_group()
        self._lifecycle.own(task_group)
        await task_group.__aenter__()
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
        except ProviderError:
            # It is logged; what the body raised, a cancellation above all, goes before it.
            if error is None:
                raise
        finally:
            if task_group is not None:
                task_group.cancel_scope.cancel()
                # Background tasks never raise, so all the group can hold is the body's own error,
                # which reaches the caller as it is.
                with suppress(BaseExceptionGroup):
                    await task_group.__aexit__(type(error) if error else None, error, None)

    def _make_limits(self) -> dict[Kind, Limits]:
        config = self.config
        limits = Limits(rate=self._make_rate_limiter())
        # A probe must tell the truth when the breaker is open and all slots are taken, so it heeds neither.
        by_kind = {Kind.INITIALIZE: Limits(), Kind.CLEANUP: Limits(), Kind.HEALTH: Limits(rate=limits.rate)}
        if config.max_concurrency:
            limits.slots = anyio.Semaphore(config.max_concurrency, fast_acquire=True)
        if config.retry_budget:
            limits.budget = RetryBudget(config.retry_budget, config.retry_attempts)
        if config.circuit_breaker:
            limits.breaker = CircuitBreaker(config.circuit_breaker, on_change=self._on_circuit_change)
        return {Kind.CALL: limits, Kind.STREAM: limits, **by_kind}

    def _policy(self, op: Operation, limits: Limits) -> Policy:
        policy = Policy.of(self.config.for_operation(op.name), limits)
        return policy.self_timed(self.config.operations.get(op.name)) if op.self_timed else policy

    def _call(self, op: Operation) -> Call:
        policy = self._policies[op.name]
        return Call(self, self.config.name, op.name, op.idempotent, policy.deadline)

    async def _perform_call(
        self, op: Operation, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        policy, lifecycle = self._policies[op.name], self._lifecycle
        slots = policy.limits.slots
        call = self._call(op)
        call.__enter__()  # not by `with`, which keeps one more object alive for each call in flight
        try:
            if lifecycle.loop is not get_running_loop():
                await self._make_ready(call)
            lifecycle.enter()
            try:
                if slots is not None:
                    if call.parent is not None and call.is_within(self):
                        slots = None  # it has the slot of the call that it is made in
                    elif not take_slot(slots):
                        await wait_for_slot(call, slots)
                try:
                    result = await execute(
                        call, policy, self.logger, partial(function, self, *args, **kwargs)
                    )
                finally:
                    if slots is not None:
                        slots.release()
            finally:
                lifecycle.leave()
            self.logger.debug("operation.completed", attempts=call.attempt)
        except ProviderError as error:
            self._complete(call, error)
            if op.failure is None or (isinstance(error, ProviderStateError) and not call.attempt):
                raise
            return op.failure(error, call)
        finally:
            call.__exit__()
        return result

    async def _perform_stream(
        self, op: Operation, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Run an override that is an async generator; the current call is set only while it runs."""
        policy, lifecycle = self._policies[op.name], self._lifecycle
        call = self._call(op)
        source: AsyncGenerator[Any, None] | None = None
        slots: anyio.Semaphore | None = None
        lifecycle.enter()
        try:
            with call, self._completing(call):
                if lifecycle.loop is not get_running_loop():
                    await self._make_ready(call)
                if policy.limits.slots is not None and not call.is_within(self):
                    if not take_slot(policy.limits.slots):
                        await wait_for_slot(call, policy.limits.slots)
                    slots = policy.limits.slots
                begin = partial(self._begin_stream, policy, partial(function, self, *args, **kwargs))
                source, item = await execute(call, policy, self.logger, begin)
            while item is not _END:
                yield item
                with call, self._completing(call):
                    item = await next_item(call, source, _END)
        finally:
            try:
                if source is not None:
                    with call:
                        await self._close_stream(policy, source)
            finally:
                if slots is not None:
                    slots.release()
                lifecycle.leave()

    def _begin_stream(
        self, policy: Policy, begin: Callable[[], AsyncGenerator[Any, None]]
    ) -> Awaitable[tuple[AsyncGenerator[Any, None], Any]]:
        """Begin a stream and fetch its first item; up to here a retry may start over."""
        source = begin()

        async def first_item() -> tuple[AsyncGenerator[Any, None], Any]:
            try:
                return source, await anext(source, _END)
            except BaseException:
                await self._close_stream(policy, source)
                raise

        return first_item()

    async def _close_stream(self, policy: Policy, source: AsyncGenerator[Any, None]) -> None:
        with anyio.move_on_after(policy.timeout, shield=True):
            try:
                await source.aclose()
            except Exception as error:  # noqa: BLE001 - who leaves a stream has what he wanted of it
                self.logger.warning("stream.close_failed", error=error)

    async def _make_ready(self, call: Call) -> None:
        """Initialize, at the first use; within the call's deadline."""
        if call.is_within(self, "initialize") or (self._lifecycle.draining and call.is_within(self)):
            return
        self._refuse()
        self._lifecycle.refuse_other_loop()
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

    async def _perform_initialize(self, op: Operation, function: Callable[..., Any], *_: object) -> None:
        with self._call(op) as call, self._completing(call):
            self._refuse()
            if call.is_within(self, op.name):
                raise ProviderStateError("initialize() called from within itself", sent=False)
            await self._lifecycle.start(lambda: self._start(call, function))

    async def _start(self, call: Call, function: Callable[..., Any]) -> None:
        body = partial(self._initialize_or_undo, function)
        await execute(call, self._policies[call.operation], self.logger, body)
        self.logger.info("provider.initialized", attempts=call.attempt, elapsed_ms=_milliseconds(call))

    async def _initialize_or_undo(self, function: Callable[..., Any]) -> None:
        try:
            await function(self)
            # Shielded, it may have outlived cleanup; what it has opened nobody else would close then.
            self._lifecycle.refuse_if_closed()
        except BaseException:
            # In a task of its own: a shield keeps anyio's cancellation off, not `asyncio.Task.cancel()`.
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(self._undo_initialize)
            raise

    async def _undo_initialize(self) -> None:
        op = self._operations["cleanup"]
        with self._call(op), anyio.move_on_after(self._policies[op.name].timeout, shield=True):
            try:
                await self._lifecycle.end_background()
                # The override itself: the provider is not closed, it may be started again.
                await type(self).cleanup.__wrapped__(self)  # type: ignore[attr-defined]  # set by functools.wraps
            except Exception as error:  # noqa: BLE001 - what made initialize fail is what the caller must see
                self.logger.warning("provider.cleanup_failed", error=error)

    async def _perform_cleanup(self, op: Operation, function: Callable[..., Any], *_: object) -> None:
        with self._call(op) as call:
            if call.is_within(self, "initialize"):
                await function(self)
                return
            already = self._lifecycle.state in (ProviderState.CLOSING, ProviderState.CLOSED)
            with self._completing(call):
                await self._lifecycle.close(
                    lambda: function(self), self._policies[op.name].timeout, within=call.is_within(self)
                )
            if not already:
                self.logger.info("provider.closed", elapsed_ms=_milliseconds(call))

    async def _perform_health(self, op: Operation, function: Callable[..., Any], *_: object) -> HealthCheck:
        if not self.config.enabled:
            return HealthCheck(status=HealthStatus.DISABLED)
        checked_at = datetime.now(UTC)
        with self._call(op) as call:
            self._lifecycle.enter()
            try:
                if self._lifecycle.loop is not get_running_loop():
                    await self._make_ready(call)
                body = partial(self._normalized, function)
                check: HealthCheck = await execute(call, self._policies[op.name], self.logger, body)
            except ProviderError as error:
                self._complete(call, error)
                timeout = isinstance(error, ProviderTimeoutError)
                status = HealthStatus.TIMEOUT if timeout else HealthStatus.ERROR
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
        return check

    async def _normalized(self, function: Callable[..., Any]) -> HealthCheck:
        check = normalize(await function(self))
        # Here, where a failure becomes a status: the details are foreign objects, which may raise.
        if "details" in check:
            check["details"] = self._redactor.value(check["details"])
        return check

    @contextmanager
    def _completing(self, call: Call) -> Iterator[None]:
        try:
            yield
        except ProviderError as error:
            self._complete(call, error)
            raise

    def _complete(self, call: Call, error: ProviderError) -> None:
        """Make a failed call's error fit to leave: say where it arose, without secrets; and log it."""
        seen_here = error.provider == self.name
        if error.provider is None:
            error.provider = self.name
            error.operation = call.operation
            error.attempts = call.attempt
            error.elapsed = call.elapsed
        self._redactor.scrub(error)
        if seen_here:
            return
        # A thing that is not there, a conflict: the other side is well, and said so.
        log = self.logger.warning if _is_answer(error) else self.logger.error
        log(
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
        self._background_errors[task] = self._redactor.text(describe(error))
        self.logger.error("background.failed", task=task, exc_info=error)


def _is_answer(error: ProviderError) -> bool:
    """Whether it is what a healthy service answers, in sight of the request and not of who asks."""
    status = error.status_code
    return status is not None and not error.is_outage and status not in {401, 403, 429}


def _milliseconds(call: Call) -> float:
    return round(call.elapsed * 1000, 3)
