"""The specification's own samples, run against the package.

They are changed only so far: ``async`` and ``await``, the abstract methods that they leave out, and
``config.get(…)``, which no pydantic model has.
"""

import importlib
import os
import time
import uuid
from typing import Any

import pytest
from pydantic import SecretStr

from aioproviders import (
    BaseProvider,
    ConfigurationProvider,
    DeploymentConfig,
    DeploymentProvider,
    DeploymentResult,
    ProviderConfig,
    ProviderFactory,
    ProviderRegistry,
    ProviderState,
    ProviderStateError,
    ProviderType,
    SDKConfig,
    SDKProvider,
    SDKResponse,
)
from aioproviders.testing import ProviderTestBase

# Kubernetes deployment provider.


class KubernetesDeploymentConfig(DeploymentConfig):
    """Kubernetes-specific deployment configuration."""

    cluster_name: str
    context: str
    kubeconfig_path: str | None = None
    image_tag: str = "latest"


class KubernetesDeploymentProvider(DeploymentProvider):
    """Kubernetes deployment provider implementation."""

    def __init__(self, config: KubernetesDeploymentConfig):
        super().__init__(config)
        self.k8s_client = None

    async def initialize(self) -> None:
        """Initialize Kubernetes client."""
        try:
            from kubernetes import client, config

            config.load_kube_config(self.config.kubeconfig_path)
            self.k8s_client = client.AppsV1Api()
            self.logger.info("Kubernetes client initialized")
        except Exception as e:
            self.logger.error("Failed to initialize Kubernetes client", error=str(e))
            raise

    async def deploy(self, config: DeploymentConfig) -> DeploymentResult:
        """Deploy to Kubernetes."""
        try:
            return DeploymentResult(
                success=True,
                deployment_id="k8s-deployment-123",
                status="deployed",
                message="Deployment successful",
            )
        except Exception as e:
            return DeploymentResult(success=False, deployment_id="", status="failed", message=str(e))

    async def health_check(self) -> dict[str, Any]:
        """Check Kubernetes cluster health."""
        try:
            return {"status": "healthy", "cluster": self.config.cluster_name}
        except Exception as e:
            return {"status": "unhealthy", "error": str(e)}

    async def cleanup(self) -> None:
        """Cleanup Kubernetes resources."""
        self.k8s_client = None

    # Left out by the sample.

    async def scale(self, replicas: int) -> DeploymentResult:
        return DeploymentResult(success=True, deployment_id="k8s-deployment-123", status=f"{replicas}")

    async def rollback(self, version: str) -> DeploymentResult:
        raise ConnectionError("the cluster is gone")

    async def get_status(self) -> dict[str, Any]:
        return {"replicas": self.config.replicas}


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: staging
clusters: [{name: east, cluster: {server: "https://127.0.0.1:6443"}}]
users: [{name: deployer, user: {token: canary-kube-token}}]
contexts: [{name: staging, context: {cluster: east, user: deployer}}]
"""


@pytest.fixture
def kubernetes_config(tmp_path):
    path = tmp_path / "kubeconfig"
    path.write_text(KUBECONFIG)
    return KubernetesDeploymentConfig(
        name="cluster", version="1.0.0", cluster_name="east", context="staging", kubeconfig_path=str(path)
    )


async def test_kubernetes_sample_runs(kubernetes_config):
    """The sample loads the kubeconfig, deploys, tells its health and gives its client back."""
    provider = KubernetesDeploymentProvider(kubernetes_config)
    await provider.initialize()
    assert provider.k8s_client.api_client.configuration.host == "https://127.0.0.1:6443"
    result = await provider.deploy(kubernetes_config)
    assert (result.success, result.deployment_id) == (True, "k8s-deployment-123")
    health = await provider.health_check()
    assert health["status"] == "healthy"
    assert health["details"] == {"cluster": "east"}
    await provider.cleanup()
    assert provider.k8s_client is None


async def test_kubernetes_sample_reports_failures_as_results(kubernetes_config):
    """What the sample's author lets raise comes back as a failed result, as he writes it by hand."""
    async with KubernetesDeploymentProvider(kubernetes_config) as provider:
        result = await provider.rollback("1.0.0")
    assert (result.success, result.status, result.deployment_id) == (False, "failed", "")
    assert "the cluster is gone" in result.message


