"""What the process driver is configured with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from aioproviders.config import LocalPath, Milliseconds, ProviderConfig, Settings, Whole, start_of_paths
from aioproviders.deployment.config import DeploymentConfig, is_dns_label

__all__ = ["ProcessDeploymentConfig", "ProcessLimits"]

_CLEANUP_MARGIN_MS = 5000


class ProcessLimits(Settings):
    """What `DeploymentConfig.resources` may say of a process; None sets no limit.

    Attributes:
        memory_mib: Address space, in MiB (setrlimit(2), ``RLIMIT_AS``).
        open_files: Open files (``RLIMIT_NOFILE``).
    """

    memory_mib: Annotated[Whole, Field(gt=0)] | None = None
    open_files: Annotated[Whole, Field(gt=0)] | None = None


def _state_home() -> Path:
    # XDG Base Directory Specification: what should persist but is neither settings nor portable data.
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "aioproviders"


class ProcessDeploymentConfig(DeploymentConfig):
    """Runs `command` as `replicas` processes of this machine.

    Attributes:
        command: Program and arguments; ``{version}`` in them stands for the version, ``{port}`` for the
            number of the first port.
        sockets: How the replicas share the ports. "inherit": the supervisor binds each once and hands it
            over in the way of sd_listen_fds(3), so that no connection is lost; "reuse_port": each replica
            binds with ``SO_REUSEPORT``; "per_replica": each binds ports of its own, which are in the
            variables ``PORT`` and ``PORT_<NAME>``, and `get_status` tells the ``endpoints``.
        host: The address to listen on.
        working_directory: Where the command runs; by default, of a providers file, its folder, and else
            where the supervisor runs.
        state_directory: Where history and logs are kept, in a folder for each deployment, by namespace and
            name; by default ``~/.local/state/aioproviders``, which all of a user's projects share.
        inherit_environment: Whether the replicas have the supervisor's variables: all, none (but ``PATH``,
            ``HOME``, ``LANG``, ``TMPDIR``), or those named.
        resources: Limits of each process: ``memory_mib``, ``open_files``.
        restart_backoff_initial_ms: Wait before a replica that has ended is started anew; it doubles with
            each time in a row.
        restart_backoff_max_ms: Longest such wait.
        crash_loop_threshold: So many ends in a row, none of them after `crash_loop_window_ms`, are a crash
            loop: the replica is started anew with the longest wait, and a rollout has failed.
        crash_loop_window_ms: A replica that has run for so long starts counting anew.
        log_max_bytes: A replica's log is rotated when it is so long.
        log_backups: Rotated logs to keep of each replica.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
    sockets: Literal["inherit", "reuse_port", "per_replica"] = "inherit"
    host: str = "127.0.0.1"
    working_directory: LocalPath | None = None
    state_directory: LocalPath = Field(default_factory=_state_home)
    inherit_environment: bool | tuple[str, ...] = False
    restart_backoff_initial_ms: Milliseconds = 500
    restart_backoff_max_ms: Milliseconds = 30_000
    crash_loop_threshold: Annotated[Whole, Field(gt=0)] = 3
    crash_loop_window_ms: Milliseconds = 10_000
    log_max_bytes: Annotated[Whole, Field(gt=0)] = 10 * 1024 * 1024
    log_backups: Annotated[Whole, Field(ge=0)] = 3

    @property
    def limits(self) -> ProcessLimits:
        """The limits of each process, read from `resources`."""
        return ProcessLimits.model_validate(dict(self.resources))

    @property
    def directory(self) -> Path:
        """The folder of this deployment's history and logs."""
        return self.state_directory / self.namespace / self.name

    def for_operation(self, name: str) -> ProviderConfig:
        """See `ProviderConfig.for_operation`; `cleanup` has the time that the replicas may take to end."""
        config = super().for_operation(name)
        least = self.stop_timeout_ms + _CLEANUP_MARGIN_MS
        if name != "cleanup" or config.timeout_ms >= least:
            return config
        return config.model_copy(update={"timeout_ms": least})

    @model_validator(mode="before")
    @classmethod
    def _runs_beside_its_file(cls, data: Any, info: ValidationInfo) -> Any:
        folder = start_of_paths(info)
        if folder is None or not isinstance(data, Mapping) or "working_directory" in data:
            return data
        return {**data, "working_directory": folder}

    @field_validator("resources")
    @classmethod
    def _known_limits(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        ProcessLimits.model_validate(dict(value))
        return value

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        if not is_dns_label(value):
            raise ValueError("should be lower-case letters, digits and '-', at most 63 of them")
        return value

    @model_validator(mode="after")
    def _probes_reach_one_replica(self) -> Self:
        if self.image is not None:
            raise ValueError("'image' is for containers; a process has a 'command'")
        if self.liveness_probe is not None and self.liveness_probe.kind == "notify":
            raise ValueError(
                "'liveness_probe': by 'notify' a process tells that it has started, not that it is still "
                "well; use 'http' or 'exec'"
            )
        for field in ("readiness_probe", "liveness_probe", "startup_probe"):
            probe = getattr(self, field)
            if probe is not None and probe.kind == "tcp" and self.sockets != "per_replica":
                raise ValueError(
                    f"'{field}': all replicas share one port, so 'tcp' can't tell them apart; use 'http', "
                    "'exec' or 'notify', or sockets = 'per_replica'"
                )
        if any(port.protocol == "udp" for port in self.ports):
            raise ValueError("'ports': only tcp")
        return self
