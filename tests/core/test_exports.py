"""What the package exports."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

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
    """What type checkers are shown is exactly what ``__all__`` lists, sorted, and what can be had."""
    tree = ast.parse(Path(aioproviders.__file__).read_text(encoding="utf-8"))
    shown = {
        name.name: f"aioproviders.{imported.module.partition('.')[2]}"
        for imported in ast.walk(tree)
        if isinstance(imported, ast.ImportFrom) and imported.module != "importlib"
        for name in imported.names
    }
    assert set(shown) == set(aioproviders.__all__)
    assert aioproviders.__all__ == sorted(aioproviders.__all__)
    for name, module in shown.items():
        assert getattr(aioproviders, name) is getattr(importlib.import_module(module), name)


def test_names_are_listed_before_they_are_loaded():
    """`dir` and ``import *`` know every public name of a package that has loaded none."""
    code = (
        "import aioproviders; assert set(aioproviders.__all__) <= set(dir(aioproviders)); "
        "assert not set(aioproviders.__all__) & set(vars(aioproviders)); "
        "from aioproviders import *; assert set(aioproviders.__all__) <= set(globals())"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_modules_are_there_as_attributes():
    """A module of public names is an attribute of the package, also where nothing has imported it."""
    code = "import aioproviders; print(aioproviders.errors.ProviderError.__name__)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "ProviderError\n"


def test_other_names_are_none_of_the_package():
    """What is no public name is an attribute error, and an import error, that names it."""
    with pytest.raises(AttributeError, match="module 'aioproviders' has no attribute 'BaseProvder'"):
        _ = aioproviders.BaseProvder
    with pytest.raises(ImportError, match="cannot import name 'BaseProvder'"):
        exec("from aioproviders import BaseProvder")


@pytest.mark.parametrize("name", CORE)
def test_modules_define_what_they_export(name):
    """Each name in a module's ``__all__`` is there, and every public class and function of it is listed."""
    module = importlib.import_module(f"aioproviders.{name}")
    assert all(hasattr(module, item) for item in module.__all__)
    assert len(module.__all__) == len(set(module.__all__))
