"""What one pod says of itself: how it stands, what keeps it from being ready, whether that can pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aioproviders.deployment.models import Instance

__all__ = ["Trouble", "instance_of", "is_active", "is_ended", "is_ready", "is_unschedulable", "trouble_of"]

Object = Mapping[str, Any]

# Kubernetes gives up on none of these, but they don't pass unless somebody changes something (the rules
# are those of Shopify's krane, kubernetes_resource/pod.rb).
_NO_SUCH_IMAGE = re.compile(r"not found|manifest unknown|does not exist|invalid reference", re.IGNORECASE)
_PASSING_CONFIG_ERROR = re.compile(r"failed to sync .* cache", re.IGNORECASE)
_PASSING_POD_FAILURES = frozenset({"Evicted", "Preempting"})
_PASSING_START_EXIT = 128
_PULL_ERRORS = frozenset({"ErrImagePull", "ImagePullBackOff"})
_SELF_EVIDENT = frozenset({"InvalidImageName", "ErrImageNeverPull"})
_NOT_YET = frozenset({"ContainerCreating", "PodInitializing"})


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a pod from being ready.

    Attributes:
        pod: The pod's name.
        reason: Kubernetes' word for it.
        message: What happened, in one line.
        container: The container it is about, if any.
        exit_code: Of the container's process, where it has ended.
        doomed: Whether it can't pass by itself.
        logs_of: "previous" where the container that tells of it has ended, "current" where it runs; None
            where there can be no output.
    """

    pod: str
    reason: str
    message: str
    container: str | None = None
    exit_code: int | None = None
    doomed: bool = False
    logs_of: str | None = None


def trouble_of(pod: Object, *, long_unschedulable: bool = False) -> Trouble | None:
    """Return what keeps `pod` from being ready, None where it is ready or has just begun.

    Args:
        pod: The pod.
        long_unschedulable: Whether it has fitted on no node for so long that none will come.
    """
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if is_ready(pod):
        return None
    found = [trouble for state in _states(pod) if (trouble := _container_trouble(name, state)) is not None]
    worst = max(found, key=lambda trouble: trouble.doomed, default=None)
    if status.get("phase") == "Failed":
        passing = status.get("reason") in _PASSING_POD_FAILURES
        if passing or worst is None:
            reason = status.get("reason") or "PodFailed"
            return Trouble(name, reason, _line(status.get("message")) or "the pod failed", doomed=not passing)
        return Trouble(name, worst.reason, worst.message, worst.container, worst.exit_code, True, "current")
    if worst is not None:
        return worst
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        message = _line(scheduled.get("message"))
        return Trouble(name, "Unschedulable", message, doomed=long_unschedulable)
    return None


def is_unschedulable(pod: Object) -> bool:
    """Whether `pod` fits on no node."""
    trouble = trouble_of(pod)
    return trouble is not None and trouble.reason == "Unschedulable"


def is_ended(pod: Object) -> bool:
    """Whether `pod` counts no longer: it is being deleted, or has done its work."""
    return bool(pod["metadata"].get("deletionTimestamp")) or _phase(pod) == "Succeeded"


def is_active(pod: Object) -> bool:
    """Whether its controller counts it (k8s.io/kubernetes, pkg/controller/controller_utils.go)."""
    return not is_ended(pod) and _phase(pod) != "Failed"


def instance_of(pod: Object, version: str | None = None, revision: int | None = None) -> Instance:
    """Return `pod` as an `Instance` of the release it is said to belong to."""
    status, trouble = pod.get("status") or {}, trouble_of(pod)
    containers = status.get("containerStatuses") or []
    ready = is_ready(pod) and not is_ended(pod)
    return Instance(
        name=pod["metadata"]["name"],
        version=version,
        revision=revision,
        phase=_word(pod, ready, trouble),
        ready=ready,
        restarts=sum(container.get("restartCount", 0) for container in containers),
        reason=trouble.reason if trouble else None,
        address=_address(pod),
        started_at=_started_at(pod),
    )


