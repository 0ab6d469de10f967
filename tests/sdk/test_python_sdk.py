"""The Python SDK driver, with small vendors' packages that are really imported."""

import contextvars
import gc
import pickle
import sys
import threading
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest
import structlog
from pydantic import BaseModel, SecretStr, ValidationError
from vendor_packages import install

from aioproviders import (
    AuthenticationError,
    ConfigurationError,
    HealthStatus,
    NotFoundError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestError,
    UnsupportedCapabilityError,
)
from aioproviders.sdk.python import PythonSDKConfig, PythonSDKProvider
from aioproviders.sdk.python.vendor import as_data, error_of_vendor

KEY = "sk-canary-51c0ffee"


@pytest.fixture(autouse=True)
def forget_modules():
    before = set(sys.modules)
    yield
    for name in [name for name in set(sys.modules) - before if name.startswith("vendor")]:
        if name != "vendor_packages":
            del sys.modules[name]


@pytest.fixture
def vendor(tmp_path, monkeypatch):
    """A package called `vendor` on the interpreter's path; its module."""
    install(tmp_path / "site", "vendor")
    monkeypatch.syspath_prepend(tmp_path / "site")
    import vendor

    yield vendor
    vendor.gate.set()


def make(**fields):
    return PythonSDKProvider(
        PythonSDKConfig(
            **{
                "name": "shop",
                "package_name": "vendor",
                "version": ">=1.2,<2",
                "api_endpoint": "https://api.example.com",
                "api_key": KEY,
                "retry_attempts": 1,
                **fields,
            }
        )
    )


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


# The package and its version.


@pytest.mark.parametrize("version", ["1.4.0", "==1.4", ">=1.2,<2", "~=1.4", "*"])
async def test_version_that_fits(vendor, version):
    """A bare version means exactly that one; specifiers are PEP 440's; a star is any."""
    async with make(version=version) as provider:
        assert (await provider.get_capabilities())["version"] == "1.4.0"


@pytest.mark.parametrize("version", ["1.3.0", ">=2", "<1.4"])
async def test_version_that_does_not_fit_is_refused_naming_both(vendor, version):
    """The error has the version found and the one wanted."""
    with pytest.raises(ConfigurationError, match=r"vendor is installed as 1\.4\.0") as caught:
        await make(version=version).initialize()
    assert version in str(caught.value)


async def test_prerelease_that_is_installed_counts(tmp_path, monkeypatch):
    """Whoever installed a prerelease wants it."""
    install(tmp_path, "vendor", version="2.0rc1")
    monkeypatch.syspath_prepend(tmp_path)
    async with make(version=">=1.9") as provider:
        assert (await provider.health_check())["details"]["sdk_version"] == "2.0rc1"


async def test_version_of_a_package_without_metadata(tmp_path, monkeypatch):
    """Without a distribution ``__version__`` counts; without either only a star will do."""
    install(tmp_path, "vendor_plain", "__version__ = '3.1'\ndef Client(endpoint, api_key): return {}", None)
    install(tmp_path, "vendor_mute", "def Client(endpoint, api_key): return {}", None)
    install(tmp_path, "vendor_odd", "__version__ = 'dev'\ndef Client(endpoint, api_key): return {}", None)
    monkeypatch.syspath_prepend(tmp_path)
    plain = {"request_method": None}
    await make(package_name="vendor_plain", version="3.1", **plain).initialize()
    await make(package_name="vendor_mute", version="*", **plain).initialize()
    with pytest.raises(ConfigurationError, match="does not tell its version"):
        await make(package_name="vendor_mute", version="1.0").initialize()
    with pytest.raises(ConfigurationError, match="installed as dev"):
        await make(package_name="vendor_odd", version="1.0").initialize()


async def test_distribution_can_be_named(vendor):
    """With `distribution` the version is that of the distribution named."""
    async with make(distribution="vendor-dist", version="1.4.0"):
        pass
    with pytest.raises(ConfigurationError, match="does not tell its version"):
        await make(distribution="other-dist", version="1.4.0").initialize()


