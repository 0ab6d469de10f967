"""What to deploy, and how: the config that all deployment drivers share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator, model_validator

from aioproviders.config import Milliseconds, ProviderConfig, Settings, Whole
from aioproviders.errors import ConfigurationError

__all__ = ["DeploymentConfig", "EnvValue", "Port", "Probe", "Strategy", "check_replicas"]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_NAME = 63
_LONGEST_PORT_NAME = 15
_LAST_PORT = 65_535

_MOST = 2**31 - 1
"""The most that a count may be: what overflows a target's 32 bits may come out as anything there."""

PositiveCount = Annotated[Whole, Field(gt=0, le=_MOST)]
PortNumber = Annotated[Whole, Field(gt=0, le=_LAST_PORT)]


def check_replicas(replicas: object) -> None:
    """Make sure that there can be so many instances.

    Raises:
        ConfigurationError: It is no whole number, or out of range.
    """
    if isinstance(replicas, bool) or not isinstance(replicas, int) or not 0 <= replicas <= _MOST:
        raise ConfigurationError(f"replicas should be a whole number from 0 to {_MOST}, not {replicas!r}")


def _read_env_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) != {"secret"} or not isinstance(value["secret"], (str, SecretStr)):
            raise ValueError('should be a string, or { secret = "..." }')
        secret = value["secret"]
        value = secret if isinstance(secret, SecretStr) else SecretStr(secret)
    if isinstance(value, bool):
        raise ValueError("should be a string: quote it")  # noqa: TRY004 - pydantic tells of a ValueError
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (str, SecretStr)):
        _without_nul(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return value


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("should have no NUL character: no program can be given one")
    return value


Argument = Annotated[str, AfterValidator(_without_nul)]
"""An argument of a program; the first is the program."""

EnvValue = Annotated[str | SecretStr, BeforeValidator(_read_env_value)]
"""The value of an environment variable; a secret is a `SecretStr`, in files ``{ secret = "..." }``."""


class Port(Settings):
    """A port that the application serves.

    Attributes:
        port: The number.
        name: What probes and services call it.
        protocol: "tcp" or "udp".
    """

    port: PortNumber
    name: str = "http"
    protocol: Literal["tcp", "udp"] = "tcp"

    @field_validator("name")
    @classmethod
    def _short_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value) or len(value) > _LONGEST_PORT_NAME:
            raise ValueError(
                f"should be lower-case letters, digits and '-', at most {_LONGEST_PORT_NAME} of them"
            )
        return value


class Probe(Settings):
    """How to ask one instance whether it is well.

    Attributes:
        kind: "http" (well: a status from 200 to 399), "tcp" (it accepts a connection), "exec" (`command`
            ends with 0), or "notify" (it says so itself, ``READY=1`` by sd_notify(3); local processes only).
        path: What "http" asks for.
        port: Name or number of the port that "http" and "tcp" ask; by default the first one.
        command: What "exec" runs.
        initial_delay_ms: Wait before the first probe.
        period_ms: From one probe to the next.
        timeout_ms: Limit of one probe.
        success_threshold: Successes in a row that make it well.
        failure_threshold: Failures in a row that make it unwell.
    """

    kind: Literal["http", "tcp", "exec", "notify"] = "http"
    path: str = "/"
    port: str | PortNumber | None = None
    command: tuple[Argument, ...] = ()
    initial_delay_ms: Annotated[Whole, Field(ge=0)] = 0
    period_ms: Milliseconds = 1000
    timeout_ms: Milliseconds = 1000
    success_threshold: PositiveCount = 1
    failure_threshold: PositiveCount = 3

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if (self.kind == "exec") != bool(self.command):
            raise ValueError("'command' belongs to a probe of kind 'exec', which needs one")
        if self.kind == "http" and not self.path.startswith("/"):
            raise ValueError("'path' should begin with '/'")
        return self


def _read_share(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"(100|[1-9]?[0-9])%", value):
        raise ValueError("should be a whole number, or a percentage such as '25%'")
    return value


Share = Annotated[Annotated[Whole, Field(ge=0)] | str, BeforeValidator(_read_share)]


