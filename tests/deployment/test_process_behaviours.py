"""The behaviours of all deployments, on processes of this machine."""

import sys
from pathlib import Path

import pytest
from behaviours import DeploymentBehaviours

from aioproviders.deployment.process import ProcessDeploymentConfig, ProcessDeploymentProvider

APP = Path(__file__).with_name("apps") / "versioned.py"


class TestProcesses(DeploymentBehaviours):
    """Processes, ready when they say so."""

    @pytest.fixture
    def config(self, tmp_path, free_port):
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

    @pytest.fixture
    def make(self):
        return ProcessDeploymentProvider
