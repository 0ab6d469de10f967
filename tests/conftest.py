"""What all tests may use."""

import pytest

from aioproviders.testing.faults import FaultServer


@pytest.fixture(scope="session")
def fault_server_process():
    """One fault server for this worker's whole run."""
    with FaultServer() as server:
        yield server


@pytest.fixture
async def fault_server(fault_server_process):
    """A running fault server that has seen nothing yet."""
    if not fault_server_process.running:  # a test killed it
        await fault_server_process.start()
    await fault_server_process.reset()
    return fault_server_process
