"""The specification part by part, each shown briefly through the public names."""

import inspect
import os
import pickle
import subprocess
import sys
import textwrap
from abc import ABC
from types import SimpleNamespace

import anyio
import pytest
import structlog
from pydantic import SecretStr, ValidationError
from vendor_packages import install

from aioproviders import (
    BaseProvider,
    ConfigurationError,
    ConfigurationProvider,
    DeploymentConfig,
    DeploymentProvider,
    DeploymentResult,
    HealthStatus,
    ProviderConfig,
    ProviderError,
    ProviderFactory,
    ProviderNotFoundError,
    ProviderRegistry,
    ProviderState,
    ProviderStateError,
    ProviderType,
    ProviderUnavailableError,
    SDKConfig,
    SDKProvider,
    SDKResponse,
    configure_logging,
    trace_context,
)
from aioproviders.configuration.environment import EnvironmentConfig, EnvironmentConfigProvider
from aioproviders.sdk.python import PythonSDKConfig, PythonSDKProvider
from aioproviders.testing import ProviderTestBase

CANARY = "sk-canary-2f9d61"


class Shop(SDKProvider):
    """An SDK provider that says what it was told to, and counts."""

    opened = closed = calls = 0
    failure: Exception | None = None

    async def initialize(self):
        self.opened += 1

    async def health_check(self):
        if self.failure is not None:
            raise self.failure
        return {"status": "healthy"}

    async def cleanup(self):
        self.closed += 1

    async def make_request(self, endpoint, data=None):
        self.calls += 1
        self.logger.info("asked", endpoint=endpoint, api_key=CANARY, url=f"https://u:{CANARY}@example.com/")
        if self.failure is not None:
            raise self.failure
        return SDKResponse(success=True, data=data, latency_ms=0, request_id="1")

    async def authenticate(self, credentials):
        return True

    async def get_capabilities(self):
        return {}


@pytest.fixture
def shop_config():
    return SDKConfig(
        name="shop",
        version="1.0.0",
        api_endpoint="https://api.example.com",
        api_key=SecretStr(CANARY),
        backoff_initial_ms=1,
    )


@pytest.fixture
def shop(shop_config):
    return Shop(shop_config)


# Provider interface patterns.


def test_base_interface():
    """BaseProvider is an ABC whose three abstract methods are async."""
    assert issubclass(BaseProvider, ABC)
    assert BaseProvider.__abstractmethods__ == {"initialize", "health_check", "cleanup"}
    assert all(
        inspect.iscoroutinefunction(getattr(BaseProvider, m)) for m in BaseProvider.__abstractmethods__
    )


def test_base_config_has_the_specified_fields_and_defaults():
    """Name and version are needed; the rest is as specified."""
    config = ProviderConfig(name="x", version="1")
    assert (config.enabled, config.timeout_ms, config.retry_attempts) == (True, 5000, 3)
    with pytest.raises(ValidationError, match="version"):
        ProviderConfig(name="x")


def test_deployment_interface():
    """Four abstract methods, and a config and a result of the specified fields and defaults."""
    methods = {"deploy", "scale", "rollback", "get_status"}
    assert methods < DeploymentProvider.__abstractmethods__
    config = DeploymentConfig(name="x", version="1")
    found = (config.environment, config.namespace, config.replicas, config.resources)
    assert found == ("development", "default", 1, {})
    result = DeploymentResult(success=True, deployment_id="1", status="deployed")
    assert (result.message, result.metadata) == (None, {})


def test_sdk_interface():
    """Three abstract methods, and a config and a response of the specified fields and defaults."""
    assert {"make_request", "authenticate", "get_capabilities"} < SDKProvider.__abstractmethods__
    config = SDKConfig(name="x", version="1", api_endpoint="https://example.com")
    found = (config.api_key, config.timeout_ms, config.retry_attempts, config.rate_limit)
    assert found == (None, 10_000, 3, 100)
    response = SDKResponse(success=True, latency_ms=1, request_id="1")
    assert (response.data, response.error) == (None, None)


async def test_python_sdk_provider(tmp_path):
    """A package is imported, its client made with endpoint and key, and called."""
    install(tmp_path, "vendor_of_the_specification")
    config = PythonSDKConfig(
        name="vendor",
        package_name="vendor_of_the_specification",
        version="1.4.0",
        install_path=str(tmp_path),
        api_endpoint="https://api.example.com",
        api_key=SecretStr(CANARY),
    )
    async with PythonSDKProvider(config) as provider:
        assert provider.client.api_key == CANARY
        response = await provider.make_request("echo", {"amount": 3})
        health = await provider.health_check()
    assert response.data == {"endpoint": "https://api.example.com", "data": {"amount": 3}}
    assert health["details"]["sdk_version"] == "1.4.0"
    del sys.modules["vendor_of_the_specification"]


# Factory and registry.


