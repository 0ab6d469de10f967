"""Sweeps: deadlines, hanging and raising providers, dependencies, selections, iteration, cancellation."""

import asyncio
import gc
import threading
from contextlib import aclosing, suppress

import anyio
import anyio.to_thread
import pytest
from pydantic import SecretStr
from registry_doubles import Double, cancel_everywhere, config, double, filled

from aioproviders import (
    BaseProvider,
    ConfigurationError,
    HealthStatus,
    ProviderConfig,
    ProviderNotFoundError,
    ProviderStateError,
)
from aioproviders.registry import sweep as sweep_module


class Stubborn(Double):
    """Its check does not heed cancellation until it is released."""

    def __init__(self, config):
        super().__init__(config)
        self.release = anyio.Event()

    async def health_check(self):
        self.probes += 1
        self.entered["health_check"].set()
        with anyio.CancelScope(shield=True):
            await self.release.wait()
        return {"status": "healthy"}


def hanging(name, **fields):
    provider = double(name, **fields)
    provider.gates["health_check"] = anyio.Event()
    return provider


async def test_asks_everybody_in_the_registrys_order():
    """The report has each provider's check, in the order of registration, and the state of the whole."""
    a, b, c = double("a"), double("b"), double("c")
    a.gates["health_check"] = c.entered["health_check"]
    b.answer = {"status": "degraded", "queue": 7}
    report = await filled(a, b, c).sweep()
    assert list(report.checks) == ["a", "b", "c"]
    assert report.status is HealthStatus.DEGRADED
    assert report.checks["b"]["details"] == {"queue": 7}
    assert report.duration_ms >= report.checks["b"]["latency_ms"]


async def test_health_check_all_is_a_dict_and_works_on_a_merely_filled_registry():
    """As in the specification, nothing has to be entered; providers start at first use."""
    registry = filled(a := double("a"))
    checks = await registry.health_check_all()
    assert type(checks) is dict
    assert checks["a"]["status"] == "healthy"
    await a.cleanup()


async def test_an_empty_registry_is_healthy():
    """With nobody to ask there is nothing wrong."""
    report = await filled().sweep()
    assert (report.status, dict(report.checks)) == (HealthStatus.HEALTHY, {})


@pytest.mark.parametrize("entered", [True, False])
async def test_at_the_deadline_what_finished_is_returned_and_the_rest_is_a_timeout(entered):
    """Of twenty, ten hang: ten are healthy, ten timed out, were cancelled and have ended."""
    registry = filled(*(hanging(f"p{n}") if n % 2 else double(f"p{n}") for n in range(20)))
    before = asyncio.all_tasks()
    if entered:
        await registry.__aenter__()
    report = await registry.sweep(deadline=0.05)
    assert asyncio.all_tasks() == before
    for n in range(20):
        check = report.checks[f"p{n}"]
        assert check["status"] == ("timeout" if n % 2 else "healthy")
        if n % 2:
            assert check["error"] == "not finished within 0.05 s"
            assert check["latency_ms"] > 0
            assert registry.get(f"p{n}", Double)._lifecycle.in_flight == 0
    assert report.counts() == {HealthStatus.HEALTHY: 10, HealthStatus.TIMEOUT: 10}
    if entered:
        await registry.__aexit__(None, None, None)


@pytest.mark.parametrize("max_concurrency", [1, 3])
async def test_hanging_providers_keep_nobody_waiting(max_concurrency):
    """More of them than workers are in front, and all others are still asked in time."""
    registry = filled(*(hanging(f"h{n}") for n in range(20)), *(double(f"p{n}") for n in range(20)))
    async with registry:
        report = await registry.sweep(deadline=1, max_concurrency=max_concurrency)
    assert all(
        check["status"] == ("timeout" if name[0] == "h" else "healthy")
        for name, check in report.checks.items()
    )


