"""Bringing the processes there are to what there should be, one small step at a time.

Each step looks at what runs and starts or stops what the strategy lets it; whatever changes leads to the
next step. The rules are those of the Deployment controller of Kubernetes
(kubernetes/pkg/controller/deployment/rolling.go): never more than ``replicas + max_surge`` instances, and
none that is available is stopped while that would leave fewer than ``replicas - max_unavailable``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import anyio
from anyio.abc import TaskGroup

from aioproviders.deployment.models import Instance, Replicas
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.member import Member
from aioproviders.deployment.process.templates import same_processes

__all__ = ["Controller", "Target"]


@dataclass(frozen=True, slots=True)
class Target:
    """What should run.

    Attributes:
        revision: The release's number.
        config: What it is started with, secrets included.
    """

    revision: int
    config: ProcessDeploymentConfig

    @property
    def version(self) -> str:
        """The release's version."""
        return self.config.version

    @property
    def replicas(self) -> int:
        """How many instances."""
        return self.config.replicas

    def scaled(self, replicas: int) -> Target:
        """Return the same with another number of instances."""
        return replace(self, config=self.config.model_copy(update={"replicas": replicas}))


class Controller:
    """Runs the members of one deployment.

    Args:
        make_member: Makes one, by name, number and target; not running yet.

    Attributes:
        target: What should run; None for nothing at all.
        paused: Whether to leave things as they are; what ends is started anew all the same.
        members: All there are, those that are being stopped included.
    """

    def __init__(self, make_member: Callable[[str, int, Target], Member]) -> None:
        self.target: Target | None = None
        self.paused = False
        self.members: list[Member] = []
        self._make_member = make_member
        self._changed = anyio.Event()
        self._task_group: TaskGroup | None = None

    async def run(self) -> None:
        """Keep at it until cancelled; all members are stopped then, side by side."""
        async with anyio.create_task_group() as self._task_group:
            while True:
                changed = self._changed
                wait = self._step()
                with anyio.move_on_after(wait):
                    await changed.wait()
                if not changed.is_set():
                    self.notify()  # time has made one available

    def notify(self) -> None:
        """Have a look: something has changed."""
        self._changed.set()
        self._changed = anyio.Event()

    @property
    def changed(self) -> anyio.Event:
        """Is set at the next change; to be fetched before looking at the state."""
        return self._changed

    def aim(self, target: Target | None) -> None:
        """Go for `target` from now on; processes that are the same are kept, as part of it."""
        self.target, self.paused = target, False
        for member in self.members:
            if target is not None and same_processes(member.config, target.config):
                member.belong(target.revision, target.config)
        self.notify()

    def renew(self) -> None:
        """Let members that have given trouble be replaced, also by new ones of the same release."""
        for member in self.members:
            if member.in_trouble:
                member.outdated = True

    def pause(self) -> None:
        """Leave things as they are."""
        self.paused = True
        self.notify()

    def kill(self) -> None:
        """End all processes at once, and start none."""
        self.paused = True
        for member in self.members:
            member.kill()

    @property
    def current(self) -> list[Member]:
        """The members of the target that are not being stopped."""
        return [member for member in self.members if self._is_current(member) and not member.stopping]

    @property
    def settled(self) -> bool:
        """Whether exactly what should be there is, and all of it is available."""
        wanted = self.target.replicas if self.target else 0
        current = self.current
        return len(current) == len(self.members) == wanted and all(member.available for member in current)

    @property
    def replicas(self) -> Replicas:
        """How many members there are."""
        serving = [member for member in self.members if not member.stopping]
        return Replicas(
            desired=self.target.replicas if self.target else 0,
            updated=len(self.current),
            ready=sum(member.ready for member in serving),
            available=sum(member.available for member in serving),
        )

    @property
    def instances(self) -> tuple[Instance, ...]:
        """The members, by release and number."""
        ordered = sorted(self.members, key=lambda member: (member.revision, member.index))
        return tuple(member.instance() for member in ordered)

    def _is_current(self, member: Member) -> bool:
        target = self.target
        return target is not None and member.revision == target.revision and not member.outdated

    def _step(self) -> float:
        """Do what can be done now; return the seconds until time alone changes something."""
        if not self.paused:
            if self.target is None:
                self._stop(self.members)
            elif self.target.config.strategy.kind == "recreate":
                self._recreate(self.target)
            else:
                self._roll(self.target)
        return min((member.available_in for member in self.members), default=math.inf)

    def _recreate(self, target: Target) -> None:
        old = [member for member in self.members if not self._is_current(member)]
        self._stop(old)
        if not old:
            self._fit_number(target, target.replicas)

    def _roll(self, target: Target) -> None:
        wanted, strategy = target.replicas, target.config.strategy
        self._fit_number(target, wanted + strategy.surge(wanted) - len(self._old))
        least = wanted - strategy.unavailable(wanted)
        # First those that serve nobody, as many as are not needed to get to the least there must be…
        new_missing = sum(not member.available for member in self.current)
        spare = len(self.current) + len(self._old) - least - new_missing
        unwell = [member for member in self._old if not member.available]
        self._stop(unwell[: max(spare, 0)])
        # …then those that serve, as far as others do instead.
        available = sum(member.available for member in (*self.current, *self._old))
        well = [member for member in self._old if member.available]
        self._stop(well[: max(available - least, 0)])

    @property
    def _old(self) -> list[Member]:
        return [member for member in self.members if not self._is_current(member) and not member.stopping]

    def _fit_number(self, target: Target, room: int) -> None:
        """Start what is missing of the target, as far as there is room; stop what is too much."""
        current = self.current
        for _ in range(min(target.replicas, room) - len(current)):
            self._start(target)
        # Those that serve, and of them the ones that have for longest, stay.
        by_worth = sorted(current, key=lambda member: (not member.available, member.index))
        self._stop(by_worth[target.replicas :])

    def _start(self, target: Target) -> None:
        if self._task_group is None:
            raise RuntimeError("the controller does not run")
        taken = {member.index for member in self.members if self._is_current(member)}
        names = {member.name for member in self.members}
        index = 0
        while index in taken or _name(target, index) in names:
            index += 1
        member = self._make_member(_name(target, index), index, target)
        self.members.append(member)
        self._task_group.start_soon(self._keep, member)

    async def _keep(self, member: Member) -> None:
        try:
            await member.run()
        finally:
            self.members.remove(member)
            self.notify()

    def _stop(self, members: Sequence[Member]) -> None:
        for member in members:
            if not member.stopping:
                member.stop()


def _name(target: Target, index: int) -> str:
    return f"{target.config.name}-{target.revision}-{index}"
