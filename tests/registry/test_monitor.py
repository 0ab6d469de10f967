"""The monitor: periodic sweeps, thresholds, listeners, history, snapshots, and the cache of checks."""

import asyncio
import json
from contextlib import asynccontextmanager

import anyio
import pytest
import structlog
from registry_doubles import Double, cancel_everywhere, config, double, filled

from aioproviders import (
    ConfigurationError,
    HealthStatus,
    ProviderFactory,
    ProviderNotFoundError,
    ProviderRegistry,
    ProviderStateError,
)
from aioproviders.registry import HealthChange
from aioproviders.registry import monitor as monitor_module
from aioproviders.registry.listeners import Listener
from aioproviders.registry.tracks import Thresholds, Track

H, D, U, E, T, B, X, OFF = (
    HealthStatus(value)
    for value in ("healthy", "degraded", "unhealthy", "error", "timeout", "blocked", "unknown", "disabled")
)


@asynccontextmanager
async def watching(*providers, **arguments):
    """A registry of `providers` and a monitor of it that sweeps all the time, or once if told."""
    async with (
        filled(*providers) as registry,
        registry.monitor(**{"interval": 0.005, "deadline": 5, **arguments}) as monitor,
    ):
        yield registry, monitor


async def until(condition):
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - a condition of many kinds, without an event
            await anyio.sleep(0.001)


# Thresholds.


@pytest.mark.parametrize(
    ("failure", "recovery", "checks", "changes"),
    [
        (3, 1, [H], [(0, X, H)]),
        (3, 1, [E, E, E], [(2, X, E)]),
        (3, 1, [H, E, E, E, E], [(0, X, H), (3, H, E)]),
        (3, 1, [H, E, E, H, E, E, H], [(0, X, H)]),
        (3, 1, [H, E, T, B], [(0, X, H), (3, H, B)]),
        (1, 1, [H, E, H], [(0, X, H), (1, H, E), (2, E, H)]),
        (1, 3, [E, H, H, E, H, D, H], [(0, X, E), (6, E, H)]),
        (3, 1, [H, D, H], [(0, X, H), (1, H, D), (2, D, H)]),
        (2, 1, [E, E, T, E, T, T, T], [(1, X, E), (5, E, T)]),
        (2, 1, [H, OFF, H], [(0, X, H), (1, H, OFF), (2, OFF, H)]),
    ],
)
def test_the_public_state_changes_after_enough_checks_in_a_row(failure, recovery, checks, changes):
    """Flapping is no change; a change across the line counts the side, one on a side counts the status."""
    track = Track(Thresholds(failure, recovery), 100)
    seen = []
    for index, status in enumerate(checks):
        old = track.take({"status": status}, float(index))
        if old is not None:
            seen.append((index, old, track.status))
    assert seen == changes
    assert [check["status"] for check in track.history] == checks


def test_what_is_shown_agrees_with_the_public_state():
    """A single failure changes neither the state nor the check that stands for it."""
    track = Track(Thresholds(2, 1), 10)
    track.take({"status": H, "attempts": 1}, 1.0)
    track.take({"status": E, "error": "once"}, 2.0)
    assert (track.status, track.shown, track.last) == (
        H,
        {"status": H, "attempts": 1},
        {"status": E, "error": "once"},
    )
    track.take({"status": H, "attempts": 2}, 3.0)
    assert track.shown == {"status": H, "attempts": 2}


def test_the_history_is_bounded():
    """Only the last checks are kept."""
    track = Track(Thresholds(1, 1), 3)
    for number in range(10):
        track.take({"status": H, "attempts": number}, 0.0)
    assert [check["attempts"] for check in track.history] == [7, 8, 9]


# Watching.


