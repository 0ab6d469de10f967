"""No process outlives its supervisor."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
from replicas import alive, until_gone

from aioproviders.deployment.process.guardian import Guardian

SUPERVISOR = """
import os, sys
from pathlib import Path
import anyio
sys.path[:0] = [{folder!r}]
from replicas import first_line, workshop
from aioproviders.deployment import Probe

async def main():
    async with workshop(Path({tmp!r}), {port}) as shop:
        replica = shop.replica({argv!r}, readiness={probe})
        async with shop.running(replica, ready=False):
            line = await first_line(replica)
            print(os.getpid(), replica.pid, shop.guardian.pid, line, flush=True)
            await anyio.sleep_forever()

anyio.run(main)
"""


def child(command, **options):
    """Start a process that is not the loop's."""
    return subprocess.Popen(command, **options)


def supervisor_of(folder, port, argv, probe=None):
    """Return the code of a supervisor of one replica; it prints its first line, after the processes' ids."""
    here = str(Path(__file__).parent)
    return SUPERVISOR.format(folder=here, tmp=str(folder), port=port, argv=argv, probe=probe)


async def test_kill_9_of_the_supervisor_leaves_no_orphan(tmp_path, free_port):
    """Neither the replica nor what it has started goes on, nor does the guardian."""
    argv = ("sh", "-c", "trap '' TERM HUP; sleep 600 & echo $!; wait")
    code = supervisor_of(tmp_path, free_port, argv)
    with child([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        line = await anyio.to_thread.run_sync(process.stdout.readline)
        supervisor, *others = map(int, line.split())
        assert supervisor == process.pid
        assert all(map(alive, others))
        process.kill()
    for pid in others:
        await until_gone(pid)


async def test_kill_9_of_the_supervisor_ends_a_probe(tmp_path, free_port):
    """A command that was just being asked does not go on either."""
    told = tmp_path / "pid"
    argv = ("sh", "-c", f"until test -s {told}; do sleep 0.01; done; cat {told}; exec sleep 600")
    command = ("sh", "-c", f"echo $$ > {told}; exec sleep 600")
    probe = f"Probe(kind='exec', command={command!r}, timeout_ms=600_000)"
    code = supervisor_of(tmp_path, free_port, argv, probe)
    with child([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        line = await anyio.to_thread.run_sync(process.stdout.readline)
        asked = int(line.split()[-1])
        assert alive(asked)
        process.kill()
    await until_gone(asked)


async def test_a_guardian_that_dies_is_started_anew():
    """And is told of the groups in its care."""
    guardian = Guardian()
    with child(["sleep", "600"], start_new_session=True) as process:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(guardian.keep)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(10):
                while guardian.pid is None:  # noqa: ASYNC110 - nothing tells of it
                    await anyio.sleep(0.01)
            first = guardian.pid
            guardian.add(process.pid)
            os.kill(first, signal.SIGKILL)
            with anyio.fail_after(10):
                while guardian.pid in (None, first):  # noqa: ASYNC110 - likewise
                    await anyio.sleep(0.01)
            task_group.cancel_scope.cancel()
        assert process.poll() is None
        await guardian.stop()
        assert await anyio.to_thread.run_sync(process.wait) == -signal.SIGKILL


async def test_what_has_ended_is_left_alone():
    """A group that was taken out of its care is not killed."""
    guardian = Guardian()
    with child(["sleep", "600"], start_new_session=True) as process:
        await guardian.start()
        await guardian.start()
        guardian.add(process.pid)
        guardian.remove(process.pid)
        await guardian.stop()
        assert guardian.pid is None
        assert process.poll() is None
        process.kill()


def children():
    """Return the ids of the processes that this one has started."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def descriptors():
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_one_guardian_is_enough():
    """Asked to start from several sides at once, there is one, and none is left after the end."""
    before = children(), descriptors()
    guardian = Guardian()
    async with anyio.create_task_group() as task_group:
        for _ in range(3):
            task_group.start_soon(guardian.start)
    assert children() - before[0] == {guardian.pid}
    await guardian.stop()
    assert (children(), descriptors()) == before
