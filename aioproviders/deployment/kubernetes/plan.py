"""What a deploy applies, from a config: the objects in the order to apply them, and which is the workload."""

from __future__ import annotations

from dataclasses import dataclass

from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.kubernetes.objects import Object, Ref

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True)
class Plan:
    """What a release is.

    Attributes:
        release: Hash of what is applied: the same again has the same.
        version: The version.
        change_cause: Why it is made.
        workload: What status, scale and rollback are about.
        objects: All objects, in the order to apply them; the workload among them.
    """

    release: str
    version: str
    change_cause: str | None
    workload: Ref
    objects: tuple[Object, ...]

    @property
    def workload_object(self) -> Object: ...

    @property
    def refs(self) -> tuple[Ref, ...]: ...

    @property
    def images(self) -> tuple[str, ...]: ...


async def make_plan(config: KubernetesDeploymentConfig) -> Plan:
    """Make the plan; reads the manifests (in a worker thread) where the config names some.

    Raises:
        ConfigurationError: There is neither an image nor manifests; or manifests that can't be applied.
    """
    ...
