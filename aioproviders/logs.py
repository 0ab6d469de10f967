"""Structured logs that follow the application's structlog setup and never carry a secret.

A library has no business printing where nobody asked it to: until the application configures
structlog (`configure_logging` is the short way), nothing is logged. ``LOG_SILENT=1`` in the
environment silences everything.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Any, Literal, TextIO

import structlog

from aioproviders.calls import current_call, current_trace_id
from aioproviders.redaction import Redactor

__all__ = ["ProviderLogger", "configure_logging", "is_silent"]

Level = Literal["debug", "info", "warning", "error", "critical"]

_LEVELS: dict[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


def is_silent() -> bool:
    """Whether ``LOG_SILENT=1`` is set."""
    return os.environ.get("LOG_SILENT") == "1"


class ProviderLogger:
    """A logger that adds ``provider``, ``operation`` and ``trace_id`` to each event, and masks secrets.

    It looks the application's structlog configuration up anew when that changes, so it does not
    matter which of the two is made first. An event that is filtered out costs next to nothing.

    Args:
        name: Name of the logger, for the application's logger factory.
        redactor: Masks what must not leave.
        bound: Values that each event carries.
    """

    def __init__(self, name: str, redactor: Redactor | None = None, **bound: Any) -> None:
        self._name = name
        self._redactor = redactor or Redactor()
        self._bound = bound
        self._config: dict[str, Any] = {}
        self._logger: Any = None
        self._has_level = False

    def __repr__(self) -> str:
        return f"ProviderLogger({self._name!r})"

    def bind(self, **values: Any) -> ProviderLogger:
        """Return a logger whose events carry `values` too."""
        return ProviderLogger(self._name, self._redactor, **{**self._bound, **values})

    def debug(self, event: str, *args: Any, **values: Any) -> None:
        """Log at level debug."""
        self._log("debug", event, args, values)

    def info(self, event: str, *args: Any, **values: Any) -> None:
        """Log at level info."""
        self._log("info", event, args, values)

    def warning(self, event: str, *args: Any, **values: Any) -> None:
        """Log at level warning."""
        self._log("warning", event, args, values)

    def error(self, event: str, *args: Any, **values: Any) -> None:
        """Log at level error."""
        self._log("error", event, args, values)

    def critical(self, event: str, *args: Any, **values: Any) -> None:
        """Log at level critical."""
        self._log("critical", event, args, values)

    def exception(self, event: str, *args: Any, **values: Any) -> None:
        """Log at level error, with the traceback of the exception that is being handled."""
        self._log("error", event, args, {"exc_info": True, **values})

    def _log(self, level: str, event: str, args: tuple[Any, ...], values: dict[str, Any]) -> None:
        if not structlog.is_configured():
            return
        try:
            config = structlog.get_config()
            if config != self._config:
                self._follow(config)
            # Asked each time: the standard library's levels change under a logger.
            if self._has_level and not self._logger.is_enabled_for(_LEVELS[level]):
                return
            if not is_silent():
                self._emit(level, event, args, values)
        except Exception:  # noqa: BLE001 - sinks and processors are the application's and may raise anything
            # The call that is logged has done its work, or has an error of its own to tell: a log
            # that can't be written must not turn that into a failure. The event is dropped.
            return

    def _follow(self, config: dict[str, Any]) -> None:
        """Make a logger by the application's configuration."""
        self._logger = logger = structlog.get_logger(self._name).bind()
        # Looked for on the class: a generic BoundLogger makes up any method it is asked for.
        self._has_level = hasattr(type(logger), "is_enabled_for")
        self._config = config

    def _emit(self, level: str, event: str, args: tuple[Any, ...], values: dict[str, Any]) -> None:
        if args:
            event = event % args
        exc_info = values.pop("exc_info", None)
        fields = self._redactor.value({**self._bound, **values})
        if exc_info:
            fields["exception"] = self._traceback(exc_info)
        fields.setdefault("trace_id", current_trace_id())
        call = current_call()
        if call is not None:
            fields.setdefault("operation", call.operation)
        getattr(self._logger, level)(self._redactor.text(event), **fields)

    def _traceback(self, exc_info: Any) -> str:
        # Rendered here, since an application's renderer may print the frames' locals, secrets and all.
        if isinstance(exc_info, BaseException):
            error: BaseException | None = exc_info
        else:
            error = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1]
        return self._redactor.text("".join(traceback.format_exception(error))) if error else ""


def configure_logging(
    format: Literal["json", "console"] = "console",  # noqa: A002 - the word users look for
    level: Level = "info",
    *,
    stream: TextIO | None = None,
) -> None:
    """Set structlog up for an application that has no setup of its own.

    Args:
        format: A JSON object a line, or aligned text (in colour on a terminal).
        level: The least important level that is logged.
        stream: Where to; standard error by default.

    Raises:
        ValueError: `format` or `level` is none of those.
    """
    if format not in ("json", "console"):
        raise ValueError(f"format should be 'json' or 'console', not {format!r}")
    if level not in _LEVELS:
        raise ValueError(f"level should be one of {', '.join(_LEVELS)}, not {level!r}")
    target = sys.stderr if stream is None else stream
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=repr)
        if format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=target.isatty() and "NO_COLOR" not in os.environ,
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[
            _drop_when_silent,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        context_class=dict,
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


_REDACTOR = Redactor()


def _redact(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    redacted: dict[str, Any] = _REDACTOR.value(event)
    return redacted


def _drop_when_silent(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if is_silent():
        raise structlog.DropEvent
    return event