async def test_sweeps_over_and_over_and_publishes_changes_once():
    """Listeners, plain and async, hear of each change once, with the check that made it."""
    a = double("a")
    seen, seen_too = [], []

    async def listen(change):
        seen_too.append(change)

    async with watching(a, failure_threshold=2) as (_, monitor):
        monitor.subscribe(seen.append)
        monitor.subscribe(listen)
        await until(lambda: a.probes >= 5)
        assert [(change.name, change.old, change.new) for change in seen] == [("a", X, H)]
        a.errors["health_check"] = ValueError("down")
        await until(lambda: len(seen) == 2)
        probes = a.probes
        await until(lambda: a.probes >= probes + 3)
        assert seen[1:] == [HealthChange("a", H, E, seen[1].check)]
        assert seen[1].check["error"] == "ValueError: down"
        assert seen_too == seen
        assert [check["status"] for check in monitor.history("a")][-3:] == [E] * 3


async def test_changes_are_logged():
    """Each change is one event: a warning when it is for the worse."""
    capture = structlog.testing.LogCapture()
    structlog.configure(processors=[capture])
    try:
        a = double("a")
        a.answer = {"status": "unhealthy", "error": "no disk"}
        async with watching(a, failure_threshold=1) as (_, monitor):
            await until(lambda: monitor.snapshot().checks["a"]["status"] is U)
    finally:
        structlog.reset_defaults()
    (event,) = [entry for entry in capture.entries if entry["event"] == "health.changed"]
    assert (event["provider"], event["old"], event["new"]) == ("a", "unknown", "unhealthy")
    assert (event["error"], event["log_level"]) == ("no disk", "warning")


async def test_a_listener_that_raises_or_hangs_harms_nobody():
    """Others hear of everything, and sweeps go on."""
    a = double("a")
    seen = []

    def broken(change):
        raise ValueError("broken listener")

    async def cancelling(change):
        raise asyncio.CancelledError

    async def hanging(change):
        await anyio.sleep_forever()

    async with watching(a, failure_threshold=1) as (_, monitor):
        for callback in (broken, cancelling, hanging, seen.append):
            monitor.subscribe(callback)
        await until(lambda: len(seen) == 1)
        a.answer = {"status": "unhealthy"}
        await until(lambda: len(seen) == 2)
        a.answer = {"status": "healthy"}
        await until(lambda: len(seen) == 3)
    assert [change.new for change in seen] == [H, U, H]


async def test_a_slow_listener_hears_of_everything_in_order():
    """Changes wait for it, one at a time."""
    a = double("a")
    seen, running = [], 0

    async def slow(change):
        nonlocal running
        running += 1
        assert running == 1
        await anyio.sleep(0.01)
        seen.append(change.new)
        running -= 1

    async with watching(a, failure_threshold=1) as (_, monitor):
        monitor.subscribe(slow)
        for count, status in enumerate(["healthy", "unhealthy", "degraded"], 1):
            a.answer = {"status": status}
            await until(lambda count=count: len(seen) >= count)
    assert seen == [H, U, D]


def test_a_queue_of_changes_is_bounded():
    """A listener that never comes back costs no more than a thousand changes."""
    listener = Listener(print, monitor_module.ProviderLogger("test"))
    for _ in range(1500):
        listener.tell(HealthChange("a", H, E, {"status": E}))
    assert len(listener._queue) == 1000


async def test_unsubscribed_listeners_hear_nothing_more():
    """Ending a subscription twice does no harm; one made before the monitor ran works as well."""
    a = double("a")
    early, late = [], []
    async with filled(a) as registry:
        monitor = registry.monitor(interval=0.005, failure_threshold=1)
        never = monitor.subscribe(late.append)
        never()
        monitor.subscribe(early.append)
        async with monitor:
            stop = monitor.subscribe(late.append)
            stop()
            stop()
            await until(lambda: early)
    assert late == []


