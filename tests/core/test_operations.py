"""The mark, the wrapping of overrides, and streams."""

import contextlib
import functools
import inspect
from abc import abstractmethod

import anyio
import pytest
from core_doubles import Scripted, config, failing, forever

from aioproviders import (
    BaseProvider,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    current_call,
    operation,
)
from aioproviders.operations import Kind, operations_of


class Interface(BaseProvider):
    """An abstract kind."""

    @operation(idempotent=True)
    @abstractmethod
    async def fetch(self, key: str, *, fresh: bool = False) -> str:
        """Fetch `key`."""

    async def initialize(self): ...
    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self): ...


class Child(Interface):
    def __init__(self, **fields):
        super().__init__(config(**fields))
        self.calls = []

    async def fetch(self, key: str, *, fresh: bool = False) -> str:
        """Fetch it here."""
        self.calls.append(("child", current_call().attempt))
        return key


class Failing(Child):
    async def fetch(self, key, *, fresh=False):
        await super().fetch(key)
        raise ConnectionError("down")


async def test_an_override_is_wrapped_once():
    """The plain override of a marked method runs as an operation, in a single layer."""
    child = Child()
    assert await child.fetch("a") == "a"
    assert child.calls == [("child", 1)]
    assert not hasattr(inspect.unwrap(Child.fetch), "__wrapped__")
    assert Child.fetch.__wrapped__ is inspect.unwrap(Child.fetch)


async def test_super_is_not_wrapped_twice():
    """super() inside an override makes no attempts of its own: three in all, not nine."""

    class Grandchild(Failing):
        async def fetch(self, key, *, fresh=False):
            return await super().fetch(key)

    provider = Grandchild()
    with pytest.raises(ProviderUnavailableError):
        await provider.fetch("a")
    assert provider.calls == [("child", 1), ("child", 2), ("child", 3)]


async def test_a_grandchild_that_overrides_nothing():
    """An inherited override stays one operation."""

    class Grandchild(Failing):
        pass

    provider = Grandchild()
    with pytest.raises(ProviderError):
        await provider.fetch("a")
    assert len(provider.calls) == 3


@pytest.mark.parametrize("calls_super", [True, False])
async def test_a_mixin_of_no_provider_class_is_wrapped(calls_super):
    """An override that comes from a plain mixin is an operation as well, super() inside it is none."""

    class Mixin:
        async def fetch(self, key, *, fresh=False):
            self.calls.append(("mixin", current_call() and current_call().attempt))
            if calls_super:
                await super().fetch(key)
            raise ConnectionError("down")

    class Mixed(Mixin, Child):
        pass

    provider = Mixed()
    with pytest.raises(ProviderUnavailableError):
        await provider.fetch("a")
    assert [call for call in provider.calls if call[0] == "mixin"] == [("mixin", n) for n in (1, 2, 3)]
    assert len(provider.calls) == (6 if calls_super else 3)


async def test_the_nearest_mark_holds():
    """A class that marks its override anew decides for those below it too."""

    class Careful(Child):
        @operation(idempotent=False)
        async def fetch(self, key, *, fresh=False):
            raise TimeoutError("x")

    class Below(Careful):
        async def fetch(self, key, *, fresh=False):
            self.calls.append(1)
            return await super().fetch(key)

    assert not operations_of(Below)["fetch"].idempotent
    assert operations_of(Child)["fetch"].idempotent
    provider = Below()
    with pytest.raises(ProviderTimeoutError):
        await provider.fetch("a")
    assert len(provider.calls) == 1


async def test_an_operation_on_a_concrete_class():
    """A marked method that overrides nothing is an operation, with the settings of its name."""

    class Concrete(Child):
        @operation
        async def twice(self, number):
            self.calls.append(number)
            raise ConnectionError("x")

    provider = Concrete(operations={"twice": {"retry_attempts": 2}})
    with pytest.raises(ProviderError) as caught:
        await provider.twice(4)
    assert (provider.calls, caught.value.operation) == ([4, 4], "twice")


async def test_other_methods_are_left_alone():
    """What is no operation is not wrapped."""

    class More(Child):
        async def helper(self):
            raise KeyError("plain")

    with pytest.raises(KeyError):
        await More().helper()


