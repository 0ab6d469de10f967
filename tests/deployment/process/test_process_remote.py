"""Asking the supervisor that another provider is."""

import fcntl
import sys
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from owning import owned
from process_deployments import until

from aioproviders.deployment import DeploymentStatus
from aioproviders.deployment.process import ProcessDeploymentProvider
from aioproviders.deployment.process.remote import RemoteSupervisor
from aioproviders.deployment.process.wire import CONTROL, config_to_wire, control_address
from aioproviders.errors import NotFoundError, ProviderError, ProviderUnavailableError

SECRET = "geheim-7f3a9c"


@pytest.fixture
async def client(provider, configure):
    """Another provider of a deployment that `provider` runs already."""
    (await provider.deploy(configure())).raise_for_error()
    async with owned(ProcessDeploymentProvider(configure())) as client:
        yield client


def environment_of(pid):
    return Path(f"/proc/{pid}/environ").read_bytes()


def directory_of(pid):
    return Path(f"/proc/{pid}/cwd").resolve()


async def connected(provider):
    with control_address(provider.config.directory) as address:
        return await anyio.connect_unix(address)


def error_of(result):
    with pytest.raises(ProviderError) as raised:
        result.raise_for_error()
    return raised.value


async def test_both_see_the_same(provider, client):
    """Status, history and differences are the supervisor's."""
    assert await client.get_status() == await provider.get_status()
    assert list(await client.history()) == list(await provider.history())
    assert (await client.health_check())["details"] == (await provider.health_check())["details"]
    assert await client.is_supervised_elsewhere()
    assert not await provider.is_supervised_elsewhere()


async def test_a_deploy_is_done_by_the_supervisor(provider, client, configure):
    """The processes are its own, and the result is as if it had been asked itself."""
    result = await client.deploy(configure("2.0.0"))
    assert result.success, result
    assert (result.status, result.metadata["version"]) == (DeploymentStatus.HEALTHY, "2.0.0")
    assert (await provider.get_status())["version"] == "2.0.0"


async def test_logs_stay_where_the_supervisor_keeps_them(client, configure, tmp_path):
    """Also where the folder has another name for whoever asks."""
    config = configure("2.0.0", state_directory=tmp_path / "elsewhere")
    assert (await RemoteSupervisor(client.config).deploy(config)).success
    assert not (tmp_path / "elsewhere").exists()


async def test_scale_and_rollback(provider, client, configure):
    """Likewise."""
    await client.deploy(configure("2.0.0"))
    assert (await client.scale(1)).success
    assert (await client.rollback("previous")).success
    state = await provider.get_status()
    assert (state["version"], state["replicas"].available) == ("1.0.0", 1)


async def test_leaving_a_stream_closes_it(provider, client):
    """There and then, at both ends, and not when the garbage is collected."""
    left, finalizer = [], sys.get_asyncgen_hooks().finalizer

    def note(generator):
        left.append(generator.__qualname__)
        finalizer(generator)

    sys.set_asyncgen_hooks(finalizer=note)
    try:
        async with aclosing(client.logs(follow=True)) as lines:
            assert (await anext(lines)).text
        del lines
        async with aclosing(provider.logs(follow=True)) as lines:
            assert (await anext(lines)).text
        del lines
        async with anyio.create_task_group() as task_group:
            watching = client.watch_rollout(wait=True)
            task_group.start_soon(client.scale, 1)
            async with aclosing(watching):
                assert (await anext(watching)).kind == "started"
            del watching
    finally:
        sys.set_asyncgen_hooks(finalizer=finalizer)
    assert left == []


async def test_a_dry_run_and_a_diff(client, configure):
    """The differences are told, secrets masked."""
    config = configure("2.0.0", env={"TOKEN": {"secret": SECRET}})
    result = await client.deploy(config, dry_run=True)
    assert list(map(str, result.metadata["changes"])) == list(map(str, await client.diff(config)))
    assert "env.TOKEN" in f"{result.metadata['changes']}"
    assert SECRET not in f"{result!r}"


async def test_a_failure_travels_with_its_diagnosis(client, configure):
    """So does the class of the error."""
    result = await client.deploy(configure("2.0.0-crash-loop"))
    assert result.status == DeploymentStatus.ROLLED_BACK
    assert (result.diagnosis.reason, result.diagnosis.exit_code) == ("CrashLoop", 1)
    assert isinstance(error_of(await client.rollback("0.9.0")), NotFoundError)


async def test_secrets_get_through(provider, client, configure):
    """The replicas have them; the journal, the logs and the status have not."""
    result = await client.deploy(configure("2.0.0", env={"TOKEN": {"secret": SECRET}}))
    assert result.success, result
    assert SECRET not in (provider.config.directory / "journal.jsonl").read_text()
    state = await provider.get_status()
    environ = environment_of(state["instances"][0].pid)
    assert f"TOKEN={SECRET}".encode() in environ


async def test_secrets_of_others_are_masked_here(provider, client, configure):
    """What a client has deployed is masked in the supervisor's logs as well."""
    (await client.deploy(configure("2.0.0", env={"TOKEN": {"secret": SECRET}}))).raise_for_error()
    lines = [line.text async for line in provider.logs()]
    assert "starting 2.0.0, token **********" in lines
    assert not [line for line in lines if SECRET in line]


async def test_a_relative_folder_is_the_clients(provider, client, configure, tmp_path, monkeypatch):
    """Where the client is, not where the supervisor is."""
    folder = tmp_path / "there"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    wire = config_to_wire(configure("2.0.0", working_directory="there"))
    assert wire["working_directory"] == str(folder)
    (await client.deploy(configure("2.0.0", working_directory="there"))).raise_for_error()
    pid = (await provider.get_status())["instances"][0].pid
    assert directory_of(pid) == folder


