"""What is found out about a rollout that has failed, from a scripted API server."""

import anyio
import kmock
import pytest
from scripted_api import config, kubeconfig

from aioproviders.deployment.kubernetes import diagnosis
from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.connection import connect
from aioproviders.deployment.kubernetes.diagnosis import diagnose
from aioproviders.deployment.kubernetes.pods import Trouble
from aioproviders.deployment.kubernetes.waiting import Verdict
from aioproviders.redaction import Redactor

EVENTS = "get /api/v1/namespaces/shop/events"
LOG = "get /api/v1/namespaces/shop/pods/web-1/log"
REPLICA_SET = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "metadata": {"name": "web-abc", "namespace": "shop"},
}
OUTPUT = b"starting\nno such table: kettles\n"
CRASH = Trouble("web-1", "CrashLoopBackOff", "it ended with exit code 1", "web", 1, True, "previous")


def happened(reason, message, at, count=1):
    return {
        "metadata": {"creationTimestamp": None},
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "count": count,
    }


def events(*items):
    return {"kind": "EventList", "metadata": {"resourceVersion": "1"}, "items": list(items)}


@pytest.fixture
async def server():
    """An API server that knows nothing but what it is told."""
    async with kmock.RawHandler() as handler, kmock.Server(handler):
        handler.fallback << 404 << kmock.data({"kind": "Status", "message": "not scripted", "code": 404})
        yield handler


@pytest.fixture
def look(server, tmp_path):
    """Return a function: what the wait has found -> the diagnosis."""

    async def run(trouble=CRASH, *, pods=(), secrets=(), refusal=None):
        path = tmp_path / "config"
        path.write_text(kubeconfig(str(server.url)))
        connection = await connect(config(kubeconfig_path=path))
        try:
            return await diagnose(
                Api(connection),
                Redactor(secrets),
                reason="RolloutTimeout",
                message="not done within 10 s",
                trouble=trouble,
                pods=pods,
                failing=REPLICA_SET,
                refusal=refusal,
            )
        finally:
            await connection.close()

    return run


async def test_a_pod_that_crashes(server, look):
    """Its reason, its unusual events in the order of their times, its last output, a suggestion."""
    server[EVENTS] << events(
        happened("BackOff", "Back-off restarting\nfailed container", "2026-01-01T00:00:09Z", 4),
        happened("Started", "Started container", "2026-01-01T00:00:02Z"),
        happened("Unhealthy", "Liveness probe failed", "2026-01-01T00:00:05Z"),
    )
    server[LOG] << OUTPUT
    found = await look()
    assert (found.instance, found.container, found.exit_code) == ("web-1", "web", 1)
    assert found.reason == "CrashLoopBackOff"
    assert found.events == (
        "Unhealthy: Liveness probe failed",
        "BackOff: Back-off restarting failed container (4 times)",
    )
    assert found.logs == ("starting", "no such table: kettles")
    assert found.suggestion
    assert server[LOG][0].params == {"container": "web", "tailLines": "20", "previous": "true"}
    selector = server[EVENTS][0].params["fieldSelector"]
    assert selector == "involvedObject.kind=Pod,involvedObject.name=web-1"


async def test_secrets_in_what_is_quoted(server, look):
    """They are masked in output, events and message."""
    server[EVENTS] << events(happened("Failed", "login with hunter22 failed", "2026-01-01T00:00:05Z"))
    server[LOG] << b"password hunter22"
    trouble = Trouble("web-1", "Error", "exec: hunter22", "web", 1, True, "current")
    found = await look(trouble, secrets=["hunter22"])
    assert "hunter22" not in f"{found!r} {found}"
    assert "**********" in found.logs[0]


async def test_nothing_can_be_read(server, look):
    """Without events and output, the rest is told."""
    server[EVENTS] << 403 << kmock.data({"kind": "Status", "message": "no"})
    server[LOG] << 500 << kmock.data({"message": "no kubelet"})
    found = await look()
    assert (found.reason, found.events, found.logs) == ("CrashLoopBackOff", (), ())


async def test_output_of_a_container_that_runs_again(server, look):
    """Where there is none of before, there may be some of now."""
    server[EVENTS] << events()
    server[LOG][:1] << 400 << kmock.data({"kind": "Status", "message": "no previous"})
    server[LOG][1:] << OUTPUT
    assert (await look()).logs[-1] == "no such table: kettles"


async def test_a_server_that_does_not_answer(server, look, monkeypatch):
    """It is not waited for: what is known is told."""
    monkeypatch.setattr(diagnosis, "_LONGEST", 0.1)
    server[EVENTS] << anyio.sleep_forever
    server[LOG] << anyio.sleep_forever
    found = await look()
    assert (found.reason, found.events, found.logs) == ("CrashLoopBackOff", (), ())


async def test_no_pod_at_all(server, look):
    """Then it is about the ReplicaSet, whose events tell why none was made."""
    refused = happened("FailedCreate", "exceeded quota", "2026-01-01T00:00:05Z")
    server[EVENTS] << events(refused)
    found = await look(None)
    assert found.instance is None
    assert (found.reason, found.message) == ("RolloutTimeout", "not done within 10 s")
    assert found.events == ("FailedCreate: exceeded quota",)
    assert "involvedObject.kind=ReplicaSet" in server[EVENTS][0].params["fieldSelector"]


async def test_the_same_of_several_pods_is_told_once(server, look):
    """With the latest one's name, and how often it was."""
    refused = [
        happened("FailedCreate", f'pods "web-{index}" is forbidden', f"2026-01-01T00:00:0{index}Z")
        for index in range(3)
    ]
    other = happened("Killing", "it", "2026-01-01T00:00:01Z")
    server[EVENTS] << events(*refused, other)
    found = await look(None)
    assert found.events == ("Killing: it", 'FailedCreate: pods "web-2" is forbidden (3 times)')


async def test_pods_that_may_not_be_made(server, look):
    """A pod that is just starting has nothing to do with it; one that is doomed is told of first."""
    refusal = Verdict("failed", "exceeded quota", "FailedCreate")
    starting = {"metadata": {"name": "a"}, "status": {"phase": "Pending"}}
    server[EVENTS] << events()
    server[LOG] << OUTPUT
    found = await look(None, pods=[starting], refusal=refusal)
    assert (found.instance, found.reason, found.message) == (None, "FailedCreate", "exceeded quota")
    found = await look(refusal=refusal)
    assert (found.instance, found.reason) == ("web-1", "CrashLoopBackOff")


@pytest.mark.parametrize(("ready", "reason"), [("False", "NotReady"), ("True", "RolloutTimeout")])
async def test_the_pod_that_is_worst(server, look, ready, reason):
    """A timeout is explained by a pod that isn't ready, where there is one."""
    pod = {
        "metadata": {"name": "web-1"},
        "spec": {"containers": []},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "web", "ready": False, "state": {"running": {}}}],
        },
    }
    server[EVENTS] << events()
    server[LOG] << OUTPUT
    found = await look(None, pods=[pod])
    assert found.reason == reason
