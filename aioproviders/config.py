"""What every provider is configured with: `ProviderConfig` and its parts.

All models here are frozen in depth, refuse unknown fields and never show a secret.
"""

from __future__ import annotations

import difflib
import os
import typing
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self, TypeVar

import typing_extensions
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from aioproviders.errors import ConfigurationError, ConfigurationWarning
from aioproviders.redaction import MASK, Redactor, is_secret_key

__all__ = [
    "CircuitBreakerConfig",
    "LocalPath",
    "LocalPathText",
    "Milliseconds",
    "OperationConfig",
    "ProviderConfig",
    "RetryBudgetConfig",
    "Settings",
    "config_class_of",
    "fit",
    "paths_start_at",
    "start_of_paths",
]


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a whole number, not true or false")  # noqa: TRY004 - pydantic collects ValueErrors
    return value


Whole = Annotated[int, BeforeValidator(_no_boolean)]
Milliseconds = Annotated[Whole, Field(gt=0)]
"""A duration in whole milliseconds, above zero."""

_FOLDER = "aioproviders.folder"


def paths_start_at(folder: Path) -> dict[str, Any]:
    """Return the context of a validation in which relative paths start at `folder`."""
    return {_FOLDER: folder.resolve()}  # by whichever way it was named: its processes are the same


def start_of_paths(info: ValidationInfo) -> Path | None:
    """Return where relative paths start in a validation; None: where the process runs."""
    return (info.context or {}).get(_FOLDER)


def _located(path: PathT, info: ValidationInfo) -> PathT:
    try:
        return type(path)((start_of_paths(info) or Path()) / Path(path).expanduser())
    except RuntimeError:
        raise ValueError("begins with '~', and whose home that is can't be told") from None


PathT = TypeVar("PathT", Path, str)
LocalPath = Annotated[Path, AfterValidator(_located)]
"""A path on this machine; a relative one in a providers file starts at the file's folder, ``~`` is home."""
LocalPathText = Annotated[str, AfterValidator(_located)]
"""The same as a text, for settings that may be something else."""

_URL_REDACTOR = Redactor()


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise TypeError("a provider's config is frozen; make a new one with model_copy(update=…)")


class _FrozenDict(dict[Any, Any]):
    """A dict that can be read and copied, not changed."""

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)


class _FrozenList(list[Any]):
    """A list that can be read and copied, not changed."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)


class _FrozenSet(set[Any]):
    """A set that can be read and copied, not changed; pydantic takes no `frozenset` for a `set`."""

    __iand__ = __ior__ = __isub__ = __ixor__ = _refuse
    add = clear = discard = pop = remove = update = _refuse
    difference_update = intersection_update = symmetric_difference_update = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (list(self),)


def _freeze(value: Any) -> Any:
    if isinstance(value, dict):
        return _FrozenDict({key: _freeze(item) for key, item in value.items()})
    if isinstance(value, list):
        return _FrozenList(map(_freeze, value))
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(_freeze, value))
    if isinstance(value, set):
        return _FrozenSet(value)
    return value


def _freeze_fields(model: BaseModel) -> None:
    for name, value in model.__dict__.items():
        model.__dict__[name] = _freeze(value)


class Settings(BaseModel):
    """Base of every config model: frozen in depth, no unknown fields, no secrets shown."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        ser_json_inf_nan="constants",
    )

    @model_validator(mode="after")
    def _freeze_in_depth(self) -> Self:
        _freeze_fields(self)
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with `update` put in, not validated, frozen as well."""
        copied = super().model_copy(update=update, deep=deep)
        _freeze_fields(copied)
        return copied

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            hidden = (
                name is not None and is_secret_key(name) and isinstance(value, str) and "://" not in value
            )
            yield name, MASK if hidden else _shown(value)


def _shown(value: Any) -> Any:
    """Return `value` fit for a `repr`: strings, keys and nested containers without secrets."""
    if isinstance(value, (str, Mapping, list, tuple, set, frozenset)):
        return _URL_REDACTOR.value(value)
    return value


class OperationConfig(Settings):
    """What one method does differently from the rest of its provider; None keeps the provider's own."""

    timeout_ms: Milliseconds | None = None
    retry_attempts: Annotated[Whole, Field(ge=1)] | None = None
    deadline_ms: Milliseconds | None = None
    backoff_initial_ms: Milliseconds | None = None
    backoff_max_ms: Milliseconds | None = None
    retry_after_max_ms: Annotated[Whole, Field(ge=0)] | None = None


