"""Logs: they follow the application's setup, carry their context, and are silent when told."""

import io
import json
import logging
import sys

import anyio
import pytest
import structlog
from core_doubles import Scripted, failing

from aioproviders import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    ProviderError,
    RateLimitedError,
    RequestError,
    configure_logging,
    trace_context,
)
from aioproviders.logs import ProviderLogger
from aioproviders.redaction import Redactor

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(autouse=True)
def unconfigured():
    """Each test starts, and leaves, with structlog not configured."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def json_logs(level="debug", **options):
    stream = io.StringIO()
    configure_logging("json", level, stream=stream, **options)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


async def work():
    provider = Scripted(ConnectionError("x"))
    with trace_context(f"00-{TRACE}-00f067aa0ba902b7-01"):
        await provider.read()
        await provider.cleanup()


async def test_nothing_is_printed_where_structlog_is_not_configured(capfd):
    """Until the application configures structlog, there is no output at all."""
    await work()
    ProviderLogger("x").critical("hello")
    assert capfd.readouterr() == ("", "")


async def test_every_event_carries_its_context():
    """Each event says provider, operation and trace."""
    logs = json_logs()
    await work()
    events = {entry["event"]: entry for entry in logs()}
    assert list(events) == [
        "provider.initialized",
        "operation.retry",
        "operation.completed",
        "provider.closed",
    ]
    assert {entry["provider"] for entry in events.values()} == {"it"}
    assert {entry["trace_id"] for entry in events.values()} == {TRACE}
    assert [entry["operation"] for entry in events.values()] == ["initialize", "read", "read", "cleanup"]
    assert events["operation.retry"]["level"] == "warning"


async def test_a_failed_call_is_logged_once():
    """A call that fails is one event of level error, with code and reason."""
    logs = json_logs("warning")
    provider = Scripted(ValueError("bad"))
    with pytest.raises(ProviderError):
        await provider.read()
    (entry,) = logs()
    assert (entry["event"], entry["code"], entry["reason"], entry["attempts"]) == (
        "operation.failed",
        "provider_error",
        "non_retryable",
        1,
    )


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (NotFoundError("no such thing", status_code=404), "warning"),
        (ConflictError("it has changed", status_code=409), "warning"),
        (RequestError("bad", status_code=422), "warning"),
        (AuthenticationError("who?", status_code=401), "error"),
        (AuthenticationError("not you", status_code=403), "error"),
        (RateLimitedError("slow down", status_code=429), "error"),
        (RequestError("broken", status_code=500), "error"),
        (NotFoundError("no such thing"), "error"),
    ],
)
async def test_the_answer_of_a_healthy_service_is_no_error_in_the_log(error, level):
    """What is not there, or a conflict, is a warning; a fault of the service, or of ours, an error."""
    logs = json_logs("warning")
    with pytest.raises(ProviderError):
        await Scripted(error, retry_attempts=1).read()
    assert [(entry["event"], entry["level"]) for entry in logs()] == [("operation.failed", level)]


async def test_the_breakers_changes_are_logged():
    """When the breaker opens, that is an event."""
    logs = json_logs("warning")
    provider = Scripted(circuit_breaker={"minimum_calls": 3})
    provider.script = failing(lambda: ConnectionError("x"))
    with pytest.raises(ProviderError):
        await provider.read()
    assert [e["state"] for e in logs() if e["event"] == "circuit_breaker.changed"] == ["open"]


def test_a_setup_made_later_is_followed():
    """A logger made before the setup, and used before and after it changes, follows it each time."""
    logger = ProviderLogger("x")
    logger.info("lost")
    first = json_logs()
    logger.info("one")
    second = json_logs("warning")
    logger.info("filtered")
    logger.warning("two")
    structlog.reset_defaults()
    logger.warning("lost, too")
    assert [entry["event"] for entry in first()] == ["one"]
    assert [entry["event"] for entry in second()] == ["two"]


def test_capture_logs_works():
    """Structlog's own helper for tests sees the events, though it changes the processors in place."""
    json_logs()
    logger = ProviderLogger("x", provider="it")
    logger.info("before")
    with structlog.testing.capture_logs() as seen:
        logger.info("inside", a=1)
    assert [(entry["event"], entry["a"], entry["provider"]) for entry in seen] == [("inside", 1, "it")]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical"])
def test_levels(level):
    """Each method logs at its level, and only from there on."""
    logs = json_logs(level)
    logger = ProviderLogger("x")
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, name)(name)
    names = [entry["event"] for entry in logs()]
    assert names[0] == level
    assert [entry["level"] for entry in logs()] == names


def test_arguments_bound_values_and_own_ids():
    """%-arguments are put in, bound values carried, and ids that were given kept."""
    logs = json_logs()
    logger = ProviderLogger("x", a=1).bind(b=2)
    logger.info("%s of %d", "one", 2, trace_id="mine", operation="own")
    (entry,) = logs()
    assert (entry["event"], entry["a"], entry["b"], entry["trace_id"], entry["operation"]) == (
        "one of 2",
        1,
        2,
        "mine",
        "own",
    )
    assert repr(logger) == "ProviderLogger('x')"