async def test_max_concurrency_holds_while_checks_end():
    """No more checks than that are under way at a time."""
    now = most = 0

    class Counting(Double):
        async def health_check(self):
            nonlocal now, most
            now += 1
            most = max(most, now)
            await anyio.lowlevel.checkpoint()
            now -= 1
            return self.answer

    await filled(*(double(f"p{n}", Counting) for n in range(50))).sweep(max_concurrency=5)
    assert most == 5


async def test_errors_stay_with_their_provider():
    """One that raises, returns nonsense or cancels itself becomes an error; the others don't notice."""
    raising, nonsense, strange, own, fine = (
        double(n) for n in ("raising", "nonsense", "strange", "own", "fine")
    )
    raising.errors["health_check"] = ValueError("broken")
    nonsense.answer = 42
    strange.answer = {"status": "splendid"}
    own.errors["health_check"] = asyncio.CancelledError()
    async with filled(raising, nonsense, strange, own, fine) as registry:
        checks = await registry.health_check_all()
    assert [check["status"] for check in checks.values()] == ["error"] * 4 + ["healthy"]
    assert checks["raising"]["error"] == "ValueError: broken"
    assert "not int" in checks["nonsense"]["error"]
    assert "none of healthy" in checks["strange"]["error"]
    assert checks["own"]["error"] == "the check was cancelled from within"


async def test_reports_hold_no_secrets():
    """A secret in an error or in details is masked in the report, its repr and its JSON."""

    class Secretive(ProviderConfig):
        key: SecretStr = SecretStr("hunter2hunter2")

    class Leaky(BaseProvider[Secretive]):
        async def initialize(self): ...

        async def cleanup(self): ...

        async def health_check(self):
            secret = self.config.key.get_secret_value()
            if self.name == "raises":
                raise ValueError(f"bad key {secret}")
            return {"status": "unhealthy", "error": f"key {secret}", "url": f"http://u:{secret}@h/"}

    registry = filled(
        *(Leaky(Secretive(name=n, version="1", retry_attempts=1)) for n in ("raises", "returns"))
    )
    report = await registry.sweep()
    assert "hunter2" not in f"{report!r} {report} {report.model_dump_json()}"
    assert report.counts() == {HealthStatus.UNHEALTHY: 1, HealthStatus.ERROR: 1}


async def test_dependants_of_a_failed_provider_are_blocked_and_not_asked():
    """At any remove, with the name of the one that failed; degraded and disabled ones block nobody."""
    root, mid, leaf = (
        double("root"),
        double("mid", depends_on=["root"]),
        double("leaf", depends_on=["ok", "mid"]),
    )
    ok, off = double("ok", depends_on=["off"]), double("off", enabled=False)
    ok.answer, root.answer = {"status": "degraded"}, {"status": "unhealthy"}
    report = await filled(leaf, mid, root, ok, off).sweep()
    assert [check["status"] for check in report.checks.values()] == [
        "blocked",
        "blocked",
        "unhealthy",
        "degraded",
        "disabled",
    ]
    assert report.checks["mid"]["error"] == "its dependency 'root' is unhealthy"
    assert report.checks["leaf"]["error"] == "its dependency 'root' is unhealthy"
    assert (mid.probes, leaf.probes) == (0, 0)


async def test_dependants_of_one_that_timed_out_are_blocked():
    """At the deadline they are told apart from those that hang themselves."""
    report = await filled(double("b", depends_on=["a"]), hanging("a")).sweep(deadline=0.05)
    assert (report.checks["a"]["status"], report.checks["b"]["status"]) == ("timeout", "blocked")
    assert report.checks["b"]["error"] == "its dependency 'a' is timeout"


async def test_only_dependencies_in_the_sweep_count():
    """One that was not selected blocks nobody, though it is down."""
    a, b = double("a"), double("b", depends_on=["a"])
    a.answer = {"status": "unhealthy"}
    report = await filled(a, b).sweep(only=["b"])
    assert report.checks["b"]["status"] == "healthy"
    assert a.probes == 0


