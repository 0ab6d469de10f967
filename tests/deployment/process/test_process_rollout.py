"""Rollouts of processes: what is served meanwhile, what fails, and what becomes of it."""

import asyncio
import errno
import os
import signal
import sys

import anyio
import pytest
from owning import owned
from process_deployments import BINDING, gated, get, listens, python, until, until_gone

from aioproviders.deployment import DeploymentStatus
from aioproviders.deployment.process import ProcessDeploymentProvider
from aioproviders.deployment.process.journal import Journal


def pids(state):
    return {instance.pid for instance in state["instances"]}


async def seen_during(provider, config):
    """Deploy, and return the result and all the states that were seen meanwhile."""
    states = []

    async def look():
        while True:
            states.append(await provider.get_status())
            await anyio.sleep(0.005)

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(look)
        result = await provider.deploy(config)
        task_group.cancel_scope.cancel()
    assert result.success, result
    return states


async def answers_during(port, action, *, least):
    """Ask all the time while `action` is under way, `least` times at least; returns all answers."""
    answers, over = [], anyio.Event()

    async def ask():
        while not over.is_set() or len(answers) < least:
            answers.append(await get(port))

    async with anyio.create_task_group() as task_group:
        for _ in range(4):
            task_group.start_soon(ask)
        await action()
        over.set()
    return answers


# What is served.


async def test_an_update_under_load_loses_no_request(provider, configure, free_port):
    """Each request is answered, by the old version or the new."""
    await provider.deploy(configure())
    config = configure("2.0.0")
    answers = await answers_during(free_port, lambda: provider.deploy(config), least=300)
    assert set(answers) == {"1.0.0", "2.0.0"}
    assert answers[-1] == "2.0.0"


async def test_a_bad_update_under_load_costs_nothing(provider, configure, free_port):
    """The old version keeps all its instances, and answers all requests."""
    await provider.deploy(configure())
    before = await provider.get_status()
    bad = configure("2.0.0-crash-loop")
    answers = await answers_during(free_port, lambda: provider.deploy(bad), least=100)
    assert set(answers) == {"1.0.0"}
    assert pids(await provider.get_status()) == pids(before)


async def test_each_replica_with_ports_of_its_own(provider, configure):
    """The status tells where each is, and each is there."""
    config = configure(sockets="per_replica", ports=[{"port": 80}, {"port": 81, "name": "admin-api"}])
    assert (await provider.deploy(config)).success
    endpoints = (await provider.get_status())["endpoints"]
    assert len(set(endpoints)) == 2
    for endpoint in endpoints:
        assert await get(int(endpoint.rpartition(":")[2])) == "1.0.0"


async def test_a_replica_is_told_its_own_ports(provider, configure):
    """By variables, and in place of {port} among the arguments."""
    show = python(first="print(sys.argv[1], os.environ['PORT'], os.environ['PORT_ADMIN_API'], flush=True)")
    ports = [{"port": 80}, {"port": 81, "name": "admin-api"}]
    config = configure(replicas=1, command=[*show, "{port}"], sockets="per_replica", ports=ports)
    assert (await provider.deploy(config)).success
    (line,) = [line.text async for line in provider.logs()]
    first, again, admin = line.split()
    assert first == again != admin
    assert (await provider.get_status())["endpoints"] == (f"127.0.0.1:{first}",)


async def test_replicas_that_share_a_port_by_themselves(provider, configure, free_port):
    """With reuse_port each binds the port that PORT names."""
    config = configure(sockets="reuse_port", command=[sys.executable, "-IS", str(BINDING)])
    assert (await provider.deploy(config)).success
    assert await get(free_port) == "1.0.0"
    assert (await provider.get_status())["endpoints"] == (f"127.0.0.1:{free_port}",)


async def test_ports_that_change_are_bound_beside_the_old(provider, configure, free_port, other_port):
    """A port that stays keeps its socket, a new one is added, one that goes is closed in the end."""
    await provider.deploy(configure())
    both = configure("2.0.0", ports=[{"port": free_port}, {"port": other_port, "name": "admin"}])
    await answers_during(free_port, lambda: provider.deploy(both), least=50)
    assert await get(other_port) == "2.0.0"
    assert (await provider.deploy(configure("3.0.0", ports=[{"port": other_port}]))).success
    assert await get(other_port) == "3.0.0"
    assert not listens(free_port)


