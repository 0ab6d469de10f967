"""Registries from files, and providers that are replaced while others use them."""

import asyncio
from typing import ClassVar

import anyio
import httpx
import pytest
import structlog
from pydantic import SecretStr
from registry_doubles import Double, Worker, cancel_everywhere, config, double, filled

from aioproviders import (
    ConfigurationError,
    ProviderConfig,
    ProviderError,
    ProviderFactory,
    ProviderNotFoundError,
    ProviderRegistry,
    ProviderStateError,
    operation,
)
from aioproviders.registry import RegistryChanges
from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider


class Settings(ProviderConfig):
    answer: str = "healthy"
    key: SecretStr = SecretStr("")


class FromFile(Worker):
    """Made by a file: its config says how it is, and `made` has all there ever were."""

    config_class = Settings
    made: ClassVar[list] = []
    all_gates: ClassVar[dict] = {}

    def __init__(self, config: Settings):
        super().__init__(config)
        self.answer = {"status": config.answer}
        self.gates = self.all_gates
        self.made.append(self)
        if config.answer == "no start":
            self.errors["initialize"] = ValueError("no start")


class Other(FromFile): ...


@pytest.fixture
def write(tmp_path):
    """Writes a providers file of ``name=settings``, and returns its path."""

    def write(**tables):
        lines = []
        for name, table in tables.items():
            lines += [f"[providers.{name}]", 'type = "storage"', 'version = "1"', "retry_attempts = 1"]
            lines += ['driver = "double"'] if "driver" not in table else []
            lines += [table, ""]
        path = tmp_path / "providers.toml"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    FromFile.made.clear()
    FromFile.all_gates.clear()
    with ProviderFactory.temporary():
        ProviderFactory.register_provider("storage", FromFile, "double")
        ProviderFactory.register_provider("storage", Other, "other")
        yield write


def held():
    return [provider.held for provider in FromFile.made]


# From a file.


async def test_a_file_is_read_on_entry(write):
    """Making the registry reads nothing; entering it builds and starts what the file says by then."""
    registry = ProviderRegistry.from_file(path := write())
    path.unlink()
    write(b='depends_on = ["a"]', a="")
    assert len(registry) == 0
    async with registry:
        assert registry.names == ("b", "a")
        assert held() == [1, 1]
        assert registry.get("a", FromFile).state == "ready"
    assert held() == [0, 0]


@pytest.mark.parametrize(
    "use",
    [
        lambda registry: registry.get("a"),
        lambda registry: registry.names,
        list,
        lambda registry: "a" in registry,
        lambda registry: registry.iter_health(),
        lambda registry: registry.monitor(),
        lambda registry: registry.sweep().send(None),
        lambda registry: registry.health_check_all().send(None),
    ],
)
def test_a_file_that_is_not_read_yet_is_not_an_empty_registry(use):
    """Before it is entered it neither reports health nor says what is there."""
    with pytest.raises(ProviderStateError, match="the registry is new: enter it with 'async with' first"):
        use(ProviderRegistry.from_file("no/such/file.toml"))


async def test_an_environment_is_put_on(write):
    """The overlay that was chosen holds."""
    path = write(a="")
    with path.open("a", encoding="utf-8") as file:
        file.write("[environments.production.providers.a]\ntimeout_ms = 77\n")
    async with ProviderRegistry.from_file(path, environment="production") as registry:
        assert registry.get("a").config.timeout_ms == 77


async def test_start_false_leaves_a_files_providers_to_their_first_use(write):
    """Nothing is opened until somebody asks."""
    async with ProviderRegistry.from_file(write(a=""), start=False) as registry:
        assert held() == [0]
        await registry.health_check_all()
        assert held() == [1]
    assert held() == [0]


@pytest.mark.parametrize("text", ["[providers.a]\ntype = 'nope'\n", "nonsense"])
async def test_a_bad_file_is_a_configuration_error(write, text):
    """What `load_providers` says comes out, and the registry is closed."""
    path = write()
    path.write_text(text, encoding="utf-8")
    registry = ProviderRegistry.from_file(path)
    with pytest.raises(ConfigurationError, match=r"providers\.toml"):
        await registry.__aenter__()
    with pytest.raises(ProviderStateError):
        await registry.__aenter__()