async def test_sweeps_are_jittered_around_the_interval(monkeypatch):
    """The pauses are the interval, more or less the share that was drawn."""
    drawn = iter([-1.0, 1.0, 0.0])
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 3:
            await anyio.sleep_forever()

    a = double("a")
    async with filled(a) as registry:
        monkeypatch.setattr(monitor_module.random, "uniform", lambda low, high: next(drawn))
        monkeypatch.setattr(monitor_module.anyio, "sleep", sleep)
        async with registry.monitor(interval=100, jitter=0.2):
            while len(slept) < 3:
                await anyio.lowlevel.checkpoint()
        monkeypatch.undo()
    assert slept == [pytest.approx(n, abs=1) for n in (80, 120, 100)]
    assert a.probes == 3


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"interval": 0}, "interval should be"),
        ({"interval": "x"}, "interval should be a number of seconds above 0, not 'x'"),
        ({"deadline": "x"}, "deadline should be a number of seconds above 0, not 'x'"),
        ({"jitter": "x"}, "jitter should be from 0 to 1, not 'x'"),
        ({"history": "x"}, "history should be 1 or more, not 'x'"),
        ({"jitter": 1.5}, "jitter should be from 0 to 1"),
        ({"failure_threshold": 0}, "failure_threshold should be 1 or more"),
        ({"recovery_threshold": 0}, "recovery_threshold should be"),
        ({"history": 0}, "history should be"),
        ({"deadline": -1}, "deadline should be"),
        ({"max_concurrency": 0}, "max_concurrency should be"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, what):
    """A monitor that could not work is not made."""
    with pytest.raises(ConfigurationError, match=what):
        filled().monitor(**arguments)


async def test_a_monitor_runs_within_its_registry_once():
    """Before, after, or a second time, it says so; what it knows can still be read."""
    registry = filled(double("a"))
    monitor = registry.monitor(interval=0.005, deadline=5)
    with pytest.raises(ProviderStateError, match="the registry is new"):
        await monitor.__aenter__()
    with pytest.raises(ProviderStateError, match="the monitor is not running"):
        await monitor.health("a")
    async with registry:
        async with monitor:
            await monitor.report()
            with pytest.raises(ProviderStateError, match="entered once"):
                await monitor.__aenter__()
        with pytest.raises(ProviderStateError, match="the monitor is not running"):
            await monitor.report()
    assert monitor.snapshot().checks["a"]["status"] is H
    assert len(monitor.history("a")) >= 1


async def test_the_bodys_exception_leaves_unwrapped_and_nothing_stays():
    """A failure in the block comes out as it is, and the monitor's tasks are gone."""
    async with filled(double("a")) as registry:
        before = asyncio.all_tasks()
        with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tested
            async with registry.monitor() as monitor:
                monitor.subscribe(print)
                raise KeyError("body")
        assert asyncio.all_tasks() == before


@pytest.mark.parametrize("native", [True, False])
async def test_cancellation_at_any_point_of_watching_leaves_nothing(native):
    """Wherever a program with a monitor is cancelled, no task and no resource is left."""
    made = []

    async def life():
        made.append(double("a"))
        async with filled(made[-1]) as registry, registry.monitor(interval=0.001) as monitor:
            monitor.subscribe(lambda change: None)
            await monitor.health("a")
            await monitor.report(max_age=0)

    def check():
        assert not made or made[-1].held == 0

    assert await cancel_everywhere(life, check, native=native) > 10


# Reading.


async def test_a_snapshot_is_a_plain_read_that_never_changes():
    """Before the first check all is unknown; an older snapshot stays as it was."""
    a = double("a")
    a.gates["health_check"] = anyio.Event()
    async with watching(a, failure_threshold=1) as (_, monitor):
        first = monitor.snapshot()
        assert (first.status, first.checks["a"]["status"]) == (X, X)
        assert monitor.snapshot() is first
        a.gates.pop("health_check").set()
        await until(lambda: monitor.snapshot().status is H)
        second = monitor.snapshot()
        a.answer = {"status": "unhealthy"}
        await until(lambda: monitor.snapshot().status is U)
        assert (first.status, second.status) == (X, H)
        assert second.checks["a"]["status"] is H


async def test_a_thousand_readers_make_one_probe():
    """With nothing known yet they all wait for the same check, the monitor's own included."""
    a = double("a")
    a.gates["health_check"] = anyio.Event()
    found = []
    async with watching(a, interval=1000) as (_, monitor):

        async def read():
            found.append(await monitor.health("a"))

        async with anyio.create_task_group() as task_group:
            for _ in range(1000):
                task_group.start_soon(read)
            await a.entered["health_check"].wait()
            await anyio.wait_all_tasks_blocked()
            assert (found, a.probes) == ([], 1)
            a.gates["health_check"].set()
    assert len(found) == 1000
    assert {check["status"] for check in found} == {H}
    assert a.probes == 1


