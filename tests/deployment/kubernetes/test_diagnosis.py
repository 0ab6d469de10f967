"""What is found out about a rollout that has failed, from a scripted API server."""

import anyio
import pytest
from aiohttp import web
from scripted_api import ScriptedApi, config, kubeconfig

from aioproviders.deployment.kubernetes import diagnosis
from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.connection import connect
from aioproviders.deployment.kubernetes.diagnosis import diagnose
from aioproviders.deployment.kubernetes.pods import Trouble
from aioproviders.deployment.kubernetes.waiting import Verdict
from aioproviders.redaction import Redactor

EVENTS = "GET /api/v1/namespaces/shop/events"
LOG = "GET /api/v1/namespaces/shop/pods/web-1/log"
REPLICA_SET = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "metadata": {"name": "web-abc", "namespace": "shop"},
}
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
    return 200, {"kind": "EventList", "metadata": {"resourceVersion": "1"}, "items": list(items)}


async def look(tmp_path, script, trouble=CRASH, *, pods=(), secrets=(), seen=None, refusal=None):
    async with ScriptedApi(script) as server:
        path = tmp_path / "config"
        path.write_text(kubeconfig(server.url))
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
            if seen is not None:
                seen += server.seen


async def text(_):
    return web.Response(text="starting\nno such table: kettles\n")


async def test_a_pod_that_crashes(tmp_path):
    """Its reason, its unusual events in the order of their times, its last output, a suggestion."""
    seen = []
    script = {
        EVENTS: [
            events(
                happened("BackOff", "Back-off restarting\nfailed container", "2026-01-01T00:00:09Z", 4),
                happened("Started", "Started container", "2026-01-01T00:00:02Z"),
                happened("Unhealthy", "Liveness probe failed", "2026-01-01T00:00:05Z"),
            )
        ],
        LOG: [text],
    }
    found = await look(tmp_path, script, seen=seen)
    assert (found.instance, found.container, found.exit_code) == ("web-1", "web", 1)
    assert found.reason == "CrashLoopBackOff"
    assert found.events == (
        "Unhealthy: Liveness probe failed",
        "BackOff: Back-off restarting failed container (4 times)",
    )
    assert found.logs == ("starting", "no such table: kettles")
    assert found.suggestion
    asked = {request.path: request.query for request in seen}
    assert asked["/api/v1/namespaces/shop/pods/web-1/log"] == {
        "container": "web",
        "tailLines": "20",
        "previous": "true",
    }
    selector = asked["/api/v1/namespaces/shop/events"]["fieldSelector"]
    assert selector == "involvedObject.kind=Pod,involvedObject.name=web-1"


async def test_secrets_in_what_is_quoted(tmp_path):
    """They are masked in output, events and message."""
    script = {
        EVENTS: [events(happened("Failed", "login with hunter22 failed", "2026-01-01T00:00:05Z"))],
        LOG: [lambda _: _text("password hunter22")],
    }
    trouble = Trouble("web-1", "Error", "exec: hunter22", "web", 1, True, "current")
    found = await look(tmp_path, script, trouble, secrets=["hunter22"])
    assert "hunter22" not in f"{found!r} {found}"
    assert "**********" in found.logs[0]


async def _text(content):
    return web.Response(text=content)


async def test_nothing_can_be_read(tmp_path):
    """Without events and output, the rest is told."""
    script = {EVENTS: [(403, {"kind": "Status", "message": "no"})], LOG: [(500, {"message": "no kubelet"})]}
    found = await look(tmp_path, script)
    assert (found.reason, found.events, found.logs) == ("CrashLoopBackOff", (), ())


async def test_output_of_a_container_that_runs_again(tmp_path):
    """Where there is none of before, there may be some of now."""
    script = {EVENTS: [events()], LOG: [(400, {"kind": "Status", "message": "no previous"}), text]}
    assert (await look(tmp_path, script)).logs[-1] == "no such table: kettles"


async def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    """It is not waited for: what is known is told."""
    monkeypatch.setattr(diagnosis, "_LONGEST", 0.1)

    async def never(_):
        await anyio.sleep_forever()

    found = await look(tmp_path, {EVENTS: [never], LOG: [never]})
    assert (found.reason, found.events, found.logs) == ("CrashLoopBackOff", (), ())


async def test_no_pod_at_all(tmp_path):
    """Then it is about the ReplicaSet, whose events tell why none was made."""
    seen = []
    refused = happened("FailedCreate", "exceeded quota", "2026-01-01T00:00:05Z")
    found = await look(tmp_path, {EVENTS: [events(refused)]}, trouble=None, seen=seen)
    assert found.instance is None
    assert (found.reason, found.message) == ("RolloutTimeout", "not done within 10 s")
    assert found.events == ("FailedCreate: exceeded quota",)
    assert "involvedObject.kind=ReplicaSet" in seen[0].query["fieldSelector"]


async def test_the_same_of_several_pods_is_told_once(tmp_path):
    """With the latest one's name, and how often it was."""
    refused = [
        happened("FailedCreate", f'pods "web-{index}" is forbidden', f"2026-01-01T00:00:0{index}Z")
        for index in range(3)
    ]
    other = happened("Killing", "it", "2026-01-01T00:00:01Z")
    found = await look(tmp_path, {EVENTS: [events(*refused, other)]}, trouble=None)
    assert found.events == ("Killing: it", 'FailedCreate: pods "web-2" is forbidden (3 times)')


async def test_pods_that_may_not_be_made(tmp_path):
    """A pod that is just starting has nothing to do with it; one that is doomed is told of first."""
    refusal = Verdict("failed", "exceeded quota", "FailedCreate")
    starting = {"metadata": {"name": "a"}, "status": {"phase": "Pending"}}
    found = await look(tmp_path, {EVENTS: [events()]}, trouble=None, pods=[starting], refusal=refusal)
    assert (found.instance, found.reason, found.message) == (None, "FailedCreate", "exceeded quota")
    found = await look(tmp_path, {EVENTS: [events()], LOG: [text]}, refusal=refusal)
    assert (found.instance, found.reason) == ("web-1", "CrashLoopBackOff")


@pytest.mark.parametrize(("ready", "reason"), [("False", "NotReady"), ("True", "RolloutTimeout")])
async def test_the_pod_that_is_worst(tmp_path, ready, reason):
    """A timeout is explained by a pod that isn't ready, where there is one."""
    pod = {
        "metadata": {"name": "web-1"},
        "spec": {"containers": []},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [{"name": "web", "ready": False, "state": {"running": {}}}],
        },
    }
    found = await look(tmp_path, {EVENTS: [events()], LOG: [text]}, trouble=None, pods=[pod])
    assert found.reason == reason