async def test_a_name_cannot_be_both_registered_and_in_the_file(write):
    """The error names the file and the provider."""
    registry = ProviderRegistry.from_file(write(a=""))
    registry.register("a", double("a"))
    with pytest.raises(ConfigurationError, match=r"providers\.toml: a provider 'a' is registered already"):
        await registry.__aenter__()


async def test_a_files_warnings_are_logged(write):
    """Settings that don't fit together are one event each."""
    capture = structlog.testing.LogCapture()
    structlog.configure(processors=[capture])
    try:
        async with ProviderRegistry.from_file(write(a="backoff_initial_ms = 99\nbackoff_max_ms = 9")):
            pass
    finally:
        structlog.reset_defaults()
    events = [entry for entry in capture.entries if entry["event"] == "configuration.conflict"]
    assert len(events) == 1
    assert "backoff_initial_ms=99" in events[0]["warning"]


# Reconfiguring.


async def test_reconfigure_puts_a_new_provider_in_the_old_ones_place():
    """Same class, new config; the name, the order and the rest stay; the old one is closed."""
    a, b = double("a", Worker), double("b")
    async with filled(a, b) as registry:
        fresh = await registry.reconfigure("a", config("a", timeout_ms=77))
        assert registry.get("a") is fresh
        assert (type(fresh), fresh.config.timeout_ms, fresh.held, fresh.state) == (Worker, 77, 1, "ready")
        assert registry.names == ("a", "b")
        assert (a.held, a.state, b.state) == (0, "closed", "ready")
        with pytest.raises(ProviderStateError):
            await a.initialize()
    assert fresh.held == 0


async def test_calls_in_flight_end_before_the_old_one_is_closed():
    """Who is in a call of the old provider gets the answer; new callers get the new one meanwhile."""

    class Working(Double):
        @operation
        async def work(self):
            await self.step("work")
            return "done"

    old = double("a", Working)
    old.gates["work"] = anyio.Event()
    answers = []
    async with filled(old) as registry, anyio.create_task_group() as task_group:

        async def work():
            answers.append(await old.work())

        task_group.start_soon(work)
        await old.entered["work"].wait()
        task_group.start_soon(registry.reconfigure, "a", config("a"))
        await anyio.wait_all_tasks_blocked()
        assert registry.get("a") is not old
        assert (answers, old.held) == ([], 1)
        assert await registry.get("a", Working).work() == "done"
        old.gates["work"].set()
        await anyio.wait_all_tasks_blocked()
        assert (answers, old.held) == (["done"], 0)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        ("unhealthy", "the new 'a' is unhealthy; nothing was changed"),
        ("splendid", "the new 'a' is error: health_check.. returned a status that is none of"),
        ("no start", "the new 'a' could not start: ValueError: no start; nothing was changed"),
    ],
)
async def test_a_new_provider_that_is_not_well_is_refused(write, answer, what):
    """The old one stays, still running; the new one is closed."""
    async with ProviderRegistry.from_file(write(a="")) as registry:
        old = registry.get("a")
        with pytest.raises(ProviderError, match=what):
            await registry.reconfigure("a", Settings(name="a", version="1", retry_attempts=1, answer=answer))
        assert registry.get("a") is old
        assert held() == [1, 0]
        assert (await registry.health_check_all())["a"]["status"] == "healthy"


async def test_configs_that_do_not_fit_are_refused():
    """Wrong class, unknown dependency, circle, a disabled one that others need: the old one stays."""
    registry = filled(a := double("a"), double("b", depends_on=["a"]))
    async with registry:
        for bad, what in (
            (object(), "takes a ProviderConfig"),
            (config("a", depends_on=["x"]), "'a' depends on 'x', which is not in the registry"),
            (config("a", depends_on=["b"]), "in a circle"),
            (config("a", enabled=False), "'b' depends on 'a', which is disabled"),
        ):
            with pytest.raises(ConfigurationError, match=what):
                await registry.reconfigure("a", bad)
        assert registry.get("a") is a
        assert a.state == "ready"


class Needing(Double):
    """Takes more than a config."""

    def __init__(self, config: ProviderConfig, tool: object):
        super().__init__(config)
        self.tool = tool


class Handing(Needing):
    def rebuilt(self, config):
        return type(self)(config, self.tool)


async def test_what_a_provider_was_given_is_handed_on_by_its_hook():
    """The new one has what the constructor of the old one was given."""
    registry = filled(Handing(config("a"), tool := object()))
    async with registry:
        fresh = await registry.reconfigure("a", config("a", timeout_ms=77))
        assert (fresh.tool, fresh.config.timeout_ms) == (tool, 77)


