"""How a supervisor and those who ask it talk: a JSON object a line, over a socket of the user's own.

A question is ``{"do": …, "with": {…}}``. The answer is any number of ``{"item": …}``, and one last
``{"result": …}`` or ``{"error": …}``. Whoever asks may send ``{"cancel": true}``, or hang up, which is the
same.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.streams.buffered import BufferedByteReceiveStream
from pydantic import SecretStr

from aioproviders.deployment.process.config import ProcessDeploymentConfig

__all__ = ["Lines", "config_from_wire", "config_to_wire", "find_address", "make_address", "remove_address"]

_SOCKET = "control.sock"
_ELSEWHERE = "control.path"
_LONGEST_ADDRESS = 100  # unix(7): 108 bytes, the end included
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
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, ValueError):
            return None
        except anyio.DelimiterNotFound:
            return None
        return message if isinstance(message, dict) else None


def config_to_wire(config: ProcessDeploymentConfig) -> dict[str, Any]:
    """Return all that was set in a config, values of secrets included."""
    fields = config.model_dump(mode="json", exclude_unset=True, exclude={"env"})
    fields["state_directory"] = os.fspath(config.state_directory)
    fields["env"] = {
        name: {"secret": value.get_secret_value()} if isinstance(value, SecretStr) else value
        for name, value in config.env.items()
    }
    return fields


def config_from_wire(fields: Mapping[str, Any]) -> ProcessDeploymentConfig:
    """Return the config that `config_to_wire` was given."""
    return ProcessDeploymentConfig.model_validate(fields)


def make_address(directory: Path) -> Path:
    """Choose where the supervisor listens; what one before has left there is removed. It blocks."""
    remove_address(directory)
    address = directory / _SOCKET
    if len(os.fsencode(address.absolute())) <= _LONGEST_ADDRESS:
        return address
    short = Path(tempfile.mkdtemp(prefix="aioproviders-")) / _SOCKET
    (directory / _ELSEWHERE).write_text(os.fspath(short), encoding="utf-8")
    return short


def find_address(directory: Path) -> Path:
    """Return where the supervisor would listen. It blocks."""
    try:
        return Path((directory / _ELSEWHERE).read_text(encoding="utf-8"))
    except OSError:
        return directory / _SOCKET


def remove_address(directory: Path) -> None:
    """Remove the socket, if it is there. It blocks."""
    address = find_address(directory)
    address.unlink(missing_ok=True)
    if address.parent != directory:
        if address.parent.name.startswith("aioproviders-"):
            shutil.rmtree(address.parent, ignore_errors=True)
        (directory / _ELSEWHERE).unlink(missing_ok=True)
