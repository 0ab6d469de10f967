"""Status, progress of others' rollouts, and output, on a real control plane."""

import pytest
from behaviours import until
from clusters import Deployment, provider_of, shop

from aioproviders.deployment import DeploymentStatus
from aioproviders.errors import NotFoundError, ProviderUnavailableError


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


@pytest.fixture
async def deployed(provider, config):
    """A provider with 1.0.0 deployed."""
    (await provider.deploy(config())).raise_for_error()
    return provider


async def test_one_that_is_being_deleted(deployed, deployment):
    """A Deployment that a finalizer keeps is terminating."""
    await deployment.patch({"metadata": {"finalizers": ["example.com/hold"]}})
    await deployment.delete()
    assert (await deployed.get_status())["status"] == DeploymentStatus.TERMINATING
    await deployment.patch({"metadata": {"finalizers": None}})


async def test_one_that_somebody_else_has_made(provider, deployment):
    """Its version is its image's tag, where nothing else is noted."""
    await deployment.create("registry.example/theirs:7")
    state = await until(provider, DeploymentStatus.HEALTHY)
    assert (state["version"], state["revision"]) == ("7", 1)
    assert {instance.version for instance in state["instances"]} == {"7"}


async def test_a_cluster_that_cannot_be_reached(tmp_path, kubeconfig, namespace, control_plane):
    """It raises, since nothing is known then."""
    path = tmp_path / "nowhere.kubeconfig"
    path.write_text(kubeconfig.read_text().replace(control_plane.server, "https://127.0.0.1:1"))
    async with provider_of(path, namespace, retry_attempts=1) as provider:
        with pytest.raises(ProviderUnavailableError):
            await provider.get_status()


async def test_the_health_of_what_may_not_be_read(limited_kubeconfig, namespace):
    """The cluster is reachable, with all that is known of it, though the deployment is not shown to us."""
    path = await limited_kubeconfig([{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    async with provider_of(path, namespace) as provider:
        health = await provider.health_check()
    assert health["status"] == "degraded"
    assert health["error"].startswith("reachable, but unauthorised: ")
    assert health["details"]["reachable"]
    assert health["details"]["version"].startswith("v")


async def test_a_rollout_that_somebody_else_has_begun(deployed, deployment):
    """Its steps are told until it ends, with the counts."""
    template = {"spec": {"template": {"metadata": {"annotations": {"restarted": "yes"}}}}}
    await deployment.patch(template)
    events = [event async for event in deployed.watch_rollout()]
    assert [events[0].kind, events[-1].kind] == ["started", "finished"]
    assert events[-1].status == DeploymentStatus.HEALTHY
    assert events[-1].replicas.available == 2
    assert any(event.kind == "progress" for event in events)


async def test_a_deployment_deleted_while_watched(deployed, deployment):
    """The steps end by saying so."""
    await deployment.patch({"spec": {"minReadySeconds": 10, "replicas": 3}})
    statuses = []
    async for event in deployed.watch_rollout():
        statuses.append(event.status)
        if event.kind == "started":
            await deployment.delete()
    assert statuses[-1] == DeploymentStatus.NOT_FOUND


async def test_output(deployed):
    """All instances' last lines are told, or those of one."""
    lines = [line async for line in deployed.logs(lines=1)]
    names = {instance.name for instance in (await deployed.get_status())["instances"]}
    assert {line.instance for line in lines} == names
    assert len(lines) == 2
    name = min(names)
    assert {line.instance async for line in deployed.logs(instance=name)} == {name}
    with pytest.raises(NotFoundError, match="there is no instance 'shop-0'"):
        [line async for line in deployed.logs(instance="shop-0")]


async def test_output_of_nothing(provider):
    """Where nothing is deployed there is none."""
    with pytest.raises(NotFoundError):
        [line async for line in provider.logs()]


async def test_output_as_it_comes(kubeconfig, namespace, config):
    """New instances' lines follow those of the old."""
    async with provider_of(kubeconfig, namespace) as provider:
        (await provider.deploy(config())).raise_for_error()
        seen = set()
        lines = provider.logs(follow=True)
        async for line in lines:
            seen.add(line.instance)
            if len(seen) == 2:
                break
        (await provider.scale(3)).raise_for_error()
        async for line in lines:
            seen.add(line.instance)
            if len(seen) == 3:
                break
        await lines.aclose()
        assert seen == {instance.name for instance in (await provider.get_status())["instances"]}