async def test_a_stale_check_is_returned_at_once_while_one_probe_runs():
    """Readers never queue behind a slow check, and there is one however many they are."""
    a = double("a")
    async with watching(a, interval=1000) as (_, monitor):
        await monitor.health("a")
        assert a.probes == 1
        a.gates["health_check"] = anyio.Event()
        a.answer = {"status": "degraded"}
        for _ in range(100):
            assert (await monitor.health("a", max_age=0))["status"] is H
            assert (await monitor.report(max_age=0)).status is H
        await until(lambda: a.probes == 2)
        a.gates["health_check"].set()
        await until(lambda: len(monitor.history("a")) == 2)
        assert (await monitor.health("a"))["status"] is D
        assert a.probes == 2


async def test_a_fresh_check_costs_no_probe():
    """Within max_age nothing is asked."""
    a = double("a")
    async with watching(a, interval=1000) as (_, monitor):
        for _ in range(10):
            await monitor.health("a", max_age=60)
            await monitor.report(max_age=60)
        assert a.probes == 1


async def test_a_readers_cancellation_leaves_the_shared_probe_alone():
    """The others get their answer from the same check."""
    a = double("a")
    a.gates["health_check"] = anyio.Event()
    async with watching(a, interval=1000) as (_, monitor), anyio.create_task_group() as task_group:
        impatient = anyio.CancelScope()

        async def leave():
            with impatient:
                await monitor.health("a")

        async def stay():
            assert (await monitor.health("a"))["status"] is H

        task_group.start_soon(leave)
        task_group.start_soon(stay)
        await a.entered["health_check"].wait()
        await anyio.wait_all_tasks_blocked()
        impatient.cancel()
        await anyio.wait_all_tasks_blocked()
        assert impatient.cancelled_caught
        a.gates["health_check"].set()
    assert a.probes == 1


async def test_one_that_hangs_keeps_readers_of_another_not_waiting():
    """Each provider's check is there when it has ended, not when the sweep has."""
    slow, quick = double("slow"), double("quick")
    slow.gates["health_check"] = anyio.Event()
    async with watching(slow, quick, interval=1000) as (_, monitor):
        with anyio.fail_after(5):
            assert (await monitor.health("quick"))["status"] is H


async def test_a_check_that_hangs_becomes_a_timeout_at_the_deadline():
    """Who waits for the first check gets that."""
    a = double("a")
    a.gates["health_check"] = anyio.Event()
    async with watching(a, interval=1000, deadline=0.02) as (_, monitor):
        assert (await monitor.health("a"))["status"] is T
        assert (await monitor.report()).status is U


async def test_readers_waiting_when_the_monitor_ends_are_told():
    """Nobody waits for a check that will not come."""
    a = double("a")
    a.gates["health_check"] = anyio.Event()
    async with filled(a) as registry, anyio.create_task_group() as task_group:

        async def read(monitor):
            with pytest.raises(ProviderStateError, match="the monitor is not running"):
                await monitor.health("a")

        async with registry.monitor() as monitor:
            task_group.start_soon(read, monitor)
            await a.entered["health_check"].wait()
            await anyio.wait_all_tasks_blocked()


async def test_unknown_names_are_refused_with_near_matches():
    """Reading about nobody is an error."""
    async with watching(double("payments")) as (_, monitor):
        with pytest.raises(ProviderNotFoundError, match="did you mean 'payments'"):
            await monitor.health("paiments")
        with pytest.raises(ProviderNotFoundError, match="did you mean 'payments'"):
            monitor.history("paiments")


