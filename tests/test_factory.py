"""The factory: registrations, drivers from entry points, and what it says when something is wrong."""

import importlib.metadata
import itertools
import subprocess
import sys
from abc import abstractmethod

import pytest

from aioproviders.config import ProviderConfig
from aioproviders.errors import ConfigurationError, ProviderNotFoundError
from aioproviders.factory import DriverInfo, ProviderFactory, did_you_mean
from aioproviders.provider import BaseProvider, ProviderType

CONFIG = ProviderConfig(name="one", version="1")
GOOD = """
from aioproviders.provider import BaseProvider
class Good(BaseProvider):
    async def initialize(self): ...
    async def health_check(self): return {"status": "healthy"}
    async def cleanup(self): ...
class Outer:
    class Inner(Good): ...
"""
_serial = itertools.count()


class Plain(BaseProvider):
    async def initialize(self): ...

    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self): ...


class Other(Plain): ...


class OfStorage(Plain):
    provider_type = ProviderType.STORAGE


class Unfinished(Plain):
    @abstractmethod
    async def put(self): ...

    @abstractmethod
    async def get(self): ...


@pytest.fixture(autouse=True)
def factory(monkeypatch):
    """A factory that knows nothing at first, and that forgets what the test did to it."""
    with ProviderFactory.temporary():
        ProviderFactory._providers.clear()
        ProviderFactory._drivers.clear()
        monkeypatch.setattr(ProviderFactory, "_plugins", ())
        yield ProviderFactory


@pytest.fixture
def install(tmp_path, monkeypatch, factory):
    """Install a distribution that has a module and entry points; returns the module's name."""
    modules = []

    def install(source=GOOD, *, name="plugin", version="1.0", points=(), raw=None):
        module = f"plugin_module_{next(_serial)}"
        modules.append(module)
        site = tmp_path / f"{name}-{version}"
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = "\n".join(f"{point} = {module}{target}" for point, target in points)
        (info / "entry_points.txt").write_text(raw or f"[aioproviders.drivers]\n{lines}\n")
        monkeypatch.syspath_prepend(str(site))
        factory.refresh()
        return module

    yield install
    for module in modules:
        sys.modules.pop(module, None)


def named(drivers, source):
    return [info for info in drivers if info.source.startswith(source)]


def test_creates_what_was_registered(factory):
    """A registered class is what the factory makes providers from."""
    factory.register_provider(ProviderType.SDK, Plain)
    provider = factory.create_provider(ProviderType.SDK, CONFIG)
    assert type(provider) is Plain
    assert provider.config == CONFIG
    assert factory.get_available_providers() == {ProviderType.SDK: "Plain"}


def test_types_may_be_strings(factory):
    """A type may be given as its plain value."""
    factory.register_provider("sdk", Plain)
    factory.register_provider("sdk", Other, driver="other")
    assert factory.get_driver(ProviderType.SDK) is Plain
    assert factory.get_driver("sdk", "other") is Other
    assert type(factory.create_provider("sdk", CONFIG, driver="other")) is Other


def test_registering_again_replaces(factory):
    """The last registration of a name holds."""
    factory.register_provider("sdk", Plain)
    factory.register_provider("sdk", Other)
    assert factory.get_driver("sdk") is Other


def test_an_unknown_type_is_a_value_error(factory):
    """A type that nobody has registered is refused in the words of the specification."""
    with pytest.raises(ValueError, match=r"^Unknown provider type: storage") as caught:
        factory.create_provider(ProviderType.STORAGE, CONFIG)
    assert isinstance(caught.value, ProviderNotFoundError)


def test_a_misspelt_type_gets_a_near_match(factory):
    """A string that is no type is answered with the types there are and the nearest one."""
    with pytest.raises(
        ProviderNotFoundError, match=r"^Unknown provider type: storrage; available: deployment, "
    ) as error:
        factory.register_provider("storrage", Plain)
    assert error.value.message.endswith("did you mean 'storage'?")


def test_a_misspelt_driver_gets_a_near_match(factory):
    """An unknown driver is answered with the drivers of the type and the nearest one."""
    factory.register_provider("sdk", Plain, driver="http")
    factory.register_provider("sdk", Plain, driver="python")
    with pytest.raises(ProviderNotFoundError) as error:
        factory.get_driver("sdk", "HTPP")
    assert error.value.message == (
        "Unknown provider driver: sdk.HTPP; available: http, python; did you mean 'http'?"
    )
    with pytest.raises(ProviderNotFoundError, match=r"storage\.http; available: none$"):
        factory.get_driver("storage", "http")


def test_the_only_driver_is_the_default(factory):
    """Where a type has one driver, it need not be named."""
    factory.register_provider("sdk", Plain, driver="http")
    assert factory.get_driver("sdk") is Plain
    assert factory.get_available_providers() == {ProviderType.SDK: "Plain"}


