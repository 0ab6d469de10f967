"""The control plane that other tests run against does what they count on."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import anyio
import control_plane as control_plane_module
import pytest
from control_plane import ControlPlane, build, missing
from kubernetes_asyncio import client
from kubernetes_asyncio.client import ApiException
from kubernetes_asyncio.config import new_client_from_config
from kubernetes_asyncio.watch import Watch

KUBECTL = Path(sys.executable).with_name("kubectl")


async def until(look, *arguments):
    """Call until what it returns is true, and return that."""
    with anyio.fail_after(40):
        while not (found := await look(*arguments)):  # noqa: ASYNC110  # nothing wakes us
            await anyio.sleep(0.05)
        return found


def workload(version, **more):
    """Return the spec of a Deployment, StatefulSet or DaemonSet, whose image has this tag."""
    labels = {"app": "shop"}
    container = {"name": "web", "image": f"registry.example/shop:{version}"}
    return {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        **more,
    }


def running(pid):
    """Say whether there is such a process, one that has not ended already."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@pytest.fixture(scope="session")
def kubeconfig(control_plane):
    """That of our own control plane, whatever cluster is named."""
    return control_plane.kubeconfig


@pytest.fixture
def core(kube):
    """The API of pods, events and namespaces."""
    return client.CoreV1Api(kube)


@pytest.fixture
def apps(kube):
    """The API of deployments."""
    return client.AppsV1Api(kube)


@pytest.fixture
def deploy(apps, namespace):
    """Return a function that makes a Deployment named shop."""

    async def make(version, replicas=2):
        spec = workload(version, replicas=replicas)
        return await apps.create_namespaced_deployment(
            namespace, {"metadata": {"name": "shop"}, "spec": spec}
        )

    return make


@pytest.fixture
def available(apps, namespace):
    """Return a function: a number -> whether the Deployment has so many available replicas."""

    async def look(replicas):
        found = await apps.read_namespaced_deployment("shop", namespace)
        return (found.status.available_replicas or 0) == replicas

    return look


@pytest.fixture
def containers(core, namespace):
    """Return a function: a number -> that many statuses of the Deployment's containers, once all are told."""

    async def look(number):
        pods = (await core.list_namespaced_pod(namespace)).items
        told = [status for pod in pods for status in pod.status.container_statuses or []]
        return told if len(told) == number else None

    return look


@pytest.fixture
def seen(core, namespace):
    """Return a context manager: it yields how containers change from there on, one status after the other."""

    @contextlib.asynccontextmanager
    async def changes():
        began = (await core.list_namespaced_pod(namespace)).metadata.resource_version

        async def statuses(stream):
            async for change in stream:
                for status in change["object"].status.container_statuses or []:
                    yield status

        with anyio.fail_after(40):
            async with Watch() as watch:
                stream = watch.stream(core.list_namespaced_pod, namespace, resource_version=began)
                async with contextlib.aclosing(statuses(stream)) as told:
                    yield told

    return changes


@pytest.fixture
def event(core, namespace):
    """Return a function: a reason -> the message of a pod's event, if there is one."""

    async def look(reason):
        found = await core.list_namespaced_event(namespace, field_selector=f"reason={reason}")
        return next((item.message for item in found.items if item.involved_object.kind == "Pod"), None)

    return look


