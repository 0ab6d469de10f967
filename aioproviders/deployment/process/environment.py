"""What one replica is started with: its arguments, its variables, its limits, its probes."""

from __future__ import annotations

import os
from collections.abc import Mapping

from pydantic import SecretStr

from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.launching import Launch
from aioproviders.deployment.process.sockets import ReplicaSockets, Sockets

__all__ = ["prepare"]

_ALWAYS = ("PATH", "HOME", "LANG", "TMPDIR")


def prepare(
    config: ProcessDeploymentConfig, name: str, index: int, revision: int, sockets: Sockets
) -> tuple[Launch, ReplicaSockets]:
    """Say how to start a replica, and on which sockets.

    Raises:
        ConfigurationError: There is no socket to be had for it.
        ConflictError: Likewise.
    """
    probes = (config.readiness_probe, config.liveness_probe, config.startup_probe)
    own = sockets.for_replica(*(probe for probe in probes if probe is not None and probe.kind == "http"))
    port = own.env.get("PORT", "")
    launch = Launch(
        name=name,
        version=config.version,
        revision=revision,
        argv=tuple(config.filled(argument).replace("{port}", port) for argument in config.command),
        env=_environment(config, index, own.env),
        directory=config.working_directory,
        limits=config.limits,
        readiness=config.readiness_probe,
        liveness=config.liveness_probe,
        startup=config.startup_probe,
        stop_timeout=config.stop_timeout_ms / 1000,
    )
    return launch, own


def _environment(config: ProcessDeploymentConfig, index: int, ports: Mapping[str, str]) -> dict[str, str]:
    inherited = config.inherit_environment
    if inherited is True:
        env = dict(os.environ)
    else:
        names = (*_ALWAYS, *(inherited or ()))
        env = {name: os.environ[name] for name in names if name in os.environ}
    env |= ports  # the supervisor may have a PORT of its own
    for name, value in config.env.items():
        env[name] = value.get_secret_value() if isinstance(value, SecretStr) else value
    return {**env, "AIOPROVIDERS_VERSION": config.version, "AIOPROVIDERS_REPLICA": str(index)}