async def test_missing_package_names_the_pip_line(tmp_path):
    """The error says what to run, with the specifier, and the folder where there is one."""
    with pytest.raises(ConfigurationError, match=r"run: pip install 'vendor-dist<2,>=1\.2'"):
        await make(package_name="vendor_none", distribution="vendor-dist").initialize()
    with pytest.raises(ConfigurationError, match=f"pip install --target {tmp_path} 'vendor_none==2'"):
        await make(package_name="vendor_none", version="2", install_path=str(tmp_path)).initialize()
    with pytest.raises(ConfigurationError, match="there is no folder"):
        await make(install_path=str(tmp_path / "nowhere")).initialize()


@pytest.mark.parametrize("source", ["import not_there_at_all", "raise RuntimeError('on import')"])
async def test_package_that_fails_to_import_is_not_called_missing(tmp_path, monkeypatch, source):
    """A package that is there and breaks is told from one that is not there."""
    install(tmp_path, "vendor_broken", source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="importing vendor_broken failed"):
        await make(package_name="vendor_broken").initialize()


async def test_import_does_not_block_the_loop(tmp_path, monkeypatch):
    """The loop runs on while the package is imported; the import ends when this test lets it."""
    install(tmp_path, "vendor_slow", "import slow_gate; slow_gate.wait()\nfrom vendor import Client")
    install(tmp_path, "vendor")
    monkeypatch.syspath_prepend(tmp_path)
    gate = threading.Event()

    class Gate:
        begun = threading.Event()

        def wait(self):
            self.begun.set()
            assert gate.wait(30)

    monkeypatch.setitem(sys.modules, "slow_gate", Gate())
    provider = make(package_name="vendor_slow", version="*")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(provider.initialize)
        while not Gate.begun.is_set():
            await anyio.lowlevel.checkpoint()
        gate.set()
    assert provider.client is not None
    await provider.cleanup()


# A folder of its own.

LAZY = """
__version__ = "9"
class Client:
    def __init__(self, endpoint, api_key): pass
    def request(self, endpoint, data):
        from vendor_lazy import later
        import vendor_beside
        return {"later": later.VALUE, "beside": vendor_beside.VALUE}
    def close(self): pass
"""


async def test_install_path_is_imported_from_and_nothing_else_sees_it(tmp_path):
    """Package, late sub-imports and what lies beside it are found in calls; sys.path stays as it was."""
    install(tmp_path, "vendor_lazy", LAZY, "9", later="VALUE = 1")
    install(tmp_path, "vendor_beside", "VALUE = 2", "1")
    before = list(sys.path)
    async with make(package_name="vendor_lazy", version="9", install_path=str(tmp_path)) as provider:
        assert sys.path == before
        response = await provider.make_request("any")
        assert response.raise_for_error().data == {"later": 1, "beside": 2}
    del sys.modules["vendor_beside"]
    with pytest.raises(ModuleNotFoundError):
        __import__("vendor_beside")


async def test_install_path_goes_before_what_is_installed(tmp_path, monkeypatch):
    """The copy in the folder is taken although another version is on the interpreter's path."""
    install(tmp_path / "site", "vendor_two", version="1.0")
    install(tmp_path / "own", "vendor_two", version="2.0")
    monkeypatch.syspath_prepend(tmp_path / "site")
    async with make(package_name="vendor_two", version="2.0", install_path=str(tmp_path / "own")):
        assert sys.modules["vendor_two"].__file__.startswith(str(tmp_path / "own"))


async def test_two_copies_of_one_package_are_refused(tmp_path, monkeypatch):
    """A second provider that wants the same package from elsewhere gets an error, not the first copy."""
    for place in "ab":
        install(tmp_path / place, "vendor_two")
    here = {"package_name": "vendor_two", "install_path": str(tmp_path / "a")}
    there = {"package_name": "vendor_two", "install_path": str(tmp_path / "b")}
    async with make(**here), make(**here):
        with pytest.raises(ConfigurationError, match="install_path: vendor_two should come from"):
            await make(**there).initialize()
        with pytest.raises(ConfigurationError, match="the install_path of another provider"):
            await make(package_name="vendor_two").initialize()
        monkeypatch.syspath_prepend(tmp_path / "a")
        await make(package_name="vendor_two").initialize()


