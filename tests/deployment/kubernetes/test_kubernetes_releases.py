"""Releases that are kept in the cluster, and what is deleted when they go."""

from datetime import UTC, datetime

import pytest
import yaml
from cluster import cluster
from pydantic import SecretStr

from aioproviders.deployment.kubernetes.apply import apply_plan
from aioproviders.deployment.kubernetes.intent import (
    StoredRelease,
    delete_releases,
    kept_releases,
    list_releases,
    mark_healthy,
    read_release,
    write_release,
)
from aioproviders.deployment.kubernetes.objects import Ref
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.kubernetes.prune import leftovers, prune
from aioproviders.errors import NotFoundError, RequestError

WITH_ALL = {"ports": [{"port": 80}], "service": {}, "disruption_budget": {"max_unavailable": 1}}


@pytest.fixture
async def here(kubeconfig, namespace):
    """An empty namespace."""
    async with cluster(kubeconfig, namespace) as found:
        yield found


async def release(here, *versions, **fields):
    """Apply and store releases; return the last one's plan."""
    for version in versions:
        plan = await here.plan(version=version, **fields)
        await apply_plan(here.api, plan)
        await write_release(here.api, plan)
    return plan


def versions_of(releases):
    """Return their versions."""
    return [stored.version for stored in releases]


async def test_a_release_can_be_read_back(here):
    """As the same plan, secrets included."""
    plan = await release(here, "1.0.0", env={"P": SecretStr("geheim")}, change_cause="try", **WITH_ALL)
    assert await read_release(here.api, plan.workload, plan.release) == plan


async def test_the_list_tells_without_contents(here):
    """Newest first, with what the history and pruning want to know."""
    plan = await release(here, "1.0.0", "2.0.0", change_cause="try", **WITH_ALL)
    newest, oldest = await list_releases(here.api, plan.workload)
    assert (newest.version, oldest.version) == ("2.0.0", "1.0.0")
    assert newest.release == plan.release
    assert newest.objects == plan.refs
    assert newest.images == ("web:2.0.0",)
    assert newest.change_cause == "try"
    assert not newest.healthy
    assert newest.deployed_at >= oldest.deployed_at >= oldest.created_at


async def test_healthy_releases_are_marked_and_stay_so(here):
    """Deployed once more, a release is the latest, and has been healthy."""
    first = await release(here, "1.0.0")
    await mark_healthy(here.api, first.workload, first.release)
    await release(here, "2.0.0", "1.0.0")
    releases = await list_releases(here.api, first.workload)
    assert [(stored.version, stored.healthy) for stored in releases] == [("1.0.0", True), ("2.0.0", False)]


async def test_the_latest_release_again_costs_nothing(here):
    """It is known already."""
    plan = await release(here, "1.0.0")
    earlier = await list_releases(here.api, plan.workload)
    async with here.counted() as count:
        assert await write_release(here.api, plan, earlier) == earlier[0]
    assert count == [0]


async def test_releases_of_other_deployments_are_not_listed(here):
    """Each has its own history."""
    plan = await release(here, "1.0.0")
    await release(here, "9.0.0", name="other")
    assert versions_of(await list_releases(here.api, plan.workload)) == ["1.0.0"]


async def test_a_release_that_is_not_kept(here):
    """It is not found, in a word."""
    with pytest.raises(NotFoundError, match="the release 0123456789 of Deployment/web is not kept any more"):
        await read_release(here.api, Ref("apps/v1", "Deployment", here.namespace, "web"), "0123456789")


async def test_a_release_that_somebody_has_broken(here):
    """The error names the Secret."""
    plan = await release(here, "1.0.0")
    ref = Ref("v1", "Secret", here.namespace, f"web.release.{plan.release}")
    await here.api.patch(ref, {"data": {"release": "bm8gemlw"}})
    with pytest.raises(RequestError, match=f"Secret/{ref.name} in {here.namespace} can't be read"):
        await read_release(here.api, plan.workload, plan.release)


async def test_only_so_many_are_kept(here):
    """The oldest go, but for those that are needed and the last healthy one."""
    first = await release(here, "1.0.0")
    await mark_healthy(here.api, first.workload, first.release)
    needed = await release(here, "2.0.0")
    plan = await release(here, "3.0.0", "4.0.0", "5.0.0")
    releases = await list_releases(here.api, plan.workload)
    kept = kept_releases(releases, 2, {needed.release})
    assert versions_of(kept) == ["5.0.0", "4.0.0", "2.0.0", "1.0.0"]
    await delete_releases(here.api, plan.workload, [each for each in releases if each not in kept])
    assert versions_of(await list_releases(here.api, plan.workload)) == versions_of(kept)


# Pruning.


async def test_what_a_release_drops_is_deleted(here):
    """The Service and the budget of the one before; not the Deployment, not the namespace."""
    await release(here, "1.0.0", create_namespace=True, **WITH_ALL)
    plan = await release(here, "2.0.0")
    releases = await list_releases(here.api, plan.workload)
    deleted = await prune(here.api, plan, releases)
    assert sorted(map(str, deleted)) == ["PodDisruptionBudget/web", "Service/web"]
    for ref in deleted:
        assert await here.api.find(ref) is None
    assert await here.api.find(plan.workload) is not None
    assert await here.api.find(Ref("v1", "Namespace", None, here.namespace)) is not None
    assert await prune(here.api, plan, releases) == ()


