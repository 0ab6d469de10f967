"""Answering what other processes ask of a supervisor."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from anyio.abc import SocketStream
from pydantic import BaseModel, TypeAdapter, ValidationError

from aioproviders.deployment.models import DeploymentState
from aioproviders.deployment.process.supervisor import Supervisor
from aioproviders.deployment.process.wire import CONTROL, Lines, config_from_wire, control_address
from aioproviders.errors import ConfigurationError, ErrorDetail, ProviderError
from aioproviders.redaction import secrets_in
from aioproviders.resilience import translate

__all__ = ["serve"]

_STATE = TypeAdapter(DeploymentState)
_PAUSE = 0.5
"""Seconds until who asks is let in again, where that just failed."""
_STREAMS = ("watch_rollout", "logs")


async def serve(
    supervisor: Supervisor,
    directory: Path,
    conceal: Callable[..., None],
    on_error: Callable[[Exception], None],
) -> None:
    """Answer until cancelled; no question, and no want of descriptors, ends what runs.

    Args:
        supervisor: Who is asked.
        directory: The deployment's folder.
        conceal: Is told the secrets that come in.
        on_error: Is told what went wrong with one who asked.

    Raises:
        OSError: There can't be a socket in the folder.
    """
    path = directory / CONTROL
    # One that a crash has left would be in the way.
    await to_thread.run_sync(partial(path.unlink, missing_ok=True))
    try:
        with control_address(directory) as address:
            listener = await anyio.create_unix_listener(address, mode=0o600)

        async def handle(stream: SocketStream) -> None:
            try:
                async with stream:
                    await _Conversation(supervisor, Lines(stream), conceal).run()
            except Exception as error:  # noqa: BLE001 - whatever it is, the supervisor lives on
                on_error(error)

        async with listener, anyio.create_task_group() as task_group:
            while True:
                try:
                    task_group.start_soon(handle, await listener.accept())
                except (OSError, anyio.BrokenResourceError) as error:  # no descriptor left, for one
                    on_error(error)
                    await anyio.sleep(_PAUSE)
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(partial(path.unlink, missing_ok=True))


class _Conversation:
    """One question and its answer."""

    def __init__(self, supervisor: Supervisor, lines: Lines, conceal: Callable[..., None]) -> None:
        self._supervisor, self._lines, self._conceal = supervisor, lines, conceal

    async def run(self) -> None:
        """Answer, unless whoever asks goes away or changes his mind."""
        question = await self._lines.receive()
        if question is None:
            return
        last: Mapping[str, Any] = {"error": _detail(ProviderError("cancelled"))}
        async with anyio.create_task_group() as task_group:

            async def listen() -> None:
                order = await self._lines.receive()
                if order is not None and question.get("do") not in _STREAMS:
                    # Undoing may take its time: who waits for it should know that it was heard.
                    with suppress(anyio.BrokenResourceError):
                        await self._lines.send({"heard": True})
                task_group.cancel_scope.cancel()

            task_group.start_soon(listen)
            last = await self._answer(question)
            task_group.cancel_scope.cancel()
        try:
            await self._lines.send(last)
        except anyio.BrokenResourceError:
            return

    async def _answer(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            what, arguments = question.get("do"), dict(question.get("with") or {})
            if "config" in arguments:
                arguments["config"] = config_from_wire(arguments["config"])
                self._conceal(*secrets_in(arguments["config"]))
            if what == "ping":
                return {"result": None}
            if what in _STREAMS:
                await self._stream(getattr(self._supervisor, what)(**arguments))
                return {"result": None}
            if what in ("deploy", "scale", "rollback", "get_status", "diff", "history"):
                return {"result": _plain(await getattr(self._supervisor, what)(**arguments))}
            error: ProviderError = ProviderError(
                f"the supervisor knows no {what!r}; it may be of another version"
            )
        except ProviderError as exc:
            error = exc
        except (ValidationError, TypeError):
            # Such as a setting that this version doesn't have; the message of either may show values.
            error = ConfigurationError(
                "the supervisor does not understand the request; is it of another version?"
            )
        except Exception as exc:  # noqa: BLE001 - whatever it is, the supervisor lives on
            error = translate(exc)
        return {"error": _detail(error)}

    async def _stream(self, items: AsyncGenerator[BaseModel, None]) -> None:
        async with aclosing(items):
            async for item in items:
                await self._lines.send({"item": item.model_dump(mode="json")})


def _plain(answer: Any) -> Any:
    if isinstance(answer, BaseModel):
        return answer.model_dump(mode="json")
    if isinstance(answer, Mapping):
        return _STATE.dump_python(answer, mode="json")  # type: ignore[arg-type]  # the only mapping there is
    return [item.model_dump(mode="json") for item in answer]


def _detail(error: ProviderError) -> dict[str, Any]:
    return ErrorDetail.from_error(error).model_dump(mode="json")
