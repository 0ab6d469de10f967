"""Following what containers write, through connections that break."""

import json
from contextlib import asynccontextmanager

import anyio
import pytest
from aiohttp import web
from scripted_api import ScriptedApi, config, kubeconfig

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.connection import connect
from aioproviders.deployment.kubernetes.output import Following, last_lines
from aioproviders.errors import AuthenticationError, RequestError

PODS = "GET /api/v1/namespaces/shop/pods"
LOG = f"{PODS}/web-1/log"
WORKLOAD = {"metadata": {"namespace": "shop"}, "spec": {"selector": {"matchLabels": {"app": "web"}}}}


def pod(restarts=0, **metadata):
    state = {"name": "web", "state": {"running": {}}, "restartCount": restarts}
    metadata = {"name": "web-1", "namespace": "shop", "uid": "1", "resourceVersion": "1", **metadata}
    return {"metadata": metadata, "status": {"containerStatuses": [state]}}


def stamped(second, text):
    return f"2030-01-02T00:00:{second:02}.000000001Z {text}\n".encode()


def writing(*lines, ends=True):
    """Return an answer of these lines, and its end or a broken connection."""

    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines:
            await response.write(line)
        if not ends:
            request.transport.abort()
        return response

    return answer


@asynccontextmanager
async def following(tmp_path, logs, events=(), **choice):
    """Follow one pod by a script of its log; yields the server and what is received."""
    changed = anyio.Event()

    async def pods(request):
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [pod()]})
        response = web.StreamResponse()
        await response.prepare(request)
        await changed.wait()
        for event in events:
            await response.write(json.dumps({"type": "MODIFIED", "object": event}).encode() + b"\n")
        await anyio.sleep_forever()
        return response

    async with ScriptedApi({PODS: [pods], LOG: list(logs)}) as server:
        path = tmp_path / "kubeconfig"
        path.write_text(kubeconfig(server.url))
        connection = await connect(config(kubeconfig_path=path))
        follow = Following(Api(connection), WORKLOAD, **{"instance": None, "lines": 10, **choice})
        try:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(follow.run)
                yield server, follow.receiving, changed
                follow.stop()
        finally:
            await connection.close()


async def received(stream, count):
    with anyio.fail_after(10):
        return [await stream.receive() for _ in range(count)]


async def test_a_log_goes_on_after_the_connection_was_lost(tmp_path):
    """From the last line on, none of them told twice."""
    broken = writing(stamped(1, "one"), stamped(2, "two"), ends=False)
    rest = writing(stamped(2, "two"), stamped(3, "three"), b"without a time\n")
    async with following(tmp_path, [broken, rest]) as (server, stream, _):
        lines = await received(stream, 4)
    assert [line.text for line in lines] == ["one", "two", "three", "without a time"]
    first, second = (each.query for each in server.seen if each.path.endswith("/log"))
    assert (first["tailLines"], second.get("tailLines")) == ("10", None)
    assert second["sinceTime"] == "2030-01-02T00:00:02Z"


async def test_a_container_that_is_started_anew(tmp_path):
    """Its new log is told as well; one that has begun already is not told again."""
    logs = [writing(stamped(1, "first")), writing(stamped(2, "second"))]
    again = [pod(resourceVersion="2"), pod(1, resourceVersion="3")]
    async with following(tmp_path, logs, again) as (server, stream, changed):
        assert [line.text for line in await received(stream, 1)] == ["first"]
        changed.set()
        assert [line.text for line in await received(stream, 1)] == ["second"]
    assert sum(each.path.endswith("/log") for each in server.seen) == 2


@pytest.mark.parametrize("change", [{"instance": "web-2"}, {}])
async def test_what_is_not_followed(tmp_path, change):
    """Pods other than the one that was named, and those that have ended."""
    events = [pod(resourceVersion="2", deletionTimestamp="2030-01-02T00:00:00Z"), pod(1, resourceVersion="3")]
    logs = [writing(stamped(1, "told"))]
    async with following(tmp_path, logs, events, **change) as (server, stream, changed):
        if not change:
            assert [line.text for line in await received(stream, 1)] == ["told"]
        changed.set()
        with anyio.move_on_after(0.2):
            await stream.receive()
            assert not change
    assert sum(each.path.endswith("/log") for each in server.seen) == (0 if change else 2)


