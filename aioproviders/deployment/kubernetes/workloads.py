"""What Deployments, StatefulSets and DaemonSets each have in their own way: revisions, pods, selectors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import MANAGER, Object, annotations_of, labels_of

__all__ = [
    "REVISION",
    "TEMPLATE_HASH",
    "Revision",
    "by_controller",
    "images_of",
    "is_controlled_by",
    "is_observed",
    "is_of",
    "merge_patch",
    "new_pods",
    "new_replica_set",
    "paused_by",
    "revision_objects",
    "revisions_of",
    "selector_of",
    "unhashed",
    "without",
]

REVISION = "deployment.kubernetes.io/revision"
TEMPLATE_HASH = "pod-template-hash"
_EARLIER_REVISIONS = "deployment.kubernetes.io/revision-history"
_CONTROLLER_HASH = "controller-revision-hash"
_TEMPLATE_GENERATION = "pod-template-generation"
_DAEMON_GENERATION = "deprecated.daemonset.template.generation"


@dataclass(frozen=True, slots=True)
class Revision:
    """One revision that the cluster keeps of a workload.

    Attributes:
        number: Its number.
        name: Of the ReplicaSet or ControllerRevision that keeps it.
        template: The pods' template.
        annotations: What was noted on the workload when it was made.
        created_at: When.
        current: Whether it is the workload's own now.
        first_number: The number that it had first: coming back gives it another one.
    """

    number: int
    name: str
    template: Object
    annotations: Mapping[str, str]
    created_at: datetime | None
    current: bool
    first_number: int = 0

    @property
    def images(self) -> tuple[str, ...]:
        """The containers' images."""
        return images_of(self.template)


async def revision_objects(api: Api, workload: Object) -> list[Object]:
    """Return the ReplicaSets or ControllerRevisions that match and that `workload` controls."""
    kind = "ReplicaSet" if workload["kind"] == "Deployment" else "ControllerRevision"
    metadata = workload["metadata"]
    listed = await api.list("apps/v1", kind, metadata["namespace"], labels=selector_of(workload))
    return [item for item in listed.get("items") or [] if is_controlled_by(item, metadata["uid"])]


def revisions_of(workload: Object, objects: Iterable[Object]) -> list[Revision]:
    """Read what keeps the revisions of `workload`; newest first."""
    if workload["kind"] == "Deployment":
        current = annotations_of(workload).get(REVISION)
        found = [_of_replica_set(item, current) for item in objects if REVISION in annotations_of(item)]
    else:
        objects = list(objects)
        newest = max((item["revision"] for item in objects), default=0)
        update = (workload.get("status") or {}).get("updateRevision")
        found = [_of_controller_revision(item, update, newest) for item in objects]
    return sorted(found, key=lambda revision: revision.number, reverse=True)


def is_of(workload: Object, revision: Revision) -> bool:
    """Whether the revision has the template that `workload` has, even before its controller has noted so."""
    if workload["kind"] != "Deployment":
        return revision.current  # a ControllerRevision writes its template in another way
    return bool(revision.template == unhashed(workload["spec"]["template"]))


def new_replica_set(workload: Object, replica_sets: Iterable[Object]) -> Object | None:
    """Return the ReplicaSet of a Deployment's current template; None where there is none yet."""
    revision, uid = annotations_of(workload).get(REVISION), workload["metadata"]["uid"]
    for item in replica_sets:
        if is_controlled_by(item, uid) and revision and annotations_of(item).get(REVISION) == revision:
            # Until the controller has noted the new revision, that of before is the old template's.
            same = unhashed(item["spec"]["template"]) == unhashed(workload["spec"]["template"])
            return item if same else None
    return None


def new_pods(workload: Object, replica_set: Object | None, pods: Iterable[Object]) -> list[Object]:
    """Return the pods that are made of the current template."""
    if workload["kind"] == "Deployment":
        if replica_set is None:
            return []
        uid = replica_set["metadata"]["uid"]
        return [pod for pod in pods if is_controlled_by(pod, uid)]
    own = [pod for pod in pods if is_controlled_by(pod, workload["metadata"]["uid"])]
    if workload["kind"] == "StatefulSet":
        wanted = (workload.get("status") or {}).get("updateRevision")
        return [pod for pod in own if labels_of(pod).get(_CONTROLLER_HASH) == wanted]
    wanted = annotations_of(workload).get(_DAEMON_GENERATION)
    return [pod for pod in own if labels_of(pod).get(_TEMPLATE_GENERATION) == wanted]


