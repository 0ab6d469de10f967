"""How every deployment driver of ours behaves; a test class for each inherits these.

What a version does stands at its end: ``2.0.0-crash-loop`` ends at once, ``2.0.0-slow`` takes a while to be
ready, ``2.0.0-never-ready`` never is.
"""

from collections.abc import Mapping
from contextlib import asynccontextmanager

import anyio
import pytest
from owning import owned
from pydantic import SecretStr

from aioproviders.deployment import DeploymentConfig, DeploymentStatus, Replicas
from aioproviders.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    ProviderError,
    ProviderStateError,
    ProviderTimeoutError,
)

SECRET = "geheim-7f3a9c"


class DeploymentBehaviours:
    """To be inherited; `make`, and the fixture `config`, are the driver's."""

    @pytest.fixture
    def make(self):
        """Return a function: config -> the driver's provider."""
        raise NotImplementedError

    @pytest.fixture
    async def provider(self, config, make):
        """A provider of a deployment that is not there yet."""
        async with owned(make(config("1.0.0"))) as provider:
            yield provider

    @pytest.fixture
    async def deployed(self, provider, config):
        """A provider with 1.0.0 deployed, two instances of it."""
        (await provider.deploy(config("1.0.0"))).raise_for_error()
        return provider

    # Deploy.

    async def test_a_first_deploy_is_healthy(self, provider, config):
        """The result says what runs, and the status is the same."""
        result = await provider.deploy(config("1.0.0"))
        assert result.success, result
        assert result.status == DeploymentStatus.HEALTHY
        assert result.deployment_id == f"{provider.config.namespace}/{provider.config.name}"
        assert result.metadata["version"] == "1.0.0"
        assert result.metadata["replicas"] == Replicas(desired=2, updated=2, ready=2, available=2)
        assert result.metadata["duration_ms"] > 0
        state = await provider.get_status()
        assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")
        assert state["revision"] == result.metadata["revision"]
        assert [instance.ready for instance in state["instances"]] == [True, True]
        assert (await provider.health_check())["status"] == "healthy"

    async def test_the_same_again_changes_nothing(self, deployed, config):
        """A second deploy of the same config keeps the revision and the instances."""
        before = await deployed.get_status()
        result = await deployed.deploy(config("1.0.0"))
        assert result.success, result
        assert "unchanged" in result.message
        after = await deployed.get_status()
        assert after["revision"] == before["revision"] == result.metadata["revision"]
        assert names_of(after) == names_of(before)

    async def test_an_update_replaces_all_instances(self, deployed, config):
        """A new version has a new revision, and nothing of the old one is left."""
        before = await deployed.get_status()
        result = await deployed.deploy(config("2.0.0"))
        assert result.success, result
        assert result.metadata["revision"] > before["revision"]
        state = await deployed.get_status()
        assert state["version"] == "2.0.0"
        assert not names_of(state) & names_of(before)
        assert {instance.version for instance in state["instances"]} == {"2.0.0"}

    async def test_a_plain_config_is_completed(self, deployed, config):
        """What only the driver's own config has comes from the provider's."""
        given = config("1.1.0")
        plain = DeploymentConfig(
            **{
                name: getattr(given, name)
                for name in given.model_fields_set & DeploymentConfig.model_fields.keys()
            }
        )
        result = await deployed.deploy(plain)
        assert result.success, result
        assert (await deployed.get_status())["version"] == "1.1.0"

    async def test_no_replicas_is_scaled_to_zero(self, provider, config):
        """A deploy of zero replicas succeeds and says so."""
        result = await provider.deploy(config("1.0.0", replicas=0))
        assert result.success, result
        assert result.status == DeploymentStatus.SCALED_TO_ZERO
        assert (await provider.get_status())["status"] == DeploymentStatus.SCALED_TO_ZERO

    async def test_the_number_of_replicas_is_part_of_the_config(self, deployed, config):
        """A deploy with more replicas and nothing else keeps the instances that there are."""
        before = await deployed.get_status()
        result = await deployed.deploy(config("1.0.0", replicas=3))
        assert result.success, result
        state = await deployed.get_status()
        assert names_of(before) < names_of(state)
        assert state["replicas"].available == 3

    # Failures.

    async def test_a_bad_update_is_rolled_back_with_its_diagnosis(self, deployed, config):
        """The old version runs on, and the result tells why the new one does not."""
        before = await deployed.get_status()
        result = await deployed.deploy(config("2.0.0-crash-loop"))
        assert not result.success
        assert result.status == DeploymentStatus.ROLLED_BACK
        assert "Crash" in result.diagnosis.reason
        assert result.diagnosis.exit_code == 1
        assert result.diagnosis.instance not in names_of(before)
        assert result.diagnosis.suggestion
        assert result.diagnosis.reason in result.message
        detail = result.error_detail
        assert (detail.provider, detail.operation, detail.attempts) == (deployed.name, "deploy", 1)
        assert result.metadata["version"] == "1.0.0"
        state = await deployed.get_status()
        assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")
        assert state["replicas"].available == 2
        failed = next(release for release in await deployed.history() if "crash" in release.version)
        assert (failed.healthy, failed.status) == (False, DeploymentStatus.ROLLED_BACK)

    async def test_what_is_no_config_and_no_version(self, deployed):
        """What is of another type is refused in a line, and disturbs nothing."""
        for refused in (
            await deployed.deploy(None),
            await deployed.deploy({"name": "shop"}),
            await deployed.rollback(None),
            await deployed.rollback(7),
            await deployed.scale("2"),
        ):
            assert refused.error_detail.code == "configuration", refused
            assert "should be" in refused.message or "takes a DeploymentConfig, not" in refused.message
        assert (await deployed.get_status())["status"] == DeploymentStatus.HEALTHY

    async def test_a_bad_first_deploy_is_left_for_a_look(self, provider, config):
        """There is nothing to go back to: it has failed, and the next good one works."""
        result = await provider.deploy(config("1.0.0-crash-loop"))
        assert not result.success
        assert result.status == DeploymentStatus.FAILED
        assert result.diagnosis.exit_code == 1
        assert (await provider.get_status())["status"] == DeploymentStatus.FAILED
        assert (await provider.deploy(config("1.0.1"))).status == DeploymentStatus.HEALTHY

    async def test_what_failed_can_stay(self, deployed, config):
        """Without rollback_on_failure the failed release stays, until somebody goes back."""
        result = await deployed.deploy(config("2.0.0-crash-loop", rollback_on_failure=False))
        assert result.status == DeploymentStatus.FAILED
        assert (await deployed.get_status())["version"] == "2.0.0-crash-loop"
        mended = await deployed.rollback("previous")
        assert mended.success, mended
        assert (await deployed.get_status())["version"] == "1.0.0"

    async def test_a_rollout_that_takes_too_long_is_rolled_back(self, deployed, config):
        """An update that never gets ready fails after rollout_timeout_ms."""
        result = await deployed.deploy(config("2.0.0-never-ready", rollout_timeout_ms=2500))
        assert result.status == DeploymentStatus.ROLLED_BACK
        assert isinstance(error_of(result), ProviderTimeoutError)
        assert result.diagnosis is not None
        assert (await deployed.get_status())["version"] == "1.0.0"

    # Rollback and history.

    async def test_rollback_by_version(self, deployed, config):
        """Going back to a version makes it a new revision."""
        latest = await deployed.deploy(config("2.0.0"))
        result = await deployed.rollback("1.0.0")
        assert result.success, result
        assert result.status == DeploymentStatus.HEALTHY
        assert result.metadata["revision"] > latest.metadata["revision"]
        state = await deployed.get_status()
        assert state["version"] == "1.0.0"
        assert state["replicas"].available == 2
        made = [release.created_at for release in await deployed.history()]
        assert made == sorted(made, reverse=True)

    async def test_rollback_to_the_previous_healthy_release(self, deployed, config):
        """A release that failed in between is passed over."""
        await deployed.deploy(config("2.0.0"))
        await deployed.deploy(config("3.0.0-crash-loop"))
        result = await deployed.rollback("previous")
        assert result.success, result
        assert (await deployed.get_status())["version"] == "1.0.0"

    async def test_rollback_by_revision(self, deployed, config):
        """A revision that the history tells can be gone back to."""
        first = (await deployed.get_status())["revision"]
        await deployed.deploy(config("2.0.0"))
        result = await deployed.rollback(f"revision:{first}")
        assert result.success, result
        assert (await deployed.get_status())["version"] == "1.0.0"

    @pytest.mark.parametrize("wanted", ["0.9.0", "revision:4711", "previous"])
    async def test_rollback_to_what_never_was(self, deployed, wanted):
        """It is refused in a word, and nothing changes."""
        before = await deployed.get_status()
        result = await deployed.rollback(wanted)
        assert isinstance(error_of(result), NotFoundError)
        assert names_of(await deployed.get_status()) == names_of(before)

    async def test_rollback_to_what_runs_changes_nothing(self, deployed):
        """Going back to the current version keeps its instances."""
        before = await deployed.get_status()
        result = await deployed.rollback("1.0.0")
        assert result.success, result
        assert "unchanged" in result.message
        assert names_of(await deployed.get_status()) == names_of(before)

    async def test_history(self, deployed, config):
        """It is told newest first: versions, what became of them, and which is current."""
        await deployed.deploy(config("2.0.0", change_cause="a faster kettle"))
        history = await deployed.history()
        assert [release.version for release in history] == ["2.0.0", "1.0.0"]
        assert [release.current for release in history] == [True, False]
        assert all(release.healthy for release in history)
        assert history[0].change_cause == "a faster kettle"
        assert history[0].revision > history[1].revision

    # Scale.

    async def test_scale_up_down_to_zero_and_back(self, deployed):
        """The version stays, whatever the number."""
        for replicas, status in [
            (3, DeploymentStatus.HEALTHY),
            (1, DeploymentStatus.HEALTHY),
            (0, DeploymentStatus.SCALED_TO_ZERO),
            (2, DeploymentStatus.HEALTHY),
        ]:
            result = await deployed.scale(replicas)
            assert result.success, result
            assert result.status == status
            state = await deployed.get_status()
            assert (state["status"], state["version"]) == (status, "1.0.0")
            assert state["replicas"].desired == state["replicas"].available == replicas
            assert len(state["instances"]) == replicas

    async def test_scale_keeps_the_instances_it_can(self, deployed):
        """Scaling up starts what is missing, nothing else."""
        before = await deployed.get_status()
        await deployed.scale(3)
        assert names_of(before) < names_of(await deployed.get_status())

    async def test_what_is_no_number_of_replicas_is_refused(self, deployed):
        """It is bad input, said in a word, and changes nothing."""
        for wrong in (-1, 2**31, 1.5, True, "3", None):
            result = await deployed.scale(wrong)
            assert isinstance(error_of(result), ConfigurationError)
            assert f"a whole number from 0 to 2147483647, not {wrong!r}" in result.message
        assert (await deployed.get_status())["replicas"].available == 2

    async def test_a_deploy_after_scaling_does_what_its_config_says(self, deployed, config):
        """The number that was scaled to is no hindrance to the next deploy."""
        await deployed.scale(3)
        result = await deployed.deploy(config("2.0.0"))
        assert result.success, result
        assert (await deployed.get_status())["replicas"].available == 2

    # Nothing there.

    async def test_nothing_deployed_yet(self, provider):
        """The status says so; what needs a deployment is refused; there is no history."""
        assert (await provider.get_status())["status"] == DeploymentStatus.NOT_FOUND
        assert isinstance(error_of(await provider.scale(2)), NotFoundError)
        assert isinstance(error_of(await provider.rollback("previous")), NotFoundError)
        assert list(await provider.history()) == []

    # Before anything is done.

    async def test_a_dry_run_changes_nothing(self, deployed, config):
        """It tells what would change, and the same as diff."""
        before = await deployed.get_status()
        result = await deployed.deploy(config("2.0.0", replicas=3), dry_run=True)
        assert result.success, result
        changes = result.metadata["changes"]
        assert any(change.before == 2 and change.after == 3 for change in changes)
        assert {str(change) for change in await deployed.diff(config("2.0.0", replicas=3))} == set(
            map(str, changes)
        )
        after = await deployed.get_status()
        assert (after["revision"], names_of(after)) == (before["revision"], names_of(before))

    async def test_no_difference(self, deployed, config):
        """What is there already differs in nothing."""
        assert list(await deployed.diff(config("1.0.0"))) == []

    # In mid-rollout.

    async def test_events_of_a_rollout(self, deployed, config):
        """They begin when the rollout does and end with it; the last says how it ended."""
        async with rolling_out(deployed, config("2.0.0-slow")) as rollout:
            pass
        assert rollout.events[0].kind == "started"
        assert rollout.events[-1].kind == "finished"
        assert rollout.events[-1].status == DeploymentStatus.HEALTHY
        assert rollout.events[-1].replicas.available == 2
        assert any(event.kind == "progress" and event.replicas.updated for event in rollout.events)
        assert {event.version for event in rollout.events} == {"2.0.0-slow"}

    async def test_no_rollout_no_events(self, deployed):
        """Where nothing is under way, watching ends at once."""
        assert [event async for event in deployed.watch_rollout()] == []

    async def test_status_in_mid_rollout(self, deployed, config):
        """It is progressing, and the old instances serve meanwhile."""
        async with rolling_out(deployed, config("2.0.0-slow")):
            state = await deployed.get_status()
            assert state["status"] == DeploymentStatus.PROGRESSING
            assert state["replicas"].available >= 2
        assert (await deployed.get_status())["status"] == DeploymentStatus.HEALTHY

    async def test_two_deploys_at_once(self, deployed, config):
        """The second is refused while the first is under way, which it doesn't disturb."""
        async with rolling_out(deployed, config("2.0.0-slow")) as rollout:
            refused = await deployed.deploy(config("3.0.0"))
            assert isinstance(error_of(refused), ConflictError)
            assert isinstance(error_of(await deployed.scale(1)), ConflictError)
        assert rollout.result.success, rollout.result
        assert (await deployed.get_status())["version"] == "2.0.0-slow"

    async def test_a_cancelled_rollout_is_undone(self, deployed, config):
        """With on_cancel "rollback" the old version is back when the cancellation gets through."""
        async with rolling_out(deployed, config("2.0.0-never-ready", on_cancel="rollback")) as rollout:
            rollout.cancel()
        state = await deployed.get_status()
        assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")
        undone = next(release for release in await deployed.history() if "never" in release.version)
        assert undone.status == DeploymentStatus.ROLLED_BACK
        assert (await deployed.deploy(config("3.0.0"))).success

    async def test_a_cancelled_first_deploy_leaves_nothing(self, provider, config):
        """With on_cancel "rollback" there is as little as before, and the next deploy is another first."""
        async with rolling_out(provider, config("1.0.0-never-ready", on_cancel="rollback")) as rollout:
            rollout.cancel()
        await until(provider, DeploymentStatus.NOT_FOUND)
        assert (await provider.deploy(config("1.0.0"))).success

    async def test_a_cancelled_rollout_can_go_on(self, deployed, config):
        """With on_cancel "leave" it ends by itself."""
        async with rolling_out(deployed, config("2.0.0-slow", on_cancel="leave")) as rollout:
            rollout.cancel()
        state = await until(deployed, DeploymentStatus.HEALTHY)
        assert state["version"] == "2.0.0-slow"

    async def test_a_cancelled_rollout_can_pause(self, deployed, config):
        """With on_cancel "pause" it stops half-way, and the next deploy goes on from there."""
        async with rolling_out(deployed, config("2.0.0-never-ready", on_cancel="pause")) as rollout:
            rollout.cancel()
        state = await deployed.get_status()
        assert state["status"] == DeploymentStatus.PAUSED
        assert state["replicas"].available == 2
        result = await deployed.deploy(config("2.0.1"))
        assert result.success, result
        assert (await deployed.get_status())["status"] == DeploymentStatus.HEALTHY

    async def test_a_cancelled_scale_is_undone(self, deployed, config):
        """With on_cancel "rollback" there are as many instances as before."""
        (await deployed.deploy(config("2.0.0-slow"))).raise_for_error()
        async with changing(deployed, lambda: deployed.scale(4)) as scaling:
            scaling.cancel()
        assert (scaling.events[-1].kind, scaling.events[-1].status) == (
            "finished",
            DeploymentStatus.ROLLED_BACK,
        )
        assert (await deployed.get_status())["replicas"].desired == 2
        # A cluster's controller may write what it saw of the first change after what it saw of the second.
        await until(deployed, DeploymentStatus.HEALTHY)
        assert (await deployed.scale(1)).success

    async def test_a_cancelled_scale_can_go_on(self, config, make):
        """With on_cancel "leave" there are in the end as many as were asked for."""
        leaving = config("1.0.0-slow", on_cancel="leave")
        async with make(leaving) as provider:
            (await provider.deploy(leaving)).raise_for_error()
            async with changing(provider, lambda: provider.scale(3)) as scaling:
                scaling.cancel()
            state = await until(provider, DeploymentStatus.HEALTHY)
            assert state["replicas"].available == 3

    async def test_a_cancelled_rollback_is_undone(self, deployed, config):
        """With on_cancel "rollback" what ran before is back."""
        (await deployed.deploy(config("2.0.0-slow"))).raise_for_error()
        (await deployed.deploy(config("3.0.0"))).raise_for_error()
        async with changing(deployed, lambda: deployed.rollback("2.0.0-slow")) as going_back:
            going_back.cancel()
        assert going_back.events[-1].status == DeploymentStatus.ROLLED_BACK
        state = await deployed.get_status()
        assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "3.0.0")
        assert (await deployed.rollback("1.0.0")).success

    @pytest.mark.parametrize(
        ("on_cancel", "status"), [("leave", DeploymentStatus.HEALTHY), ("pause", DeploymentStatus.PAUSED)]
    )
    async def test_a_cancelled_rollback_can_go_on_or_pause(self, config, make, on_cancel, status):
        """With on_cancel "leave" it ends by itself, with "pause" it stops half-way until the next deploy."""
        latest = config("2.0.0", on_cancel=on_cancel)
        async with make(latest) as provider:
            (await provider.deploy(config("1.0.0-slow"))).raise_for_error()
            (await provider.deploy(latest)).raise_for_error()
            async with changing(provider, lambda: provider.rollback("1.0.0-slow")) as going_back:
                going_back.cancel()
            assert (await until(provider, status))["version"] == "1.0.0-slow"
            assert (await provider.deploy(config("3.0.0"))).success

    # Afterwards.

    async def test_nothing_works_after_cleanup(self, config, make):
        """A provider that was closed deploys nothing, and what it was asked for is not there."""
        provider = make(config("1.0.0"))
        async with provider:
            pass
        with pytest.raises(ProviderStateError):
            await provider.deploy(config("1.0.0"))
        async with make(config("1.0.0")) as another:
            assert (await another.get_status())["status"] == DeploymentStatus.NOT_FOUND

    async def test_cleanup_in_mid_rollout(self, config, make):
        """A rollout that its provider leaves half-way is no hindrance to the next provider."""
        async with make(config("1.0.0")) as first:
            (await first.deploy(config("1.0.0"))).raise_for_error()
            async with rolling_out(first, config("2.0.0-never-ready", on_cancel="leave")) as rollout:
                rollout.cancel()
        async with make(config("3.0.0")) as second:
            result = await second.deploy(config("3.0.0"))
            assert result.success, result
            state = await second.get_status()
            assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "3.0.0")

    async def test_another_provider_finds_the_history(self, config, make):
        """It survives the provider that made it."""
        async with make(config("1.0.0")) as first:
            await first.deploy(config("1.0.0"))
            await first.deploy(config("2.0.0"))
        async with make(config("2.0.0")) as second:
            history = await second.history()
            assert [release.version for release in history] == ["2.0.0", "1.0.0"]
            result = await second.rollback("1.0.0")
            assert result.success, result
            assert (await second.get_status())["version"] == "1.0.0"

    async def test_secrets_stay_hidden(self, provider, config):
        """A secret variable is in nothing that a deployment tells, not even in a failure."""
        env = {"TOKEN": SecretStr(SECRET), "MODE": "fast"}
        told = []
        good = config("1.0.0", env=env)
        told.append(await provider.diff(good))
        told.append(await provider.deploy(good))
        bad = config("2.0.0-crash-loop", env={**env, "MODE": "slow"})
        told.append(await provider.deploy(bad, dry_run=True))
        async with rolling_out(provider, bad) as rollout:
            pass
        told += [rollout.events, rollout.result, await provider.get_status(), await provider.history()]
        told.append(await provider.health_check())
        assert told[1].success, told[1]
        assert "slow" in f"{told[2]}"
        assert not [item for item in told if SECRET in f"{item!r} {item}"]


