"""One replica, with real processes: started, ready, drained, ended, and nothing left of it."""

import json
import os
import re
import signal

import anyio
import anyio.lowlevel
import pytest
from replicas import alive, descriptors, first_line, python, request, until_gone, versioned, workshop

from aioproviders.deployment import Probe
from aioproviders.deployment.process.config import ProcessLimits

NOTIFY = Probe(kind="notify")
SHOW = "import json, os, sys; print(json.dumps({0}), flush=True)"


def shown(replica):
    """Return what a replica has printed as JSON."""
    return json.loads(replica.output.tail(1)[0].text)


async def test_it_serves_on_the_socket_it_is_handed(tmp_path, free_port):
    """Ready when it says so; at SIGTERM it ends by itself, with what it returns."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(versioned("1.0"), readiness=NOTIFY)
        async with shop.running(replica):
            assert await request(free_port) == "1.0"
            assert replica.instance().ready
            assert replica.instance().pid == replica.pid
    assert (replica.exit_code, replica.reason, replica.message) == (0, "Exited", "exit code 0")
    assert not alive(replica.pid)
    assert [phase for phase, _ in shop.changes] == ["starting", "ready", "stopping", "ended"]
    assert replica.instance().pid is None


async def test_an_http_probe_reaches_this_very_replica(tmp_path, free_port):
    """It gets one more socket, which the probe asks and nobody else."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(versioned("1.0"), readiness=Probe(period_ms=20))
        async with shop.running(replica):
            host, port = replica._sockets.address_of("http")
            assert (host, port) != ("127.0.0.1", free_port)
            assert await request(port) == "1.0"
        assert replica.endpoints == ()


async def test_descriptors_and_variables(tmp_path, free_port, monkeypatch):
    """It has the sockets from 3 on, what tells of them (sd_listen_fds(3)), its own variables, no more."""
    monkeypatch.setenv("OURS", "not theirs")
    code = SHOW.format(
        "{'fds': sorted(map(int, os.listdir('/proc/self/fd')))[:-1], 'pid': os.getpid(),"
        " 'env': dict(os.environ),"
        " 'directory': os.getcwd(), 'group': os.getpgrp(), 'session': os.getsid(0)}"
    )
    async with workshop(tmp_path, free_port) as shop:
        env = {"PATH": os.environ["PATH"], "MODE": "fast", "LC_ALL": "C.UTF-8"}
        replica = shop.replica(python(code), readiness=Probe(), env=env, directory=tmp_path)
        await replica.run()
        replica.output.close()
    found = shown(replica)
    assert found["fds"] == [0, 1, 2, 3, 4]
    assert found["pid"] == found["group"] == found["session"] == replica.pid
    assert found["directory"] == str(tmp_path)
    assert found["env"] == {
        **env,
        "PORT": str(free_port),
        "PORT_HTTP": str(free_port),
        "LISTEN_FDS": "2",
        "LISTEN_FDNAMES": "http:http.probe",
        "LISTEN_PID": str(replica.pid),
    }


async def test_limits(tmp_path, free_port):
    """Memory and open files are limited in the process itself."""
    code = SHOW.format(
        "[__import__('resource').getrlimit(getattr(__import__('resource'), name))[0]"
        " for name in ('RLIMIT_AS', 'RLIMIT_NOFILE')]"
    )
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(python(code), limits=ProcessLimits(memory_mib=256, open_files=64))
        await replica.run()
        replica.output.close()
    assert shown(replica) == [256 * 1024 * 1024, 64]


async def test_signals_are_as_usual(tmp_path, free_port):
    """No signal is ignored or blocked in the program."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(("sh", "-c", "cat /proc/self/status"))
        await replica.run()
        replica.output.close()
    status = "\n".join(line.text for line in replica.output.tail(100))
    for field in ("SigIgn", "SigBlk"):
        found = int(re.search(rf"{field}:\s*(\w+)", status)[1], 16)
        # Two signals are the C library's own: programs can't set them, and posix_spawn leaves one ignored.
        assert not {number for number in signal.valid_signals() if found >> (number - 1) & 1}


@pytest.mark.parametrize(
    ("argv", "launch", "told"),
    [
        (["no-such-program"], {}, "no-such-program: No such file or directory"),
        ([os.devnull], {}, "Permission denied"),
        (["sh"], {"directory": "/no/such/folder"}, "working_directory /no/such/folder: No such file"),
    ],
)
async def test_what_can_not_be_started(tmp_path, free_port, argv, launch, told):
    """It says why, in a line, and there was no process of it."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(argv, **launch)
        await replica.run()
    assert replica.reason == "StartFailed"
    assert told in replica.message
    assert (replica.pid, replica.exit_code) == (None, None)


async def test_what_ignores_sigterm_is_killed(tmp_path, free_port):
    """After the time it may take, and all of its process group with it."""
    code = (
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); pid = os.fork();"
        " pid and print(pid, flush=True); time.sleep(600)"
    )
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(python(code), stop_timeout=0.2)
        async with shop.running(replica):
            child = int(await first_line(replica))
    assert replica.exit_code == -9
    assert replica.reason == "StopTimeout"
    assert "0.2 s after SIGTERM" in replica.message
    await until_gone(child)


