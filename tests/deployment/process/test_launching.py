"""What a program is started with, and what is left of a start that failed."""

import json
import os
import stat

import anyio
import pytest
from replicas import alive, python, until_gone, workshop

SHOW = "import json, os; print(json.dumps({0}), flush=True)"
DESCRIPTORS = SHOW.format("sorted(map(int, os.listdir('/proc/self/fd')))[:-1]")


def shown(replica):
    """Return what a replica has printed as JSON."""
    return json.loads(replica.output.tail(1)[0].text)


@pytest.fixture
def many_descriptors():
    """Let this process hold so many that the next ones have high numbers."""
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(260)]
    yield
    for number in held:
        os.close(number)


async def test_a_supervisor_with_many_descriptors(tmp_path, free_port, many_descriptors):
    """A program has its sockets and no other descriptor, whatever numbers those have in the supervisor."""
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica(python(DESCRIPTORS))
        with anyio.fail_after(20):
            await replica.run()
        replica.output.close()
    assert shown(replica) == [0, 1, 2, 3]


async def test_a_start_does_not_wait_for_the_end(tmp_path, free_port, many_descriptors):
    """A program that goes on is ready, also in a supervisor with many descriptors."""
    async with workshop(tmp_path, free_port) as shop:
        async with shop.running(shop.replica(("sleep", "600"))) as replica:
            assert replica.phase == "ready"
        assert replica.phase == "ended"


async def test_what_the_supervisor_was_given_is_not_passed_on(tmp_path, free_port):
    """Its variables of sd_listen_fds(3) and sd_notify(3) are for itself, and would mislead a program."""
    async with workshop(tmp_path, free_port) as shop:
        env = {"NOTIFY_SOCKET": "/run/theirs", "LISTEN_FDS": "7", "LISTEN_PID": "1", "LISTEN_FDNAMES": "a:b"}
        replica = shop.replica(python(SHOW.format("dict(os.environ)")), env=env)
        await replica.run()
        replica.output.close()
    found = shown(replica)
    assert "NOTIFY_SOCKET" not in found
    assert (found["LISTEN_FDS"], found["LISTEN_FDNAMES"]) == ("1", "http")
    assert found["LISTEN_PID"] == str(replica.pid)


@pytest.mark.parametrize(
    ("mode", "content", "told"),
    [
        (0o600, "#!/bin/sh\n", "Permission denied"),
        (0o700, "no program\n", "Exec format error"),
    ],
)
async def test_a_program_that_can_not_run_is_named(tmp_path, free_port, mode, content, told):
    """Whatever the kernel says against it, the program is named, and nothing of it is in the log."""
    program = tmp_path / "program"
    program.write_text(content)
    program.chmod(mode)
    assert stat.S_IMODE(program.stat().st_mode) == mode
    async with workshop(tmp_path, free_port) as shop:
        replica = shop.replica([str(program)])
        await replica.run()
        assert not shop.guardian._groups
    assert replica.message == f"can't be started: {program}: {told}"
    assert replica.output.tail(10) == []


async def test_the_guardian_knows_the_group_before_the_program_runs(tmp_path, free_port, monkeypatch):
    """Even if the supervisor is killed in the midst of a start, what the program has started ends."""
    async with workshop(tmp_path, free_port) as shop:
        known = []
        wait_readable = anyio.wait_readable

        async def waiting(told):
            known.extend(shop.guardian._groups)
            await wait_readable(told)

        monkeypatch.setattr(anyio, "wait_readable", waiting)
        replica = shop.replica(("true",))
        await replica.run()
        assert known == [replica.pid]
        assert not shop.guardian._groups


async def test_a_start_that_is_cancelled_late(tmp_path, free_port, monkeypatch):
    """Also where the program runs already, with children: all of its group is killed."""
    told_pid = tmp_path / "pid"
    async with workshop(tmp_path, free_port) as shop:
        with anyio.CancelScope() as scope:

            async def waiting(_):
                while not told_pid.exists() or not told_pid.read_text().endswith("\n"):  # noqa: ASYNC110
                    await anyio.sleep(0.01)
                scope.cancel()
                await anyio.sleep_forever()

            monkeypatch.setattr(anyio, "wait_readable", waiting)
            await shop.replica(("sh", "-c", f"sleep 600 & echo $! > {told_pid}; wait")).run()
        assert scope.cancelled_caught
        assert not shop.guardian._groups
    child = int(told_pid.read_text())
    await until_gone(child)
    assert not alive(child)
