"""What deployment operations tell: statuses, results, releases, changes, progress, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict  # typing's own does not do for pydantic before Python 3.12

from aioproviders.calls import Call
from aioproviders.errors import ProviderError
from aioproviders.results import OperationResult

__all__ = [
    "Change",
    "DeploymentMetadata",
    "DeploymentResult",
    "DeploymentState",
    "DeploymentStatus",
    "Diagnosis",
    "Instance",
    "LogLine",
    "Release",
    "Replicas",
    "RolloutEvent",
]


class DeploymentStatus(StrEnum):
    """Where a deployment stands."""

    PENDING = "pending"
    """Accepted; nothing has been done about it yet."""
    PROGRESSING = "progressing"
    """A rollout is under way."""
    DEPLOYED = "deployed"
    """Rolled out; the driver doesn't know whether it is well."""
    HEALTHY = "healthy"
    """Rolled out, and all instances are available."""
    DEGRADED = "degraded"
    """Rolled out, but fewer instances are available than should be."""
    FAILED = "failed"
    """The rollout failed, or no instance is available."""
    ROLLED_BACK = "rolled_back"
    """The rollout failed and was undone: what ran before runs again."""
    PAUSED = "paused"
    """The rollout was stopped half-way, until the next `deploy`."""
    SCALED_TO_ZERO = "scaled_to_zero"
    TERMINATING = "terminating"
    NOT_FOUND = "not_found"
    UNKNOWN = "unknown"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Replicas(_Record):
    """How many instances there are.

    Attributes:
        desired: As many as there should be.
        updated: Of the current release.
        ready: That can serve, of whatever release.
        available: That have been ready for `DeploymentConfig.min_ready_seconds`.
    """

    desired: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0

    def __str__(self) -> str:
        return f"{self.updated} updated, {self.available} available of {self.desired}"


class Instance(_Record):
    """One instance: a process, a pod.

    Attributes:
        name: What the target calls it.
        version: The release's version, where it is known.
        revision: The release's revision, likewise.
        phase: What it does, in a word: ``starting``, ``running``, ``ready``, ``stopping``, ``crash_loop``…
        ready: Whether it can serve.
        restarts: How often it was started anew.
        reason: Why it is not ready, in the target's own word.
        address: Where it serves, ``host:port``, where it has an address of its own.
        pid: Process id, for local processes.
        started_at: When it was started, the last time.
    """

    name: str
    version: str | None = None
    revision: int | None = None
    phase: str = ""
    ready: bool = False
    restarts: int = 0
    reason: str | None = None
    address: str | None = None
    pid: int | None = None
    started_at: datetime | None = None


class Diagnosis(_Record):
    """What is wrong with a rollout, gathered before anything is undone.

    Attributes:
        instance: The pod or process that failed, an example of them; None where none was made.
        container: The container in it, where there are several to tell apart.
        reason: The target's word for it: ``CrashLoopBackOff``, ``ErrImagePull``, ``ProbeFailed``…
        message: What happened, in one line.
        exit_code: Of the process that ended; negative for a signal.
        events: The last things that happened to it, oldest first.
        logs: Its last lines of output.
        suggestion: What would likely mend it.
    """

    instance: str | None = None
    container: str | None = None
    reason: str
    message: str
    exit_code: int | None = None
    events: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    suggestion: str | None = None

    def __str__(self) -> str:
        where = "/".join(part for part in (self.instance, self.container) if part)
        told = f"{self.reason}: {self.message}" if self.message else self.reason
        return f"{where}: {told}" if where else told


class Change(_Record):
    """One difference that a deploy would make.

    Attributes:
        action: Whether the value, or the whole object where `path` is empty, is added, changed or removed; or
            stays as somebody else has set it, though the config does not say so.
        object: What it is in: ``Deployment/web``, ``process``.
        path: Where in it: ``spec.replicas``.
        before: The value now; secrets are masked.
        after: The value then; likewise. Of what is kept, who has set it.
    """

    action: Literal["added", "changed", "removed", "kept"]
    object: str
    path: str = ""
    before: Any = None
    after: Any = None

    def __str__(self) -> str:
        where = f"{self.object} {self.path}".rstrip()
        if self.action == "kept":
            return f"= {where}: {self.after}, stays"
        if self.action == "changed":
            return f"~ {where}: {self.before!r} -> {self.after!r}"
        sign, value = ("+", self.after) if self.action == "added" else ("-", self.before)
        return f"{sign} {where}: {value!r}" if self.path else f"{sign} {where}"


