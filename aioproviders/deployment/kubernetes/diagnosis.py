"""Why a rollout failed: what its pods, their events and their output tell, before anything is undone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import Object, Ref
from aioproviders.deployment.kubernetes.pods import Trouble, trouble_of
from aioproviders.deployment.kubernetes.side_by_side import side_by_side
from aioproviders.deployment.kubernetes.waiting import Verdict
from aioproviders.deployment.models import Diagnosis
from aioproviders.errors import ProviderError
from aioproviders.redaction import Redactor

__all__ = ["diagnose"]

_LONGEST = 5.0
_LONGEST_LOG = 2.0
_MOST_EVENTS = 8
_MOST_LINES = 20
_QUOTED = re.compile(r'"[^"]*"')
_USUAL = frozenset({"Scheduled", "Pulling", "Pulled", "Created", "Started"})
_SUGGESTIONS = {
    "CrashLoopBackOff": "what it writes, as in 'kubectl logs --previous', should say why it ends",
    "OOMKilled": "raise its memory limit, or have it use less",
    "ErrImagePull": "check the image's name and tag, and image_pull_secrets for the registry's secret",
    "ErrImageNeverPull": "the image is not on the node, and imagePullPolicy is Never",
    "InvalidImageName": "mend the image's name",
    "CreateContainerConfigError": "check that the ConfigMaps, Secrets and keys it refers to are there",
    "ContainerCannotRun": "check its command, and that the image has what it names",
    "Unschedulable": "lower its resource requests, or add nodes that it fits on",
    "FailedCreate": "check the namespace's quota and limit ranges, and admission webhooks",
    "NotReady": "check what its readiness probe asks, or give it more time by rollout_timeout_ms",
    "ProgressDeadlineExceeded": "give it more time by rollout_timeout_ms, or look at its pods",
    "RolloutTimeout": "give it more time by rollout_timeout_ms, or look at its pods",
}
_SUGGESTIONS["ImagePullBackOff"] = _SUGGESTIONS["ErrImagePull"]


async def diagnose(  # noqa: PLR0913 - what there is to look at
    api: Api,
    redactor: Redactor,
    *,
    reason: str,
    message: str,
    trouble: Trouble | None,
    pods: Sequence[Object],
    failing: Object,
    refusal: Verdict | None = None,
) -> Diagnosis:
    """Find out what is wrong; takes a few seconds at most and never fails.

    Args:
        api: Single requests are enough: who can't be asked in time is left out.
        redactor: Masks secrets in what is quoted.
        reason: What the wait ended with.
        message: Likewise, in one line.
        trouble: The pod that shows it, where the wait has found one.
        pods: The new release's pods.
        failing: The object that tells where no pod does: the ReplicaSet, the workload.
        refusal: Why not all pods may be made, where that is so.
    """
    trouble = trouble or _worst(pods)
    if refusal is not None and (trouble is None or not trouble.doomed):
        # The pods that are there have nothing to do with it.
        trouble, reason, message = None, refusal.reason, refusal.message
    if trouble is not None:
        reason, message = trouble.reason, trouble.message or message
        about = Ref("v1", "Pod", failing["metadata"]["namespace"], trouble.pod)
    else:
        about = Ref.of(failing)
    events: list[str] = []
    logs: list[str] = []
    with anyio.move_on_after(_LONGEST):
        jobs = [partial(_read_events, api, about, events)]
        if trouble is not None and trouble.container is not None:
            jobs.append(partial(_read_logs, api, about, trouble, logs))
        await side_by_side(jobs)
    return Diagnosis(
        instance=trouble.pod if trouble else None,
        container=trouble.container if trouble else None,
        reason=reason,
        message=redactor.text(message),
        exit_code=trouble.exit_code if trouble else None,
        events=tuple(map(redactor.text, events)),
        logs=tuple(map(redactor.text, logs)),
        suggestion=_SUGGESTIONS.get(
            reason, f"'kubectl describe {about.kind.lower()} {about.name}' tells more"
        ),
    )


def _worst(pods: Sequence[Object]) -> Trouble | None:
    troubles = [trouble for pod in pods if (trouble := trouble_of(pod)) is not None]
    return max(troubles, key=lambda item: (item.doomed, item.exit_code is not None), default=None)


async def _read_events(api: Api, about: Ref, into: list[str]) -> None:
    fields = f"involvedObject.kind={about.kind},involvedObject.name={about.name}"
    try:
        listed = await api.list("v1", "Event", about.namespace, fields=fields)
    except ProviderError:
        return  # they may not be ours to read; the diagnosis does without
    items = [item for item in listed.get("items") or [] if item.get("reason") not in _USUAL]
    latest: dict[str, tuple[str, int]] = {}
    for item in sorted(items, key=_when):
        text = f"{item.get('reason')}: {' '.join((item.get('message') or '').split())}"
        count = (item.get("series") or {}).get("count") or item.get("count") or 1
        # The same with another pod's name is one thing that happened several times.
        kind = _QUOTED.sub("", text)
        latest[kind] = text, count + latest.pop(kind, ("", 0))[1]
    for text, count in list(latest.values())[-_MOST_EVENTS:]:
        into.append(f"{text} ({count} times)" if count > 1 else text)


async def _read_logs(api: Api, pod: Ref, trouble: Trouble, into: list[str]) -> None:
    # A container that loops may have ended, or run again by now: either may be the one with output.
    for previous in ("true", "false") if trouble.logs_of == "previous" else ("false",):
        query = {"container": trouble.container, "tailLines": _MOST_LINES, "previous": previous}
        try:
            with anyio.move_on_after(_LONGEST_LOG):
                text = await api.text(f"{await api.path(pod)}/log", query)
                into.extend(text.splitlines()[-_MOST_LINES:])
        except ProviderError:
            continue  # there may be no output, or no kubelet to ask for it
        if into:
            return


def _when(event: Object) -> str:
    series = event.get("series") or {}
    return (
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or event["metadata"].get("creationTimestamp")
        or ""
    )