async def test_module_of_the_interpreter_is_not_taken_for_the_folder_s(tmp_path):
    """A package that the process has already from elsewhere is refused."""
    with pytest.raises(ConfigurationError, match="should come from"):
        await make(package_name="sys", version="*", install_path=str(tmp_path)).initialize()


# The config.


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("version", "newest", "PEP 440"),
        ("package_name", "vendor._inner", "public name"),
        ("client_class", "1Client", "public name"),
        ("request_method", "_request", "public name"),
        ("client_arguments", {"url": "{api_endpont}"}, "did you mean 'api_endpoint'"),
        ("client_arguments", {"url": "{xyz}"}, "has no field 'xyz'"),
        ("max_threads", 0, "greater than or equal to 1"),
    ],
)
def test_impossible_config_is_refused(field, value, why):
    """Each error names the field and what would be right."""
    with pytest.raises(ValidationError, match=why) as caught:
        make(**{field: value})
    assert field in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"client_class": "Cleint"}, "client_class: vendor has no 'Cleint'; did you mean 'Client'"),
        ({"client_class": "nothing.Client"}, "client_class: vendor has no 'nothing.Client'"),
        ({"client_class": "Client.limit"}, "neither a class nor a function"),
        ({"request_method": "limit"}, "request_method: 'limit' of Client is no method"),
        ({"auth_method": "pings"}, "auth_method: Client has no 'pings'; did you mean 'ping'"),
        ({"health_method": "orders.list"}, "health_method: Client has no 'orders.list'"),
        ({"client_arguments": {"url": "x"}}, "client_arguments: Client.. can't be called with them"),
    ],
)
async def test_config_that_does_not_fit_the_package_is_refused(vendor, fields, why):
    """What the package does not have is a ConfigurationError at the start, with near matches."""
    with pytest.raises(ConfigurationError, match=why):
        await make(**fields).initialize()
    assert all(client.closed for client in vendor.made)


async def test_client_arguments_are_fields_or_literals(vendor):
    """Braces name a field, secrets in the clear; all else is literal, and the client's own to change."""
    arguments = {
        "endpoint": "{api_endpoint}",
        "api_key": "{api_key}",
        "region": "name",
        "most": "{rate_limit}",
        "extra": {"tags": ["a"]},
    }
    async with make(client_arguments=arguments) as provider:
        client = provider.client
        assert (client.endpoint, client.api_key) == ("https://api.example.com", KEY)
        assert client.options == {"region": "name", "most": 100, "extra": {"tags": ["a"]}}
        client.options["extra"]["tags"].append("b")


async def test_client_class_may_be_in_a_submodule(tmp_path, monkeypatch):
    """A dotted client class is found in a submodule that the package does not import by itself."""
    install(
        tmp_path,
        "vendor_deep",
        "",
        inner="from vendor_deep import helper\nclass Client(dict): pass",
        helper="",
    )
    install(tmp_path, "vendor_deep2", "", inner="import missing_thing")
    monkeypatch.syspath_prepend(tmp_path)
    deep = make(package_name="vendor_deep", client_class="inner.Client", request_method="get", version="*")
    async with deep:
        assert type(deep.client).__name__ == "Client"
    with pytest.raises(ProviderError, match="missing_thing"):
        await make(package_name="vendor_deep2", client_class="inner.Client", version="*").initialize()


# Requests.


async def test_request_method_gets_endpoint_and_data(vendor):
    """The configured method is called as the specification shows it."""
    async with make() as provider:
        response = await provider.make_request("echo", {"a": 1})
        nothing = await provider.make_request("echo")
    assert response.success
    assert response.data == {"endpoint": "https://api.example.com", "data": {"a": 1}}
    assert response.attempts == 1
    assert len(response.request_id) == 32
    assert nothing.data["data"] == {}


