"""Scaling on a real control plane."""

import pytest
from clusters import Deployment, provider_of, shop, told_by
from kubernetes_asyncio import client

from aioproviders.deployment import DeploymentStatus
from aioproviders.errors import ConflictError


@pytest.fixture
async def deployed(kubeconfig, namespace):
    """A provider with 1.0.0 deployed."""
    provider = provider_of(kubeconfig, namespace)
    (await provider.deploy(provider.config)).raise_for_error()
    yield provider
    await provider.cleanup()


async def test_the_number_belongs_to_an_autoscaler(kube, namespace, deployed):
    """It is refused, and says to whom it belongs and what to change."""
    await client.AutoscalingV2Api(kube).create_namespaced_horizontal_pod_autoscaler(
        namespace,
        {
            "metadata": {"name": "busy"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "shop"},
                "minReplicas": 2,
                "maxReplicas": 4,
            },
        },
    )
    with pytest.raises(ConflictError, match="HorizontalPodAutoscaler/busy"):
        (await deployed.scale(3)).raise_for_error()
    assert (await deployed.get_status())["replicas"].desired == 2


async def test_scaling_is_no_conflict_with_the_next_deploy(kubeconfig, namespace, kube, deployed):
    """The same manager owns the number either way, so that a deploy sets it without force."""
    (await deployed.scale(4)).raise_for_error()
    fields = (await Deployment(kube, namespace).read())["metadata"]["managedFields"]
    assert {entry["manager"] for entry in fields if entry.get("subresource") == "scale"} == {"aioproviders"}
    result = await deployed.deploy(shop(kubeconfig, namespace, "2.0.0", force=False))
    assert result.success, result
    assert result.metadata["replicas"].desired == 2


async def test_scaling_that_the_server_refuses(limited_kubeconfig, namespace, deployed):
    """Whoever watches is told of the end, too."""
    look = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "watch"]}
    path = await limited_kubeconfig([look])
    async with provider_of(path, namespace) as onlooker, told_by(onlooker) as events:
        result = await onlooker.scale(3)
    assert result.error_detail.code == "authentication"
    assert [event.kind for event in events] == ["started", "finished"]
    assert events[-1].status == DeploymentStatus.FAILED


async def test_pods_that_do_not_get_ready(kubeconfig, namespace, kube, deployed):
    """Scaling to what does not come fails with the reason, and leaves the number as asked."""
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "2"}}}
    await client.CoreV1Api(kube).create_namespaced_resource_quota(namespace, quota)
    result = await deployed.scale(3)
    assert result.status == DeploymentStatus.FAILED
    assert result.diagnosis.reason == "FailedCreate"
    assert (await deployed.get_status())["replicas"].available == 2