async def test_many_dependants_are_asked_side_by_side():
    """Once their dependency is fine they don't wait for one another."""
    first, second = double("first", depends_on=["a"]), double("second", depends_on=["a"])
    first.gates["health_check"] = second.entered["health_check"]
    second.gates["health_check"] = first.entered["health_check"]
    with anyio.fail_after(5):
        report = await filled(double("a"), first, second).sweep()
    assert report.ok


async def test_circles_are_an_error_in_a_merely_filled_registry_too():
    """A sweep that could not end is refused."""
    with pytest.raises(ConfigurationError, match="in a circle"):
        await filled(double("a", depends_on=["b"]), double("b", depends_on=["a"])).sweep()


@pytest.mark.parametrize(
    ("conditions", "names"),
    [
        ({"tags": ["eu"]}, ["a", "b"]),
        ({"tags": "us"}, ["b"]),
        ({"tags": []}, []),
        ({"exclude": "b"}, ["a", "c"]),
        ({"only": ["c", "a"]}, ["a", "c"]),
        ({"only": "c"}, ["c"]),
        ({"only": []}, []),
        ({"exclude": ["b"]}, ["a", "c"]),
        ({"tags": ["eu"], "exclude": ["a"]}, ["b"]),
        ({"only": ["a", "c"], "tags": ["eu"]}, ["a"]),
    ],
)
async def test_conditions_select(conditions, names):
    """All conditions must hold; the order is the registry's; nobody at all is an empty report."""
    registry = filled(double("a", tags=["eu"]), double("b", tags=["eu", "us"]), double("c"))
    assert list((await registry.sweep(**conditions)).checks) == names


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        ({"only": ["bb"]}, ProviderNotFoundError, "Provider not found: bb; did you mean 'b'"),
        ({"exclude": ["zzz"]}, ProviderNotFoundError, "Provider not found: zzz$"),
        ({"deadline": 0}, ConfigurationError, "deadline should be a number of seconds above 0, not 0"),
        (
            {"tags": ["ue"]},
            ProviderNotFoundError,
            "no provider has the tag 'ue'; there are 'critical', 'eu'$",
        ),
        ({"tags": "critcal"}, ProviderNotFoundError, "has the tag 'critcal'; did you mean 'critical'"),
        ({"tags": 5}, ConfigurationError, "tags should be a list of texts, not 5"),
        ({"only": [5]}, ConfigurationError, r"only should be a list of texts, not \[5\]"),
        ({"deadline": float("nan")}, ConfigurationError, "deadline should be"),
        ({"deadline": "x"}, ConfigurationError, "deadline should be a number of seconds above 0, not 'x'"),
        ({"max_concurrency": "x"}, ConfigurationError, "max_concurrency should be 1 or more, not 'x'"),
        ({"max_concurrency": 1.5}, ConfigurationError, "max_concurrency should be 1 or more, not 1.5"),
        ({"max_concurrency": 0}, ConfigurationError, "max_concurrency should be 1 or more, not 0"),
    ],
)
async def test_arguments_that_cannot_work_are_refused(arguments, error, what):
    """Unknown names and numbers out of range are errors at once, of an iteration too."""
    async with filled(double("b", tags=["eu", "critical"])) as registry:
        with pytest.raises(error, match=what):
            await registry.sweep(**arguments)
        with pytest.raises(error, match=what):
            registry.iter_health(**arguments)


