"""The releases that can be gone back to, with all that is known of them; what was run before."""

from __future__ import annotations

from contextlib import suppress

from pydantic import SecretStr

from aioproviders.deployment.models import DeploymentState, DeploymentStatus, Replicas
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.controller import Target
from aioproviders.deployment.process.journal import Journal, ReleaseRecord
from aioproviders.deployment.releases import find_release
from aioproviders.errors import ConfigurationError, NotFoundError
from aioproviders.redaction import secrets_in

__all__ = ["KnownReleases", "past_config", "state_of_past"]


class KnownReleases:
    """The journal's releases, and the secrets of those that this supervisor has seen.

    Args:
        journal: Tells of them.
        own: The provider's config, which has the secrets of the others.
    """

    def __init__(self, journal: Journal, own: ProcessDeploymentConfig) -> None:
        self._journal, self._own = journal, own
        self._seen: dict[int, ProcessDeploymentConfig] = {}

    def learn(self, target: Target) -> None:
        """Keep what a release is started with; forget those that the journal has forgotten."""
        for revision in self._seen.keys() - self._journal.past.releases.keys():
            del self._seen[revision]
        self._seen[target.revision] = target.config

    @property
    def secrets(self) -> frozenset[str]:
        """All that is secret in them, as far as it is known."""
        return frozenset(secrets_in(self._own)).union(*map(secrets_in, self._seen.values()))

    def config_of(
        self, record: ReleaseRecord, base: ProcessDeploymentConfig | None = None
    ) -> ProcessDeploymentConfig:
        """Return what a release is started with, all else as in `base`.

        Raises:
            ConfigurationError: A secret of it is not known any more; says which.
        """
        base = base or self._own
        seen = self._seen.get(record.revision)
        env = {**self._own.env, **base.env, **(seen.env if seen else {})}
        return record.template.applied(base.model_copy(update={"env": env}))

    def last(self) -> Target | None:
        """Return what is meant to run by the journal.

        Raises:
            ConfigurationError: See `config_of`.
        """
        record = self._journal.past.current_release
        return None if record is None else Target(record.revision, self.config_of(record))

    def find(self, version: str) -> ReleaseRecord:
        """Return the release to roll back to, see `find_release`.

        Raises:
            NotFoundError: There is none.
        """
        past = self._journal.past
        if not past.releases:
            raise NotFoundError("nothing is deployed, and nothing was")
        return past.releases[find_release(past.history(len(past.releases)), version).revision]

    def after_failure(self, new: Target, running: Target | None) -> Target | None:
        """Return where to go back to when `new` fails: the last release that was healthy."""
        if running is not None and running.revision == new.revision and self._is_healthy(running):
            return running if running.replicas != new.replicas else None
        return self._healthy_before(new.revision, running)

    def after_cancel(self, new: Target, running: Target | None) -> Target | None:
        """Return where to go back to when `new` is cancelled: what runs, if that was well."""
        if running is None or self._is_healthy(running):
            return running
        return self._healthy_before(new.revision, running) or running

    def _is_healthy(self, target: Target) -> bool:
        """Whether all instances of this release were available once."""
        record = self._journal.past.releases.get(target.revision)
        return record is not None and record.healthy

    def _healthy_before(self, revision: int, running: Target | None) -> Target | None:
        """Return the last release before `revision` that was healthy; as it runs, if it does."""
        for record in sorted(self._journal.past.releases.values(), key=_by_revision, reverse=True):
            if record.revision >= revision or not record.healthy:
                continue
            if running is not None and running.revision == record.revision:
                return running
            with suppress(ConfigurationError):  # an older one may need no secret
                return Target(record.revision, self.config_of(record, running.config if running else None))
        return None


def _by_revision(record: ReleaseRecord) -> int:
    return record.revision


def state_of_past(config: ProcessDeploymentConfig, journal: Journal) -> DeploymentState:
    """Tell of a deployment that nobody runs."""
    release = journal.past.current_release
    if release is None:
        status, message = DeploymentStatus.NOT_FOUND, "nothing is deployed"
    else:
        status, message = (
            DeploymentStatus.UNKNOWN,
            "not running: start it with 'aioproviders up', or deploy it from a program",
        )
    return DeploymentState(
        name=config.name,
        namespace=config.namespace,
        status=status,
        message=message,
        version=release.version if release else None,
        revision=release.revision if release else None,
        replicas=Replicas(desired=journal.past.replicas),
        images=(),
        instances=(),
        endpoints=(),
    )


def past_config(config: ProcessDeploymentConfig, journal: Journal) -> ProcessDeploymentConfig | None:
    """Return what the journal's current release was deployed with, as far as that is known."""
    release = journal.past.current_release
    if release is None:
        return None
    # What is not known can't differ.
    known = {name: config.env.get(name, SecretStr("")) for name in release.template.secrets}
    env = {**config.env, **known}
    update = {"env": env, "replicas": journal.past.replicas}
    return release.template.applied(config.model_copy(update=update))
