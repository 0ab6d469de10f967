"""The demo's service, deployed as the providers file says, for as long as a block runs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aioproviders.cli.boundary import UsageError
from aioproviders.cli.deploying.opening import is_supervised
from aioproviders.deployment import DeploymentProvider
from aioproviders.errors import ConflictError, ProviderUnavailableError
from aioproviders.registry import ProviderRegistry

__all__ = [
    "ANY_PORT",
    "DEFAULT_PORT",
    "SHIPPED",
    "LeftFile",
    "RunningService",
    "leave_file",
    "running_service",
]

DEFAULT_PORT = 8811
"""What the providers file takes for the port unless it is told."""

ANY_PORT = (0, 0, 0)
"""A port that was free just now; another one, if it no longer is."""

SHIPPED = Path(__file__).with_name("providers.toml")
_SCRIPT = Path(__file__).with_name("service.py")


@dataclass(frozen=True, slots=True)
class LeftFile:
    """The providers file that the user is left with.

    Attributes:
        path: Where it is.
        told: What was done about it, in a few words.
    """

    path: Path
    told: str


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        provider: What deployed it.
        registry: The demo's providers.
    """

    port: int
    provider: DeploymentProvider[Any]
    registry: ProviderRegistry

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def processes(self) -> list[int]:
        """Return the ids of its processes."""
        state = await self.provider.get_status()
        return [each.pid for each in state["instances"] if each.pid is not None]


def leave_file(directory: Path) -> LeftFile:
    """Write the providers file for the user, unless there is one that was changed.

    Raises:
        UsageError: It can't be written.
    """
    text = SHIPPED.read_text(encoding="utf-8")
    for name, value in _places(directory / "state").items():
        # Where this program and its service are, so that the file does from any folder.
        start, _, rest = text.partition(f"${{{name}:-")
        text = f"{start}${{{name}:-{_escaped(value)}}}{rest.partition('}')[2]}"
    path = directory / SHIPPED.name
    try:
        if path.exists():
            same = path.read_text(encoding="utf-8") == text
            return LeftFile(path, "there already" if same else "there already and changed, left as it is")
        directory.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--directory: {directory} can't be written: {error.strerror}") from None
    return LeftFile(path, "written")


def _places(state: Path) -> dict[str, str]:
    return {
        "DEMO_PYTHON": sys.executable,
        "DEMO_SERVICE": os.fspath(_SCRIPT),
        "DEMO_STATE": os.fspath(state.absolute()),
    }


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


@asynccontextmanager
async def running_service(
    state: Path, ports: Sequence[int] = ANY_PORT, *, forgotten: bool = False
) -> AsyncIterator[RunningService]:
    """Deploy the service on 127.0.0.1; it ends with the block, and with this process however that ends.

    Args:
        state: Where its history and logs are kept.
        ports: Where it listens: on the first that nobody has; 0 is one that was free just now.
        forgotten: Whether history and logs are removed at the end.

    Raises:
        ProviderUnavailableError: It does not start, or runs already; the message says why.
    """
    left = list(ports)
    service: RunningService | None = None
    async with AsyncExitStack() as stack:
        while service is None:
            port = left.pop(0) or _free_port()
            try:
                # Tried rather than looked at: between a look and the start another program may take it.
                service = await stack.enter_async_context(_service_on(port, state, forgotten))
            except _TakenError:
                if not left:
                    raise
        yield service


class _TakenError(ProviderUnavailableError):
    """Another program has the port."""


@asynccontextmanager
async def _service_on(port: int, state: Path, forgotten: bool) -> AsyncIterator[RunningService]:
    variables = {**_places(state), "DEMO_PORT": str(port), "DEMO_GREETING": "good day"}
    with ExitStack() as afterwards, _environment(variables):
        # The shipped file, since the user's may have been changed: what follows is what it says.
        async with ProviderRegistry.from_file(SHIPPED, start=False) as registry:
            provider: Any = registry.get("service", DeploymentProvider)
            if await is_supervised(provider):
                raise ProviderUnavailableError(f"another demo runs the service of {state}")
            if forgotten:
                afterwards.callback(_forget, state)
            result = await provider.deploy(provider.config)
            if not result.success:
                taken = result.error_detail is not None and result.error_detail.code == ConflictError.code
                kind = _TakenError if taken else ProviderUnavailableError
                raise kind(f"the demo's service did not start: {result.message}")
            yield RunningService(port, provider, registry)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _forget(state: Path) -> None:
    """Remove what a run has left of the service's history and logs."""
    with suppress(OSError):
        shutil.rmtree(state)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
