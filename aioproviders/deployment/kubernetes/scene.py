"""A workload with its ReplicaSets and pods, as the cluster has them now: what a wait looks at."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import RELEASE, Object, Ref, annotations_of
from aioproviders.deployment.kubernetes.ownership import changed_by_others
from aioproviders.deployment.kubernetes.pods import Trouble, is_active, is_unschedulable
from aioproviders.deployment.kubernetes.provenance import essence
from aioproviders.deployment.kubernetes.waiting import (
    LATE,
    Verdict,
    failure_of,
    progressing_of,
    refusal_of,
)
from aioproviders.deployment.kubernetes.watching import Mirror
from aioproviders.deployment.kubernetes.workloads import (
    by_controller,
    is_observed,
    new_pods,
    new_replica_set,
    paused_by,
    selector_of,
    without,
)
from aioproviders.errors import ConflictError, NotFoundError, ProviderError

__all__ = ["Decision", "Scene", "TakenOverError"]

UNSCHEDULABLE_GRACE = 15.0
"""Seconds after which a pod that fits on no node is taken for doomed: a node may be on its way."""
REFUSAL_GRACE = 1.0
"""Seconds for which a quota may keep pods from being made: the controller tries again, and ends old ones."""

_REST = 4.0
"""How long to rest after each look, as a multiple of the time that it took."""

Decision = Callable[[Object, int], Verdict]


class TakenOverError(ConflictError):
    """Somebody else has changed the workload meanwhile: what becomes of it is up to them."""


class Scene:
    """What there is to see of one workload's rollout.

    Args:
        api: The API server.
        workload: The workload, as the request returned it that began the rollout.

    Attributes:
        trouble: Of a rollout that has failed, the pod that shows why.
        standing: Where it stands, as seen last.
    """

    def __init__(self, api: Api, workload: Object) -> None:
        metadata, labels = workload["metadata"], selector_of(workload)
        self._name, namespace = metadata["name"], metadata["namespace"]
        self._first = workload
        self._last = workload
        self._deployment = workload["kind"] == "Deployment"
        self._workloads = Mirror(
            api,
            workload["apiVersion"],
            workload["kind"],
            namespace,
            fields=f"metadata.name={self._name}",
            known=workload,
        )
        self._replica_sets = Mirror(api, "apps/v1", "ReplicaSet", namespace, labels=labels)
        self._pods = Mirror(api, "v1", "Pod", namespace, labels=labels)
        self._unschedulable: dict[str, float] = {}
        self._refused_at: float | None = None
        self._hope_at = 0.0
        self._names: frozenset[str] = frozenset()
        self._final_at = math.inf
        self._changed = anyio.Event()
        self._error: ProviderError | None = None
        self._mirrors = (self._workloads, *([self._replica_sets] if self._deployment else []), self._pods)
        self.trouble: Trouble | None = None
        self.standing = "nothing yet"

    @property
    def workload(self) -> Object:
        """The workload as it is now, or was at last."""
        self._last = self._workloads.objects.get(self._name, self._last)
        return self._last

    @property
    def replica_sets(self) -> list[Object]:
        """The ReplicaSets that match; none where the workload has none."""
        return list(self._replica_sets.objects.values())

    @property
    def pods(self) -> list[Object]:
        """All pods that match."""
        return list(self._pods.objects.values())

    @property
    def replica_set(self) -> Object | None:
        """The ReplicaSet of the new release."""
        return new_replica_set(self.workload, self.replica_sets) if self._deployment else None

    @property
    def new_pods(self) -> list[Object]:
        """The pods of the new release."""
        return new_pods(self.workload, self.replica_set, self.pods)

    @property
    def synced(self) -> bool:
        """Whether all of it is here."""
        return self._pods.synced and (self._replica_sets.synced or not self._deployment)

    @property
    def lost(self) -> tuple[float, ProviderError] | None:
        """For how many seconds the API server can't be reached, and why; None where it can."""
        lost = ((monotonic() - each.lost_at, each.lost) for each in self._mirrors if each.lost is not None)
        return next(lost, None)

    async def until_decided(self, decide: Decision, tell: Callable[[Scene, str], None]) -> Verdict:
        """Look on until the rollout is over.

        Args:
            decide: Looks at the workload, and the generation that is waited for.
            tell: Called after each change, with what is waited for.

        Raises:
            TakenOverError: Somebody else has taken over.
            NotFoundError: The workload was deleted.
            ProviderError: The cluster doesn't let us look.
        """
        verdict: Verdict | None = None
        failure: ProviderError | None = None
        async with anyio.create_task_group() as task_group:
            for mirror in self._mirrors:
                task_group.start_soon(self._follow, mirror)
            try:
                verdict = await self._decided(decide, tell)
            except ProviderError as error:
                failure = error  # out of here, or it would come in a group
            task_group.cancel_scope.cancel()
        if failure is not None:
            raise failure
        assert verdict is not None  # noqa: S101 - there is one where there is no failure
        return verdict

    async def _decided(self, decide: Decision, tell: Callable[[Scene, str], None]) -> Verdict:
        while True:
            changed, began = self._changed, monotonic()
            if self._error is not None:
                raise self._error
            self._refuse_others()
            verdict = decide(self.workload, self._first["metadata"].get("generation", 0))
            if verdict.reason == LATE and self._was_late_before():
                verdict = Verdict("waiting", "the controller still tells of the deadline of before")
            if verdict.outcome == "done" and self._is_scaling():
                verdict = Verdict("waiting", "its ReplicaSets are still being scaled")
            self.standing = verdict.message
            lost = f"the API server can't be reached, trying again; last seen: {verdict.message}"
            tell(self, verdict.message if self.lost is None else lost)
            if verdict.outcome == "waiting":
                verdict = self._failure() or verdict
            if verdict.outcome != "waiting":
                return verdict
            # Thousands of pods take a while to look at, and change at each moment: others have their turn.
            await anyio.sleep((monotonic() - began) * _REST)
            with anyio.move_on_after(self._until_doomed()):
                await changed.wait()

    def _is_scaling(self) -> bool:
        """Whether its controllers have yet to see what they have done: of two changes at once, the first."""
        workload = self.workload
        if not self._deployment or workload["spec"].get("paused"):
            return False
        if not self.synced:
            return True
        sets = by_controller(self.replica_sets).get(workload["metadata"]["uid"], [])
        pods_of = by_controller(self.pods)
        counts = {
            sum(item["spec"].get("replicas", 1) for item in sets),
            sum((item.get("status") or {}).get("replicas", 0) for item in sets),
            sum(is_active(pod) for item in sets for pod in pods_of.get(item["metadata"]["uid"], ())),
        }
        return counts != {workload["spec"].get("replicas", 1)} or not all(map(is_observed, sets))

    def _was_late_before(self) -> bool:
        """Whether the deadline was missed before the change: going back to a ReplicaSet does not unsay it."""
        metadata, status = self._first["metadata"], self._first.get("status") or {}
        if status.get("observedGeneration", 0) >= metadata.get("generation", 0):
            return False
        return progressing_of(status) == progressing_of(self.workload.get("status") or {})

    async def _follow(self, mirror: Mirror) -> None:
        try:
            async for _ in mirror.changes():
                self._changed.set()
                self._changed = anyio.Event()
        except ProviderError as error:
            self._error = error
            self._changed.set()

    def _refuse_others(self) -> None:
        ref, first = Ref.of(self._first), self._first["metadata"]
        now = self._workloads.objects.get(self._name)
        if now is None or now["metadata"].get("deletionTimestamp"):
            raise NotFoundError(f"{ref} was deleted by somebody else meanwhile")
        if now["metadata"]["uid"] != first["uid"]:
            raise TakenOverError(f"{ref} was deleted and made anew by somebody else meanwhile")
        ours, theirs = annotations_of(self._first).get(RELEASE), annotations_of(now).get(RELEASE)
        if ours != theirs:
            raise TakenOverError(f"{ref} was taken over meanwhile: somebody else deployed another release")
        if essence(now["spec"]["template"]) != essence(self._first["spec"]["template"]):
            changed = changed_by_others(now)
            raise TakenOverError(
                f"{ref} was taken over meanwhile: somebody else changed {changed or 'its template'}"
            )
        manager = paused_by(now)
        if manager and not paused_by(self._first):
            raise TakenOverError(f"{ref} was paused by {manager} meanwhile; 'kubectl rollout resume' goes on")

    def _failure(self) -> Verdict | None:
        deployment = self._deployment
        if not self.synced:
            return None
        workload, replica_set = self.workload, self.replica_set
        if (workload.get("status") or {}).get("observedGeneration", 0) < workload["metadata"]["generation"]:
            return None
        if deployment and replica_set is None:
            return None
        # A StatefulSet waits for each pod before it makes the next.
        wanted = replica_set["spec"].get("replicas", 1) if replica_set is not None else 1
        now = monotonic()
        pods = self.new_pods
        waiting = {pod["metadata"]["name"] for pod in pods if is_unschedulable(pod)}
        self._unschedulable = {name: self._unschedulable.get(name, now) for name in waiting}
        failure = failure_of(
            pods,
            wanted=wanted,
            replica_set=replica_set,
            old_pods=without(self.pods, pods),
            long_unschedulable={
                name for name, since in self._unschedulable.items() if now >= since + UNSCHEDULABLE_GRACE
            },
        )
        self._final_at = self._refusal_is_final_at(replica_set, hope=failure is None)
        if failure is None or (failure[1] is None and now < self._final_at):
            return None
        verdict, self.trouble = failure
        return verdict

    def _refusal_is_final_at(self, replica_set: Object | None, *, hope: bool) -> float:
        """Return when a refusal to make pods has stood for so long that none will be made.

        The controller tries again after twice the time each time: once there is room, as many seconds may go
        by as have gone by since it was first refused.
        """
        now, names = monotonic(), frozenset(self._pods.objects)
        if replica_set is None or refusal_of(replica_set) is None:
            self._refused_at = None
            return math.inf
        if self._refused_at is None:
            self._refused_at = now
        if hope or names != self._names:
            self._hope_at, self._names = now, names
        return self._hope_at + max(REFUSAL_GRACE, self._hope_at - self._refused_at)

    def _until_doomed(self) -> float:
        """Return in how many seconds time alone may decide."""
        now = monotonic()
        times = [self._final_at, *(since + UNSCHEDULABLE_GRACE for since in self._unschedulable.values())]
        return min((time - now for time in times if time > now), default=math.inf)
