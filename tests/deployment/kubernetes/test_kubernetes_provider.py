"""Rollouts on a real control plane: what fails them, and what doesn't."""

import asyncio
import re
from urllib.parse import urlsplit

import anyio
import pytest
from behaviours import rolling_out
from clusters import CuttingProxy, Deployment, manifest, provider_of, shop, through, workload
from kubernetes_asyncio import client
from pydantic import SecretStr

from aioproviders.deployment import DeploymentStatus
from aioproviders.deployment.kubernetes import scene
from aioproviders.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    ProviderError,
    UnsupportedCapabilityError,
)


@pytest.fixture
def config(kubeconfig, namespace):
    """Return a function: version and changes -> config."""
    return lambda version="1.0.0", **changes: shop(
        kubeconfig, **{"namespace": namespace, "version": version, **changes}
    )


@pytest.fixture
async def provider(kubeconfig, namespace):
    """A provider of a deployment that is not there yet."""
    provider = provider_of(kubeconfig, namespace)
    await provider.initialize()
    yield provider
    await provider.cleanup()


@pytest.fixture
async def deployed(provider, config):
    """A provider with 1.0.0 deployed."""
    (await provider.deploy(config())).raise_for_error()
    return provider


@pytest.fixture
def deployment(kube, namespace):
    return Deployment(kube, namespace)


@pytest.fixture
def outages(control_plane):
    """The control plane, whose API server may be killed."""
    yield control_plane
    for component in ("controller-manager", "kubelet"):
        # With each outage they wait longer before they look again: up to half a minute.
        control_plane.kill(component)
        control_plane.start_component(component)


def error_of(result):
    with pytest.raises(ProviderError) as raised:
        result.raise_for_error()
    return raised.value


# The way to the cluster.


async def test_the_api_server_killed_in_mid_rollout(outages, deployed, config):
    """A rollout goes on, and ends right, when the API server dies and comes back."""
    async with rolling_out(deployed, config("2.0.0-slow")) as rolling:
        await asyncio.to_thread(outages.kill, "apiserver")
        await asyncio.to_thread(outages.start_component, "apiserver")
    assert rolling.result.success, rolling.result
    assert (await deployed.get_status())["version"] == "2.0.0-slow"


async def test_an_api_server_that_comes_back_for_the_rollback(outages, deployed, config):
    """A rollout that ran out of time without it is undone as soon as it is there again."""
    dead = False
    bad = config("2.0.0-never-ready", rollout_timeout_ms=2000)
    async with rolling_out(deployed, bad) as rolling:
        await asyncio.to_thread(outages.kill, "apiserver")
        dead = True
        async for event in deployed.watch_rollout():
            if event.kind == "rollback" and dead:
                await asyncio.to_thread(outages.start_component, "apiserver")
                dead = False
    assert not dead
    assert rolling.result.status == DeploymentStatus.ROLLED_BACK, rolling.result
    assert (await deployed.get_status())["version"] == "1.0.0"


async def test_an_api_server_that_does_not_come_back(outages, deployed, config):
    """Both the rollout and the way back fail in their times; steps and result tell of the connection."""
    async with rolling_out(
        deployed, config("2.0.0-never-ready", rollout_timeout_ms=4000, rollback_timeout_ms=500)
    ) as rolling:
        await asyncio.to_thread(outages.kill, "apiserver")
        await rolling.ended.wait()
        await asyncio.to_thread(outages.start_component, "apiserver")
    assert any(
        event.message.startswith("the API server can't be reached, trying again; last seen: ")
        for event in rolling.events
    )
    result = rolling.result
    assert (result.status, result.diagnosis.reason) == (DeploymentStatus.FAILED, "ApiServerUnreachable")
    told = re.fullmatch(
        r"2\.0\.0-never-ready failed: not done within 4 s: the API server can't be reached since \d s "
        r"\(watch .*: can't connect to https://.*: Connection refused\); last seen: .*; "
        r"and the rollback failed: it was not done within 0\.5 s: .*: .*: Connection refused",
        result.message,
    )
    assert told, result.message