@pytest.fixture
def kubectl(kubeconfig, namespace):
    """Return a function that runs kubectl and returns its output."""

    async def run(*arguments, stdin=b""):
        command = [KUBECTL, "--kubeconfig", kubeconfig, "--namespace", namespace, *arguments]
        done = await anyio.run_process(command, input=stdin, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return run


# What it serves.


async def test_it_is_ready(kube):
    """The API server says so of itself and of its store."""
    answer, status, _ = await kube.call_api(
        "/readyz",
        "GET",
        query_params=[("verbose", "true")],
        response_types_map={200: "str"},
        auth_settings=["BearerToken"],
    )
    assert status == 200
    assert "etcd ok" in answer


async def test_one_may_do_what_ones_role_says_and_no_more(limited_kubeconfig, namespace):
    """A user with a role for pods is refused Secrets, and pods elsewhere."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    api = await new_client_from_config(str(await limited_kubeconfig(rules)))
    try:
        core = client.CoreV1Api(api)
        assert (await core.list_namespaced_pod(namespace)).items == []
        with pytest.raises(ApiException, match="Forbidden"):
            await core.list_namespaced_secret(namespace)
        with pytest.raises(ApiException, match="Forbidden"):
            await core.list_namespaced_pod("default")
    finally:
        await api.close()


async def test_requests_are_counted_by_their_user_agent(control_plane, kubeconfig, namespace):
    """Each request is there once, with its verb and object, as soon as it is answered."""
    api = await new_client_from_config(str(kubeconfig))
    api.user_agent = f"counted-{namespace}"
    try:
        core = client.CoreV1Api(api)
        await core.list_namespaced_pod(namespace)
        await core.read_namespace(namespace)
    finally:
        await api.close()
    found = control_plane.requests(f"counted-{namespace}")
    assert [(event["verb"], event["objectRef"]["resource"]) for event in found] == [
        ("list", "pods"),
        ("get", "namespaces"),
    ]


# Controllers.


async def test_a_deployment_gets_available(deploy, available):
    """Its pods are made, and get ready."""
    await deploy("1.0.0", replicas=3)
    await until(available, 3)


async def test_a_statefulset_gets_ready(apps, namespace):
    """Its pods are made one after the other."""
    spec = workload("1.0.0", replicas=2, serviceName="shop")
    await apps.create_namespaced_stateful_set(namespace, {"metadata": {"name": "shop"}, "spec": spec})

    async def ready():
        found = await apps.read_namespaced_stateful_set("shop", namespace)
        return found.status.ready_replicas == 2 and found.status.current_revision

    await until(ready)


async def test_a_daemonset_gets_a_pod_on_each_node(apps, core, namespace):
    """There is a node for it."""
    await apps.create_namespaced_daemon_set(
        namespace, {"metadata": {"name": "shop"}, "spec": workload("1.0.0")}
    )
    nodes = len((await core.list_node()).items)
    assert nodes

    async def ready():
        return (await apps.read_namespaced_daemon_set("shop", namespace)).status.number_available == nodes

    await until(ready)


async def test_what_a_deleted_deployment_owned_goes_too(deploy, available, apps, core, namespace):
    """Its pods are deleted in their turn, and end at once whatever time they have for it."""
    await deploy("1.0.0")
    await until(available, 2)
    grace = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 3600}}}}
    await apps.patch_namespaced_deployment("shop", namespace, grace)
    await until(available, 2)
    await apps.delete_namespaced_deployment("shop", namespace)

    async def gone():
        return not (await core.list_namespaced_pod(namespace)).items

    await until(gone)


async def test_a_quota_keeps_pods_from_being_made(apps, core, deploy, namespace):
    """The Deployment says so."""
    await core.create_namespaced_resource_quota(
        namespace, {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    )
    await deploy("1.0.0")

    async def refused():
        found = await apps.read_namespaced_deployment("shop", namespace)
        told = {condition.type: condition for condition in found.status.conditions or []}
        return told.get("ReplicaFailure")

    condition = await until(refused)
    assert condition.reason == "FailedCreate"
    assert "exceeded quota" in condition.message


async def test_a_service_leads_to_the_ready_pods(kube, core, deploy, namespace):
    """They have addresses, and are told in its endpoints."""
    spec = {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": 8080}]}
    await core.create_namespaced_service(namespace, {"metadata": {"name": "shop"}, "spec": spec})
    await deploy("1.0.0", replicas=2)
    discovery = client.DiscoveryV1Api(kube)

    async def told():
        slices = (await discovery.list_namespaced_endpoint_slice(namespace)).items
        ends = [end for each in slices for end in each.endpoints or [] if end.conditions.ready]
        return ends if len(ends) == 2 else None

    first, second = await until(told)
    assert first.addresses != second.addresses


# What an image's tag makes of its pods.


async def test_a_container_runs_and_is_ready(deploy, available, containers):
    """Unless its tag says something else."""
    await deploy("1.0.0", replicas=1)
    await until(available, 1)
    (web,) = await containers(1)
    assert web.state.running
    assert web.ready
    assert web.started
    assert web.container_id
    assert web.image == "registry.example/shop:1.0.0"


@pytest.mark.parametrize(
    ("version", "reason", "message", "told"),
    [
        ("1-pull-error", "ErrImagePull", "not found", "Failed"),
        ("1-pull-error", "ImagePullBackOff", "not found", "BackOff"),
        ("1-config-error", "CreateContainerConfigError", 'secret "missing" not found', "Failed"),
        ("1-crash-loop", "CrashLoopBackOff", "back-off", "BackOff"),
    ],
)
async def test_a_container_waits(deploy, seen, event, *, version, reason, message, told):
    """With the reason that the tag names, and an event that tells of it."""
    async with seen() as statuses:
        await deploy(version, replicas=1)
        async for status in statuses:
            if status.state.waiting.reason == reason:
                assert message in status.state.waiting.message
                break
    assert await until(event, told)


async def test_a_container_crashes_again_and_again(deploy, containers):
    """Its restarts grow in number, and how the last one ended stays to be seen."""
    await deploy("1-crash-loop", replicas=1)

    async def restarted():
        found = await containers(1)
        return found if found and found[0].restart_count > 1 else None

    (web,) = await until(restarted)
    assert not web.ready
    assert web.last_state.terminated.exit_code == 1
    assert web.last_state.terminated.reason == "Error"


async def test_only_one_pod_of_an_owner_crashes(deploy, available, containers):
    """The others get ready."""
    await deploy("1-crash-one", replicas=3)
    await until(available, 2)
    found = await until(containers, 3)
    assert sorted(web.restart_count > 0 for web in found) == [False, False, True]


async def test_a_slow_container_runs_before_it_is_ready(deploy, seen):
    """It is seen to run without being ready first."""
    ready = []
    async with seen() as statuses:
        await deploy("1-slow", replicas=1)
        async for status in statuses:
            assert status.state.running
            ready.append(status.ready)
            if status.ready:
                break
    assert False in ready


async def test_a_container_is_never_ready(deploy, containers):
    """It runs all the same."""
    await deploy("1-never-ready", replicas=1)
    (web,) = await until(containers, 1)
    assert web.state.running
    assert web.started
    assert not web.ready


async def test_a_pod_finds_no_node(deploy, core, namespace, event):
    """Its condition and an event say so; it has no node."""
    await deploy("1-unschedulable", replicas=1)
    assert "Insufficient cpu" in await until(event, "FailedScheduling")
    (pod,) = (await core.list_namespaced_pod(namespace)).items
    (condition,) = pod.status.conditions
    assert (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable")
    assert pod.status.phase == "Pending"
    assert pod.spec.node_name is None


@pytest.mark.parametrize(
    ("tag", "initial", "main"),
    [("1", "Completed", None), ("1-pull-error", "ErrImagePull", "PodInitializing")],
)
async def test_init_containers_come_first(core, namespace, tag, initial, main):
    """They are completed where the containers run; where they fail these wait for them."""
    spec = {
        "initContainers": [{"name": "migrate", "image": f"registry.example/migrate:{tag}"}],
        "containers": [{"name": "web", "image": "registry.example/shop:1"}],
    }
    await core.create_namespaced_pod(namespace, {"metadata": {"name": "shop"}, "spec": spec})

    async def told():
        status = (await core.read_namespaced_pod("shop", namespace)).status
        return status if status.container_statuses else None

    status = await until(told)
    (migrate,), (web,) = status.init_container_statuses, status.container_statuses
    if main is None:
        assert migrate.state.terminated.reason == initial
        assert web.state.running
    else:
        assert migrate.state.waiting.reason in (initial, "ImagePullBackOff")
        assert web.state.waiting.reason == main


# kubectl.


async def test_kubectl_rolls_out(kubectl, namespace):
    """It applies a manifest, follows the rollout and finds it in the history."""
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop"},
        "spec": workload("1.0.0", replicas=2),
    }
    await kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(manifest).encode())
    assert "successfully rolled out" in await kubectl("rollout", "status", "deployment/shop", "--timeout=40s")
    assert "REVISION" in await kubectl("rollout", "history", "deployment/shop")


async def test_pods_have_logs(deploy, available, containers, kubectl):
    """The output names the image; of one that crashed it tells why."""
    await deploy("1-crash-one", replicas=2)
    await until(available, 1)
    await until(containers, 2)
    assert "starting registry.example/shop:1-crash-one" in await kubectl("logs", "-l", "app=shop")
    assert "serving" in await kubectl("logs", "-l", "app=shop")
    assert "panic: bad configuration" in await kubectl("logs", "-l", "app=shop")


async def test_what_never_ran_has_no_logs(deploy, containers, core, namespace):
    """That is said, as a bad request."""
    await deploy("1-pull-error", replicas=1)
    await until(containers, 1)
    (pod,) = (await core.list_namespaced_pod(namespace)).items
    with pytest.raises(ApiException, match="is waiting to start") as raised:
        await core.read_namespaced_pod_log(pod.metadata.name, namespace)
    assert raised.value.status == 400


# Its life.


async def test_the_api_server_comes_back_where_it_was(control_plane, deploy, available, apps, namespace):
    """Killed, nobody answers; started again, what was there is there, and controllers go on."""
    await deploy("1.0.0")
    await until(available, 2)
    control_plane.kill("apiserver")
    try:
        with pytest.raises((ApiException, OSError)):
            await available(2)
        assert "apiserver" not in control_plane.pids
    finally:
        control_plane.start_component("apiserver")
    assert await available(2)
    await apps.patch_namespaced_deployment_scale("shop", namespace, {"spec": {"replicas": 3}})
    await until(available, 3)


@pytest.mark.parametrize("component", ["etcd", "controller-manager", "kubelet"])
async def test_any_component_can_be_replaced(control_plane, deploy, available, kubectl, component):
    """What was ready stays so, and what is new gets ready."""
    await deploy("1.0.0", replicas=1)
    await until(available, 1)
    before = control_plane.pids[component]
    control_plane.kill(component)
    try:
        assert not running(before)
    finally:
        control_plane.start_component(component)
    assert await available(1)
    await kubectl("scale", "deployment/shop", "--replicas=2")
    await until(available, 2)


async def test_a_command_it_does_not_know_is_refused(control_plane):
    """The answer says which, and it serves on."""
    with pytest.raises(RuntimeError, match='no such command: "kill scheduler"'):
        control_plane.kill("scheduler")
    with pytest.raises(RuntimeError, match="apiserver runs already"):
        control_plane.start_component("apiserver")


@pytest.mark.parametrize("killed", [False, True])
async def test_no_process_stays_behind(control_plane, killed):
    """Neither after it was stopped nor after its supervisor was killed."""
    another = ControlPlane()
    another.start()
    pids, directory = list(another.pids.values()), another.directory
    assert len(pids) == 4
    assert all(map(running, pids))
    if killed:
        os.kill(another._process.pid, signal.SIGKILL)
    another.stop()

    async def gone():
        return not any(map(running, pids))

    await until(gone)
    assert not directory.exists()


@pytest.mark.parametrize("end", ["input", "signal"])
async def test_it_can_be_ended_while_it_starts(control_plane, tmp_path, end):
    """It ends with 0, tells nothing and leaves no files."""
    folder = tmp_path / "cluster"
    async with await anyio.open_process([build(), "run", "--dir", folder], stderr=None) as process:

        async def started():
            return (folder / "etcd.log").exists()

        await until(started)
        if end == "signal":
            process.send_signal(signal.SIGTERM)
        else:
            await process.stdin.aclose()
        with pytest.raises(anyio.EndOfStream):
            await process.stdout.receive()
        assert await process.wait() == 0
    assert not folder.exists()


async def test_a_component_that_ends_at_start_is_named(control_plane, tmp_path):
    """With the end of its log, on the standard error output; the exit code is 1."""
    small_files = 'ulimit -f 1000; exec "$@"'  # the store's are larger
    command = ["sh", "-c", small_files, "sh", build(), "run", "--dir", tmp_path / "cluster"]
    async with await anyio.open_process(command) as process:
        told = b"".join([part async for part in process.stderr]).decode()
        assert await process.wait() == 1
    assert told.startswith("etcd ended:\n")
    assert "file too large" in told


async def test_a_folder_that_is_there_is_left_alone(control_plane, tmp_path):
    """The control plane's files are in a folder of its own."""
    done = await anyio.run_process([build(), "run", "--dir", tmp_path], check=False)
    assert done.returncode == 1
    assert "file exists" in done.stderr.decode()
    assert tmp_path.exists()


def test_without_go_it_is_said_to_be_missing(monkeypatch):
    """So that tests can be skipped for a reason."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert missing() == "there is no 'go' to build the control plane with"


def test_a_go_that_is_too_old_is_said_to_be_so(monkeypatch, tmp_path):
    """Where it may not fetch a newer one."""
    if reason := missing():
        pytest.skip(reason)
    monkeypatch.setattr(control_plane_module, "_SOURCE", tmp_path)
    monkeypatch.setenv("GOTOOLCHAIN", "local")
    (tmp_path / "go.mod").write_text("module old\n\ngo 1.9999\n")
    assert "go.mod requires go >= 1.9999" in missing()