async def test_endpoint_can_name_the_method(vendor):
    """Without a request method the endpoint is resolved on the client, and data are its arguments."""
    async with make(request_method=None) as provider:
        response = await provider.make_request("orders.create", {"amount": 3})
    assert response.data["amount"] == 3


@pytest.mark.parametrize(
    "endpoint", ["_secret", "orders.__class__", "orders..create", "", "limit", "orders.creat"]
)
async def test_private_and_missing_methods_are_refused(vendor, endpoint):
    """Nothing private can be reached through an endpoint, and what is no method is refused as well."""
    async with make(request_method=None) as provider:
        response = await provider.make_request(endpoint)
    with pytest.raises(UnsupportedCapabilityError):
        response.raise_for_error()


async def test_sync_clients_run_in_threads_with_the_caller_s_context(vendor):
    """The call runs in another thread, and context variables set by the caller are visible there."""
    token = vendor.tenant.set("acme")
    async with make() as provider:
        response = await provider.make_request("where")
    vendor.tenant.reset(token)
    assert response.data["tenant"] == "acme"
    assert response.data["thread"] != threading.get_ident()


async def test_async_clients_run_on_the_loop(tmp_path, monkeypatch):
    """A client with coroutine methods is made, used and closed on the loop."""
    install(tmp_path, "vendor_async", ASYNC)
    monkeypatch.syspath_prepend(tmp_path)
    async with make(package_name="vendor_async", request_method="request") as provider:
        client = provider.client
        response = await provider.make_request("x", {"n": 1})
        assert (await provider.get_capabilities())["asynchronous"] is True
    assert response.data == {"thread": threading.get_ident(), "n": 1}
    assert client.closed == threading.get_ident()


ASYNC = """
import asyncio, threading
class Base:
    def __init__(self, endpoint, api_key):
        asyncio.get_running_loop()
        self.closed = None
class Client(Base):
    async def request(self, endpoint, data):
        await asyncio.sleep(0)
        return {"thread": threading.get_ident(), **data}
    async def aclose(self):
        self.closed = threading.get_ident()
class Entered(Base):
    async def __aenter__(self):
        self.inner = Inner()
        return self.inner
    async def __aexit__(self, *error):
        self.inner.left = True
class Inner:
    left = False
    def request(self, endpoint, data):
        return asyncio.ensure_future(asyncio.sleep(0, {"future": True}))
async def connect(endpoint, api_key):
    return Client(endpoint, api_key)
def build(endpoint, api_key):
    return Late()
class Late:
    async def request(self, endpoint, data):
        return {"thread": threading.get_ident()}
class Blocking:
    def __init__(self, endpoint, api_key):
        self.left = 0
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.left = threading.get_ident()
    def request(self, endpoint, data):
        return 5
    async def ping(self):
        return True
"""


@pytest.fixture
def vendor_async(tmp_path, monkeypatch):
    install(tmp_path, "vendor_async", ASYNC)
    monkeypatch.syspath_prepend(tmp_path)
    import vendor_async

    return vendor_async


async def test_client_that_can_only_be_entered_is_entered_and_left(vendor_async):
    """What ``__aenter__`` returns is used; an awaitable that is no coroutine is awaited."""
    async with make(package_name="vendor_async", client_class="Entered") as provider:
        client = provider.client
        assert (await provider.make_request("x")).data == {"future": True}
    assert isinstance(client, vendor_async.Inner)
    assert client.left


async def test_sync_client_that_can_only_be_entered_is_entered_and_left_in_a_thread(vendor_async):
    """Leaving may block, so it happens off the loop; a single coroutine method is awaited all the same."""
    fields = {"package_name": "vendor_async", "client_class": "Blocking", "health_method": "ping"}
    async with make(**fields) as provider:
        client = provider.client
        assert (await provider.make_request("x")).data == 5
        assert (await provider.health_check())["status"] is HealthStatus.HEALTHY
    assert client.left not in (0, threading.get_ident())