async def test_a_class_that_needs_more_than_a_config_is_told_of_the_hook():
    """One clear error names the class, the argument and what to override; the old one stays."""
    registry = filled(old := Needing(config("a"), object()))
    async with registry:
        with pytest.raises(ConfigurationError, match=r"^Needing can't .*'tool'\): override its rebuilt\(\)"):
            await registry.reconfigure("a", config("a", timeout_ms=77))
        assert registry.get("a") is old
        assert old.state == "ready"


async def test_a_given_client_stays_with_a_reconfigured_http_provider():
    """The new one asks through the same client, which is left open."""
    seen = []

    def answer(request):
        seen.append(str(request.url))
        return httpx.Response(200)

    def settings(endpoint):
        return HTTPSDKConfig(name="a", version="1", api_endpoint=endpoint, retry_attempts=1)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        registry = ProviderRegistry()
        registry.register("a", HTTPSDKProvider(settings("http://old.test"), client=client))
        async with registry:
            await registry.reconfigure("a", settings("http://new.test"))
        assert not client.is_closed
    assert seen
    assert all(url.startswith("http://new.test") for url in seen)


@pytest.mark.parametrize("step", ["initialize", "cleanup"])
async def test_a_change_from_within_a_change_is_refused(step):
    """A new one's start and an old one's cleanup can't wait for the change that waits for them."""
    refused = []

    class Changing(Double):
        async def step(self, step):
            if step == wanted and self.config.timeout_ms == ms:
                with pytest.raises(
                    ProviderStateError, match="'a' is just being put in place or closed"
                ) as caught:
                    await registry.reconfigure("a", config("a", timeout_ms=88))
                refused.append(caught.value)

    wanted, ms = step, {"initialize": 7777, "cleanup": 5000}[step]
    registry = filled(double("a", Changing))
    async with registry:
        with anyio.fail_after(2):
            await registry.reconfigure("a", config("a", timeout_ms=7777))
        assert len(refused) == 1
        assert (await registry.reconfigure("a", config("a", timeout_ms=99))).config.timeout_ms == 99


async def test_an_operation_may_reconfigure_its_own_provider():
    """No change is under way then, and its own call is not waited for."""

    class Renewing(Double):
        @operation
        async def renew(self):
            return await registry.reconfigure("a", config("a", timeout_ms=77))

    registry = filled(old := double("a", Renewing))
    async with registry:
        with anyio.fail_after(2):
            assert await old.renew() is registry.get("a")
        assert old.state == "closed"


async def test_a_provider_can_be_disabled_and_enabled_again():
    """The disabled one is not started; the enabled one is."""
    async with filled(double("a")) as registry:
        off = await registry.reconfigure("a", config("a", enabled=False))
        assert off.held == 0
        assert (await registry.health_check_all())["a"]["status"] == "disabled"
        on = await registry.reconfigure("a", config("a"))
        assert on.held == 1


@pytest.mark.parametrize("native", [True, False])
async def test_cancelled_anywhere_either_the_old_or_the_new_one_stays_whole(native):
    """Whoever is in the registry afterwards is ready, and the other one is closed."""
    made = FromFile.made
    made.clear()
    async with filled(FromFile(Settings(name="a", version="1", retry_attempts=1))) as registry:

        async def reconfigure():
            await registry.reconfigure("a", Settings(name="a", version="1", retry_attempts=1))

        def check():
            current = registry.get("a")
            assert current.state == "ready"
            assert [p for p in made if p.held] == [current]

        assert await cancel_everywhere(reconfigure, check, native=native) > 10
    assert not any(held())


async def test_reconfigures_of_one_name_come_one_after_the_other():
    """Of many at once each finds the one before it in place, and only the last remains open."""
    FromFile.made.clear()
    async with (
        filled(FromFile(Settings(name="a", version="1"))) as registry,
        anyio.create_task_group() as tasks,
    ):
        for number in range(10):
            tasks.start_soon(
                registry.reconfigure, "a", Settings(name="a", version="1", max_concurrency=number + 1)
            )
        while len(FromFile.made) < 11:
            await anyio.lowlevel.checkpoint()
            assert sum(held()) <= 2
    assert not any(held())


