"""The Python SDK driver with two vendors' packages as they are, over TCP.

One talks to its own Modbus server, the other to fakeredis, which speaks the protocol of Redis.
"""

import threading
from contextlib import asynccontextmanager

import anyio
import pytest
from fakeredis import TcpFakeServer
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from aioproviders import HealthStatus, ProviderUnavailableError
from aioproviders.sdk.python import PythonSDKConfig, PythonSDKProvider


@pytest.fixture
def redis_server():
    """A server that speaks Redis' protocol on a port of its own."""
    server = TcpFakeServer(("127.0.0.1", 0))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def redis(port, **fields):
    """Redis' async client, as configuration alone describes it."""
    return PythonSDKProvider(
        PythonSDKConfig(
            **{
                "name": "cache",
                "package_name": "redis.asyncio",
                "distribution": "redis",
                "version": ">=5",
                "client_class": "Redis.from_url",
                "client_arguments": {"url": "{api_endpoint}", "decode_responses": True},
                "api_endpoint": f"redis://127.0.0.1:{port}/0",
                "request_method": None,
                "health_method": "ping",
                "retry_attempts": 1,
                **fields,
            }
        )
    )


async def test_async_redis(redis_server):
    """Commands of redis-py's async client are awaited on the loop, many at once."""
    async with redis(redis_server) as provider:
        assert (await provider.health_check())["status"] is HealthStatus.HEALTHY
        assert (await provider.get_capabilities())["asynchronous"] is True

        async def use(number):
            key = f"key{number}"
            assert (await provider.make_request("set", {"name": key, "value": number})).data is True
            assert (await provider.make_request("get", {"name": key})).data == str(number)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(use, number)


async def test_async_redis_that_is_down(unused_tcp_port):
    """A refused connection is an unavailable provider, though the vendor's exception is its own."""
    async with redis(unused_tcp_port) as provider:
        assert (await provider.health_check())["status"] is HealthStatus.ERROR
        response = await provider.make_request("get", {"name": "key"})
    with pytest.raises(ProviderUnavailableError, match=r"127\.0\.0\.1"):
        response.raise_for_error()


@asynccontextmanager
async def modbus_server():
    """A Modbus device with ten registers; yields its port."""
    device = SimDevice(1, simdata=SimData(0, values=list(range(10)), datatype=DataType.REGISTERS))
    server = ModbusTcpServer(device, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1]
    finally:
        await server.shutdown()


def modbus(port):
    """Pymodbus' sync client, as configuration alone describes it."""
    return PythonSDKProvider(
        PythonSDKConfig(
            name="plant",
            package_name="pymodbus",
            version=">=3",
            client_class="client.ModbusTcpClient",
            client_arguments={"host": "{api_endpoint}", "port": port, "retries": 0},
            api_endpoint="127.0.0.1",
            request_method=None,
            health_method="connect",
            retry_attempts=1,
            max_threads=1,  # the client is not for several threads
        )
    )


async def test_sync_modbus():
    """Calls of pymodbus' sync client block a worker thread while its server runs on this very loop."""
    async with modbus_server() as port, modbus(port) as provider:
        assert (await provider.health_check())["status"] is HealthStatus.HEALTHY
        assert (await provider.get_capabilities())["asynchronous"] is False
        written = await provider.make_request("write_register", {"address": 3, "value": 42})
        read = await provider.make_request("read_holding_registers", {"address": 2, "count": 3})
        client = provider.client
    assert written.success
    assert read.data.registers == [2, 42, 4]
    assert not client.connected


async def test_sync_modbus_that_is_down(unused_tcp_port):
    """The device that can't be reached is unhealthy, and the request says so."""
    async with modbus(unused_tcp_port) as provider:
        assert (await provider.health_check())["status"] is HealthStatus.UNHEALTHY
        response = await provider.make_request("read_holding_registers", {"address": 0})
    assert "ConnectionException" in response.error
