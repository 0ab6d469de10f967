"""Manifests as plans: what is read, in which order, and what is refused."""

import json

import pytest
from scripted_api import config

from aioproviders.deployment.kubernetes.objects import annotations_of
from aioproviders.deployment.kubernetes.plan import make_plan
from aioproviders.deployment.kubernetes.resources import Resource
from aioproviders.errors import ConfigurationError

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template: {spec: {containers: [{name: web, image: "web:1"}]}}
"""
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}}"
NAMESPACED = {"Namespace": False, "ClusterRole": False}


async def find(api_version, kind):
    """Stand in for the server's discovery."""
    if kind == "Gadget":
        raise ConfigurationError(f"the cluster has no kind {kind!r} in {api_version!r}")
    return Resource(kind.lower() + "s", NAMESPACED.get(kind, True))


@pytest.fixture
def plan_of(tmp_path):
    """Return a function: texts by file name, and more of the config -> plan."""

    async def plan_of(files, manifests=None, **fields):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        given = [tmp_path / name for name in manifests or files]
        return await make_plan(config(image=None, manifests=given, **fields), find)

    return plan_of


@pytest.fixture
def refusal(plan_of):
    """Return a function: like `plan_of`, but it returns what is wrong."""

    async def refusal(*args, **fields):
        with pytest.raises(ConfigurationError) as caught:
            await plan_of(*args, **fields)
        assert "\n" not in caught.value.message
        return caught.value.message

    return refusal


async def test_documents_of_files_and_folders(plan_of):
    """A folder's YAML files and a file's documents are all read, and nothing else."""
    plan = await plan_of(
        {
            "app/b.yml": f"---\n{DEPLOYMENT}\n---\n# nothing\n---\n{SERVICE}",
            "app/a.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}",
            "app/notes.txt": "no: [yaml",
            "more.json": json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}),
        },
        ["app", "more.json"],
    )
    assert list(map(str, plan.refs)) == ["Secret/s", "ConfigMap/a", "Service/web", "Deployment/web"]
    assert {ref.namespace for ref in plan.refs} == {"shop"}


async def test_lists_are_taken_apart(plan_of):
    """Lists within lists, too."""
    inner = {"apiVersion": "v1", "kind": "ServiceList", "items": [json.loads(json.dumps(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    ))]}  # fmt: skip
    outer = json.dumps({"apiVersion": "v1", "kind": "List", "items": [inner]})
    plan = await plan_of({"a.yaml": outer, "b.yaml": DEPLOYMENT})
    assert list(map(str, plan.refs)) == ["Service/web", "Deployment/web"]


async def test_the_workload_is_told_its_release(plan_of):
    """Only the workload of the config's name, and only in its metadata."""
    other = DEPLOYMENT.replace("name: web}", "name: other}")
    plan = await plan_of({"a.yaml": DEPLOYMENT, "b.yaml": other}, change_cause="a test")
    web, other = sorted(plan.objects, key=lambda obj: obj["metadata"]["name"], reverse=True)
    assert annotations_of(web) == {
        "aioproviders.dev/version": "1.0.0",
        "aioproviders.dev/release": plan.release,
        "kubernetes.io/change-cause": "a test",
    }
    assert "metadata" not in web["spec"]["template"]
    assert annotations_of(other) == {}
    assert plan.images == ("web:1",)


async def test_the_version_in_images(plan_of):
    """It is put in place of {version} in all containers' images, and nowhere else."""
    pod = {
        "containers": [{"name": "web", "image": "web:{version}", "args": ["{version}"]}],
        "initContainers": [{"image": "i:{version}"}],
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}}
    job = json.dumps({**job, "spec": {"template": {"spec": pod}}})
    odd = "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, spec: {template: {spec: {containers: x}}}}"
    plan = await plan_of(
        {"a.yaml": DEPLOYMENT.replace("web:1", "web:{version}"), "b.yaml": job, "c.yaml": odd}
    )
    assert plan.images == ("web:1.0.0",)
    made = next(obj for obj in plan.objects if obj["kind"] == "Job")["spec"]["template"]["spec"]
    assert made == {
        "containers": [{"name": "web", "image": "web:1.0.0", "args": ["{version}"]}],
        "initContainers": [{"image": "i:1.0.0"}],
    }
    other = await plan_of({"a.yaml": DEPLOYMENT.replace("web:1", "web:{version}")}, version="2.0.0")
    assert (other.images, other.release != plan.release) == (("web:2.0.0",), True)