async def test_a_watch_that_is_cut_again_and_again(control_plane, kubeconfig, namespace, config, tmp_path):
    """A rollout ends right though every connection breaks each second."""
    server = urlsplit(control_plane.server)
    async with CuttingProxy(server.hostname, server.port).running() as proxy:
        path = through(kubeconfig, proxy.address, tmp_path)
        async with provider_of(path, namespace, retry_attempts=5) as provider:
            (await provider.deploy(config(kubeconfig_path=path))).raise_for_error()
            async with rolling_out(provider, config("2.0.0-slow", kubeconfig_path=path)) as rolling:
                while rolling.result is None:
                    proxy.cut()
                    with anyio.move_on_after(1):
                        await rolling.ended.wait()
    assert rolling.result.success, rolling.result
    assert proxy.cuts >= 6


@pytest.mark.parametrize(
    ("field", "value"),
    [("context", "another"), ("kubeconfig_path", "/another"), ("cluster_name", "another")],
)
async def test_a_config_of_another_cluster(provider, config, field, value):
    """It is refused: it would be deployed to the provider's own."""
    error = error_of(await provider.deploy(config(**{field: value})))
    assert isinstance(error, ConfigurationError)
    assert f"shop: {field} is '{value}'" in error.message
    assert (await provider.get_status())["status"] == DeploymentStatus.NOT_FOUND


async def test_the_number_of_requests(control_plane, deployed, config):
    """A deploy takes ten requests at most, watches aside; the same again changes nothing."""

    def asked():
        events = control_plane.requests("aioproviders/")
        return {event["auditID"]: event for event in events if event["verb"] != "watch"}

    before = set(asked())
    (await deployed.deploy(config("2.0.0"))).raise_for_error()
    update = {key: event for key, event in asked().items() if key not in before}
    assert 0 < len(update) <= 10, [(event["verb"], event["requestURI"]) for event in update.values()]
    before = set(asked())
    (await deployed.deploy(config("2.0.0"))).raise_for_error()
    again = [event for key, event in asked().items() if key not in before and event["verb"] == "patch"]
    applied = [event for event in again if "dryRun=All" not in event["requestURI"]]
    assert [event["objectRef"]["resource"] for event in applied] == ["deployments"]


async def test_a_first_deploy_takes_ten_requests(control_plane, provider, config):
    """With what it asks for permissions."""
    before = {event["auditID"] for event in control_plane.requests("aioproviders/")}
    (await provider.deploy(config())).raise_for_error()
    asked = {
        event["auditID"]: (event["verb"], event["requestURI"])
        for event in control_plane.requests("aioproviders/")
        if event["verb"] != "watch" and event["auditID"] not in before
    }
    assert len(asked) <= 10, list(asked.values())


async def test_a_namespace_that_is_not_there(kube, provider, config, namespace):
    """It is made where the config says so, and is needed otherwise."""
    name = f"{namespace}-new"
    error = error_of(await provider.deploy(config(namespace=name)))
    assert isinstance(error, NotFoundError)
    try:
        result = await provider.deploy(config(namespace=name, create_namespace=True))
        assert result.success, result
        assert result.deployment_id == f"{name}/shop"
    finally:
        await client.CoreV1Api(kube).delete_namespace(name)


async def test_secrets_in_what_a_container_writes(deployed, config):
    """The last lines of a container that crashes are masked, however many secrets there are."""
    secrets = {f"KEY_{number}": SecretStr(f"geheim-{number}") for number in range(30)}
    secrets["WORD"] = SecretStr("configuration")
    result = await deployed.deploy(config("2.0.0-crash-loop", env=secrets))
    assert result.diagnosis.logs
    assert "bad **********" in result.diagnosis.logs[-1]


# What fails a rollout, and what doesn't.


