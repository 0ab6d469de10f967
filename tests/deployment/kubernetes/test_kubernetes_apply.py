"""Applying plans to a real control plane: conflicts, autoscalers, differences."""

import pytest
from cluster import cluster
from pydantic import SecretStr

from aioproviders.deployment.kubernetes import apply
from aioproviders.deployment.kubernetes.apply import apply_plan
from aioproviders.deployment.kubernetes.autoscaling import find_autoscaler, owns_replicas
from aioproviders.deployment.kubernetes.differences import diff_plan
from aioproviders.deployment.kubernetes.errors import FieldConflictError
from aioproviders.deployment.kubernetes.objects import Ref, annotations_of
from aioproviders.errors import AuthenticationError, ConfigurationError, NotFoundError

ALL = {
    "ports": [{"port": 80}],
    "service": {},
    "settings": {"A": "1"},
    "env": {"PASSWORD": SecretStr("geheim-1")},
    "disruption_budget": {"max_unavailable": 1},
}


@pytest.fixture
async def here(kubeconfig, namespace):
    """An empty namespace."""
    async with cluster(kubeconfig, namespace) as found:
        yield found


def autoscaler(namespace, target="web", kind="Deployment"):
    """Return an autoscaler that somebody else has made."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "foreign", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": target},
            "minReplicas": 1,
            "maxReplicas": 9,
        },
    }


async def test_all_objects_of_a_config_are_taken(here):
    """The server's strict validation has nothing against any of them."""
    plan = await here.plan(
        **ALL,
        command=["serve"],
        labels={"team": "red"},
        annotations={"note": "x"},
        readiness_probe={"path": "/ready"},
        liveness_probe={"kind": "tcp"},
        startup_probe={"kind": "exec", "command": ["true"]},
        resources={"requests": {"cpu": "10m", "memory": "8Mi"}},
        autoscaling={"max_replicas": 3, "memory_percent": 50},
    )
    applied = await apply_plan(here.api, plan)
    assert (applied.before, applied.autoscaler, applied.changed) == (None, "web", True)
    for ref in plan.refs:
        assert (await here.api.get(ref))["metadata"]["managedFields"][0]["manager"] == "aioproviders"


async def test_the_same_again_changes_nothing(here):
    """Neither the workload's generation nor the version of what has no status moves."""
    plan = await here.plan(**ALL)
    await apply_plan(here.api, plan)
    others = [ref for ref in plan.refs if ref.kind in ("Secret", "ConfigMap", "Service")]
    assert len(others) == 3
    before = [(await here.api.get(ref))["metadata"]["resourceVersion"] for ref in others]
    again = await apply_plan(here.api, plan)
    assert not again.changed
    assert again.before["metadata"]["generation"] == again.workload["metadata"]["generation"]
    assert [(await here.api.get(ref))["metadata"]["resourceVersion"] for ref in others] == before


async def test_another_version_is_a_change(here):
    """The generation that the PATCH returned is the new one; the notes are the new release's."""
    await apply_plan(here.api, await here.plan(version="1.0.0"))
    plan = await here.plan(version="2.0.0")
    applied = await apply_plan(here.api, plan)
    assert applied.changed
    assert applied.workload["metadata"]["generation"] > applied.before["metadata"]["generation"]
    assert annotations_of(applied.workload)["aioproviders.dev/release"] == plan.release


async def test_what_a_config_does_not_say_any_more_goes(here):
    """A probe that is dropped is dropped in the cluster, too; so is a rolling update's surge."""
    probe = {"port": 80}
    await apply_plan(here.api, await here.plan(readiness_probe=probe))
    applied = await apply_plan(here.api, await here.plan(strategy={"kind": "recreate"}))
    assert "readinessProbe" not in applied.workload["spec"]["template"]["spec"]["containers"][0]
    assert applied.workload["spec"]["strategy"] == {"type": "Recreate"}


async def test_an_unknown_field_is_refused(here, tmp_path):
    """The error says where, and nothing is made."""
    path = tmp_path / "m.yaml"
    path.write_text(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicaz: 3, template: {}}}"
    )
    plan = await here.plan(image=None, manifests=[path])
    with pytest.raises(
        ConfigurationError, match=r"apply Deployment/web in .*: spec.replicaz: field not"
    ) as caught:
        await apply_plan(here.api, plan)
    assert "\n" not in caught.value.message
    assert await here.api.find(plan.workload) is None