async def test_http_probes_reach_the_new_replica_itself(provider, configure):
    """Though all share one port, a version that never answers doesn't get ready by the old one's answers."""
    probe = {"kind": "http", "period_ms": 20}
    assert (await provider.deploy(configure(readiness_probe=probe))).success
    bad = configure("2.0.0-never-ready", readiness_probe=probe, rollout_timeout_ms=1500)
    result = await provider.deploy(bad)
    assert result.status == DeploymentStatus.ROLLED_BACK


# How it is done.


async def test_recreate_never_mixes_versions(provider, configure):
    """All of the old have ended before the first of the new is started."""
    await provider.deploy(configure())
    states = await seen_during(provider, configure("2.0.0", strategy={"kind": "recreate"}))
    versions = [{instance.version for instance in state["instances"]} for state in states]
    assert all(len(found) <= 1 for found in versions)
    assert set().union(*versions) == {"1.0.0", "2.0.0"}


async def test_without_surge_there_are_never_more(provider, configure):
    """With max_surge 0 and max_unavailable 1 one is stopped before one is started."""
    await provider.deploy(configure())
    strategy = {"max_surge": 0, "max_unavailable": 1}
    states = await seen_during(provider, configure("2.0.0-slow", strategy=strategy))
    assert min(state["replicas"].available for state in states) == 1
    serving = [[item for item in state["instances"] if item.phase != "stopping"] for state in states]
    assert max(map(len, serving)) == 2


async def test_with_surge_there_are_never_fewer(provider, configure):
    """With max_surge 1 and max_unavailable 0 all are available all the time."""
    await provider.deploy(configure())
    states = await seen_during(provider, configure("2.0.0-slow"))
    assert min(state["replicas"].available for state in states) == 2
    assert max(state["replicas"].updated for state in states) == 2


async def test_ready_is_not_available_yet(provider, configure):
    """Until min_ready_seconds have passed."""
    states = await seen_during(provider, configure(min_ready_seconds=1))
    assert any(state["replicas"].ready > state["replicas"].available for state in states)
    assert (await provider.get_status())["replicas"].available == 2


async def test_only_settings_that_processes_live_on_with(provider, configure):
    """A change of the strategy alone restarts nothing and makes no release."""
    await provider.deploy(configure())
    before = await provider.get_status()
    result = await provider.deploy(configure(strategy={"max_surge": 2}))
    assert "unchanged" in result.message
    assert await provider.get_status() == before


async def test_going_back_half_way_keeps_what_still_runs(provider, configure):
    """Instances of the old version that a failed one has left are taken over as they are."""
    await provider.deploy(configure())
    before = await provider.get_status()
    await provider.deploy(configure("2.0.0-crash-loop", rollback_on_failure=False))
    assert (await provider.rollback("previous")).success
    after = await provider.get_status()
    assert pids(after) == pids(before)
    assert after["revision"] > before["revision"]


# What fails.


async def test_no_such_program(provider, configure):
    """It fails at once, and says which program."""
    result = await provider.deploy(configure(command=["no-such-program"]))
    assert result.status == DeploymentStatus.FAILED
    assert result.diagnosis.reason == "StartFailed"
    assert "no-such-program" in result.diagnosis.message
    assert result.diagnosis.suggestion


async def test_a_diagnosis_shows_the_last_output_without_secrets(provider, configure):
    """The failing process's last lines and its exit code are told; a secret in them is masked."""
    lines = "print('one'); print(os.environ['TOKEN']); sys.exit(3)"
    config = configure(command=python(first=lines), env={"TOKEN": {"secret": "geheim-1234"}})
    diagnosis = (await provider.deploy(config)).diagnosis
    assert (diagnosis.reason, diagnosis.exit_code) == ("CrashLoop", 3)
    assert diagnosis.logs[-2:] == ("one", "**********")
    assert diagnosis.events