class Release(_Record):
    """One entry of a deployment's history.

    Attributes:
        revision: Its number; each deploy or rollback that changes something makes a new one.
        version: The version that was deployed.
        status: What became of it.
        healthy: Whether all its instances were available once.
        current: Whether it is what the deployment now is meant to be.
        created_at: When it was made.
        images: Container images, where there are any.
        change_cause: Why it was made.
    """

    revision: int
    version: str
    status: DeploymentStatus = DeploymentStatus.UNKNOWN
    healthy: bool = False
    current: bool = False
    created_at: datetime | None = None
    images: tuple[str, ...] = ()
    change_cause: str | None = None


class RolloutEvent(_Record):
    """One step of a rollout.

    Attributes:
        kind: ``started``, ``progress`` (counts have changed), ``instance`` (`instance` has changed),
            ``rollback`` (it failed and is being undone), and as the last one ``finished``.
        at: When.
        status: Where the deployment stands.
        message: What happened, in one line.
        version: The version being rolled out, where it is known.
        replicas: How many instances there are.
        instance: The instance that `kind` ``instance`` is about.
    """

    kind: Literal["started", "progress", "instance", "rollback", "finished"]
    at: datetime
    status: DeploymentStatus
    message: str
    version: str | None = None
    replicas: Replicas = Replicas()
    instance: Instance | None = None


class LogLine(_Record):
    """One line that an instance has written.

    Attributes:
        instance: Its name.
        text: The line, without its end.
        at: When, where that is known.
        stream: "stdout" or "stderr", where that is known.
    """

    instance: str
    text: str
    at: datetime | None = None
    stream: str | None = None


class DeploymentMetadata(TypedDict, total=False):
    """What our drivers say of a deployment in `DeploymentResult.metadata`; all of it is optional.

    Keys: ``revision``, ``version``, ``replicas``, ``images``, ``duration_ms``, after a failure
    ``diagnosis``, of a dry run ``changes``, and ``extra`` for what a driver has to say beyond that.
    """

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]  # how pydantic wants it

    revision: int | None
    version: str | None
    replicas: Replicas
    images: tuple[str, ...]
    duration_ms: float
    diagnosis: Diagnosis
    changes: tuple[Change, ...]
    extra: Mapping[str, Any]


class DeploymentState(TypedDict, total=False):
    """What our drivers return from `get_status`; a plain dict.

    Keys: ``name``, ``namespace``, ``status``, ``message`` (one line), ``version``, ``revision``,
    ``replicas``, ``images``, ``instances``, ``endpoints`` (``host:port`` each).
    """

    name: str
    namespace: str
    status: DeploymentStatus
    message: str
    version: str | None
    revision: int | None
    replicas: Replicas
    images: tuple[str, ...]
    instances: tuple[Instance, ...]
    endpoints: tuple[str, ...]


class DeploymentResult(OperationResult):
    """What a deployment operation came to.

    Attributes:
        success: Whether it worked; if not, `message` and `error_detail` say why.
        deployment_id: The target's name for the deployment; empty where there is none.
        status: Where the deployment stands; from our drivers a `DeploymentStatus`.
        message: What happened, in one line.
        metadata: What else the driver has to say. A driver of your own may put in keys of its own.
        error_detail: The error as data.
    """

    deployment_id: str
    status: str
    message: str | None = None
    metadata: DeploymentMetadata = {}  # noqa: RUF012 - pydantic copies it

    @classmethod
    def from_error(cls, error: ProviderError, _: Call) -> Self:
        """Make the result of a call that failed with `error`."""
        result = cls(success=False, deployment_id="", status=DeploymentStatus.FAILED, message=error.message)
        return result.because_of(error)

    @property
    def diagnosis(self) -> Diagnosis | None:
        """What was wrong, where a rollout failed and the driver has found out."""
        return self.metadata.get("diagnosis")

    def _plain_error(self) -> ProviderError:
        return ProviderError(self.message or "the deployment failed")