async def test_a_value_that_can_not_be_read_is_refused(here, tmp_path):
    """What the server can't make a Deployment of is the manifest's fault, not a failure of the server's."""
    path = tmp_path / "m.yaml"
    container = '{name: web, image: "web:1", resources: {limits: {cpu: lots}}}'
    path.write_text(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web},"
        f" spec: {{template: {{spec: {{containers: [{container}]}}}}}}}}"
    )
    with pytest.raises(
        ConfigurationError, match=r"apply Deployment/web in [^:]*: quantities must match"
    ) as caught:
        await apply_plan(here.api, await here.plan(image=None, manifests=[path]))
    assert not caught.value.retryable


async def test_a_value_that_can_not_be_is_refused(here):
    """The error names the field and the reason."""
    plan = await here.plan(labels={"team": "red and blue"})
    with pytest.raises(
        ConfigurationError, match=r"spec.template.labels: Invalid value: \"red and blue\""
    ) as caught:
        await apply_plan(here.api, plan)
    assert "\n" not in caught.value.message


async def test_a_missing_namespace_is_told(here):
    """And with create_namespace it is made."""
    name = f"{here.namespace}-more"
    with pytest.raises(NotFoundError, match=f"no namespace '{name}'; create_namespace = true"):
        await apply_plan(here.api, await here.plan(namespace=name))
    await apply_plan(here.api, await here.plan(namespace=name, create_namespace=True))
    assert await here.api.delete(Ref("v1", "Namespace", None, name))


# Conflicts.


async def scaled_by(api, plan, manager, replicas=7):
    """Set the replicas as another manager, who then owns them."""
    path = await api.path(plan.workload)
    await api.connection.send(
        "PATCH",
        path,
        "take",
        query={"fieldManager": manager},
        body={"spec": {"replicas": replicas}},
        headers={"Content-Type": "application/merge-patch+json"},
    )


async def test_a_conflict_names_the_field_and_its_manager(here):
    """Nothing is taken from anybody unasked."""
    plan = await here.plan(replicas=1)
    await apply_plan(here.api, plan)
    await scaled_by(here.api, plan, "kubectl-edit")
    with pytest.raises(FieldConflictError, match=r"spec.replicas is owned by kubectl-edit") as caught:
        await apply_plan(here.api, plan)
    assert caught.value.conflicts == (("spec.replicas", "kubectl-edit"),)
    assert (await here.api.get(plan.workload))["spec"]["replicas"] == 7


async def test_a_conflict_whose_cause_cannot_be_looked_at(here, monkeypatch):
    """It is a conflict all the same, and nothing that comes before the workload is applied."""
    await apply_plan(here.api, await here.plan(replicas=1, ports=[{"port": 80}], service={}))
    plan = await here.plan(replicas=1, ports=[{"port": 81}], service={})
    await scaled_by(here.api, plan, "kubectl-edit")

    async def denied(*_):
        raise AuthenticationError("no", sent=False)

    monkeypatch.setattr(apply, "revision_objects", denied)
    with pytest.raises(FieldConflictError, match="owned by kubectl-edit"):
        await apply_plan(here.api, plan)
    service = await here.api.get(Ref("v1", "Service", here.namespace, "web"))
    assert [port["port"] for port in service["spec"]["ports"]] == [80]


async def test_force_takes_it_over(here):
    """Then it is ours again."""
    plan = await here.plan(replicas=1)
    await apply_plan(here.api, plan)
    await scaled_by(here.api, plan, "kubectl-edit")
    applied = await apply_plan(here.api, plan, force=True)
    assert applied.workload["spec"]["replicas"] == 1
    assert not (await apply_plan(here.api, plan)).changed


async def test_what_is_the_same_is_shared(here):
    """A Deployment that somebody has made is taken on, as far as it says the same; the rest is a conflict."""
    theirs = (await here.plan(replicas=3)).workload_object
    del theirs["metadata"]["annotations"]
    await here.api.connection.send(
        "POST",
        (await here.api.path(Ref.of(theirs))).rpartition("/")[0],
        "create",
        query={"fieldManager": "kubectl-create"},
        body=theirs,
    )
    assert (await apply_plan(here.api, await here.plan(replicas=3))).before is not None
    with pytest.raises(FieldConflictError) as caught:
        await apply_plan(here.api, await here.plan(replicas=2))
    assert caught.value.conflicts == (("spec.replicas", "kubectl-create"),)


