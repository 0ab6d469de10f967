"""Whether what runs is what was deployed: by notes and templates, and by who owns the fields."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from aioproviders.deployment.kubernetes.objects import RELEASE, VERSION
from aioproviders.deployment.kubernetes.provenance import changed_by_others, origins_of
from aioproviders.deployment.kubernetes.workloads import Revision

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