async def test_a_check_that_does_not_heed_cancellation_is_given_up(monkeypatch):
    """The sweep returns after its grace; until that check ends, the provider is not asked again."""
    monkeypatch.setattr(sweep_module, "CANCEL_GRACE", 0.05)
    stubborn = double("s", Stubborn)
    async with filled(stubborn, double("a")) as registry:
        with anyio.fail_after(5):
            report = await registry.sweep(deadline=0.05)
        assert [check["status"] for check in report.checks.values()] == ["timeout", "healthy"]
        again = await registry.sweep(deadline=0.05)
        assert again.checks["s"]["error"] == "an earlier check of it has not ended yet"
        assert stubborn.probes == 1
        stubborn.release.set()
        await anyio.wait_all_tasks_blocked()
        assert (await registry.sweep()).checks["s"]["status"] == "healthy"
        assert report.checks["s"]["status"] == "timeout"


async def test_a_blocked_thread_holds_no_sweep_up(monkeypatch):
    """A check that sits in a worker thread is given up, too."""
    monkeypatch.setattr(sweep_module, "CANCEL_GRACE", 0.05)
    release = threading.Event()

    class InThread(Double):
        async def health_check(self):
            await anyio.to_thread.run_sync(release.wait, 10)
            return self.answer

    async with filled(double("t", InThread)) as registry:
        with anyio.fail_after(5):
            assert (await registry.sweep(deadline=0.05)).checks["t"]["status"] == "timeout"
        release.set()


async def test_without_a_home_a_stubborn_check_is_awaited_to_its_end():
    """In a registry that is not entered nothing may stay behind."""
    stubborn = double("s", Stubborn)
    registry = filled(stubborn)
    async with anyio.create_task_group() as task_group:

        async def sweep():
            report = await registry.sweep(deadline=0.01)
            assert report.checks["s"]["status"] == "timeout"

        task_group.start_soon(sweep)
        await anyio.sleep(0.05)
        stubborn.release.set()


async def test_a_registry_that_closes_ends_sweeps_under_way():
    """Who waits for a sweep is told why it did not come to its end."""
    registry = filled(a := hanging("a"))
    async with anyio.create_task_group() as task_group:

        async def sweep():
            with pytest.raises(ProviderStateError, match="the registry was closed during the sweep"):
                await registry.sweep()

        async with registry:
            task_group.start_soon(sweep)
            await a.entered["health_check"].wait()


async def test_two_thousand_providers():
    """Each gets its own check, one failure in a hundred notwithstanding."""
    registry = filled(*(double(f"p{n}", tags=[f"t{n % 10}"]) for n in range(2000)))
    for n in range(0, 2000, 100):
        registry.get(f"p{n}", Double).answer = {"status": "unhealthy", "error": f"error {n}"}
    async with registry:
        report = await registry.sweep()
        assert report.counts() == {HealthStatus.HEALTHY: 1980, HealthStatus.UNHEALTHY: 20}
        assert report.checks["p700"]["error"] == "error 700"
        assert len((await registry.sweep(tags=["t3"])).checks) == 200
    assert sum(p.held for p in registry._providers.values()) == 0


async def test_a_chain_of_a_thousand_dependencies_falls_at_once():
    """Blocking is passed on without recursion."""
    chain = [double("p0"), *(double(f"p{n}", depends_on=[f"p{n - 1}"]) for n in range(1, 1000))]
    chain[0].answer = {"status": "unhealthy"}
    report = await filled(*chain).sweep()
    assert report.counts() == {HealthStatus.UNHEALTHY: 1, HealthStatus.BLOCKED: 999}


# Iteration.


async def test_iteration_yields_each_check_as_soon_as_it_is_there():
    """The first comes while another still hangs; that one comes at the deadline."""
    slow, quick = hanging("slow"), double("quick")
    async with filled(slow, quick) as registry:
        checks = registry.iter_health()
        assert (await anext(checks))[0] == "quick"
        slow.gates["health_check"].set()
        name, check = await anext(checks)
        assert (name, check["status"]) == ("slow", "healthy")
        with pytest.raises(StopAsyncIteration):
            await anext(checks)
        slow.gates["health_check"] = anyio.Event()
        seen = {name: check["status"] async for name, check in registry.iter_health(deadline=0.05)}
        assert seen == {"quick": "healthy", "slow": "timeout"}


