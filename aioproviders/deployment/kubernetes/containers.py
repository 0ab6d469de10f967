"""The pod of a Deployment: its container, environment and probes, from a config."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import SecretStr

from aioproviders.deployment.config import Probe
from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.kubernetes.objects import Object, hash_of
from aioproviders.errors import ConfigurationError

__all__ = ["pod_spec", "probe_of", "secret_of", "settings_of", "whole_seconds"]


def whole_seconds(milliseconds: float, *, least: int = 1) -> int:
    """Return whole seconds, rounded up: Kubernetes has no shorter ones."""
    return max(least, int(-(-milliseconds // 1000)))


def pod_spec(config: KubernetesDeploymentConfig) -> Object:
    """Make the ``spec`` of the pod template.

    Raises:
        ConfigurationError: There is no image; or a probe that Kubernetes doesn't take.
    """
    spec: Object = {
        "containers": [_container(config)],
        "terminationGracePeriodSeconds": whole_seconds(config.stop_timeout_ms),
    }
    if config.service_account is not None:
        spec["serviceAccountName"] = config.service_account
    if config.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in config.image_pull_secrets]
    return spec


def _container(config: KubernetesDeploymentConfig) -> Object:
    if config.full_image is None:
        raise ConfigurationError(f"{config.name}: there is nothing to run: set 'image', or name 'manifests'")
    container: Object = {"name": config.name, "image": config.full_image}
    if config.command:
        container["command"] = [config.filled(part) for part in config.command]
    if config.ports:
        container["ports"] = [
            {"name": port.name, "containerPort": port.port, "protocol": port.protocol.upper()}
            for port in config.ports
        ]
    if config.env:
        container["env"] = _env(config)
    settings = settings_of(config)
    if settings is not None:
        container["envFrom"] = [{"configMapRef": {"name": settings["metadata"]["name"]}}]
    if config.resources:
        container["resources"] = dict(config.resources)
    for field, key in (
        ("readiness_probe", "readinessProbe"),
        ("liveness_probe", "livenessProbe"),
        ("startup_probe", "startupProbe"),
    ):
        probe: Probe | None = getattr(config, field)
        if probe is not None:
            if field != "readiness_probe" and probe.success_threshold != 1:
                raise ConfigurationError(f"{config.name}: '{field}': 'success_threshold' can only be 1 here")
            container[key] = probe_of(probe, config)
    return container


def _env(config: KubernetesDeploymentConfig) -> list[Object]:
    secret = secret_of(config)
    env: list[Object] = []
    for name, value in config.env.items():
        if isinstance(value, SecretStr) and secret is not None:
            source = {"secretKeyRef": {"name": secret["metadata"]["name"], "key": name}}
            env.append({"name": name, "valueFrom": source})
        else:
            # Kubernetes would put variables in place of $(NAME); the value is meant as it stands.
            env.append({"name": name, "value": str(value).replace("$(", "$$(")})
    return env


def probe_of(probe: Probe, config: KubernetesDeploymentConfig) -> Object:
    """Make a container's probe; its times in whole seconds, rounded up."""
    made: Object = {
        "periodSeconds": whole_seconds(probe.period_ms),
        "timeoutSeconds": whole_seconds(probe.timeout_ms),
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    if probe.initial_delay_ms:
        made["initialDelaySeconds"] = whole_seconds(probe.initial_delay_ms)
    if probe.kind == "exec":
        return made | {"exec": {"command": list(probe.command)}}
    port = config.ports[0].name if probe.port is None else probe.port
    if probe.kind == "tcp":
        return made | {"tcpSocket": {"port": port}}
    return made | {"httpGet": {"path": probe.path, "port": port}}


def secret_of(config: KubernetesDeploymentConfig) -> Object | None:
    """Make the Secret of the secret variables, if there are any; without labels."""
    secrets = {name: value for name, value in config.env.items() if isinstance(value, SecretStr)}
    if not secrets:
        return None
    data = {
        name: base64.b64encode(value.get_secret_value().encode()).decode() for name, value in secrets.items()
    }
    return _by_content(config, "env", {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data})


def settings_of(config: KubernetesDeploymentConfig) -> Object | None:
    """Make the ConfigMap of the settings, if there are any; without labels."""
    if not config.settings:
        return None
    return _by_content(
        config, "settings", {"apiVersion": "v1", "kind": "ConfigMap", "data": dict(config.settings)}
    )


def _by_content(config: KubernetesDeploymentConfig, what: str, obj: dict[str, Any]) -> Object:
    """Name an object by its content: another content is another object, and a rollback finds the old."""
    name = f"{config.name}-{what}-{hash_of(obj['data'])}"
    return {**obj, "metadata": {"name": name, "namespace": config.namespace}, "immutable": True}
