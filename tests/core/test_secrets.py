"""Secrets as canaries: put in everywhere, found nowhere."""

import io
import json
import logging
import pickle
import subprocess
import sys
import traceback

import anyio
import anyio.lowlevel
import pytest
import structlog
from core_doubles import Scripted, failing
from pydantic import SecretStr

from aioproviders import (
    BaseProvider,
    ProviderConfig,
    ProviderError,
    RequestError,
    SDKConfig,
    SDKProvider,
    SDKResponse,
    configure_logging,
    operation,
)
from aioproviders.redaction import MASK

KEY, PASSWORD, LABEL, TOKEN = "K3y-c4nary-1", "P4ss-c4nary-2", "L4bel-c4nary-3", "T0ken-c4nary-4"
CANARIES = [KEY, PASSWORD, LABEL, TOKEN]
EVERYTHING = " and ".join(CANARIES)


class Config(ProviderConfig):
    api_key: SecretStr = SecretStr(KEY)
    url: str = f"https://user:{PASSWORD}@host/x"
    options: dict[str, str] = {"client_secret": LABEL}  # noqa: RUF012 - pydantic copies it


class Leaky(BaseProvider[Config]):
    def __init__(self, *script, **fields):
        super().__init__(
            Config(
                **{"name": "leaky", "version": "1", "backoff_initial_ms": 1, "backoff_max_ms": 1, **fields}
            )
        )
        self.script = list(script)
        self.conceal(TOKEN)

    async def initialize(self): ...
    async def cleanup(self): ...

    async def health_check(self):
        return await self.read()

    @operation(idempotent=True)
    async def read(self):
        return self.script.pop(0)()

    @operation(idempotent=True, kind="stream")
    async def watch(self):
        yield 1
        yield self.script.pop(0)()


def clean(*texts):
    found = [canary for text in texts for canary in CANARIES if canary in text]
    assert found == []
    return True


def raiser(make):
    def step():
        make()

    return step


def plain():
    raise ValueError(EVERYTHING)


def chained():
    try:
        raise KeyError(EVERYTHING)
    except KeyError as exc:
        raise ValueError(f"outer {KEY}") from exc


def in_context():
    try:
        raise KeyError(EVERYTHING)
    except KeyError:
        raise ValueError("outer")  # noqa: B904 - the context is under test


def noted():
    error = ValueError("x")
    error.add_note(EVERYTHING)
    raise error


def grouped():
    try:
        chained()
    except ValueError as exc:
        raise ExceptionGroup(f"group {TOKEN}", [exc, KeyError(PASSWORD)]) from exc


def single():
    raise ExceptionGroup(f"group {TOKEN}", [ConnectionResetError(EVERYTHING)])


def ours():
    error = RequestError(f"refused {EVERYTHING}", status_code=400)
    error.add_note(EVERYTHING)
    raise error


def ours_chained():
    try:
        chained()
    except ValueError as exc:
        raise RequestError("refused", retryable=True) from exc


LEAKS = [plain, chained, in_context, noted, grouped, single, ours, ours_chained]


def shown(error):
    """All that can be seen of an error, its chain and its pickle."""
    yield str(error)
    yield repr(error)
    yield "".join(traceback.format_exception(error))
    yield repr(vars(error))
    yield pickle.dumps(error).decode("latin-1")
    link = error
    while link is not None:
        yield repr(link) + repr(link.args)
        link = link.__cause__ or link.__context__


@pytest.mark.parametrize("leak", LEAKS)
async def test_errors_of_calls(leak):
    """Whatever an operation raises, with whatever it is chained from, comes out without a secret."""
    provider = Leaky(*[leak] * 3)
    with pytest.raises(ProviderError) as caught:
        await provider.read()
    clean(*shown(caught.value))


@pytest.mark.parametrize("leak", LEAKS)
async def test_errors_of_streams(leak):
    """The same holds after a stream's first item."""
    provider = Leaky(*[leak] * 3)
    with pytest.raises(ProviderError) as caught:
        async for _ in provider.watch():
            pass
    clean(*shown(caught.value))


@pytest.mark.parametrize("leak", LEAKS)
async def test_errors_of_start_and_end(leak):
    """The same holds for initialize, for those who waited for it, and for cleanup."""

    class Failing(Leaky):
        async def initialize(self):
            await anyio.lowlevel.checkpoint()
            leak()

        async def cleanup(self):
            leak()

    provider = Failing(retry_attempts=1)
    errors = []

    async def use(method):
        with pytest.raises(ProviderError) as caught:
            await method()
        errors.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(use, provider.read)
    await use(provider.cleanup)
    assert len(errors) == 4
    for error in errors:
        clean(*shown(error))


@pytest.mark.parametrize("leak", LEAKS)
async def test_health(leak):
    """Health errors carry no secret."""
    check = await Leaky(*[leak] * 3).health_check()
    assert check["status"] == "error"
    clean(repr(check))


async def test_health_details():
    """Details and errors that the override returns are masked, by value and by key."""
    details = {
        "who": EVERYTHING,
        "nested": [{KEY: 1, "password": "unknown-canary"}],
        "url": "https://u:unknown-canary@h",
    }
    check = await Leaky(
        lambda: {"status": "degraded", "error": EVERYTHING, "details": details}
    ).health_check()
    clean(repr(check))
    assert "unknown-canary" not in repr(check)
    assert check["details"]["who"] == " and ".join([MASK] * 4)


async def test_background_failures():
    """What a background task dies of shows without secrets."""

    async def work():
        raise ValueError(EVERYTHING)

    async with Leaky(lambda: {"status": "healthy"}) as provider:
        provider.spawn(work)
        await anyio.wait_all_tasks_blocked()
        check = await provider.health_check()
    assert check["status"] == "degraded"
    clean(repr(check))


