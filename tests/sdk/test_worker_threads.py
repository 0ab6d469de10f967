"""Worker threads: what becomes of results that nobody waits for."""

import threading
import time

import anyio
import pytest

from aioproviders.sdk.python.threads import WorkerThreads, _Job


def test_job_left_before_it_began_is_not_run():
    """A function whose caller left while it was queued for a thread never runs."""
    ran = []
    job = _Job(lambda: ran.append(1), None)
    assert job.leave() is False
    assert job.run() is None
    assert not ran


async def test_result_that_comes_with_the_cancellation_is_discarded():
    """Cancelled after the function has ended and before its result is in, the result is not lost."""
    threads = WorkerThreads(1, list)
    ended, discarded = threading.Event(), threading.Event()

    def work():
        ended.set()
        return "connection"

    async def use():
        await threads.run(work, discard=lambda result: discarded.set() if result == "connection" else None)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        while not threads.busy:
            await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        while not ended.is_set():
            await anyio.lowlevel.checkpoint()
        time.sleep(0.02)  # noqa: ASYNC251 - keeps the loop from seeing the result before the cancellation
        tasks.cancel_scope.cancel()
    assert await anyio.to_thread.run_sync(discarded.wait, 20)
    await threads.wait_for_abandoned()
    assert threads.busy == 0


@pytest.mark.filterwarnings("error")
async def test_coroutine_that_nobody_will_await_is_closed():
    """A coroutine returned too late is closed, so that Python does not complain of it."""
    threads = WorkerThreads(1, list)
    begun, gate = threading.Event(), threading.Event()
    made = []

    async def never():
        raise AssertionError

    def work():
        begun.set()
        gate.wait(20)
        made.append(never())
        return made[0]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, work)
        await anyio.to_thread.run_sync(begun.wait, 20)
        tasks.cancel_scope.cancel()
    assert (threads.busy, threads.abandoned) == (1, 1)
    gate.set()
    await threads.wait_for_abandoned()
    assert made[0].cr_frame is None
    assert threads.busy == 0


async def test_discarding_may_fail():
    """A failure to discard a result stays in the thread, and the place is given back."""
    threads = WorkerThreads(1, list)
    begun, gate = threading.Event(), threading.Event()

    def work():
        begun.set()
        return gate.wait(20)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: threads.run(work, discard=lambda _: 1 / 0))
        await anyio.to_thread.run_sync(begun.wait, 20)
        tasks.cancel_scope.cancel()
    gate.set()
    await threads.wait_for_abandoned()
    assert await threads.run(lambda: "next") == "next"


async def test_unqueued_work_needs_no_place():
    """What must run at once runs though all places are taken, and takes none when it is given up."""
    threads = WorkerThreads(1, list)
    begun, gate = threading.Event(), threading.Event()

    def work():
        begun.set()
        return gate.wait(20)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(threads.run, work)
        await anyio.to_thread.run_sync(begun.wait, 20)
        assert await threads.run(lambda: "at once", queue=False) == "at once"
        begun.clear()
        async with anyio.create_task_group() as inner:
            inner.start_soon(lambda: threads.run(work, queue=False))
            await anyio.to_thread.run_sync(begun.wait, 20)
            inner.cancel_scope.cancel()
        assert (threads.busy, threads.abandoned, threads.abandoned_total) == (1, 0, 1)
        gate.set()


def test_thread_that_outlives_its_loop_ends_quietly():
    """A call given up at the end of the program does no harm when its thread ends after the loop."""
    begun, gate = threading.Event(), threading.Event()
    ended = []

    def work():
        begun.set()
        gate.wait(20)
        ended.append(threading.current_thread())

    async def main():
        threads = WorkerThreads(1, list)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(threads.run, work)
            await anyio.to_thread.run_sync(begun.wait, 20)
            tasks.cancel_scope.cancel()

    before = set(threading.enumerate())
    anyio.run(main)
    gate.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert ended
    assert not ended[0].is_alive()
