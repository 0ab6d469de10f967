"""What a pod says of itself: what is wrong with it, and whether that can pass."""

import pytest

from aioproviders.deployment.kubernetes.pods import instance_of, is_ended, is_unschedulable, trouble_of


def pod(*containers, init=(), phase="Running", ready=False, conditions=(), metadata=None, **status):
    return {
        "metadata": {"name": "web-1", **(metadata or {})},
        "spec": {"containers": [{"name": "web", "ports": [{"containerPort": 8080}]}]},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready)}, *conditions],
            "containerStatuses": list(containers),
            "initContainerStatuses": list(init),
            **status,
        },
    }


def container(name="web", ready=False, last=None, restarts=0, **state):
    return {
        "name": name,
        "ready": ready,
        "restartCount": restarts,
        "state": state,
        "lastState": {"terminated": last} if last else {},
    }


def waiting(reason, message="", **more):
    return container(waiting={"reason": reason, "message": message}, **more)


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("CrashLoopBackOff", "back-off 10s restarting failed container"),
        ("ErrImagePull", "rpc error: code = NotFound desc = manifest for web:9 not found"),
        ("ImagePullBackOff", 'Back-off pulling image "web:9": ErrImagePull: manifest unknown'),
        ("InvalidImageName", "couldn't parse image name"),
        ("ErrImageNeverPull", "image is not present with pull policy of Never"),
        ("CreateContainerConfigError", 'secret "db" not found'),
    ],
)
def test_what_does_not_pass(reason, message):
    """These stay until somebody changes something."""
    trouble = trouble_of(pod(waiting(reason, message)))
    assert (trouble.reason, trouble.doomed, trouble.container) == (reason, True, "web")


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("ErrImagePull", "net/http: TLS handshake timeout"),
        ("ImagePullBackOff", 'Back-off pulling image "web:1"'),
        ("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"),
        ("RunContainerError", "context deadline exceeded"),
    ],
)
def test_what_may_pass(reason, message):
    """The kubelet tries these again, and may well succeed."""
    trouble = trouble_of(pod(waiting(reason, message)))
    assert (trouble.reason, trouble.doomed) == (reason, False)


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_what_has_just_begun(reason):
    """A container that is being made is in no trouble."""
    assert trouble_of(pod(waiting(reason), phase="Pending")) is None
    assert instance_of(pod(waiting(reason), phase="Pending")).phase == "starting"


@pytest.mark.parametrize(("exit_code", "doomed"), [(127, True), (128, False)])
def test_a_container_that_cannot_run(exit_code, doomed):
    """128 is what the runtime says when it was too busy to start it."""
    last = {"reason": "ContainerCannotRun", "exitCode": exit_code, "message": "exec: no such file"}
    trouble = trouble_of(pod(waiting("CrashLoopBackOff", last=last)))
    assert (trouble.reason, trouble.exit_code, trouble.doomed) == ("ContainerCannotRun", exit_code, doomed)
    assert trouble.message == "exec: no such file"


def test_how_a_container_has_crashed():
    """A crash loop tells of the last run: its exit code, and that its output is the one before."""
    trouble = trouble_of(pod(waiting("CrashLoopBackOff", last={"reason": "Error", "exitCode": 3})))
    assert (trouble.exit_code, trouble.logs_of) == (3, "previous")
    assert "exit code 3" in trouble.message
    killed = trouble_of(pod(waiting("CrashLoopBackOff", last={"reason": "OOMKilled", "exitCode": 137})))
    assert "memory" in killed.message
    signalled = trouble_of(pod(waiting("CrashLoopBackOff", last={"exitCode": 0, "signal": 9})))
    assert signalled.exit_code == -9


def test_an_init_container():
    """It dooms the pod as the others do."""
    init = waiting("CrashLoopBackOff", name="migrate", last={"reason": "Error", "exitCode": 1})
    trouble = trouble_of(pod(waiting("PodInitializing"), init=[init], phase="Pending"))
    assert (trouble.container, trouble.doomed) == ("migrate", True)


def test_the_container_that_is_doomed_goes_before_one_that_waits():
    """Of several the one that can't get well is told of."""
    side = waiting("ImagePullBackOff", "Back-off pulling image", name="side")
    assert trouble_of(pod(side, waiting("InvalidImageName"))).reason == "InvalidImageName"


@pytest.mark.parametrize(("reason", "doomed"), [("DeadlineExceeded", True), ("Evicted", False)])
def test_a_pod_that_failed(reason, doomed):
    """A pod that was evicted is made anew; another that failed is not."""
    trouble = trouble_of(pod(phase="Failed", reason=reason, message="it is over"))
    assert (trouble.reason, trouble.message, trouble.doomed) == (reason, "it is over", doomed)


def test_a_failed_pod_tells_of_its_container():
    """Where a container has ended badly, that is the reason."""
    ended = container(terminated={"reason": "Error", "exitCode": 2})
    trouble = trouble_of(pod(ended, phase="Failed"))
    assert (trouble.container, trouble.exit_code, trouble.doomed) == ("web", 2, True)


def test_a_pod_that_fits_nowhere():
    """A node may come for it, for a while."""
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available",
    }
    stuck = pod(conditions=[condition], phase="Pending")
    assert is_unschedulable(stuck)
    assert not trouble_of(stuck).doomed
    assert trouble_of(stuck, long_unschedulable=True).doomed


def test_one_that_runs_but_is_not_ready():
    """It may become so at any time."""
    trouble = trouble_of(pod(container(running={"startedAt": "2026-01-01T00:00:00Z"})))
    assert (trouble.reason, trouble.doomed, trouble.logs_of) == ("NotReady", False, "current")


def test_one_that_is_ready():
    """It is in no trouble, whatever was before."""
    well = pod(
        container(
            ready=True, restarts=2, running={"startedAt": "2026-01-01T00:00:00Z"}, last={"exitCode": 1}
        ),
        ready=True,
        podIP="10.0.0.7",
    )
    assert trouble_of(well) is None
    instance = instance_of(well, "1.0.0", 7)
    assert (instance.phase, instance.ready, instance.restarts) == ("ready", True, 2)
    assert (instance.address, instance.version, instance.revision) == ("10.0.0.7:8080", "1.0.0", 7)
    assert instance.started_at.year == 2026


def test_one_that_is_being_deleted():
    """It counts no longer, ready or not."""
    leaving = pod(ready=True, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    assert is_ended(leaving)
    assert (instance_of(leaving).phase, instance_of(leaving).ready) == ("stopping", False)
