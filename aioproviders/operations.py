"""`operation`: the mark on an interface's methods, and the wrapping of the methods that override them.

The wrapper of a method hands it to the provider's ``_perform_<kind>``, see `aioproviders.provider`.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import wraps
from typing import Any, TypeVar, overload

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
        self_timed: Whether it has time limits of its own, so that neither ``timeout_ms`` nor
            ``retry_attempts`` holds for it but where the config's ``operations`` says so.
    """

    name: str
    kind: Kind
    idempotent: bool
    failure: Failure | None
    self_timed: bool = False


@overload
def operation(function: FunctionT, /) -> FunctionT: ...
@overload
def operation(
    *,
    idempotent: bool = False,
    failure: Failure | None = None,
    kind: Kind | str = Kind.CALL,
    self_timed: bool = False,
) -> Callable[[FunctionT], FunctionT]: ...
def operation(
    function: FunctionT | None = None,
    /,
    *,
    idempotent: bool = False,
    failure: Failure | None = None,
    kind: Kind | str = Kind.CALL,
    self_timed: bool = False,
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
        self_timed: For what takes minutes and keeps to limits of its own, such as a rollout: it is not
            bound by ``timeout_ms`` and is tried once, unless the config's ``operations`` says otherwise.
    """

    def mark(marked: FunctionT) -> FunctionT:
        op = Operation(marked.__name__, Kind(kind), idempotent, failure, self_timed)
        marked.__operation__ = op  # type: ignore[attr-defined]  # the mark
        return marked

    return mark if function is None else mark(function)


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


def _is_inner(provider: object, op: Operation) -> bool:
    """Whether this is ``super().method()`` inside an override: the outermost wrapper has done the work."""
    call = current_call()
    return call is not None and call.owner is provider and call.operation == op.name


def _wrap(op: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    name, perform = op.name, f"_perform_{op.kind}"

    @wraps(function)
    async def wrapper(self: object, *args: Any, **kwargs: Any) -> Any:
        if getattr(type(self), name, None) is not wrapper and _is_inner(self, op):
            return await function(self, *args, **kwargs)
        return await getattr(self, perform)(op, function, args, kwargs)

    return _marked(wrapper, op)


def _wrap_stream(op: Operation, function: Callable[..., Any]) -> Callable[..., Any]:
    name, perform = op.name, f"_perform_{op.kind}"

    @wraps(function)
    def wrapper(self: object, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        if getattr(type(self), name, None) is not wrapper and _is_inner(self, op):
            inner: AsyncIterator[Any] = function(self, *args, **kwargs)
            return inner
        stream: AsyncIterator[Any] = getattr(self, perform)(op, function, args, kwargs)
        return stream

    return _marked(wrapper, op)


def _marked(wrapper: Callable[..., Any], op: Operation) -> Callable[..., Any]:
    wrapper.__operation__ = op  # type: ignore[attr-defined]  # the mark
    wrapper.__wrapping__ = True  # type: ignore[attr-defined]  # what tells it from a mark on plain code
    return wrapper
