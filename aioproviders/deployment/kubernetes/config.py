"""What the Kubernetes driver is configured with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from aioproviders.config import LocalPath, Settings, Whole
from aioproviders.deployment.config import DeploymentConfig, PositiveCount, is_dns_label

__all__ = ["Autoscaling", "DisruptionBudget", "KubernetesDeploymentConfig", "ServiceSettings"]

# k8s.io/apimachinery, pkg/api/resource/quantity.go; what a container may use is not less than nothing.
_QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.ASCII)

_MADE = (
    *("image", "image_tag", "command", "ports", "env", "settings", "image_pull_secrets", "service_account"),
    *("readiness_probe", "liveness_probe", "startup_probe", "resources", "stop_timeout_ms"),
    *("replicas", "strategy", "min_ready_seconds", "labels", "annotations"),
    *("service", "autoscaling", "disruption_budget"),
)
"""What the objects are made of that a config makes."""
_NOTHING: tuple[Any, ...] = (None, (), {})

Percent = Annotated[Whole, Field(gt=0, le=100)]


def _quantity(value: str | float) -> str | float:
    if isinstance(value, bool) or not _QUANTITY.fullmatch(str(value)):
        raise ValueError("should be an amount such as '500m', '1.5' or '128Mi'")
    return value


Quantity = Annotated[str | float, BeforeValidator(_quantity)]


class _ContainerResources(Settings):
    """What `DeploymentConfig.resources` may say of a container.

    Source: Kubernetes API, ResourceRequirements.
    """

    requests: Mapping[str, Quantity] = {}
    limits: Mapping[str, Quantity] = {}
    claims: tuple[Mapping[str, str], ...] = ()


class ServiceSettings(Settings):
    """The Service to make for the ports.

    Attributes:
        type: ``ClusterIP``, ``NodePort`` or ``LoadBalancer``.
        annotations: Notes on it, as load balancers want them.
    """

    type: str = "ClusterIP"
    annotations: Mapping[str, str] = {}

    @field_validator("type")
    @classmethod
    def _known_type(cls, value: str) -> str:
        if value not in ("ClusterIP", "NodePort", "LoadBalancer"):
            raise ValueError("should be ClusterIP, NodePort or LoadBalancer")
        return value


class Autoscaling(Settings):
    """The HorizontalPodAutoscaler to make; it then owns the number of replicas.

    Attributes:
        min_replicas: At least so many.
        max_replicas: At most so many.
        cpu_percent: Average use of the requested CPU to aim for.
        memory_percent: Average use of the requested memory to aim for.
    """

    min_replicas: PositiveCount = 1
    max_replicas: PositiveCount
    cpu_percent: Percent | None = 80
    memory_percent: Percent | None = None

    @model_validator(mode="after")
    def _can_scale(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("'min_replicas' should not be more than 'max_replicas'")
        if self.cpu_percent is None and self.memory_percent is None:
            raise ValueError("should have 'cpu_percent' or 'memory_percent'")
        return self


class DisruptionBudget(Settings):
    """The PodDisruptionBudget to make; exactly one of the two, a number or a percentage.

    Attributes:
        min_available: At least so many instances stay.
        max_unavailable: At most so many are missing.
    """

    min_available: PositiveCount | str | None = None
    max_unavailable: PositiveCount | str | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.min_available is None) == (self.max_unavailable is None):
            raise ValueError("should have either 'min_available' or 'max_unavailable'")
        return self


class KubernetesDeploymentConfig(DeploymentConfig):
    """Runs a Deployment, and where asked what belongs to it, or what manifests say.

    Attributes:
        cluster_name: What the cluster is called here, in health checks and logs.
        context: The kubeconfig's context; by default its current one.
        kubeconfig_path: The kubeconfig; by default that of ``KUBECONFIG``, then ``~/.kube/config``; where
            there is none, the service account of the pod that this runs in.
        image_tag: The tag, where `image` has neither tag nor digest.
        image_pull_secrets: Names of Secrets for the registry.
        service_account: The ServiceAccount that the pods run as.
        resources: As a container has them: ``{"requests": {"cpu": "100m"}, "limits": {…}}``.
        service: The Service to make for `ports`, if any.
        settings: Files' or variables' contents for a ConfigMap, which the pods get as environment
            variables. Its name has a hash of its content, so that a rollback restores it.
        autoscaling: The HorizontalPodAutoscaler to make, if any; `replicas` is then left to it.
        disruption_budget: The PodDisruptionBudget to make, if any.
        manifests: Files or folders of YAML to apply instead of what the config would make; one of the
            workloads in them has `name`, and is what status, scale and rollback are about. ``{version}`` in
            a container's image is the version. What else says what to make is then refused, not ignored.
        create_namespace: Whether to make the namespace where it is missing.
        force: Whether to take over fields that belong to another manager.
        prune: Whether to delete what earlier releases of ours made and this one doesn't, but for volumes'
            claims and what belongs to the whole cluster.
        preflight: Whether to ask for the needed permissions before anything is changed.
    """

    cluster_name: str = ""
    context: str | None = None
    kubeconfig_path: LocalPath | None = None
    image_tag: str = "latest"
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str | None = None
    service: ServiceSettings | None = None
    settings: Mapping[str, str] = {}
    autoscaling: Autoscaling | None = None
    disruption_budget: DisruptionBudget | None = None
    manifests: tuple[LocalPath, ...] = ()
    create_namespace: bool = False
    force: bool = False
    prune: bool = True
    preflight: bool = True

    @field_validator("name")
    @classmethod
    def _object_name(cls, value: str) -> str:
        if not is_dns_label(value):
            raise ValueError("should be lower-case letters, digits and '-', at most 63 of them")
        return value

    @field_validator("resources")
    @classmethod
    def _known_resources(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        _ContainerResources.model_validate(dict(value))
        return value

    @property
    def full_image(self) -> str | None:
        """The image with its tag."""
        if self.image is None:
            return None
        image = self.filled(self.image)
        tagged = "@" in image or ":" in image.rsplit("/", maxsplit=1)[-1]
        return image if tagged else f"{image}:{self.filled(self.image_tag)}"

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.service is not None and not self.ports:
            raise ValueError("'service' needs 'ports'")
        for field in ("readiness_probe", "liveness_probe", "startup_probe"):
            probe = getattr(self, field)
            if probe is not None and probe.kind == "notify":
                raise ValueError(f"'{field}': 'notify' is for local processes; use 'http', 'tcp' or 'exec'")
        given = [field for field in _MADE if field in self.model_fields_set]
        clash = [field for field in given if getattr(self, field) not in _NOTHING]
        if self.manifests and clash:
            raise ValueError(f"'manifests' say what to apply; {', '.join(map(repr, clash))} would do nothing")
        return self
