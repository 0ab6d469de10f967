"""Whether what runs is what was deployed: by notes and templates, and by who owns the fields."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from aioproviders.deployment.kubernetes.history import history_of
from aioproviders.deployment.kubernetes.intent import StoredRelease
from aioproviders.deployment.kubernetes.kept import kept_of_others
from aioproviders.deployment.kubernetes.objects import RELEASE, TEMPLATE, VERSION
from aioproviders.deployment.kubernetes.ownership import changed_by_others, scaled_by_others
from aioproviders.deployment.kubernetes.provenance import origins_of, template_hash
from aioproviders.deployment.kubernetes.workloads import Revision
from aioproviders.errors import RequestError

NOW = datetime(2030, 1, 2, tzinfo=UTC)
NOTES = {RELEASE: "abc", VERSION: "1.0.0"}


def template(image, **annotations):
    return {"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "a", "image": image}]}}


def revision(name, image, number, *, notes=NOTES, current=False, first=None, **annotations):
    made = template(image, **annotations)
    return Revision(number, name, made, notes, NOW, current, first_number=first or number)


def workload(kind="Deployment", notes=NOTES, image="shop:1", entries=(), **annotations):
    metadata = {"annotations": notes, "managedFields": list(entries)}
    return {"kind": kind, "metadata": metadata, "spec": {"template": template(image, **annotations)}}


def owned(manager, when, fields, operation="Update", **more):
    entry = {"manager": manager, "operation": operation, "time": f"2030-01-02T00:00:{when:02}Z"}
    return {**entry, "fieldsV1": {"f:spec": {"f:template": fields}}, **more}


def versions(obj, *revisions):
    origins = origins_of(obj, revisions)
    return [origins[each.name].version(each.images) for each in revisions]


def test_what_was_made_first_is_the_release():
    """Also where it has come back since, with a higher number, and all of it within a second."""
    back = revision("a", "shop:1", 3, first=1, current=True)
    assert versions(workload(), revision("b", "shop:9", 2), back) == ["1.0.0 (changed)", "1.0.0"]


def test_a_restart_is_the_same_release():
    """What only makes the pods anew is no change."""
    restarted = {"kubectl.kubernetes.io/restartedAt": "2030-01-02T00:00:00Z"}
    again = revision("b", "shop:1", 2, current=True, **restarted)
    old = revision("a", "shop:1", 1)
    assert versions(workload(**restarted), again, old) == ["1.0.0", "1.0.0"]


def test_what_the_release_s_template_was():
    """Where that is noted it decides, also when no other revision of the release is left."""
    noted = NOTES | {TEMPLATE: template_hash(template("shop:1"))}
    changed = revision("b", "shop:9", 2, notes=noted, current=True)
    assert versions(workload(notes=noted, image="shop:9"), changed) == ["1.0.0 (changed)"]
    restarted = {"kubectl.kubernetes.io/restartedAt": "2030-01-02T00:00:00Z"}
    again = revision("b", "shop:1", 2, notes=noted, current=True, **restarted)
    assert versions(workload(notes=noted, **restarted), again) == ["1.0.0"]


def test_what_somebody_else_has_made():
    """Without notes of ours there is nothing that could have been changed."""
    for image, version in (("shop:7", "7"), ("shop", None)):
        made = revision("a", image, 1, notes={}, current=True)
        assert versions(workload(notes={}, image=image), made) == [version]


def test_what_is_noted_already_but_does_not_run_yet():
    """Until the controller has made a revision of it, as while it is paused, the last one is what it was."""
    newer = {RELEASE: "def", VERSION: "2.0.0"}
    assert versions(workload(notes=newer, image="shop:2"), revision("a", "shop:1", 1, current=True)) == [
        "1.0.0"
    ]


def test_a_change_of_a_release_that_shares_its_template():
    """Its own revision is another release's: what others made since is told by when that was."""
    newer = {RELEASE: "def", VERSION: "2.0.0"}
    image = {"f:spec": {"f:containers": {'k:{"name":"a"}': {"f:image": {}}}}}
    entries = [owned("aioproviders", 0, image, "Apply"), owned("kubectl-set", 5, image)]
    shared = revision("a", "shop:1", 1)
    changed = replace(
        revision("b", "shop:9", 2, notes=newer, current=True), created_at=NOW + timedelta(seconds=5)
    )
    obj = workload("StatefulSet", newer, "shop:9", entries)
    assert versions(obj, changed, shared) == ["2.0.0 (changed)", "1.0.0"]
    back = replace(revision("a", "shop:1", 3, first=1, current=True), created_at=NOW)
    assert versions(workload("Deployment", NOTES, "shop:1", entries), back) == ["1.0.0"]


