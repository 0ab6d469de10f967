"""Deployment to Kubernetes."""

from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.kubernetes.provider import KubernetesDeploymentProvider

__all__ = ["KubernetesDeploymentConfig", "KubernetesDeploymentProvider"]
