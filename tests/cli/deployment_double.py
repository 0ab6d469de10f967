"""A deployment driver that deploys nothing, for what the command line does with any driver's answers."""

from datetime import UTC, datetime
from typing import ClassVar

import anyio

from aioproviders.deployment import (
    Change,
    DeploymentConfig,
    DeploymentProvider,
    DeploymentResult,
    DeploymentStatus,
    Diagnosis,
    Instance,
    LogLine,
    Release,
    Replicas,
)
from aioproviders.deployment.rollouts import Rollouts
from aioproviders.errors import AuthenticationError, NotFoundError, RequestError

SECRET = "canary-5d1f-secret"
FILE = f"""
[providers.web]
type = "deployment"
driver = "double"
version = "1.0.0"
image = "web"
replicas = 2
ports = [{{ port = 8080 }}]
labels = {{ "app.kubernetes.io/name" = "web" }}
env = {{ MODE = "plain", TOKEN = {{ secret = "{SECRET}" }} }}

[providers.strange]
type = "deployment"
driver = "plain"
version = "1"

[providers.settings]
type = "configuration"
driver = "environment"
version = "1"
"""
ROLE = 'kind: Role\nrules:\n- resources: ["things"]\n  verbs: [get]'
DIAGNOSIS = Diagnosis(
    instance="web-2",
    container="app",
    reason="CrashLoop",
    message="ended 3 times in a row",
    exit_code=3,
    events=("12:00:00 started", "12:00:01 ended with exit code 3"),
    logs=("    Traceback:", "\x1b[31mboom\x1b[0m \x07 token=" + SECRET),
    suggestion="look at the last lines",
)


class DoubleConfig(DeploymentConfig):
    grace: bool | None = None


class Double(DeploymentProvider[DoubleConfig]):
    """What it has deployed is kept in the class: a command makes a provider of its own.

    A version that ends in -bad fails; one that ends in -slow takes until it is cancelled, and -slower
    also takes a second to be undone.
    """

    deployed: ClassVar[list] = []

    async def initialize(self):
        self._rollouts = Rollouts()

    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self):
        pass

    async def deploy(self, config: DoubleConfig, *, dry_run: bool = False) -> DeploymentResult:
        if dry_run:
            return self._result("tried out", config, changes=tuple(await self.diff(config)))
        with self._rollouts.turn(f"rollout of {config.version}", config.version):
            replicas = Replicas(desired=config.replicas)
            self._rollouts.tell(
                "started", DeploymentStatus.PROGRESSING, f"rolling out {config.version}", replicas=replicas
            )
            if config.version.endswith("-unallowed"):
                raise AuthenticationError(f"missing: get things; this would do:\n{ROLE}\x1b[2J", sent=False)
            if config.version.endswith(("-slow", "-slower")):
                await anyio.Path("under-way").touch()
                try:
                    await anyio.sleep_forever()
                finally:
                    self._rollouts.tell("rollback", DeploymentStatus.PROGRESSING, "going back")
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(1 if config.version.endswith("-slower") else 0.05)
                    self._rollouts.tell("finished", DeploymentStatus.ROLLED_BACK, "all is as before")
            for index in range(config.replicas):
                # As often as another task needs to see each step.
                await anyio.sleep(0.01)
                self._rollouts.tell(
                    "instance",
                    DeploymentStatus.PROGRESSING,
                    "is ready",
                    instance=Instance(
                        name=f"web-{index + 1}", version=config.version, phase="ready", ready=True
                    ),
                )
            if config.version.endswith("-bad"):
                message = "CrashLoop: ended 3 times in a row"
                failed = self._result(message, config, success=False, status=DeploymentStatus.ROLLED_BACK)
                failed.metadata["diagnosis"] = DIAGNOSIS
                return failed.because_of(RequestError(message, outage=False, retryable=False))
            self.deployed.append(config)
            self._rollouts.tell("finished", DeploymentStatus.HEALTHY, "all instances are available")
            return self._result("rolled out", config)

    @staticmethod
    def _instance(number, config):
        return Instance(name=f"web-{number}", version=config.version, phase="ready", ready=True, pid=77)

    def _result(self, message, config, *, success=True, status=DeploymentStatus.HEALTHY, **metadata):
        replicas = Replicas(desired=config.replicas, updated=config.replicas, available=config.replicas)
        return DeploymentResult(
            success=success,
            deployment_id="default/web",
            status=status,
            message=message,
            metadata={
                "version": config.version,
                "revision": len(self.deployed),
                "replicas": replicas,
                "duration_ms": 12.0,
                **metadata,
            },
        )

    async def scale(self, replicas: int) -> DeploymentResult:
        return await self.deploy(self._current().model_copy(update={"replicas": replicas}))

    async def rollback(self, version: str) -> DeploymentResult:
        for config in self.deployed:
            if config.version == version:
                return await self.deploy(config)
        raise NotFoundError(f"no release has the version {version!r}")

    def _current(self):
        if not self.deployed:
            raise NotFoundError("nothing is deployed")
        return self.deployed[-1]

    async def get_status(self):
        if not self.deployed:
            return {"name": "web", "status": DeploymentStatus.NOT_FOUND, "message": "never deployed"}
        config = self.deployed[-1]
        return {
            "name": "web",
            "status": DeploymentStatus.HEALTHY,
            "version": config.version,
            "revision": len(self.deployed),
            "replicas": Replicas(desired=config.replicas, updated=1, ready=1, available=1),
            "instances": (self._instance(1, config),),
            "endpoints": ("127.0.0.1:8080",),
        }

    async def diff(self, config):
        return [
            Change(action="changed", object="process", path="replicas", before=1, after=config.replicas),
            Change(action="added", object="process", path="env.TOKEN", after="**********"),
            Change(action="removed", object="process", path="labels.old", before="x"),
        ]

    async def history(self):
        return [
            Release(
                revision=index + 1,
                version=config.version,
                status=DeploymentStatus.HEALTHY,
                healthy=True,
                current=config is self.deployed[-1],
                created_at=datetime(2030, 1, 2, tzinfo=UTC),
                change_cause=config.change_cause,
            )
            for index, config in reversed(list(enumerate(self.deployed)))
        ]

    async def watch_rollout(self, *, wait: bool = False):
        async for event in self._rollouts.watch(wait=wait):
            yield event

    async def logs(self, *, instance: str | None = None, lines: int = 100, follow: bool = False):
        for name in ("web-1", "web-2"):
            if instance in (None, name):
                for number in range(3)[-lines:] if lines else ():
                    yield LogLine(instance=name, text=f"  line {number} \x1b[2J{SECRET}")


class Plain(DeploymentProvider):
    """A stranger's driver: the four methods and nothing else."""

    async def initialize(self):
        pass

    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self):
        pass

    async def deploy(self, config: DeploymentConfig) -> DeploymentResult:
        return DeploymentResult(success=True, deployment_id="42", status="deployed")

    async def scale(self, replicas: int) -> DeploymentResult:
        return DeploymentResult(
            success=True, deployment_id="42", status="deployed", message=f"{replicas} run"
        )

    async def rollback(self, version: str) -> DeploymentResult:
        return DeploymentResult(success=False, deployment_id="42", status="stuck")

    async def get_status(self):
        return {"status": "whatever", "colour": "blue"}
