"""One rollout at a time, told to all who watch."""

from contextlib import suppress

import anyio
import pytest

from aioproviders.deployment import DeploymentStatus
from aioproviders.deployment.rollouts import Rollouts
from aioproviders.errors import ConflictError


async def watched(rollouts, events, *, wait=False, task_status=anyio.TASK_STATUS_IGNORED):
    task_status.started()
    events.extend([event async for event in rollouts.watch(wait=wait)])


def test_one_at_a_time():
    """The second is told what is under way; after that the turn is free, however it ended."""
    rollouts = Rollouts()
    with suppress(OSError), rollouts.turn("rollout of 1.0", "1.0"):
        with pytest.raises(ConflictError, match=r"a rollout of 1\.0 is under way"), rollouts.turn("scaling"):
            raise AssertionError
        raise OSError
    assert rollouts.under_way is None
    with rollouts.turn("scaling"):
        assert rollouts.under_way == "scaling"


async def test_all_watchers_see_the_same():
    """Who waits sees all steps, who comes later the latest and what follows; none outlasts the rollout."""
    rollouts = Rollouts()
    early, late = [], []
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(lambda: watched(rollouts, early, wait=True))
        await anyio.wait_all_tasks_blocked()
        with rollouts.turn("rollout", "1.0"):
            await anyio.wait_all_tasks_blocked()
            rollouts.tell("started", DeploymentStatus.PROGRESSING, "it begins")
            rollouts.tell("progress", DeploymentStatus.PROGRESSING, "half")
            rollouts.tell("progress", DeploymentStatus.PROGRESSING, "half")
            task_group.start_soon(lambda: watched(rollouts, late))
            await anyio.wait_all_tasks_blocked()
            rollouts.tell("finished", DeploymentStatus.HEALTHY, "done")
    assert [event.message for event in early] == ["it begins", "half", "done"]
    assert [event.message for event in late] == ["half", "done"]
    assert {event.version for event in early} == {"1.0"}


async def test_a_watcher_that_leaves_is_no_hindrance():
    """The rollout goes on, for the others too."""
    rollouts = Rollouts()
    with rollouts.turn("rollout"):
        rollouts.tell("started", DeploymentStatus.PROGRESSING, "it begins")
        watching = rollouts.watch(wait=False)
        assert (await anext(watching)).message == "it begins"
        await watching.aclose()
        assert not rollouts._watchers
        rollouts.tell("finished", DeploymentStatus.HEALTHY, "done")


async def test_nothing_to_watch():
    """Without a rollout there are no steps."""
    assert [event async for event in Rollouts().watch(wait=False)] == []
