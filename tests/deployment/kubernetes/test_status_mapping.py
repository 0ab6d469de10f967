"""Which status an object's own words come to."""

import pytest

from aioproviders.deployment import DeploymentStatus
from aioproviders.deployment.kubernetes.objects import Ref
from aioproviders.deployment.kubernetes.provenance import tag_of
from aioproviders.deployment.kubernetes.status import absent, state_of

AVAILABLE = {"type": "Available", "status": "True"}
SETTLED = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
UNDER_WAY = {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}
LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
CONTAINERS = [{"name": "web", "image": "registry:5000/web:1.0.0"}]


def deployment(*conditions, desired=2, there=2, updated=2, available=2, metadata=None, **spec):
    return {
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "shop",
            "uid": "u1",
            "generation": 2,
            "annotations": {"deployment.kubernetes.io/revision": "3"},
            **(metadata or {}),
        },
        "spec": {
            "replicas": desired,
            "template": {"metadata": {}, "spec": {"containers": CONTAINERS}},
            **spec,
        },
        "status": {
            "observedGeneration": 2,
            "replicas": there,
            "updatedReplicas": updated,
            "readyReplicas": available,
            "availableReplicas": available,
            "conditions": list(conditions),
        },
    }


def replica_set(*conditions):
    return {
        "kind": "ReplicaSet",
        "metadata": {
            "name": "web-abc",
            "uid": "r3",
            "annotations": {"deployment.kubernetes.io/revision": "3"},
            "ownerReferences": [{"uid": "u1", "controller": True}],
        },
        "spec": {"replicas": 2, "template": {"metadata": {}, "spec": {"containers": CONTAINERS}}},
        "status": {"conditions": list(conditions)},
    }


def crashing(name):
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off"}
    return {
        "metadata": {"name": name, "ownerReferences": [{"uid": "r3", "controller": True}]},
        "spec": {"containers": CONTAINERS},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "web", "ready": False, "state": {"waiting": waiting}}],
        },
    }


@pytest.mark.parametrize(
    ("obj", "status"),
    [
        (deployment(AVAILABLE, SETTLED), DeploymentStatus.HEALTHY),
        (
            deployment(AVAILABLE, SETTLED, desired=0, there=0, updated=0, available=0),
            DeploymentStatus.SCALED_TO_ZERO,
        ),
        (deployment(AVAILABLE, UNDER_WAY, there=3, updated=1), DeploymentStatus.PROGRESSING),
        (deployment(AVAILABLE, SETTLED, available=1), DeploymentStatus.DEGRADED),
        (deployment(SETTLED, available=0), DeploymentStatus.FAILED),
        (deployment(AVAILABLE, LATE, updated=1), DeploymentStatus.FAILED),
        (deployment(AVAILABLE, SETTLED, paused=True), DeploymentStatus.PAUSED),
        (
            deployment(AVAILABLE, SETTLED, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            DeploymentStatus.TERMINATING,
        ),
        (deployment(AVAILABLE, SETTLED, metadata={"generation": 3}), DeploymentStatus.PROGRESSING),
    ],
)
def test_statuses(obj, status):
    """Each state of a Deployment has its own."""
    state = state_of(obj, [replica_set()], [])
    assert state["status"] == status, state
    assert state["message"]
    assert (state["version"], state["revision"]) == ("1.0.0", 3)


def test_a_rollout_that_cannot_succeed():
    """All new pods doomed, or none allowed, has failed before any deadline says so."""
    stuck = deployment(AVAILABLE, UNDER_WAY, there=4, available=2)
    one = state_of(stuck, [replica_set()], [crashing("a")])
    assert one["status"] == DeploymentStatus.PROGRESSING
    both = state_of(stuck, [replica_set()], [crashing("a"), crashing("b")])
    assert (both["status"], both["message"][:16]) == (DeploymentStatus.FAILED, "CrashLoopBackOff")
    assert {(item.phase, item.revision, item.version) for item in both["instances"]} == {
        ("crash_loop", 3, "1.0.0")
    }
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}
    assert state_of(stuck, [replica_set(refused)], [])["message"] == "FailedCreate: quota"
    coming = crashing("b") | {"status": {"phase": "Pending"}}
    starting = state_of(stuck, [replica_set(refused)], [crashing("a"), coming])
    assert starting["status"] == DeploymentStatus.PROGRESSING


def test_what_we_have_under_way_progresses():
    """While we are at it, it is not taken for failed."""
    obj = deployment(SETTLED, available=0)
    state = state_of(obj, [replica_set()], [], under_way="rollout of 2.0.0")
    assert state["status"] == DeploymentStatus.PROGRESSING
    assert state["message"].startswith("rollout of 2.0.0: ")


def test_one_that_is_not_there():
    """Everything is empty, and the status says why."""
    state = absent(Ref("apps/v1", "Deployment", "shop", "web"))
    assert (state["status"], state["instances"]) == (DeploymentStatus.NOT_FOUND, ())


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("web:1.0.0", "1.0.0"),
        ("registry:5000/web", None),
        ("registry:5000/web:2@sha256:abc", "2"),
        ("web@sha256:abc", None),
    ],
)
def test_tags(image, tag):
    """A registry's port is none, nor is a digest."""
    assert tag_of(image) == tag
