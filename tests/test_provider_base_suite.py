"""`ProviderTestBase`, inherited for each driver and by strangers' projects."""

import os
import subprocess
import sys

import pytest
from pydantic import SecretStr
from vendor_packages import install

from aioproviders import BaseProvider, ProviderConfig
from aioproviders.configuration.environment import EnvironmentConfigProvider
from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider
from aioproviders.sdk.python import PythonSDKConfig, PythonSDKProvider
from aioproviders.testing import ProviderTestBase


class TestEnvironmentConfigProvider(ProviderTestBase):
    """The environment driver takes the plain config that the base gives."""

    @pytest.fixture
    def provider(self, mock_config):
        return EnvironmentConfigProvider(mock_config)


class TestPythonSDKProvider(ProviderTestBase):
    """The Python SDK driver, with a package that is really imported."""

    @pytest.fixture
    def provider(self, tmp_path):
        install(tmp_path, "vendor_of_the_suite")
        config = PythonSDKConfig(
            name="vendor",
            package_name="vendor_of_the_suite",
            version="1.4.0",
            install_path=str(tmp_path),
            api_endpoint="https://example.com",
            api_key=SecretStr("sk-canary-9b1f"),
            health_method="ping",
        )
        yield PythonSDKProvider(config)
        sys.modules.pop("vendor_of_the_suite", None)


class TestHTTPSDKProvider(ProviderTestBase):
    """The HTTP driver, with a real server."""

    @pytest.fixture
    def provider(self, fault_server):
        config = HTTPSDKConfig(
            name="api", version="1", api_endpoint=fault_server.url, api_key=SecretStr("sk-canary-9b1f")
        )
        return HTTPSDKProvider(config)


class StrangersProvider(BaseProvider):
    async def initialize(self):
        self.connection = object()

    async def health_check(self):
        return {"status": "degraded", "connection": repr(self.connection)}

    async def cleanup(self):
        self.connection = None


class TestStrangersProvider(ProviderTestBase):
    """A provider that is not ours, with the base's own config."""

    @pytest.fixture
    def provider(self, mock_config):
        return StrangersProvider(mock_config)

    def test_config_is_the_base_s(self, mock_config):
        """The config that the base gives is the specification's."""
        assert mock_config == ProviderConfig(name="test_provider", version="1.0.0", enabled=True)


HEADER = """
import pytest
from pydantic import SecretStr
from aioproviders import BaseProvider, ProviderConfig
from aioproviders.testing import ProviderTestBase

class Config(ProviderConfig):
    token: SecretStr = SecretStr("canary-4d2e")
"""
PROVIDER = """
class {name}(BaseProvider[Config]):
    async def initialize(self):
        {initialize}
    async def health_check(self):
        {health_check}
    async def cleanup(self):
        {cleanup}
    def __repr__(self):
        return {repr}

class Test{name}(ProviderTestBase):
    @pytest.fixture
    def provider(self, mock_config):
        return {name}(mock_config)
"""
GOOD = {
    "initialize": "self.open = True",
    "health_check": 'return {"status": "healthy"}',
    "cleanup": "del self.open",
    "repr": '"<one of mine>"',
}
FAULTS = {
    "Stuck": ({"initialize": 'raise RuntimeError("no")'}, "test_provider_initialization", "RuntimeError: no"),
    "Shapeless": ({"health_check": "return 5"}, "test_health_check", "should return a mapping"),
    "Unclear": (
        {"health_check": 'return {"status": "fine"}'},
        "test_health_check",
        "a status that is none of",
    ),
    "Messy": ({"cleanup": "self.open.close()"}, "test_cleanup", "has no attribute 'close'"),
    "Chatty": (
        {"repr": "self.config.token.get_secret_value()"},
        "test_secrets_stay_hidden",
        "1 of the config's",
    ),
}
# These go around the framework.
REVIVED = """
async def initialize(self): ...
Revived.initialize = initialize
"""
UNOPENED = """
async def cleanup(self):
    del self.open
Unopened.cleanup = cleanup
"""


def run_project(tmp_path, source, *options):
    (tmp_path / "test_mine.py").write_text(source)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))
    }
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "pytest_asyncio.plugin",
            "-p",
            "no:cacheprovider",
            "-rA",
            *options,
        ],
        cwd=tmp_path,
        env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_stranger_s_project_passes(tmp_path, mode):
    """In both modes of pytest-asyncio the inherited tests run and pass, and the base itself is not run."""
    source = HEADER + PROVIDER.format(name="Good", **GOOD)
    options = ("-o", f"asyncio_mode={mode}", "-o", "python_classes=Test* *Base")
    done = run_project(tmp_path, source, *options)
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout
    assert "ProviderTestBase" not in done.stdout


def test_stranger_s_faults_are_found(tmp_path):
    """Each provider that does not comply fails the test that is about it, with what is wrong."""
    source = HEADER
    for name, (fault, _, _) in FAULTS.items():
        source += PROVIDER.format(name=name, **{**GOOD, **fault})
    source += PROVIDER.format(name="Revived", **GOOD) + REVIVED
    source += PROVIDER.format(name="Unopened", **GOOD) + UNOPENED
    source += "\nclass TestForgotten(ProviderTestBase): ...\n"
    done = run_project(tmp_path, source)
    assert done.returncode == 1, done.stdout
    for name, (_, failed, why) in FAULTS.items():
        assert f"FAILED test_mine.py::Test{name}::{failed} " in done.stdout
        assert why in done.stdout
    assert "FAILED test_mine.py::TestRevived::test_use_after_cleanup " in done.stdout
    assert "FAILED test_mine.py::TestUnopened::test_cleanup_without_use " in done.stdout
    assert "TestForgotten should override the fixture 'provider'" in done.stdout


@pytest.mark.parametrize(("module", "loaded"), [("aioproviders", False), ("aioproviders.testing", True)])
def test_only_the_kit_imports_pytest(module, loaded):
    """An application that imports the library does not load pytest."""
    code = f"import sys, {module}; print('pytest' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=50
    )
    assert done.stdout.strip() == str(loaded)


def test_kit_without_pytest_says_what_to_install():
    """Where pytest is missing the error has the line to run."""
    code = "import sys; sys.modules['pytest'] = None; import aioproviders.testing"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50
    )
    assert (
        "ImportError: aioproviders.testing needs pytest; run: pip install pytest pytest-asyncio"
        in done.stderr
    )
