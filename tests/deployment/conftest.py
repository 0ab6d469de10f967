"""What tests of deployments may use: a real Kubernetes control plane, or the cluster that is named."""

import asyncio
import os
import uuid
from pathlib import Path

import pytest
import yaml
from control_plane import ControlPlane, missing
from kubernetes_asyncio import client
from kubernetes_asyncio.config import new_client_from_config

CLUSTER = "AIOPROVIDERS_TEST_KUBECONFIG"
BUILD_LIMIT = 45 * 60
"""Seconds that the first test may take: that is when the control plane is built."""


def pytest_collection_modifyitems(items):
    """Let one worker run all tests that need a cluster, so that only one is started."""
    for item in items:
        if {"kubeconfig", "control_plane"} & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("cluster"))
            item.add_marker(pytest.mark.timeout(BUILD_LIMIT))


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
        request = {"spec": {"expirationSeconds": 3600}}
        granted = await core.create_namespaced_service_account_token(name, namespace, request)
        content = yaml.safe_load(await asyncio.to_thread(kubeconfig.read_text))
        user = content["contexts"][0]["context"]["user"]
        content["users"] = [{"name": user, "user": {"token": granted.status.token}}]
        path = tmp_path / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(content))
        return path

    return make