@pytest.mark.parametrize("client_class", ["connect", "build"])
async def test_functions_that_make_clients(vendor_async, client_class):
    """A coroutine function is awaited; a plain one's client is used as its class shows."""
    async with make(package_name="vendor_async", client_class=client_class) as provider:
        response = await provider.make_request("x")
        assert (await provider.get_capabilities())["asynchronous"] is True
    assert response.data == {"thread": threading.get_ident()}


async def test_where_a_client_runs_can_be_told(vendor):
    """`asynchronous` decides against what the class looks like."""
    async with make(asynchronous=True) as provider:
        assert (await provider.make_request("where")).data["thread"] == threading.get_ident()


# Failures.


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (401, AuthenticationError, False),
        (404, NotFoundError, False),
        (418, RequestError, False),
        (429, RateLimitedError, True),
        (500, RequestError, True),
    ],
)
async def test_status_of_a_vendor_s_exception_decides(vendor, status, kind, retryable):
    """An exception with a status becomes the typed error, with Retry-After from its headers."""
    async with make() as provider:
        headers = {"Retry-After": "7"}
        response = await provider.make_request("fail", {"status": status, "headers": headers})
    with pytest.raises(kind) as caught:
        response.raise_for_error()
    assert type(caught.value) is kind
    assert caught.value.status_code == response.status_code == status
    assert caught.value.retry_after == 7
    assert caught.value.retryable is retryable
    assert type(caught.value.__cause__).__name__ == "ApiError"


async def test_retry_after_as_a_date_and_status_on_the_response():
    """Retry-After may be a date, relative to the answer's own Date; the status may be the response's."""
    exc = RuntimeError("no")
    exc.response = type("Response", (), {})()
    exc.response.status_code = 503
    exc.response.headers = {
        "Retry-After": "Wed, 21 Oct 2015 07:28:30 GMT",
        "Date": "Wed, 21 Oct 2015 07:28:00 GMT",
    }
    error = error_of_vendor(exc)
    assert (error.status_code, error.retry_after, error.sent) == (503, 30, False)
    exc.response.headers = {"retry-after": "soon"}
    assert error_of_vendor(exc).retry_after is None
    exc.response.headers = None
    assert error_of_vendor(exc).retry_after is None


@pytest.mark.parametrize(
    ("endpoint", "data", "kind", "sent"),
    [
        ("lose", {"error": "timeout"}, ProviderTimeoutError, True),
        ("lose", {"error": "reset"}, ProviderUnavailableError, True),
        ("refuse", {}, ProviderUnavailableError, False),
    ],
)
async def test_connection_failures_are_told_from_what_they_were_raised_from(
    vendor, endpoint, data, kind, sent
):
    """A vendor's own exception counts as the connection error or timeout it was raised from."""
    async with make() as provider:
        response = await provider.make_request(endpoint, data)
    assert response.error_detail.sent is sent
    with pytest.raises(kind):
        response.raise_for_error()


async def test_other_exceptions_are_not_retried(vendor):
    """What is neither a status nor a connection's failure is tried once."""
    async with make(retry_attempts=3) as provider:
        response = await provider.make_request("echo_not_there")
        assert provider.client.calls == 1
    assert response.error_detail.code == "provider_error"
    assert "AttributeError" in response.error


async def test_only_endpoints_that_are_idempotent_are_retried_after_being_sent(vendor):
    """A failure that may have been acted upon is retried where the config says that this is harmless."""
    async with make(retry_attempts=2, backoff_initial_ms=1, idempotent_endpoints=("los*",)) as provider:
        harmless = await provider.make_request("lose", {"error": "reset"})
        other = await provider.make_request("fail", {"status": 500})
    assert (harmless.attempts, other.attempts) == (2, 1)