async def test_what_we_have_scaled_is_no_conflict(here):
    """A deploy sets the replicas that its config says."""
    plan = await here.plan()
    await apply_plan(here.api, plan)
    await here.api.patch(plan.workload, {"spec": {"replicas": 5}}, subresource="scale")
    assert (await apply_plan(here.api, plan)).workload["spec"]["replicas"] == 1


# Autoscalers.


async def test_a_first_deploy_begins_with_what_its_autoscaler_keeps(here):
    """Not with one, which would be well before the others are begun; and the number is not ours."""
    plan = await here.plan(autoscaling={"min_replicas": 3, "max_replicas": 6})
    applied = await apply_plan(here.api, plan)
    assert applied.workload["spec"]["replicas"] == 3
    assert not owns_replicas(applied.workload)
    await scaled_by(here.api, plan, "an-autoscaler")
    again = await apply_plan(here.api, plan)
    assert (again.changed, again.workload["spec"]["replicas"]) == (False, 7)


async def test_replicas_are_handed_over_to_an_autoscaler_that_is_found(here):
    """They stay as they are, though the config says another number; and are not ours any more."""
    plan = await here.plan(replicas=4)
    await apply_plan(here.api, plan)
    await here.api.create(autoscaler(here.namespace))
    applied = await apply_plan(here.api, await here.plan(replicas=2, version="2.0.0"))
    assert applied.autoscaler == "foreign"
    assert applied.workload["spec"]["replicas"] == 4
    await scaled_by(here.api, plan, "an-autoscaler")
    applied = await apply_plan(here.api, await here.plan(replicas=2, version="3.0.0"))
    assert applied.workload["spec"]["replicas"] == 7


async def test_replicas_are_handed_over_to_an_autoscaler_of_ours(here):
    """From one deploy to the next the config gets one; the number stays, and the next deploy is calm."""
    await apply_plan(here.api, await here.plan(replicas=4))
    plan = await here.plan(autoscaling={"min_replicas": 2, "max_replicas": 6})
    applied = await apply_plan(here.api, plan)
    assert (applied.autoscaler, applied.workload["spec"]["replicas"]) == ("web", 4)
    again = await apply_plan(here.api, plan)
    assert not again.changed
    assert again.workload["spec"]["replicas"] == 4


async def test_replicas_come_back_from_an_autoscaler(here):
    """A config without one says their number again."""
    await apply_plan(here.api, await here.plan(replicas=4))
    plan = await here.plan(autoscaling={"max_replicas": 6})
    await apply_plan(here.api, plan)
    await here.api.delete(Ref("autoscaling/v2", "HorizontalPodAutoscaler", here.namespace, "web"))
    applied = await apply_plan(here.api, await here.plan(replicas=3))
    assert applied.workload["spec"]["replicas"] == 3


async def test_an_autoscaler_of_something_else_is_none(here):
    """Kind and name both count."""
    await here.api.create(autoscaler(here.namespace, kind="StatefulSet"))
    ref = Ref("apps/v1", "Deployment", here.namespace, "web")
    assert await find_autoscaler(here.api, ref) is None


# Definitions.


async def test_an_object_of_a_kind_that_comes_along(here, tmp_path):
    """The definition is applied first and waited for."""
    group = f"{here.namespace}.example.org"
    (tmp_path / "m.yaml").write_text(f"""
apiVersion: {group}/v1
kind: Gadget
metadata: {{name: g}}
spec: {{size: 3}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: gadgets.{group}}}
spec:
  group: {group}
  names: {{kind: Gadget, plural: gadgets, singular: gadget}}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        {{type: object, properties: {{spec: {{type: object, properties: {{size: {{type: integer}}}}}}}}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: web}}]}}
""")
    plan = await here.plan(image=None, manifests=[tmp_path])
    changes = await diff_plan(here.api, plan)
    assert [change.object.split("/")[0] for change in changes] == [ref.kind for ref in plan.refs]
    try:
        await apply_plan(here.api, plan)
        gadget = await here.api.get(Ref(f"{group}/v1", "Gadget", here.namespace, "g"))
        assert gadget["spec"] == {"size": 3}
    finally:
        definition = Ref("apiextensions.k8s.io/v1", "CustomResourceDefinition", None, f"gadgets.{group}")
        assert await here.api.delete(definition)


