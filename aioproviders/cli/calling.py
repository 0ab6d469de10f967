"""``call``: one request through an SDK provider. What ``bench`` needs of it too is here."""

from __future__ import annotations

import inspect
import json as jsonlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from aioproviders.cli.boundary import FAILED, OK, UsageError
from aioproviders.cli.options import STANDARD_INPUT, Request, Source
from aioproviders.cli.output import (
    complain,
    console_for,
    plural,
    print_document,
    write,
    write_bytes,
)
from aioproviders.errors import ProviderError
from aioproviders.factory import did_you_mean
from aioproviders.redaction import MASK, Redactor, secrets_in
from aioproviders.registry import ProviderRegistry
from aioproviders.sdk import SDKProvider, SDKResponse

__all__ = ["Target", "call", "opened", "read_data"]

_MOST_NAMED = 20

Requester = Callable[[], Awaitable[SDKResponse]]


@dataclass(frozen=True, slots=True)
class Target:
    """An SDK provider, and the request to make of it.

    Attributes:
        provider: The provider, not started.
        request: Makes the request.
    """

    provider: SDKProvider[Any]
    request: Requester


def call(  # noqa: PLR0913 - one argument an option
    source: Source, name: str, endpoint: str, data: str | None, request: Request, *, json: bool
) -> int:
    """Make the request and print the answer; `FAILED` if it failed."""
    parsed = read_data(data)
    response, secrets = anyio.run(_call, source, name, endpoint, parsed, request)
    response = _masked(response, secrets)
    if json:
        print_document(response)
    elif response.data is not None:
        _print_data(response.data)
    if not response.success:
        complain(f"{name}: {response.error}")
    status = "" if response.status_code is None else f"status {response.status_code}, "
    took = f"{response.latency_ms} ms, {plural(response.attempts, 'attempt')}"
    complain(f"{status}{took}", label="")
    return OK if response.success else FAILED


async def _call(
    source: Source, name: str, endpoint: str, data: Any, request: Request
) -> tuple[SDKResponse, set[str]]:
    async with opened(source, name, endpoint, data, request) as target:
        return await target.request(), secrets_in(target.provider.config)


@asynccontextmanager
async def opened(
    source: Source, name: str, endpoint: str, data: Any, request: Request
) -> AsyncIterator[Target]:
    """Open the registry of the file, and yield the provider and the request.

    Raises:
        ConfigurationError: The file is wrong.
        ProviderNotFoundError: No such provider.
        UsageError: It is no SDK provider, or can't do what the options ask for; so does the request
            itself where it can't be made at all.
    """
    async with ProviderRegistry.from_file(source.config, environment=source.env, start=False) as registry:
        if name not in registry and not did_you_mean(name, registry):
            # Without a near one, all of them help.
            raise UsageError(f"no provider {name!r}; {known_names(registry)}")
        provider = registry.get(name, SDKProvider)
        options = _options(provider, name, request, has_data=data is not None)
        make_request = partial(provider.make_request, endpoint, data, **options)

        async def requested() -> SDKResponse:
            response = await make_request()
            _refuse_misuse(name, response)
            return response

        yield Target(provider, requested)


def _refuse_misuse(name: str, response: SDKResponse) -> None:
    """Raise `UsageError` for a request that could not be made at all: drivers say so with a `ValueError`."""
    try:
        response.raise_for_error()
    except ProviderError as error:
        if isinstance(error, ValueError):
            raise UsageError(f"{name}: {error.message}") from None


def _options(provider: SDKProvider[Any], name: str, request: Request, *, has_data: bool) -> dict[str, Any]:
    """Return what goes to ``make_request`` beside endpoint and data, as far as it takes that."""
    asked: dict[str, tuple[str, Any]] = {
        "method": ("--method", request.method.upper() if request.method else None),
        "headers": ("--header", dict(_header(text) for text in request.header or ())),
        "params": ("--param", _params(request.param or ())),
    }
    parameters = inspect.signature(provider.make_request).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    options = {}
    for key, (option, value) in asked.items():
        if value and key not in parameters and not takes_any:
            raise UsageError(f"{option}: {name!r} is a {type(provider).__name__}, which takes none")
        if value:
            options[key] = value
    # As curl does; the provider's own default is for writing.
    if "method" in parameters and "method" not in options and not has_data:
        options["method"] = "GET"
    return options


def known_names(registry: ProviderRegistry) -> str:
    """Say which providers there are, in a few words."""
    names = list(registry)
    if not names:
        return "the file has no providers that are enabled"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"there {'is' if len(names) == 1 else 'are'} {', '.join(names[:_MOST_NAMED])}{more}"


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        # Not shown: it may well be a credential.
        raise UsageError("--header: should be 'Name: value'")
    return name.strip(), value.strip()


def _params(texts: Iterable[str]) -> dict[str, list[str]]:
    params: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError("--param: should be 'name=value'")
        params.setdefault(name, []).append(value)
    return params


def read_data(data: str | None) -> Any:
    """Read the DATA argument: JSON, ``@file``, or standard input.

    Raises:
        UsageError: It can't be read, or is no JSON.
    """
    if data is None:
        return None
    where = "DATA"
    try:
        if data == STANDARD_INPUT:
            where = "standard input"
            if sys.stdin is None:
                raise UsageError(f"{where}: can't be read: it is closed")
            text = sys.stdin.buffer.read().decode()
        elif data.startswith("@"):
            where = data[1:]
            text = Path(where).read_bytes().decode()
        else:
            text = data
    except OSError as error:
        raise UsageError(f"{where}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{where}: should be UTF-8 text") from None
    try:
        value = jsonlib.loads(text)
    except ValueError as error:
        raise UsageError(f"{where}: should be JSON: {error}") from None
    except RecursionError:
        raise UsageError(f"{where}: is nested too deeply") from None
    return value


def _masked(response: SDKResponse, secrets: set[str]) -> SDKResponse:
    """Return the response without the provider's own secrets: services like to echo what they were sent."""
    redactor = Redactor(secrets)
    return response.model_copy(
        update={
            "data": _mask(response.data, redactor, secrets),
            "headers": _mask(dict(response.headers), redactor, secrets),
        }
    )


def _mask(value: Any, redactor: Redactor, secrets: set[str]) -> Any:
    # Not `Redactor.value`: a token that somebody asks the service for is theirs to see.
    if isinstance(value, str):
        return redactor.text(value)
    if isinstance(value, bytes):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret.encode(), MASK.encode())
        return value
    if isinstance(value, Mapping):
        return {redactor.text(str(key)): _mask(item, redactor, secrets) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mask(item, redactor, secrets) for item in value]
    return value


def _print_data(data: Any) -> None:
    if isinstance(data, str):
        write(data if data.endswith("\n") else f"{data}\n")
    elif not isinstance(data, bytes):
        print_document(data)
    elif console_for(sys.stdout).is_terminal:
        write(f"{plural(len(data), 'byte')} that are no text: send them to a file with >\n")
    else:
        write_bytes(data)