async def test_a_probe_that_never_succeeds(provider, configure):
    """It fails at the time limit, and the diagnosis has the probe's own word."""
    probe = {"kind": "exec", "command": ["false"], "period_ms": 20, "failure_threshold": 1}
    result = await provider.deploy(configure(readiness_probe=probe, rollout_timeout_ms=2500))
    assert result.diagnosis.reason == "ProbeFailed"
    assert "false" in result.diagnosis.message


async def test_one_that_is_not_alive(provider, configure):
    """A liveness probe that fails ends it each time; that is told as what it is."""
    probe = {"kind": "exec", "command": ["false"], "period_ms": 10, "failure_threshold": 1}
    never = {"kind": "exec", "command": ["false"]}
    result = await provider.deploy(configure(liveness_probe=probe, readiness_probe=never))
    assert result.diagnosis.reason == "LivenessFailed"


async def test_a_failure_goes_back_to_the_last_healthy_release(provider, configure):
    """Also past one that failed before and was left."""
    await provider.deploy(configure())
    await provider.deploy(configure("2.0.0-crash-loop", rollback_on_failure=False))
    result = await provider.deploy(configure("3.0.0-crash-loop"))
    assert result.status == DeploymentStatus.ROLLED_BACK
    assert result.metadata["version"] == "1.0.0"
    assert [release.current for release in await provider.history()] == [False, False, True]


async def test_more_of_the_same_that_fail(provider, configure, tmp_path):
    """As many run as before, of the same release."""
    only_two = python(first="if os.environ['AIOPROVIDERS_REPLICA'] == '2': sys.exit(4)")
    await provider.deploy(configure(command=only_two))
    await provider.deploy(configure("2.0.0", command=only_two))
    result = await provider.deploy(configure("2.0.0", command=only_two, replicas=3))
    assert result.status == DeploymentStatus.ROLLED_BACK
    state = await provider.get_status()
    assert (state["version"], state["replicas"].desired) == ("2.0.0", 2)


async def test_scaling_that_fails_is_left_for_a_look(provider, configure):
    """What ran before runs on, and is not all that should."""
    await provider.deploy(
        configure(command=python(first="if os.environ['AIOPROVIDERS_REPLICA'] == '2': sys.exit(4)"))
    )
    result = await provider.scale(3)
    assert (result.status, result.diagnosis.reason) == (DeploymentStatus.FAILED, "CrashLoop")
    assert (await provider.get_status())["replicas"].available == 2
    assert (await provider.health_check())["status"] == "degraded"
    assert (await provider.scale(2)).status == DeploymentStatus.HEALTHY


async def test_going_back_fails_too(provider, configure, tmp_path):
    """The message tells both."""
    gate = tmp_path / "gate"
    gate.touch()
    good = {"command": gated(gate), "strategy": {"kind": "recreate"}}
    assert (await provider.deploy(configure(**good))).success
    gate.unlink()
    result = await provider.deploy(configure("2.0.0-crash-loop", strategy={"kind": "recreate"}))
    assert result.status == DeploymentStatus.FAILED
    assert "went back" not in result.message
    assert "1.0.0 failed, too" in result.message


async def test_the_same_again_after_a_failure_is_another_try(provider, configure, tmp_path):
    """What failed is started anew, as the same release."""
    gate = tmp_path / "gate"
    config = configure(command=gated(gate), restart_backoff_max_ms=60_000)
    failed = await provider.deploy(config)
    assert failed.status == DeploymentStatus.FAILED
    gate.touch()
    result = await provider.deploy(config)
    assert result.success, result
    assert result.metadata["revision"] == failed.metadata["revision"]


async def test_a_journal_that_can_t_be_written(provider, configure, monkeypatch):
    """Nothing is begun that could not be written down; what runs does so on."""
    await provider.deploy(configure())
    before = await provider.get_status()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "_write", full)
    result = await provider.deploy(configure("2.0.0"))
    assert not result.success
    assert "No space left" in result.message
    assert await provider.get_status() == before


