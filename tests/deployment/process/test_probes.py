"""Probes against real servers and commands."""

import anyio
import pytest
from pydantic import ValidationError
from replicas import until_gone

from aioproviders.deployment import Probe
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.launching import Launch
from aioproviders.deployment.process.probes import ask, keep_asking

LAUNCH = Launch("shop-1-0", "1.0", 1, ("true",), env={"PATH": "/usr/bin:/bin", "MODE": "fast"})


class Answering:
    """A server that answers every connection with the same bytes, or not at all."""

    def __init__(self, answer):
        self.answer = answer

    async def serve(self, stream):
        async with stream:
            request = await stream.receive()
            if self.answer is None:
                await anyio.sleep_forever()
            await stream.send(self.answer or b"" if self.answer else request[:0])


async def asked(answer, **fields):
    """Ask a server that gives this answer."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    address = ("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as task_group:
        task_group.start_soon(listener.serve, Answering(answer).serve)
        found = await ask(Probe(**{"port": address[1], "path": "/health", **fields}), LAUNCH, address)
        task_group.cancel_scope.cancel()
    return found


@pytest.mark.parametrize("status", [200, 204, 302, 399])
async def test_well(status):
    """A status from 200 to 399 is well."""
    assert await asked(f"HTTP/1.1 {status} So\r\n\r\n".encode()) is None


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 503 No\r\n\r\n", "/health: status 503"),
        (b"HTTP/1.1 400 No\r\n\r\n", "/health: status 400"),
        (b"220 mail.example ESMTP\r\n", "the answer is no HTTP"),
        (b"", "the connection was closed without an answer"),
    ],
)
async def test_unwell(answer, told):
    """What is not well says what it was."""
    assert told in await asked(answer)


async def test_no_answer_in_time():
    """A server that takes the request and says nothing is not well."""
    assert "no answer within 0.1 s" in await asked(None, timeout_ms=100)


async def test_nobody_listens(free_port):
    """A refused connection is not well, by HTTP and TCP."""
    for kind in ("http", "tcp"):
        found = await ask(Probe(kind=kind, port=free_port), LAUNCH, ("127.0.0.1", free_port))
        assert f"127.0.0.1:{free_port}" in found


async def test_tcp():
    """A connection that is accepted is well."""
    assert await asked(b"", kind="tcp") is None


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("test", "fast", "=", "fast"), None),
        (("sh", "-c", "test $MODE = fast"), None),
        (("sh", "-c", "echo first; echo second >&2; exit 3"), "sh: exit code 3: second"),
        (("false",), "false: exit code 1"),
        (("no-such-program",), "no-such-program: No such file or directory"),
    ],
)
async def test_commands(command, told):
    """One that ends with 0 is well; the others say how they ended, with their last line."""
    assert await ask(Probe(kind="exec", command=command, timeout_ms=20_000), LAUNCH, None) == told


async def test_a_command_that_does_not_end():
    """It is not well, and told with the time that it had."""
    found = await ask(Probe(kind="exec", command=("sleep", "600"), timeout_ms=200), LAUNCH, None)
    assert found == "sleep 600: no answer within 0.2 s"


async def test_thresholds():
    """Changes are told after as many answers in a row as the probe says, and once."""
    answers = iter([None, "bad", None, None, "bad", "worse", "worst", None, None])
    told = []

    async def question():
        return next(answers)

    probe = Probe(port=1, period_ms=1, initial_delay_ms=1, success_threshold=2, failure_threshold=2)
    with pytest.raises(RuntimeError):  # the answers have run out
        await keep_asking(probe, question, told.append)
    assert told == [None, "worse", None]


async def test_a_command_leaves_nothing_behind(tmp_path):
    """What it has started in the background ends with it, and does not keep the answer waiting."""
    told = tmp_path / "pid"
    command = ("sh", "-c", f"sleep 600 & echo $! > {told}; exit 0")
    assert await ask(Probe(kind="exec", command=command, timeout_ms=20_000), LAUNCH, None) is None
    await until_gone(int(told.read_text()))


async def test_the_host_of_an_ipv6_address():
    """It stands in brackets, as a server may insist on (RFC 3986, 3.2.2)."""
    seen = []

    async def serve(stream):
        async with stream:
            seen.append(await stream.receive())
            await stream.send(b"HTTP/1.1 503 No\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="::1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as task_group:
        task_group.start_soon(listener.serve, serve)
        found = await ask(Probe(port=port), LAUNCH, ("::1", port))
        task_group.cancel_scope.cancel()
    assert found == f"GET http://[::1]:{port}/: status 503"
    assert f"Host: [::1]:{port}".encode() in seen[0].split(b"\r\n")


def test_liveness_is_not_notified():
    """A config that asks for it is refused, as a process says only once that it is ready."""
    with pytest.raises(ValidationError, match="'liveness_probe': by 'notify'"):
        ProcessDeploymentConfig(
            name="shop", version="1.0", command=("true",), liveness_probe=Probe(kind="notify")
        )
