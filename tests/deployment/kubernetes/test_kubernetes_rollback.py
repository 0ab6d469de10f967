"""Going back on a real control plane, also to what somebody else has made."""

import anyio
import pytest
from behaviours import changing, rolling_out, until
from clusters import Deployment, manifest, provider_of, shop, told_by, workload
from kubernetes_asyncio import client

from aioproviders.deployment import DeploymentStatus
from aioproviders.deployment.kubernetes import deploying, scaling
from aioproviders.deployment.kubernetes.restoring import go_back
from aioproviders.deployment.kubernetes.scene import TakenOverError


@pytest.fixture
def deployment(kube, namespace):
    return Deployment(kube, namespace)


@pytest.fixture
def config(kubeconfig, namespace):
    """Return a function: version and changes -> config."""
    return lambda version="1.0.0", **changes: shop(kubeconfig, namespace, version, **changes)


@pytest.fixture
async def provider(kubeconfig, namespace):
    provider = provider_of(kubeconfig, namespace)
    await provider.initialize()
    yield provider
    await provider.cleanup()


def image_of(found):
    return found["spec"]["template"]["spec"]["containers"][0]["image"]


async def test_the_settings_come_back_too(provider, config, deployment):
    """A rollback restores the ConfigMap of its release."""
    (await provider.deploy(config("1.0.0", settings={"MODE": "gentle"}))).raise_for_error()
    first = (await deployment.read())["spec"]["template"]
    (await provider.deploy(config("2.0.0", settings={"MODE": "rough"}))).raise_for_error()
    (await provider.rollback("previous")).raise_for_error()
    assert (await deployment.read())["spec"]["template"] == first


async def test_the_number_of_replicas_stays(provider, config):
    """What was scaled since is kept: going back is about the version."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    (await provider.deploy(config("2.0.0"))).raise_for_error()
    (await provider.scale(3)).raise_for_error()
    result = await provider.rollback("1.0.0")
    assert result.success, result
    assert result.metadata["replicas"].available == 3


async def test_a_failed_deploy_restores_the_number_of_before(provider, config):
    """What ran before runs again, as many as there were."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    (await provider.scale(3)).raise_for_error()
    result = await provider.deploy(config("2.0.0-crash-loop"))
    assert result.status == DeploymentStatus.ROLLED_BACK
    assert result.metadata["replicas"].available == 3


@pytest.fixture
async def names(kube, namespace):
    """Return a function: the names of the Services and autoscalers that are there."""
    apis = client.CoreV1Api(kube), client.AutoscalingV2Api(kube)

    async def read():
        services = await apis[0].list_namespaced_service(namespace)
        scalers = await apis[1].list_namespaced_horizontal_pod_autoscaler(namespace)
        found = {"Service": services, "HorizontalPodAutoscaler": scalers}
        return [f"{kind}/{item.metadata.name}" for kind, listed in found.items() for item in listed.items]

    return read


MORE = {
    "ports": [{"port": 80}],
    "service": {},
    "autoscaling": {"min_replicas": 3, "max_replicas": 4},
}
"""A Service and an autoscaler beside the workload."""


async def test_what_only_the_release_left_behind_has_goes(provider, config, deployment, names):
    """Its Service and autoscaler are deleted, and the number of replicas can be set again."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    (await provider.deploy(config("2.0.0", **MORE))).raise_for_error()
    with anyio.fail_after(30):
        while (await deployment.read())["spec"]["replicas"] != 3:  # noqa: ASYNC110 - nothing wakes us
            await anyio.sleep(0.05)
    assert await names() == ["Service/shop", "HorizontalPodAutoscaler/shop"]
    result = await provider.rollback("1.0.0")
    assert result.success, result
    assert result.metadata["replicas"].available == 3
    assert await names() == []
    (await provider.scale(1)).raise_for_error()
    (await provider.deploy(config("1.0.0"))).raise_for_error()


async def test_what_only_a_failed_release_has_goes(provider, config, names):
    """A deploy that is undone leaves nothing of its own."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    result = await provider.deploy(config("2.0.0-crash-loop", **MORE))
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    assert await names() == []
    assert result.metadata["replicas"].available == 2


async def test_nothing_goes_where_pruning_is_off(kubeconfig, namespace, config, names):
    """A rollback leaves what it does not know, as a deploy does."""
    async with provider_of(kubeconfig, namespace, prune=False) as provider:
        (await provider.deploy(config("1.0.0", prune=False))).raise_for_error()
        more = config("2.0.0", prune=False, ports=MORE["ports"], service={})
        (await provider.deploy(more)).raise_for_error()
        (await provider.rollback("1.0.0")).raise_for_error()
    assert await names() == ["Service/shop"]


