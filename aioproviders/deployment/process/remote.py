"""Asking the supervisor that another provider is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

import anyio
from pydantic import TypeAdapter

from aioproviders.deployment.models import (
    Change,
    DeploymentResult,
    DeploymentState,
    DeploymentStatus,
    LogLine,
    Release,
    RolloutEvent,
)
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.wire import Lines, config_to_wire, control_address
from aioproviders.errors import ErrorDetail, ProviderUnavailableError

__all__ = ["RemoteSupervisor"]

_STATE = TypeAdapter(DeploymentState)
_CHANGES = TypeAdapter(tuple[Change, ...])
_RELEASES = TypeAdapter(tuple[Release, ...])
_PATIENCE = 2.0
"""Seconds to wait for the end of a conversation that was cancelled, beyond what undoing may take."""
_SHARE = 0.8
"""Of a request's time, what a supervisor may take to say that it is there."""


class RemoteSupervisor:
    """A supervisor in another provider, mostly of another process; has the same methods.

    Args:
        config: The asking provider's config.
    """

    def __init__(self, config: ProcessDeploymentConfig) -> None:
        self._config = config

    @classmethod
    async def find(cls, config: ProcessDeploymentConfig) -> RemoteSupervisor | None:
        """Return the one that runs the deployment; None where there is none.

        Raises:
            ProviderUnavailableError: There is one, and it does not answer.
        """
        found, patience = cls(config), config.timeout_ms / 1000 * _SHARE
        try:
            with anyio.fail_after(patience):
                async with found._connected() as lines:
                    await found._send(lines, {"do": "ping"})
                    await found._receive(lines, "result")
        except ProviderUnavailableError:
            return None
        except TimeoutError:
            raise ProviderUnavailableError(
                f"the supervisor of {config.namespace}/{config.name} has not answered within "
                f"{patience:g} s: it is busy, or was stopped, as by Ctrl-Z",
                sent=False,
            ) from None
        return found

    async def deploy(self, config: ProcessDeploymentConfig) -> DeploymentResult:
        """See `Supervisor.deploy`."""
        return self._result(await self._ask("deploy", config=config_to_wire(config)))

    async def scale(self, replicas: int, *, on_cancel: str) -> DeploymentResult:
        """See `Supervisor.scale`."""
        return self._result(await self._ask("scale", replicas=replicas, on_cancel=on_cancel))

    async def rollback(self, version: str, *, on_cancel: str) -> DeploymentResult:
        """See `Supervisor.rollback`."""
        return self._result(await self._ask("rollback", version=version, on_cancel=on_cancel))

    async def get_status(self) -> DeploymentState:
        """See `Supervisor.get_status`."""
        return _STATE.validate_python(await self._ask("get_status"))

    async def diff(self, config: ProcessDeploymentConfig) -> Sequence[Change]:
        """See `Supervisor.diff`."""
        return _CHANGES.validate_python(await self._ask("diff", config=config_to_wire(config)))

    async def history(self) -> Sequence[Release]:
        """See `Supervisor.history`."""
        return _RELEASES.validate_python(await self._ask("history"))

    async def watch_rollout(self, *, wait: bool) -> AsyncGenerator[RolloutEvent, None]:
        """See `Supervisor.watch_rollout`."""
        async with aclosing(self._stream("watch_rollout", wait=wait)) as items:
            async for item in items:
                yield RolloutEvent.model_validate(item)

    async def logs(self, *, instance: str | None, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        """See `Supervisor.logs`."""
        told = self._stream("logs", instance=instance, lines=lines, follow=follow)
        async with aclosing(told) as items:
            async for item in items:
                yield LogLine.model_validate(item)

    async def _ask(self, what: str, **arguments: Any) -> Any:
        async with self._connected() as lines:
            await self._send(lines, {"do": what, "with": arguments})
            try:
                return await self._receive(lines, "result")
            except anyio.get_cancelled_exc_class():
                with anyio.CancelScope(shield=True):
                    await self._cancel(lines)
                raise

    async def _cancel(self, lines: Lines) -> None:
        with anyio.move_on_after(_PATIENCE), suppress(anyio.BrokenResourceError):
            await lines.send({"cancel": True})
            if await lines.receive() is not None:
                # It was heard. What a rollout does then takes its time, and is not over before that is done.
                undoing = self._config.rollback_timeout_ms / 1000
                with anyio.move_on_after(undoing + _PATIENCE, shield=True):
                    while await lines.receive() is not None:
                        continue

    async def _stream(self, what: str, **arguments: Any) -> AsyncGenerator[Any, None]:
        async with self._connected() as lines:
            await self._send(lines, {"do": what, "with": arguments})
            while (item := await self._receive(lines, "item")) is not None:
                yield item

    async def _send(self, lines: Lines, message: dict[str, Any]) -> None:
        try:
            await lines.send(message)
        except anyio.BrokenResourceError as error:
            raise self._gone() from error

    async def _receive(self, lines: Lines, kind: str) -> Any:
        """Receive one message; what it holds under `kind`, None where it is the last and has none.

        Raises:
            ProviderError: The supervisor tells it, or has gone.
        """
        message = await lines.receive()
        if message is None:
            raise self._gone()
        if "error" in message:
            raise ErrorDetail.model_validate(message["error"]).to_error()
        return message.get(kind)

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[Lines, None]:
        try:
            with control_address(self._config.directory) as address:
                stream = await anyio.connect_unix(address)
        except OSError as error:
            raise self._gone(sent=False) from error
        async with stream:
            yield Lines(stream)

    def _gone(self, *, sent: bool = True) -> ProviderUnavailableError:
        where = f"{self._config.namespace}/{self._config.name}"
        return ProviderUnavailableError(
            f"the supervisor of {where} has gone, and its processes with it", sent=sent
        )

    @staticmethod
    def _result(answer: Any) -> DeploymentResult:
        result = DeploymentResult.model_validate(answer)
        return result.model_copy(update={"status": DeploymentStatus(result.status)})
