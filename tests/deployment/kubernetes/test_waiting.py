"""When a rollout is over: the decisions, on what objects say."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aioproviders.deployment import Replicas
from aioproviders.deployment.kubernetes.waiting import (
    counts_of,
    failure_of,
    rollout_verdict,
    scale_verdict,
    updates_by_itself,
)
from aioproviders.errors import UnsupportedCapabilityError

AVAILABLE = {"type": "Available", "status": "True"}
DONE = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}


def deployment(generation=2, spec=None, **status):
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "generation": generation},
        "spec": {"replicas": 3, **(spec or {})},
        "status": {
            "observedGeneration": generation,
            "replicas": 3,
            "updatedReplicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "conditions": [AVAILABLE, DONE],
            **status,
        },
    }


def stateful_set(spec=None, **status):
    return {
        "kind": "StatefulSet",
        "metadata": {"name": "web", "generation": 2},
        "spec": {"replicas": 3, "updateStrategy": {"type": "RollingUpdate"}, **(spec or {})},
        "status": {
            "observedGeneration": 2,
            "replicas": 3,
            "readyReplicas": 3,
            "availableReplicas": 3,
            "updatedReplicas": 3,
            "currentRevision": "web-2",
            "updateRevision": "web-2",
            **status,
        },
    }


def daemon_set(**status):
    return {
        "kind": "DaemonSet",
        "metadata": {"name": "web", "generation": 2},
        "spec": {},
        "status": {
            "observedGeneration": 2,
            "desiredNumberScheduled": 2,
            "currentNumberScheduled": 2,
            "updatedNumberScheduled": 2,
            "numberAvailable": 2,
            "numberReady": 2,
            **status,
        },
    }


@pytest.mark.parametrize("obj", [deployment(), stateful_set(), daemon_set()])
def test_all_is_as_it_should_be(obj):
    """Then the rollout is done."""
    assert rollout_verdict(obj, 2).outcome == "done"


@pytest.mark.parametrize("make", [deployment, stateful_set, daemon_set])
def test_a_status_from_before_says_nothing(make):
    """As long as the controller has not seen our generation, or we see an older one, nothing is done."""
    assert rollout_verdict(make(observedGeneration=1), 2).outcome == "waiting"
    assert rollout_verdict(make(observedGeneration=2), 3).outcome == "waiting"


@pytest.mark.parametrize(
    ("obj", "said"),
    [
        (deployment(updatedReplicas=2), "2 of 3 new replicas have been made"),
        (deployment(replicas=4), "old replicas are about to end: 1"),
        (deployment(availableReplicas=1), "1 of 3 new replicas are available"),
        (deployment(spec={"replicas": 2}), "3 replicas are there, 2 should be"),
        (deployment(readyReplicas=2), "2 of 3 replicas are ready"),
        (deployment(conditions=[DONE]), "not available yet"),
        (deployment(conditions=[AVAILABLE]), "the new ReplicaSet is not available yet"),
        (stateful_set(readyReplicas=1), "1 of 3 replicas are ready"),
        (stateful_set(replicas=4), "4 replicas are there, 3 should be"),
        (stateful_set(updatedReplicas=2), "2 of 3 replicas are updated"),
        (stateful_set(availableReplicas=2), "2 of 3 replicas are available"),
        (stateful_set(currentRevision="web-1"), "the last of the old replicas"),
        (daemon_set(currentNumberScheduled=1), "1 of 2 pods are made"),
        (daemon_set(updatedNumberScheduled=1), "1 of 2 pods are updated"),
        (daemon_set(numberAvailable=0), "0 of 2 pods are available"),
        (daemon_set(numberReady=1), "1 of 2 pods are ready"),
    ],
)
def test_what_is_waited_for(obj, said):
    """Whatever is missing is waited for, and told."""
    verdict = rollout_verdict(obj, 2)
    assert verdict.outcome == "waiting"
    assert said in verdict.message


def test_a_deadline_that_has_passed():
    """A Deployment that made no progress in its time has failed."""
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    verdict = rollout_verdict(deployment(updatedReplicas=1, conditions=[late]), 2)
    assert (verdict.outcome, verdict.reason) == ("failed", "ProgressDeadlineExceeded")


def test_a_deadline_of_before_says_nothing():
    """That of an earlier rollout is no failure of this one."""
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    assert rollout_verdict(deployment(generation=3, observedGeneration=2, conditions=[late]), 3).outcome == (
        "waiting"
    )


def test_no_deadline_no_condition():
    """A Deployment without a progress deadline has no such condition to wait for."""
    assert rollout_verdict(
        deployment(spec={"progressDeadlineSeconds": 2**31 - 1}, conditions=[AVAILABLE]), 2
    ).outcome == ("done")


def test_a_partition():
    """Only the pods from the partition on are to be updated, and the old revision stays."""
    spec = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}
    assert (
        rollout_verdict(stateful_set(spec, updatedReplicas=1, currentRevision="web-1"), 2).outcome == "done"
    )
    assert rollout_verdict(stateful_set(spec, updatedReplicas=0), 2).outcome == "waiting"


def test_no_replicas():
    """None are there as soon as none are left."""
    none = {"replicas": 0, "updatedReplicas": 0, "readyReplicas": 0, "availableReplicas": 0}
    assert rollout_verdict(deployment(spec={"replicas": 0}, **none), 2).outcome == "done"
    assert (
        rollout_verdict(stateful_set({"replicas": 0}, **none, currentRevision="web-1"), 2).outcome == "done"
    )


@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4), st.integers(0, 4))
def test_nothing_is_done_too_early(desired, there, updated, ready, available):
    """Done means that as many as wanted are there, new, ready and available, and no others."""
    counts = {
        "replicas": there,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": available,
    }
    verdict = rollout_verdict(deployment(spec={"replicas": desired}, **counts), 2)
    if verdict.outcome == "done":
        assert there == desired <= min(updated, ready, available)


def test_scaling_waits_for_as_many():
    """Neither more nor fewer, and all of them available; what the last rollout came to is no matter."""
    assert scale_verdict(deployment(conditions=[]), 2).outcome == "done"
    assert scale_verdict(deployment(replicas=4), 2).outcome == "waiting"
    assert scale_verdict(deployment(availableReplicas=2), 2).outcome == "waiting"
    assert scale_verdict(deployment(observedGeneration=1), 2).outcome == "waiting"


def test_counts():
    """They are each kind's own."""
    assert counts_of(deployment(readyReplicas=2)) == Replicas(desired=3, updated=3, ready=2, available=3)
    assert counts_of(daemon_set(numberReady=1)) == Replicas(desired=2, updated=2, ready=1, available=2)


