"""The models of deployment results: what they hold, and how they read."""

import pytest
from owning import owned

from aioproviders import DeploymentConfig, DeploymentProvider, DeploymentResult
from aioproviders.deployment import Change, Diagnosis, Replicas
from aioproviders.errors import UnsupportedCapabilityError


class PlainProvider(DeploymentProvider):
    """As the specification's: the four methods and nothing else."""

    async def initialize(self):
        self.deployed = None

    async def deploy(self, config):
        self.deployed = config.version
        return DeploymentResult(
            success=True,
            deployment_id="1",
            status="deployed",
            metadata={"replicas": Replicas(desired=1), "own": 7},
        )

    async def scale(self, replicas):
        raise OSError(f"can't have {replicas}")

    async def rollback(self, version):
        raise OSError(version)

    async def get_status(self):
        return {"status": "deployed", "version": self.deployed}

    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self):
        self.deployed = None


@pytest.fixture
async def plain():
    async with owned(PlainProvider(DeploymentConfig(name="shop", version="1.0.0"))) as provider:
        yield provider


async def test_a_drivers_own_metadata_is_kept(plain):
    """A driver may say more than ours do."""
    result = await plain.deploy(plain.config)
    assert result.metadata == {"replicas": Replicas(desired=1), "own": 7}
    assert result.status == "deployed"
    assert result.diagnosis is None


async def test_a_failure_is_a_result(plain):
    """What a driver raises comes back as a failed result."""
    result = await plain.scale(3)
    assert (result.success, result.status, result.deployment_id) == (False, "failed", "")
    assert "can't have 3" in result.message


async def test_a_rollout_is_not_bound_by_the_timeout_of_a_request(plain):
    """Neither timeout_ms nor retry_attempts holds for deploy, unless 'operations' says so."""
    policies = plain._policies
    assert policies["deploy"].timeout == float("inf")
    assert policies["deploy"].attempts == 1
    assert policies["get_status"].timeout == 5
    bound = PlainProvider(
        DeploymentConfig(
            name="shop", version="1", operations={"deploy": {"timeout_ms": 60_000, "retry_attempts": 2}}
        )
    )
    assert (bound._policies["deploy"].timeout, bound._policies["deploy"].attempts) == (60, 2)


async def test_what_a_driver_lacks(plain):
    """The methods beyond the four say that it has none."""
    with pytest.raises(UnsupportedCapabilityError, match=r"PlainProvider has no history\(\)"):
        await plain.history()
    with pytest.raises(UnsupportedCapabilityError, match=r"no diff\(\)"):
        await plain.diff(plain.config)
    with pytest.raises(UnsupportedCapabilityError, match=r"no watch_rollout\(\)"):
        [event async for event in plain.watch_rollout()]
    with pytest.raises(UnsupportedCapabilityError, match=r"no logs\(\)"):
        [line async for line in plain.logs(follow=True)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            Change(action="changed", object="process/shop", path="replicas", before=1, after=2),
            "~ process/shop replicas: 1 -> 2",
        ),
        (Change(action="added", object="Service/shop"), "+ Service/shop"),
        (
            Change(action="removed", object="process/shop", path="env.MODE", before="x"),
            "- process/shop env.MODE: 'x'",
        ),
    ],
)
def test_changes_read_like_a_diff(change, text):
    """A sign, where, and what."""
    assert str(change) == text


@pytest.mark.parametrize(
    ("diagnosis", "text"),
    [
        (Diagnosis(reason="Timeout", message=""), "Timeout"),
        (
            Diagnosis(instance="shop-1", reason="CrashLoop", message="exit code 1"),
            "shop-1: CrashLoop: exit code 1",
        ),
        (
            Diagnosis(instance="shop-1", container="web", reason="ErrImagePull", message="not found"),
            "shop-1/web: ErrImagePull: not found",
        ),
    ],
)
def test_diagnoses_read_in_one_line(diagnosis, text):
    """Where, the target's word, and what happened."""
    assert str(diagnosis) == text
