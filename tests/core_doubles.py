"""Providers for the tests of the core."""

import warnings
from collections.abc import Callable

import anyio

from aioproviders import BaseProvider, ConfigurationWarning, ProviderConfig, operation


def config(**fields):
    """A config with next to no backoff, that fails its test instead of hanging."""
    with warnings.catch_warnings():
        # Deadlines that cut attempts short are what many tests are about.
        warnings.simplefilter("ignore", ConfigurationWarning)
        return ProviderConfig(
            **{
                "name": "it",
                "version": "1",
                "timeout_ms": 2000,
                "backoff_initial_ms": 1,
                "backoff_max_ms": 2,
                **fields,
            }
        )


class Scripted(BaseProvider):
    """Does what its script says, step by step: raises exceptions, calls functions, returns the rest."""

    def __init__(self, *script, rate=None, **fields):
        self.rate = rate
        super().__init__(config(**fields))
        self.script = list(script)
        self.attempts = 0
        self.initialized = self.cleaned = 0

    def _make_rate_limiter(self):
        return self.rate

    async def initialize(self):
        self.initialized += 1

    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self):
        self.cleaned += 1

    async def step(self, *args):
        self.attempts += 1
        item = self.script.pop(0) if self.script else "done"
        if isinstance(item, BaseException):
            raise item
        if isinstance(item, Callable):
            item = item(*args)
            return await item if hasattr(item, "__await__") else item
        return item

    @operation(idempotent=True)
    async def read(self, *args):
        """Read it."""
        return await self.step(*args)

    @operation
    async def write(self, *args):
        """Write it."""
        return await self.step(*args)

    @operation(idempotent=True, kind="stream")
    async def watch(self, *args):
        """Watch it."""
        for item in await self.step(*args):
            if isinstance(item, BaseException):
                raise item
            yield item

    @property
    def breaker(self):
        return self._policies["read"].limits.breaker

    @property
    def budget(self):
        return self._policies["read"].limits.budget

    @property
    def slots(self):
        return self._policies["read"].limits.slots


def forever(*_):
    """A step that never ends."""
    return anyio.sleep_forever()


def failing(error):
    """Steps without end that raise `error()`."""

    class Endless(list):
        def pop(self, _):
            return error()

        def __bool__(self):
            return True

    return Endless()


class Clock:
    """A clock that tests drive; its `sleep` moves it on."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await anyio.lowlevel.checkpoint()
        # As a real clock does, it moves on even for waits too short to be told.
        self.now += max(seconds, 1e-9)
