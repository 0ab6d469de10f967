"""What tests of the Kubernetes driver share: a deployment's config, and hands that reach into the cluster."""

from contextlib import asynccontextmanager

import anyio
import yaml
from kubernetes_asyncio import client

from aioproviders.deployment.kubernetes import KubernetesDeploymentConfig, KubernetesDeploymentProvider


def shop(kubeconfig, namespace, version="1.0.0", **changes):
    """Return a config of two instances, one container each."""
    made = {"replicas": 2, "image": "registry.example/shop:{version}", "stop_timeout_ms": 1000}
    return KubernetesDeploymentConfig(
        **{
            "name": "shop",
            "version": version,
            "namespace": namespace,
            "kubeconfig_path": kubeconfig,
            "rollout_timeout_ms": 20_000,
            "rollback_timeout_ms": 20_000,
            **({} if "manifests" in changes else made),
            **changes,
        }
    )


def provider_of(kubeconfig, namespace, **changes):
    return KubernetesDeploymentProvider(shop(kubeconfig, namespace, **changes))


def manifest(tmp_path, *documents):
    """Write documents into a file of YAML; returns its path."""
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return path


def workload(kind, image, **spec):
    """Return a StatefulSet, DaemonSet or Deployment called shop, as a manifest has it."""
    labels = {"app.kubernetes.io/name": "shop"}
    if kind == "StatefulSet":
        spec = {"serviceName": "shop", **spec}
    if kind != "DaemonSet":
        spec = {"replicas": 2, **spec}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "shop"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{"name": "shop", "image": image}],
                },
            },
            **spec,
        },
    }


class Deployment:
    """The deployment called shop, in other hands than ours."""

    def __init__(self, kube, namespace):
        self.apps, self.namespace = client.AppsV1Api(kube), namespace

    async def read(self):
        found = await self.apps.read_namespaced_deployment("shop", self.namespace)
        return self.apps.api_client.sanitize_for_serialization(found)

    async def patch(self, changes, manager="somebody"):
        await self.apps.patch_namespaced_deployment(
            "shop",
            self.namespace,
            changes,
            field_manager=manager,
            _content_type="application/merge-patch+json",
        )

    async def delete(self):
        await self.apps.delete_namespaced_deployment("shop", self.namespace)

    async def create(self, image, **spec):
        await self.apps.create_namespaced_deployment(
            self.namespace, workload("Deployment", image, **spec), field_manager="somebody"
        )


@asynccontextmanager
async def told_by(provider):
    """Yield a list that gets the steps of what the provider does next."""
    events = []

    async def watch(*, task_status):
        watching = provider.watch_rollout(wait=True)
        task_status.started()
        events.extend([event async for event in watching])

    async with anyio.create_task_group() as task_group:
        await task_group.start(watch)
        await anyio.wait_all_tasks_blocked()
        yield events


class CuttingProxy:
    """Hands bytes on to a server, and can cut all connections.

    Attributes:
        address: Where it listens, ``127.0.0.1:port``.
        cuts: How many connections it has cut.
    """

    def __init__(self, host, port):
        self._host, self._port = host, port
        self._open = set()
        self.cuts = 0
        self.address = ""

    async def _serve(self, near):
        async with near, await anyio.connect_tcp(self._host, self._port) as far:
            with anyio.CancelScope() as scope:
                self._open.add(scope)
                try:
                    async with anyio.create_task_group() as task_group:
                        task_group.start_soon(self._hand_on, near, far, scope)
                        task_group.start_soon(self._hand_on, far, near, scope)
                finally:
                    self._open.discard(scope)

    async def _hand_on(self, source, target, scope):
        try:
            async for chunk in source:
                await target.send(chunk)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        scope.cancel()

    def cut(self):
        self.cuts += len(self._open)
        for scope in list(self._open):
            scope.cancel()

    @asynccontextmanager
    async def running(self):
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        host, port = listener.extra(anyio.abc.SocketAttribute.local_address)[:2]
        self.address = f"{host}:{port}"
        async with listener, anyio.create_task_group() as task_group:
            task_group.start_soon(listener.serve, self._serve)
            yield self
            task_group.cancel_scope.cancel()


def through(kubeconfig, address, tmp_path):
    """Write a kubeconfig that goes through a proxy; returns its path."""
    content = yaml.safe_load(kubeconfig.read_text())
    for cluster in content["clusters"]:
        cluster["cluster"]["server"] = f"https://{address}"
    path = tmp_path / "through.kubeconfig"
    path.write_text(yaml.safe_dump(content))
    return path