def test_of_several_drivers_one_must_be_chosen(factory):
    """Where a type has several drivers and no default one, the caller has to choose."""
    factory.register_provider("sdk", Plain, driver="b")
    factory.register_provider("sdk", Other, driver="a")
    with pytest.raises(ConfigurationError, match=r"no default driver; choose one of: a, b$"):
        factory.get_driver("sdk")
    assert factory.get_available_providers() == {ProviderType.SDK: "Other, Plain"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (dict, "subclass of BaseProvider, not the class builtins.dict"),
        (Plain(CONFIG), "subclass of BaseProvider, not an object of type Plain"),
        (None, "not an object of type NoneType"),
        (Unfinished, "Unfinished is abstract, it lacks: get, put"),
        (BaseProvider, "it lacks: cleanup, health_check, initialize"),
        (OfStorage, "OfStorage is a provider of type storage"),
    ],
)
def test_refuses_what_is_no_provider(factory, wrong, why):
    """What can't serve as a driver is refused when it is registered, and the error says why."""
    with pytest.raises(ConfigurationError, match=why):
        factory.register_provider("sdk", wrong)
    with pytest.raises(ProviderNotFoundError):
        factory.get_driver("sdk")


def test_a_driver_needs_a_name(factory):
    """An empty driver name is refused."""
    with pytest.raises(ConfigurationError, match="name is empty"):
        factory.register_provider("sdk", Plain, driver="")


def test_a_registration_can_be_undone(factory):
    """What was registered can be unregistered, once."""
    factory.register_provider("sdk", Plain)
    factory.register_provider("sdk", Other, driver="http")
    factory.unregister_provider("sdk")
    factory.unregister_provider("sdk", "http")
    assert factory.get_available_providers() == {}
    with pytest.raises(ProviderNotFoundError, match="default of sdk"):
        factory.unregister_provider("sdk")
    with pytest.raises(ProviderNotFoundError, match=r"sdk\.http"):
        factory.unregister_provider("sdk", "http")


def test_registrations_may_be_temporary(factory):
    """After the block, all is as it was, even when the block fails."""
    factory.register_provider("sdk", Plain)

    def fail():
        with factory.temporary() as same:
            same.register_provider("sdk", Other)
            same.register_provider("storage", Other, driver="x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert factory.get_driver("sdk") is Plain
    assert factory.get_available_providers() == {ProviderType.SDK: "Plain"}


def test_finds_installed_drivers(factory, install):
    """A driver that a distribution offers is found, and imported only when it is asked for."""
    module = install(points=[("storage.good", ":Good"), ("storage.inner", ":Outer.Inner")])
    assert factory.get_driver_names("storage") == ["good", "inner"]
    assert factory.get_available_providers()[ProviderType.STORAGE] == "Good, Inner"
    assert DriverInfo(ProviderType.STORAGE, "good", "plugin 1.0", f"{module}:Good") in factory.get_drivers()
    assert module not in sys.modules
    assert factory.get_driver("storage", "good").__name__ == "Good"
    assert module in sys.modules
    assert factory.create_provider("storage", CONFIG, driver="inner").name == "one"


def test_a_registered_class_wins_over_an_installed_one(factory, install):
    """A class registered under an entry point's name takes its place, in the list too."""
    install(points=[("storage.good", ":Good")])
    factory.register_provider("storage", Plain, driver="good")
    assert factory.get_driver("storage", "good") is Plain
    assert [info.source for info in factory.get_drivers() if info.type == "storage"] == ["registered"]


def test_the_scan_is_cached_until_refreshed(factory, install, monkeypatch):
    """Entry points are read once, and again after a refresh."""
    install(points=[("storage.good", ":Good")])
    assert factory.get_driver_names("storage") == ["good"]
    monkeypatch.setattr(sys, "path", sys.path[1:])
    assert factory.get_driver_names("storage") == ["good"]
    factory.refresh()
    assert factory.get_driver_names("storage") == []


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ("import no_such_module_here", ":Good", "ModuleNotFoundError: No module named 'no_such_module_here'"),
        (GOOD, ":Missing", "AttributeError: module .* has no attribute 'Missing'"),
        ("class Good: ...", ":Good", "should be a subclass of BaseProvider, not the class plugin_module_"),
        (GOOD, "", "not an object of type module"),
        (
            "raise RuntimeError('first\\nsecond https://user:hunter2@host')",
            ":Good",
            r"RuntimeError: first second",
        ),
        ("raise SystemExit(3)", ":Good", "SystemExit: 3"),
        ("raise RuntimeError('x' * 5000)", ":Good", "RuntimeError: x+…$"),
        ("def broken(:", ":Good", "SyntaxError: "),
        (GOOD, ":Good:Good", "can't be loaded"),
    ],
)
def test_a_broken_driver_is_reported_by_name(factory, install, source, target, why):
    """A driver that can't be loaded says which one, whose, and why, in one line; others go on working."""
    module = install(source, name="broken", points=[("storage.bad", target)])
    install(points=[("storage.good", ":Good")])
    with pytest.raises(ConfigurationError, match=why) as error:
        factory.get_driver("storage", "bad")
    message = error.value.message
    assert message.startswith(f"Driver storage.bad can't be loaded from {module}{target} of broken 1.0: ")
    assert "\n" not in message
    assert "hunter2" not in message
    assert len(message) < 500
    assert factory.get_driver("storage", "good")
    assert [info.error for info in named(factory.get_drivers(), "broken")] == [None]
    assert [info.error for info in named(factory.get_drivers(load=True), "broken")] == [message]
    assert [info.error for info in named(factory.get_drivers(load=True), "plugin")] == [None]