async def test_an_old_ones_failing_cleanup_does_not_undo_the_change():
    """The new one is in place; the failure is logged."""
    a = double("a")
    a.errors["cleanup"] = ValueError("stuck")
    capture = structlog.testing.LogCapture()
    async with filled(a) as registry:
        structlog.configure(processors=[capture])
        fresh = await registry.reconfigure("a", config("a"))
        structlog.reset_defaults()
        assert registry.get("a") is fresh
    assert "registry.old_provider_cleanup_failed" in {entry["event"] for entry in capture.entries}


async def test_a_registry_that_closes_meanwhile_keeps_nothing_of_the_new_one(write):
    """The change fails, and what it had built is closed."""
    async with anyio.create_task_group() as task_group:
        async with ProviderRegistry.from_file(write(a="")) as registry:
            FromFile.all_gates["initialize"] = anyio.Event()

            async def reconfigure():
                with pytest.raises(ProviderStateError, match="the registry is clos"):
                    await registry.reconfigure("a", Settings(name="a", version="1", retry_attempts=1))

            task_group.start_soon(reconfigure)
            await anyio.wait_all_tasks_blocked()
            assert held() == [1, 1]
        FromFile.all_gates["initialize"].set()
    assert held() == [0, 0]


async def test_a_registry_must_be_open_to_change():
    """Before it is entered there is nothing to swap."""
    with pytest.raises(ProviderStateError, match="the registry is new"):
        await filled(double("a")).reconfigure("a", config("a"))


# Reloading.


async def test_reload_adds_replaces_and_removes_and_leaves_the_rest_alone(write):
    """Only what differs is touched; what was registered by hand stays."""
    path = write(same="", changed="", gone="", cls="")
    registry = ProviderRegistry.from_file(path)
    registry.register("hand", hand := double("hand"))
    async with registry:
        before = {name: registry.get(name) for name in registry}
        write(
            same="", changed="timeout_ms = 77", new='depends_on = ["newer"]', newer="", cls='driver = "other"'
        )
        changes = await registry.reload()
        assert changes == RegistryChanges(("new", "newer"), ("changed", "cls"), ("gone",))
        assert registry.names == ("hand", "same", "changed", "cls", "new", "newer")
        assert registry.get("same") is before["same"]
        assert registry.get("hand") is hand
        assert registry.get("changed").config.timeout_ms == 77
        assert isinstance(registry.get("cls"), Other)
        assert [before[name].state for name in ("changed", "cls", "gone")] == ["closed"] * 3
        assert await registry.reload() == RegistryChanges((), (), ())
    assert not any(held())


async def test_reload_puts_a_reconfigured_provider_back(write):
    """What the file says holds again."""
    async with ProviderRegistry.from_file(write(a="")) as registry:
        await registry.reconfigure("a", Settings(name="a", version="1", timeout_ms=77))
        assert (await registry.reload()).replaced == ("a",)
        assert registry.get("a").config.timeout_ms == 5000


@pytest.mark.parametrize(
    ("tables", "what"),
    [
        ({"a": "timeout_ms = 77", "b": "", "c": 'answer = "unhealthy"'}, "the new 'c' is unhealthy"),
        ({"a": "timeout_ms = 77", "b": "", "c": 'answer = "no start"'}, "the new 'c' could not start"),
        ({"a": "timeout_ms = 77", "b": 'timeout_ms = "soon"'}, r"b\.timeout_ms"),
        ({"b": ""}, "'hand' depends on 'a', which is not in the registry"),
        ({"a": "", "b": "", "hand": ""}, "a provider 'hand' is registered already"),
    ],
)
async def test_a_reload_that_fails_changes_nothing(write, tables, what):
    """All of the file or nothing: no provider is swapped, none is left open."""
    registry = ProviderRegistry.from_file(write(a="", b=""))
    registry.register("hand", double("hand", depends_on=["a"]))
    async with registry:
        before = {name: registry.get(name) for name in registry}
        write(**tables)
        with pytest.raises(ProviderError, match=what):
            await registry.reload()
        assert {name: registry.get(name) for name in registry} == before
        assert {provider.state for provider in before.values()} == {"ready"}
        assert sum(held()) == 2
    assert not any(held())