def test_context_variables_are_merged():
    """What the application binds with structlog.contextvars is in each event."""
    logs = json_logs()
    structlog.contextvars.bind_contextvars(request="r1")
    ProviderLogger("x").info("hello")
    assert logs()[0]["request"] == "r1"


def test_exceptions_are_rendered_without_locals():
    """exception() carries the traceback as masked text, whatever form exc_info has."""
    logs = json_logs()
    logger = ProviderLogger("x", Redactor(["c4n4ry"]))
    try:
        local = "c4n4ry"
        raise ValueError(f"with {local}")
    except ValueError as error:
        logger.exception("one")
        logger.error("two", exc_info=error)
        logger.error("three", exc_info=sys.exc_info())  # noqa: G201 - the form is under test
    logger.error("four", exc_info=True)  # noqa: LOG014 - no exception is under test
    texts = [entry["exception"] for entry in logs()]
    assert all("ValueError: with **********" in text for text in texts[:3])
    assert texts[3] == ""


STDLIB = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.dict_tracebacks,
    structlog.processors.JSONRenderer(),
]


@pytest.mark.parametrize("cached", [True, False])
def test_the_standard_librarys_logging(cached, caplog):
    """With structlog on top of logging, events go to the logger of that name, at its level."""
    structlog.configure(
        processors=STDLIB,
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=cached,
    )
    logger = ProviderLogger("some.provider")
    with caplog.at_level(logging.WARNING, logger="some.provider"):
        logger.info("filtered")
        logger.warning("seen", a=1)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("some.provider", "WARNING")
    assert json.loads(record.message)["a"] == 1


def test_a_generic_bound_logger():
    """A wrapper class that knows no levels gets every event, and no call it can't serve."""
    stream = io.StringIO()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        wrapper_class=structlog.BoundLogger,
        logger_factory=structlog.PrintLoggerFactory(stream),
    )
    ProviderLogger("x").debug("hello")
    assert json.loads(stream.getvalue())["event"] == "hello"


def broken(*_):
    raise LookupError("processor")


@pytest.mark.parametrize("broken_by", ["closed stream", "processor", "arguments"])
async def test_a_log_that_cannot_be_written_fails_no_call(broken_by):
    """A closed stream, a broken processor or wrong arguments cost the event, not the call."""
    stream = io.StringIO()
    configure_logging("json", "debug", stream=stream)
    if broken_by == "closed stream":
        stream.close()
    elif broken_by == "processor":
        structlog.configure(processors=[broken])
    provider = Scripted("first", ConnectionError("x"), "second")
    assert [await provider.read(), await provider.read()] == ["first", "second"]
    provider.logger.info("odd %d", "no number")
    await provider.cleanup()
    assert (provider.attempts, provider.cleaned) == (3, 1)


async def test_logging_from_threads():
    """In worker threads events carry the operation and trace they belong to."""
    logs = json_logs()
    provider = Scripted(lambda: anyio.to_thread.run_sync(lambda: provider.logger.info("inside")))
    with trace_context(f"00-{TRACE}-00f067aa0ba902b7-01"):
        await provider.read()
    (entry,) = [entry for entry in logs() if entry["event"] == "inside"]
    assert (entry["operation"], entry["trace_id"]) == ("read", TRACE)


def test_silence(monkeypatch, capfd):
    """LOG_SILENT=1 drops the provider's events, and the application's own through our setup."""
    logs = json_logs()
    monkeypatch.setenv("LOG_SILENT", "1")
    ProviderLogger("x").critical("lost")
    structlog.get_logger().info("lost")
    monkeypatch.setenv("LOG_SILENT", "0")
    ProviderLogger("x").info("seen")
    assert [entry["event"] for entry in logs()] == ["seen"]
    assert capfd.readouterr() == ("", "")


def test_console_logs_go_to_standard_error(capsys):
    """By default logs are aligned text on standard error."""
    configure_logging()
    ProviderLogger("x").info("hello", a=1)
    ProviderLogger("x").debug("filtered")
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello" in err
    assert "a=1" in err
    assert "filtered" not in err


def test_the_applications_own_events_are_masked():
    """configure_logging masks secrets by key and shape in everybody's events, tracebacks included."""
    logs = json_logs()
    try:
        raise ValueError("https://u:c4n4ry@host")
    except ValueError:
        structlog.get_logger().exception("mine", password="c4n4ry")
    assert "c4n4ry" not in json.dumps(logs())
    assert "ValueError" in logs()[0]["exception"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("xml",), "format should be 'json' or 'console', not 'xml'"),
        (("json", "loud"), "level should be one of debug,"),
    ],
)
def test_wrong_settings(arguments, words):
    """An unknown format or level is refused, with what there is."""
    with pytest.raises(ValueError, match=words):
        configure_logging(*arguments)


async def test_levels_of_the_standard_library_hold_as_they_are_now(capsys):
    """Where structlog asks the standard library for its level, a change of that is heeded at once."""
    structlog.configure(
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        processors=[structlog.stdlib.render_to_log_kwargs],
    )
    handler = logging.StreamHandler(sys.stdout)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    try:
        logger = ProviderLogger("x")
        for level, event in ((logging.WARNING, "first"), (logging.INFO, "second"), (logging.ERROR, "third")):
            root.setLevel(level)
            logger.info(event)
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert capsys.readouterr().out == "second\n"
