"""What goes wrong in a task that a registry runs beside its callers stays with whom it concerns."""

import anyio
import pytest
import structlog
from registry_doubles import double, filled

from aioproviders import HealthStatus, ProviderStateError
from aioproviders.registry.jobs import Jobs
from aioproviders.registry.sweep import Sweep


def broken(name="broken"):
    """A provider that breaks the promise of never raising from a health check."""
    provider = double(name)

    async def health_check():
        await anyio.lowlevel.checkpoint()
        raise KeyError(name)

    provider.health_check = health_check
    return provider


async def test_what_a_job_raises_is_kept_and_harms_no_other():
    """The task group goes on."""

    async def fail():
        await anyio.lowlevel.checkpoint()
        raise KeyError("x")

    async with anyio.create_task_group() as task_group:
        jobs = Jobs(task_group)
        other, failing = jobs.start(anyio.sleep_forever), jobs.start(fail)
        await failing.over.wait()
        assert isinstance(failing.error, KeyError)
        assert not other.over.is_set()
        jobs.end()
        await other.over.wait()
        assert other.error is None
        with pytest.raises(ProviderStateError, match="the registry is closed"):
            jobs.start(fail)


async def test_a_sweep_that_breaks_fails_for_its_caller_alone():
    """The error comes out of the sweep, or of the iteration, and the registry stays open."""
    async with filled(double("a"), broken()) as registry:
        with pytest.RaisesGroup(KeyError):
            await registry.sweep()
        with pytest.RaisesGroup(KeyError):
            _ = [item async for item in registry.iter_health()]
        assert (await registry.sweep(only="a")).ok


async def test_a_monitors_sweep_that_breaks_is_logged_and_the_next_one_comes():
    """Nobody waits for that one, so the log is where it shows."""
    capture = structlog.testing.LogCapture()
    structlog.configure(processors=[capture])
    provider = broken()
    try:
        async with filled(provider) as registry, registry.monitor(interval=0.005, deadline=5) as monitor:
            with anyio.fail_after(5):
                while not any(entry["event"] == "monitor.sweep_failed" for entry in capture.entries):  # noqa: ASYNC110 - a log has no event
                    await anyio.sleep(0.001)
                del provider.health_check
                assert (await monitor.health("broken"))["status"] is HealthStatus.HEALTHY
    finally:
        structlog.reset_defaults()
    entry = next(entry for entry in capture.entries if entry["event"] == "monitor.sweep_failed")
    assert (entry["providers"], entry["log_level"]) == (["broken"], "error")


async def test_a_sweep_leaves_out_who_is_gone():
    """A name that was removed before the sweep began is no part of it."""
    a, b = double("a"), double("b", depends_on=["a", "gone"])
    sweep = Sweep({"a": a, "b": b}, ["gone", "a", "b"])
    await sweep.conduct(None)
    assert list(sweep.report().checks) == ["a", "b"]
    await a.cleanup()
    await b.cleanup()


async def test_an_iteration_that_begins_after_the_end_is_refused():
    """It says that the registry is closed, and leaves nothing behind."""
    async with filled(double("a")) as registry:
        checks = registry.iter_health()
    with pytest.raises(ProviderStateError, match="the registry is closed"):
        await anext(checks)
