"""What kubectl sees of what the driver deploys."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from behaviours import rolling_out
from owning import owned

from aioproviders.deployment.kubernetes import KubernetesDeploymentConfig, KubernetesDeploymentProvider


async def until(provider, holds):
    with anyio.fail_after(20):
        while not holds(await provider.history()):  # noqa: ASYNC110 - the cluster tidies up when it likes
            await anyio.sleep(0.02)


KUBECTL = str(Path(sys.executable).with_name("kubectl"))


@pytest.fixture
def config(kubeconfig, namespace):
    def make_config(version, **changes):
        return KubernetesDeploymentConfig(
            **{
                "name": "shop",
                "version": version,
                "namespace": namespace,
                "kubeconfig_path": kubeconfig,
                "replicas": 2,
                "image": "registry.example/shop:{version}",
                "ports": [{"port": 8080}],
                "service": {},
                "settings": {"MODE": "fast"},
                **changes,
            }
        )

    return make_config


@pytest.fixture
async def provider(config):
    async with owned(KubernetesDeploymentProvider(config("1.0.0"))) as provider:
        (await provider.deploy(config("1.0.0", change_cause="the first"))).raise_for_error()
        yield provider


@pytest.fixture
def kubectl(kubeconfig, namespace):
    """Return a function: arguments -> kubectl's exit code and what it printed."""

    async def run(*arguments, document=None):
        done = await anyio.run_process(
            [KUBECTL, "--kubeconfig", str(kubeconfig), "--namespace", namespace, *arguments],
            input=None if document is None else json.dumps(document).encode(),
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.returncode, done.stdout.decode()

    return run


def applied(live):
    """Return what a manifest would say of an object: what the server adds is left out."""
    kept = {key: live["metadata"][key] for key in ("name", "namespace", "labels")}
    kept["annotations"] = {
        key: value
        for key, value in live["metadata"]["annotations"].items()
        if not key.startswith("deployment.kubernetes.io/")
    }
    return {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": kept, "spec": live["spec"]}


async def test_rollout_status(provider, config, kubectl):
    """When a deploy has ended well kubectl agrees at once; when one has failed and stays it does not."""
    assert await kubectl("rollout", "status", "deployment/shop", "--watch=false") == (
        0,
        'deployment "shop" successfully rolled out\n',
    )
    failed = await provider.deploy(config("2.0.0-crash-loop", rollback_on_failure=False))
    assert not failed.success
    _, told = await kubectl("rollout", "status", "deployment/shop", "--watch=false")
    assert "Waiting for deployment" in told


async def test_rollout_history(provider, config, kubectl):
    """The revisions are the same, and so is why each was made."""
    (await provider.deploy(config("1.1.0", change_cause="a faster kettle"))).raise_for_error()
    (await provider.rollback("1.0.0")).raise_for_error()
    _, told = await kubectl("rollout", "history", "deployment/shop")
    lines = [line.split(maxsplit=1) for line in told.splitlines() if line[:1].isdigit()]
    history = await provider.history()
    assert [int(revision) for revision, _ in lines] == sorted(release.revision for release in history)
    causes = {int(revision): cause for revision, cause in lines}
    faster = next(release for release in history if release.version == "1.1.0")
    assert causes[faster.revision] == "a faster kettle"


async def test_server_side_apply_finds_no_conflict(provider, kubectl):
    """The same manifest from another manager is no conflict; another value is, and names our manager."""
    _, live = await kubectl("get", "deployment", "shop", "-o", "json")
    manifest = applied(json.loads(live))
    command = ("apply", "--server-side", "--dry-run=server", "-f", "-")
    code, told = await kubectl(*command, document=manifest)
    assert code == 0, told
    assert "conflict" not in told
    manifest["spec"]["template"]["spec"]["containers"][0]["image"] = "registry.example/shop:9"
    code, told = await kubectl(*command, document=manifest)
    assert code != 0
    assert 'conflict with "aioproviders"' in told


async def test_what_kubectl_sets_is_told_and_not_run_over(provider, config, kubectl):
    """An image set behind our back is neither release: status says whose it is, and force takes it back."""
    code, told = await kubectl("set", "image", "deployment/shop", "shop=registry.example/shop:9")
    assert code == 0, told
    await kubectl("rollout", "status", "deployment/shop")
    state = await provider.get_status()
    assert (state["status"], state["version"]) == ("healthy", "1.0.0 (changed)")
    assert state["message"].endswith(
        'changed since it was deployed: spec.template.spec.containers[name="shop"].image by kubectl-set'
    )
    assert {instance.version for instance in state["instances"]} == {"1.0.0 (changed)"}
    kept = [(release.version, release.current) for release in await provider.history()]
    assert kept == [("1.0.0 (changed)", True), ("1.0.0", False)]
    for change in (
        provider.rollback("1.0.0"),
        provider.deploy(config("1.0.0")),
        provider.deploy(config("2")),
    ):
        result = await change
        assert not result.success
        assert result.error_detail.code == "conflict"
        assert (
            "image is owned by kubectl-set; leave it out, or take it over with force = true" in result.message
        )
    async with owned(KubernetesDeploymentProvider(config("1.0.0", force=True))) as forcing:
        (await forcing.rollback("1.0.0")).raise_for_error()
    assert (await provider.get_status())["version"] == "1.0.0"
    back = await provider.rollback("1.0.0 (changed)")
    assert back.success, back
    assert (back.metadata["version"], back.metadata["images"]) == (
        "1.0.0 (changed)",
        ("registry.example/shop:9",),
    )
    assert [release.version for release in await provider.history()] == ["1.0.0 (changed)", "1.0.0"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("image", "deployment/shop", "shop=registry.example/shop:9-crash-loop"), "].image by kubectl-set"),
        (("env", "deployment/shop", "EXTRA=1"), "by kubectl-set"),
    ],
)
async def test_what_is_set_in_mid_rollout_takes_it_over(provider, config, kubectl, change, told):
    """The deploy ends with that, and is neither a success nor undone: it is somebody else's rollout now."""
    async with rolling_out(provider, config("2.0.0-slow")) as rolling:
        code, said = await kubectl("set", *change)
        assert code == 0, said
    result = rolling.result
    assert (result.success, result.error_detail.code) == (False, "conflict"), result
    assert "was taken over meanwhile: somebody else changed spec.template.spec" in result.message
    assert told in result.message


