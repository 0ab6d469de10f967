"""The behaviours of all deployments, on processes of this machine."""

import sys
from pathlib import Path

import pytest
from behaviours import SECRET, DeploymentBehaviours

from aioproviders.deployment.process import ProcessDeploymentConfig, ProcessDeploymentProvider
from aioproviders.testing import ProviderTestBase

APP = Path(__file__).with_name("apps") / "versioned.py"


@pytest.fixture
def config(tmp_path, free_port):
    """Return a function: version and changes -> a config, of two processes that say when they are ready."""

    def make_config(version, **changes):
        return ProcessDeploymentConfig(
            **{
                "name": "shop",
                "version": version,
                "replicas": 2,
                "command": [sys.executable, "-IS", str(APP), "{version}"],
                "ports": [{"port": free_port}],
                "readiness_probe": {"kind": "notify"},
                "state_directory": tmp_path / "state",
                "stop_timeout_ms": 5000,
                "rollout_timeout_ms": 20_000,
                "restart_backoff_initial_ms": 20,
                "restart_backoff_max_ms": 100,
                **changes,
            }
        )

    return make_config


class TestProcesses(DeploymentBehaviours):
    """They behave as all deployments do."""

    @pytest.fixture
    def make(self):
        return ProcessDeploymentProvider


class TestProcessDeploymentProvider(ProviderTestBase):
    """The driver complies."""

    @pytest.fixture
    def provider(self, config):
        return ProcessDeploymentProvider(config("1.0.0", env={"TOKEN": {"secret": SECRET}}))