async def test_secrets_in_a_vendor_s_exceptions_do_not_leave(vendor):
    """The key is in no result, error, cause, log or repr, though the vendor prints it."""
    async with make() as provider:
        with structlog.testing.capture_logs() as events:
            response = await provider.make_request("leak")
        with pytest.raises(ProviderError) as caught:
            response.raise_for_error()
        shown = [repr(provider), repr(provider.config), str(events), response.model_dump_json()]
        assert (await provider.make_request("key")).data == {"right": True}
        shown.append(str(await provider.get_capabilities()))
    shown += [f"{link} {link!r} {link.__traceback__}" for link in chain(caught.value)]
    shown.append(repr(pickle.dumps(caught.value)))
    assert "bad key" in response.error
    assert not [text for text in shown if KEY in text]


async def test_constructor_s_failure_is_translated(tmp_path, monkeypatch):
    """A client that can't connect when it is made is an unavailable provider, and free of secrets."""
    source = "def Client(endpoint, api_key): raise ConnectionResetError('with ' + api_key)"
    install(tmp_path, "vendor_down", source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ProviderUnavailableError) as caught:
        await make(package_name="vendor_down").initialize()
    assert not [link for link in chain(caught.value) if KEY in f"{link} {link!r}"]


# Results.


class Model(BaseModel):
    number: int
    key: SecretStr = SecretStr("x")


@dataclass
class Point:
    x: int
    models: list[Model]


class Own:
    def __init__(self, value):
        self.value = value

    def to_dict(self):
        return self.value()


def test_results_become_plain_data():
    """Models, dataclasses and what has to_dict become dicts, inside containers too."""
    assert as_data(Point(1, [Model(number=2)]))["models"][0]["number"] == 2
    assert as_data({"a": (Own(lambda: [Own(dict)]),)}) == {"a": [[{}]]}
    assert as_data("text") == "text"
    assert as_data(Own) is Own


def test_results_that_do_not_convert_are_handed_over():
    """A result that can't be dumped, and one that is no data, stay what they are."""
    stubborn, strange = Own(lambda: 1 / 0), object()
    assert as_data(stubborn) is stubborn
    assert as_data([strange]) == [strange]
    ring = []
    ring.append(ring)
    assert as_data(ring)


# Threads.


async def wait_until(condition):
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110 - a thread's end is no event of the loop
            await anyio.sleep(0.001)


async def test_call_that_takes_too_long_is_given_up_and_keeps_its_place(vendor):
    """Hanging calls hold at most `max_threads` threads, are reported, and free them when they end."""
    async with make(max_threads=2, operations={"make_request": {"timeout_ms": 300}}) as provider:
        with structlog.testing.capture_logs() as events:
            for _ in range(2):
                assert (await provider.make_request("block")).error_detail.code == "timeout"
            before = threading.active_count()
            assert (await provider.make_request("echo")).error_detail.code == "timeout"
        assert threading.active_count() == before
        assert provider.client.calls == 2
        assert len([one for one in events if one["event"] == "sdk.thread_abandoned"]) == 2
        seen = await provider.get_capabilities()
        assert (seen["busy_threads"], seen["abandoned_threads"], seen["abandoned_in_all"]) == (2, 2, 2)
        vendor.gate.set()
        assert (await provider.make_request("echo")).success
        await wait_until(lambda: provider._threads.busy == 0)
        assert (await provider.get_capabilities())["abandoned_threads"] == 0


async def test_cancelled_call_leaves_at_once_and_passes_the_cancellation_on(vendor):
    """A caller that is cancelled does not wait for the thread; the provider works on."""
    async with make(max_threads=2) as provider:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(provider.make_request, "block")
            await anyio.to_thread.run_sync(vendor.entered.acquire)
            tasks.cancel_scope.cancel()
        assert provider._threads.abandoned == 1
        assert (await provider.make_request("echo")).success
        vendor.gate.set()
        await wait_until(lambda: provider._threads.busy == 0)


async def test_cancelled_while_waiting_for_a_place_takes_none(vendor):
    """Who gives up before a thread was free leaves nothing behind."""
    async with make(max_threads=1) as provider:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(provider.make_request, "block")
            await anyio.to_thread.run_sync(vendor.entered.acquire)
            with anyio.move_on_after(0.05):
                await provider.make_request("echo")
            vendor.gate.set()
        assert provider.client.calls == 1
        assert provider._threads.busy == 0
        assert (await provider.get_capabilities())["abandoned_in_all"] == 0