def test_a_missing_extra_is_named(factory, install):
    """Where the entry point says which extra its driver needs, the error names the line to install it."""
    install("import no_such_module_here", name="extra", points=[("storage.x", ":Good [cloud,fast]")])
    with pytest.raises(ConfigurationError, match=r"; pip install 'extra\[cloud,fast\]'$"):
        factory.get_driver("storage", "x")
    assert factory.get_available_providers()[ProviderType.STORAGE] == "Good"


def test_two_distributions_with_one_name_clash_only_when_asked(factory, install):
    """Of two distributions that offer the same driver both are named, once that driver is asked for."""
    install(name="one", points=[("storage.same", ":Good"), ("storage.own", ":Good")])
    install(name="two", version="2.5", points=[("storage.same", ":Good")])
    assert factory.get_driver("storage", "own")
    with pytest.raises(
        ConfigurationError, match=r"storage\.same is offered by one 1\.0 \(.* and by two 2\.5 \("
    ):
        factory.get_driver("storage", "same")
    clashing = [info for info in factory.get_drivers() if info.driver == "same"]
    assert len(clashing) == 2
    assert all("is offered by one 1.0" in info.error for info in clashing)


@pytest.mark.parametrize("point", ["storage", "nosuch.http", "storage."])
def test_a_misnamed_entry_point_is_listed_with_its_error(factory, install, point):
    """An entry point whose name is not <type>.<driver> is listed with what is wrong, and harms nobody."""
    install(points=[(point, ":Good"), ("storage.good", ":Good")])
    assert factory.get_driver_names("storage") == ["good"]
    (info,) = [info for info in factory.get_drivers(load=True) if info.type is None]
    assert info.driver == point
    assert "should be <type>.<driver>" in info.error


def test_unreadable_entry_points_harm_nobody(factory, install):
    """A distribution whose list of entry points can't be read is reported; the others are still found."""
    install(name="bad_one", raw="[aioproviders.drivers]\nno equals sign here\n")
    install(points=[("storage.good", ":Good")])
    install(points=[("storage.shadowed", ":Good")], version="0.9")
    assert "shadowed" in factory.get_driver_names("storage")
    assert "good" not in factory.get_driver_names("storage")
    (info,) = named(factory.get_drivers(load=True), "bad_one 1.0")
    assert info.error.startswith("its entry points can't be read: ")


def test_damaged_metadata_harm_nobody(factory, install, monkeypatch):
    """A distribution that can't even tell its name still offers its drivers."""
    install(points=[("storage.good", ":Good")])

    def fail(self):
        raise KeyError

    # Packages that bring a metadata reader of their own put it in the place of Python's.
    for reader in {type(found) for found in importlib.metadata.distributions()}:
        monkeypatch.setattr(reader, "version", property(fail))
    (info,) = [info for info in factory.get_drivers() if info.type == "storage"]
    assert info.source == "a distribution with damaged metadata"
    assert factory.get_driver("storage", "good")


def test_a_plugin_that_could_not_be_read_can_not_be_loaded(factory, install):
    """Even asked directly, an unreadable plugin answers with its error."""
    install(name="bad_one", raw="[aioproviders.drivers]\nno equals sign here\n")
    (plugin,) = [plugin for plugin in factory._installed() if plugin.entry is None]
    assert "its entry points can't be read" in plugin.why_not()


def test_drivers_are_listed_in_order(factory):
    """The list is sorted by type and name, with a type's default first."""
    factory.register_provider("storage", Other, driver="a")
    factory.register_provider("sdk", Plain, driver="b")
    factory.register_provider("sdk", Plain)
    assert factory.get_drivers(load=True) == [
        DriverInfo(ProviderType.SDK, None, "registered", f"{__name__}:Plain"),
        DriverInfo(ProviderType.SDK, "b", "registered", f"{__name__}:Plain"),
        DriverInfo(ProviderType.STORAGE, "a", "registered", f"{__name__}:Other"),
    ]


def test_near_matches_are_offered_only_when_near():
    """A word that is like nothing there gets no suggestion."""
    assert did_you_mean("http", ["https", "python"]) == "; did you mean 'https'?"
    assert did_you_mean("xyz", ["https", "python"]) == ""


def test_importing_the_factory_reads_no_entry_points():
    """Neither the entry points nor any driver's library are touched by the import."""
    code = (
        "import sys, aioproviders.factory as f, aioproviders.loading\n"
        "assert f.ProviderFactory._plugins is None\n"
        "print(sorted({'httpx', 'aiohttp', 'kubernetes_asyncio', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
