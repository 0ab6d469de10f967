"""What a wait looks at: that all of a change is seen before it is called done."""

from copy import deepcopy

import anyio
import pytest

from aioproviders.deployment.kubernetes.scene import Scene
from aioproviders.deployment.kubernetes.waiting import Verdict

TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "web", "image": "web:1"}]},
}
WORKLOAD = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "uid": "d", "resourceVersion": "1", "generation": 1},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE},
    "status": {"observedGeneration": 1},
}


def owned(name, owner, **more):
    owners = [{"uid": owner, "controller": True}]
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": name,
        "resourceVersion": "1",
        "ownerReferences": owners,
    }
    return {"metadata": {**metadata, "generation": 1, **more.pop("metadata", {})}, **more}


def replica_set(name="web-1", wanted=2, there=2, seen=1):
    status = {"replicas": there, "observedGeneration": seen}
    return owned(name, "d", spec={"replicas": wanted, "template": TEMPLATE}, status=status)


def pods(*phases, owner="web-1"):
    return [owned(f"{owner}-{number}", owner, status={"phase": phase}) for number, phase in enumerate(phases)]


class Cluster:
    """An API server where these objects are, and nothing happens."""

    def __init__(self, *objects):
        self.listed = {"ReplicaSet": [], "Pod": []}
        for item in objects:
            self.listed["Pod" if "spec" not in item else "ReplicaSet"].append(deepcopy(item))

    async def list(self, _, kind, *__, **___):
        return {"metadata": {"resourceVersion": "1"}, "items": self.listed[kind]}

    async def watch(self, *_, **__):
        await anyio.sleep_forever()
        yield


async def is_done(workload, *objects):
    """Whether the wait ends, where the workload itself says that all is done."""
    scene = Scene(Cluster(*objects), workload)
    with anyio.move_on_after(0.1):
        await scene.until_decided(lambda *_: Verdict("done", "all is well"), lambda *_: None)
        return True
    assert scene.standing == "its ReplicaSets are still being scaled"
    return False


@pytest.mark.parametrize(
    ("objects", "done"),
    [
        ([replica_set(), *pods("Running", "Running")], True),
        (
            [replica_set(), replica_set("web-0", 0, 0), *pods("Running", "Running", "Failed", "Succeeded")],
            True,
        ),
        ([replica_set(), *pods("Running", "Running"), *pods("Running", owner="other")], True),
        ([replica_set(wanted=4), *pods("Running", "Running")], False),
        ([replica_set(there=4), *pods("Running", "Running")], False),
        ([replica_set(seen=0), *pods("Running", "Running")], False),
        ([replica_set(), *pods("Running", "Running", "Pending")], False),
        ([replica_set(), replica_set("web-0", 1, 0), *pods("Running", "Running")], False),
    ],
)
async def test_controllers_that_lag_behind(objects, done):
    """Of two changes at once a Deployment may tell of the second while its ReplicaSets are at the first."""
    assert await is_done(WORKLOAD, *objects) is done


async def test_what_is_paused_has_as_many_as_it_has():
    """Its ReplicaSets stay where they are."""
    paused = {**WORKLOAD, "spec": {**WORKLOAD["spec"], "paused": True}}
    assert await is_done(paused, replica_set(wanted=1, there=1), *pods("Running"))