async def test_cleanup_waits_for_threads_given_up_then_closes(vendor):
    """The client is not closed under a call that still runs, if that ends in time."""
    provider = make(timeout_ms=2000, operations={"make_request": {"timeout_ms": 50}})
    await provider.make_request("block")
    client = provider.client
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(provider.cleanup)
        await wait_until(lambda: provider._threads._all_ended is not None)
        assert client.closed == 0
        vendor.gate.set()
    assert client.closed == 1
    assert provider._threads.busy == 0
    assert provider.client is None


async def test_cleanup_closes_though_all_threads_hang(vendor):
    """Hung calls delay cleanup by half the timeout, are reported, and do not keep the client open."""
    provider = make(max_threads=1, timeout_ms=400, operations={"make_request": {"timeout_ms": 50}})
    await provider.make_request("block")
    client = provider.client
    with structlog.testing.capture_logs() as events:
        await provider.cleanup()
    assert client.closed == 1
    assert [one["abandoned"] for one in events if one["event"] == "sdk.threads_left"] == [1]


async def test_client_made_too_late_is_closed(tmp_path, monkeypatch):
    """A client whose making was given up is closed by the thread that made it in the end."""
    source = """
        import threading
        begun, gate, closed = threading.Event(), threading.Event(), threading.Event()
        def make(endpoint, api_key):
            begun.set()
            gate.wait(30)
            return Late()
        class Late:
            def close(self): closed.set()
        """
    install(tmp_path, "vendor_late", source)
    monkeypatch.syspath_prepend(tmp_path)
    import vendor_late

    provider = make(package_name="vendor_late", client_class="make", timeout_ms=1000)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(provider.initialize)
        await anyio.to_thread.run_sync(vendor_late.begun.wait, 20)
        tasks.cancel_scope.cancel()
    assert not vendor_late.closed.is_set()
    vendor_late.gate.set()
    assert await anyio.to_thread.run_sync(vendor_late.closed.wait, 20)


def test_nothing_is_left_after_the_loop_has_ended(vendor):
    """After cleanup no thread and no task of the provider is there any more."""
    before = set(threading.enumerate())

    async def main():
        async with make() as provider:
            async with anyio.create_task_group() as tasks:
                for _ in range(20):
                    tasks.start_soon(provider.make_request, "echo")
            client = provider.client
        assert client.closed == 1
        assert len(anyio.get_running_tasks()) == 1

    anyio.run(main)
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert set(threading.enumerate()) <= before
    gc.collect()


async def test_context_of_the_caller_is_not_changed(vendor):
    """Neither the folder searched nor the call stays set in the caller's context."""
    before = contextvars.copy_context()
    async with make() as provider:
        await provider.make_request("echo")
        assert dict(contextvars.copy_context()) == dict(before)


# Health, credentials, capabilities.


async def test_health_without_a_method_is_local_knowledge(vendor):
    """Without `health_method` the check says that package and client are there, and asks nobody."""
    async with make() as provider:
        check = await provider.health_check()
        assert provider.client.calls == 0
    assert check["status"] is HealthStatus.HEALTHY
    assert check["details"] == {"sdk_version": "1.4.0", "asked": None}


@pytest.mark.parametrize(("key", "status"), [("false", "unhealthy"), ("wrong", "error"), (KEY, "healthy")])
async def test_health_method_is_asked(vendor, key, status):
    """False is unhealthy, an exception an error."""
    async with make(health_method="ping", api_key=key) as provider:
        check = await provider.health_check()
    assert check["status"] == status


@pytest.mark.parametrize(("key", "right"), [("good", True), ("wrong", False), ("false", False)])
async def test_authenticate_tries_a_client_of_its_own(vendor, key, right):
    """Credentials are tried on a client that is closed again; the provider's own stays as it is."""
    async with make(auth_method="ping") as provider:
        assert await provider.authenticate({"api_key": key}) is right
        own, tried = vendor.made
        assert (own.closed, own.api_key) == (0, KEY)
        assert (tried.closed, tried.api_key) == (1, key)