class Rollout:
    """A change under way in a task of its own."""

    def __init__(self, provider, change):
        self.provider, self.change = provider, change
        self.result = None
        self.events = []
        self._scope = anyio.CancelScope()
        self._begun, self.ended = anyio.Event(), anyio.Event()

    def cancel(self):
        self._scope.cancel()

    async def watch(self, *, task_status):
        watching = self.provider.watch_rollout(wait=True)
        task_status.started()
        async for event in watching:
            self.events.append(event)
            if event.kind != "started":
                self._begun.set()

    async def run(self):
        with self._scope:
            self.result = await self.change()
        self._begun.set()
        self.ended.set()


def rolling_out(provider, config):
    """Begin a deploy, see `changing`."""
    return changing(provider, lambda: provider.deploy(config))


@asynccontextmanager
async def changing(provider, change):
    """Begin a change, and yield when its first step is told; leaves when it has ended."""
    rollout = Rollout(provider, change)
    async with anyio.create_task_group() as task_group:
        await task_group.start(rollout.watch)
        task_group.start_soon(rollout.run)
        await rollout._begun.wait()
        yield rollout


async def until(provider, status):
    """Wait until the deployment has that status, and return its state."""
    with anyio.fail_after(30):
        while (state := await provider.get_status())["status"] != status:  # noqa: ASYNC110 - the target has no event for it
            await anyio.sleep(0.02)
    return state


def names_of(state: Mapping):
    """Return the names of the instances."""
    return {instance.name for instance in state["instances"]}


def error_of(result):
    """Return the error that a failed result holds."""
    assert not result.success
    with pytest.raises(ProviderError) as raised:
        result.raise_for_error()
    return raised.value
