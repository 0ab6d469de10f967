"""`operation`: the mark on an interface's methods, and the wrapping of the methods that override them."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import wraps
from typing import Any, Protocol, TypeVar, overload

from aioproviders.calls import Call, current_call
from aioproviders.errors import ProviderError

__all__ = ["Kind", "Operation", "operation", "operations_of", "wrap_operations"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
Failure = Callable[[ProviderError, Call], Any]


class Kind(StrEnum):
    """How a marked method is run."""

    CALL = "call"
    STREAM = "stream"
    """An async generator; it may be retried until its first item is out."""
    INITIALIZE = "initialize"
    HEALTH = "health"
    CLEANUP = "cleanup"


@dataclass(frozen=True, slots=True)
class Operation:
    """What the mark says of a method.

    Attributes:
        name: The method's name.
        kind: How it is run.
        idempotent: Whether repeating it does no harm, so that it may be retried after a failure
            that left open whether the other side acted.
        failure: Makes the result that a failed call returns; None lets it raise.
    """

    name: str
    kind: Kind
    idempotent: bool
    failure: Failure | None


@overload
def operation(function: FunctionT, /) -> FunctionT: ...
@overload
def operation(
    *, idempotent: bool = False, failure: Failure | None = None, kind: Kind | str = Kind.CALL
) -> Callable[[FunctionT], FunctionT]: ...
def operation(
    function: FunctionT | None = None,
    /,
    *,
    idempotent: bool = False,
    failure: Failure | None = None,
    kind: Kind | str = Kind.CALL,
) -> FunctionT | Callable[[FunctionT], FunctionT]:
    """Mark an ``async`` method of a provider class as an operation.

    The mark goes on the method of the abstract class, above ``@abstractmethod``, or on a concrete
    method that overrides nothing. Overrides need no mark.

    Args:
        function: The method, where the mark is used without arguments.
        idempotent: Whether repeating it does no harm.
        failure: Called with the error and the `Call` when a call has failed; what it returns is
            returned to the caller. Without it the error is raised.
        kind: "stream" for async generators.
    """

    def mark(marked: FunctionT) -> FunctionT:
        marked.__operation__ = Operation(marked.__name__, Kind(kind), idempotent, failure)  # type: ignore[attr-defined]  # the mark
        return marked

    return mark if function is None else mark(function)


class _Performer(Protocol):
    """What the wrappers ask of the provider they belong to."""

    async def _perform(
        self, op: Operation, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any: ...

    def _perform_stream(
        self, op: Operation, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AsyncIterator[Any]: ...


def operations_of(cls: type) -> dict[str, Operation]:
    """Return the operations of a class, by method name; the nearest mark holds."""
    found: dict[str, Operation] = {}
    for base in reversed(cls.__mro__):
        for name, attribute in vars(base).items():
            mark = getattr(attribute, "__operation__", None)
            if isinstance(mark, Operation):
                found[name] = mark
    return found


def wrap_operations(cls: type) -> None:
    """Wrap each method of `cls` that is an operation, abstract ones left aside.

    That is what the class itself defines, and what it has from a mixin that is no provider class.

    Raises:
        TypeError: Such a method is not ``async``.
    """
    for name, op in operations_of(cls).items():
        attribute = next(vars(base)[name] for base in cls.__mro__ if name in vars(base))
        if getattr(attribute, "__isabstractmethod__", False) or getattr(attribute, "__wrapping__", False):
            continue
        stream = op.kind is Kind.STREAM
        plain = inspect.unwrap(attribute) if callable(attribute) else attribute
        if not (inspect.isasyncgenfunction(plain) if stream else inspect.iscoroutinefunction(plain)):
            what = "an async generator ('async def' with 'yield')" if stream else "'async def'"
            raise TypeError(f"{cls.__qualname__}.{name} should be {what}, since it is an operation")
        setattr(cls, name, (_wrap_stream if stream else _wrap)(replace(op, name=name), attribute))


def _is_inner(provider: object, op: Operation, wrapper: object) -> bool:
    """Whether this is ``super().method()`` inside an override: the outermost wrapper has done the work."""
    if getattr(type(provider), op.name, None) is wrapper:
        return False
    call = current_call()
    return call is not None and call.owner is provider and call.operation == op.name


def _wrap(op: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    async def wrapper(self: _Performer, *args: Any, **kwargs: Any) -> Any:
        if _is_inner(self, op, wrapper):
            return await function(self, *args, **kwargs)
        return await self._perform(op, function, args, kwargs)

    wrapper.__operation__ = op  # type: ignore[attr-defined]  # the mark
    wrapper.__wrapping__ = True  # type: ignore[attr-defined]  # what tells it from a mark on plain code
    return wrapper


def _wrap_stream(op: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(self: _Performer, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if _is_inner(self, op, wrapper):
            inner: AsyncIterator[Any] = function(self, *args, **kwargs)
            return inner
        return self._perform_stream(op, function, args, kwargs)

    wrapper.__operation__ = op  # type: ignore[attr-defined]  # the mark
    wrapper.__wrapping__ = True  # type: ignore[attr-defined]  # what tells it from a mark on plain code
    return wrapper