async def test_an_iteration_left_early_ends_its_sweep():
    """After ``aclose`` no task of it is left; a mere ``break`` comes to the same soon after."""
    async with filled(hanging("slow"), double("quick")) as registry:
        before = asyncio.all_tasks()
        async with aclosing(registry.iter_health()) as checks:
            async for _ in checks:
                assert asyncio.all_tasks() > before
                break
        assert asyncio.all_tasks() == before
        async for _ in registry.iter_health():
            break
        gc.collect()
        with anyio.fail_after(5):
            while asyncio.all_tasks() != before:
                await anyio.lowlevel.checkpoint()


async def test_an_iteration_that_never_begins_asks_nobody():
    """The sweep starts with the first step."""
    async with filled(a := double("a")) as registry:
        await registry.iter_health().aclose()
        assert a.probes == 0


async def test_an_iteration_can_go_on_across_tasks_and_scopes():
    """No scope is held open across a ``yield``: a step in another task, or under a timeout, is fine."""
    async with filled(*(double(f"p{n}") for n in range(3))) as registry:
        checks = registry.iter_health()
        seen = [(await anext(checks))[0]]
        with anyio.fail_after(5):
            seen.append((await anext(checks))[0])

        async def last():
            seen.append((await anext(checks))[0])

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(last)
        assert sorted(seen) == ["p0", "p1", "p2"]
        await checks.aclose()


async def test_iteration_needs_an_open_registry():
    """The message says what to do."""
    with pytest.raises(ProviderStateError, match="the registry is new: enter it with 'async with' first"):
        filled(double("a")).iter_health()


async def test_iteration_ends_with_the_registry():
    """One that is still open when the registry closes comes to its end, not to a halt."""
    async with filled(double("quick"), hanging("slow")) as registry:
        checks = registry.iter_health()
        await anext(checks)
    with anyio.fail_after(5):
        assert [item async for item in checks] == []


# Cancellation.


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("how", ["sweep", "iterate"])
async def test_a_cancelled_sweep_cancels_and_awaits_every_check(native, how):
    """At whatever point: no task is left, no check still counts as in flight, and the registry goes on."""
    providers = [double("a"), double("b", depends_on=["a"]), double("c"), double("d")]
    async with filled(*providers) as registry:

        async def sweep():
            await registry.sweep(max_concurrency=2)

        async def iterate():
            async with aclosing(registry.iter_health()) as checks:
                async for _ in checks:
                    await anyio.lowlevel.checkpoint()

        def check():
            assert [p._lifecycle.in_flight for p in providers] == [0, 0, 0, 0]

        runs = await cancel_everywhere({"sweep": sweep, "iterate": iterate}[how], check, native=native)
        assert runs > 5
        assert (await registry.sweep()).ok


@pytest.mark.parametrize("native", [True, False])
async def test_a_cancelled_sweep_of_a_merely_filled_registry_leaves_nothing(native):
    """The same without a task group of the registry; what had started stays for its owner to close."""
    providers = [double("a"), double("b")]
    registry = filled(*providers)

    def check():
        assert [p._lifecycle.in_flight for p in providers] == [0, 0]

    assert await cancel_everywhere(registry.sweep, check, native=native) > 3
    for provider in providers:
        await provider.cleanup()
        assert provider.held == 0


async def test_an_outer_timeout_cuts_a_sweep_short():
    """``move_on_after`` around a sweep works like any cancellation."""
    async with filled(a := hanging("a")) as registry:
        with anyio.move_on_after(0.02) as scope, suppress(ProviderStateError):
            await registry.sweep()
        assert scope.cancelled_caught
        assert a._lifecycle.in_flight == 0


def test_config_is_the_helpers():
    """The doubles don't retry, so that one probe is one call."""
    assert config().retry_attempts == 1