class CircuitBreakerConfig(Settings):
    """When to stop calling a side that is down.

    It opens when, of at least `minimum_calls` attempts within `window_ms`, the share of failures
    reaches `failure_ratio`; after `open_ms` one probe is let through, and decides.
    """

    failure_ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    minimum_calls: Annotated[Whole, Field(ge=1)] = 10
    window_ms: Milliseconds = 30_000
    open_ms: Milliseconds = 10_000


class RetryBudgetConfig(Settings):
    """How many retries all calls of a provider may make together.

    Each call earns `ratio` of a retry. `floor` retries are free, and come back within `window_ms`,
    so that a provider that is seldom called can still retry.
    """

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    floor: Annotated[Whole, Field(ge=0)] = 10
    window_ms: Milliseconds = 60_000


class ProviderConfig(Settings):
    """Base configuration of all providers; a driver's own config adds its fields to these.

    Attributes:
        name: What the provider is called in logs, errors and the registry.
        version: Version of what is provided; drivers may give it a sharper meaning.
        enabled: False keeps it in the registry, not started, and reported as disabled.
        timeout_ms: Limit of ONE attempt.
        retry_attempts: Attempts in all, the first included; 1 means no retry.
        deadline_ms: Limit of the whole call, with waiting and backoff; None sets no limit of its own.
        backoff_initial_ms: Longest wait before the first retry; it doubles each time, with full jitter.
        backoff_max_ms: Longest wait of the backoff.
        retry_after_max_ms: The longest ``Retry-After`` that is waited for.
        max_concurrency: Calls in flight; None is unlimited.
        circuit_breaker: None for none.
        retry_budget: None for no limit over all calls.
        operations: Overrides per method, such as ``{"deploy": {"timeout_ms": 60000}}``.
        depends_on: Names, in the registry, of the providers to start first.
        tags: Labels to select by in a health sweep.
    """

    name: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)]
    enabled: bool = True
    timeout_ms: int = 5000
    retry_attempts: int = 3
    deadline_ms: int | None = None
    backoff_initial_ms: int = 100
    backoff_max_ms: int = 10_000
    retry_after_max_ms: int = 30_000
    max_concurrency: int | None = None
    circuit_breaker: CircuitBreakerConfig | None = None
    retry_budget: RetryBudgetConfig | None = RetryBudgetConfig()
    operations: Mapping[str, OperationConfig] = {}
    depends_on: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    # Their names are long so that no driver's validator replaces them by chance.
    # Validators, not constraints in the annotations: a driver that gives a field another default
    # (`timeout_ms: int = 10000`) redefines it, and would lose those.
    @field_validator(
        "timeout_ms",
        "deadline_ms",
        "retry_attempts",
        "backoff_initial_ms",
        "backoff_max_ms",
        "max_concurrency",
    )
    @classmethod
    def _provider_config_at_least_one(cls, value: int | None) -> int | None:
        if value is not None and value < 1:
            raise ValueError("should be 1 or more")
        return value

    @field_validator("retry_after_max_ms")
    @classmethod
    def _provider_config_not_negative(cls, value: int) -> int:
        if value < 0:
            raise ValueError("should be 0 or more")
        return value

    @field_validator(
        "timeout_ms",
        "deadline_ms",
        "retry_attempts",
        "backoff_initial_ms",
        "backoff_max_ms",
        "retry_after_max_ms",
        "max_concurrency",
        mode="before",
    )
    @classmethod
    def _whole_number(cls, value: Any) -> Any:
        return _no_boolean(value)

    @model_validator(mode="after")
    def _warn_of_conflicts(self) -> Self:
        if os.environ.get("LOG_SILENT") != "1":
            for conflict in self.conflicts():
                warnings.warn(f"{self.name}: {conflict}", ConfigurationWarning, stacklevel=2)
        return self

    def conflicts(self) -> list[str]:
        """Say, a line each, which fields can't all take effect together."""
        found = []
        for where, policy in [
            ("", self),
            *((f"operations.{name}: ", item) for name, item in self._resolved()),
        ]:
            if policy.backoff_initial_ms > policy.backoff_max_ms:
                found.append(
                    f"{where}backoff_initial_ms={policy.backoff_initial_ms} is more than "
                    f"backoff_max_ms={policy.backoff_max_ms}"
                )
            if policy.deadline_ms is None:
                continue
            waits = _longest_waits(policy)
            whole = policy.timeout_ms * policy.retry_attempts + waits
            if whole > policy.deadline_ms:
                found.append(
                    f"{where}{policy.retry_attempts} attempts of {policy.timeout_ms} ms with their backoff "
                    f"take up to {whole} ms, which does not fit deadline_ms={policy.deadline_ms}"
                )
        return found

    def _resolved(self) -> Iterator[tuple[str, ProviderConfig]]:
        for name, override in self.operations.items():
            # model_copy neither validates nor warns again.
            yield name, self.model_copy(update={**override.model_dump(exclude_none=True), "operations": {}})

    def for_operation(self, name: str) -> ProviderConfig:
        """Return this config with what `operations` says of the method `name` put in."""
        return dict(self._resolved()).get(name, self)