def pod(name, reason=None, **metadata):
    state = {"waiting": {"reason": reason, "message": "not found"}} if reason else {"running": {}}
    ready = "False" if reason else "True"
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"containers": []},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "web", "state": state, "ready": not reason}],
        },
    }


def test_only_all_pods_together_fail_a_rollout():
    """One that is well, or that is not there yet, is a hope."""
    bad = [pod("a", "CrashLoopBackOff"), pod("b", "ErrImagePull")]
    verdict, trouble = failure_of(bad, wanted=2)
    assert (verdict.outcome, verdict.reason, trouble.pod) == ("failed", "CrashLoopBackOff", "a")
    assert failure_of([*bad, pod("c")], wanted=2) is None
    assert failure_of(bad, wanted=3) is None
    assert failure_of([], wanted=0) is None


def test_pods_on_their_way_out_do_not_count():
    """Neither as a hope nor as a sign."""
    leaving = pod("c", deletionTimestamp="2026-01-01T00:00:00Z")
    assert failure_of([pod("a", "CrashLoopBackOff"), leaving], wanted=1) is not None
    assert failure_of([leaving], wanted=1) is None


def refused(message="exceeded\nquota", status="True"):
    """Return a ReplicaSet of which not all pods may be made."""
    condition = {"type": "ReplicaFailure", "status": status, "reason": "FailedCreate", "message": message}
    return {"status": {"conditions": [condition]}}


def test_pods_that_may_not_be_made():
    """A quota or an admission webhook fails a rollout without any pod."""
    verdict, trouble = failure_of([], wanted=1, replica_set=refused())
    assert (verdict.reason, verdict.message, trouble) == ("FailedCreate", "exceeded quota", None)
    assert failure_of([], wanted=1, replica_set=refused(status="False")) is None


def test_a_quota_that_lets_some_pods_be_made():
    """What may still come up makes room when old pods end for it; what is all there is makes none."""
    judged = partial(failure_of, wanted=3, replica_set=refused())
    old = [pod("x"), pod("y"), pod("z")]
    starting = {"metadata": {"name": "a"}, "status": {"phase": "Pending"}}
    leaving = pod("w", deletionTimestamp="2026-01-01T00:00:00Z")
    assert judged([starting], old_pods=old) is None
    assert judged([], old_pods=[*old, leaving]) is None
    for new, others in (([], old), ([pod("a")], old[:2]), ([pod("a")], [])):
        verdict, trouble = judged(new, old_pods=others)
        assert (verdict.reason, trouble) == ("FailedCreate", None)
    verdict, trouble = judged([pod("a", "CrashLoopBackOff")], old_pods=old)
    assert (verdict.reason, trouble.pod) == ("CrashLoopBackOff", "a")


@pytest.mark.parametrize(
    "message",
    [
        'error looking up service account shop/default: serviceaccount "default" not found',
        'Internal error occurred: failed calling webhook "x.example.org": connection refused',
    ],
)
def test_pods_that_may_be_made_in_a_moment(message):
    """A namespace that was just made has no service account yet, and a webhook may be starting."""
    assert failure_of([], wanted=1, replica_set=refused(message)) is None


@pytest.mark.parametrize("make", [stateful_set, daemon_set])
def test_what_does_not_roll_out_by_itself(make):
    """OnDelete is refused, with what would be right."""
    obj = make()
    updates_by_itself(obj)
    obj["spec"]["updateStrategy"] = {"type": "OnDelete"}
    with pytest.raises(UnsupportedCapabilityError, match=r"OnDelete.*RollingUpdate"):
        updates_by_itself(obj)
