"""Asking for permissions before a deploy, on a real control plane."""

import kmock
import pytest
import yaml
from cluster import cluster
from clusters import provider_of, shop
from scripted_api import kubeconfig as kubeconfig_of

from aioproviders.deployment.kubernetes.apply import apply_plan
from aioproviders.deployment.kubernetes.health import cluster_health
from aioproviders.deployment.kubernetes.intent import (
    delete_releases,
    kept_releases,
    list_releases,
    mark_healthy,
    write_release,
)
from aioproviders.deployment.kubernetes.preflight import Preflight
from aioproviders.deployment.kubernetes.prune import prune
from aioproviders.errors import AuthenticationError

READ_PODS = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]


@pytest.fixture
async def here(kubeconfig, namespace):
    """An empty namespace, where we may do everything."""
    async with cluster(kubeconfig, namespace) as found:
        yield found


@pytest.fixture
async def limited(limited_kubeconfig, namespace):
    """The same where we may only look at pods."""
    async with cluster(await limited_kubeconfig(READ_PODS), namespace) as found:
        yield found


async def refused(here, **fields):
    """Return what the preflight of a plan says."""
    with pytest.raises(AuthenticationError) as caught:
        await Preflight().check(here.api, await here.plan(**fields))
    return caught.value.message


async def test_who_may_do_all_is_asked_once(here):
    """One request; the same plan again, or a smaller one, costs none."""
    preflight = Preflight()
    async with here.counted() as first:
        await preflight.check(here.api, await here.plan(ports=[{"port": 1}], service={}), prune=True)
    async with here.counted() as again:
        await preflight.check(here.api, await here.plan(version="2.0.0"), prune=True)
    assert (first, again) == ([1], [0])


async def test_all_that_is_missing_is_told_at_once(limited):
    """In one line, without what is allowed."""
    message = (await refused(limited, ports=[{"port": 1}], service={})).partition("\n")[0]
    for told in ("create deployments.apps", "patch deployments/scale.apps", "patch services", "list events"):
        assert told in message
    assert "pods" not in message
    assert message.startswith(f"missing permissions in {limited.namespace}: ")


async def test_the_role_that_is_told_would_do(limited, limited_kubeconfig):
    """Granted just that, the preflight, the deploy, its books and the clearing up all work."""
    fields = {"settings": {"A": "1"}, "ports": [{"port": 1}], "service": {}}
    with pytest.raises(AuthenticationError) as caught:
        await Preflight().check(limited.api, await limited.plan(**fields), prune=True)
    role = yaml.safe_load(caught.value.message.partition("\n")[2])
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", limited.namespace)
    async with cluster(await limited_kubeconfig(role["rules"], "granted"), limited.namespace) as granted:
        plan = await granted.plan(**fields)
        await Preflight().check(granted.api, plan, prune=True)
        await apply_plan(granted.api, plan)
        await write_release(granted.api, plan)
        await mark_healthy(granted.api, plan.workload, plan.release)
        releases = await list_releases(granted.api, plan.workload)
        smaller = await granted.plan(settings={"A": "1"})
        assert [str(ref) for ref in await prune(granted.api, smaller, releases)] == ["Service/web"]
        await granted.api.patch(plan.workload, {"spec": {"replicas": 0}}, subresource="scale")
        await delete_releases(granted.api, plan.workload, releases)


async def test_a_dry_run_tells_all_that_is_missing(limited_kubeconfig, namespace):
    """As a deploy would, with the Role; not only what was refused first."""
    path = await limited_kubeconfig(READ_PODS)
    async with provider_of(path, namespace) as provider:
        with pytest.raises(AuthenticationError) as caught:
            await provider.diff(shop(path, namespace))
        result = await provider.deploy(shop(path, namespace), dry_run=True)
        assert caught.value.message == result.error_detail.error.message
        told, _, role = result.message.partition("\n")
        assert "create deployments.apps" in told
        assert yaml.safe_load(role)["kind"] == "Role"
        with pytest.raises(AuthenticationError, match='cannot list resource "secrets"'):
            await provider.diff(shop(path, namespace, preflight=False))


async def test_what_is_left_over_must_be_deletable(here, limited, limited_kubeconfig):
    """A deploy that drops a Service asks whether it may, before it changes anything."""
    with pytest.raises(AuthenticationError) as caught:
        await Preflight().check(limited.api, await limited.plan(), prune=True)
    role = yaml.safe_load(caught.value.message.partition("\n")[2])
    fields = {"name": "shop", "image": "registry.example/shop:{version}"}
    first = await here.plan(**fields, ports=[{"port": 80}], service={})
    await apply_plan(here.api, first)
    await write_release(here.api, first)
    before = await here.api.get(first.workload)
    path = await limited_kubeconfig(role["rules"], "granted")
    async with provider_of(path, limited.namespace) as provider:
        result = await provider.deploy(provider.config)
    assert result.error_detail.code == "authentication", result
    told = f"missing permissions in {limited.namespace}: delete services, get services; this would do"
    assert told in result.message
    now = await here.api.get(first.workload)
    assert now["metadata"]["generation"] == before["metadata"]["generation"]