def test_provider_types():
    """The specified types are there under their values."""
    assert {"deployment", "sdk", "monitoring", "storage"} <= {kind.value for kind in ProviderType}


def test_factory(shop_config):
    """A registered class is created with its config; what is unknown is a ValueError."""
    with ProviderFactory.temporary():
        ProviderFactory.register_provider(ProviderType.SDK, Shop)
        assert isinstance(ProviderFactory.create_provider(ProviderType.SDK, shop_config), Shop)
        assert ProviderFactory.get_available_providers()[ProviderType.SDK] == "Shop"
    with pytest.raises(ValueError, match="Unknown provider type"):
        ProviderFactory.create_provider("nonsense", shop_config)


@pytest.mark.parametrize(
    ("kind", "driver", "cls"),
    [
        (ProviderType.CONFIGURATION, "environment", EnvironmentConfigProvider),
        (ProviderType.SDK, "python", PythonSDKProvider),
    ],
)
def test_factory_finds_installed_drivers(kind, driver, cls):
    """The library's own drivers are found by name without being registered."""
    assert ProviderFactory.get_driver(kind, driver) is cls


async def test_registry(shop):
    """Registered providers are got by name; what is unknown is a ValueError; health comes for all."""
    registry = ProviderRegistry()
    registry.register("shop", shop)
    assert registry.get("shop", SDKProvider) is shop
    with pytest.raises(ValueError, match="Provider not found: shopp"):
        registry.get("shopp")
    async with registry:
        assert shop.state is ProviderState.READY
        results = await registry.health_check_all()
        assert results["shop"]["status"] == "healthy"
        shop.failure = RuntimeError("broken")
        failed = await registry.health_check_all()
    assert failed["shop"]["status"] == "error"
    assert "broken" in failed["shop"]["error"]
    assert shop.closed == 1


# Configuration management.


def test_configuration_interface():
    """Three abstract methods."""
    assert {"get_config", "set_config", "reload_config"} < ConfigurationProvider.__abstractmethods__


async def test_environment_configuration(monkeypatch):
    """Settings are variables with the prefix; the default prefix is the specified one."""
    monkeypatch.setenv("ALTWALLET_LIMIT", "3")
    async with EnvironmentConfigProvider(ProviderConfig(name="settings", version="1")) as provider:
        assert provider.prefix == "ALTWALLET_"
        assert await provider.get_config("limit") == "3"
        assert await provider.get_config("limit", as_type=int) == 3
        await provider.set_config("limit", 4)
        assert os.environ["ALTWALLET_LIMIT"] == "4"
        assert await provider.get_config("no_such_setting") is None
        await provider.reload_config()
    other = EnvironmentConfigProvider(EnvironmentConfig(name="settings", version="1", prefix="OTHER_"))
    assert other.prefix == "OTHER_"


def test_configuration_is_external_and_fixed():
    """A config refuses fields it does not know, and can't be changed under a provider."""
    with pytest.raises(ValidationError, match="timout_ms"):
        ProviderConfig(name="x", version="1", timout_ms=1)
    config = ProviderConfig(name="x", version="1")
    with pytest.raises(ValidationError, match="frozen"):
        config.timeout_ms = 1


# Dependency injection.


def test_dependencies_come_through_the_constructor(shop_config):
    """A provider gets its config, and one of the wrong class is refused."""
    assert Shop(shop_config).config is shop_config
    with pytest.raises(ConfigurationError, match="Shop takes a SDKConfig"):
        Shop({"name": "shop"})


# Error handling.


async def test_failures_are_structured_results(shop):
    """A failed request is a response that says what, where and whether to try again; it can be raised."""
    shop.failure = ProviderUnavailableError("no route", retryable=False)
    async with shop:
        response = await shop.make_request("/orders")
    assert (response.success, response.error) == (False, "no route")
    assert (response.error_detail.code, response.error_detail.operation) == ("unavailable", "make_request")
    with pytest.raises(ProviderUnavailableError):
        response.raise_for_error()


async def test_retries_and_timeouts_come_from_the_config(shop_config):
    """What was surely not sent is tried `retry_attempts` times; one attempt takes `timeout_ms` at most."""
    shop = Shop(shop_config.model_copy(update={"retry_attempts": 2}))
    shop.failure = ConnectionRefusedError("refused")
    async with shop:
        assert (await shop.make_request("/orders")).attempts == 2
        assert shop.calls == 2

    class Slow(Shop):
        async def make_request(self, endpoint, data=None):
            await anyio.sleep_forever()

    async with Slow(shop_config.model_copy(update={"timeout_ms": 50, "retry_attempts": 1})) as slow:
        assert (await slow.make_request("/orders")).error_detail.code == "timeout"


