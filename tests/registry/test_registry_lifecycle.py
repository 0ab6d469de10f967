"""The registry's life: order, parallelism, rollback, shut-down, and cancellation anywhere in it."""

import asyncio

import anyio
import pytest
from registry_doubles import Double, Worker, cancel_everywhere, double, filled

from aioproviders import ConfigurationError, ProviderError, ProviderStateError, ProviderUnavailableError


def fleet(**kinds):
    """Four providers: d needs b and c, which need a."""
    return [
        double("d", kinds.get("d", Double), depends_on=["b", "c"]),
        double("b", kinds.get("b", Double), depends_on=["a"]),
        double("c", kinds.get("c", Double), depends_on=["a"]),
        double("a", kinds.get("a", Double)),
    ]


async def test_starts_what_is_needed_first_and_stops_in_reverse():
    """Start and stop follow the dependencies, whatever the order of registration."""
    d, b, c, a = fleet()
    async with filled(d, b, c, a):
        assert a.log == ["+a", "+b", "+c", "+d"]
        a.log.clear()
    assert a.log[0] == "-d"
    assert sorted(a.log[1:3]) == ["-b", "-c"]
    assert a.log[3] == "-a"


async def test_independent_providers_start_side_by_side():
    """Two that wait for each other both come to their end."""
    _, b, c, a = fleet()
    registry = filled(a, b, c)
    b.gates["initialize"], c.gates["initialize"] = c.entered["initialize"], b.entered["initialize"]
    with anyio.fail_after(5):
        async with registry:
            assert {b.state, c.state} == {"ready"}


async def test_independent_providers_stop_side_by_side():
    """Two whose cleanup waits for the other's both come to their end, and their dependency goes last."""
    _, b, c, a = fleet()
    b.gates["cleanup"], c.gates["cleanup"] = c.entered["cleanup"], b.entered["cleanup"]
    with anyio.fail_after(5):
        async with filled(a, b, c):
            pass
    assert a.log[-1] == "-a"


async def test_a_dependant_waits_until_its_dependency_is_ready():
    """Nothing of a dependant is touched while what it needs still starts."""
    b, a = double("b", depends_on=["a"]), double("a")
    a.gates["initialize"] = anyio.Event()
    registry = filled(b, a)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(registry.__aenter__)
        await a.entered["initialize"].wait()
        await anyio.wait_all_tasks_blocked()
        assert a.log == ["+a"]
        task_group.cancel_scope.cancel()
    assert a.held == b.held == 0


async def test_disabled_providers_are_left_alone():
    """One that is disabled is neither started nor closed, and reported as disabled."""
    off = double("off", enabled=False)
    async with filled(off, double("on")) as registry:
        checks = await registry.health_check_all()
    assert (checks["off"]["status"], checks["on"]["status"]) == ("disabled", "healthy")
    assert off.log == ["+on", "-on"]


@pytest.mark.parametrize(
    ("providers", "what"),
    [
        ([("a", ["bb"]), ("b", [])], "'a' depends on 'bb', which is not in the registry; did you mean 'b'"),
        ([("a", ["b"]), ("b", ["c"]), ("c", ["a"])], "in a circle: '.' → '.' → '.' → '.'"),
        ([("a", ["a"])], "in a circle: 'a' → 'a'"),
    ],
)
async def test_dependencies_that_cannot_work_are_named(providers, what):
    """Unknown names and circles are errors before anything is started."""
    doubles = [double(name, depends_on=needed) for name, needed in providers]
    with pytest.raises(ConfigurationError, match=what):
        await filled(*doubles).__aenter__()
    assert doubles[0].log == []


async def test_a_circle_is_told_in_the_direction_of_the_dependencies():
    """In ``'a' → 'b'`` it is a that depends on b."""
    doubles = [double("a", depends_on=["b"]), double("b", depends_on=["c"]), double("c", depends_on=["a"])]
    with pytest.raises(ConfigurationError) as info:
        await filled(*doubles).__aenter__()
    circle = info.value.message.partition(": ")[2]
    assert circle in {"'a' → 'b' → 'c' → 'a'", "'b' → 'c' → 'a' → 'b'", "'c' → 'a' → 'b' → 'c'"}


async def test_an_enabled_provider_cannot_depend_on_a_disabled_one():
    """Both names and both remedies are given; a disabled dependant is fine."""
    off = double("off", enabled=False)
    with pytest.raises(ConfigurationError, match="'a' depends on 'off', which is disabled: enable that, or"):
        await filled(double("a", depends_on=["off"]), off).__aenter__()
    async with filled(double("a", depends_on=["off"], enabled=False), double("off", enabled=False)):
        pass


