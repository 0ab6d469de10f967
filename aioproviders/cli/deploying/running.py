"""``up``: the process deployments of a file in the foreground, as a Procfile runner does."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio

from aioproviders.cli.boundary import FAILED, OK, UsageError
from aioproviders.cli.deploying.changing import report_result
from aioproviders.cli.deploying.opening import Target, is_supervised, is_supervisor, needed, unknown
from aioproviders.cli.deploying.prefixes import Prefixes
from aioproviders.cli.deploying.progress import Novelty, event_line
from aioproviders.cli.deploying.signals import Signals, run_with_signals
from aioproviders.cli.options import Source
from aioproviders.cli.output import print_document
from aioproviders.deployment import DeploymentProvider, DeploymentStatus, Instance, LogLine, RolloutEvent
from aioproviders.errors import ProviderUnavailableError
from aioproviders.loading import LoadedProviders, ProviderSpec, read_providers
from aioproviders.registry import ProviderRegistry

__all__ = ["up"]

_LOOK_EVERY = 0.5
"""Seconds from one look at the instances to the next."""
_PAUSE = 0.05
"""Seconds until a stream that has ended is asked for again."""
_MOST_LINES = 1000
"""Of each instance, that are looked at for such as are new."""
_MARK = "*"
"""Before a line of our own, to tell it from the application's."""


def up(source: Source, names: Sequence[str], *, json: bool) -> int:
    """Run the deployments until a signal comes; `FAILED` where one could not be brought up."""
    return anyio.run(run_with_signals, partial(_up, source, names, json))


async def _up(source: Source, names: Sequence[str], json: bool, signals: Signals) -> int:
    loaded = await read_providers(source.config, environment=source.env)
    specs = _chosen(loaded, names)
    output = _Output(json=json, width=max(len(spec.name) for spec in specs) + len("-1-0"))
    stopping = anyio.Event()
    failures: list[str] = []

    def act() -> None:
        if stopping.is_set():
            _hurry(targets)
        elif len(signals.received) == 1:
            output.tell("", f"{signals.word}: stopping; once more to kill what is left")
        stopping.set()

    targets: list[Target] = []
    running: list[_Running] = []
    # Signals are heeded until the registry is closed, and with it the last process has ended.
    with signals.calling(act):
        async with ProviderRegistry(start=False) as registry:
            for spec in needed(loaded.specs, [spec.name for spec in specs]):
                registry.register(spec.name, spec.build())
            targets += [await _supervised(registry, spec) for spec in specs]
            async with anyio.create_task_group() as task_group:
                running += [_Running(target, output) for target in targets]
                for each in running:
                    task_group.start_soon(each.run, failures, stopping)
                await stopping.wait()
                task_group.cancel_scope.cancel()
        for spec, each in zip(specs, running, strict=True):
            provider: Any = spec.build()
            async with provider:
                await each.tell_last_lines(provider)
        output.tell("", "stopped")
    return FAILED if failures else OK


def _chosen(loaded: LoadedProviders, names: Sequence[str]) -> list[ProviderSpec]:
    there = {
        spec.name: spec
        for spec in loaded.specs
        if is_supervisor(spec.provider_class) and (spec.config.enabled or spec.name in names)
    }
    for name in names:
        if name not in there:
            raise unknown(name, loaded, there, "process deployment")
    if not there:
        raise UsageError("nothing to run: the file has no process deployment")
    return [there[name] for name in dict.fromkeys(names or there)]


async def _supervised(registry: ProviderRegistry, spec: ProviderSpec) -> Target:
    provider: Any = registry.get(spec.name, DeploymentProvider)
    if await is_supervised(provider):
        raise ProviderUnavailableError(f"{spec.name}: runs already, started by another 'aioproviders up'")
    return Target(spec.name, provider, provider.config)


def _hurry(targets: Sequence[Target]) -> None:
    for target in targets:
        provider: Any = target.provider
        provider.kill()


class _Output:
    """Lines of the applications, and notes of ours between them.

    Args:
        json: Whether each is a JSON document.
        width: Of the names before the lines.
    """

    def __init__(self, *, json: bool, width: int) -> None:
        self.json = json
        self._prefixes = Prefixes(width)

    def line(self, deployment: str, line: LogLine) -> None:
        """Print what an instance has written."""
        if self.json:
            print_document({"deployment": deployment, **line.model_dump(mode="json")}, compact=True)
        else:
            self._prefixes.write(line.instance, line.text)

    def tell(self, deployment: str, text: str, **more: Any) -> None:
        """Print what has happened to a deployment."""
        if self.json:
            print_document({"deployment": deployment or None, "note": text, **more}, compact=True)
        else:
            self._prefixes.write(deployment or "up", f"{_MARK} {text}", style="bold")