def without(pods: Iterable[Object], others: Iterable[Object]) -> list[Object]:
    """Return the pods that are not among `others`."""
    names = {pod["metadata"]["name"] for pod in others}
    return [pod for pod in pods if pod["metadata"]["name"] not in names]


def by_controller(objects: Iterable[Object]) -> dict[str, list[Object]]:
    """Return the objects by the UID of what controls each; what nothing controls is left out."""
    found: dict[str, list[Object]] = {}
    for obj in objects:
        for owner in obj["metadata"].get("ownerReferences") or []:
            if owner.get("controller"):
                found.setdefault(str(owner.get("uid")), []).append(obj)
    return found


def is_controlled_by(obj: Mapping[str, Any], uid: str) -> bool:
    """Whether the controller of `obj` is the object with that UID; a label can lie."""
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)


def is_observed(obj: Mapping[str, Any]) -> bool:
    """Whether its controller has seen it as it is."""
    seen: int = (obj.get("status") or {}).get("observedGeneration", 0)
    wanted: int = obj["metadata"].get("generation", 0)
    return seen >= wanted


def selector_of(workload: Object) -> str:
    """Return ``spec.selector`` as the query of a list."""
    selector = workload["spec"].get("selector") or {}
    terms = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for term in selector.get("matchExpressions") or []:
        key, values = term["key"], ",".join(term.get("values") or [])
        match term["operator"]:
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case _:
                terms.append(f"!{key}")
    return ",".join(terms)


def images_of(template: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the images of a template's containers."""
    return tuple(item["image"] for item in (template.get("spec") or {}).get("containers") or [])


def paused_by(workload: Object) -> str | None:
    """Return the field manager that has paused a Deployment; empty where that was we; None: nobody has."""
    if not workload["spec"].get("paused"):
        return None
    for entry in workload["metadata"].get("managedFields") or []:
        if "f:paused" in ((entry.get("fieldsV1") or {}).get("f:spec") or {}):
            ours = entry.get("manager") == MANAGER and entry.get("operation") == "Apply"
            return "" if ours else str(entry.get("manager"))
    return "somebody"


def unhashed(template: Mapping[str, Any]) -> Object:
    """Return a template without what its controller has added to tell its pods apart."""
    plain = copy.deepcopy(dict(template))
    labels = plain.get("metadata", {}).get("labels") or {}
    labels.pop(TEMPLATE_HASH, None)
    return plain


def merge_patch(now: Any, wanted: Any) -> Any:
    """Return the merge patch (RFC 7386) that makes `wanted` of `now`."""
    if not isinstance(now, Mapping) or not isinstance(wanted, Mapping):
        return wanted
    patch: dict[str, Any] = dict.fromkeys(now.keys() - wanted.keys())
    for key, value in wanted.items():
        if key not in now or now[key] != value:
            patch[key] = merge_patch(now.get(key), value)
    return patch


def _of_replica_set(item: Object, current: str | None) -> Revision:
    number = annotations_of(item)[REVISION]
    earlier = annotations_of(item).get(_EARLIER_REVISIONS, "")
    return Revision(
        int(number),
        item["metadata"]["name"],
        unhashed(item["spec"]["template"]),
        annotations_of(item),
        _time(item),
        number == current,
        min(int(each) for each in (number, *earlier.split(",")) if each.isdecimal()),
    )


def _of_controller_revision(item: Object, update: str | None, newest: int) -> Revision:
    template = {key: value for key, value in item["data"]["spec"]["template"].items() if key != "$patch"}
    current = item["metadata"]["name"] == update if update else item["revision"] == newest
    number = item["revision"]
    return Revision(
        number,
        item["metadata"]["name"],
        template,
        annotations_of(item),
        _time(item),
        current,
        first_number=number,
    )


def _time(item: Object) -> datetime | None:
    told = item["metadata"].get("creationTimestamp")
    return datetime.fromisoformat(told) if told else None
