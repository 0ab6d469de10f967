"""What a config makes."""

import base64

import pytest
from pydantic import SecretStr
from scripted_api import config

from aioproviders.deployment.kubernetes.objects import Ref, annotations_of, hash_of, labels_of
from aioproviders.deployment.kubernetes.plan import make_plan
from aioproviders.errors import ConfigurationError

PORTS = ({"port": 8080}, {"port": 9090, "name": "metrics", "protocol": "udp"})


async def ask_nobody(api_version, kind):
    raise AssertionError((api_version, kind))


async def plan_of(**fields):
    """Return the plan of a config."""
    return await make_plan(config(**fields), ask_nobody)


def only(plan, kind):
    """Return the plan's object of a kind."""
    (found,) = (obj for obj in plan.objects if obj["kind"] == kind)
    return found


def container_of(plan):
    """Return the one container."""
    (container,) = plan.workload_object["spec"]["template"]["spec"]["containers"]
    return container


async def test_a_plain_config_is_one_deployment():
    """It runs the image, so many times."""
    plan = await plan_of(replicas=3, command=("serve", "--tag={version}"))
    assert plan.refs == (Ref("apps/v1", "Deployment", "shop", "web"),)
    assert plan.workload_object["spec"]["replicas"] == 3
    assert container_of(plan)["command"] == ["serve", "--tag=1.0.0"]
    assert plan.images == ("web:1.0.0",)


async def test_without_an_image_there_is_nothing_to_run():
    """The error says what to set."""
    with pytest.raises(ConfigurationError, match=r"web: there is nothing to run: set 'image'"):
        await plan_of(image=None)


async def test_the_version_is_in_the_metadata_alone():
    """A version whose image is the same makes no new pods; the selector never changes."""
    one, two = [await plan_of(image="web:x", version=version) for version in ("1.0.0", "2.0.0")]
    assert annotations_of(two.workload_object)["aioproviders.dev/version"] == "2.0.0"
    assert labels_of(two.workload_object)["app.kubernetes.io/version"] == "2.0.0"
    assert one.workload_object["spec"] == two.workload_object["spec"]
    assert one.release != two.release


async def test_a_version_that_is_no_label_is_an_annotation_only():
    """Labels can't hold build metadata."""
    plan = await plan_of(version="1.0.0+build.7", image="web:x")
    assert "app.kubernetes.io/version" not in labels_of(plan.workload_object)
    assert annotations_of(plan.workload_object)["aioproviders.dev/version"] == "1.0.0+build.7"


async def test_the_same_config_is_the_same_release():
    """Whatever the order of its settings; why it is made is no part of it, but is told."""
    one = await plan_of(labels={"a": "1", "b": "2"})
    two = await plan_of(labels={"b": "2", "a": "1"}, change_cause="again")
    assert one.release == two.release
    assert annotations_of(two.workload_object)["kubernetes.io/change-cause"] == "again"
    assert annotations_of(two.workload_object)["aioproviders.dev/release"] == two.release


async def test_labels_are_on_the_pods_and_on_everything():
    """Ours and the user's; the selector is of ours."""
    plan = await plan_of(labels={"team": "red"}, ports=PORTS, service={})
    template = plan.workload_object["spec"]["template"]
    for labels in (template["metadata"]["labels"], labels_of(only(plan, "Service"))):
        assert labels == {
            "team": "red",
            "app.kubernetes.io/name": "web",
            "app.kubernetes.io/managed-by": "aioproviders",
        }
    selected = plan.workload_object["spec"]["selector"]["matchLabels"]
    assert selected == {"app.kubernetes.io/name": "web"}
    assert only(plan, "Service")["spec"]["selector"] == selected


async def test_a_label_of_ours_can_not_be_another():
    """The selector needs it."""
    with pytest.raises(ConfigurationError, match=r"'app.kubernetes.io/name' is always 'web'"):
        await plan_of(labels={"app.kubernetes.io/name": "other"})


async def test_times_are_whole_seconds_rounded_up():
    """Kubernetes has no shorter ones; none becomes 0."""
    probe = {"period_ms": 200, "timeout_ms": 1500, "initial_delay_ms": 1, "path": "/ready", "port": 80}
    plan = await plan_of(
        readiness_probe=probe, stop_timeout_ms=1200, rollout_timeout_ms=90_500, min_ready_seconds=5
    )
    made = container_of(plan)["readinessProbe"]
    assert (made["periodSeconds"], made["timeoutSeconds"], made["initialDelaySeconds"]) == (1, 2, 1)
    assert made["httpGet"] == {"path": "/ready", "port": 80}
    spec = plan.workload_object["spec"]
    assert (spec["progressDeadlineSeconds"], spec["minReadySeconds"]) == (91, 5)
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] == 2


