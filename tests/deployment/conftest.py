"""What tests of deployments may use: a real Kubernetes control plane, or the cluster that is named."""

import asyncio
import os
import uuid
from pathlib import Path

import anyio
import pytest
import yaml
from control_plane import ControlPlane, missing
from kubernetes_asyncio import client
from kubernetes_asyncio.config import new_client_from_config

CLUSTER = "AIOPROVIDERS_TEST_KUBECONFIG"


def pytest_collection_modifyitems(items):
    """Let one worker run all tests that need a cluster, so that only one is started."""
    for item in items:
        if {"kubeconfig", "control_plane"} & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("cluster"))
            # The first of them waits for the build of the control plane, up to 20 minutes.
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(float(item.config.getini("timeout")), func_only=True))


@pytest.fixture(scope="session")
def control_plane():
    """A real control plane of our own; tests that kill its parts need it, whatever cluster is named."""
    reason = missing()
    if reason is not None:
        pytest.skip(f"{reason}; install Go, or name a cluster's kubeconfig in {CLUSTER}")
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="session")
def kubeconfig(request):
    """The kubeconfig of a cluster: the one that is named, or else of a control plane of our own."""
    if named := os.environ.get(CLUSTER):
        return Path(named)
    return request.getfixturevalue("control_plane").kubeconfig


@pytest.fixture
async def kube(kubeconfig):
    """A client of the cluster, who may do everything."""
    api = await new_client_from_config(str(kubeconfig))
    yield api
    await api.close()


@pytest.fixture
async def namespace(kube):
    """A namespace for this test alone."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    core = client.CoreV1Api(kube)
    await core.create_namespace({"metadata": {"name": name}})
    yield name
    await core.delete_namespace(name)


@pytest.fixture
def limited_kubeconfig(kube, kubeconfig, namespace, tmp_path):
    """Return a function: rules -> kubeconfig of a user who may do just that, in the test's namespace."""

    async def make(rules, name="limited"):
        core, rbac = client.CoreV1Api(kube), client.RbacAuthorizationV1Api(kube)
        await core.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
        await rbac.create_namespaced_role(namespace, {"metadata": {"name": name}, "rules": rules})
        await rbac.create_namespaced_role_binding(
            namespace,
            {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
            },
        )
        for rule in rules:
            await _allowed(kube, f"system:serviceaccount:{namespace}:{name}", namespace, rule)
        request = {"spec": {"expirationSeconds": 3600}}
        granted = await core.create_namespaced_service_account_token(name, namespace, request)
        content = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
        current = next(each for each in content["contexts"] if each["name"] == content["current-context"])
        current["context"]["user"] = name
        content["users"] = [{"name": name, "user": {"token": granted.status.token}}]
        path = tmp_path / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return path

    return make


async def _allowed(kube, user, namespace, rule):
    """Wait until the API server, who learns of new roles by a watch of its own, lets the user do it."""
    resource, _, subresource = rule["resources"][0].partition("/")
    attributes = {
        "namespace": namespace,
        "verb": rule["verbs"][0],
        "group": rule["apiGroups"][0],
        "resource": resource,
        "subresource": subresource,
        "name": rule.get("resourceNames", [""])[0],
    }
    review = {"spec": {"user": user, "resourceAttributes": attributes}}
    api = client.AuthorizationV1Api(kube)
    with anyio.fail_after(20):
        while not (await api.create_subject_access_review(review)).status.allowed:  # noqa: ASYNC110  # nothing wakes us
            await anyio.sleep(0.02)
