"""The registry as a collection: registering, looking up, and what it says when something is wrong."""

from typing import Any, assert_type

import pytest
import structlog
from registry_doubles import Double, Worker, config, double, filled

from aioproviders import (
    BaseProvider,
    ConfigurationError,
    ProviderNotFoundError,
    ProviderRegistry,
    ProviderStateError,
    SDKProvider,
)


@pytest.fixture
def logs():
    """The events that are logged."""
    capture = structlog.testing.LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries
    structlog.reset_defaults()


def test_holds_providers_in_the_order_of_registration():
    """Names, iteration, length and membership agree."""
    registry = filled(double("b"), double("a"))
    assert registry.names == ("b", "a")
    assert list(registry) == ["b", "a"]
    assert len(registry) == 2
    assert "a" in registry
    assert "x" not in registry
    assert 7 not in registry


async def test_repr_says_state_and_size():
    """The repr is short, whatever is in it."""
    registry = filled(double("a"))
    assert repr(registry) == "<ProviderRegistry new, 1 provider>"
    async with registry:
        registry.register("b", double("b"))
        assert repr(registry) == "<ProviderRegistry open, 2 providers>"
    assert repr(registry) == "<ProviderRegistry closed, 2 providers>"


def test_register_logs_the_event_of_the_specification(logs):
    """Each registration is one event with the provider's name."""
    filled(double("a"))
    (entry,) = logs
    assert (entry["event"], entry["provider_name"], entry["log_level"]) == (
        "Provider registered",
        "a",
        "info",
    )
    assert entry["provider"] == "a"


def test_a_name_can_be_registered_once():
    """A second provider of a name is refused, and the first one stays."""
    registry = filled(first := double("a"))
    with pytest.raises(ConfigurationError, match="'a' is registered already"):
        registry.register("a", double("a"))
    assert registry.get("a") is first


@pytest.mark.parametrize(
    ("provider", "what"),
    [(Double, "the class Double"), (object(), "object"), (config(), "ProviderConfig"), (None, "NoneType")],
)
def test_only_providers_can_be_registered(provider, what):
    """What is no provider is refused with its type's name."""
    with pytest.raises(ConfigurationError, match=f"'a' should be an instance of a BaseProvider, not {what}"):
        ProviderRegistry().register("a", provider)


@pytest.mark.parametrize("name", ["", None, 7])
def test_a_name_is_a_text(name):
    """An empty name, or none, is refused."""
    with pytest.raises(ConfigurationError, match="name should be a text"):
        ProviderRegistry().register(name, double())


def test_get_is_typed():
    """With a kind, an abstract one too, the type checker and the caller get that."""
    registry = filled(double("a"))
    assert_type(registry.get("a"), BaseProvider[Any])
    assert assert_type(registry.get("a", Double), Double).probes == 0


def test_get_names_near_matches():
    """An unknown name is a ValueError and a LookupError that names what is near."""
    with pytest.raises(
        ProviderNotFoundError, match=r"^Provider not found: paiments; did you mean 'payments'"
    ) as info:
        filled(double("payments")).get("paiments")
    assert isinstance(info.value, ValueError)
    assert isinstance(info.value, LookupError)


def test_get_says_what_a_provider_of_another_kind_is():
    """Asking for the wrong kind names both kinds."""
    with pytest.raises(ProviderNotFoundError, match="'a' is no SDKProvider, but Double"):
        filled(double("a")).get("a", SDKProvider)


async def test_nothing_works_after_the_end():
    """A closed registry refuses all use, and so does a provider got from it."""
    registry = filled(double("a"))
    async with registry:
        held = registry.get("a")
    for use in (
        lambda: registry.get("a"),
        lambda: registry.register("b", double("b")),
        registry.iter_health,
    ):
        with pytest.raises(ProviderStateError, match="the registry is closed"):
            use()
    for use in (registry.sweep(), registry.health_check_all(), registry.reconfigure("a", config("a"))):
        with pytest.raises(ProviderStateError, match="the registry is closed"):
            await use
    with pytest.raises(ProviderStateError):
        await held.initialize()
    assert registry.names == ("a",)


async def test_can_be_entered_once():
    """Neither an open registry nor a closed one can be entered (again)."""
    registry = filled(double("a"))
    async with registry:
        with pytest.raises(ProviderStateError, match="entered once; this one is open"):
            await registry.__aenter__()
    with pytest.raises(ProviderStateError, match="entered once; this one is closed"):
        await registry.__aenter__()


async def test_a_provider_registered_while_open_starts_at_first_use_and_is_closed_at_the_end():
    """A late provider is owned like any other, its background tasks too."""
    registry = filled()
    async with registry:
        late = double("late", Worker)
        registry.register("late", late)
        assert late.held == 0
        assert (await registry.health_check_all())["late"]["status"] == "healthy"
        assert late.held == 1
    assert late.held == 0


async def test_a_late_providers_dependencies_must_be_there():
    """In an open registry a provider that could never start is refused at once."""
    async with filled(double("off", enabled=False)) as registry:
        with pytest.raises(
            ConfigurationError, match="'late' depends on 'nope', which is not in the registry"
        ):
            registry.register("late", double("late", depends_on=["nope"]))
        with pytest.raises(ConfigurationError, match="'off', which is disabled"):
            registry.register("late", double("late", depends_on=["off"]))
        assert "late" not in registry


async def test_a_provider_has_one_name():
    """The same object under two names is refused on entry."""
    registry = filled(a := double("a"))
    registry.register("alias", a)
    with pytest.raises(ProviderStateError, match="has an owner already"):
        await registry.__aenter__()


async def test_a_provider_has_one_owner():
    """A provider that is in use elsewhere is refused, and stays there untouched."""
    async with double("a") as provider, filled() as registry:
        with pytest.raises(ProviderStateError, match="has an owner already"):
            registry.register("a", provider)
        with pytest.raises(ProviderStateError, match="has an owner already"):
            await filled(provider).__aenter__()
        assert (await provider.health_check())["status"] == "healthy"
