"""Asking for the permissions that a deploy needs, before it changes anything.

One SelfSubjectRulesReview lists what is allowed in the namespace; only what it leaves open is asked one by
one, by SelfSubjectAccessReviews side by side: the list may be incomplete, and does not speak of the cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import Object, Ref
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.kubernetes.side_by_side import side_by_side
from aioproviders.errors import AuthenticationError, ConfigurationError

__all__ = ["Need", "Preflight", "may", "needs_of", "role_text"]

_REVIEWS = "authorization.k8s.io/v1"
_FORBIDDEN = 403
_OPEN_AT_ONCE = 10


class Need(NamedTuple):
    """One permission; the namespace is empty for what belongs to the cluster."""

    namespace: str
    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {what}"


class Preflight:
    """What one provider may do, as far as it has asked: what was allowed is not asked again."""

    def __init__(self) -> None:
        self._allowed: set[Need] = set()

    async def check(
        self, api: Api, plan: Plan, *, prune: bool = False, leftovers: Collection[Ref] = ()
    ) -> None:
        """Make sure that all that a plan needs is allowed.

        Args:
            api: The API server.
            plan: The plan.
            prune: Whether something may be deleted thereafter.
            leftovers: What will be deleted thereafter, where that is known.

        Raises:
            AuthenticationError: Permissions are missing. The first line says which, those after it are a Role
                that would do.
        """
        needs = await needs_of(api, plan, prune=prune) | await _needs_of_leftovers(api, leftovers)
        namespace = plan.workload.namespace or "default"
        left = needs - self._allowed
        if not left:
            return
        try:
            rules = await _rules(api, namespace)
            listed = {need for need in left if need.namespace and _allows(rules, need)}
            self._allowed |= listed | await _ask_each(api, left - listed)
        except AuthenticationError as error:
            if error.status_code == _FORBIDDEN:
                return  # who may not even ask will be told by the requests themselves
            raise
        missing = sorted(needs - self._allowed)
        if missing:
            told = ", ".join(map(str, missing))
            # Without them a deploy works, but no diagnosis has the last lines.
            wanted = needs | _needs(namespace, "", "pods/log", "get")
            raise AuthenticationError(
                f"missing permissions in {namespace}: {told}; this would do:\n{role_text(wanted, plan)}",
                sent=False,
            )


async def needs_of(api: Api, plan: Plan, *, prune: bool = False) -> frozenset[Need]:
    """Return what applying, storing, waiting for and scaling a plan needs."""
    workload = plan.workload
    namespace = workload.namespace or "default"
    needs: set[Need] = set()
    defined = plan.defined_kinds
    for ref in plan.refs:
        if (ref.group, ref.kind) in defined:
            continue  # nobody can be asked of a kind that is not there yet
        plural = (await api.resource(ref.api_version, ref.kind)).plural
        verbs = (
            ("get", "create", "patch", "delete") if prune and ref.namespace else ("get", "create", "patch")
        )
        needs |= _needs(ref.namespace or "", ref.group, plural, *verbs)
        if ref == workload:
            needs |= _needs(namespace, ref.group, plural, "list", "watch")
            if ref.kind != "DaemonSet":
                needs |= _needs(namespace, ref.group, f"{plural}/scale", "patch")
    history = "replicasets" if workload.kind == "Deployment" else "controllerrevisions"
    needs |= _needs(namespace, "apps", history, "list", "watch")
    needs |= _needs(namespace, "", "pods", "list", "watch")
    if workload.kind == "StatefulSet":
        needs |= _needs(namespace, "", "pods", "delete")  # it waits for ever for one that is stuck
    needs |= _needs(namespace, "", "events", "list")
    needs |= _needs(namespace, "", "secrets", "get", "list", "create", "patch", "delete")
    if workload.kind != "DaemonSet":
        needs |= _needs(namespace, "autoscaling", "horizontalpodautoscalers", "list")
    return frozenset(needs)


async def _needs_of_leftovers(api: Api, leftovers: Collection[Ref]) -> set[Need]:
    needs: set[Need] = set()
    for ref in leftovers:
        if ref.namespace is None:
            continue
        try:
            plural = (await api.resource(ref.api_version, ref.kind)).plural
        except ConfigurationError:
            continue  # its kind is gone, and it with it
        needs |= _needs(ref.namespace, ref.group, plural, "get", "delete")
    return needs


def _needs(namespace: str, group: str, resource: str, *verbs: str) -> set[Need]:
    return {Need(namespace, group, resource, verb) for verb in verbs}


async def _rules(api: Api, namespace: str) -> list[Mapping[str, Any]]:
    review = await api.create(
        {"apiVersion": _REVIEWS, "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}},
        what=f"ask what is allowed in {namespace}",
        idempotent=True,
    )
    return (review.get("status") or {}).get("resourceRules") or []


def _allows(rules: Iterable[Mapping[str, Any]], need: Need) -> bool:
    """Whether a rule allows it; after RBAC's own matching (``k8s.io/component-helpers/auth/rbac``)."""
    _, slash, sub = need.resource.partition("/")
    resources = {"*", need.resource, f"*/{sub}" if slash else need.resource}
    return any(
        not rule.get("resourceNames")
        and {"*", need.verb} & set(rule.get("verbs") or ())
        and {"*", need.group} & set(rule.get("apiGroups") or ())
        and resources & set(rule.get("resources") or ())
        for rule in rules
    )


async def _ask_each(api: Api, needs: Iterable[Need]) -> set[Need]:
    allowed: set[Need] = set()
    slots = anyio.Semaphore(_OPEN_AT_ONCE)

    async def ask(need: Need) -> None:
        async with slots:
            if await may(api, need):
                allowed.add(need)

    await side_by_side(partial(ask, need) for need in needs)
    return allowed


async def may(api: Api, need: Need) -> bool:
    """Ask for one permission."""
    resource, _, sub = need.resource.partition("/")
    attributes = {"group": need.group, "resource": resource, "verb": need.verb}
    if sub:
        attributes["subresource"] = sub
    if need.namespace:
        attributes["namespace"] = need.namespace
    review: Object = {
        "apiVersion": _REVIEWS,
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.create(review, what=f"ask whether '{need}' is allowed", idempotent=True)
    return bool((answer.get("status") or {}).get("allowed"))


def role_text(needs: Iterable[Need], plan: Plan) -> str:
    """Return a Role, and where the cluster's own objects are needed a ClusterRole, as YAML."""
    name = f"{plan.workload.name}-deployer"
    texts = []
    for namespace, some in groupby(sorted(needs), key=lambda need: need.namespace):
        lines = [
            "apiVersion: rbac.authorization.k8s.io/v1",
            f"kind: {'Role' if namespace else 'ClusterRole'}",
            "metadata:",
            f"  name: {name}",
            *([f"  namespace: {namespace}"] if namespace else []),
            "rules:",
        ]
        for (group, resource), same in groupby(some, key=lambda need: (need.group, need.resource)):
            verbs = ", ".join(need.verb for need in same)
            lines += [
                f'- apiGroups: ["{group}"]',
                f"  resources: [{resource}]",
                f"  verbs: [{verbs}]",
            ]
        texts.append("\n".join(lines))
    return "\n---\n".join(texts)