async def test_what_a_release_does_not_name_stays_set(provider, config, kubectl):
    """A variable set behind our back is told, and left to whom it belongs by the next release."""
    code, told = await kubectl("set", "env", "deployment/shop", "EXTRA=1")
    assert code == 0, told
    await kubectl("rollout", "status", "deployment/shop")
    state = await provider.get_status()
    assert "EXTRA" in state["message"]
    assert state["version"] == "1.0.0 (changed)"
    path = 'spec.template.spec.containers[name="shop"].env[name="EXTRA"]'
    kept = [str(change) for change in await provider.diff(config("1.1.0")) if change.action == "kept"]
    assert kept == [f"= Deployment/shop {path}: set by kubectl-set, stays"]
    result = await provider.deploy(config("1.1.0"))
    assert result.success, result
    assert result.message == f"1.1.0 is deployed; what others have set stays: {path} by kubectl-set"
    state = await provider.get_status()
    assert (state["version"], "EXTRA" in state["message"]) == ("1.1.0", False)
    _, told = await kubectl("set", "env", "deployment/shop", "--list")
    assert "EXTRA=1" in told
    back = await provider.rollback("1.0.0")
    assert back.message == f"rolled back to 1.0.0; what others have set stays: {path} by kubectl-set"
    assert (await provider.deploy(config("1.1.0"))).success
    dry = await provider.deploy(config("1.1.0"), dry_run=True)
    assert dry.message == "dry run: unchanged"


async def test_a_restart_is_no_other_release(provider, kubectl):
    """Pods made anew of the same template are of the same release."""
    code, told = await kubectl("rollout", "restart", "deployment/shop")
    assert code == 0, told
    await kubectl("rollout", "status", "deployment/shop")
    state = await provider.get_status()
    assert (state["version"], "changed" in state["message"]) == ("1.0.0", False)
    result = await provider.rollback("1.0.0")
    assert (result.success, result.message) == (True, "1.0.0 runs already: unchanged")


async def test_undo_by_kubectl_is_a_rollback_to_a_release_of_ours(provider, config, kubectl):
    """Who undoes a rollout by kubectl brings a release of ours back, which is in no one's way."""
    (await provider.deploy(config("1.1.0"))).raise_for_error()
    code, told = await kubectl("rollout", "undo", "deployment/shop")
    assert code == 0, told
    await kubectl("rollout", "status", "deployment/shop")
    state = await provider.get_status()
    assert (state["version"], "changed" in state["message"]) == ("1.0.0", False)
    assert [(each.version, each.current) for each in await provider.history()] == [
        ("1.0.0", True),
        ("1.1.0", False),
    ]
    changed = {change.path for change in await provider.diff(config("1.2.0"))}
    assert "spec.template.spec.containers[0].image" in changed
    again = await provider.rollback("1.1.0")
    assert again.success, again
    await kubectl("rollout", "undo", "deployment/shop")
    result = await provider.deploy(config("1.2.0"))
    assert (result.success, result.message) == (True, "1.2.0 is deployed")
    assert (await provider.get_status())["version"] == "1.2.0"


