"""The environment configuration driver: settings in the variables of this process.

    key "db.pool-size", prefix "ALTWALLET_"   →   variable ALTWALLET_DB_POOL_SIZE

An environment holds text only. What is written and read back with the same type comes back equal:
numbers as Python writes them, booleans, lists, dicts and models as JSON.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, overload

from pydantic import PydanticUserError, SecretBytes, SecretStr, TypeAdapter
from pydantic_core import to_json, to_jsonable_python

from aioproviders.config import ProviderConfig
from aioproviders.configuration import ConfigurationProvider
from aioproviders.errors import ConfigurationError
from aioproviders.health import HealthCheck, HealthStatus
from aioproviders.operations import operation
from aioproviders.redaction import MASK

__all__ = ["EnvironmentConfig", "EnvironmentConfigProvider"]

T = TypeVar("T")

_SEPARATORS = str.maketrans(".-", "__")
_WRITING = threading.Lock()
"""The environment belongs to the process, so all providers, loops and threads share one lock."""


class EnvironmentConfig(ProviderConfig):
    """Configuration of the environment driver.

    Attributes:
        prefix: What the names of all its variables begin with.
    """

    prefix: str = "ALTWALLET_"


class EnvironmentConfigProvider(ConfigurationProvider[EnvironmentConfig]):
    """Settings in environment variables.

    Args:
        config: An `EnvironmentConfig`, or a plain `ProviderConfig` for the usual prefix.

    Attributes:
        prefix: What the names of all its variables begin with.

    Raises:
        ConfigurationError: No variable's name could begin with the prefix.
    """

    def __init__(self, config: EnvironmentConfig) -> None:
        super().__init__(config)
        self.prefix = self.config.prefix
        _refuse_unfit(self.prefix, "prefix")

    async def initialize(self) -> None:
        """Note in the log how many variables are there; there is nothing to open."""
        self.logger.debug("environment.found", prefix=self.prefix, variables=self._count())

    async def health_check(self) -> HealthCheck:
        """Say how many variables have the prefix."""
        details = {"prefix": self.prefix, "variables": self._count()}
        return HealthCheck(status=HealthStatus.HEALTHY, details=details)

    async def cleanup(self) -> None:
        """Give nothing back: the environment is the process's, and stays as it is."""

    @overload
    async def get_config(self, key: str, default: Any = None) -> Any: ...
    @overload
    async def get_config(self, key: str, default: None = None, *, as_type: type[T]) -> T | None: ...
    @overload
    async def get_config(self, key: str, default: T, *, as_type: type[T]) -> T: ...
    async def get_config(self, key: str, default: Any = None, *, as_type: Any = None) -> Any:
        """Return the setting `key`, or `default` as it is where the variable is not set.

        Args:
            key: Case does not matter, and neither does which of ``.``, ``-`` and ``_`` is used.
            default: What to return for a variable that is not set; one set to "" is set.
            as_type: Convert to this type, as pydantic does in lax mode ("on" and "1" are true), and
                from JSON where the type is no scalar. Without it the text is returned.

        Raises:
            ConfigurationError: The text does not convert (it is not shown), or `key` can't be a name.
        """
        variable = self._variable(key)
        text = os.environ.get(variable)
        if text is None:
            return default
        return text if as_type is None or as_type is str else _convert(text, as_type, variable)

    async def set_config(self, key: str, value: Any) -> None:
        """Set the variable of `key` for this process, and for those it starts from now on.

        Args:
            key: See `get_config`.
            value: Text and numbers are written as they are, a `SecretStr` in the clear, the rest as
                JSON; None removes the variable.

        Raises:
            ConfigurationError: `key` or `value` can't be in an environment.
        """
        self._write({key: value})

    @operation(idempotent=True)
    async def set_many(self, settings: Mapping[str, Any]) -> None:
        """Set several settings at once: all of them, or none where one of them can't be.

        Args:
            settings: Values by key, see `set_config`.

        Raises:
            ConfigurationError: One can't be in an environment, or two are the same variable.
        """
        self._write(settings)

    async def reload_config(self) -> None:
        """Note in the log how many variables are there; each read is fresh, so nothing is outdated."""
        self.logger.info("configuration.reloaded", prefix=self.prefix, variables=self._count())

    def _count(self) -> int:
        # A copy first: another thread may be writing.
        return sum(name.startswith(self.prefix) for name in list(os.environ))

    def _variable(self, key: str) -> str:
        if not key or not isinstance(key, str):
            raise ConfigurationError(f"a setting's key should be a text that is not empty, not {key!r}")
        _refuse_unfit(key, "key")
        return self.prefix + key.upper().translate(_SEPARATORS)

    def _write(self, settings: Mapping[str, Any]) -> None:
        texts: dict[str, str | None] = {}
        for key, value in settings.items():
            variable = self._variable(key)
            if variable in texts:
                raise ConfigurationError(f"{key!r} and another of the keys are the same variable, {variable}")
            texts[variable] = _text(value, variable)
        with _WRITING:
            before = {variable: os.environ.get(variable) for variable in texts}
            try:
                _put(texts)
            except (OSError, ValueError) as exc:
                _put(before)
                # The exception's text may hold the value.
                problem = f"the system refused to set {', '.join(texts)}: {type(exc).__name__}"
            else:
                problem = ""
        if problem:
            raise ConfigurationError(problem)
        self.logger.info("configuration.set", variables=sorted(texts))


def _put(texts: Mapping[str, str | None]) -> None:
    for variable, text in texts.items():
        if text is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = text


def _refuse_unfit(name: str, what: str) -> None:
    for character, called in (("=", "'='"), ("\0", "a NUL character")):
        if character in name:
            raise ConfigurationError(
                f"{what} {name!r} has {called} in it, which no environment variable's name can"
            )


def _convert(text: str, as_type: Any, variable: str) -> Any:
    shown = as_type.__name__ if isinstance(as_type, type) else str(as_type)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(as_type)
    except PydanticUserError:
        raise ConfigurationError(
            f"{variable} can't be read as {shown}: pydantic knows no such type"
        ) from None
    for read in (adapter.validate_python, adapter.validate_json):
        try:
            return read(text)
        except Exception:  # noqa: BLE001, S112 - whatever a validator raises may have the value in it
            continue
    # Raised out here, where no exception is its context: that would carry the value along.
    raise ConfigurationError(f"{variable} should be a {shown}, or JSON for one")


def _text(value: Any, variable: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, (SecretStr, SecretBytes)):
        value = value.get_secret_value()
    text: str | None = None
    if isinstance(value, str) and not isinstance(value, Enum):
        text = str(value)
    else:
        try:
            plain = to_jsonable_python(value)
            text = plain if isinstance(plain, str) else to_json(plain).decode()
        except ValueError:  # pydantic's own errors among them
            text = None
    if text is None:
        raise ConfigurationError(f"{variable}: a {type(value).__name__} can't be written as text or JSON")
    if MASK in text and not isinstance(value, str):
        raise ConfigurationError(
            f"{variable}: a secret inside a {type(value).__name__} would be written masked; set it by itself"
        )
    if "\0" in text:
        raise ConfigurationError(f"{variable}: a value can't have a NUL character in it")
    return text
