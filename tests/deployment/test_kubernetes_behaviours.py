"""The behaviours of all deployments, on a real Kubernetes control plane."""

import pytest
from behaviours import DeploymentBehaviours

from aioproviders.deployment.kubernetes import KubernetesDeploymentConfig, KubernetesDeploymentProvider


class TestKubernetes(DeploymentBehaviours):
    """Deployments of one container."""

    @pytest.fixture
    def config(self, kubeconfig, namespace):
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

    @pytest.fixture
    def make(self):
        return KubernetesDeploymentProvider
