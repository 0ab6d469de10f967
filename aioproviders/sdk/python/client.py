"""A vendor's client: built, called and closed on the event loop or in worker threads, as it needs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import FunctionType
from typing import Any, Self

from aioproviders.errors import ConfigurationError, UnsupportedCapabilityError
from aioproviders.sdk.python.packages import NoSuchNameError, find_attribute
from aioproviders.sdk.python.threads import WorkerThreads
from aioproviders.sdk.python.vendor import as_data

__all__ = ["VendorClient"]


class VendorClient:
    """One client of a vendor's package.

    Asynchronous clients are used on the event loop, all others in threads; an awaitable that comes
    back from either is awaited.

    Attributes:
        target: The vendor's object.
        asynchronous: Where it is used.
    """

    def __init__(self, made: Any, threads: WorkerThreads, *, asynchronous: bool) -> None:
        self._made = made
        self._threads = threads
        self.asynchronous = asynchronous
        self.target = made

    @classmethod
    async def open(
        cls,
        factory: Callable[..., Any],
        arguments: Mapping[str, Any],
        threads: WorkerThreads,
        *,
        asynchronous: bool | None,
        request_method: str | None,
    ) -> Self:
        """Make a client.

        One that can be left (``__exit__``, ``__aexit__``) and not closed is entered, too.

        Args:
            factory: The client's class, or a function that returns a client.
            arguments: What to call it with.
            threads: Where it runs, unless it is asynchronous.
            asynchronous: Whether it is; None: to be seen from its class.
            request_method: The method that tells.

        Raises:
            ConfigurationError: It does not take these arguments.
            Exception: What the vendor's code raises.
        """
        on_loop = _is_asynchronous(factory, request_method) if asynchronous is None else asynchronous
        build = partial(_build, factory, arguments)
        made = build() if on_loop else await threads.run(build, discard=_close_now)
        if inspect.isawaitable(made):
            made = await made
        if asynchronous is None:
            on_loop = on_loop or _is_asynchronous(type(made), request_method)
        client = cls(made, threads, asynchronous=on_loop)
        if client._closer() is None:
            await client._enter()
        return client

    async def call(self, path: str, /, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the client, and return its result as plain data.

        Args:
            path: The method's name, with dots where it is further in.
            *args: Its arguments.
            **kwargs: Its arguments by name.

        Raises:
            UnsupportedCapabilityError: There is no such public method.
            Exception: What the vendor's code raises.
        """
        return await self._run(partial(self._call, path, args, kwargs))

    async def require(self, path: str) -> None:
        """Make sure that the client has the method `path`.

        Raises:
            UnsupportedCapabilityError: It has not.
        """
        await self._run(partial(self._check, path))

    async def close(self) -> None:
        """Close the client, or leave it, if it can be."""
        close = self._closer()
        if close is not None:
            await self._run(close, queue=False)
        elif hasattr(self._made, "__aexit__"):
            await self._made.__aexit__(None, None, None)
        elif hasattr(self._made, "__exit__"):
            await self._run(partial(self._made.__exit__, None, None, None), queue=False)

    @property
    def methods(self) -> list[str]:
        """Names of its public methods."""
        cls = type(self.target)
        return [name for name in dir(cls) if not name.startswith("_") and _is_method(cls, name)]

    async def _enter(self) -> None:
        # What entering returns need not be the object itself.
        if hasattr(self._made, "__aenter__"):
            self.target = await self._made.__aenter__()
        elif hasattr(self._made, "__enter__"):
            leave = partial(self._made.__exit__, None, None, None)
            self.target = await self._threads.run(self._made.__enter__, discard=lambda _: leave())

    def _closer(self) -> Callable[[], Any] | None:
        for name in ("aclose", "close"):
            close = getattr(self._made, name, None)
            if callable(close):
                found: Callable[[], Any] = close
                return found
        return None

    async def _run(self, function: Callable[[], Any], *, queue: bool = True) -> Any:
        result = function() if self.asynchronous else await self._threads.run(function, queue=queue)
        return as_data(await result) if inspect.isawaitable(result) else result

    def _call(self, path: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        result = self._find(path)(*args, **kwargs)
        return result if inspect.isawaitable(result) else as_data(result)

    def _check(self, path: str) -> None:
        self._find(path)

    def _find(self, path: str) -> Any:
        problem: str
        try:
            found = find_attribute(self.target, path, type(self.target).__name__)
        except NoSuchNameError as exc:
            problem = str(exc)
        else:
            if callable(found):
                return found
            problem = f"{path!r} of {type(self.target).__name__} is no method"
        raise UnsupportedCapabilityError(problem, sent=False)


def _build(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(factory).bind(**arguments)
    except ValueError:
        pass  # some built-in callables have no signature to look at
    except TypeError as exc:
        name = getattr(factory, "__name__", type(factory).__name__)
        raise ConfigurationError(f"client_arguments: {name}() can't be called with them: {exc}") from None
    return factory(**arguments)


def _close_now(made: Any) -> None:
    """Close, in its thread, a client that nobody waited for."""
    close = getattr(made, "close", None)
    if callable(close) and not inspect.iscoroutinefunction(close):
        close()


def _is_asynchronous(factory: Callable[..., Any], request_method: str | None) -> bool:
    if inspect.iscoroutinefunction(factory):
        return True
    cls = factory if isinstance(factory, type) else getattr(factory, "__self__", None)
    if not isinstance(cls, type):
        return False
    if request_method is not None and inspect.iscoroutinefunction(getattr(cls, request_method, None)):
        return True
    # Some clients are for both uses; those are used as sync ones unless told otherwise.
    return (hasattr(cls, "__aenter__") or hasattr(cls, "aclose")) and not hasattr(cls, "__enter__")


def _is_method(cls: type, name: str) -> bool:
    attribute = inspect.getattr_static(cls, name)
    return isinstance(attribute, (FunctionType, staticmethod, classmethod)) or inspect.isroutine(attribute)
