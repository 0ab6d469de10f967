"""Applying a plan by server-side apply, object by object, and handing replicas over to an autoscaler.

Source of the handing over: Kubernetes documentation, "Server-Side Apply", "Transferring ownership".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.autoscaling import (
    AUTOSCALER,
    autoscaler_of,
    left_to_autoscaler,
    only_replicas,
    owns_replicas,
    planned_autoscaler,
    without_replicas,
)
from aioproviders.deployment.kubernetes.errors import FieldConflictError
from aioproviders.deployment.kubernetes.intent import read_release
from aioproviders.deployment.kubernetes.kept import Kept, kept_of_others
from aioproviders.deployment.kubernetes.objects import (
    CHANGE_CAUSE,
    HANDOVER,
    MANAGER,
    RELEASE,
    RESTORER,
    TEMPLATE,
    VERSION,
    Object,
    Ref,
    annotations_of,
    is_applied_by_us,
)
from aioproviders.deployment.kubernetes.ownership import scaled_by_others
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.kubernetes.provenance import noted_as, origins_of, template_hash
from aioproviders.deployment.kubernetes.side_by_side import side_by_side
from aioproviders.deployment.kubernetes.workloads import is_of, revision_objects, revisions_of
from aioproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    ProviderError,
    ProviderTimeoutError,
)

__all__ = [
    "Applied",
    "Seen",
    "apply_plan",
    "look",
    "try_object",
]

_OURS = {MANAGER, HANDOVER, RESTORER}
_TAKEN_BACK = ("spec.replicas",)
"""What an autoscaler that is left over has held."""
_UNDONE = (
    "spec.template",
    *(f"metadata.annotations.{note}" for note in (RELEASE, TEMPLATE, VERSION, CHANGE_CAUSE)),
)
"""What ``kubectl rollout undo`` makes its own."""
_ESTABLISHED_WITHIN = 30.0
_NO_DRY_RUN = "does not support dry run"
"""What the API server says of an admission webhook that has side effects."""


@dataclass(frozen=True)
class Applied:
    """What applying came to.

    Attributes:
        before: The workload before; None where there was none.
        workload: The workload as its PATCH returned it; its ``metadata.generation`` is what to wait for.
        autoscaler: Name of the HorizontalPodAutoscaler that owns the replicas, if one does.
        changed: Whether it is another release than before, or anything was not as it should be.
        kept: What others have set of its pods, and stays.
    """

    before: Object | None
    workload: Object
    autoscaler: str | None
    changed: bool
    kept: tuple[Kept, ...] = ()


async def apply_plan(
    api: Api,
    plan: Plan,
    *,
    force: bool = False,
    leftovers: Collection[Ref] = (),
    first: Callable[[Object | None], Awaitable[None]] | None = None,
) -> Applied:
    """Apply all objects of a plan in order, once the server has said by dry runs that it takes them.

    Where an autoscaler owns the workload's replicas, the plan's or one that is there, they are left out;
    from one that is left over they are taken back, and it is deleted.

    Args:
        api: The API server.
        plan: The plan.
        force: Whether to take over fields of other managers.
        leftovers: What will be deleted thereafter, see `prune`.
        first: What to do with the workload as it was, when the namespace is there and nothing else of the
            plan yet; where it fails, nothing more is applied.

    Raises:
        FieldConflictError: Fields belong to other managers. Nothing is applied then.
        ConfigurationError: The server does not take an object. Nothing is applied, unless that could be known
            only from what the plan itself brings, as a kind or a namespace.
    """
    seen = await look(api, plan, leftovers)
    tried = await _try_plan(api, plan, seen, force=force)
    kept = await kept_of_others(api, plan.workload_object, tried.get(plan.workload))
    before, workload, changed = seen.before, Object(), False
    for obj in plan.objects:
        if first is not None and obj["kind"] != "Namespace":
            await first(before)
            first = None
        if Ref.of(obj) == plan.workload:
            noted = _with_template_noted(obj, tried.get(plan.workload))
            workload = await _apply_workload(api, plan, noted, seen, force=force)
            continue
        made = await apply_object(api, obj, force=force)
        if obj["kind"] != AUTOSCALER:  # whose status counts as a change, and may change at any time
            changed |= _state(made) != _state(tried.get(Ref.of(obj)))
        if obj["kind"] == "CustomResourceDefinition":
            await _established(api, made)
    changed |= before is None or _state(before) != _state(workload)
    changed |= before is None or annotations_of(before).get(RELEASE) != plan.release
    return Applied(before, workload, seen.autoscaler, changed, kept)


def _with_template_noted(workload: Object, tried: Object | None) -> Object:
    """Return a Deployment that says what its template is now, so that what others make of it can be told."""
    if tried is None or workload["kind"] != "Deployment":
        return workload  # a ControllerRevision writes its template in another way
    return noted_as(workload, template_hash(tried["spec"]["template"]))


def _state(obj: Object | None) -> Any:
    """Return what is another after each change that counts; of a dry run, what it was before."""
    metadata = obj["metadata"] if obj else {}
    return metadata.get("uid"), metadata.get("generation") or metadata.get("resourceVersion")


@dataclass
class Seen:
    """What is there before a plan is applied.

    Attributes:
        before: The workload; None where there is none.
        autoscaler: Name of the autoscaler that owns its replicas, if one does.
        ending: Or else the autoscaler of ours that is left over.
        least: The fewest replicas that the autoscaler goes down to.
        taking: Fields of the workload, or what they begin with, that are taken over from whomever they
            belong to; `try_object` finds some.
        left: Whether the number of replicas is left to who has set it: it is none that the config says.
    """

    before: Object | None
    autoscaler: str | None
    ending: Object | None
    least: int = 1
    taking: tuple[str, ...] = ()
    left: bool = False


async def look(api: Api, plan: Plan, leftovers: Collection[Ref] = ()) -> Seen:
    """Look at the workload and its autoscaler, side by side."""
    before: Object | None = None
    planned = planned_autoscaler(plan)
    autoscaler, ending = planned, None

    async def read() -> None:
        nonlocal before
        before = await api.find(plan.workload)

    async def ask() -> None:
        nonlocal autoscaler, ending
        found = await autoscaler_of(api, plan.workload)
        if found is None:
            return
        name = found["metadata"]["name"]
        if is_applied_by_us(found) and any((ref.kind, ref.name) == (AUTOSCALER, name) for ref in leftovers):
            ending = found
        else:
            autoscaler = found

    await side_by_side([read, ask] if planned is None else [read])
    left = before is not None and not plan.replicas_given and bool(scaled_by_others(before))
    least = (autoscaler or {}).get("spec", {}).get("minReplicas") or 1
    name = autoscaler["metadata"]["name"] if autoscaler else None
    return Seen(before, name, ending, least, _TAKEN_BACK if ending is not None else (), left)


async def _try_plan(api: Api, plan: Plan, seen: Seen, *, force: bool) -> dict[Ref, Object]:
    """Ask the server whether it takes what is to be applied, before anything is.

    Returns:
        What the objects would be, as far as it can tell.

    Raises:
        FieldConflictError: Fields belong to other managers.
        ConfigurationError: It does not take an object.
    """
    answers: dict[Ref, Object] = {}

    async def ask(obj: Object) -> None:
        try:
            answer = await try_object(api, plan, obj, seen, force=force)
            if answer is not None:
                answers[Ref.of(obj)] = answer
        except FieldConflictError:
            raise
        except ConfigurationError as error:
            if _NO_DRY_RUN not in error.message:
                raise
        except ProviderError:
            return  # what is not there yet, or fails just now: applying it will tell

    # Of a kind that the plan itself defines anew, the server only knows as it was.
    tried = [obj for obj in plan.objects if (Ref.of(obj).group, obj["kind"]) not in plan.defined_kinds]
    await side_by_side([partial(ask, obj) for obj in tried])
    return answers


async def try_object(api: Api, plan: Plan, obj: Object, seen: Seen, *, force: bool) -> Object | None:
    """Return what an object would be when it is applied, as the server says.

    Args:
        api: The API server.
        plan: The plan.
        obj: The object, one of the plan's.
        seen: What is there before.
        force: As for `apply_plan`.

    Returns:
        The object; None where the server can't know, since only the plan makes its namespace or its kind.

    Raises:
        FieldConflictError: Fields belong to other managers.
        ConfigurationError: The server does not take it.
    """
    kinds = {item["kind"] for item in plan.objects}
    is_workload = Ref.of(obj) == plan.workload
    if is_workload and seen.autoscaler is not None:
        obj = left_to_autoscaler(obj, seen.before)
    elif is_workload and seen.left:
        obj = without_replicas(obj)
    try:
        try:
            return await apply_object(
                api, obj, force=force, dry_run=True, taking=seen.taking if is_workload else ()
            )
        except FieldConflictError:
            if not is_workload or seen.before is None or not await _is_as_released(api, seen.before):
                raise
            seen.taking += _UNDONE
            return await apply_object(api, obj, force=force, dry_run=True, taking=seen.taking)
    except NotFoundError:
        if "Namespace" not in kinds:
            raise
    except ConfigurationError as error:
        if error.status_code is not None or "CustomResourceDefinition" not in kinds:
            raise
    return None


async def _is_as_released(api: Api, workload: Object) -> bool:
    """Whether its template is that of a release of ours, whoever has brought it back.

    Taking it over from them then loses nothing that is theirs.
    """
    try:
        revisions = revisions_of(workload, await revision_objects(api, workload))
        origins = origins_of(workload, revisions)
        origin = next((origins[revision.name] for revision in revisions if is_of(workload, revision)), None)
        if origin is None or not origin.own or RELEASE not in origin.notes:
            return False
        # The release's first revision may be gone, and this one be taken for it.
        stored = await read_release(api, Ref.of(workload), origin.notes[RELEASE])
        await apply_object(api, without_replicas(stored.workload_object), dry_run=True)
    except ProviderError:
        return False  # who can't find out leaves it with whom it is
    return True


async def _apply_workload(api: Api, plan: Plan, obj: Object, seen: Seen, *, force: bool) -> Object:
    before, ending = seen.before, seen.ending
    if seen.autoscaler is None:
        obj = without_replicas(obj) if seen.left else obj
        workload = await apply_object(api, obj, force=force, taking=seen.taking)
        if ending is not None:
            with suppress(AuthenticationError, ConflictError):  # pruning will tell; or somebody made it anew
                await api.delete(Ref.of(ending), uid=ending["metadata"]["uid"])
        return workload
    if before is not None and owns_replicas(before):
        # Were we just to leave the field out, it would be nobody's, and fall to its default of 1.
        await api.apply(only_replicas(plan.workload, before["spec"]["replicas"]), manager=HANDOVER)
    workload = await apply_object(api, without_replicas(obj), force=force, taking=seen.taking)
    if before is None and seen.least > 1:
        # It would begin with one, which is well long before the autoscaler looks.
        return await api.apply(only_replicas(plan.workload, seen.least), manager=HANDOVER)
    return workload


async def apply_object(
    api: Api,
    obj: Object,
    *,
    force: bool = False,
    dry_run: bool = False,
    taking: Collection[str] = (),
) -> Object:
    """Apply one object; a conflict with ourselves, as scaling makes one, is none.

    Args:
        api: The API server.
        obj: The object.
        force: Whether to take over fields of other managers.
        dry_run: Whether to tell only what would be.
        taking: Fields, or what they begin with, that are taken over from whomever they belong to.

    Raises:
        FieldConflictError: Fields belong to other managers.
    """
    try:
        return await api.apply(obj, force=force, dry_run=dry_run)
    except FieldConflictError as error:
        taken = tuple(taking)
        if not all(manager in _OURS or field.startswith(taken) for field, manager in error.conflicts):
            raise
    return await api.apply(obj, force=True, dry_run=dry_run)


async def _established(api: Api, definition: Object) -> None:
    """Wait until the server serves the kind that a definition defines."""
    metadata = definition["metadata"]
    if _is_established(definition):
        return
    with anyio.move_on_after(_ESTABLISHED_WITHIN):
        events = api.watch(
            definition["apiVersion"],
            "CustomResourceDefinition",
            resource_version=metadata["resourceVersion"],
            fields=f"metadata.name={metadata['name']}",
        )
        try:
            async for event in events:
                if _is_established(event["object"]):
                    return
        finally:
            await events.aclose()
    raise ProviderTimeoutError(
        f"the cluster does not serve {metadata['name']} within {_ESTABLISHED_WITHIN:g} s"
    )


def _is_established(definition: Mapping[str, Any]) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)