async def test_values_are_what_json_has(plan_of):
    """A date stays text, and so do keys that look like numbers."""
    text = (
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, data: {since: 2024-01-01, 8080: 'x', on: y}}"
    )
    plan = await plan_of({"a.yaml": DEPLOYMENT, "b.yaml": text})
    assert plan.objects[0]["data"] == {"since": "2024-01-01", "8080": "x", "true": "y"}


async def test_what_belongs_to_the_cluster_gets_no_namespace(plan_of):
    """The others get the config's."""
    role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}}"
    plan = await plan_of({"a.yaml": DEPLOYMENT, "b.yaml": role}, create_namespace=True)
    assert [(str(ref), ref.namespace) for ref in plan.refs] == [
        ("Namespace/shop", None),
        ("ClusterRole/r", None),
        ("Deployment/web", "shop"),
    ]


async def test_kinds_that_the_manifests_define_are_known(plan_of):
    """Their scope is the definition's; they come after it."""
    definition = json.dumps(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "gadgets.example.org"},
            "spec": {
                "group": "example.org",
                "names": {"kind": "Gadget"},
                "scope": "Cluster",
                "versions": [{"name": "v1"}],
            },
        }
    )
    gadget = "{apiVersion: example.org/v1, kind: Gadget, metadata: {name: g}}"
    plan = await plan_of({"a.yaml": gadget, "b.yaml": definition, "c.yaml": DEPLOYMENT})
    assert [ref.kind for ref in plan.refs] == ["CustomResourceDefinition", "Deployment", "Gadget"]
    assert plan.refs[-1].namespace is None


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_other_workloads(plan_of, kind):
    """They can be what the deployment is about, too."""
    plan = await plan_of({"a.yaml": DEPLOYMENT.replace("Deployment", kind)})
    assert str(plan.workload) == f"{kind}/web"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "m.yaml:1:5: "),
        ("kind: x\nmetadata: {}\nkind: y", "m.yaml:3:1: the key 'kind' stands twice in one table"),
        (f"{SERVICE}\n---\n- 1", "m.yaml, document 2 (line 3): should be an object"),
        ("kind: Service", "m.yaml, document 1 (line 1): has no 'apiVersion'"),
        ("{apiVersion: v1, kind: Service, metadata: {}}", "Service has no 'metadata.name'"),
        ("{apiVersion: v1, kind: List, items: [1]}", "document 1 (line 1), item 1: should be an object"),
        ("# nothing", "nothing is in"),
        (
            f"{SERVICE}\n---\n{SERVICE}",
            "m.yaml, document 2 (line 3): Service/web stands in the manifests twice",
        ),
        ("!!python/object:os.system {}", "m.yaml:1:1: could not determine a constructor"),
        ("{apiVersion: v1, kind: Gadget, metadata: {name: g}}", "no kind 'Gadget' in 'v1'"),
        (
            SERVICE.replace("name: web", "name: web, namespace: other"),
            "is for namespace 'other', and the config says 'shop'",
        ),
    ],
)
async def test_a_broken_manifest_is_told_in_a_line(refusal, text, said):
    """It names the file, where in it, and what is wrong."""
    assert said in await refusal({"m.yaml": text})


async def test_the_workload_must_be_there(refusal):
    """The error names the workloads that there are."""
    other = DEPLOYMENT.replace("name: web}", "name: other}")
    message = await refusal({"a.yaml": other, "b.yaml": SERVICE})
    assert "is called 'web'" in message
    assert "there are: Deployment/other" in message


async def test_two_workloads_of_the_name_are_too_many(refusal):
    """It can't be told which is meant."""
    message = await refusal({"a.yaml": DEPLOYMENT, "b.yaml": DEPLOYMENT.replace("Deployment", "StatefulSet")})
    assert "several workloads are called 'web': Deployment/web, StatefulSet/web" in message


async def test_missing_files_are_named(refusal, tmp_path):
    """A path that is not there, and a folder without manifests."""
    (tmp_path / "empty").mkdir()
    assert "gone.yaml: can't be read: No such file" in await refusal({}, ["gone.yaml"])
    assert "empty has no .yaml or .yml file" in await refusal({}, ["empty"])
