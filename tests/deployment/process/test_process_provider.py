"""The process driver beside its rollouts: state on disk, environment, logs, who supervises."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from owning import owned
from process_deployments import alive, python, until, until_gone

from aioproviders.deployment import DeploymentConfig, DeploymentStatus
from aioproviders.deployment.process import ProcessDeploymentProvider, member
from aioproviders.deployment.process.journal import Journal, new_release
from aioproviders.deployment.process.templates import Template
from aioproviders.errors import NotFoundError
from aioproviders.factory import ProviderFactory

SECRET = "geheim-7f3a9c"


def started(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


async def written(provider, **options):
    return [line.text async for line in provider.logs(**options)]


def test_the_driver_is_found_by_its_name():
    """As ``deployment.process``."""
    assert ProviderFactory.get_driver("deployment", "process") is ProcessDeploymentProvider


# What a process is started with.


async def test_the_environment_is_not_inherited(provider, configure, monkeypatch):
    """A replica has the config's variables, where it stands, and little else."""
    monkeypatch.setenv("FOREIGN", "1")
    show = python(first="print(*sorted(os.environ), flush=True)")
    await provider.deploy(configure(replicas=1, command=show, env={"MODE": "fast"}))
    names = set((await written(provider))[0].split())
    assert {
        "MODE",
        "AIOPROVIDERS_VERSION",
        "AIOPROVIDERS_REPLICA",
        "PORT",
        "PORT_HTTP",
        "LISTEN_FDS",
    } <= names
    assert "FOREIGN" not in names


@pytest.mark.parametrize("inherited", [True, ("FOREIGN",)])
async def test_the_environment_can_be_inherited(provider, configure, monkeypatch, inherited):
    """All of it, or what is named."""
    monkeypatch.setenv("FOREIGN", "yes")
    show = python(first="print(os.environ['FOREIGN'], flush=True)")
    result = await provider.deploy(configure(replicas=1, command=show, inherit_environment=inherited))
    assert result.success, result
    assert await written(provider) == ["yes"]


async def test_placeholders_in_the_command(provider, configure, free_port):
    """Version and port are filled in, and secrets are given as they are."""
    show = [
        *python(first="print(*sys.argv[1:], os.environ['TOKEN'] == 'geheim-7f3a9c', flush=True)"),
        "{version}",
        "{port}",
    ]
    await provider.deploy(configure(replicas=1, command=show, env={"TOKEN": {"secret": SECRET}}))
    assert await written(provider) == [f"1.0.0 {free_port} True"]


async def test_a_port_of_the_supervisor_is_not_the_replicas(provider, configure, monkeypatch):
    """A replica's variables tell its own port, whatever is inherited; so do those of its probes."""
    monkeypatch.setenv("PORT", "1")
    probe = {"kind": "exec", "command": ["sh", "-c", 'test "$PORT" -gt 1'], "timeout_ms": 10_000}
    config = configure(
        replicas=1,
        command=python(first="print(os.environ['PORT'], flush=True)"),
        sockets="per_replica",
        inherit_environment=True,
        startup_probe=probe,
    )
    result = await provider.deploy(config)
    assert result.success, result
    address = (await provider.get_status())["instances"][0].address
    assert await written(provider) == [address.rpartition(":")[2]]


