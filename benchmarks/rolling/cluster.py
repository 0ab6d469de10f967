"""A Deployment of three pods is updated, by kubectl and by the Kubernetes driver, on one control plane."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from aioproviders.deployment.kubernetes import KubernetesDeploymentConfig, KubernetesDeploymentProvider
from benchmarks.results import Table
from benchmarks.rounds import rounds_of

__all__ = ["run"]

ROOT = Path(__file__).parents[2]
REPLICAS = 3
KUBECTL = "kubectl apply, then rollout status"
SERVER_SIDE = "kubectl apply --server-side, then rollout status"
DRIVER = "aioproviders, deploy()"
COMMAND = "aioproviders deploy, the command"


@dataclass(frozen=True)
class Rollout:
    """What one rollout took."""

    milliseconds: float
    requests: int
    watches: int


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields the tables, none where the control plane can't be built."""
    module = _control_plane()
    missing = module.missing()
    if missing is not None:
        sys.stderr.write(f"no rollouts in Kubernetes: {missing}\n")
        return
    with module.ControlPlane() as control_plane:
        found = asyncio.run(_measure(control_plane, rounds=1 if quick else 11))
    pods = f"A Deployment of {REPLICAS} pods gets a new image"
    yield Table(
        f"{pods}: until it is known to be healthy",
        "milliseconds",
        {name: [item.milliseconds for item in items] for name, items in found.items()},
        base=KUBECTL,
        note="One control plane; its pods are ready 0.1 s after their start. A process each for kubectl and "
        "the command, whose start counts; deploy() in one that runs already.",
    )
    yield Table(
        f"{pods}: requests of the API server",
        "requests, watches left out",
        {name: [float(item.requests) for item in items] for name, items in found.items()},
    )
    yield Table(
        f"{pods}: watches",
        "watches",
        {name: [float(item.watches) for item in items] for name, items in found.items()},
    )


def _control_plane() -> Any:
    """Load what starts the control plane of the tests, from its file."""
    path = ROOT / "tests" / "deployment" / "control_plane.py"
    spec = importlib.util.spec_from_file_location("control_plane", path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - the file is there
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


async def _measure(control_plane: Any, rounds: int) -> dict[str, list[Rollout]]:
    kubeconfig = control_plane.kubeconfig
    folder = kubeconfig.parent
    config = KubernetesDeploymentConfig(
        name="driver",
        version="0",
        image="registry.example/shop:{version}",
        replicas=REPLICAS,
        kubeconfig_path=kubeconfig,
    )
    versions = iter(range(1_000_000))

    def counted(agent: str, roll: Callable[[str], Awaitable[None]]) -> Callable[[], Awaitable[Rollout]]:
        async def measured() -> Rollout:
            before = len(control_plane.requests(agent))
            begun = time.perf_counter()
            await roll(str(next(versions)))
            took = time.perf_counter() - begun
            made = control_plane.requests(agent)[before:]
            watches = sum(event["verb"] == "watch" for event in made)
            return Rollout(took * 1e3, len(made) - watches, watches)

        return measured

    def by_kubectl(name: str, *options: str) -> Callable[[str], Awaitable[None]]:
        async def roll(version: str) -> None:
            manifest = folder / f"{name}.json"
            manifest.write_text(json.dumps(_manifest(name, version)))
            kubectl = [str(Path(sys.executable).with_name("kubectl")), "--kubeconfig", str(kubeconfig)]
            await _run(*kubectl, "apply", *options, "-f", str(manifest))
            await _run(*kubectl, "rollout", "status", f"deployment/{name}")

        return roll

    async with KubernetesDeploymentProvider(config) as provider:

        async def by_driver(version: str) -> None:
            (await provider.deploy(config.model_copy(update={"version": version}))).raise_for_error()

        settings = folder / "providers.json"
        settings.write_text(json.dumps({"providers": {"command": _settings(kubeconfig)}}))

        async def by_command(version: str) -> None:
            arguments = ["deploy", "command", "-c", str(settings), "--version", version]
            await _run(sys.executable, "-m", "aioproviders", *arguments)

        return await rounds_of(
            {
                KUBECTL: counted("kubectl", by_kubectl("kubectl")),
                SERVER_SIDE: counted("kubectl", by_kubectl("kubectl-server-side", "--server-side")),
                DRIVER: counted("aioproviders", by_driver),
                COMMAND: counted("aioproviders", by_command),
            },
            rounds,
        )


async def _run(*command: str) -> None:
    await anyio.run_process(
        command,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        start_new_session=True,  # Ctrl-C is for us, and ends it
    )


def _settings(kubeconfig: Path) -> dict[str, Any]:
    return {
        "type": "deployment",
        "driver": "kubernetes",
        "version": "0",
        "image": "registry.example/shop:{version}",
        "replicas": REPLICAS,
        "kubeconfig_path": str(kubeconfig),
    }


def _manifest(name: str, version: str) -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": name, "image": f"registry.example/shop:{version}"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": REPLICAS,
            # As the driver's default: surge 1, none missing.
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