async def test_a_change_that_outlives_its_release(provider, config, kubectl):
    """It is told as one also when the cluster keeps the release's own revision no longer."""
    code, told = await kubectl("set", "env", "deployment/shop", "EXTRA=1")
    assert code == 0, told
    await kubectl("rollout", "status", "deployment/shop")
    # Two revisions beside the current one are kept.
    for version in ("1.1.0", "1.2.0"):
        (await provider.deploy(config(version, history_limit=3))).raise_for_error()
    await until(provider, lambda history: len(history) == 3)
    history = await provider.history()
    assert [(each.version, each.status) for each in history] == [
        ("1.2.0", "healthy"),
        ("1.1.0", "healthy"),
        ("1.0.0 (changed)", "unknown"),
    ]
    back = await provider.rollback("revision:2")
    assert (back.success, back.metadata["version"]) == (True, "1.0.0 (changed)"), back


async def test_the_history_of_what_was_restarted(provider, config, kubectl):
    """Each has its own time, though both are of one release; what others make is well while it runs."""
    await kubectl("rollout", "restart", "deployment/shop")
    await kubectl("rollout", "status", "deployment/shop")
    again, first = await provider.history()
    assert (again.version, first.version, again.created_at > first.created_at) == ("1.0.0", "1.0.0", True)
    await kubectl("set", "env", "deployment/shop", "EXTRA=1")
    await kubectl("rollout", "status", "deployment/shop")
    assert [each.healthy for each in await provider.history()] == [True, True, True]


async def test_scaling_by_others_is_told(provider, config, kubectl):
    """By the status, and by a deploy that it came between; the next one names it as a conflict."""
    code, told = await kubectl("scale", "deployment/shop", "--replicas=3")
    assert code == 0, told
    state = await provider.get_status()
    assert state["message"].endswith("; the number of replicas was set by kubectl")
    assert "spec.replicas is owned by kubectl" in (await provider.deploy(config("1.1.0"))).message
    (await provider.scale(2)).raise_for_error()
    assert "was set by" not in (await provider.get_status())["message"]
    async with rolling_out(provider, config("2.0.0-slow")) as rolling:
        await kubectl("scale", "deployment/shop", "--replicas=1")
    assert rolling.result.message == (
        "2.0.0-slow is deployed; the number of replicas was set by kubectl meanwhile"
    )


async def test_what_is_set_after_an_undo_is_a_conflict(provider, config, kubectl):
    """What somebody sets in a release that was brought back is theirs."""
    (await provider.deploy(config("1.1.0"))).raise_for_error()
    await kubectl("rollout", "undo", "deployment/shop")
    code, told = await kubectl("set", "image", "deployment/shop", "shop=registry.example/shop:9")
    assert code == 0, told
    result = await provider.deploy(config("1.2.0"))
    assert result.error_detail.code == "conflict"
    assert "kubectl-set" in result.message


async def test_scaling_is_seen(provider, kubectl):
    """The number that was scaled to."""
    (await provider.scale(3)).raise_for_error()
    _, told = await kubectl("get", "deployment", "shop", "-o", "jsonpath={.status.availableReplicas}")
    assert told == "3"


async def test_a_number_that_the_config_does_not_say(config, kubectl):
    """It stays as others have set it: what is left out is no wish for one."""
    said = config("1.0.0").model_dump(exclude_unset=True, exclude={"replicas"})
    plain = KubernetesDeploymentConfig.model_validate(said)
    async with owned(KubernetesDeploymentProvider(plain)) as provider:
        (await provider.deploy(plain)).raise_for_error()
        code, told = await kubectl("scale", "deployment/shop", "--replicas=3")
        assert code == 0, told
        newer = plain.model_copy(update={"version": "2.0.0"})
        assert not [each for each in await provider.diff(newer) if "replicas" in each.path]
        result = await provider.deploy(newer)
        assert result.success, result
        assert (result.message, result.metadata["replicas"].available) == ("2.0.0 is deployed", 3)
        bad = plain.model_copy(update={"version": "3.0.0", "image": "registry.example/shop:3-crash-loop"})
        assert (await provider.deploy(bad)).status == "rolled_back"
        assert (await provider.get_status())["replicas"].desired == 3