def _longest_waits(config: ProviderConfig) -> int:
    """Return the longest that all waits of the backoff can take together, in milliseconds."""
    total, wait, left = 0, config.backoff_initial_ms, config.retry_attempts - 1
    while left and wait < config.backoff_max_ms:
        total += wait
        wait *= 2
        left -= 1
    return total + left * config.backoff_max_ms


def fit(
    config: object, needed: type[ProviderConfig], provider_class: str, operations: Collection[str]
) -> ProviderConfig:
    """Return `config` as an instance of `needed`, made from its fields if it is of a plainer class.

    Args:
        config: What a provider was given.
        needed: The class the provider needs.
        provider_class: The provider's class, for messages.
        operations: The names that the config may override settings for.

    Raises:
        ConfigurationError: It can't be one, or overrides settings of an operation that does not exist.
    """
    if not isinstance(config, ProviderConfig):
        raise ConfigurationError(f"{provider_class} takes a {needed.__name__}, not {type(config).__name__}")
    if not isinstance(config, needed):
        try:
            fitted = needed.model_validate({name: getattr(config, name) for name in config.model_fields_set})
        except ValidationError as exc:
            wrong = ", ".join(
                ".".join(map(str, e["loc"])) for e in exc.errors(include_input=False, include_url=False)
            )
            raise ConfigurationError(
                f"{provider_class} takes a {needed.__name__}; this {type(config).__name__} can't be one: "
                f"see {wrong}",
                provider=config.name,
            ) from None
        config = fitted
    for name in config.operations:
        if name not in operations:
            near = difflib.get_close_matches(name, operations)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(operations))}"
            raise ConfigurationError(
                f"operations.{name}: {provider_class} has no such operation; {hint}", provider=config.name
            )
    return config


def config_class_of(cls: type) -> type[ProviderConfig] | None:
    """Find the config class that `cls` itself names: as type argument, or on ``__init__``'s ``config``."""
    if "__init__" in vars(cls):
        # A class defined in a function may name a config that cannot be looked up from here.
        with suppress(NameError, AttributeError, TypeError):
            found = _as_config_class(typing.get_type_hints(vars(cls)["__init__"]).get("config"))
            if found is not None:
                return found
    for base in getattr(cls, "__orig_bases__", ()) if "__orig_bases__" in vars(cls) else ():
        for argument in typing.get_args(base):
            found = _as_config_class(argument)
            if found is not None:
                return found
    return None


def _as_config_class(annotation: Any) -> type[ProviderConfig] | None:
    if isinstance(annotation, (TypeVar, typing_extensions.TypeVar)):
        default = getattr(annotation, "__default__", None)
        annotation = default if isinstance(default, type) else annotation.__bound__
    return annotation if isinstance(annotation, type) and issubclass(annotation, ProviderConfig) else None