def test_a_plain_method_as_override_is_refused():
    """An override without async is named when the class is made."""
    with pytest.raises(TypeError, match=r"Bad\.fetch should be 'async def', since it is an operation"):

        class Bad(Child):
            def fetch(self, key, *, fresh=False):
                return key


def test_a_coroutine_as_stream_is_refused():
    """An override of a stream has to yield."""
    with pytest.raises(TypeError, match=r"Bad\.watch should be an async generator"):

        class Bad(Scripted):
            async def watch(self):
                return []


def test_an_attribute_as_override_is_refused():
    """An operation's name can't be given to what is no function."""
    with pytest.raises(TypeError, match=r"Bad\.fetch should be 'async def'"):

        class Bad(Child):
            fetch = 5


def test_abstract_methods_stay_abstract():
    """A class that lacks an override can't be made."""
    with pytest.raises(TypeError, match="abstract method"):
        Interface(config())


def test_signature_and_docstring_are_kept():
    """The wrapped method shows its own name, signature, annotations and docstring."""
    assert Child.fetch.__doc__ == "Fetch it here."
    assert Child.fetch.__qualname__ == "Child.fetch"
    assert list(inspect.signature(Child.fetch).parameters) == ["self", "key", "fresh"]
    assert inspect.iscoroutinefunction(Child.fetch)


async def test_a_decorated_override_is_wrapped():
    """A decorator of the author's own stays in effect."""

    def loud(function):
        @functools.wraps(function)
        async def wrapper(*args, **kwargs):
            return (await function(*args, **kwargs)).upper()

        return wrapper

    class Loud(Child):
        @loud
        async def fetch(self, key, *, fresh=False):
            return key

    assert await Loud().fetch("a") == "A"


async def test_calling_another_classes_method_is_a_nested_call():
    """An operation called as ``Base.method(self)`` from elsewhere runs as an operation."""
    child = Failing()
    assert await Child.fetch(child, "a") == "a"
    assert child.calls == [("child", 1)]


# The call at hand.


async def test_current_call_inside_and_outside():
    """Inside an operation the call is at hand, nested calls know their parent, outside there is none."""
    seen = []

    async def outer():
        seen.append(current_call())
        await provider.write()
        seen.append(current_call())

    provider = Scripted(outer, lambda: seen.append(current_call()))
    await provider.read()
    first, nested, again = seen
    assert first is again
    assert (first.operation, first.provider, first.parent) == ("read", "it", None)
    assert (nested.operation, nested.parent) == ("write", first)
    assert current_call() is None


# Streams.


async def collect(stream):
    return [item async for item in stream]


async def test_a_stream_yields_its_items():
    """A stream gives its items, and an empty one ends."""
    assert await collect(Scripted([1, 2, 3]).watch()) == [1, 2, 3]
    assert await collect(Scripted([]).watch()) == []


async def test_a_stream_is_retried_before_its_first_item():
    """Until something was handed out it may start over."""
    provider = Scripted(ConnectionResetError("x"), [1, 2])
    assert await collect(provider.watch()) == [1, 2]
    assert provider.attempts == 2


async def test_a_stream_is_not_retried_after_its_first_item():
    """Once an item is out, a failure comes out, as one of ours."""
    root = ConnectionResetError("x")
    provider = Scripted([1, root])
    got = []
    with pytest.raises(ProviderUnavailableError) as caught:  # noqa: PT012 - a failing loop is under test
        async for item in provider.watch():
            got.append(item)  # noqa: PERF401 - likewise
    assert (got, provider.attempts) == ([1], 1)
    assert caught.value.__cause__ is root
    assert (caught.value.provider, caught.value.operation) == ("it", "watch")


async def test_a_streams_own_error_passes_as_it_is():
    """An error of ours raised between items is not wrapped again."""
    error = ProviderError("mine")
    with pytest.raises(ProviderError) as caught:
        await collect(Scripted([1, error]).watch())
    assert caught.value is error


async def test_a_streams_first_item_has_the_attempts_timeout():
    """A stream that does not begin is ended and started over."""
    provider = Scripted(forever, [1], timeout_ms=20)
    assert await collect(provider.watch()) == [1]