async def test_logs_and_events(client, configure):
    """Streams come as they are made."""
    events = []
    async with anyio.create_task_group() as task_group:

        async def watch():
            async for event in client.watch_rollout(wait=True):
                events.append(event)  # noqa: PERF401 - as they come

        task_group.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        await client.deploy(configure("2.0.0-slow"))
    assert events[-1].kind == "finished"
    assert events[-1].status == DeploymentStatus.HEALTHY
    assert [line.text async for line in client.logs(instance="shop-1-0")] == ["starting 1.0.0, token none"]
    assert [event async for event in client.watch_rollout()] == []


@pytest.mark.parametrize(
    ("on_cancel", "status", "version"),
    [
        ("rollback", DeploymentStatus.HEALTHY, "1.0.0"),
        ("pause", DeploymentStatus.PAUSED, "2.0.0-never-ready"),
        ("leave", DeploymentStatus.PROGRESSING, "2.0.0-never-ready"),
    ],
)
async def test_a_cancelled_deploy(client, configure, on_cancel, status, version):
    """The supervisor does what on_cancel says, before the cancellation goes on."""
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(client.deploy, configure("2.0.0-never-ready", on_cancel=on_cancel))

        async def progressing():
            return (await client.get_status())["replicas"].updated == 1

        await until(progressing)
        task_group.cancel_scope.cancel()
    state = await client.get_status()
    assert (state["status"], state["version"]) == (status, version)


async def test_one_that_hangs_up_has_cancelled(provider, client, configure):
    """A client that is killed in mid-deploy leaves no lock behind."""
    stream = await connected(provider)
    config = configure("2.0.0-never-ready").model_dump_json(exclude_unset=True)
    await stream.send(b'{"do": "deploy", "with": {"config": %s}}\n' % config.encode())

    def has(status):
        async def look():
            return (await client.get_status())["status"] == status

        return look

    await until(has(DeploymentStatus.PROGRESSING))
    await stream.aclose()
    await until(has(DeploymentStatus.HEALTHY))
    assert (await client.get_status())["version"] == "1.0.0"
    assert (await client.deploy(configure("3.0.0"))).success


@pytest.mark.parametrize(
    "question", [b"", b"\n", b"[]\n", b'{"do": "close"}\n', b'{"do": "scale", "with": {"x": 1}}\n']
)
async def test_nonsense_does_no_harm(provider, client, question):
    """The supervisor answers the next one."""
    stream = await connected(provider)
    await stream.send(question)
    await stream.aclose()
    assert (await client.get_status())["status"] == DeploymentStatus.HEALTHY


async def test_only_this_user_may_ask(provider, client):
    """The socket is not open to others."""
    assert (provider.config.directory / CONTROL).stat().st_mode & 0o077 == 0


async def test_a_folder_with_a_long_path(configure, tmp_path):
    """One longer than the address of a socket may be does as well."""
    config = configure(state_directory=tmp_path / ("long" * 30))
    async with owned(ProcessDeploymentProvider(config)) as provider:
        await provider.deploy(config)
        async with owned(ProcessDeploymentProvider(config)) as client:
            assert (await client.scale(1)).success
    assert not (config.directory / CONTROL).exists()


async def test_the_supervisor_goes_away_in_between(configure):
    """The status is told from the journal then, and the next deploy makes the client the supervisor."""
    async with owned(ProcessDeploymentProvider(configure())) as client:
        async with owned(ProcessDeploymentProvider(configure())) as provider:
            await provider.deploy(configure())
            assert (await client.get_status())["status"] == DeploymentStatus.HEALTHY
        assert (await client.get_status())["status"] == DeploymentStatus.UNKNOWN
        assert (await client.deploy(configure("2.0.0"))).success
        assert not await client.is_supervised_elsewhere()


async def test_the_supervisor_is_killed_in_mid_deploy(configure, tmp_path):
    """The client is told that it has gone."""
    script = (
        "import asyncio, sys\n"
        "from aioproviders.deployment.process import ProcessDeploymentConfig, ProcessDeploymentProvider\n"
        "async def main():\n"
        "    config = ProcessDeploymentConfig.model_validate_json(sys.argv[1])\n"
        "    async with ProcessDeploymentProvider(config) as provider:\n"
        "        (await provider.deploy(config)).raise_for_error()\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    settings = configure().model_dump_json(exclude_unset=True)
    supervisor = await anyio.open_process([sys.executable, "-c", script, settings], stdout=None, stderr=None)
    results = []
    try:
        async with owned(ProcessDeploymentProvider(configure())) as client:

            async def healthy():
                return (await client.get_status())["status"] == DeploymentStatus.HEALTHY

            await until(healthy)
            async with anyio.create_task_group() as task_group:

                async def deploy():
                    results.append(await client.deploy(configure("2.0.0-never-ready")))

                task_group.start_soon(deploy)

                async def progressing():
                    return (await client.get_status())["replicas"].updated == 1

                await until(progressing)
                supervisor.kill()
    finally:
        await supervisor.wait()
        await supervisor.aclose()
    error = error_of(results[0])
    assert isinstance(error, ProviderUnavailableError)
    assert "has gone" in error.message


async def test_a_supervisor_that_does_not_answer(configure, tmp_path):
    """It is told who has the lock, within timeout_ms."""
    config = configure(timeout_ms=300)
    config.directory.mkdir(parents=True)
    with (config.directory / "supervisor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        async with ProcessDeploymentProvider(config) as provider:
            result = await provider.deploy(config)
    assert isinstance(error_of(result), ProviderUnavailableError)
    assert "supervisor.lock" in result.message