@pytest.mark.parametrize(
    ("version", "reasons"),
    [
        ("2.0.0-pull-error", {"ErrImagePull", "ImagePullBackOff"}),
        ("2.0.0-config-error", {"CreateContainerConfigError"}),
        ("2.0.0-unschedulable", {"Unschedulable"}),
    ],
)
async def test_doomed_pods_fail_it_early(deployed, config, monkeypatch, version, reasons):
    """What can't get well by itself is rolled back long before the time is up."""
    monkeypatch.setattr(scene, "UNSCHEDULABLE_GRACE", 0.3)
    result = await deployed.deploy(config(version, rollout_timeout_ms=3_600_000))
    assert result.status == DeploymentStatus.ROLLED_BACK
    assert result.diagnosis.reason in reasons
    assert result.diagnosis.suggestion
    assert "1.0.0 is back" in result.message


async def test_one_bad_pod_of_several_fails_nothing_early(provider, config):
    """The node may be to blame, so the others are waited for, to the end of the time."""
    result = await provider.deploy(config("1.0.0-crash-one", replicas=3, rollout_timeout_ms=6000))
    assert result.error_detail.code == "timeout"
    assert result.metadata["replicas"].available == 2
    assert result.diagnosis.reason == "CrashLoopBackOff"


async def test_a_quota_that_is_used_up(kube, namespace, deployed, config):
    """Pods that may not be made fail a rollout at once, with the server's words."""
    await client.CoreV1Api(kube).create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
    )
    result = await deployed.deploy(config("2.0.0", rollout_timeout_ms=3_600_000))
    assert result.status == DeploymentStatus.ROLLED_BACK
    assert result.diagnosis.reason == "FailedCreate"
    assert "exceeded quota: small" in result.message
    assert "quota" in result.diagnosis.suggestion


async def test_a_quota_with_room_for_some(kube, namespace, deployed, config):
    """Where each new pod makes room for the next it is waited for; where they don't, it fails at once."""
    core, quota = client.CoreV1Api(kube), {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "3"}}}
    await core.create_namespaced_resource_quota(namespace, quota)
    surging = {"strategy": {"max_surge": 2, "max_unavailable": 0}}
    result = await deployed.deploy(config("2.0.0-slow", **surging))
    assert result.success, result
    result = await deployed.deploy(config("3.0.0", replicas=4, rollout_timeout_ms=3_600_000, **surging))
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    assert (result.diagnosis.instance, result.diagnosis.reason) == (None, "FailedCreate")
    assert (await deployed.get_status())["replicas"].available == 2


async def test_a_refused_deploy_changes_nothing(kube, namespace, provider, deployment, config):
    """Also not what comes before the object that the server does not take; and no release is left."""
    core, ports = client.CoreV1Api(kube), [{"port": 8080}]
    (await provider.deploy(config("1.0.0", ports=ports, service={}))).raise_for_error()
    container = {"name": "shop", "image": "registry.example/another:1"}
    await deployment.patch(
        {"spec": {"template": {"spec": {"containers": [container]}}}}, manager="kubectl-set"
    )
    for changes, told in (
        ({}, "image is owned by kubectl-set"),
        ({"force": True, "disruption_budget": {"max_unavailable": "abc"}}, "maxUnavailable"),
    ):
        error = error_of(
            await provider.deploy(config("2.0.0", ports=[{"port": 9090}], service={}, **changes))
        )
        assert told in error.message
        service = await core.read_namespaced_service("shop", namespace)
        assert [port.port for port in service.spec.ports] == [8080]
        found = (await deployment.read())["spec"]["template"]["spec"]["containers"][0]
        assert found["image"] == "registry.example/another:1"
        assert "2.0.0" not in {release.version for release in await provider.history()}