class Ticking(Scripted):
    """A stream whose items take their time."""

    def __init__(self, delay, **fields):
        super().__init__(**fields)
        self.delay = delay
        self.closed = 0

    async def watch(self):
        try:
            yield 0
            for number in range(1, 4):
                await anyio.sleep(self.delay)
                yield number
        finally:
            assert current_call() is not None
            self.closed += 1


async def test_later_items_may_take_longer_than_a_timeout():
    """After the first item timeout_ms says no more."""
    assert await collect(Ticking(0.02, timeout_ms=15).watch()) == [0, 1, 2, 3]


async def test_a_stream_keeps_to_its_deadline():
    """The deadline holds for the whole stream."""
    provider = Ticking(20, deadline_ms=40)
    with pytest.raises(ProviderTimeoutError) as caught:
        await collect(provider.watch())
    assert (caught.value.reason, provider.closed) == ("deadline", 1)


async def test_a_streams_slot():
    """The slot is held while the stream runs, and given back on aclose, on errors and at the end."""
    provider = Scripted([1, 2], [1, ValueError("x")], [1], max_concurrency=1)
    async with contextlib.aclosing(provider.watch()) as stream:
        await anext(stream)
        assert provider.slots.value == 0
    assert provider.slots.value == 1
    with pytest.raises(ProviderError):
        await collect(provider.watch())
    assert provider.slots.value == 1
    await collect(provider.watch())
    assert (provider.slots.value, provider._lifecycle.in_flight) == (1, 0)


async def test_a_stream_waits_for_a_slot():
    """A stream begins only when a slot is free."""
    provider = Scripted([1], forever, max_concurrency=1, operations={"watch": {"deadline_ms": 30}})
    stream = provider.watch()
    await anext(stream)
    with pytest.raises(ProviderTimeoutError, match="no free slot") as caught:
        await collect(provider.watch())
    assert caught.value.__context__ is None, "how it was found out is nobody's business"
    await stream.aclose()


async def test_a_cancelled_stream_closes_its_source():
    """Cancelling the consumer runs the source's own end."""
    provider = Ticking(20, max_concurrency=1)
    with anyio.move_on_after(0.02):
        await collect(provider.watch())
    assert (provider.closed, provider.slots.value) == (1, 1)


async def test_a_source_that_fails_to_close_harms_nobody():
    """What goes wrong when a stream is left is not the consumer's trouble."""

    class Bad(Scripted):
        async def watch(self):
            try:
                yield 1
                yield 2
            finally:
                raise ValueError("while closing")

    provider = Bad(max_concurrency=1)
    async with contextlib.aclosing(provider.watch()) as stream:
        assert await anext(stream) == 1
    assert provider.slots.value == 1


async def test_the_call_does_not_leak_out_of_a_stream():
    """Between the items the consumer is in no call; inside, the source is always in its own."""
    seen = []

    class Seeing(Scripted):
        async def watch(self):
            for number in range(3):
                seen.append(current_call())
                yield number

    async for _ in Seeing().watch():
        assert current_call() is None
    assert len({id(call) for call in seen}) == 1
    assert seen[0].operation == "watch"


async def test_super_in_a_stream():
    """super() inside a stream's override is the same call."""

    class Doubling(Scripted):
        async def watch(self):
            async for item in super().watch():
                yield 2 * item

    provider = Doubling(ConnectionError("x"), [1, 2], max_concurrency=1)
    assert await collect(provider.watch()) == [2, 4]
    assert provider.attempts == 2


async def test_wrong_arguments_of_a_stream_raise_type_error():
    """As with any function, wrong arguments are a TypeError."""

    class Keyed(Scripted):
        async def watch(self, key):
            yield key

    with pytest.raises(TypeError, match="'key'"):
        await collect(Keyed().watch())


def test_kinds_are_checked():
    """An unknown kind is refused where the mark is made."""
    with pytest.raises(ValueError, match="steam"):
        operation(kind="steam")(failing)
    assert operations_of(Scripted)["watch"].kind is Kind.STREAM
