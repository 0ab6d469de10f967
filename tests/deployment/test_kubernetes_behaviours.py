"""The behaviours of all deployments, on a real Kubernetes control plane."""

import pytest
from behaviours import SECRET, DeploymentBehaviours

from aioproviders.deployment.kubernetes import KubernetesDeploymentConfig, KubernetesDeploymentProvider
from aioproviders.testing import ProviderTestBase


@pytest.fixture
def config(kubeconfig, namespace):
    """Return a function: version and changes -> a config, of two pods of one container."""

    def make_config(version, **changes):
        return KubernetesDeploymentConfig(
            **{
                "name": "shop",
                "version": version,
                "namespace": namespace,
                "kubeconfig_path": kubeconfig,
                "replicas": 2,
                "image": "registry.example/shop:{version}",
                "ports": [{"port": 8080}],
                "rollout_timeout_ms": 30_000,
                "stop_timeout_ms": 5000,
                **changes,
            }
        )

    return make_config


class TestKubernetes(DeploymentBehaviours):
    """It behaves as all deployments do."""

    @pytest.fixture
    def make(self):
        return KubernetesDeploymentProvider


class TestKubernetesDeploymentProvider(ProviderTestBase):
    """The driver complies."""

    @pytest.fixture
    def provider(self, config):
        return KubernetesDeploymentProvider(config("1.0.0", env={"TOKEN": {"secret": SECRET}}))
