"""What the tests of the process driver share."""

import socket
from functools import partial

import pytest
from owning import owned
from process_deployments import make_config

from aioproviders.deployment.process import ProcessDeploymentProvider


@pytest.fixture
def configure(tmp_path, free_port):
    """Return a function: version and changes -> a config of this test's deployment."""
    return partial(make_config, tmp_path, free_port)


@pytest.fixture
async def provider(configure):
    """A provider of a deployment that is not there yet."""
    async with owned(ProcessDeploymentProvider(configure())) as provider:
        yield provider


@pytest.fixture
def other_port():
    """Another TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
