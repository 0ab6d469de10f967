"""What the three kinds of workloads have in their own ways."""

import anyio
import pytest
from clusters import manifest, provider_of, shop, workload
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_asyncio import client

from aioproviders.deployment import DeploymentStatus
from aioproviders.deployment.kubernetes.objects import Ref
from aioproviders.deployment.kubernetes.workloads import (
    is_controlled_by,
    merge_patch,
    new_pods,
    new_replica_set,
    paused_by,
    selector_of,
    unhashed,
)
from aioproviders.errors import UnsupportedCapabilityError

json_values = st.recursive(
    st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text("abc", max_size=1), json_values, max_size=3)


def merged(target, patch):
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merged(target.get(key), value)
    return target


@given(objects, objects)
def test_a_merge_patch_makes_what_is_wanted(now, wanted):
    """Merged into what there is, it gives the other, whatever they are."""
    assert merged(now, merge_patch(now, wanted)) == wanted


@given(objects)
def test_no_difference_no_patch(now):
    """What is equal needs none."""
    assert merge_patch(now, now) == {}


def test_selectors():
    """All kinds of terms are written as a list's query has them."""
    selector = {
        "matchLabels": {"app": "web", "tier": "front"},
        "matchExpressions": [
            {"key": "zone", "operator": "In", "values": ["a", "b"]},
            {"key": "track", "operator": "NotIn", "values": ["canary"]},
            {"key": "team", "operator": "Exists"},
            {"key": "old", "operator": "DoesNotExist"},
        ],
    }
    assert selector_of({"spec": {"selector": selector}}) == (
        "app=web,tier=front,zone in (a,b),track notin (canary),team,!old"
    )


def owned(owner, controller=True, **more):
    return {"metadata": {"name": "x", "ownerReferences": [{"uid": owner, "controller": controller}], **more}}


def test_only_its_controller_owns_an_object():
    """Labels don't count, nor does an owner that does not control."""
    assert is_controlled_by(owned("u1"), "u1")
    assert not is_controlled_by(owned("u2"), "u1")
    assert not is_controlled_by(owned("u1", controller=False), "u1")
    assert not is_controlled_by({"metadata": {"name": "x"}}, "u1")


def replica_set(revision, image, owner="u1"):
    made = owned(owner, uid=f"rs-{revision}", annotations={"deployment.kubernetes.io/revision": revision})
    made["spec"] = {
        "template": {
            "metadata": {"labels": {"app": "web", "pod-template-hash": "abc"}},
            "spec": {"containers": [{"image": image}]},
        }
    }
    return made


def test_the_new_replica_set():
    """It has the Deployment's revision, and its template: before the controller has looked there is none."""
    deployment = {
        "kind": "Deployment",
        "metadata": {"uid": "u1", "annotations": {"deployment.kubernetes.io/revision": "2"}},
        "spec": {
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"image": "b"}]}}
        },
    }
    old, new = replica_set("1", "a"), replica_set("2", "b")
    assert new_replica_set(deployment, [old, new]) is new
    assert new_replica_set(deployment, [old, replica_set("2", "b", owner="other")]) is None
    deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    assert new_replica_set(deployment, [old]) is None
    assert new_pods(deployment, None, [owned("rs-1")]) == []
    assert new_pods(deployment, new, [owned("rs-1"), owned("rs-2")]) == [owned("rs-2")]


def test_a_template_without_its_hash():
    """The copy has none, and the original keeps it."""
    template = replica_set("1", "a")["spec"]["template"]
    assert unhashed(template)["metadata"]["labels"] == {"app": "web"}
    assert "pod-template-hash" in template["metadata"]["labels"]


def test_who_has_paused_a_deployment():
    """Its managers tell: ourselves, another, or nobody knows who."""

    def paused(*entries):
        return {"spec": {"paused": True}, "metadata": {"managedFields": list(entries)}}

    def entry(manager, operation="Apply"):
        fields = {"f:spec": {"f:paused": {}}}
        return {"manager": manager, "operation": operation, "fieldsV1": fields}

    assert paused_by({"spec": {}, "metadata": {}}) is None
    assert paused_by(paused(entry("aioproviders"))) == ""
    assert paused_by(paused(entry("kubectl-rollout", "Update"))) == "kubectl-rollout"
    assert paused_by(paused()) == "somebody"


# On a real control plane.


@pytest.fixture
def config(kubeconfig, namespace, tmp_path):
    """Return a function: kind, version -> config of a manifest."""

    def make(kind, version, changes=None, **spec):
        path = manifest(tmp_path, workload(kind, f"registry.example/shop:{version}", **spec))
        return shop(kubeconfig, namespace, version, manifests=[path], **(changes or {}))

    return make


@pytest.fixture
async def provider(kubeconfig, namespace, config, request):
    """A provider of what its first deploy says."""
    provider = provider_of(kubeconfig, namespace)
    await provider.initialize()
    yield provider
    await provider.cleanup()


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_other_kinds_are_rolled_out_and_back(provider, config, kind):
    """An update, one that fails, and going back, as with a Deployment."""
    first = await provider.deploy(config(kind, "1.0.0"))
    assert first.status == DeploymentStatus.HEALTHY, first
    second = await provider.deploy(config(kind, "2.0.0"))
    assert second.status == DeploymentStatus.HEALTHY, second
    assert second.metadata["revision"] > first.metadata["revision"]
    failed = await provider.deploy(config(kind, "3.0.0-crash-loop", {"rollout_timeout_ms": 3_600_000}))
    assert failed.status == DeploymentStatus.ROLLED_BACK, failed
    assert failed.diagnosis.reason == "CrashLoopBackOff"
    assert (await provider.get_status())["version"] == "2.0.0"
    back = await provider.rollback("1.0.0")
    assert back.success, back
    state = await provider.get_status()
    assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")
    assert {instance.version for instance in state["instances"]} == {"1.0.0"}
    assert "unchanged" in (await provider.rollback("1.0.0")).message
    history = await provider.history()
    assert history[0].version == "1.0.0"
    assert history[0].current
    assert "3.0.0-crash-loop" in {release.version for release in history}