async def test_each_instance_s_steps_are_told(provider, configure):
    """Those that start and those that end."""
    await provider.deploy(configure(replicas=1))
    events = []
    async with anyio.create_task_group() as task_group:

        async def watch():
            async for event in provider.watch_rollout(wait=True):
                events.append(event)  # noqa: PERF401 - as they come

        task_group.start_soon(watch)
        await anyio.wait_all_tasks_blocked()
        await provider.deploy(configure("2.0.0", replicas=1))
    told = [(event.instance.name, event.instance.phase) for event in events if event.kind == "instance"]
    assert ("shop-2-0", "ready") in told
    assert ("shop-1-0", "stopping") in told


async def test_a_port_that_is_taken(provider, configure, other_port):
    """It is a conflict, found before anything is touched."""
    await provider.deploy(configure())
    before = await provider.get_status()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=other_port):
        result = await provider.deploy(configure("2.0.0", ports=[{"port": other_port}]))
    assert result.error_detail.code == "conflict"
    assert str(other_port) in result.message
    assert await provider.get_status() == before
    assert len(await provider.history()) == 1


async def test_sockets_of_another_kind_on_the_same_port(provider, configure):
    """It is refused with what to do instead."""
    await provider.deploy(configure())
    result = await provider.deploy(configure("2.0.0", sockets="reuse_port"))
    assert result.error_detail.code == "configuration"
    assert "another port" in result.message


# What is cancelled.


async def cancelled_at(provider, config, status):
    """Begin a deploy, and cancel it when the deployment has that status."""
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(provider.deploy, config)

        async def reached():
            return (await provider.get_status())["status"] == status

        await until(reached)
        task_group.cancel_scope.cancel()


async def test_a_cancelled_first_deploy_leaves_nothing(provider, configure):
    """Undone, it was never there."""
    await cancelled_at(provider, configure("1.0.0-never-ready"), DeploymentStatus.PROGRESSING)
    state = await provider.get_status()
    assert (state["status"], state["instances"]) == (DeploymentStatus.NOT_FOUND, ())
    assert (await provider.deploy(configure())).success


async def test_a_cancelled_task_undoes_it_too(provider, configure):
    """A cancellation by asyncio itself does as one of a scope does."""
    await provider.deploy(configure())
    deploy = asyncio.create_task(provider.deploy(configure("2.0.0-never-ready")))

    async def updating():
        return (await provider.get_status())["replicas"].updated == 1

    await until(updating)
    deploy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await deploy
    state = await provider.get_status()
    assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")


async def test_what_is_paused_is_not_scaled(provider, configure):
    """That would go on with it, which is for the next deploy to say."""
    (await provider.deploy(configure())).raise_for_error()
    paused = configure("2.0.0-never-ready", on_cancel="pause")
    await cancelled_at(provider, paused, DeploymentStatus.PROGRESSING)
    result = await provider.scale(3)
    assert result.error_detail.code == "conflict"
    assert "deploy first" in result.message
    assert (await provider.get_status())["status"] is DeploymentStatus.PAUSED


async def test_a_cancelled_deploy_after_a_pause_goes_back_to_what_was_well(provider, configure):
    """Not to what was stopped half-way."""
    await provider.deploy(configure())
    paused = configure("2.0.0-never-ready", on_cancel="pause")
    await cancelled_at(provider, paused, DeploymentStatus.PROGRESSING)
    await cancelled_at(provider, configure("3.0.0-never-ready"), DeploymentStatus.PROGRESSING)
    state = await provider.get_status()
    assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")


async def test_a_cancelled_deploy_after_a_restart(configure):
    """Nothing runs, as before, and the release before is what can be gone back to."""
    async with ProcessDeploymentProvider(configure()) as provider:
        await provider.deploy(configure())
    async with ProcessDeploymentProvider(configure()) as provider:
        await cancelled_at(provider, configure("2.0.0-never-ready"), DeploymentStatus.PROGRESSING)
        state = await provider.get_status()
        assert (state["status"], state["version"]) == (DeploymentStatus.UNKNOWN, "1.0.0")
        assert (await provider.scale(1)).success
        assert (await provider.get_status())["version"] == "1.0.0"