async def test_a_failed_start_is_rolled_back_and_all_failures_are_told():
    """What had started is closed in reverse order; two that fail side by side are both in the group."""
    d, b, c, a = fleet()
    b.gates["initialize"], c.gates["initialize"] = c.entered["initialize"], b.entered["initialize"]
    b.errors["initialize"] = ConnectionRefusedError("nobody there")
    c.errors["initialize"] = ValueError("no such thing")
    registry = filled(d, b, c, a)
    with pytest.raises(ExceptionGroup, match=r"2 of 4 providers could not start: ., .") as info:
        await registry.__aenter__()
    assert {error.provider for error in info.value.exceptions} == {"b", "c"}
    assert all(isinstance(error, ProviderError) for error in info.value.exceptions)
    assert a.log[-1] == "-a"
    assert "+d" not in a.log
    assert [p.held for p in (a, b, c, d)] == [0, 0, 0, 0]
    with pytest.raises(ProviderStateError, match="the registry is closed"):
        registry.get("a")


async def test_nothing_new_is_begun_after_a_failure():
    """An independent chain that is under way does not go on to its next provider."""
    bad, first = double("bad"), double("first")
    second = double("second", depends_on=["first"])
    bad.errors["initialize"] = ValueError("bad")
    first.gates["initialize"] = anyio.Event()
    registry = filled(bad, first, second)
    async with anyio.create_task_group() as task_group:

        async def enter():
            with pytest.raises(ExceptionGroup):
                await registry.__aenter__()

        task_group.start_soon(enter)
        await anyio.wait_all_tasks_blocked()
        first.gates["initialize"].set()
    assert "+second" not in first.log
    assert first.held == 0


async def test_all_that_wait_for_nothing_are_begun_however_soon_one_fails():
    """Of many that fail at once, one attempt tells every one."""
    providers = [double(f"p{number}") for number in range(50)]
    for provider in providers:
        provider.errors["initialize"] = OSError("no")
    with pytest.raises(ExceptionGroup) as caught:
        async with filled(*providers):
            pass
    assert len(caught.value.exceptions) == 50


async def test_quick_providers_do_not_pile_up():
    """Of many that start and close at once only a few have a task at a time."""
    tasks = []

    class Counting(Double):
        async def step(self, step):
            tasks.append(len(asyncio.all_tasks()))

    async with filled(*(double(f"p{number}", Counting) for number in range(200))):
        pass
    assert len(tasks) == 400
    assert max(tasks) < 50


async def test_an_error_while_rolling_back_is_noted_on_the_group():
    """The failures of the start come out; those of the rollback are with them as notes."""
    a, b = double("a"), double("b", depends_on=["a"])
    a.errors["cleanup"] = ValueError("stuck")
    b.errors["initialize"] = ValueError("bad")
    with pytest.raises(ExceptionGroup) as info:
        await filled(a, b).__aenter__()
    assert [error.provider for error in info.value.exceptions] == ["b"]
    assert "Cleaning up failed, too: a.cleanup: ValueError: stuck" in info.value.__notes__


async def test_shutdown_goes_on_past_errors_and_tells_them_all():
    """Each provider is closed though others fail to, and the group has every error."""
    d, b, c, a = fleet()
    for provider in (d, b):
        provider.errors["cleanup"] = ValueError(f"{provider.name} is stuck")
    with pytest.raises(ExceptionGroup, match="2 of 4 providers failed to clean up: d, b") as info:
        async with filled(d, b, c, a):
            pass
    assert [error.message for error in info.value.exceptions] == [
        "ValueError: d is stuck",
        "ValueError: b is stuck",
    ]
    assert {p.state for p in (a, b, c, d)} == {"closed"}


async def test_the_bodys_exception_leaves_unwrapped_with_cleanup_errors_as_notes():
    """A failure in the block is never masked by one of the shut-down."""
    provider = double("a", Worker)
    provider.errors["cleanup"] = ValueError("stuck")
    with pytest.raises(KeyError) as info:
        async with filled(provider):
            raise KeyError("body")
    assert info.value.__notes__ == ["Cleaning up failed, too: a.cleanup: ValueError: stuck"]