async def test_a_release_that_cannot_be_stored(kube, namespace, deployed, deployment, config):
    """It could not be gone back to, so nothing of it is applied."""
    core, before = client.CoreV1Api(kube), await deployment.read()
    await core.create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "few"}, "spec": {"hard": {"count/secrets": "1"}}}
    )
    error = error_of(await deployed.deploy(config("2.0.0", settings={"MODE": "new"})))
    assert "secrets" in error.message
    assert (await deployment.read())["metadata"]["generation"] == before["metadata"]["generation"]
    maps = await core.list_namespaced_config_map(namespace, label_selector="app.kubernetes.io/name=shop")
    assert maps.items == []


async def test_an_init_container_that_crashes(provider, config, tmp_path):
    """It dooms its pod as any container does."""
    obj = workload("Deployment", "shop:1")
    obj["spec"]["template"]["spec"]["initContainers"] = [{"name": "migrate", "image": "migrate:1-crash-loop"}]
    result = await provider.deploy(config(manifests=[manifest(tmp_path, obj)], rollout_timeout_ms=3_600_000))
    assert result.status == DeploymentStatus.FAILED
    assert (result.diagnosis.container, result.diagnosis.exit_code) == ("migrate", 1)


async def test_its_progress_deadline(provider, config, tmp_path):
    """The deadline that the Deployment itself has holds, too."""
    obj = workload("Deployment", "shop:1-never-ready", progressDeadlineSeconds=1)
    result = await provider.deploy(config(manifests=[manifest(tmp_path, obj)]))
    assert result.error_detail.code == "timeout"
    assert "no progress" in result.message
    assert result.diagnosis.reason in ("NotReady", "ProgressDeadlineExceeded")


# Others.


async def test_somebody_else_takes_over(deployed, deployment, config):
    """A rollout that another one overrides is a conflict, and is left to the other."""
    async with rolling_out(deployed, config("2.0.0-never-ready")) as rolling:
        await deployment.patch({"metadata": {"annotations": {"aioproviders.dev/release": "another"}}})
    error = error_of(rolling.result)
    assert isinstance(error, ConflictError)
    assert "taken over" in error.message
    assert (await deployment.read())["spec"]["template"]["spec"]["containers"][0]["image"].endswith(
        "2.0.0-never-ready"
    )


async def test_somebody_else_scales_meanwhile(deployed, deployment, config):
    """A change that leaves the release alone is waited for with it."""
    async with rolling_out(deployed, config("2.0.0-slow")) as rolling:
        await deployment.patch({"spec": {"replicas": 3}})
    assert rolling.result.success, rolling.result
    assert rolling.result.metadata["replicas"].available == 3


async def test_somebody_else_deletes_it(deployed, deployment, config):
    """What was deleted in mid-rollout is not made anew."""
    async with rolling_out(deployed, config("2.0.0-never-ready")) as rolling:
        await deployment.delete()
    error = error_of(rolling.result)
    assert isinstance(error, NotFoundError)
    assert "deleted" in error.message
    assert (await deployed.get_status())["status"] == DeploymentStatus.NOT_FOUND


async def test_somebody_else_has_paused_it(deployed, deployment, config):
    """A deploy says so, with the name of who has, and so does a rollback."""
    await deployed.deploy(config("2.0.0"))
    await deployment.patch({"spec": {"paused": True}}, manager="kubectl-rollout")
    error = error_of(await deployed.deploy(config("3.0.0")))
    assert isinstance(error, ConflictError)
    assert "kubectl-rollout" in error.message
    error = error_of(await deployed.rollback("previous"))
    assert isinstance(error, ConflictError)
    assert "resume" in error.message
    assert (await deployed.get_status())["status"] == DeploymentStatus.PAUSED


async def test_scaling_what_is_paused(deployed, deployment, config):
    """The number of its pods follows all the same, and the result does not call it healthy."""
    await deployment.patch({"spec": {"paused": True}}, manager="kubectl-rollout")
    result = await deployed.scale(3)
    assert (result.success, result.status) == (True, DeploymentStatus.PAUSED)
    assert result.message == "scaled to 3; its rollout is paused by kubectl-rollout"
    assert result.metadata["replicas"].available == 3


