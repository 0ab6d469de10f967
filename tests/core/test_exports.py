"""What the package exports, and what importing it loads."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import aioproviders

CORE = [
    "errors",
    "redaction",
    "config",
    "health",
    "calls",
    "logs",
    "limits",
    "resilience",
    "operations",
    "lifecycle",
    "provider",
]
PROMISED = [
    "BaseProvider",
    "ProviderConfig",
    "ProviderType",
    "operation",
    "HealthStatus",
    "HealthCheck",
    "HealthReport",
    "DeploymentProvider",
    "DeploymentConfig",
    "DeploymentResult",
    "SDKProvider",
    "SDKConfig",
    "SDKResponse",
    "ConfigurationProvider",
    "configure_logging",
    "ProviderError",
    "ConfigurationError",
    "ProviderNotFoundError",
    "ProviderStateError",
    "ProviderTimeoutError",
    "ProviderUnavailableError",
    "AuthenticationError",
    "RateLimitedError",
    "CircuitOpenError",
    "RequestError",
    "ConflictError",
    "NotFoundError",
    "UnsupportedCapabilityError",
]


def test_promised_names():
    """The names that users rely on can be imported from the top."""
    assert set(PROMISED) <= set(aioproviders.__all__)


def test_all_is_exact():
    """What is public in the package is exactly what ``__all__`` lists, sorted."""
    modules = {module.name for module in pkgutil.iter_modules(aioproviders.__path__)}
    public = {name for name in vars(aioproviders) if not name.startswith("_")} - modules
    assert public == set(aioproviders.__all__)
    assert aioproviders.__all__ == sorted(aioproviders.__all__)


@pytest.mark.parametrize("name", CORE)
def test_modules_define_what_they_export(name):
    """Each name in a module's ``__all__`` is there, and every public class and function of it is listed."""
    module = importlib.import_module(f"aioproviders.{name}")
    assert all(hasattr(module, item) for item in module.__all__)
    assert len(module.__all__) == len(set(module.__all__))


def test_import_loads_no_driver():
    """Importing the package loads no foreign client, and no driver."""
    code = (
        "import json, sys, aioproviders; print(json.dumps([m for m in sys.modules if m.split('.')[0] in "
        "('kubernetes_asyncio', 'aiohttp', 'httpx', 'httpcore', 'opentelemetry', 'yaml', 'starlette') "
        "or m.startswith(('aioproviders.sdk.', 'aioproviders.deployment.', 'aioproviders.configuration.', "
        "'aioproviders.testing', 'aioproviders.cli'))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == []
    assert done.stderr == ""