@pytest.mark.parametrize("native", [True, False])
async def test_a_cancelled_reload_is_whole_or_not_at_all(write, native):
    """At whatever point, open is what is in the registry, and nothing else."""
    path = write(a="", b='depends_on = ["a"]')
    timeouts = iter(range(1000, 9999))
    async with ProviderRegistry.from_file(path) as registry:

        async def reload():
            # Reading takes a thread; what comes after is what is stepped through.
            ms = next(timeouts)
            write(a=f"timeout_ms = {ms}", b=f'depends_on = ["a"]\ntimeout_ms = {ms}')
            await registry.reload()

        def check():
            current = [registry.get("a"), registry.get("b")]
            assert {p.state for p in current} == {"ready"}
            assert {id(p) for p in FromFile.made if p.held} == {id(p) for p in current}
            assert current[0].config.timeout_ms == current[1].config.timeout_ms

        await cancel_everywhere(reload, check, native=native)
    assert not any(held())


async def test_a_reload_cancelled_after_the_swap_is_remembered(write):
    """The change stays, and the next reload sees the file as it was put into effect."""
    async with ProviderRegistry.from_file(write(a="")) as registry:
        old = registry.get("a")
        old.gates = {"cleanup": anyio.Event()}
        write(a="timeout_ms = 77", b="")
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(registry.reload)
            await old.entered["cleanup"].wait()
            task_group.cancel_scope.cancel()
            old.gates["cleanup"].set()
        assert registry.names == ("a", "b")
        write(a="timeout_ms = 77")
        assert await registry.reload() == RegistryChanges((), (), ("b",))


async def test_a_provider_registered_during_a_reload_is_not_overwritten(write):
    """Who came first has the name; the reload fails and leaves nothing open."""
    async with ProviderRegistry.from_file(write(a="")) as registry, anyio.create_task_group() as task_group:
        FromFile.all_gates["initialize"] = anyio.Event()
        write(a="", late="")

        async def reload():
            with pytest.raises(ConfigurationError, match="a provider 'late' was registered meanwhile"):
                await registry.reload()

        task_group.start_soon(reload)
        while len(FromFile.made) < 2 or not FromFile.made[1].held:  # noqa: ASYNC110 - a thread reads the file
            await asyncio.sleep(0.001)
        registry.register("late", by_hand := double("late"))
        FromFile.all_gates.pop("initialize").set()
        await anyio.wait_all_tasks_blocked()
        assert registry.get("late") is by_hand
        assert held() == [1, 0]


async def test_reload_needs_a_file():
    """A registry that was filled by hand has nothing to read again."""
    async with filled(double("a")) as registry:
        with pytest.raises(ConfigurationError, match="was not made from a file; use reconfigure"):
            await registry.reload()


async def test_a_changed_secret_is_a_change_and_stays_secret(write, monkeypatch):
    """A rotated key replaces its provider, and shows nowhere."""
    monkeypatch.setenv("REGISTRY_TEST_KEY", "first-secret")
    async with ProviderRegistry.from_file(write(a='key = "${REGISTRY_TEST_KEY}"')) as registry:
        assert await registry.reload() == RegistryChanges((), (), ())
        monkeypatch.setenv("REGISTRY_TEST_KEY", "second-secret")
        changes = await registry.reload()
        assert changes.replaced == ("a",)
        assert registry.get("a", FromFile).config.key.get_secret_value() == "second-secret"
        assert "secret" not in f"{changes} {registry!r} {registry.get('a')!r}"


async def test_a_monitor_forgets_who_was_removed(write):
    """A check that ends after its provider has gone is dropped, and so is its history."""
    async with (
        ProviderRegistry.from_file(write(a="", gone="")) as registry,
        registry.monitor(interval=0.005, deadline=5) as monitor,
    ):
        await monitor.report()
        removed = registry.get("gone", FromFile)
        removed.gates = {"health_check": anyio.Event()}
        probes = removed.probes
        while removed.probes == probes:  # noqa: ASYNC110 - the next sweep has begun
            await asyncio.sleep(0.001)
        write(a="")
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(registry.reload)
            while "gone" in registry:  # noqa: ASYNC110 - swapped, and waiting for the check to end
                await asyncio.sleep(0.001)
            removed.gates["health_check"].set()
        seen = len(monitor.history("a"))
        while len(monitor.history("a")) < seen + 2:  # noqa: ASYNC110 - two more sweeps
            await asyncio.sleep(0.001)
        assert set(monitor.snapshot().checks) == {"a"}
        with pytest.raises(ProviderNotFoundError):
            monitor.history("gone")
        assert "gone" not in monitor._tracks
