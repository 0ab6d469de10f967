"""What must not end a supervisor, and with it all that it runs; and what it must not leave behind."""

import asyncio
import errno
import os
import resource
import signal
import socket
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from process_deployments import alive, listens, python, until
from structlog.testing import capture_logs

from aioproviders.deployment import DeploymentStatus, Probe
from aioproviders.deployment.process import ProcessDeploymentProvider, folder, probes
from aioproviders.deployment.process.environment import prepare
from aioproviders.deployment.process.groups import reap_group
from aioproviders.deployment.process.journal import Journal
from aioproviders.deployment.process.remote import RemoteSupervisor
from aioproviders.deployment.process.sockets import Sockets
from aioproviders.deployment.process.wire import control_address

SECRETS = {f"TOKEN_{index}": {"secret": f"geheim-{index:02}-7f3a9c"} for index in range(20)}
TELL_SECRETS = python(
    first="for name in sorted(os.environ): print(name, os.environ[name], file=sys.stderr, flush=True)"
)


@pytest.fixture
async def deployed(provider, configure):
    """A provider with 1.0.0 deployed."""
    (await provider.deploy(configure())).raise_for_error()
    return provider


@contextmanager
def no_descriptors_left():
    """While it holds this process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    fillers = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
    try:
        while True:
            try:
                fillers.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)


async def runs_on(provider, pids):
    """Whether the same processes run, and others may ask about them."""
    found = await RemoteSupervisor.find(provider.config)
    state = await found.get_status()
    return state["status"] == DeploymentStatus.HEALTHY and {each.pid for each in state["instances"]} == pids


async def pids_of(provider):
    return {instance.pid for instance in (await provider.get_status())["instances"]}


# What it survives.


async def test_a_want_of_descriptors(deployed):
    """Who asks meanwhile is not let in; what runs runs on, and the next one is answered."""
    pids = await pids_of(deployed)
    asking = socket.socket(socket.AF_UNIX)
    asking.setblocking(False)
    with asking, control_address(deployed.config.directory) as address, no_descriptors_left():
        asking.connect(address)
        for _ in range(5):
            await anyio.sleep(0.02)
    assert await runs_on(deployed, pids)


async def test_a_guardian_that_dies_when_nothing_can_be_opened(deployed):
    """Another is started as soon as that can be."""
    pids, guardian = await pids_of(deployed), deployed._supervisor._guardian
    first = guardian.pid
    with no_descriptors_left():
        os.kill(first, signal.SIGKILL)

        async def noticed():
            return guardian.pid is None

        await until(noticed)
        await anyio.sleep(0.2)

    async def again():
        return guardian.pid not in (None, first)

    await until(again)
    assert await runs_on(deployed, pids)


async def test_what_nests_too_deep(deployed):
    """It is no question, and nothing went wrong."""
    pids = await pids_of(deployed)
    with control_address(deployed.config.directory) as address:
        stream = await anyio.connect_unix(address)
    with capture_logs() as logged:
        async with stream:
            await stream.send(b"[" * 200_000 + b"\n")
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
    assert await runs_on(deployed, pids)
    assert not [entry for entry in logged if entry["event"] == "supervisor.conversation_failed"]


async def test_a_probe_that_cannot_be_asked(configure):
    """Whatever is the matter with it, it is an answer like others."""
    odd = Probe(kind="exec", command=["true"]).model_copy(update={"command": ("a\0b",)})
    config = configure(ports=[])
    launch, own = prepare(config, "shop-1-0", 0, 1, Sockets.bind("127.0.0.1", [], "inherit"))
    own.close()
    assert await probes.ask(odd, launch, None) == "a\0b: ValueError: embedded null byte"


async def test_a_replica_that_cannot_be_run(deployed, configure, monkeypatch):
    """It fails as a replica, and its rollout with it: the others go on."""
    pids = await pids_of(deployed)

    async def start(*_):
        raise ExceptionGroup("several", [LookupError("unheard of")])

    monkeypatch.setattr("aioproviders.deployment.process.replica.start", start)
    result = await deployed.deploy(configure("2.0.0"))
    assert result.status == DeploymentStatus.ROLLED_BACK, result
    assert "unheard of" in "".join(result.diagnosis.events) or "several" in "".join(result.diagnosis.events)
    assert await runs_on(deployed, pids)


async def test_a_process_of_another_user(provider, configure, monkeypatch):
    """One that may not be told to end is killed when its time is over, if it may be killed."""
    kill = os.kill

    def refused(pid, number):
        if number == signal.SIGTERM:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        kill(pid, number)

    (await provider.deploy(configure(stop_timeout_ms=50))).raise_for_error()
    pids = await pids_of(provider)
    monkeypatch.setattr("aioproviders.deployment.process.replica.os.kill", refused)
    members = list(provider._supervisor._controller.members)
    result = await provider.scale(1)
    assert result.success, result
    assert any("StopTimeout" in event for member in members for event in member.events)
    [kept] = await pids_of(provider)
    assert [pid for pid in pids if alive(pid)] == [kept]


async def test_a_process_that_cannot_be_killed(deployed, configure, monkeypatch):
    """It is not waited for without end."""
    stubborn = configure(
        "2.0.0", command=python(first="signal.signal(signal.SIGTERM, signal.SIG_IGN)"), stop_timeout_ms=50
    )
    (await deployed.deploy(stubborn)).raise_for_error()
    monkeypatch.setattr("aioproviders.deployment.process.replica._PATIENCE", 0.05)
    monkeypatch.setattr("aioproviders.deployment.process.replica.kill_group", lambda _: None)
    result = await deployed.scale(0)
    assert result.success, result


async def test_a_command_that_leaves_something_behind(configure):
    """A probe has ended when its command has, whatever still holds its output open."""
    code = "import os, time\nif not os.fork():\n os.setsid()\n time.sleep(60)"
    config = configure(ports=[])
    launch, own = prepare(config, "shop-1-0", 0, 1, Sockets.bind("127.0.0.1", [], "inherit"))
    own.close()
    probe = Probe(kind="exec", command=[sys.executable, "-ISc", code], timeout_ms=20_000)
    assert await probes.ask(probe, launch, None) is None


# What it does not disturb.


async def test_what_is_refused_leaves_a_rollout_alone(deployed, configure):
    """One that was left to itself goes on, and is undone where it fails."""
    bad = configure("2.0.0-never-ready", on_cancel="leave", rollout_timeout_ms=1500)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(deployed.deploy, bad)

        async def updating():
            return (await deployed.get_status())["version"] == "2.0.0-never-ready"

        await until(updating)
        task_group.cancel_scope.cancel()
    events = []
    async with anyio.create_task_group() as task_group:

        async def watch():
            events.extend([event async for event in deployed.watch_rollout()])

        task_group.start_soon(watch)
        assert (await deployed.rollback("no-such")).error_detail.code == "not_found"
        taken = socket.create_server(("127.0.0.1", 0))
        with taken:
            other = configure("3.0.0", ports=[{"port": taken.getsockname()[1]}])
            assert (await deployed.deploy(other)).error_detail.code == "conflict"
    assert (events[-1].kind, events[-1].status) == ("finished", DeploymentStatus.ROLLED_BACK)
    state = await deployed.get_status()
    assert (state["status"], state["version"]) == (DeploymentStatus.HEALTHY, "1.0.0")


async def test_who_scales_says_what_a_cancellation_means(provider, configure):
    """Not the deploy before: that may have been another's."""
    (await provider.deploy(configure("1.0.0-slow", on_cancel="leave"))).raise_for_error()
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(provider.scale, 4)

        async def scaling():
            return len((await provider.get_status())["instances"]) == 4

        await until(scaling)
        task_group.cancel_scope.cancel()
    state = await provider.get_status()
    assert (state["status"], state["replicas"].desired) == (DeploymentStatus.HEALTHY, 2)