async def test_a_pod_that_is_made_anew(tmp_path):
    """A StatefulSet's has the same name, and another log, which is told from its beginning."""
    logs = [writing(stamped(1, "first")), writing(stamped(2, "second"))]
    async with following(tmp_path, logs, [pod(uid="2", resourceVersion="2")]) as (server, stream, changed):
        assert [line.text for line in await received(stream, 1)] == ["first"]
        changed.set()
        assert [line.text for line in await received(stream, 1)] == ["second"]
    first, second = (each.query for each in server.seen if each.path.endswith("/log"))
    assert (first.get("tailLines"), second.get("tailLines")) == ("10", None)


async def test_a_log_that_breaks_before_its_first_line(tmp_path):
    """It is asked for again as it was."""
    logs = [writing(ends=False), writing(stamped(1, "one"))]
    async with following(tmp_path, logs) as (server, stream, _):
        await received(stream, 1)
    assert [each.query["tailLines"] for each in server.seen if each.path.endswith("/log")] == ["10", "10"]


async def test_times_of_a_log_that_goes_on(tmp_path):
    """A node's time zone counts; lines of one moment are told, but those that were told before."""
    zoned = [f"2030-01-02T10:00:0{second}.5+08:00 {text}\n".encode() for second, text in ((1, "a"), (2, "b"))]
    rest = [zoned[1], *(b"2030-01-02T10:00:03.0000000%d+08:00 c\n" % number for number in (1, 2, 3))]
    async with following(tmp_path, [writing(*zoned, ends=False), writing(*rest)]) as (server, stream, _):
        assert [line.text for line in await received(stream, 5)] == ["a", "b", "c", "c", "c"]
    assert server.seen[-1].query["sinceTime"] == "2030-01-02T02:00:02Z"


async def test_the_last_lines_of_some(tmp_path):
    """What has gone is left out; what can't be told is told when all else has been."""
    gone = (404, {"kind": "Status", "code": 404, "message": "pods web-1 not found"})
    down = (500, {"kind": "Status", "code": 500, "message": "the node is down"})
    pods = [pod(), pod(name="web-2"), pod(name="web-3")]
    script = {LOG: [gone], LOG.replace("web-1", "web-2"): [down]}
    script[LOG.replace("web-1", "web-3")] = [writing(stamped(1, "here"))]
    async with ScriptedApi(script) as server:
        path = tmp_path / "kubeconfig"
        path.write_text(kubeconfig(server.url))
        connection = await connect(config(kubeconfig_path=path))
        found = last_lines(Api(connection), pods, instance=None, lines=1, idle=5)
        assert (await anext(found)).text == "here"
        with pytest.raises(RequestError, match="the node is down"):
            await anext(found)
        await connection.close()


async def test_a_log_that_is_gone(tmp_path):
    """Its pod was deleted meanwhile: that ends it, and nothing else."""
    gone = (404, {"kind": "Status", "code": 404, "message": "pods web-1 not found"})
    logs = [gone, writing(stamped(2, "of the next"))]
    async with following(tmp_path, logs, [pod(1, resourceVersion="2")]) as (_, stream, changed):
        changed.set()
        assert [line.text for line in await received(stream, 1)] == ["of the next"]


async def test_a_log_that_may_not_be_read(tmp_path):
    """The last that is received is why."""
    refused = (
        403,
        {"kind": "Status", "code": 403, "message": "pods is forbidden: User x cannot get resource"},
    )
    async with following(tmp_path, [refused]) as (_, stream, _):
        (error,) = await received(stream, 1)
    assert isinstance(error, AuthenticationError)
    assert "cannot get resource" in error.message
