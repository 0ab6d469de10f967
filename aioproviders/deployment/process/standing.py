"""Where a deployment that runs stands."""

from __future__ import annotations

from aioproviders.deployment.models import DeploymentState, DeploymentStatus
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.controller import Controller
from aioproviders.deployment.process.rollout import Rollout

__all__ = ["standing", "state_of"]


def state_of(controller: Controller, rollout: Rollout | None) -> DeploymentState:
    """Return the state of what a controller runs.

    Args:
        controller: It has a target.
        rollout: The last one, if there was any.
    """
    target = controller.target
    assert target is not None  # noqa: S101 - as said
    status, message = standing(controller, rollout)
    return DeploymentState(
        name=target.config.name,
        namespace=target.config.namespace,
        status=status,
        message=message,
        version=target.version,
        revision=target.revision,
        replicas=controller.replicas,
        images=(),
        instances=controller.instances,
        endpoints=_endpoints(controller, target.config),
    )


def standing(controller: Controller, rollout: Rollout | None) -> tuple[DeploymentStatus, str]:
    """Return the status, and why; arguments as of `state_of`."""
    replicas = controller.replicas
    if rollout is not None and not rollout.done.is_set():
        return DeploymentStatus.PROGRESSING, f"a rollout is under way: {replicas}"
    if controller.paused:
        return DeploymentStatus.PAUSED, f"stopped half-way, until the next deploy: {replicas}"
    if controller.settled:
        healthy = DeploymentStatus.HEALTHY if replicas.desired else DeploymentStatus.SCALED_TO_ZERO
        return healthy, str(replicas)
    if not replicas.available or (rollout is not None and rollout.left_failed):
        return DeploymentStatus.FAILED, _trouble(controller)
    return DeploymentStatus.DEGRADED, _trouble(controller)


def _trouble(controller: Controller) -> str:
    reasons = {item.reason for item in controller.instances if not item.ready and item.reason}
    return ": ".join([str(controller.replicas), *([", ".join(sorted(reasons))] if reasons else [])])


def _endpoints(controller: Controller, config: ProcessDeploymentConfig) -> tuple[str, ...]:
    if config.sockets == "per_replica":
        return tuple(
            instance.address
            for instance in controller.instances
            if instance.ready and instance.address is not None
        )
    host = f"[{config.host}]" if ":" in config.host else config.host
    return tuple(f"{host}:{port.port}" for port in config.ports)