class _Running:
    """One deployment while it runs.

    Args:
        target: The deployment; its provider supervises it.
        output: Where it is told of.
    """

    def __init__(self, target: Target, output: _Output) -> None:
        self._target = target
        self._output = output
        self._provider = target.provider
        self._before: dict[str, Instance] = {}
        self._is_news = Novelty()
        self._begun = datetime.now(UTC)
        self._told_until: dict[str, datetime] = {}

    async def run(self, failures: list[str], stopping: anyio.Event) -> None:
        """Bring it up, and tell of it from then on; where that fails, note it and have all stopped."""
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(self._again, self._follow_logs)
            task_group.start_soon(self._again, self._follow_rollouts)
            # Nothing is to be undone when it fails or is cancelled: all of it ends then.
            leaving = {"on_cancel": "leave", "rollback_on_failure": False}
            config = self._target.config.model_copy(update=leaving)
            result = await self._provider.deploy(config)
            if not result.success:
                report_result(self._target, result, json=self._output.json, compact=True)
                failures.append(self._target.name)
                stopping.set()
                return
            await self._tell_where()
            await self._watch_instances()
            self._output.tell(self._target.name, "nothing runs any more: its supervisor has failed")
            failures.append(self._target.name)
            stopping.set()
            task_group.cancel_scope.cancel()

    async def _again(self, follow: Callable[[], Awaitable[None]]) -> None:
        while True:
            await follow()
            await anyio.sleep(_PAUSE)

    async def _follow_logs(self) -> None:
        await self._tell_lines(self._provider.logs(lines=_MOST_LINES, follow=True))

    async def tell_last_lines(self, provider: DeploymentProvider[Any]) -> None:
        """Tell what was written after the end of `run`, as `provider`, a new one, has kept it."""
        await self._tell_lines(provider.logs(lines=_MOST_LINES))

    async def _tell_lines(self, stream: AsyncGenerator[LogLine, None]) -> None:
        """Tell the lines that are new, of this run."""
        async with aclosing(stream) as lines:
            async for line in lines:
                if line.at is not None:
                    if line.at <= self._told_until.get(line.instance, self._begun):
                        continue
                    self._told_until[line.instance] = line.at
                text = self._target.redactor.text(line.text)
                self._output.line(self._target.name, line.model_copy(update={"text": text}))

    async def _follow_rollouts(self) -> None:
        async with aclosing(self._provider.watch_rollout(wait=True)) as events:
            async for event in events:
                self._tell_event(event)

    def _tell_event(self, event: RolloutEvent) -> None:
        if not self._is_news(event):
            return
        text = event_line(event, self._target.redactor)
        facts = self._target.redactor.value(event.model_dump(mode="json"))
        self._output.tell(self._target.name, text, event=facts)

    async def _tell_where(self) -> None:
        state = await self._provider.get_status()
        where = ", ".join(state.get("endpoints") or ())
        told = f"{state.get('status')}, version {state.get('version')}"
        self._output.tell(self._target.name, f"{told}{', at ' if where else ''}{where}")

    async def _watch_instances(self) -> None:
        """Tell of instances that end, come back, or are no longer ready, outside of rollouts.

        Returns when the provider supervises them no longer.
        """
        provider: Any = self._provider
        while provider.supervises:
            state = await self._provider.get_status()
            now = {each.name: each for each in state.get("instances") or ()}
            # What belongs to a rollout is told by its steps.
            quiet = state.get("status") is DeploymentStatus.PROGRESSING
            for name, each in now.items():
                if name in self._before and not quiet:
                    self._compare(self._before[name], each)
            self._before = now
            await anyio.sleep(_LOOK_EVERY)

    def _compare(self, before: Instance, now: Instance) -> None:
        reason = f": {now.reason}" if now.reason else ""
        if now.restarts > before.restarts:
            told = f"{now.name} has ended, and was started anew ({now.restarts} times by now){reason}"
        elif before.ready and not now.ready and now.phase != "stopping":
            told = f"{now.name} is no longer ready{reason}"
        elif now.ready and not before.ready and before.phase not in ("", "starting"):
            told = f"{now.name} is ready again"
        else:
            return
        facts = self._target.redactor.value(now.model_dump(mode="json"))
        self._output.tell(self._target.name, self._target.redactor.text(told), instance=facts)