async def test_the_progress_deadline_is_beyond_the_ready_seconds():
    """The server refuses it otherwise."""
    plan = await plan_of(rollout_timeout_ms=1000, min_ready_seconds=30)
    assert plan.workload_object["spec"]["progressDeadlineSeconds"] == 31


async def test_probes_ask_the_first_port_by_default():
    """By its name; a TCP probe likewise, a command as it is."""
    plan = await plan_of(
        ports=PORTS,
        readiness_probe={"kind": "tcp"},
        liveness_probe={"kind": "exec", "command": ["true"]},
        startup_probe={"port": "metrics", "kind": "tcp"},
    )
    container = container_of(plan)
    assert container["readinessProbe"]["tcpSocket"] == {"port": "http"}
    assert container["livenessProbe"]["exec"] == {"command": ["true"]}
    assert container["startupProbe"]["tcpSocket"] == {"port": "metrics"}


async def test_only_readiness_can_want_several_successes():
    """The server would refuse it with less to go by."""
    with pytest.raises(ConfigurationError, match=r"'liveness_probe': 'success_threshold' can only be 1"):
        await plan_of(liveness_probe={"port": 80, "success_threshold": 2})


async def test_secrets_are_in_a_secret_and_nowhere_else():
    """The container refers to it; another value is another Secret."""
    first = await plan_of(env={"PASSWORD": SecretStr("geheim"), "MODE": "$(x)"})
    second = await plan_of(env={"PASSWORD": SecretStr("anders"), "MODE": "$(x)"})
    secret = only(first, "Secret")
    assert base64.b64decode(secret["data"]["PASSWORD"]) == b"geheim"
    assert container_of(first)["env"] == [
        {
            "name": "PASSWORD",
            "valueFrom": {"secretKeyRef": {"name": secret["metadata"]["name"], "key": "PASSWORD"}},
        },
        {"name": "MODE", "value": "$$(x)"},
    ]
    assert "geheim" not in str(first.workload_object)
    assert secret["metadata"]["name"] != only(second, "Secret")["metadata"]["name"]
    assert first.release != second.release


async def test_settings_are_a_config_map_named_by_its_content():
    """So that a rollback finds the old one; the container reads it."""
    one, same, other = [await plan_of(settings=value) for value in ({"A": "1"}, {"A": "1"}, {"A": "2"})]
    names = [only(plan, "ConfigMap")["metadata"]["name"] for plan in (one, same, other)]
    assert names[0] == names[1] != names[2]
    assert container_of(one)["envFrom"] == [{"configMapRef": {"name": names[0]}}]


async def test_what_others_need_comes_first():
    """The namespace, then what pods read, the workload, and what looks after it."""
    plan = await plan_of(
        create_namespace=True,
        settings={"A": "1"},
        env={"B": SecretStr("2")},
        ports=PORTS,
        service={"type": "NodePort", "annotations": {"a": "b"}},
        autoscaling={"max_replicas": 4, "memory_percent": 70},
        disruption_budget={"min_available": "50%"},
    )
    kinds = [ref.kind for ref in plan.refs]
    assert kinds == [
        "Namespace",
        "Secret",
        "ConfigMap",
        "Service",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
    ]
    assert [ref.namespace for ref in plan.refs] == [None] + ["shop"] * 6


async def test_replicas_are_left_to_the_autoscaler():
    """The Deployment does not name them."""
    plan = await plan_of(autoscaling={"min_replicas": 2, "max_replicas": 4, "memory_percent": 70})
    assert "replicas" not in plan.workload_object["spec"]
    spec = only(plan, "HorizontalPodAutoscaler")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 4)
    assert [metric["resource"]["name"] for metric in spec["metrics"]] == ["cpu", "memory"]


async def test_the_strategy_is_handed_on():
    """Numbers stay numbers, percentages text; recreating has neither."""
    rolling = await plan_of(strategy={"max_surge": "25%", "max_unavailable": 1})
    assert rolling.workload_object["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1},
    }
    recreating = await plan_of(strategy={"kind": "recreate"})
    assert recreating.workload_object["spec"]["strategy"] == {"type": "Recreate"}


async def test_the_history_is_bounded():
    """As many old ReplicaSets are kept as releases, the current one not counted."""
    plan = await plan_of(history_limit=4)
    assert plan.workload_object["spec"]["revisionHistoryLimit"] == 3


async def test_the_rest_of_the_pod():
    """Service account, pull secrets and resources."""
    resources = {"requests": {"cpu": "100m"}}
    plan = await plan_of(service_account="runner", image_pull_secrets=("a", "b"), resources=resources)
    spec = plan.workload_object["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "runner"
    assert spec["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]
    assert container_of(plan)["resources"] == resources


def test_a_hash_tells_contents_apart():
    """It takes no notice of the order of keys, but of that of lists."""
    assert hash_of({"a": 1, "b": [1, 2]}) == hash_of({"b": [1, 2], "a": 1})
    assert hash_of([1, 2]) != hash_of([2, 1])