async def test_a_rollback_that_is_refused(provider, config, deployment):
    """Whoever watches is told of the end, too."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    (await provider.deploy(config("2.0.0"))).raise_for_error()
    template = {"metadata": {"labels": {"theirs": "yes"}}}
    container = {"name": "shop", "image": "registry.example/theirs:1"}
    await deployment.patch({"spec": {"template": {**template, "spec": {"containers": [container]}}}})
    async with told_by(provider) as events:
        result = await provider.rollback("1.0.0")
    assert result.error_detail.code == "conflict", result
    assert [event.kind for event in events] == ["started", "finished"]
    assert events[-1].status == DeploymentStatus.FAILED


async def test_a_rollback_that_fails(provider, config):
    """It fails with its diagnosis, and is not undone in turn."""
    await provider.deploy(config("1.0.0-crash-loop"))
    (await provider.deploy(config("2.0.0"))).raise_for_error()
    result = await provider.rollback("1.0.0-crash-loop")
    assert result.status == DeploymentStatus.FAILED
    assert result.diagnosis.reason == "CrashLoopBackOff"
    assert (await provider.get_status())["version"] == "1.0.0-crash-loop"


async def test_a_rollback_to_what_runs_and_is_not_well(provider, config):
    """It is no success just because there is nothing to change: it is waited for."""
    failed = await provider.deploy(config("1.0.0-crash-loop"))
    result = await provider.rollback("1.0.0-crash-loop")
    assert (result.success, result.status) == (False, DeploymentStatus.FAILED)
    assert result.diagnosis.reason == "CrashLoopBackOff"
    assert result.metadata["revision"] == failed.metadata["revision"]


async def test_what_somebody_else_has_made_comes_back(provider, config, deployment):
    """Where there is no release of ours before, the template of before is restored."""
    await deployment.create("registry.example/theirs:7")
    await until(provider, DeploymentStatus.HEALTHY)
    result = await provider.deploy(config("2.0.0-crash-loop", force=True))
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    assert image_of(await deployment.read()) == "registry.example/theirs:7"


async def test_going_back_to_a_revision_that_kubectl_made(provider, config, deployment):
    """A revision without a release of ours is restored from its ReplicaSet, and then deploys go on."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    template = {"spec": {"template": {"metadata": {"annotations": {"restarted": "yes"}}}}}
    await deployment.patch(template, manager="kubectl-rollout")
    await until(provider, DeploymentStatus.HEALTHY)
    (await provider.deploy(config("2.0.0"))).raise_for_error()
    assert [release.revision for release in await provider.history()] == [3, 2, 1]
    result = await provider.rollback("revision:2")
    assert result.success, result
    found = await deployment.read()
    assert image_of(found) == "registry.example/shop:1.0.0"
    assert found["spec"]["template"]["metadata"]["annotations"]["restarted"] == "yes"
    result = await provider.deploy(config("3.0.0"))
    assert result.success, result


async def test_what_ended_well_with_nobody_there(provider, config):
    """A rollout left to itself that got well is gone back to, too."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    leaving = config("2.0.0-slow", on_cancel="leave")
    async with rolling_out(provider, leaving) as rolling:
        rolling.cancel()
    await until(provider, DeploymentStatus.HEALTHY)
    result = await provider.deploy(config("3.0.0-crash-loop"))
    assert result.status == DeploymentStatus.ROLLED_BACK
    assert result.metadata["version"] == "2.0.0-slow"


async def test_a_deployment_that_was_deleted_does_not_come_back(provider, config, deployment):
    """What is deployed anew has nothing before it, whatever releases are still stored."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    await deployment.delete()
    await until(provider, DeploymentStatus.NOT_FOUND)
    result = await provider.deploy(config("2.0.0-crash-loop"))
    assert result.status == DeploymentStatus.FAILED
    assert result.message.endswith("no healthy release to go back to: it stays, and goes on by itself")
    history = [(release.version, release.status) for release in await provider.history()]
    assert history == [("2.0.0-crash-loop", DeploymentStatus.FAILED)]