async def test_what_a_reader_does_to_a_check_stays_with_the_reader():
    """Checks are handed out as copies."""
    async with watching(double("a"), interval=1000) as (_, monitor):
        for check in (
            await monitor.health("a"),
            monitor.history("a")[0],
            (await monitor.report()).checks["a"],
        ):
            check["status"] = U
        assert (await monitor.health("a"))["status"] is H
        assert monitor.snapshot().status is H


async def test_providers_that_come_change_and_go_are_seen():
    """A late one is watched, a swapped one asked in its new form, its old check not shown any more."""
    a = double("a")
    async with watching(a, interval=1000) as (registry, monitor):
        await monitor.health("a")
        registry.register("late", late := double("late"))
        assert set(monitor.snapshot().checks) == {"a", "late"}
        assert (await monitor.health("late"))["status"] is H
        fresh = await registry.reconfigure("a", config("a", timeout_ms=1234))
        probes = fresh.probes
        await monitor.health("a")
        assert (fresh.probes, a.probes, late.probes) == (probes + 1, 1, 1)
        assert len(monitor.history("a")) == 2


async def test_readers_in_an_operation_do_not_make_the_probe_part_of_it():
    """A probe that another provider's call began is no call inside that one."""
    a = double("a")

    class Asking(Double):
        async def health_check(self):
            await self.monitor.health("a")
            return self.answer

    asking = double("asking", Asking)
    async with filled(a, asking) as registry, registry.monitor(interval=1000) as monitor:
        asking.monitor = monitor
        assert (await monitor.report()).ok
        assert (await asking.health_check())["status"] is H


async def test_a_swapped_providers_check_is_not_its_successors():
    """What the old one says after the swap is dropped, and whoever waits hears of the new one."""
    a = double("a")
    a.answer = {"status": "unhealthy"}
    a.gates["health_check"] = anyio.Event()
    async with watching(a, interval=1000, failure_threshold=1) as (registry, monitor):
        await a.entered["health_check"].wait()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(registry.reconfigure, "a", config("a", timeout_ms=1234))
            await until(lambda: registry.get("a") is not a)
            task_group.start_soon(monitor.health, "a")
            await asyncio.sleep(0)
            a.gates["health_check"].set()
        assert registry.get("a").probes == 2
        assert [check["status"] for check in monitor.history("a")] == [H]
        assert monitor.snapshot().checks["a"]["status"] is H


async def test_unsubscribing_ends_the_listeners_task_however_early_it_subscribed():
    """Nothing runs on for a callback that is not called any more."""
    async with filled(double("a")) as registry:
        monitor = registry.monitor(interval=1000)
        early = [monitor.subscribe(print) for _ in range(3)]
        async with monitor:
            late = monitor.subscribe(print)
            await monitor.health("a")
            await anyio.wait_all_tasks_blocked()
            tasks = len(asyncio.all_tasks())
            for unsubscribe in (*early, late, late):
                unsubscribe()
            await anyio.wait_all_tasks_blocked()
            assert len(asyncio.all_tasks()) == tasks - 4


async def test_a_report_leaves_out_who_is_removed_while_it_waits(tmp_path):
    """The others' checks are what was asked for."""
    path = tmp_path / "providers.json"
    gate = anyio.Event()

    asked = []

    class Slow(Double):
        async def health_check(self):
            asked.append(self.name)
            await gate.wait()
            return {"status": "healthy"}

    def write(*names):
        entry = {"type": "storage", "driver": "slow", "version": "1"}
        path.write_text(json.dumps({"providers": dict.fromkeys(names, entry)}), encoding="utf-8")

    async def report(monitor):
        assert list((await monitor.report()).checks) == ["a", "c"]

    write("a", "b", "c")
    with ProviderFactory.temporary():
        ProviderFactory.register_provider("storage", Slow, "slow")
        async with (
            ProviderRegistry.from_file(path) as registry,
            registry.monitor(interval=1000) as monitor,
            anyio.create_task_group() as task_group,
        ):
            task_group.start_soon(report, monitor)
            await until(lambda: len(asked) == 3)
            write("a", "c")
            task_group.start_soon(registry.reload)
            await until(lambda: "b" not in registry)
            gate.set()