async def test_results():
    """A result made of an error carries no secret, as model, as JSON, and in what it raises."""

    class Sdk(SDKProvider):
        async def initialize(self): ...
        async def cleanup(self): ...
        async def health_check(self):
            return {"status": "healthy"}

        async def authenticate(self, credentials):
            return True

        async def get_capabilities(self):
            return {}

        async def make_request(self, endpoint, data=None) -> SDKResponse:
            raise ValueError(f"no {self.config.api_key.get_secret_value()}")

    provider = Sdk(SDKConfig(name="s", version="1", api_endpoint="x", api_key=KEY))
    answer = await provider.make_request("/")
    clean(repr(answer), answer.model_dump_json())
    with pytest.raises(ProviderError) as caught:
        answer.raise_for_error()
    clean(*shown(caught.value))


def test_config():
    """A provider and its config show no secret."""
    provider = Leaky()
    clean(repr(provider), str(provider.config), repr(provider.config), f"{vars(provider)['_redactor']}")
    assert provider.config.api_key.get_secret_value() == KEY


SETUPS = {
    "json": lambda stream: configure_logging("json", "debug", stream=stream),
    "console": lambda stream: configure_logging("console", "debug", stream=stream),
    "dict_tracebacks": lambda stream: structlog.configure(
        processors=[structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=repr)],
        logger_factory=structlog.PrintLoggerFactory(stream),
    ),
    "locals": lambda stream: structlog.configure(
        processors=[
            structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.RichTracebackFormatter())
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),
    ),
}


@pytest.fixture
def reset():
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize("setup", SETUPS)
async def test_logs(setup, reset):
    """No event carries a secret under any renderer: values, keys, errors, tracebacks with locals."""
    stream = io.StringIO()
    SETUPS[setup](stream)
    provider = Leaky(*LEAKS * 3)
    for _ in LEAKS:
        with pytest.raises(ProviderError):
            await provider.read()
    try:
        local = EVERYTHING
        grouped()
    except ExceptionGroup as error:
        provider.logger.exception("event %s", local, who=local, nested={"a": [local]}, error=error)
        provider.logger.error("again", exc_info=error)
    provider.logger.info("%s", EVERYTHING, db_password="unknown-canary")
    provider.logger.bind(bound=EVERYTHING).info("bound", secret=SecretStr(KEY), raw=EVERYTHING.encode())
    assert "event" in stream.getvalue()
    clean(stream.getvalue())
    assert "unknown-canary" not in stream.getvalue()


async def test_logs_through_the_standard_library(caplog, reset):
    """The same holds with structlog on top of logging, for records as well as for their text."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.dict_tracebacks,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    provider = Leaky(*LEAKS * 3)
    with caplog.at_level(logging.DEBUG):
        for _ in LEAKS:
            with pytest.raises(ProviderError):
                await provider.read()
        try:
            grouped()
        except ExceptionGroup:
            provider.logger.exception("event", who=EVERYTHING)
    assert len(caplog.records) > len(LEAKS)
    for record in caplog.records:
        clean(repr(vars(record)), record.getMessage())


LOUD = """
import logging, warnings, anyio, structlog
from aioproviders import BaseProvider, ProviderConfig, ProviderError, configure_logging, operation
logging.basicConfig(level=20)
{setup}
class Loud(BaseProvider):
    async def initialize(self):
        self.logger.warning("starting")
    async def health_check(self):
        raise ValueError("x")
    async def cleanup(self):
        raise ValueError("y")
    @operation(idempotent=True)
    async def read(self):
        raise ConnectionError("z")
async def work():
    raise ValueError("w")
async def main():
    limits = dict(deadline_ms=50, backoff_initial_ms=1, circuit_breaker={{"minimum_calls": 1}})
    config = ProviderConfig(name="it", version="1", **limits)
    provider = Loud(config)
    try:
        async with provider:
            provider.spawn(work)
            for _ in range(3):
                try:
                    await provider.read()
                except ProviderError:
                    provider.logger.exception("failed")
            await provider.health_check()
    except ProviderError:
        pass
anyio.run(main)
"""


@pytest.mark.parametrize(
    "setup",
    [
        "",
        "configure_logging('json', 'debug')",
        "import structlog; structlog.configure(logger_factory=structlog.PrintLoggerFactory())",
        "import structlog.stdlib as s; "  # noqa: ISC004 - one statement after the other
        "structlog.configure(wrapper_class=s.BoundLogger, logger_factory=s.LoggerFactory())",
    ],
)
@pytest.mark.parametrize("silent", [True, False])
def test_silence(setup, silent):
    """LOG_SILENT=1: not one byte from a process that logs, warns and fails; without it there is output."""
    done = subprocess.run(
        [sys.executable, "-c", LOUD.format(setup=setup)],
        check=True,
        capture_output=True,
        env={"LOG_SILENT": "1"} if silent else {},
    )
    if silent:
        assert (done.stdout, done.stderr) == (b"", b"")
    else:
        assert b"ConfigurationWarning" in done.stderr
        assert (b"operation.failed" in done.stdout + done.stderr) is bool(setup)


async def test_a_pickled_error_of_a_dead_backend_is_clean():
    """After retries, deadline and all, the error that is sent to another process is clean."""
    provider = Leaky(deadline_ms=30_000)
    provider.script = failing(lambda: raiser(lambda: (_ for _ in ()).throw(ConnectionError(EVERYTHING))))
    with pytest.raises(ProviderError) as caught:
        await provider.read()
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.reason, again.attempts) == ("attempts", 3)
    clean(*shown(again), json.dumps(vars(again)))
    assert isinstance(provider, Leaky)
    assert not isinstance(provider, Scripted)