class Strategy(Settings):
    """How a new version takes the place of the old.

    Attributes:
        kind: "rolling_update" replaces instances one after the other; "recreate" stops all of the old
            before it starts the new.
        max_surge: How many instances there may be beyond `DeploymentConfig.replicas` meanwhile; a number,
            or a percentage, rounded up.
        max_unavailable: How many may be missing meanwhile; likewise, rounded down.
    """

    kind: Literal["rolling_update", "recreate"] = "rolling_update"
    max_surge: Share = 1
    max_unavailable: Share = 0

    @model_validator(mode="after")
    def _can_move(self) -> Self:
        if self.max_surge in (0, "0%") and self.max_unavailable in (0, "0%"):
            raise ValueError(
                "'max_surge' and 'max_unavailable' can't both be zero: nothing could be replaced"
            )
        return self

    def surge(self, replicas: int) -> int:
        """Return `max_surge` as a number of instances."""
        return self._count(self.max_surge, replicas, up=True)

    def unavailable(self, replicas: int) -> int:
        """Return `max_unavailable` as a number of instances; never 0 where the surge is 0, too."""
        count = self._count(self.max_unavailable, replicas, up=False)
        return count if count or self.surge(replicas) else 1

    @staticmethod
    def _count(share: int | str, replicas: int, *, up: bool) -> int:
        if isinstance(share, int):
            return share
        hundredths = int(share[:-1]) * replicas
        return -(-hundredths // 100) if up else hundredths // 100


class DeploymentConfig(ProviderConfig):
    """What to deploy, and how. Its `name` is the deployment's, its `version` the release's.

    Attributes:
        environment: Which of the application's environments this is.
        namespace: Where in the target the application lives.
        replicas: Instances to run.
        resources: What each instance may use, in the target's own terms.
        image: The container image, for targets that run containers; ``{version}`` in it is the version.
        command: What to run, program and arguments; by default what the image says; likewise.
        ports: What it serves.
        env: Its environment variables; secrets as `SecretStr`, in files ``{ secret = "${NAME}" }``.
        readiness_probe: Whether an instance can serve; by default as soon as it runs.
        liveness_probe: Whether an instance should be started anew; by default when it ends.
        startup_probe: Keeps the other two waiting until an instance has started.
        labels: Labels of the deployment and of its instances.
        annotations: Notes on the deployment.
        strategy: How a new version takes the place of the old.
        min_ready_seconds: How long an instance must have been ready to count as available.
        stop_timeout_ms: How long an instance may take to end, from SIGTERM to SIGKILL.
        rollout_timeout_ms: Limit of one rollout, from the change to all instances available.
        rollback_on_failure: Whether a rollout that failed is undone.
        rollback_timeout_ms: Limit of undoing it.
        on_cancel: What becomes of a deploy, rollback or scaling whose caller is cancelled: "rollback" undoes
            it, "leave" lets it go on, "pause" stops it half-way, until the next `deploy`.
        history_limit: Releases to keep, the current one included.
        change_cause: Why this release was made, for the history.
        timeout_ms: Limit of one attempt of a single request or check; a rollout has limits of its own.
    """

    environment: str = "development"
    namespace: str = "default"
    replicas: Annotated[Whole, Field(ge=0, le=_MOST)] = 1
    resources: Mapping[str, Any] = {}
    image: Annotated[str, Field(min_length=1)] | None = None
    command: tuple[Argument, ...] = ()
    ports: tuple[Port, ...] = ()
    env: Mapping[str, EnvValue] = {}
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    strategy: Strategy = Strategy()
    min_ready_seconds: Annotated[Whole, Field(ge=0, le=_MOST)] = 0
    stop_timeout_ms: Milliseconds = 30_000
    rollout_timeout_ms: Milliseconds = 600_000
    rollback_on_failure: bool = True
    rollback_timeout_ms: Milliseconds = 300_000
    on_cancel: Literal["rollback", "leave", "pause"] = "rollback"
    history_limit: PositiveCount = 10
    change_cause: str | None = None

    @field_validator("namespace")
    @classmethod
    def _dns_label(cls, value: str) -> str:
        if not is_dns_label(value):
            raise ValueError(f"should be lower-case letters, digits and '-', at most {_LONGEST_NAME} of them")
        return value

    @field_validator("env")
    @classmethod
    def _variable_names(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for name in value:
            if not _ENV_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an environment variable")
        return value

    def filled(self, text: str) -> str:
        """Return `text` with the version in place of ``{version}``."""
        return text.replace("{version}", self.version)

    @model_validator(mode="after")
    def _ports_and_probes_agree(self) -> Self:
        names = [port.name for port in self.ports]
        if len(set(names)) < len(names):
            raise ValueError("'ports' should each have a name of its own")
        for field in ("readiness_probe", "liveness_probe", "startup_probe"):
            probe: Probe | None = getattr(self, field)
            if probe is None or probe.kind not in ("http", "tcp"):
                continue
            if probe.port is None and not self.ports:
                raise ValueError(f"'{field}' asks a port: give it one, or say 'ports'")
            if isinstance(probe.port, str) and probe.port not in names:
                raise ValueError(f"'{field}' asks port {probe.port!r}, which 'ports' does not have")
        return self


def is_dns_label(text: str) -> bool:
    """Whether `text` is a label of RFC 1123, as most targets want names to be."""
    return len(text) <= _LONGEST_NAME and bool(_NAME.fullmatch(text))