async def test_a_hanging_cleanup_is_bounded_by_its_timeout():
    """The shut-down does not wait for ever, and others are closed all the same."""
    a, b = double("a", timeout_ms=20), double("b")
    a.gates["cleanup"] = anyio.Event()
    with pytest.raises(ExceptionGroup) as info:
        async with filled(a, b):
            pass
    assert info.value.exceptions[0].code == "timeout"
    assert b.state == "closed"


async def test_background_tasks_run_in_the_registry_and_end_with_it():
    """A provider may spawn, in a registry as by itself."""
    before = asyncio.all_tasks()
    async with filled(double("a", Worker), double("b", Worker)):
        assert len(asyncio.all_tasks() - before) == 2
    assert asyncio.all_tasks() == before


async def test_a_step_that_cancels_itself_takes_nobody_along():
    """A library that raises a cancellation of its own fails its provider alone, at start and stop."""
    a, b = double("a"), double("b")
    a.errors["initialize"] = asyncio.CancelledError()
    with pytest.raises(ExceptionGroup) as info:
        await filled(a, b).__aenter__()
    assert [error.provider for error in info.value.exceptions] == ["a"]
    assert b.held == 0
    a, b, c = double("a"), double("b", depends_on=["a"]), double("c")
    b.errors["cleanup"] = asyncio.CancelledError()
    async with filled(a, b, c):
        pass
    assert [p.held for p in (a, b, c)] == [0, 0, 0]


async def test_a_background_task_that_cancels_itself_takes_nobody_along():
    """It shows as its provider's degraded health, and the block goes on."""

    class Doomed(Double):
        async def initialize(self):
            self.spawn(self.doom)

        async def doom(self):
            raise asyncio.CancelledError

    async with filled(double("a", Doomed), double("b", Worker)) as registry:
        await anyio.wait_all_tasks_blocked()
        checks = await registry.health_check_all()
    assert checks["a"]["status"] == "degraded"
    assert checks["a"]["error"] == "background task doom: ProviderError: it was cancelled from within"
    assert checks["b"]["status"] == "healthy"


async def test_without_start_each_provider_starts_at_its_first_use_after_its_dependencies():
    """``start=False`` opens nothing; one that is used brings up what it needs, in order, and no more."""
    d, b, c, a = fleet()
    other = double("other")
    async with filled(d, b, c, a, other, start=False) as registry:
        assert a.log == []
        await registry.get("d").health_check()
        assert sorted(a.log[1:3]) == ["+b", "+c"]
        assert (a.log[0], a.log[3]) == ("+a", "+d")
        assert other.held == 0
    assert [p.held for p in (a, b, c, d)] == [0, 0, 0, 0]


async def test_a_lazy_provider_whose_dependency_cannot_start_says_so():
    """The error names the dependency, and a later use tries again."""
    a, b = double("a"), double("b", depends_on=["a"])
    a.errors["initialize"] = ValueError("bad")
    async with filled(a, b, start=False):
        with pytest.raises(
            ProviderUnavailableError, match="its dependency 'a' could not start: ValueError: bad"
        ):
            await b.initialize()
        del a.errors["initialize"]
        await b.initialize()
    assert (a.held, b.held) == (0, 0)


@pytest.mark.parametrize("native", [True, False])
async def test_cancellation_at_any_point_of_life_leaves_nothing_open(native):
    """Wherever start, sweep, iteration or stop is cancelled: no task, no resource is left."""
    fleets = []

    async def life():
        providers = fleet(b=Worker, a=Worker)
        fleets.append(providers)
        async with filled(*providers) as registry:
            await registry.sweep(deadline=30)
            async for _ in registry.iter_health():
                pass

    def check():
        if fleets:
            assert [p.held for p in fleets[-1]] == [0, 0, 0, 0]

    assert await cancel_everywhere(life, check, native=native) > 20


async def test_cancellation_waits_for_a_shutdown_under_way():
    """Cancelled twice while it closes, the registry still closes everything, and is cancelled then."""
    a, b = double("a"), double("b", depends_on=["a"])
    b.gates["cleanup"] = anyio.Event()

    async def life():
        async with filled(a, b):
            pass

    task = asyncio.create_task(life())
    await b.entered["cleanup"].wait()
    task.cancel()
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    await anyio.wait_all_tasks_blocked()
    assert not task.done()
    b.gates["cleanup"].set()
    await asyncio.wait({task})
    assert task.cancelled()
    assert (a.held, b.held) == (0, 0)