async def test_authenticate_tells_trouble_from_wrong_credentials(vendor):
    """Another failure is raised, without the credentials in it."""
    async with make(auth_method="ping") as provider:
        with pytest.raises(ProviderError, match="broken by") as caught:
            await provider.authenticate({"api_key": "broken-canary"})
    assert not [link for link in chain(caught.value) if "broken-canary" in f"{link} {link!r}"]


async def test_authenticate_takes_what_the_client_is_made_from(vendor):
    """Credentials go by argument or field; others are refused by name, not value."""
    arguments = {"endpoint": "{api_endpoint}", "api_key": "{api_key}", "user": "nobody"}
    async with make(auth_method="ping", client_arguments=arguments) as provider:
        assert await provider.authenticate({"user": "me", "api_endpoint": "other"})
        assert vendor.made[-1].options == {"user": "me"}
        assert vendor.made[-1].endpoint == "other"
        with pytest.raises(ConfigurationError, match="not pasword") as caught:
            await provider.authenticate({"pasword": "canary-value"})
    assert "canary-value" not in str(caught.value)


async def test_authenticate_answers_though_the_tried_client_does_not_close(vendor):
    """What was found out counts; that the client could not be closed is logged, without its text."""

    def close(self):
        raise RuntimeError(self.api_key)

    async with make(auth_method="ping") as provider:
        original, vendor.Client.close = vendor.Client.close, close
        with structlog.testing.capture_logs() as events:
            assert await provider.authenticate({"api_key": "good-canary"})
        vendor.Client.close = original
    assert [one["error"] for one in events if one["event"] == "sdk.close_failed"] == ["RuntimeError"]
    assert "good-canary" not in str(events)


async def test_authenticate_needs_a_method(vendor):
    """Without `auth_method` it can't be found out."""
    async with make() as provider:
        with pytest.raises(UnsupportedCapabilityError, match="auth_method"):
            await provider.authenticate({"api_key": "x"})


async def test_capabilities_list_public_methods(vendor):
    """What the client can do is listed, private names and plain attributes left out."""
    async with make() as provider:
        seen = await provider.get_capabilities()
    assert {"request", "ping", "close"} <= set(seen["methods"])
    assert not {"_secret", "limit"} & set(seen["methods"])
    assert (seen["package"], seen["asynchronous"], seen["max_threads"]) == ("vendor", False, 10)


def test_a_file_can_say_none(tmp_path):
    """Where TOML has no word for None, "" names no method and 0 is no limit."""
    config = PythonSDKConfig(
        name="a", version="*", api_endpoint="x", package_name="x", request_method="", rate_limit="0"
    )
    assert config.request_method is None
    assert config.rate_limit is None


async def test_data_that_is_no_dict_is_refused(vendor):
    """A list can be neither arguments nor the data of a request; the error says what would do."""
    async with make() as provider:
        response = await provider.make_request("orders", [1, 2])
    assert response.error == "data should be a dict, not list"
    assert response.error_detail.retryable is False


async def test_data_may_have_any_names(vendor):
    """A vendor's argument may be called like one of our own functions' parameters."""
    async with make(request_method="", client_class="Client") as provider:
        response = await provider.make_request("no_such", {"path": "/a", "client": 1, "self": 2})
    assert response.error_detail.code == "unsupported_capability"


def test_results_that_lead_back_to_themselves():
    """A parent that knows its children, who know it, becomes data once, not for ever."""

    @dataclass
    class Node:
        name: str
        parent: object = None
        children: list = field(default_factory=list)

    parent = Node("parent")
    parent.children = [Node(f"child {number}", parent) for number in range(30)]
    data = as_data(parent)
    assert [child["name"] for child in data["children"]] == [f"child {number}" for number in range(30)]
    assert data["children"][0]["parent"] is parent
