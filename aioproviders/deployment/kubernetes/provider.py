"""`KubernetesDeploymentProvider`: the driver."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from pydantic import ValidationError

from aioproviders.calls import current_call
from aioproviders.deployment import DeploymentProvider
from aioproviders.deployment.config import DeploymentConfig
from aioproviders.deployment.kubernetes.api import Api, Attempt
from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.kubernetes.connection import Connection, connect
from aioproviders.deployment.kubernetes.deploying import Deploying
from aioproviders.deployment.kubernetes.differences import diff_plan
from aioproviders.deployment.kubernetes.health import cluster_health
from aioproviders.deployment.kubernetes.history import history_of
from aioproviders.deployment.kubernetes.intent import list_releases
from aioproviders.deployment.kubernetes.objects import Object, Ref
from aioproviders.deployment.kubernetes.output import Following, last_lines
from aioproviders.deployment.kubernetes.patience import Patience
from aioproviders.deployment.kubernetes.plan import Plan, make_plan
from aioproviders.deployment.kubernetes.preflight import Preflight
from aioproviders.deployment.kubernetes.prune import find_leftovers
from aioproviders.deployment.kubernetes.rollback import roll_back
from aioproviders.deployment.kubernetes.rolling import Hands, result_of
from aioproviders.deployment.kubernetes.scaling import scale_to
from aioproviders.deployment.kubernetes.side_by_side import side_by_side
from aioproviders.deployment.kubernetes.status import absent, state_of
from aioproviders.deployment.kubernetes.tracking import track
from aioproviders.deployment.kubernetes.workloads import revision_objects, selector_of
from aioproviders.deployment.models import (
    Change,
    DeploymentMetadata,
    DeploymentResult,
    DeploymentState,
    DeploymentStatus,
    LogLine,
    Release,
    RolloutEvent,
)
from aioproviders.deployment.rollouts import Rollouts
from aioproviders.errors import AuthenticationError, ConfigurationError, NotFoundError, ProviderError
from aioproviders.operations import operation
from aioproviders.redaction import Redactor, secrets_in

__all__ = ["KubernetesDeploymentProvider"]

_CLUSTER = ("cluster_name", "context", "kubeconfig_path")
"""What says which cluster it is: a provider is connected to one."""


class KubernetesDeploymentProvider(DeploymentProvider[KubernetesDeploymentConfig]):
    """Deploys to a Kubernetes cluster by server-side apply, and waits by watching.

    Args:
        config: Where the cluster is, and what to deploy there.
    """

    def __init__(self, config: KubernetesDeploymentConfig) -> None:
        super().__init__(config)
        self._rollouts = Rollouts()
        self._preflight = Preflight()
        self._patience = Patience(self.config.timeout_ms / 1000)
        self._connection: Connection | None = None
        self._apis: tuple[Api, Api] | None = None
        self._last = self.config
        self._ref: Ref | None = None
        self._plan_secrets: frozenset[str] = frozenset()

    async def initialize(self) -> None:
        """Read the kubeconfig and make the client; the cluster is not asked anything."""
        self._connection = await connect(self.config, self.conceal)
        patient = Api(self._connection, run=self._patience.run)
        self._apis = Api(self._connection, run=self._requested), patient

    async def cleanup(self) -> None:
        """Close the client; what is deployed stays."""
        connection, self._connection, self._apis = self._connection, None, None
        if connection is not None:
            await connection.close()

    async def health_check(self) -> Mapping[str, Any]:
        """Tell how the cluster is, and the deployment in it."""
        api = self._api.bare()
        check = await cluster_health(api, self._last.namespace)
        details = dict(check.get("details") or {})
        if check["status"] == "unhealthy":
            return {**check, "details": details}
        try:
            state = await self._state(api)
        except AuthenticationError as error:
            told = f"reachable, but unauthorised: {error.message}"
            return {**check, "status": "degraded", "error": told, "details": details}
        details["deployment"] = {key: str(state[key]) for key in ("status", "version", "replicas")}
        if state["status"] in (DeploymentStatus.FAILED, DeploymentStatus.DEGRADED):
            failed = state["status"] == DeploymentStatus.FAILED
            status = "unhealthy" if failed else "degraded"
            return {**check, "status": status, "error": state["message"], "details": details}
        return {**check, "details": details}

    @operation(idempotent=True)
    async def request(self, attempt: Attempt, idempotent: bool) -> Any:
        """Make one request of the driver, under the provider's limits."""
        call = current_call()
        if call is not None:
            call.idempotent = idempotent
        return await attempt()

    async def _requested(self, attempt: Attempt, idempotent: bool) -> Any:
        """Make a request; where it fails, what the caller has called has failed."""
        try:
            return await self.request(attempt, idempotent)
        except ProviderError as error:
            call = current_call()
            if call is not None and error.provider == self.name:
                error.operation = call.operation
            raise

    async def deploy(self, config: DeploymentConfig, *, dry_run: bool = False) -> DeploymentResult:
        """Apply what `config` says, and wait until it is well; see `DeploymentProvider.deploy`."""
        complete, plan = await self._planned(config)
        if dry_run:
            changes = await self._changes(complete, plan)
            metadata = DeploymentMetadata(version=plan.version, images=plan.images, changes=changes)
            state = await self._state(self._api, plan.workload)
            number = sum(change.action != "kept" for change in changes)
            message = f"{number} change{'s' if number > 1 else ''}" if number else "unchanged"
            return result_of(plan.workload, state["status"], f"dry run: {message}", metadata)
        with self._rollouts.turn(f"rollout of {plan.version}", plan.version):
            self._last, self._ref = complete, plan.workload
            return self._signed(await Deploying(self._hands(complete), plan, self._preflight).run())

    async def scale(self, replicas: int) -> DeploymentResult:
        """Change the number of replicas; refused where it belongs to an autoscaler."""
        with self._rollouts.turn(f"scaling to {replicas}"):
            return self._signed(await scale_to(self._hands(self._last), await self._workload(), replicas))

    async def rollback(self, version: str) -> DeploymentResult:
        """Go back to an earlier release with the present number of replicas."""
        with self._rollouts.turn(f"rollback to {version}"):
            return self._signed(await roll_back(self._hands(self._last), await self._workload(), version))

    async def get_status(self) -> DeploymentState:
        """Tell where the deployment stands."""
        return await self._state(self._api)

    async def diff(self, config: DeploymentConfig) -> Sequence[Change]:
        """Tell what a deploy would change, by having the server apply it dry."""
        complete, plan = await self._planned(config)
        return await self._changes(complete, plan)

    async def history(self) -> Sequence[Release]:
        """Return the revisions that the cluster keeps, newest first, with what we know of each."""
        ref = await self._workload()
        workload = await self._api.find(ref)
        if workload is None:
            return []
        kept, pods = await self._parts(self._api, workload)
        stored = await list_releases(self._api, ref)
        status = state_of(workload, kept, pods)["status"]
        failed = status == DeploymentStatus.FAILED
        return [entry[0] for entry in history_of(workload, kept, stored, failed=failed)]

    async def watch_rollout(self, *, wait: bool = False) -> AsyncGenerator[RolloutEvent, None]:
        """Yield the steps of our rollout under way, or else of the one that the cluster has under way."""
        if self._rollouts.under_way is None and not wait:
            workload = await self._api.find(await self._workload())
            if workload is None:
                return
            events = track(self._api, workload)
        else:
            events = self._rollouts.watch(wait=wait)
        async with aclosing(events):
            async for event in events:
                yield event

    async def logs(
        self, *, instance: str | None = None, lines: int = 100, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """Yield what the pods' containers have written; following needs an owner, see `spawn`."""
        ref = await self._workload()
        workload = await self._api.find(ref)
        if workload is None:
            raise NotFoundError(f"{ref} is not there")
        if not follow:
            pods = await self._pods(self._api, workload)
            told = last_lines(
                self._api, pods, instance=instance, lines=lines, idle=self.config.timeout_ms / 1000
            )
            async with aclosing(told) as found:
                async for line in found:
                    yield self._masked(line)
            return
        following = Following(self._api, workload, instance=instance, lines=lines)
        try:
            self.spawn(following.run, name="logs")
            async for item in following.receiving:
                if isinstance(item, ProviderError):
                    raise item
                yield self._masked(item)
        finally:
            following.stop()

    @property
    def _api(self) -> Api:
        assert self._apis is not None  # noqa: S101 - initialize has been here
        return self._apis[0]

    def _hands(self, config: KubernetesDeploymentConfig) -> Hands:
        assert self._apis is not None  # noqa: S101 - likewise
        api, patient = self._apis
        # What is concealed in passing is forgotten in time, and a config may have more than that.
        redactor = Redactor(secrets_in(self.config) | secrets_in(config) | self._plan_secrets)
        return Hands(api, patient, self._patience, config, self._rollouts, self.logger, redactor)

    async def _planned(self, config: DeploymentConfig) -> tuple[KubernetesDeploymentConfig, Plan]:
        complete = self._completed(config)
        self.conceal(*secrets_in(complete) - secrets_in(self.config))
        plan = await make_plan(complete, self._api.resource)
        self._plan_secrets = plan.secrets
        self.conceal(*plan.secrets)
        return complete, plan

    async def _changes(self, config: KubernetesDeploymentConfig, plan: Plan) -> tuple[Change, ...]:
        gone: tuple[Ref, ...] = ()
        try:
            if config.prune:
                gone = await find_leftovers(self._api, plan, await list_releases(self._api, plan.workload))
            return await diff_plan(self._api, plan, force=config.force, leftovers=gone)
        except AuthenticationError:
            if config.preflight:  # which tells all that is missing, and not the first of it alone
                await self._preflight.check(self._api, plan, prune=config.prune)
            raise

    def _completed(self, config: DeploymentConfig) -> KubernetesDeploymentConfig:
        if isinstance(config, KubernetesDeploymentConfig):
            for field in _CLUSTER:
                given, own = getattr(config, field), getattr(self.config, field)
                if given and given != own:
                    raise ConfigurationError(
                        f"{config.name}: {field} is {str(given)!r}, and this provider's "
                        f"{repr(str(own)) if own else 'is not set'}: deploy by a provider of that cluster"
                    )
            return config
        if not isinstance(config, DeploymentConfig):
            raise ConfigurationError(f"deploy() takes a DeploymentConfig, not {type(config).__name__}")
        own = self.config.model_fields_set - DeploymentConfig.model_fields.keys()
        given = config.model_fields_set & KubernetesDeploymentConfig.model_fields.keys()
        fields = {name: getattr(self.config, name) for name in own}
        fields |= {name: getattr(config, name) for name in given}
        try:
            return KubernetesDeploymentConfig.model_validate(fields)
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, item['loc'])) or 'config'}: {item['msg']}"
                for item in error.errors(include_input=False, include_url=False, include_context=False)
            )
            raise ConfigurationError(f"the config does not do for {type(self).__name__}: {told}") from None

    async def _workload(self) -> Ref:
        """Return what status, scale and rollback are about."""
        if self._ref is None:
            config = self.config
            if config.manifests:
                self._ref = (await make_plan(config, self._api.resource)).workload
            else:
                self._ref = Ref("apps/v1", "Deployment", config.namespace, config.name)
        return self._ref

    async def _state(self, api: Api, ref: Ref | None = None) -> DeploymentState:
        ref = ref or await self._workload()
        workload = await api.find(ref)
        if workload is None:
            return absent(ref)
        kept, pods = await self._parts(api, workload)
        return state_of(workload, kept, pods, under_way=self._rollouts.under_way)

    async def _parts(self, api: Api, workload: Object) -> tuple[list[Object], list[Object]]:
        """Return what keeps its revisions, and its pods."""
        kept: list[Object] = []
        pods: list[Object] = []

        async def read_kept() -> None:
            kept.extend(await revision_objects(api, workload))

        async def read_pods() -> None:
            pods.extend(await self._pods(api, workload))

        await side_by_side([read_kept, read_pods])
        return kept, pods

    async def _pods(self, api: Api, workload: Object) -> list[Object]:
        namespace = workload["metadata"]["namespace"]
        listed = await api.list("v1", "Pod", namespace, labels=selector_of(workload))
        return list(listed.get("items") or [])

    def _masked(self, line: LogLine) -> LogLine:
        return line.model_copy(update={"text": self._redactor.text(line.text)})