def test_errors_are_one_tree_and_survive_pickling():
    """All derive from ProviderError, and those the specification has as ValueError still are."""
    assert issubclass(ProviderNotFoundError, ProviderError)
    assert issubclass(ProviderNotFoundError, ValueError)
    assert issubclass(ConfigurationError, ValueError)
    error = pickle.loads(pickle.dumps(ProviderUnavailableError("gone", provider="shop", attempts=2)))
    assert (str(error), error.retryable) == ("shop: gone (2 attempts in 0.00 s)", True)


# Health checks.


async def test_health_is_structured_and_never_raises(shop):
    """A check is a dict with status, latency and time; a failing one is a check that says so."""
    async with shop:
        check = await shop.health_check()
        assert (check["status"], type(check)) == (HealthStatus.HEALTHY, dict)
        assert check["latency_ms"] >= 0
        assert check["checked_at"].tzinfo is not None
        shop.failure = RuntimeError(f"bad key {CANARY}")
        failed = await shop.health_check()
    assert failed["status"] == "error"
    assert "RuntimeError: bad key" in failed["error"]
    assert CANARY not in str(failed)


# Resource management.


async def test_resources_are_opened_once_and_given_back(shop):
    """The first use initializes, once for all; cleanup closes, once; after that there is no use."""
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(shop.make_request, "/orders")
    await shop.cleanup()
    await shop.cleanup()
    assert (shop.opened, shop.closed, shop.calls) == (1, 1, 5)
    with pytest.raises(ProviderStateError):
        await shop.make_request("/orders")


async def test_failed_start_gives_back_what_it_had_opened(shop_config):
    """When initialize fails, cleanup runs for it."""

    class Broken(Shop):
        async def initialize(self):
            self.opened += 1
            raise RuntimeError("half way")

    shop = Broken(shop_config)
    with pytest.raises(ProviderError, match="half way"):
        await shop.initialize()
    assert shop.closed == 1


# Logging compliance.


async def test_logs_are_structured_and_carry_trace_ids(shop):
    """Each event has provider, operation and trace id, that of the incoming request where there is one."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with structlog.testing.capture_logs() as events, trace_context(f"00-{trace}-00f067aa0ba902b7-01"):
        async with shop:
            await shop.make_request("/orders")
    [asked] = [event for event in events if event["event"] == "asked"]
    assert (asked["provider"], asked["operation"], asked["trace_id"]) == ("shop", "make_request", trace)
    assert {event["trace_id"] for event in events} == {trace}


async def test_no_secrets_in_logs_errors_and_representations(shop):
    """A secret of the config is masked in events, failures and reprs."""
    shop.failure = RuntimeError(f"refused {CANARY}")
    with structlog.testing.capture_logs() as events:
        async with shop:
            response = await shop.make_request("/orders")
    assert events
    for text in (repr(events), repr(shop), repr(shop.config), response.model_dump_json()):
        assert CANARY not in text


PROGRAM = """
import anyio
from aioproviders import ProviderConfig, configure_logging
from aioproviders.configuration.environment import EnvironmentConfigProvider
{configure}
async def main():
    config = ProviderConfig(name="settings", version="1", deadline_ms=20_000)
    async with EnvironmentConfigProvider(config) as provider:
        await provider.reload_config()
        try:
            await provider.get_config("")
        except ValueError:
            pass
anyio.run(main)
"""


@pytest.mark.parametrize(
    ("configure", "silent", "printed"),
    [
        ("configure_logging('json', 'debug')", "0", True),
        ("configure_logging('json', 'debug')", "1", False),
        ("", "1", False),
    ],
)
def test_log_silent(configure, silent, printed):
    """With ``LOG_SILENT=1`` the library prints not one byte, whatever the application configured."""
    program = textwrap.dedent(PROGRAM.format(configure=configure))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "LOG_SILENT": silent},
        capture_output=True,
        check=True,
        timeout=50,
    )
    assert bool(done.stdout + done.stderr) is printed


def test_logging_can_be_configured_by_its_short_way():
    """configure_logging refuses what it does not know, by name."""
    with pytest.raises(ValueError, match="format should be 'json' or 'console'"):
        configure_logging("xml")


# Testing.


def test_test_base_has_the_specified_fixtures_and_tests():
    """The fixtures and the three tests have the specification's names; the tests are async."""
    for name in ("test_provider_initialization", "test_health_check", "test_cleanup"):
        assert inspect.iscoroutinefunction(getattr(ProviderTestBase, name))
    assert {"mock_config", "provider"} <= set(vars(ProviderTestBase))


async def test_providers_can_be_tested_with_mocks(tmp_path, monkeypatch):
    """A provider's dependency is replaced by a double without a change to the provider."""
    double = SimpleNamespace(__version__="2.0", Client=lambda endpoint, api_key: {"at": endpoint})
    monkeypatch.setitem(sys.modules, "vendor_double", double)
    config = PythonSDKConfig(
        name="vendor",
        package_name="vendor_double",
        version="2.0",
        api_endpoint="here",
        request_method="get",
    )
    async with PythonSDKProvider(config) as provider:
        assert (await provider.make_request("at")).data == "here"