async def test_the_same_stateful_set_again(provider, config):
    """Nothing changes, and nothing is waited for."""
    await provider.deploy(config("StatefulSet", "1.0.0"))
    again = await provider.deploy(config("StatefulSet", "1.0.0"))
    assert "unchanged" in again.message
    assert again.metadata["revision"] == 1


async def test_a_stateful_set_with_a_partition(provider, config):
    """Only some of it is updated, and that is all there is to wait for."""
    await provider.deploy(config("StatefulSet", "1.0.0"))
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    result = await provider.deploy(config("StatefulSet", "2.0.0", updateStrategy=strategy))
    assert result.success, result
    assert result.metadata["replicas"].updated == 1
    instances = {item.name: item.version for item in (await provider.get_status())["instances"]}
    assert instances == {"shop-0": None, "shop-1": "2.0.0"}


async def test_a_stateful_set_scales(provider, config):
    """By the same subresource as a Deployment."""
    await provider.deploy(config("StatefulSet", "1.0.0"))
    result = await provider.scale(3)
    assert result.success, result
    assert result.metadata["replicas"].available == 3


async def test_a_daemon_set_does_not_scale(provider, config):
    """It is refused: there is a pod for each node."""
    await provider.deploy(config("DaemonSet", "1.0.0"))
    with pytest.raises(UnsupportedCapabilityError, match="each node"):
        (await provider.scale(3)).raise_for_error()


async def test_what_only_updates_when_pods_are_deleted(provider, config):
    """It is refused before anything is applied."""
    result = await provider.deploy(config("StatefulSet", "1.0.0", updateStrategy={"type": "OnDelete"}))
    with pytest.raises(UnsupportedCapabilityError, match="OnDelete"):
        result.raise_for_error()
    assert (await provider.get_status())["status"] == DeploymentStatus.NOT_FOUND


async def test_the_workload_of_ones_own_manifests(kubeconfig, namespace, tmp_path):
    """Before anything is deployed through it, a provider looks into the manifests that its config names."""
    path = manifest(tmp_path, workload("StatefulSet", "registry.example/shop:1.0.0"))
    async with provider_of(kubeconfig, namespace, manifests=[path]) as first:
        (await first.deploy(first.config)).raise_for_error()
    async with provider_of(kubeconfig, namespace, manifests=[path]) as second:
        assert (await second.get_status())["status"] == DeploymentStatus.HEALTHY
        assert (await second.health_check())["status"] == "healthy"


async def test_a_stateful_set_that_is_stuck(provider, config):
    """A pod that never gets ready holds up neither the way back nor the next deploy."""
    await provider.deploy(config("StatefulSet", "1.0.0"))
    late = await provider.deploy(config("StatefulSet", "2.0.0-never-ready", {"rollout_timeout_ms": 1500}))
    assert late.status == DeploymentStatus.ROLLED_BACK, late
    stays = {"rollback_on_failure": False, "rollout_timeout_ms": 1500}
    await provider.deploy(config("StatefulSet", "3.0.0-never-ready", stays))
    result = await provider.deploy(config("StatefulSet", "3.0.1"))
    assert result.success, result


async def test_a_pod_with_the_labels_of_a_stateful_set(kube, namespace, provider, config):
    """It is not the set's, whatever it is called, and is left alone."""
    core = client.CoreV1Api(kube)
    template = workload("StatefulSet", "shop:1-never-ready")["spec"]["template"]
    await core.create_namespaced_pod(
        namespace, {**template, "metadata": {**template["metadata"], "name": "debug"}}
    )
    result = await provider.deploy(config("StatefulSet", "1.0.0"))
    assert result.success, result
    assert (await core.read_namespaced_pod("debug", namespace)).metadata.deletion_timestamp is None


async def test_a_stateful_set_of_somebody_else_comes_back(kube, namespace, provider, config):
    """What a bad deploy of ours has replaced is restored, and not only said to be."""
    theirs = workload("StatefulSet", "registry.example/theirs:7")
    await client.AppsV1Api(kube).create_namespaced_stateful_set(namespace, theirs, field_manager="somebody")
    wanted = config("StatefulSet", "1.0.0-crash-loop", {"force": True})
    with anyio.fail_after(20):
        while (await provider.get_status())["replicas"].available != 2:
            provider._ref = provider._ref or Ref("apps/v1", "StatefulSet", namespace, "shop")
            provider._ref = provider._ref._replace(kind="StatefulSet")
            await anyio.sleep(0.05)
    result = await provider.deploy(wanted)
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    found = await client.AppsV1Api(kube).read_namespaced_stateful_set("shop", namespace)
    assert found.spec.template.spec.containers[0].image == "registry.example/theirs:7"
    assert result.metadata["images"] == ("registry.example/theirs:7",)