# Differences.


async def told(here, plan, **more):
    """Return the differences by object and path."""
    return {(change.object, change.path): change for change in await diff_plan(here.api, plan, **more)}


async def test_a_diff_of_what_is_not_there(here):
    """All is added, and nothing is made; secrets' values are masked."""
    plan = await here.plan(**ALL)
    changes = await diff_plan(here.api, plan)
    assert [(change.action, change.object) for change in changes] == [
        ("added", str(ref)) for ref in plan.refs
    ]
    assert await here.api.find(plan.workload) is None
    assert "geheim" not in str(changes)
    secret = next(change for change in changes if change.object.startswith("Secret"))
    assert secret.after["data"] == {"PASSWORD": "**********"}


async def test_a_diff_in_a_namespace_that_is_not_there(here):
    """It comes along, or the error is the deploy's."""
    fields = {"namespace": f"{here.namespace}-none"}
    changes = await diff_plan(here.api, await here.plan(**fields, create_namespace=True))
    assert [change.object.partition("/")[0] for change in changes] == ["Namespace", "Deployment"]
    with pytest.raises(NotFoundError, match="create_namespace = true"):
        await diff_plan(here.api, await here.plan(**fields))


async def test_a_diff_of_what_would_be_refused(here):
    """It fails as the deploy would."""
    with pytest.raises(ConfigurationError, match=r"spec\.template\.labels"):
        await diff_plan(here.api, await here.plan(labels={"team": "red and blue"}))


async def test_a_diff_of_the_same_is_empty(here):
    """What the server fills in or keeps books of is no difference."""
    plan = await here.plan(**ALL)
    await apply_plan(here.api, plan)
    assert await diff_plan(here.api, plan) == ()


async def test_a_diff_tells_path_and_values(here):
    """Only what changes, as it is and as it would be; the cluster stays as it is."""
    await apply_plan(here.api, await here.plan(version="1.0.0"))
    plan = await here.plan(version="2.0.0", replicas=3)
    changes = await told(here, plan)
    image = changes["Deployment/web", "spec.template.spec.containers[0].image"]
    assert (image.action, image.before, image.after) == ("changed", "web:1.0.0", "web:2.0.0")
    assert changes["Deployment/web", "spec.replicas"].after == 3
    assert changes.keys() == {
        ("Deployment/web", "metadata.annotations.aioproviders.dev/version"),
        ("Deployment/web", "metadata.labels.app.kubernetes.io/version"),
        ("Deployment/web", "spec.replicas"),
        ("Deployment/web", "spec.template.spec.containers[0].image"),
    }
    assert (await here.api.get(plan.workload))["spec"]["replicas"] == 1


async def test_a_diff_leaves_replicas_to_the_autoscaler(here):
    """It does not tell of a fall to 1 that the deploy won't let happen."""
    await apply_plan(here.api, await here.plan(replicas=4))
    await here.api.create(autoscaler(here.namespace))
    assert await told(here, await here.plan(replicas=2)) == {}


async def test_a_diff_masks_what_a_secret_holds(here, tmp_path):
    """It tells that it changes, and neither from what nor to what."""

    def manifests(value):
        (tmp_path / "m.yaml").write_text(f"""
apiVersion: v1
kind: Secret
metadata: {{name: s}}
stringData: {{password: {value}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template: {{metadata: {{labels: {{app: web}}}}, spec: {{containers: [{{name: web, image: web}}]}}}}
""")
        return here.plan(image=None, manifests=[tmp_path])

    await apply_plan(here.api, await manifests("geheim-1"))
    changes = await told(here, await manifests("geheim-2"), leftovers=[Ref("v1", "Service", "x", "old")])
    change = changes["Secret/s", "data.password"]
    assert (change.action, change.before, change.after) == ("changed", "**********", "**********")
    assert changes["Service/old", ""].action == "removed"


async def test_a_diff_tells_of_a_conflict(here):
    """As the deploy would."""
    plan = await here.plan(replicas=1)
    await apply_plan(here.api, plan)
    await scaled_by(here.api, plan, "kubectl-edit")
    with pytest.raises(FieldConflictError, match="kubectl-edit"):
        await diff_plan(here.api, plan)
    assert ("Deployment/web", "spec.replicas") in await told(here, plan, force=True)