async def test_what_somebody_else_ends(tmp_path, free_port):
    """It is told by which signal; only SIGKILL kills."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(("sh", "-c", "kill -TERM $$"))
        await replica.run()
        replica.output.close()
    assert (replica.exit_code, replica.reason, replica.message) == (-15, "Signaled", "ended by SIGTERM")


async def test_children_that_are_left_behind_are_killed(tmp_path, free_port):
    """When the process ends by itself nothing of its group goes on."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(("sh", "-c", "sleep 600 & echo $!; exit 3"))
        await replica.run()
        replica.output.close()
    assert (replica.exit_code, replica.message) == (3, "exit code 3")
    await until_gone(int(replica.output.tail(1)[0].text))


@pytest.mark.parametrize("seconds", [0, 0.01, 0.03, 0.06, 0.1, 0.3])
async def test_cancellation_leaves_nothing(tmp_path, free_port, seconds):
    """Whenever it comes: no process, no descriptor."""
    async with workshop(tmp_path, free_port) as shop:
        before = descriptors()
        replica = shop.replica(versioned("1.0-never-ready"), readiness=NOTIFY)
        with anyio.move_on_after(seconds):
            await replica.run()
        assert replica.phase == "ended"
        replica.output.close()
        assert descriptors() == before
    assert replica.pid is None or not alive(replica.pid)


async def test_kill_is_at_once(tmp_path, free_port):
    """Killed by the supervisor, it doesn't get to drain."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(versioned("1.0"), readiness=NOTIFY)
        async with shop.running(replica):
            replica.kill()
            await shop.until(lambda: replica.phase == "ended")
    assert (replica.exit_code, replica.reason, replica.message) == (-9, "Killed", "ended by SIGKILL")


async def test_kill_while_it_is_started(tmp_path, free_port):
    """It doesn't get to drain either."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(("sh", "-c", "trap '' TERM; sleep 600"))
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(replica.run)
            with anyio.fail_after(10):
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
                assert replica.pid is None
                replica.kill()
                await shop.until(lambda: replica.phase == "ended")
        replica.output.close()
    assert replica.reason != "StopTimeout"


async def test_readiness_is_lost_and_regained(tmp_path, free_port):
    """By the thresholds of its probe."""
    flag = tmp_path / "ready"
    probe = Probe(kind="exec", command=("test", "-e", str(flag)), period_ms=10, failure_threshold=2)
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(("sleep", "600"), readiness=probe)
        async with shop.running(replica, ready=False):
            await shop.until(lambda: replica.reason == "ProbeFailed")
            assert replica.phase == "starting"
            flag.touch()
            await shop.until(lambda: replica.phase == "ready")
            flag.unlink()
            await shop.until(lambda: replica.phase == "unready")
            assert replica.message == "test: exit code 1"
            assert replica.ready_since is None
            flag.touch()
            await shop.until(lambda: replica.phase == "ready")
            assert replica.reason is None


async def test_what_is_not_alive_is_ended(tmp_path, free_port):
    """A liveness probe that fails ends the replica, once its startup probe has let it begin."""
    started, dead = tmp_path / "started", tmp_path / "dead"
    startup = Probe(kind="exec", command=("test", "-e", str(started)), period_ms=10, failure_threshold=1000)
    liveness = Probe(kind="exec", command=("test", "!", "-e", str(dead)), period_ms=10, failure_threshold=1)
    dead.touch()
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(("sleep", "600"), startup=startup, liveness=liveness)
        async with shop.running(replica, ready=False):
            assert not replica.ready_since
            dead.unlink()
            started.touch()
            await shop.until(lambda: replica.phase == "ready")
            dead.touch()
            await shop.until(lambda: replica.phase == "ended")
    assert (replica.reason, replica.message) == ("LivenessFailed", "test: exit code 1")


async def test_a_startup_that_fails_ends_it(tmp_path, free_port):
    """A startup probe that has failed too often ends the replica."""
    async with workshop(tmp_path, free_port) as shop:
        startup = Probe(kind="exec", command=("false",), period_ms=10)
        replica = shop.replica(("sleep", "600"), startup=startup)
        with anyio.fail_after(10):
            await replica.run()
    assert (replica.reason, replica.message) == ("LivenessFailed", "false: exit code 1")


async def test_what_it_says_of_itself(tmp_path, free_port):
    """A status by sd_notify(3) is shown until it is ready."""
    code = (
        "import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM);"
        " s.sendto(b'STATUS=warming up\\nX', os.environ['NOTIFY_SOCKET'].replace('@', chr(0)));"
        " time.sleep(600)"
    )
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(python(code), startup=NOTIFY)
        async with shop.running(replica, ready=False):
            await shop.until(lambda: replica.message == "warming up")
            assert not replica.instance().ready


async def test_ports_of_its_own(tmp_path, free_port):
    """With a port for each replica it is told which, and so is who asks for its endpoints."""
    async with workshop(tmp_path, free_port, "per_replica") as shop:
        one = shop.replica(versioned("1.0"), readiness=Probe(kind="tcp", period_ms=20))
        two = shop.replica(versioned("2.0"), readiness=Probe(period_ms=20))
        async with shop.running(one), shop.running(two):
            served = [await request(int(item.endpoints[0].partition(":")[2])) for item in (one, two)]
            assert one.instance().address == one.endpoints[0]
    assert served == ["1.0", "2.0"]