async def test_a_namespace_to_make_needs_a_cluster_role(limited):
    """It belongs to no namespace."""
    message = await refused(limited, create_namespace=True)
    documents = list(yaml.safe_load_all(message.partition("\n")[2]))
    assert [document["kind"] for document in documents] == ["ClusterRole", "Role"]
    assert documents[0]["rules"][0]["resources"] == ["namespaces"]


async def test_rules_for_names_are_asked_about(limited_kubeconfig, namespace):
    """A rule for one object does not speak for all."""
    rules = [
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"], "resourceNames": ["web"]},
        {"apiGroups": ["apps", ""], "resources": ["*"], "verbs": ["*"]},
        {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["get"]},
    ]
    async with cluster(await limited_kubeconfig(rules), namespace) as here:
        message = (await refused(here)).partition("\n")[0]
    assert message.partition(": ")[2].startswith("list horizontalpodautoscalers.autoscaling; this would do")


async def test_who_may_not_even_ask_goes_on(tmp_path):
    """The requests themselves will tell."""
    path = tmp_path / "kubeconfig"
    reviews = "post /apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    denied = {"kind": "Status", "code": 403, "message": 'is forbidden: User "x" cannot create'}
    async with kmock.RawHandler() as server, kmock.Server(server):
        server.fallback << 404 << kmock.data({"kind": "Status", "message": "not scripted"})
        server[reviews][:1] << 403 << kmock.data(denied)
        server[reviews][1:] << 401
        path.write_text(kubeconfig_of(str(server.url)))
        async with cluster(path, "shop") as here:
            await Preflight().check(here.api, await here.plan())
            with pytest.raises(AuthenticationError, match="does not accept the credentials"):
                await Preflight().check(here.api, await here.plan())


async def test_a_forbidden_request_tells_who_may_not_do_what(limited):
    """Without a preflight the server's own words come through."""
    with pytest.raises(AuthenticationError, match=r"cannot .* resource \"") as caught:
        await apply_plan(limited.api, await limited.plan())
    assert "serviceaccount" in caught.value.message
    assert not caught.value.retryable


async def test_the_requests_of_a_deploy_are_few(here):
    """A first deploy takes seven beside watches, and the same again three."""
    preflight = Preflight()

    async def deploy():
        plan = await here.plan()
        await preflight.check(here.api, plan, prune=True)
        applied = await apply_plan(here.api, plan)
        earlier = await list_releases(here.api, plan.workload) if applied.before else ()
        stored = await write_release(here.api, plan, earlier)
        if not stored.healthy:
            await mark_healthy(here.api, plan.workload, plan.release)
        kept = kept_releases(earlier or (stored,), 10)
        await prune(here.api, plan, kept)

    async with here.counted() as first:
        await deploy()
    async with here.counted() as second:
        await deploy()
    assert first[0] <= 8
    assert second[0] <= 5


# Health.


async def test_a_cluster_that_is_well(here):
    """It tells the version, how long it took, and that we may deploy."""
    health = await cluster_health(here.api.bare(), here.namespace)
    assert health["status"] == "healthy"
    details = health["details"]
    assert details["version"].startswith("v")
    assert details["ready_ms"] > 0
    assert (details["can_deploy"], details["reachable"], details["failed_checks"]) == (True, True, [])


async def test_who_may_not_deploy_is_told(limited):
    """The cluster is well, the provider is of little use."""
    health = await cluster_health(limited.api.bare(), limited.namespace)
    assert (health["status"], health["details"]["can_deploy"]) == ("degraded", False)
    assert health["error"] == f"no permission to patch deployments in {limited.namespace}"


async def test_wrong_credentials_are_not_an_outage(kubeconfig, namespace, tmp_path):
    """The server is reachable, and refuses us."""
    content = yaml.safe_load(kubeconfig.read_text())
    content["users"] = [{"name": user["name"], "user": {"token": "wrong"}} for user in content["users"]]
    path = tmp_path / "wrong"
    path.write_text(yaml.safe_dump(content))
    async with cluster(path, namespace) as here:
        health = await cluster_health(here.api.bare(), namespace)
    assert health["status"] == "unhealthy"
    assert health["error"].startswith("reachable, but unauthorised: ")
    assert health["details"]["reachable"]