def test_an_undo_of_a_stateful_set():
    """Kubectl leaves the workload's notes as they are: then the revision's own hold."""
    newer = {RELEASE: "def", VERSION: "2.0.0"}
    old = revision("a", "shop:1", 3, current=True)
    new = revision("b", "shop:2", 2, notes=newer)
    assert versions(workload("StatefulSet", newer), old, new) == ["1.0.0", "2.0.0"]


def test_a_release_with_the_template_of_another():
    """It is noted on the workload alone."""
    newer = {RELEASE: "def", VERSION: "2.0.0"}
    assert versions(workload("StatefulSet", newer), revision("a", "shop:1", 1, current=True)) == ["2.0.0"]


def test_fields_of_others_are_named_as_conflicts_name_them():
    """Those below the pods' template that came after ours, the first few of each manager."""
    container = {".": {}, "f:image": {}, "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}}}
    containers = {"f:spec": {"f:containers": {'k:{"name":"shop"}': container}}}
    entries = [
        owned("aioproviders", 5, {"f:spec": {}}, "Apply"),
        owned("kubectl-create", 1, containers),
        owned("kubectl-set", 7, containers),
        owned("a-status", 8, containers, subresource="status"),
        owned("vpa", 9, {"f:metadata": {"f:finalizers": {'v:"x"': {}}}}),
        owned(
            "kubectl-rollout",
            9,
            {"f:metadata": {"f:annotations": {"f:kubectl.kubernetes.io/restartedAt": {}}}},
        ),
    ]
    path = 'spec.template.spec.containers[name="shop"]'
    assert changed_by_others({"metadata": {"managedFields": entries}}) == (
        f'{path}.image, {path}.env[name="A"].name, {path}.env[name="A"].value by kubectl-set; '
        'spec.template.metadata.finalizers[="x"] by vpa'
    )
    assert changed_by_others({"metadata": {"managedFields": entries[1:]}}) == ""
    more = {"f:spec": {f"f:{letter}": {} for letter in "abcd"}}
    several = [entries[0], owned("edit", 6, more)]
    assert changed_by_others({"metadata": {"managedFields": several}}).endswith(
        "spec.template.spec.c and 1 more by edit"
    )


def replica_set(name, number, made, made_of):
    annotations = {"deployment.kubernetes.io/revision": str(number), **NOTES}
    metadata = {"name": name, "annotations": annotations, "creationTimestamp": made.isoformat()}
    return {"metadata": metadata, "spec": {"template": made_of}}


def test_when_a_release_was_made():
    """Its newest revision when it was deployed last, or restarted since; the others when they were made."""
    restarted = {"kubectl.kubernetes.io/restartedAt": "2030-01-02T00:00:00Z"}
    later, latest = NOW + timedelta(hours=1), NOW + timedelta(hours=2)
    sets = [
        replica_set("a", 1, NOW, template("shop:1")),
        replica_set("b", 2, later, template("shop:1", **restarted)),
    ]
    obj = workload(notes=NOTES | {"deployment.kubernetes.io/revision": "2"}, **restarted)
    for deployed, newest in ((NOW, later), (latest, latest)):
        stored = StoredRelease("abc", "1.0.0", True, NOW, deployed, None, (), ())
        entries = history_of(obj, sets, [stored])
        assert [(entry[0].version, entry[0].created_at) for entry in entries] == [
            ("1.0.0", newest),
            ("1.0.0", NOW),
        ]


class Alone:
    """An API server that makes one thing of whatever it is asked to, once."""

    def __init__(self, made, error=None):
        self.made, self.error, self.asked = made, error, []

    def bare(self):
        return SimpleNamespace(create=self._create)

    async def _create(self, obj, **options):
        self.asked.append((obj, options))
        if self.error is not None:
            raise self.error
        return {"spec": {"template": self.made}}


async def test_what_applying_leaves_as_others_have_set_it():
    """What the server would make of the workload alone is nobody's doing; the rest is told by whose it is."""
    pure = {"spec": {"dnsPolicy": "ClusterFirst", "containers": [{"name": "a", "image": "shop:1"}]}}
    env, port = {"name": "X", "value": "1"}, {"containerPort": 80, "protocol": "TCP"}
    container = {**pure["spec"]["containers"][0], "env": [env], "ports": [port]}
    live = {
        "metadata": {"annotations": {"a": "b"}, "finalizers": ["x"]},
        "spec": {"dnsPolicy": "Default", "containers": [container], "nodeName": "n"},
    }
    fields = {
        "f:metadata": {
            "f:annotations": {"f:a": {}, "f:gone": {}},
            "f:finalizers": {'v:"x"': {}, 'v:"y"': {}},
        },
        "f:spec": {
            "f:dnsPolicy": {},
            "f:containers": {
                'k:{"name":"a"}': {
                    ".": {},
                    "f:image": {},
                    "f:env": {".": {}, 'k:{"name":"X"}': {".": {}, "f:name": {}, "f:value": {}}},
                    "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}}},
                }
            },
        },
    }
    ours = owned("aioproviders", 0, {"f:spec": {"f:nodeName": {}}}, "Apply")
    then = {"metadata": {"managedFields": [ours, owned("edit", 1, fields)]}, "spec": {"template": live}}
    applied = {"metadata": {"name": "shop", "namespace": "n"}, "spec": {}}
    api = Alone(pure)

    found = await kept_of_others(api, applied, then)

    assert {manager for manager, _ in found} == {"edit"}
    container = 'spec.template.spec.containers[name="a"]'
    assert [path for _, path in found] == [
        "spec.template.metadata.annotations.a",
        'spec.template.metadata.finalizers[="x"]',
        "spec.template.spec.dnsPolicy",
        f'{container}.env[name="X"]',
        f'{container}.ports[containerPort=80,protocol="TCP"]',
    ]
    assert api.asked == [
        (
            {"metadata": {"namespace": "n", "generateName": "alone-"}, "spec": {}},
            {"dry_run": True},
        )
    ]
    down = Alone(pure, RequestError("the webhook is down"))
    assert await kept_of_others(down, applied, then) == ()
    assert len(down.asked) == 1


async def test_where_others_hold_nothing_nobody_is_asked():
    """Nor where it is not known what the server makes of it, or where we hold the same fields."""
    image = {"f:spec": {"f:containers": {'k:{"name":"a"}': {"f:image": {}}}}}
    entries = [owned("aioproviders", 0, image, "Apply"), owned("edit", 1, image)]
    then = {"metadata": {"managedFields": entries}, "spec": {"template": template("shop:1")}}
    api = Alone({})
    for known in (then, None, {"metadata": {}, "spec": {}}):
        assert await kept_of_others(api, {}, known) == ()
    assert api.asked == []


def test_who_has_scaled():
    """Somebody who holds the number that was ours; neither we nor an autoscaler."""
    replicas = {"fieldsV1": {"f:spec": {"f:replicas": {}}}}
    ours = {"manager": "aioproviders", "operation": "Apply", "fieldsV1": {}}

    def told_of(*entries):
        return scaled_by_others({"metadata": {"managedFields": list(entries)}})

    assert told_of(ours, {"manager": "kubectl", "subresource": "scale", **replicas}) == "kubectl"
    assert told_of(ours, {"manager": "kube-controller-manager", "subresource": "scale", **replicas}) == ""
    assert told_of(ours | replicas, {"manager": "kubectl", **replicas}) == ""
    assert told_of({"manager": "kubectl", **replicas}) == ""
    assert told_of(ours) == ""