async def test_scaling_what_is_paused_half_way(deployed, config):
    """It has more pods than it should while it is paused; that is not waited for."""
    bad = config("2.0.0-never-ready", on_cancel="pause", strategy={"max_surge": 2})
    async with rolling_out(deployed, bad) as rolling:
        rolling.cancel()
    result = await deployed.scale(1)
    assert (result.success, result.status) == (True, DeploymentStatus.PAUSED), result
    assert result.message == "scaled to 1; its rollout is paused by us"


async def test_somebody_else_pauses_it_meanwhile(deployed, deployment, config):
    """A rollout that nobody but he can bring on is given up."""
    async with rolling_out(deployed, config("2.0.0-never-ready")) as rolling:
        await deployment.patch({"spec": {"paused": True}}, manager="kubectl-rollout")
    assert "was paused by kubectl-rollout" in error_of(rolling.result).message


async def test_a_field_of_another_manager(deployed, deployment, config):
    """It is a conflict that names field and manager; force takes it over."""
    await deployment.patch({"spec": {"replicas": 5}}, manager="kubectl-scale")
    error = error_of(await deployed.deploy(config("2.0.0")))
    assert isinstance(error, ConflictError)
    assert "spec.replicas" in error.message
    assert "kubectl-scale" in error.message
    result = await deployed.deploy(config("2.0.0", force=True))
    assert result.metadata["replicas"].available == 2


async def test_an_autoscaler_that_a_config_does_not_say_any_more(deployed, deployment, config):
    """It goes, and the number that it has set is the config's again, at once."""
    scaled = config("2.0.0", autoscaling={"min_replicas": 3, "max_replicas": 4})
    (await deployed.deploy(scaled)).raise_for_error()
    with anyio.fail_after(30):
        while (await deployment.read())["spec"]["replicas"] != 3:  # noqa: ASYNC110 - nothing wakes us
            await anyio.sleep(0.05)
    told = {change.path: change.after for change in await deployed.diff(config("3.0.0"))}
    assert told["spec.replicas"] == 2
    result = await deployed.deploy(config("3.0.0"))
    assert result.success, result
    assert result.metadata["replicas"].available == 2
    assert (await deployed.scale(1)).success
    back = await deployed.rollback("2.0.0")
    assert back.success, back
    with pytest.raises(ConflictError, match="HorizontalPodAutoscaler/shop"):
        (await deployed.scale(2)).raise_for_error()


# Cancellation.


async def test_a_task_that_is_cancelled_undoes_its_rollout(deployed, config):
    """Also by asyncio's own Task.cancel()."""
    task = asyncio.create_task(deployed.deploy(config("2.0.0-never-ready")))
    async for event in deployed.watch_rollout(wait=True):
        if event.kind == "instance":
            task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    state = await deployed.get_status()
    assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")


async def test_a_deadline_undoes_its_rollout(kubeconfig, namespace, deployed, config):
    """The time of the call is up; undoing has its own."""
    bounds = {"timeout_ms": 1000, "retry_attempts": 1, "deadline_ms": 1500, "max_concurrency": 1}
    async with provider_of(kubeconfig, namespace, **bounds) as hurried:
        error = error_of(await hurried.deploy(config("2.0.0-never-ready")))
    assert (error.code, error.reason) == ("timeout", "deadline")
    state = await deployed.get_status()
    assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")


async def test_only_deployments_can_pause(provider, config, tmp_path):
    """A StatefulSet with on_cancel "pause" is refused before anything is done."""
    path = manifest(tmp_path, workload("StatefulSet", "shop:1"))
    error = error_of(await provider.deploy(config(manifests=[path], on_cancel="pause")))
    assert isinstance(error, UnsupportedCapabilityError)
    assert (await provider.get_status())["status"] == DeploymentStatus.NOT_FOUND