async def test_settings_stay_while_a_release_needs_them(here):
    """And go with the last that did."""
    old = await release(here, "1.0.0", settings={"A": "1"}, env={"P": SecretStr("geheim")})
    plan = await release(here, "2.0.0", settings={"A": "2"})
    releases = await list_releases(here.api, plan.workload)
    assert await prune(here.api, plan, releases) == ()
    kept = kept_releases(releases, 1)
    dropped = [stored for stored in releases if stored not in kept]
    deleted = await prune(here.api, plan, kept, dropped)
    assert {ref.kind for ref in deleted} == {"ConfigMap", "Secret"}
    assert set(deleted) < set(old.refs)


async def test_what_somebody_has_made_anew_stays(here):
    """It has our name, and is not ours."""
    await release(here, "1.0.0", **WITH_ALL)
    plan = await release(here, "2.0.0", disruption_budget={"max_unavailable": 1})
    service = Ref("v1", "Service", here.namespace, "web")
    await here.api.delete(service)
    fresh = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": here.namespace},
        "spec": {"ports": [{"port": 1}]},
    }
    await here.api.apply(fresh, manager="somebody")
    releases = await list_releases(here.api, plan.workload)
    assert leftovers(plan, releases) == (service,)
    assert await prune(here.api, plan, releases) == ()
    assert await here.api.find(service) is not None


async def test_what_another_deployment_has_taken_over_stays(here, tmp_path):
    """Its manifests say it now; when they no longer do, it goes."""

    def manifests(name, *documents):
        daemon = f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: [{{name: web, image: web}}]}}}}
"""
        (tmp_path / "m.yaml").write_text("---".join([daemon, *documents]))
        return {"name": name, "image": None, "manifests": [tmp_path / "m.yaml"]}

    shared = "\n{apiVersion: v1, kind: ConfigMap, metadata: {name: shared}, data: {a: b}}\n"
    await release(here, "1.0.0", **manifests("web", shared))
    await release(here, "1.0.0", **manifests("other", shared))
    web = await release(here, "2.0.0", **manifests("web"))
    assert await prune(here.api, web, await list_releases(here.api, web.workload)) == ()
    other = await release(here, "2.0.0", **manifests("other"))
    (gone,) = await prune(here.api, other, await list_releases(here.api, other.workload))
    assert str(gone) == "ConfigMap/shared"


async def test_volumes_and_definitions_are_never_deleted(here, tmp_path):
    """They hold data."""
    daemon = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web}]}}
"""
    claim = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""
    (tmp_path / "a.yaml").write_text(daemon + "---" + claim)
    await release(here, "1.0.0", image=None, manifests=[tmp_path / "a.yaml"])
    (tmp_path / "b.yaml").write_text(daemon)
    plan = await release(here, "2.0.0", image=None, manifests=[tmp_path / "b.yaml"])
    assert await prune(here.api, plan, await list_releases(here.api, plan.workload)) == ()
    assert await here.api.find(Ref("v1", "PersistentVolumeClaim", here.namespace, "data")) is not None


async def test_another_version_of_the_same_kind(here, tmp_path):
    """It names the same object, which is not left over."""

    def manifests(version, **spec):
        scaler = {
            "apiVersion": f"autoscaling/{version}",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 2,
                **spec,
            },
        }
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "web", "image": "web"}]},
                },
            },
        }
        (tmp_path / "m.yaml").write_text(yaml.safe_dump_all([scaler, deployment]))
        return {"image": None, "manifests": [tmp_path / "m.yaml"]}

    await release(here, "1.0.0", **manifests("v1"))
    plan = await release(here, "2.0.0", **manifests("v2"))
    assert await prune(here.api, plan, await list_releases(here.api, plan.workload)) == ()
    scaler = Ref("autoscaling/v2", "HorizontalPodAutoscaler", here.namespace, "web")
    assert await here.api.find(scaler) is not None


def test_what_belongs_to_the_whole_cluster_stays():
    """Deployments of other namespaces may need it, and they are not asked."""
    workload = Ref("apps/v1", "Deployment", "shop", "web")
    role = Ref("rbac.authorization.k8s.io/v1", "ClusterRole", None, "web")
    settings = Ref("v1", "ConfigMap", "shop", "web")
    moment = datetime(2030, 1, 2, tzinfo=UTC)
    stored = StoredRelease("a", "1", True, moment, moment, None, (), (workload, role, settings))
    plan = Plan(
        "b",
        "2",
        None,
        workload,
        ({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}},),
    )
    assert leftovers(plan, [stored]) == (settings,)


async def test_what_can_not_be_deleted_keeps_nothing_else(here, monkeypatch):
    """All else is deleted, and then it is told."""
    old = await release(here, "1.0.0", **WITH_ALL)
    plan = await release(here, "2.0.0")
    delete = here.api.delete

    async def refuse(ref, **options):
        if ref.kind == "Service":
            raise RequestError("no")
        return await delete(ref, **options)

    monkeypatch.setattr(here.api, "delete", refuse)
    with pytest.raises(RequestError, match="no"):
        await prune(here.api, plan, await list_releases(here.api, plan.workload))
    left = [ref.kind for ref in old.refs if await here.api.find(ref) is not None]
    assert sorted(left) == ["Deployment", "Service"]
