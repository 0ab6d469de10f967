# ruff: noqa: S101 - to assert is what a suite does; pytest tells what was wrong
"""Suites of tests to inherit from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from aioproviders.config import ProviderConfig
from aioproviders.errors import ProviderStateError
from aioproviders.health import HealthStatus
from aioproviders.provider import BaseProvider, ProviderState
from aioproviders.redaction import secrets_in

__all__ = ["ProviderTestBase"]


class _NotTheBase:
    """``__test__`` for a base that is no test itself: pytest then asks only its subclasses' names."""

    def __get__(self, instance: object, owner: type) -> bool:
        if owner is ProviderTestBase:
            return False
        raise AttributeError("__test__")


class ProviderTestBase:
    """Tests that every provider should pass.

        class TestMine(ProviderTestBase):
            @pytest.fixture
            def provider(self, mock_config):
                return MyProvider(mock_config)

    Each test gets a provider of its own, and closes it. What the provider talks to should be there, so
    that `initialize` works and `health_check` gets an answer; it need not be a good one.
    """

    __test__ = _NotTheBase()

    @pytest.fixture
    def mock_config(self) -> ProviderConfig:
        """Return the config to make the provider with; to be overridden where it needs more."""
        return ProviderConfig(name="test_provider", version="1.0.0", enabled=True)

    @pytest.fixture
    def provider(self, mock_config: ProviderConfig) -> BaseProvider[Any]:
        """Return the provider to test, not used yet; to be overridden."""
        raise NotImplementedError(
            f"{type(self).__name__} should override the fixture 'provider' and return a provider"
        )

    @pytest.mark.asyncio
    async def test_provider_initialization(self, provider: BaseProvider[Any]) -> None:
        """It has a config and a logger, and gets ready; once more does no harm."""
        assert isinstance(provider, BaseProvider), f"{type(provider).__name__} is no BaseProvider"
        assert provider.config is not None
        assert provider.logger is not None
        try:
            await provider.initialize()
            await provider.initialize()
            assert provider.state is ProviderState.READY
        finally:
            await provider.cleanup()

    @pytest.mark.asyncio
    async def test_health_check(self, provider: BaseProvider[Any]) -> None:
        """The check is a dict with a status that is known, and says so itself when it has failed."""
        try:
            health = await provider.health_check()
            assert isinstance(health, dict)
            assert health["status"] in set(HealthStatus)
            # ERROR is the framework's word for a check that raised, or that could not be read.
            assert health["status"] is not HealthStatus.ERROR, f"health_check() failed: {health.get('error')}"
        finally:
            await provider.cleanup()

    @pytest.mark.asyncio
    async def test_cleanup(self, provider: BaseProvider[Any]) -> None:
        """Cleanup raises nothing, and may be called again."""
        await provider.initialize()
        await provider.cleanup()
        await provider.cleanup()
        assert provider.state is ProviderState.CLOSED

    @pytest.mark.asyncio
    async def test_cleanup_without_use(self, provider: BaseProvider[Any]) -> None:
        """Closing what was never used raises nothing: there is nothing to give back."""
        await provider.cleanup()
        assert provider.state is ProviderState.CLOSED

    @pytest.mark.asyncio
    async def test_use_after_cleanup(self, provider: BaseProvider[Any]) -> None:
        """A closed provider does not start again, and its check still answers instead of raising."""
        await provider.initialize()
        await provider.cleanup()
        with pytest.raises(ProviderStateError):
            await provider.initialize()
        health = await provider.health_check()
        assert isinstance(health, Mapping)
        assert not HealthStatus(health["status"]).ok

    @pytest.mark.asyncio
    async def test_secrets_stay_hidden(self, provider: BaseProvider[Any]) -> None:
        """The secrets of its config are neither in the config's repr nor in its own, nor in its health."""
        try:
            health = await provider.health_check()
        finally:
            await provider.cleanup()
        shown = f"{provider!r} {provider.config!r} {provider.config} {health!r}"
        leaked = sum(secret in shown for secret in secrets_in(provider.config) if secret)
        assert not leaked, f"{leaked} of the config's secrets can be read in repr() or health_check()"