async def test_kubernetes_sample_fails_to_start_without_its_kubeconfig(kubernetes_config):
    """The sample logs and raises; the caller sees the error with the provider's name in it."""
    broken = kubernetes_config.model_copy(update={"kubeconfig_path": "/nowhere/kubeconfig"})
    provider = KubernetesDeploymentProvider(broken)
    with pytest.raises(Exception, match=r"cluster\.initialize: ConfigException"):
        await provider.initialize()
    assert provider.state is ProviderState.NEW


# Python SDK provider.


class PythonSDKConfig(SDKConfig):
    """Python SDK-specific configuration."""

    package_name: str
    version: str
    install_path: str | None = None


class PythonSDKProvider(SDKProvider):
    """Python SDK provider implementation."""

    def __init__(self, config: PythonSDKConfig):
        super().__init__(config)
        self.client = None

    async def initialize(self) -> None:
        """Initialize Python SDK client."""
        try:
            sdk_module = importlib.import_module(self.config.package_name)
            self.client = sdk_module.Client(endpoint=self.config.api_endpoint, api_key=self.config.api_key)
            self.logger.info("Python SDK client initialized")
        except Exception as e:
            self.logger.error("Failed to initialize Python SDK", error=str(e))
            raise

    async def make_request(self, endpoint: str, data: dict[str, Any]) -> SDKResponse:
        """Make API request through Python SDK."""
        start_time = time.time()
        try:
            response = self.client.request(endpoint, data)
            latency_ms = int((time.time() - start_time) * 1000)
            return SDKResponse(
                success=True, data=response, latency_ms=latency_ms, request_id=str(uuid.uuid4())
            )
        except Exception as e:
            latency_ms = int((time.time() - start_time) * 1000)
            return SDKResponse(
                success=False, error=str(e), latency_ms=latency_ms, request_id=str(uuid.uuid4())
            )

    async def health_check(self) -> dict[str, Any]:
        """Check SDK health."""
        try:
            return {"status": "healthy", "sdk_version": self.config.version}
        except Exception as e:
            return {"status": "unhealthy", "error": str(e)}

    async def cleanup(self) -> None:
        """Cleanup SDK resources."""
        self.client = None

    # Left out by the sample.

    async def authenticate(self, credentials: dict[str, str]) -> bool:
        return credentials == {"api_key": "right"}

    async def get_capabilities(self) -> dict[str, Any]:
        return {"package": self.config.package_name}


SDK = """
class Client:
    def __init__(self, endpoint, api_key):
        self.endpoint = endpoint
    def request(self, endpoint, data):
        if endpoint == "/missing":
            raise LookupError("no such endpoint")
        return {"url": self.endpoint + endpoint, **data}
"""


@pytest.fixture
def sdk_config(tmp_path, monkeypatch):
    (tmp_path / "sample_sdk_of_the_specification.py").write_text(SDK)
    monkeypatch.syspath_prepend(tmp_path)
    return PythonSDKConfig(
        name="sdk",
        version="2.1.0",
        package_name="sample_sdk_of_the_specification",
        api_endpoint="https://api.example.com",
        api_key=SecretStr("canary-sdk-key"),
    )


async def test_python_sdk_sample_runs(sdk_config):
    """The sample imports a real package, makes requests through it, and tells its health."""
    async with PythonSDKProvider(sdk_config) as provider:
        response = await provider.make_request("/orders", {"amount": 3})
        health = await provider.health_check()
        assert await provider.authenticate({"api_key": "right"})
        assert await provider.get_capabilities() == {"package": sdk_config.package_name}
    assert response.success
    assert response.data == {"url": "https://api.example.com/orders", "amount": 3}
    assert response.latency_ms >= 0
    assert (health["status"], health["details"]) == ("healthy", {"sdk_version": "2.1.0"})


async def test_python_sdk_sample_s_own_failure_stays_its_own(sdk_config):
    """A failure that the sample returns is not tried again, and can be raised."""
    async with PythonSDKProvider(sdk_config) as provider:
        response = await provider.make_request("/missing", {})
    assert (response.success, response.error) == (False, "no such endpoint")
    with pytest.raises(Exception, match="no such endpoint"):
        response.raise_for_error()


# Environment configuration provider.


