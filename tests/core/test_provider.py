"""BaseProvider: config classes, health checks, what a failed call tells and logs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Generic

import anyio
import pytest
from core_doubles import Scripted, forever
from typing_extensions import TypeVar

from aioproviders import (
    BaseProvider,
    ConfigurationError,
    HealthStatus,
    ProviderConfig,
    ProviderError,
    ProviderState,
    ProviderType,
    RequestError,
    SDKConfig,
    SDKProvider,
)
from aioproviders.limits import CircuitState, RateLimiter


class OwnConfig(ProviderConfig):
    region: str = "eu"


class Plain(BaseProvider[OwnConfig]):
    async def initialize(self): ...
    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self): ...


def test_config_class_from_the_type_argument():
    """``BaseProvider[OwnConfig]`` names the config class, and subclasses inherit it."""

    class Below(Plain): ...

    assert Plain.config_class is Below.config_class is OwnConfig
    assert BaseProvider.config_class is ProviderConfig


def test_config_class_from_the_constructor():
    """As in the specification, the annotation of ``config`` names it."""

    class Specified(BaseProvider):
        def __init__(self, config: OwnConfig):
            super().__init__(config)

    assert Specified.config_class is OwnConfig


def test_config_class_from_type_variables():
    """A generic kind's bound or default counts, and its subclasses' arguments."""
    ConfigT = TypeVar("ConfigT", bound=OwnConfig)
    OtherT = TypeVar("OtherT", bound=ProviderConfig, default=OwnConfig)

    class Bound(BaseProvider[ConfigT], Generic[ConfigT]): ...

    class Default(BaseProvider[OtherT]): ...

    assert Bound.config_class is Default.config_class is OwnConfig
    assert SDKProvider.config_class is SDKConfig


def test_a_config_class_that_cannot_be_looked_up():
    """A name that is not known yet is no obstacle: the inherited class stays."""

    class Odd(Plain):
        def __init__(self, config: "NotYet"):  # noqa: F821 - the case under test
            super().__init__(config)

    assert Odd.config_class is OwnConfig


def test_an_explicit_config_class_wins():
    """A class may simply say it."""

    class Said(Plain):
        config_class = SDKConfig

    assert Said.config_class is SDKConfig


def test_a_plain_config_is_fitted():
    """A ProviderConfig whose fields suffice becomes the class that is needed."""
    provider = Plain(ProviderConfig(name="a", version="1", timeout_ms=7))
    assert provider.config == OwnConfig(name="a", version="1", timeout_ms=7)


def test_a_config_that_does_not_fit_is_refused():
    """What is missing is named."""

    class Needy(Plain):
        config_class = SDKConfig

    with pytest.raises(ConfigurationError, match=r"takes a SDKConfig; .* see api_endpoint"):
        Needy(ProviderConfig(name="a", version="1"))
    with pytest.raises(ConfigurationError, match="Plain takes a OwnConfig, not dict"):
        Plain({"name": "a"})


def test_overrides_of_unknown_operations_are_refused():
    """A misspelt operation is named with its near match, any other with what there is."""
    with pytest.raises(ConfigurationError, match=r"operations\.raed: .* did you mean 'read'"):
        Scripted(operations={"raed": {}})
    with pytest.raises(ConfigurationError, match="it has cleanup, health_check, initialize, read, watch"):
        Scripted(operations={"zzz": {}})


def test_names_and_repr():
    """A provider shows its name and state."""
    provider = Scripted()
    assert (provider.name, provider.state) == ("it", ProviderState.NEW)
    assert repr(provider) == "<Scripted 'it' new>"
    assert SDKProvider.provider_type is ProviderType.SDK


# Health.


class Answering(Scripted):
    def __init__(self, *script, **fields):
        super().__init__(*script, **fields)

    async def health_check(self):
        return await self.step()


async def check(*script, **fields):
    return await Answering(*script, **fields).health_check()


async def test_a_health_check_is_completed():
    """What the override says comes back with latency, time and attempts."""
    found = await check({"status": "healthy", "version": 3})
    assert (found["status"], found["details"], found["attempts"]) == ("healthy", {"version": 3}, 1)
    assert found["latency_ms"] >= 0
    assert found["checked_at"].tzinfo is not None
    assert type(found) is dict


async def test_a_health_check_keeps_what_the_override_knows():
    """Latency and time of the override's own stay."""
    at = datetime.fromisoformat("2024-01-01T00:00:00+00:00")
    found = await check({"status": "degraded", "latency_ms": 5, "checked_at": at, "error": "slow"})
    assert (found["latency_ms"], found["checked_at"], found["error"]) == (5.0, at, "slow")


