"""How a supervisor and those who ask it talk: a JSON object a line, over a socket of the user's own.

A question is ``{"do": …, "with": {…}}``. The answer is any number of ``{"item": …}``, and one last
``{"result": …}`` or ``{"error": …}``. Whoever asks may send ``{"cancel": true}``, or hang up, which is the
same; to the first the answer is ``{"heard": true}`` before anything else. ``{"do": "ping"}`` asks for
nothing but an answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import SecretStr

from aioproviders.deployment.process.config import ProcessDeploymentConfig

__all__ = ["CONTROL", "Lines", "config_from_wire", "config_to_wire", "control_address"]

CONTROL = "control.sock"
"""The supervisor's socket, in the deployment's folder."""
_LONGEST_ADDRESS = 100
_LONGEST_LINE = 16 * 1024 * 1024


class Lines:
    """Sends and receives JSON objects.

    Args:
        stream: The connection.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._incoming = BufferedByteReceiveStream(stream)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one.

        Raises:
            anyio.BrokenResourceError: The other side has gone.
        """
        await self._stream.send(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    async def receive(self) -> dict[str, Any] | None:
        """Receive one; None when the other side has gone."""
        try:
            line = await self._incoming.receive_until(b"\n", _LONGEST_LINE)
            message = json.loads(line)
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, anyio.DelimiterNotFound):
            return None
        except (ValueError, RecursionError):
            return None  # it doesn't talk as we do
        return message if isinstance(message, dict) else None


def config_to_wire(config: ProcessDeploymentConfig) -> dict[str, Any]:
    """Return all that was set in a config, values of secrets included."""
    fields = config.model_dump(mode="json", exclude_unset=True, exclude={"env"})
    # What is relative here is not so there.
    fields["state_directory"] = os.fspath(config.state_directory.absolute())
    if config.working_directory is not None:
        fields["working_directory"] = os.fspath(config.working_directory.absolute())
    fields["env"] = {
        name: {"secret": value.get_secret_value()} if isinstance(value, SecretStr) else value
        for name, value in config.env.items()
    }
    return fields


def config_from_wire(fields: Mapping[str, Any]) -> ProcessDeploymentConfig:
    """Return the config that `config_to_wire` was given."""
    return ProcessDeploymentConfig.model_validate(fields)


@contextmanager
def control_address(directory: Path) -> Iterator[str]:
    """Give an address of the supervisor's socket that is good inside of the block.

    A path may well be longer than an address may be (unix(7): 108 bytes); then it goes by way of the
    folder's descriptor (proc(5), ``/proc/self/fd``).
    """
    path = directory / CONTROL
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield os.fspath(path)
        return
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{CONTROL}"
    finally:
        os.close(folder)
