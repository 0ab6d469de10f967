"""Small providers whose every step is recorded and can be held up or made to fail, and a canceller."""

import asyncio
import warnings
from itertools import count

import anyio
import anyio.lowlevel

from aioproviders.config import ProviderConfig
from aioproviders.errors import ConfigurationWarning
from aioproviders.provider import BaseProvider
from aioproviders.registry import ProviderRegistry


def config(name="one", **fields):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConfigurationWarning)
        return ProviderConfig(name=name, version="1", **{"retry_attempts": 1, **fields})


class Double(BaseProvider[ProviderConfig]):
    """`gates` hold a step up until set; `errors` are raised by it; `held` is what it has open."""

    def __init__(self, config: ProviderConfig):
        super().__init__(config)
        self.log = []
        self.gates = {}
        self.errors = {}
        self.entered = {step: anyio.Event() for step in ("initialize", "health_check", "cleanup", "work")}
        self.answer = {"status": "healthy"}
        self.probes = 0
        self.held = 0

    async def step(self, step):
        self.entered[step].set()
        await anyio.lowlevel.checkpoint()
        if step in self.gates:
            await self.gates[step].wait()
        if step in self.errors:
            raise self.errors[step]

    async def initialize(self):
        self.held += 1
        self.log.append(f"+{self.name}")
        await self.step("initialize")

    async def health_check(self):
        self.probes += 1
        await self.step("health_check")
        return self.answer

    async def cleanup(self):
        try:
            await self.step("cleanup")
        finally:
            self.log.append(f"-{self.name}")
            self.held = 0


class Worker(Double):
    async def initialize(self):
        await super().initialize()
        self.spawn(anyio.sleep_forever)


def double(name="one", cls=Double, **fields):
    return cls(config(name, **fields))


def filled(*providers, start=True):
    """A registry of `providers`, which share one log."""
    registry = ProviderRegistry(start=start)
    log = []
    for provider in providers:
        provider.log = log
        registry.register(provider.name, provider)
    return registry


async def cancel_everywhere(scenario, check, *, native):
    """Run ``scenario()`` over and over, cancelled after 0, 1, 2 … turns of the loop, until it ends before.

    Each time all its tasks must be gone and ``check()`` must hold; returns the number of runs.
    """
    for turns in count():
        before = asyncio.all_tasks()
        scope = anyio.CancelScope()

        async def scoped(scope=scope):
            with scope:
                await scenario()

        task = asyncio.create_task(scoped())
        for _ in range(turns):
            if not task.done():
                await asyncio.sleep(0)
        ended = task.done()
        if native:
            task.cancel()
        else:
            scope.cancel()
        await asyncio.wait({task})
        if not ended:
            assert task.cancelled() if native else task.exception() is None, f"after {turns} turns"
        assert len(asyncio.all_tasks()) == len(before), f"tasks left after {turns} turns"
        check()
        if ended:
            task.result()
            return turns
    raise AssertionError
