"""The driver complies, and keeps what it is given."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aioproviders_sqlite import SQLiteConfig, SQLiteConfigProvider

from aioproviders import ConfigurationError, ProviderConfig, ProviderFactory
from aioproviders.testing import ProviderTestBase


class TestCompliance(ProviderTestBase):
    """All that aioproviders asks of a provider."""

    @pytest.fixture
    def mock_config(self, tmp_path: Path) -> SQLiteConfig:
        """Where the database of a test is."""
        return SQLiteConfig(name="settings", version="1.0", path=str(tmp_path / "settings.db"))

    @pytest.fixture
    async def provider(self, mock_config: ProviderConfig) -> AsyncIterator[SQLiteConfigProvider]:
        """The provider under test."""
        provider = SQLiteConfigProvider(mock_config)
        yield provider
        await provider.cleanup()


async def test_a_setting_outlives_its_provider(tmp_path: Path) -> None:
    """What one provider writes, the next one reads."""
    config = SQLiteConfig(name="settings", version="1.0", path=str(tmp_path / "settings.db"))
    async with SQLiteConfigProvider(config) as first:
        await first.set_config("limits", {"rows": 10})
        with pytest.raises(ConfigurationError, match="should be JSON"):
            await first.set_config("limits", object())
    async with SQLiteConfigProvider(config) as second:
        await second.reload_config()
        assert await second.get_config("limits") == {"rows": 10}
        assert await second.get_config("colour", "blue") == "blue"


def test_the_driver_is_found_by_its_name() -> None:
    """Installing the package is all it takes."""
    assert ProviderFactory.get_driver("configuration", "sqlite") is SQLiteConfigProvider