@pytest.mark.parametrize(
    ("script", "status", "error"),
    [
        ([ValueError("x")], "error", "ValueError: x"),
        ([ConnectionError("x")] * 3, "error", "ConnectionError: x"),
        ([forever] * 3, "timeout", "not done within 20 ms"),
        ([None], "error", "health_check() should return a mapping with a 'status', not NoneType"),
        (
            [{"state": "up"}],
            "error",
            "health_check() should return a mapping with a 'status', not keys ['state']",
        ),
        ([RequestError("bad", status_code=500)], "error", "bad"),
    ],
)
async def test_health_never_raises(script, status, error):
    """Whatever goes wrong, a check comes back and says it."""
    found = await check(*script, timeout_ms=20)
    assert (found["status"], found["error"]) == (status, error)


async def test_health_survives_an_answer_that_explodes():
    """A mapping or a detail that can't be read or printed is reported, not raised."""

    class Bomb(dict):
        def items(self):
            raise RuntimeError("boom")

    class Shy:
        def __repr__(self):
            raise RuntimeError("boom")

    assert (await check(Bomb(status="healthy")))["error"] == "RuntimeError: boom"
    found = await check({"status": "healthy", "client": Shy()})
    assert found["details"] == {"client": "<Shy that can't be printed>"}


async def test_health_survives_details_that_explode():
    """Details nested too deep to be read at once, and that raise when they are, make it an error."""

    class Lazy(Mapping):
        def __getitem__(self, key):
            raise RuntimeError("no session")

        def __iter__(self):
            yield "x"

        def __len__(self):
            return 1

    found = await check({"status": "healthy", "details": {"session": Lazy()}})
    assert (found["status"], found["error"]) == (HealthStatus.ERROR, "RuntimeError: no session")


async def test_health_is_retried():
    """A check that fails in passing is repeated."""
    found = await check(ConnectionError("x"), {"status": "healthy"})
    assert (found["status"], found["attempts"]) == ("healthy", 2)


async def test_health_of_a_provider_that_cannot_start():
    """A start that fails is the check's error."""

    class Broken(Scripted):
        async def initialize(self):
            raise ValueError("no way")

    found = await Broken().health_check()
    assert (found["status"], found["error"], found["attempts"]) == ("error", "ValueError: no way", 0)


async def test_health_heeds_neither_slots_nor_breaker():
    """A probe tells the truth when the breaker is open and all slots are taken."""
    provider = Scripted(
        RequestError("x", status_code=500), forever, max_concurrency=1, circuit_breaker={"minimum_calls": 1}
    )
    with pytest.raises(RequestError):
        await provider.read()
    assert provider.breaker.state is CircuitState.OPEN
    provider.slots.acquire_nowait()
    with anyio.fail_after(1):
        assert (await provider.health_check())["status"] is HealthStatus.HEALTHY


async def test_a_limit_of_rate_is_shared_by_all_operations():
    """The rate holds for the provider, not for each of its methods."""
    rate = RateLimiter(1, 3)
    provider = Scripted(rate=rate)
    await provider.read()
    await provider.write()
    await provider.health_check()
    assert not rate.try_acquire()


async def test_an_error_says_where_it_arose():
    """Provider, operation, attempts and time are filled in, once."""
    inner = Scripted(ValueError("x"), name="inner")
    outer = Scripted(lambda: inner.write(), name="outer")  # noqa: PLW0108 - called when it is reached
    with pytest.raises(ProviderError, match=r"^inner\.write: ValueError: x$") as caught:
        await outer.read()
    assert caught.value.attempts == 1