async def test_a_deploy_that_can_not_be_written_down_listens_nowhere(
    deployed, configure, monkeypatch, other_port
):
    """What was bound for it is closed."""

    async def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "release", full)
    result = await deployed.deploy(configure("2.0.0", ports=[{"port": other_port}]))
    assert not result.success
    assert not listens(other_port)
    assert listens(deployed.config.ports[0].port)


async def test_secrets_that_who_asks_does_not_know(deployed, configure):
    """Lines of output are masked where they come from, however many secrets there are."""
    (await deployed.deploy(configure("2.0.0", env=SECRETS, command=TELL_SECRETS))).raise_for_error()
    async with ProcessDeploymentProvider(configure()) as asking:
        for provider in (deployed, asking):
            lines = [line.text async for line in provider.logs()]
            assert "TOKEN_19 **********" in lines
            assert not [line for line in lines if "geheim" in line]


async def test_a_port_that_is_none_of_its_ports(provider, configure, other_port):
    """The program sees to it itself: a probe asks there."""
    code = (
        "import http.server\n"
        f"http.server.HTTPServer(('127.0.0.1', {other_port}), http.server.SimpleHTTPRequestHandler)"
        ".serve_forever()"
    )
    probe = {"kind": "http", "port": other_port, "period_ms": 50, "failure_threshold": 100}
    config = configure(replicas=1, command=[sys.executable, "-c", code], readiness_probe=probe)
    result = await provider.deploy(config)
    assert result.success, result


# How it begins and ends.


async def test_a_cancellation_while_the_lock_is_taken(configure, monkeypatch):
    """The lock is nobody's then, also where asyncio itself cancels."""
    taking, may_go_on = threading.Event(), threading.Event()

    def slowly(directory):
        taking.set()
        may_go_on.wait()
        return take_lock(directory)

    take_lock = folder.take_lock
    monkeypatch.setattr(folder, "take_lock", slowly)
    config = configure()
    async with ProcessDeploymentProvider(config) as provider:
        deploy = asyncio.create_task(provider.deploy(config))
        await asyncio.to_thread(taking.wait)
        deploy.cancel()
        await anyio.lowlevel.checkpoint()
        may_go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await deploy
        assert not folder.is_locked(config.directory)
        assert (await provider.deploy(config)).success


async def test_a_supervisor_that_was_stopped(deployed, configure):
    """Who asks it is told, in its own time; what it was asked can be cancelled."""
    with control_address(deployed.config.directory) as address:
        await deployed._supervisor.close()
        listener = await anyio.create_unix_listener(address)  # lets in, and never answers
    async with listener:
        config = configure(timeout_ms=500)
        async with ProcessDeploymentProvider(config) as asking:
            with pytest.raises(Exception, match=r"has not answered within 0\.4 s.*Ctrl-Z"):
                await asking.get_status()


def test_what_has_ended_in_a_group_is_taken_out_of_the_table():
    """As far as this process is its parent."""
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.setpgid(pid, pid)
    until_zombie = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until_zombie
    reap_group(pid)
    assert not Path(f"/proc/{pid}").exists()
    reap_group(pid)