def _word(pod: Object, ready: bool, trouble: Trouble | None) -> str:
    if is_ended(pod):
        return "stopping" if pod["metadata"].get("deletionTimestamp") else "ended"
    if ready:
        return "ready"
    if trouble is not None and trouble.reason == "CrashLoopBackOff":
        return "crash_loop"
    if trouble is not None and trouble.doomed:
        return "failed"
    return {"Running": "running", "Failed": "failed"}.get(_phase(pod), "starting")


def _container_trouble(  # noqa: PLR0911 - one table
    pod: str, state: Object
) -> Trouble | None:
    name, now = state["name"], state.get("state") or {}
    waiting, ended = now.get("waiting") or {}, now.get("terminated") or {}
    last = (state.get("lastState") or {}).get("terminated") or {}
    told = ended or last
    exit_code = _exit_code(told)
    if told.get("reason") == "ContainerCannotRun":
        doomed = told.get("exitCode") != _PASSING_START_EXIT
        message = _line(told.get("message")) or "the container could not be started"
        return Trouble(pod, "ContainerCannotRun", message, name, exit_code, doomed)
    reason, message = waiting.get("reason") or "", _line(waiting.get("message"))
    if reason == "CrashLoopBackOff":
        return Trouble(pod, reason, _crash(last) or message, name, exit_code, True, "previous")
    if reason in _PULL_ERRORS:
        return Trouble(pod, reason, message, name, doomed=bool(_NO_SUCH_IMAGE.search(message)))
    if reason in _SELF_EVIDENT:
        return Trouble(pod, reason, message, name, doomed=True)
    if reason == "CreateContainerConfigError":
        return Trouble(pod, reason, message, name, doomed=not _PASSING_CONFIG_ERROR.search(message))
    if reason and reason not in _NOT_YET:
        return Trouble(pod, reason, message, name, exit_code)
    if ended and ended.get("exitCode"):
        return Trouble(pod, ended.get("reason") or "Error", _crash(ended), name, exit_code, logs_of="current")
    if now.get("running") is not None and not state.get("ready") and not state["init"]:
        if last:
            return Trouble(
                pod, last.get("reason") or "Error", _crash(last), name, exit_code, False, "previous"
            )
        return Trouble(pod, "NotReady", "it runs, but is not ready", name, logs_of="current")
    return None


def _states(pod: Object) -> Iterator[dict[str, Any]]:
    status = pod.get("status") or {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for state in status.get(key) or []:
            yield {**state, "init": key == "initContainerStatuses"}


def _crash(ended: Object) -> str:
    if not ended:
        return ""
    text = _line(ended.get("message"))
    if ended.get("reason") == "OOMKilled":
        return "it was killed for using more memory than its limit"
    how = f"signal {ended['signal']}" if ended.get("signal") else f"exit code {ended.get('exitCode')}"
    return f"it ended with {how}{': ' if text else ''}{text}"


def _exit_code(ended: Object) -> int | None:
    if not ended:
        return None
    return -ended["signal"] if ended.get("signal") else ended.get("exitCode")


def is_ready(pod: Object) -> bool:
    """Whether `pod` can serve."""
    return _condition(pod, "Ready").get("status") == "True"


def _condition(pod: Object, kind: str) -> Object:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == kind), {})


def _phase(pod: Object) -> str:
    return (pod.get("status") or {}).get("phase") or "Pending"


def _address(pod: Object) -> str | None:
    host = (pod.get("status") or {}).get("podIP")
    if not host:
        return None
    for container in pod["spec"].get("containers") or []:
        for port in container.get("ports") or []:
            return f"[{host}]:{port['containerPort']}" if ":" in host else f"{host}:{port['containerPort']}"
    return str(host)


def _started_at(pod: Object) -> datetime | None:
    times = [
        running["startedAt"]
        for state in (pod.get("status") or {}).get("containerStatuses") or []
        if (running := (state.get("state") or {}).get("running")) and running.get("startedAt")
    ]
    told = max(times, default=(pod.get("status") or {}).get("startTime"))
    return datetime.fromisoformat(told) if told else None


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