async def test_a_first_deploy_that_is_cancelled_is_deleted(provider, config):
    """As there was nothing before; what looks on is told so."""
    async with rolling_out(provider, config("1.0.0-never-ready")) as rolling:
        rolling.cancel()
    assert rolling.events[-1].kind == "finished"
    assert rolling.events[-1].message == (
        "the rollout of 1.0.0-never-ready was cancelled: Deployment/shop is deleted, as there was none before"
    )


async def test_a_cancelled_deploy_with_nothing_to_go_back_to(provider, config):
    """What was never well stays, and the last step does not call that a rollback."""
    failed = await provider.deploy(config("1.0.0-crash-loop"))
    assert failed.status == DeploymentStatus.FAILED
    async with rolling_out(provider, config("2.0.0-never-ready")) as rolling:
        rolling.cancel()
    told = rolling.events[-1]
    assert (told.kind, told.status) == ("finished", DeploymentStatus.FAILED)
    assert told.message.endswith("no healthy release to go back to: it stays, and goes on by itself")


async def test_a_first_deploy_that_may_not_be_deleted(limited_kubeconfig, namespace, config):
    """Then it stays, and the last step says why."""
    verbs = ["get", "list", "watch", "create", "patch"]
    rules = [
        {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": verbs},
        {"apiGroups": [""], "resources": ["pods", "events", "secrets"], "verbs": verbs},
        {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": verbs},
    ]
    path = await limited_kubeconfig(rules)
    first = config("1.0.0-never-ready", kubeconfig_path=path, preflight=False)
    async with provider_of(path, namespace) as provider:
        async with rolling_out(provider, first) as rolling:
            rolling.cancel()
        told = rolling.events[-1]
        assert told.status == DeploymentStatus.FAILED
        assert "undoing it failed: Deployment/shop could not be deleted" in told.message
        assert "cannot delete resource" in told.message
        assert (await provider.get_status())["version"] == "1.0.0-never-ready"


async def test_the_same_release_with_more_than_fits(kube, namespace, provider, config):
    """What is undone is the number alone: the version was well."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    (await provider.deploy(config("2.0.0"))).raise_for_error()
    (await provider.scale(1)).raise_for_error()
    await client.CoreV1Api(kube).create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "1"}}}
    )
    result = await provider.deploy(config("2.0.0"))
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    assert result.metadata["version"] == "2.0.0"
    assert result.metadata["replicas"].desired == 1


async def test_cut_off_while_applying_what_is_there(provider, config, monkeypatch):
    """A deploy of what runs already that is cancelled early undoes nothing."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    (await provider.deploy(config("2.0.0"))).raise_for_error()
    with anyio.CancelScope() as scope:

        async def cut(*_, **__):
            scope.cancel()
            await anyio.sleep_forever()

        monkeypatch.setattr(deploying, "apply_plan", cut)
        await provider.deploy(config("2.0.0"))
    assert scope.cancelled_caught
    assert (await provider.get_status())["version"] == "2.0.0"


@pytest.mark.parametrize("on_cancel", ["pause", "leave", "rollback"])
async def test_cut_off_before_anything_is_applied(provider, config, monkeypatch, on_cancel):
    """Then there is nothing to stop half-way, and nothing that goes on."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    asked = anyio.Event()

    async def cut(*_, **__):
        asked.set()
        await anyio.sleep_forever()

    monkeypatch.setattr(deploying, "apply_plan", cut)
    async with told_by(provider) as events, anyio.create_task_group() as task_group:
        task_group.start_soon(provider.deploy, config("2.0.0", on_cancel=on_cancel))
        await asked.wait()
        task_group.cancel_scope.cancel()
    assert events[-1].message == "the rollout of 2.0.0 was cancelled: nothing was changed"
    state = await provider.get_status()
    assert (state["version"], state["status"]) == ("1.0.0", DeploymentStatus.HEALTHY)


async def test_an_object_behind_the_workload_that_is_refused(kube, namespace, provider, config, deployment):
    """What a dry run does not count shows too late; the workload is put back, or it would go on alone."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    await client.CoreV1Api(kube).create_namespaced_resource_quota(
        namespace,
        {"metadata": {"name": "none"}, "spec": {"hard": {"count/poddisruptionbudgets.policy": "0"}}},
    )
    bad = config("2.0.0-crash-loop", disruption_budget={"max_unavailable": 1})
    result = await provider.deploy(bad)
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    assert "exceeded quota: none" in result.message
    assert "1.0.0 is back" in result.message
    assert image_of(await deployment.read()) == "registry.example/shop:1.0.0"


async def test_cut_off_while_applying(provider, config, monkeypatch):
    """A deploy that is cancelled before it knows what it has applied is undone all the same."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    apply_plan = deploying.apply_plan
    with anyio.CancelScope() as scope:

        async def cut(*arguments, **options):
            await apply_plan(*arguments, **options)
            scope.cancel()
            await anyio.sleep_forever()

        monkeypatch.setattr(deploying, "apply_plan", cut)
        await provider.deploy(config("2.0.0"))
    state = await provider.get_status()
    assert (state["version"], state["status"]) == ("1.0.0", DeploymentStatus.HEALTHY)


async def test_a_deadline_missed_before_going_back(provider, config, tmp_path):
    """The controller goes on telling of it for a while; what is gone back to gets its own time."""

    def release(version, **changes):
        # Only what never gets ready has a short time: a good pod may take seconds on a busy machine.
        spec = {"replicas": 1, "progressDeadlineSeconds": 1 if version.endswith("never-ready") else 60}
        obj = workload("Deployment", f"registry.example/shop:{version}", **spec)
        return config(version, manifests=[manifest(tmp_path, obj)], **changes)

    (await provider.deploy(release("1.0.0"))).raise_for_error()
    result = await provider.deploy(release("2.0.0-never-ready"))
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    await provider.deploy(release("3.0.0-never-ready", rollback_on_failure=False))
    result = await provider.rollback("1.0.0")
    assert result.status == DeploymentStatus.HEALTHY, result
    again = await provider.deploy(release("3.0.0-never-ready", rollback_on_failure=False))
    assert again.status == DeploymentStatus.FAILED


# What is undone of a rollback or a scaling, and what isn't.


async def test_a_cancelled_rollback_from_what_was_not_well(provider, config):
    """Neither that nor what is older is brought back: the rollback goes on, as the last step says."""
    (await provider.deploy(config("0.9.0"))).raise_for_error()
    (await provider.deploy(config("1.0.0-slow"))).raise_for_error()
    # Its only pod goes first, so that going back takes a while.
    replaced = {"strategy": {"kind": "recreate"}, "rollback_on_failure": False}
    failed = await provider.deploy(config("2.0.0-crash-loop", **replaced))
    assert failed.status == DeploymentStatus.FAILED
    async with changing(provider, lambda: provider.rollback("1.0.0-slow")) as going_back:
        going_back.cancel()
    told = going_back.events[-1]
    assert (told.kind, told.status) == ("finished", DeploymentStatus.PROGRESSING)
    assert told.message == (
        "the rollback to 1.0.0-slow was cancelled: what ran before was not healthy: it goes on by itself"
    )
    assert (await until(provider, DeploymentStatus.HEALTHY))["version"] == "1.0.0-slow"


async def test_a_cancelled_scaling_that_somebody_else_has_changed(provider, config, deployment):
    """Then the number is theirs, and is not undone."""
    (await provider.deploy(config("1.0.0-slow"))).raise_for_error()
    async with changing(provider, lambda: provider.scale(4)) as scaled:
        await deployment.patch({"spec": {"replicas": 3}}, manager="kubectl-scale")
        scaled.cancel()
    told = scaled.events[-1]
    assert told.status == DeploymentStatus.FAILED
    assert told.message.endswith("undoing it failed: somebody else has scaled it to 3 meanwhile")
    assert (await deployment.read())["spec"]["replicas"] == 3


async def test_a_pause_of_what_somebody_else_has_scaled(provider, config, deployment):
    """The number is theirs, and no hindrance."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    async with rolling_out(provider, config("2.0.0-never-ready", on_cancel="pause")) as rolling:
        await deployment.patch({"spec": {"replicas": 3}}, manager="kubectl-scale")
        rolling.cancel()
    told = rolling.events[-1]
    assert (told.status, told.message) == (
        DeploymentStatus.PAUSED,
        "the rollout of 2.0.0-never-ready was cancelled: it is paused",
    )
    spec = (await deployment.read())["spec"]
    assert (spec["paused"], spec["replicas"]) == (True, 3)


async def test_a_pause_that_is_in_the_way_of_somebody(provider, config, deployment):
    """It is not forced on them, and the last step says so."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    async with rolling_out(provider, config("2.0.0-never-ready", on_cancel="pause")) as rolling:
        await deployment.patch({"spec": {"minReadySeconds": 7}}, manager="somebody")
        rolling.cancel()
    told = rolling.events[-1]
    assert told.status == DeploymentStatus.PROGRESSING
    assert "it could not be paused: apply Deployment/shop" in told.message
    assert "spec.minReadySeconds is owned by somebody" in told.message


async def test_nothing_is_undone_of_what_others_have_deployed(provider, config):
    """A release that is neither the one to undo nor the one before belongs to somebody else."""
    first, second = config("1.0.0"), config("2.0.0")
    (await provider.deploy(first)).raise_for_error()
    ref = await provider._workload()
    before = await provider._api.get(ref)
    (await provider.deploy(second)).raise_for_error()
    with pytest.raises(TakenOverError, match="somebody else deployed another release"):
        await go_back(provider._hands(first), ref, "0123456789", before)
    assert (await provider.get_status())["version"] == "2.0.0"


async def test_a_rollback_that_fails_as_well(provider, config):
    """The result is about what is there in the end, and not about what has failed."""
    (await provider.deploy(config("1.0.0-slow"))).raise_for_error()
    worse = config("2.0.0-crash-loop", strategy={"kind": "recreate"}, replicas=1, rollback_timeout_ms=700)
    result = await provider.deploy(worse)
    assert result.status == DeploymentStatus.FAILED
    assert "and the rollback failed: " in result.message
    assert result.metadata["version"] == "1.0.0-slow"
    assert result.metadata["revision"] == 3
    assert result.metadata["replicas"].desired == 2


# What others have made, and what is said of it.


async def test_a_foreign_revision_after_a_pause_of_ours(provider, config, deployment):
    """Going back to it ends the pause, or nothing would be rolled back; it has its own change cause."""
    await deployment.create("registry.example/theirs:7")
    await until(provider, DeploymentStatus.HEALTHY)
    ours = config("1.0.0-never-ready", force=True, on_cancel="pause", change_cause="ours")
    async with rolling_out(provider, ours) as rolling:
        rolling.cancel()
    assert (await provider.get_status())["status"] == DeploymentStatus.PAUSED
    result = await provider.rollback("revision:1")
    assert result.success, result
    found = await deployment.read()
    assert (image_of(found), found["spec"].get("paused")) == ("registry.example/theirs:7", None)
    assert "kubernetes.io/change-cause" not in found["metadata"]["annotations"]


async def test_what_was_brought_back_of_others_is_told_later(provider, config, deployment):
    """It stays in the next release, as what others set does, and that is said."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    for env in ([{"name": "FOO", "value": "bar"}], []):
        container = {"name": "shop", "image": "registry.example/shop:9", "env": env}
        template = {"spec": {"containers": [container]}}
        await deployment.patch({"spec": {"template": template}}, manager="kubectl-edit")
        await until(provider, DeploymentStatus.HEALTHY)
    (await provider.deploy(config("2.0.0", force=True))).raise_for_error()
    (await provider.rollback("revision:2")).raise_for_error()
    result = await provider.deploy(config("3.0.0", force=True))
    assert result.success, result
    assert result.message.endswith('.env[name="FOO"] by aioproviders-rollback')


async def test_a_change_of_others_comes_back_after_a_bad_deploy(provider, config, deployment):
    """What ran before is what they had made of the release, and not the release."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    image = {"containers": [{"name": "shop", "image": "registry.example/shop:hotfix"}]}
    await deployment.patch({"spec": {"template": {"spec": image}}}, manager="kubectl-set")
    await until(provider, DeploymentStatus.HEALTHY)
    result = await provider.deploy(config("2.0.0-crash-loop", force=True))
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    assert "1.0.0 (changed) is back" in result.message
    assert image_of(await deployment.read()) == "registry.example/shop:hotfix"


async def test_what_stays_of_a_deploy_that_stopped_half_way(kube, namespace, provider, config):
    """An object behind the workload was refused, and there is nothing to go back to: both are said."""
    await client.CoreV1Api(kube).create_namespaced_resource_quota(
        namespace,
        {"metadata": {"name": "none"}, "spec": {"hard": {"count/poddisruptionbudgets.policy": "0"}}},
    )
    result = await provider.deploy(config("1.0.0", disruption_budget={"max_unavailable": 1}))
    assert result.status == DeploymentStatus.FAILED
    assert "exceeded quota: none" in result.message
    assert result.message.endswith("Deployment/shop was applied, and goes on by itself")
    assert result.metadata["version"] == "1.0.0"


async def test_a_late_undoing_of_a_scaling_says_what_it_waited_for(provider, config):
    """As any wait does; and it is bounded by the time that undoing has."""
    slow = config("1.0.0-slow", rollback_timeout_ms=700)
    (await provider.deploy(slow)).raise_for_error()
    ref = await provider._workload()
    async with told_by(provider) as events:
        with provider._rollouts.turn("scaling to 2"):
            await scaling._cancelled(provider._hands(slow), ref, 2, 4)
    assert events[-1].status == DeploymentStatus.FAILED
    assert "undoing it failed: not done within" in events[-1].message
    assert "2 of 4 replicas are available" in events[-1].message


@pytest.mark.parametrize("on_cancel", ["pause", "leave"])
async def test_cut_off_between_storing_and_applying(provider, config, monkeypatch, on_cancel):
    """A pause does not begin what had not begun, and nothing is said to go on."""
    apply_plan = deploying.apply_plan
    stored = anyio.Event()

    async def cut(*arguments, first, **options):
        async def store(before):
            await first(before)
            stored.set()
            await anyio.sleep_forever()

        await apply_plan(*arguments, first=store, **options)

    monkeypatch.setattr(deploying, "apply_plan", cut)
    async with told_by(provider) as events, anyio.create_task_group() as task_group:
        task_group.start_soon(provider.deploy, config("1.0.0", on_cancel=on_cancel))
        await stored.wait()
        task_group.cancel_scope.cancel()
    assert events[-1].message == "the rollout of 1.0.0 was cancelled: nothing was changed"
    assert (await provider.get_status())["status"] == DeploymentStatus.NOT_FOUND


async def test_cancelled_while_a_failure_is_undone(provider, config):
    """Whoever looks on still hears the end."""
    (await provider.deploy(config("1.0.0"))).raise_for_error()
    events = []
    async with anyio.create_task_group() as task_group:

        async def watch():
            async for event in provider.watch_rollout(wait=True):
                events.append(event)
                if event.kind == "rollback":
                    scope.cancel()

        task_group.start_soon(watch)
        with anyio.CancelScope() as scope:
            await provider.deploy(config("2.0.0-crash-loop"))
    assert scope.cancelled_caught
    assert (events[-1].kind, events[-1].status) == ("finished", DeploymentStatus.ROLLED_BACK)
    assert events[-1].message.endswith("; 1.0.0 is back")


async def test_a_scaling_that_somebody_else_overrules(provider, config, deployment):
    """It says no number that is not there."""
    (await provider.deploy(config("1.0.0-slow"))).raise_for_error()
    async with changing(provider, lambda: provider.scale(4)) as scaled:
        await deployment.patch({"spec": {"replicas": 3}}, manager="kubectl-scale")
    result = scaled.result
    assert (result.success, result.error_detail.code) == (False, "conflict")
    assert result.message == "Deployment/shop was set to 3 replicas meanwhile by kubectl-scale"


async def test_a_rollback_that_is_late_says_what_it_waited_for(provider, config):
    """As any wait does."""
    (await provider.deploy(config("1.0.0-slow"))).raise_for_error()
    worse = config("2.0.0-crash-loop", strategy={"kind": "recreate"}, rollback_timeout_ms=1200)
    result = await provider.deploy(worse)
    assert result.status == DeploymentStatus.FAILED
    assert "and the rollback failed: not done within" in result.message
    assert "new replicas" in result.message


async def test_what_somebody_deleted_is_made_again(kube, namespace, provider, config):
    """That is a change, though the workload is as it was."""
    guarded = config("1.0.0", disruption_budget={"max_unavailable": 1})
    (await provider.deploy(guarded)).raise_for_error()
    await client.PolicyV1Api(kube).delete_namespaced_pod_disruption_budget("shop", namespace)
    assert (await provider.deploy(guarded)).message == "1.0.0 is deployed"
    assert (await provider.deploy(guarded)).message == "1.0.0 is deployed already: unchanged"


async def test_secrets_of_manifests(provider, config, tmp_path):
    """What the server says of a value that is of the wrong kind shows none of it."""
    obj = workload("Deployment", "registry.example/shop:1.0.0")
    for data in ({"password": 918273645}, "hunter2pass"):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pw"}, "stringData": data}
        result = await provider.deploy(config(manifests=[manifest(tmp_path, obj, secret)]))
        assert not result.success
        assert "stringData" in result.message
        assert "918273645" not in f"{result!r}"
        assert "hunter2pass" not in f"{result!r}"
