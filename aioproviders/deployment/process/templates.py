"""What of a config makes a release: what its processes are started with; and how two configs differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError

from aioproviders.config import ProviderConfig
from aioproviders.deployment.config import DeploymentConfig
from aioproviders.deployment.models import Change
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.errors import ConfigurationError
from aioproviders.redaction import MASK, secrets_in

__all__ = ["Template", "changes_between", "completed", "same_processes"]

_TEMPLATE = (
    "version",
    "command",
    "ports",
    "sockets",
    "host",
    "env",
    "inherit_environment",
    "working_directory",
    "resources",
    "readiness_probe",
    "liveness_probe",
    "startup_probe",
    "stop_timeout_ms",
)
"""What a running process can't be changed to: another value needs another process."""

_SETTINGS = (
    "environment",
    "replicas",
    "strategy",
    "min_ready_seconds",
    "labels",
    "annotations",
    "restart_backoff_initial_ms",
    "restart_backoff_max_ms",
    "crash_loop_threshold",
    "crash_loop_window_ms",
    "log_max_bytes",
    "log_backups",
)
"""What else a deployment has, and its processes live on with."""


class Template(BaseModel):
    """What a release's processes are started with, as the journal keeps it.

    Attributes:
        fields: The fields of the config, as JSON; secret variables left out.
        secrets: The names of those.
    """

    fields: dict[str, Any]
    secrets: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: ProcessDeploymentConfig) -> Template:
        """Take it from a config."""
        # A password in a URL is as secret as one that was declared to be.
        secrets = tuple(name for name, value in config.env.items() if secrets_in({name: value}))
        fields = config.model_dump(mode="json", include=set(_TEMPLATE))
        fields["env"] = {name: value for name, value in fields["env"].items() if name not in secrets}
        return cls(fields=fields, secrets=secrets)

    def applied(self, config: ProcessDeploymentConfig) -> ProcessDeploymentConfig:
        """Return `config` with these fields in it, and the values of the secrets that it has.

        Raises:
            ConfigurationError: `config` has no value for a secret variable; says which.
        """
        missing = [name for name in self.secrets if name not in config.env]
        if missing:
            raise ConfigurationError(
                f"version {self.fields['version']} needs the secret {', '.join(missing)}, and secrets are "
                f"not kept on disk: set env.{missing[0]} in the config"
            )
        env = {**self.fields["env"], **{name: config.env[name] for name in self.secrets}}
        return _validated({**_given(config), **self.fields, "env": env})


def completed(config: DeploymentConfig, own: ProcessDeploymentConfig) -> ProcessDeploymentConfig:
    """Return `config` as one of this driver; what only this driver's has comes from `own`.

    Raises:
        ConfigurationError: It can't be one, or is of another deployment.
    """
    if not isinstance(config, ProcessDeploymentConfig):
        if not isinstance(config, DeploymentConfig):
            raise ConfigurationError(f"deploy() takes a DeploymentConfig, not {type(config).__name__}")
        only_ours = own.model_fields_set - DeploymentConfig.model_fields.keys()
        config = _validated({name: getattr(own, name) for name in only_ours} | _given(config))
    if config.directory != own.directory:
        raise ConfigurationError(
            f"this provider's deployment is {own.namespace}/{own.name} in {own.state_directory}, not "
            f"{config.namespace}/{config.name} in {config.state_directory}; make another provider for that"
        )
    return config


def _given(config: ProviderConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.model_fields_set}


def _validated(fields: Mapping[str, Any]) -> ProcessDeploymentConfig:
    try:
        return ProcessDeploymentConfig.model_validate(fields)
    except ValidationError as exc:
        wrong = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'config'}: {error['msg']}"
            for error in exc.errors(include_input=False, include_url=False, include_context=False)
        )
        raise ConfigurationError(f"the config does not fit the process driver: {wrong}") from None


def same_processes(one: ProcessDeploymentConfig, other: ProcessDeploymentConfig) -> bool:
    """Whether processes of the one are as good as those of the other."""
    return all(getattr(one, name) == getattr(other, name) for name in _TEMPLATE)


def changes_between(
    before: ProcessDeploymentConfig | None, after: ProcessDeploymentConfig
) -> tuple[Change, ...]:
    """Tell how `after` differs from what is there; secrets masked."""
    where = f"process/{after.name}"
    new = _flat(after)
    if before is None:
        shown = {path: _shown(path, value) for path, value in new.items()}
        return (Change(action="added", object=where, after=shown),)
    old = _flat(before)
    changes = []
    for path in {**old, **new}:
        if path not in new:
            changes.append(Change(action="removed", object=where, path=path, before=_shown(path, old[path])))
        elif path not in old:
            changes.append(Change(action="added", object=where, path=path, after=_shown(path, new[path])))
        elif old[path] != new[path]:
            shown_before, shown_after = _shown(path, old[path]), _shown(path, new[path])
            changes.append(
                Change(action="changed", object=where, path=path, before=shown_before, after=shown_after)
            )
    return tuple(changes)


def _flat(config: ProcessDeploymentConfig) -> dict[str, Any]:
    """Return what can differ, each variable and each field of a part by a path of its own."""
    flat: dict[str, Any] = {}
    for name in (*_TEMPLATE, *_SETTINGS):
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            flat |= {f"{name}.{key}": item for key, item in value}
        elif isinstance(value, Mapping):
            flat |= {f"{name}.{key}": item for key, item in value.items()}
        else:
            flat[name] = value
    return {path: value for path, value in flat.items() if value is not None}


def _shown(path: str, value: Any) -> Any:
    if isinstance(value, SecretStr) or secrets_in({path.rpartition(".")[2]: value}):
        return MASK
    if isinstance(value, tuple):
        return [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)