async def test_a_rollout_that_was_left_gives_way_to_the_next(provider, configure):
    """The next deploy takes over where it stands."""
    await provider.deploy(configure())
    left = configure("2.0.0-never-ready", on_cancel="leave")
    await cancelled_at(provider, left, DeploymentStatus.PROGRESSING)
    result = await provider.deploy(configure("3.0.0"))
    assert result.success, result
    assert {item.version for item in (await provider.get_status())["instances"]} == {"3.0.0"}
    became = [release.status for release in await provider.history()]
    assert became == [DeploymentStatus.HEALTHY, DeploymentStatus.UNKNOWN, DeploymentStatus.HEALTHY]


async def test_a_rollout_that_was_left_still_fails_as_it_should(provider, configure):
    """Nobody waits for it, and it is undone all the same."""
    await provider.deploy(configure())
    left = configure("2.0.0-never-ready", on_cancel="leave", rollout_timeout_ms=1000)
    await cancelled_at(provider, left, DeploymentStatus.PROGRESSING)

    async def healthy():
        return (await provider.get_status())["status"] == DeploymentStatus.HEALTHY

    await until(healthy)
    assert (await provider.get_status())["version"] == "1.0.0"


# Later.


async def test_a_replica_that_dies_is_started_anew(provider, configure):
    """By itself, in the same place."""
    await provider.deploy(configure(replicas=1))
    before = (await provider.get_status())["instances"][0]
    os.kill(before.pid, signal.SIGKILL)

    async def again():
        state = await provider.get_status()
        return state["status"] == DeploymentStatus.HEALTHY and state["instances"][0].pid != before.pid

    await until(again)
    after = (await provider.get_status())["instances"][0]
    assert (after.name, after.restarts) == (before.name, 1)


async def test_what_crashes_is_tried_for_ever(provider, configure, tmp_path):
    """A failed deployment is healthy as soon as what it lacked is there."""
    gate = tmp_path / "gate"
    assert (await provider.deploy(configure(command=gated(gate)))).status == DeploymentStatus.FAILED
    state = await provider.get_status()
    assert "CrashLoop" in {item.reason for item in state["instances"]}
    assert (await provider.health_check())["status"] == "unhealthy"
    gate.touch()

    async def healthy():
        return (await provider.get_status())["status"] == DeploymentStatus.HEALTHY

    await until(healthy)


async def test_readiness_lost_and_regained(provider, configure, tmp_path):
    """One that is not ready any longer makes the deployment degraded, as long as it lasts."""
    gate = tmp_path / "gate-0"
    gate.touch()
    lost = f"os.environ['AIOPROVIDERS_REPLICA'] == '0' and not os.path.exists({str(gate)!r})"
    command = [sys.executable, "-ISc", f"import os, sys; sys.exit({lost})"]
    probe = {"kind": "exec", "command": command, "period_ms": 20, "failure_threshold": 1}
    assert (await provider.deploy(configure(readiness_probe=probe))).success

    def has(status):
        async def look():
            return (await provider.get_status())["status"] == status

        return look

    gate.unlink()
    await until(has(DeploymentStatus.DEGRADED))
    assert (await provider.health_check())["status"] == "degraded"
    gate.touch()
    await until(has(DeploymentStatus.HEALTHY))


@pytest.mark.parametrize("stubborn", [False, True])
async def test_nothing_outlives_the_provider(configure, free_port, stubborn):
    """Cleanup ends all processes and what they have started, also those that ignore SIGTERM."""
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if stubborn else ""
    code = f"import subprocess\n{ignore}\nsubprocess.Popen(['sleep', '1000'])\nwhile True: signal.pause()"
    config = configure(command=python(code), stop_timeout_ms=100)
    async with owned(ProcessDeploymentProvider(config)) as provider:
        await provider.deploy(config)
        running = pids(await provider.get_status())
        assert len(running) == 2
    await until_gone(running)
    assert not listens(free_port)
