"""The configuration kind: providers that read an application's settings from a source. The interface."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from typing_extensions import TypeVar

from aioproviders.config import ProviderConfig
from aioproviders.operations import operation
from aioproviders.provider import BaseProvider, ProviderType

__all__ = ["ConfigurationProvider"]

ConfigurationConfigT = TypeVar("ConfigurationConfigT", bound=ProviderConfig, default=ProviderConfig)


class ConfigurationProvider(BaseProvider[ConfigurationConfigT]):
    """Interface of configuration providers."""

    provider_type: ClassVar[ProviderType | None] = ProviderType.CONFIGURATION

    @operation(idempotent=True)
    @abstractmethod
    async def get_config(self, key: str, default: Any = None) -> Any:
        """Return the setting `key`, or `default` where it is not set."""

    @operation(idempotent=True)
    @abstractmethod
    async def set_config(self, key: str, value: Any) -> None:
        """Set `key` to `value`."""

    @operation(idempotent=True)
    @abstractmethod
    async def reload_config(self) -> None:
        """Read the source again."""