async def test_a_supervisor_whose_folder_is_gone(provider, configure, tmp_path, monkeypatch):
    """It goes on: replicas are started where it is."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    result = await provider.deploy(configure(replicas=1))
    assert result.success, result


async def test_no_descriptors_left(provider, configure, monkeypatch):
    """A replica that can't even be prepared fails the rollout, not the supervisor."""

    def exhausted(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(member, "prepare", exhausted)
        result = await provider.deploy(configure(replicas=1))
    assert "Too many open files" in result.message
    assert (await provider.deploy(configure(replicas=1))).success


# What it writes.


async def test_the_last_lines_of_each(provider, configure):
    """Those of an instance that has ended are kept, too."""
    await provider.deploy(configure())
    await provider.deploy(configure("2.0.0"))
    texts = await written(provider)
    assert sorted(texts) == sorted(["starting 1.0.0, token none"] * 2 + ["starting 2.0.0, token none"] * 2)
    assert await written(provider, instance="shop-1-0", lines=1) == ["starting 1.0.0, token none"]
    assert await written(provider, lines=0) == []


async def test_logs_are_kept_as_long_as_the_history(provider, configure):
    """Those of releases that it has forgotten are gone."""
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        await provider.deploy(configure(version, replicas=1, history_limit=2))

    async def two():
        return {line.instance async for line in provider.logs()} == {"shop-2-0", "shop-3-0"}

    await until(two)


async def test_secrets_are_masked_where_logs_are_shown(provider, configure):
    """While it runs, followed too, and by another provider of the same config afterwards."""
    config = configure(replicas=1, env={"TOKEN": {"secret": SECRET}})
    (await provider.deploy(config)).raise_for_error()
    assert await written(provider) == ["starting 1.0.0, token **********"]
    async for line in provider.logs(follow=True):
        assert line.text == "starting 1.0.0, token **********"
        break


async def test_logs_of_what_never_was(provider, configure):
    """An unknown instance is refused, with those there are."""
    await provider.deploy(configure(replicas=1))
    with pytest.raises(NotFoundError, match="shop-1-0"):
        await written(provider, instance="shop-9-9")


async def test_following_goes_on_with_new_instances(provider, configure):
    """Lines come as they are written, each once, of those started later as well."""
    await provider.deploy(configure(replicas=1))
    seen = []
    async with anyio.create_task_group() as task_group:

        async def follow():
            async for line in provider.logs(follow=True):
                seen.append((line.instance, line.text))  # noqa: PERF401 - looked at meanwhile

        task_group.start_soon(follow)

        async def has(instance):
            return any(name == instance for name, _ in seen)

        await until(lambda: has("shop-1-0"))
        await provider.deploy(configure("2.0.0", replicas=1))
        await until(lambda: has("shop-2-0"))
        task_group.cancel_scope.cancel()
    assert [name for name, _ in seen] == ["shop-1-0", "shop-2-0"]


# What is refused.


async def test_processes_need_an_owner(configure):
    """Without ``async with`` or a registry there is nothing that would end them; it says so."""
    provider = ProcessDeploymentProvider(configure())
    result = await provider.deploy(configure())
    assert result.error_detail.code == "provider_state"
    assert "async with" in result.message
    assert (await provider.get_status())["status"] == DeploymentStatus.NOT_FOUND
    await provider.cleanup()


async def test_another_deployment_needs_another_provider(provider, configure):
    """A config of another name is refused."""
    result = await provider.deploy(configure(name="office"))
    assert result.error_detail.code == "configuration"
    assert "default/office" in result.message


async def test_a_config_that_can_t_be_one(provider):
    """The fields are named, their values are not."""
    plain = DeploymentConfig(name="shop", version="1", resources={"cpu": SECRET}, command=["true"])
    result = await provider.deploy(plain)
    assert result.error_detail.code == "configuration"
    assert "resources" in result.message
    assert SECRET not in f"{result!r}"


async def test_a_folder_that_can_t_be_used(configure, tmp_path):
    """The error names the setting."""
    (tmp_path / "file").touch()
    config = configure(state_directory=tmp_path / "file")
    async with ProcessDeploymentProvider(config) as provider:
        result = await provider.deploy(config)
    assert result.error_detail.code == "configuration"
    assert "state_directory" in result.message


async def test_nothing_deployed_is_healthy(provider):
    """The check says that there is nothing."""
    check = await provider.health_check()
    assert (check["status"], check["details"]) == ("healthy", {"deployed": False})


async def test_a_dry_run_makes_nothing(configure):
    """Neither a supervisor nor a folder; it needs no owner."""
    provider = ProcessDeploymentProvider(configure())
    result = await provider.deploy(configure(), dry_run=True)
    assert (result.success, result.status) == (True, DeploymentStatus.NOT_FOUND)
    assert [change.action for change in result.metadata["changes"]] == ["added"]
    assert not configure().directory.exists()
    await provider.cleanup()


# What is on disk.


async def test_secrets_are_not_kept_on_disk(configure, tmp_path):
    """Neither declared ones, nor those in URLs or under telling names; all for this user alone."""
    env = {"TOKEN": {"secret": SECRET}, "DB": f"postgres://u:{SECRET}@h/d", "API_PASSWORD": SECRET}
    config = configure(env=env)
    async with ProcessDeploymentProvider(config) as provider:
        assert (await provider.deploy(config)).success
    journal = config.directory / "journal.jsonl"
    assert SECRET not in journal.read_text()
    assert journal.stat().st_mode & 0o077 == 0
    assert config.directory.stat().st_mode & 0o077 == 0


async def test_after_a_restart_nothing_runs_until_it_is_asked_for(configure):
    """The status is unknown, and says what to do; the history is there."""
    async with ProcessDeploymentProvider(configure()) as provider:
        await provider.deploy(configure())
    async with ProcessDeploymentProvider(configure()) as provider:
        state = await provider.get_status()
        assert (state["status"], state["version"]) == (DeploymentStatus.UNKNOWN, "1.0.0")
        assert "not running" in state["message"]
        assert (state["replicas"].desired, state["replicas"].available) == (2, 0)
        assert list(await provider.diff(configure())) == []
        assert (await provider.health_check())["status"] == "unhealthy"


async def test_the_same_after_a_restart_is_the_same_release(configure):
    """It is started, without a new revision."""
    async with ProcessDeploymentProvider(configure()) as provider:
        await provider.deploy(configure())
    async with ProcessDeploymentProvider(configure()) as provider:
        result = await provider.deploy(configure())
        assert (result.status, result.metadata["revision"]) == (DeploymentStatus.HEALTHY, 1)
        assert "unchanged" not in result.message


async def test_what_a_crash_has_cut_short_is_not_pending_for_ever(configure):
    """The history says that nobody knows what would have become of it."""
    config = configure("2.0.0")
    config.directory.mkdir(parents=True)
    await Journal(config.directory).release(
        new_release(1, "1.9.0", Template.of(configure("1.9.0")), None), replicas=2
    )
    async with owned(ProcessDeploymentProvider(config)) as provider:
        (await provider.deploy(config)).raise_for_error()
        found = {release.version: release.status for release in await provider.history()}
    assert found == {"1.9.0": DeploymentStatus.UNKNOWN, "2.0.0": DeploymentStatus.HEALTHY}


async def test_scaling_after_a_restart_starts_it(configure):
    """The last release runs again, as often as was asked for."""
    async with ProcessDeploymentProvider(configure()) as provider:
        await provider.deploy(configure())
    async with ProcessDeploymentProvider(configure("2.0.0")) as provider:
        assert (await provider.scale(1)).success
        state = await provider.get_status()
        assert (state["version"], state["replicas"].available) == ("1.0.0", 1)


async def test_a_secret_that_is_missing_after_a_restart(configure):
    """Going back to a release that needs it is refused, and the variable is named."""
    with_token = configure(env={"TOKEN": {"secret": SECRET}})
    async with ProcessDeploymentProvider(with_token) as provider:
        await provider.deploy(with_token)
        await provider.deploy(configure("2.0.0"))
    async with ProcessDeploymentProvider(configure("2.0.0")) as provider:
        result = await provider.rollback("1.0.0")
        assert result.error_detail.code == "configuration"
        assert "env.TOKEN" in result.message
    async with ProcessDeploymentProvider(with_token) as provider:
        assert (await provider.rollback("1.0.0")).success


async def test_a_crashed_supervisor_leaves_no_orphan_and_a_usable_history(configure, tmp_path):
    """Killed in mid-rollout, all its processes end, and another one goes back to what was well."""
    settings = configure().model_dump(mode="json", exclude_unset=True)
    script = tmp_path / "supervisor.py"
    script.write_text(
        f"""
import asyncio, json
from aioproviders.deployment.process import ProcessDeploymentConfig, ProcessDeploymentProvider

async def main():
    settings = json.loads({json.dumps(settings)!r})
    async with ProcessDeploymentProvider(ProcessDeploymentConfig(**settings)) as provider:
        await provider.deploy(ProcessDeploymentConfig(**settings))
        await provider.deploy(ProcessDeploymentConfig(**settings | {{"version": "2.0.0-never-ready"}}))

asyncio.run(main())
"""
    )
    supervisor = await anyio.open_process([sys.executable, str(script)], stdout=None, stderr=None)
    async with ProcessDeploymentProvider(configure()) as provider:
        try:

            async def three():
                state = await provider.get_status()
                running = {item.pid for item in state["instances"]} - {None}
                return running if len(running) == 3 and state["version"] != "1.0.0" else None

            running = await until(three)
        finally:
            supervisor.kill()
            await supervisor.wait()
            await supervisor.aclose()
        await until_gone(running)
        assert [release.healthy for release in await provider.history()] == [False, True]
        result = await provider.rollback("previous")
        assert result.success, result
        assert (await provider.get_status())["version"] == "1.0.0"


@pytest.mark.parametrize("same", [True, False])
async def test_leftovers_of_a_crash_are_ended(configure, same):
    """A process group of the journal is killed, unless another process has its number by now."""
    directory = configure().directory
    directory.mkdir(parents=True)
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)  # noqa: ASYNC220 - it outlives all
    try:
        since = started(process.pid)
        record = {"kind": "started", "pid": process.pid, "since": since if same else since - 1}
        (directory / "journal.jsonl").write_text(json.dumps(record) + "\n")
        async with ProcessDeploymentProvider(configure()) as provider:
            await provider.deploy(configure(replicas=0))
        if same:
            await until_gone([process.pid])
        assert alive(process.pid) is not same
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()


async def test_all_can_be_ended_at_once(configure):
    """Without waiting for processes that don't heed SIGTERM."""
    config = configure(
        command=python("signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()")
    )
    async with owned(ProcessDeploymentProvider(config)) as provider:
        await provider.deploy(config)
        pids = [item.pid for item in (await provider.get_status())["instances"]]
        provider.kill()
        await until_gone(pids)


def test_cleanup_has_the_time_that_draining_takes(configure):
    """Its limit is never below stop_timeout_ms."""
    config = configure(stop_timeout_ms=60_000)
    assert config.for_operation("cleanup").timeout_ms > 60_000
    assert config.for_operation("get_status").timeout_ms == config.timeout_ms