class EnvironmentConfigProvider(ConfigurationProvider):
    """Configuration provider using environment variables."""

    def __init__(self, config: ProviderConfig):
        super().__init__(config)
        self.prefix = getattr(config, "prefix", "ALTWALLET_")

    async def get_config(self, key: str, default: Any = None) -> Any:
        """Get configuration from environment variables."""
        env_key = f"{self.prefix}{key.upper()}"
        return os.getenv(env_key, default)

    async def set_config(self, key: str, value: Any) -> None:
        """Set environment variable."""
        env_key = f"{self.prefix}{key.upper()}"
        os.environ[env_key] = str(value)

    async def reload_config(self) -> None:
        """Reload from environment (no-op for env vars)."""

    # Left out by the sample.

    async def initialize(self) -> None: ...

    async def health_check(self) -> dict[str, Any]:
        return {"status": "healthy"}

    async def cleanup(self) -> None: ...


async def test_environment_sample_runs(monkeypatch):
    """The sample reads and writes variables with its prefix."""
    monkeypatch.setenv("ALTWALLET_REGION", "before")
    async with EnvironmentConfigProvider(ProviderConfig(name="env", version="1.0.0")) as provider:
        await provider.set_config("region", "eu")
        await provider.reload_config()
        assert await provider.get_config("region") == "eu"
        assert await provider.get_config("specification_sample_missing", "default") == "default"


# Factory and registry.


async def test_factory_sample(sdk_config, kubernetes_config):
    """Registered classes are created by type, and listed by name; other types are a ValueError."""
    with ProviderFactory.temporary():
        ProviderFactory.register_provider(ProviderType.SDK, PythonSDKProvider)
        ProviderFactory.register_provider(ProviderType.DEPLOYMENT, KubernetesDeploymentProvider)
        provider = ProviderFactory.create_provider(ProviderType.SDK, sdk_config)
        assert isinstance(provider, PythonSDKProvider)
        available = ProviderFactory.get_available_providers()
        assert available[ProviderType.SDK] == "PythonSDKProvider"
        assert available[ProviderType.DEPLOYMENT] == "KubernetesDeploymentProvider"
        with pytest.raises(ValueError, match="Unknown provider type"):
            ProviderFactory.create_provider("nonsense", sdk_config)


async def test_registry_sample(sdk_config, kubernetes_config):
    """Registered providers are got by name, and their health is asked all at once."""
    registry = ProviderRegistry()
    sdk = PythonSDKProvider(sdk_config)
    registry.register("sdk", sdk)
    broken = kubernetes_config.model_copy(update={"kubeconfig_path": "/nowhere/kubeconfig"})
    registry.register("cluster", KubernetesDeploymentProvider(broken))
    assert registry.get("sdk") is sdk
    with pytest.raises(ValueError, match="Provider not found: missing"):
        registry.get("missing")
    results = await registry.health_check_all()
    assert results["sdk"]["status"] == "healthy"
    assert results["cluster"]["status"] == "error"
    assert "kube" in results["cluster"]["error"]
    await sdk.cleanup()
    await registry.get("cluster").cleanup()


# Base provider and test base.


class MinimalProvider(BaseProvider):
    """The base interface, with as little as it takes."""

    async def initialize(self) -> None:
        self.ready = True

    async def health_check(self) -> dict[str, Any]:
        return {"status": "healthy"}

    async def cleanup(self) -> None:
        self.ready = False


def test_base_interface_sample_is_abstract():
    """A provider that leaves out one of the three methods can't be made."""

    class Incomplete(BaseProvider):
        async def initialize(self) -> None: ...

    with pytest.raises(TypeError, match="cleanup"):
        Incomplete(ProviderConfig(name="x", version="1"))


async def test_base_interface_sample_runs():
    """Its life is the specification's: initialize, health check, cleanup."""
    provider = MinimalProvider(ProviderConfig(name="x", version="1"))
    await provider.initialize()
    assert (await provider.health_check())["status"] == "healthy"
    await provider.cleanup()
    assert provider.ready is False
    with pytest.raises(ProviderStateError):
        await provider.initialize()


class TestMinimalProvider(ProviderTestBase):
    """The specification's test base, with the specification's config."""

    @pytest.fixture
    def provider(self, mock_config):
        return MinimalProvider(mock_config)


class TestKubernetesSample(ProviderTestBase):
    """The sample is a provider like any other."""

    @pytest.fixture
    def mock_config(self, kubernetes_config):
        return kubernetes_config

    @pytest.fixture
    def provider(self, mock_config):
        return KubernetesDeploymentProvider(mock_config)


class TestPythonSDKSample(ProviderTestBase):
    """The sample is a provider like any other, its key hidden."""

    @pytest.fixture
    def provider(self, sdk_config):
        return PythonSDKProvider(sdk_config)
