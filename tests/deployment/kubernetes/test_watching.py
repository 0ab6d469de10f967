"""Watching through faults that a real server shows too seldom, on a scripted one."""

import json
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from aiohttp import web
from scripted_api import ScriptedApi, config, kubeconfig

from aioproviders.deployment.kubernetes import watching
from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.connection import connect
from aioproviders.deployment.kubernetes.watching import Mirror
from aioproviders.errors import AuthenticationError

PODS = "/api/v1/namespaces/shop/pods"


def pod(name, version, uid=None):
    metadata = {"name": name, "uid": uid or name, "resourceVersion": version}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def listed(version, *pods):
    items = [{key: value for key, value in item.items() if key == "metadata"} for item in pods]
    return {"kind": "PodList", "metadata": {"resourceVersion": version}, "items": items}


def event(kind, obj):
    return {"type": kind, "object": obj}


def bookmark(version):
    return event("BOOKMARK", {"kind": "Pod", "metadata": {"resourceVersion": version}})


def gone():
    return event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})


def status(code, **more):
    return {"kind": "Status", "code": code, "message": "no", **more}


class Server:
    """Answers lists and watches of pods, each with the next of what it is given; then watches hang."""

    def __init__(self, lists, watches):
        self.lists, self.watches = list(lists), list(watches)
        self.asked = []

    async def answer(self, request):
        watch = request.query.get("watch")
        self.asked.append(("watch", request.query["resourceVersion"]) if watch else ("list", ""))
        if not watch:
            answer = self.lists.pop(0)
            code = answer["code"] if answer["kind"] == "Status" else 200
            return web.json_response(answer, status=code)
        if self.watches and isinstance(self.watches[0], int):
            code = self.watches.pop(0)
            return web.json_response(status(code), status=code)
        response = web.StreamResponse()
        await response.prepare(request)
        if not self.watches:
            await anyio.sleep_forever()
        for line in self.watches.pop(0):
            if line == "hang":
                await anyio.sleep_forever()
            if line == "break":
                request.transport.abort()
                return response
            await response.write(json.dumps(line).encode() + b"\n")
        return response


@asynccontextmanager
async def mirror_of(tmp_path, server, **more):
    script = {f"GET {PODS}": [server.answer]}
    async with ScriptedApi(script) as scripted:
        path = tmp_path / "config"
        path.write_text(kubeconfig(scripted.url))
        connection = await connect(config(kubeconfig_path=path))
        mirror = Mirror(Api(connection), "v1", "Pod", "shop", **more)
        try:
            async with aclosing(mirror.changes()) as changes:
                yield mirror, changes
        finally:
            await connection.close()


async def take(changes, count):
    """Return the next changes: type and name."""
    told = []
    with anyio.fail_after(20):
        async for happened in changes:
            told.append((happened.type, happened.object.get("metadata", {}).get("name")))
            if len(told) == count:
                return told
    raise AssertionError(told)


async def test_what_is_there_and_what_comes(tmp_path):
    """All that a list has is told, then that it is all, then each change; bookmarks are not."""
    server = Server(
        [listed("5", pod("a", "3"))],
        [
            [
                event("ADDED", pod("b", "6")),
                bookmark("7"),
                event("MODIFIED", pod("a", "8")),
                event("DELETED", pod("b", "9")),
            ]
        ],
    )
    async with mirror_of(tmp_path, server) as (mirror, changes):
        assert await take(changes, 2) == [("ADDED", "a"), ("SYNCED", None)]
        assert mirror.synced
        assert await take(changes, 3) == [("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
        assert set(mirror.objects) == {"a"}
        assert mirror.objects["a"]["kind"] == "Pod"


async def test_a_connection_that_breaks(tmp_path):
    """The next watch begins where the last one was, bookmarks included; nothing is listed anew."""
    server = Server(
        [listed("5")],
        [[event("ADDED", pod("a", "6")), bookmark("9"), "break"], [event("DELETED", pod("a", "10"))]],
    )
    async with mirror_of(tmp_path, server) as (_, changes):
        assert await take(changes, 3) == [("SYNCED", None), ("ADDED", "a"), ("DELETED", "a")]
    assert server.asked == [("list", ""), ("watch", "5"), ("watch", "9")]


@pytest.mark.parametrize("expired", [[gone()], 410])
async def test_a_version_that_is_too_old(tmp_path, expired):
    """It is listed anew, and what has happened meanwhile is told, deletions too."""
    server = Server(
        [
            listed("5", pod("a", "1"), pod("b", "2"), pod("c", "3"), pod("d", "4")),
            listed("20", pod("a", "1"), pod("b", "12"), pod("d", "13", uid="d2"), pod("e", "14")),
        ],
        [expired],
    )
    async with mirror_of(tmp_path, server) as (mirror, changes):
        await take(changes, 5)
        told = await take(changes, 6)
        assert told[:-1] == [
            ("MODIFIED", "b"),
            ("DELETED", "d"),
            ("ADDED", "d"),
            ("ADDED", "e"),
            ("DELETED", "c"),
        ]
        assert set(mirror.objects) == {"a", "b", "d", "e"}
        assert server.asked[:3] == [("list", ""), ("watch", "5"), ("list", "")]


async def test_silence(tmp_path, monkeypatch):
    """A watch on which nothing comes is begun anew."""
    monkeypatch.setattr(watching, "_IDLE", 0.1)
    server = Server([listed("5")], [["hang"], [event("ADDED", pod("a", "6"))]])
    async with mirror_of(tmp_path, server) as (_, changes):
        assert await take(changes, 2) == [("SYNCED", None), ("ADDED", "a")]


async def test_a_server_in_trouble(tmp_path):
    """A list that fails on the server's side is asked for again; twice in a row is told, once."""
    server = Server([status(503), status(500), status(503), listed("5", pod("a", "3"))], [])
    async with mirror_of(tmp_path, server) as (mirror, changes):
        assert await take(changes, 1) == [("LOST", None)]
        assert mirror.lost.status_code == 500
        assert await take(changes, 3) == [("FOUND", None), ("ADDED", "a"), ("SYNCED", None)]
        assert mirror.lost is None


async def test_what_is_not_allowed(tmp_path):
    """Trying again would not help."""
    refusal = status(403, reason="Forbidden")
    refusal["message"] = 'pods is forbidden: User "x" cannot list resource "pods"'
    async with mirror_of(tmp_path, Server([refusal], [])) as (_, changes):
        with pytest.raises(AuthenticationError):
            await take(changes, 1)


async def test_a_server_that_has_just_come_up(tmp_path, monkeypatch):
    """It may refuse for a while what it has allowed before; but not for ever."""
    monkeypatch.setattr(watching, "_LONGEST_WAIT", 0.001)
    server = Server([listed("5")], [401, 401, [event("ADDED", pod("a", "6"))], *[401] * 30])
    async with mirror_of(tmp_path, server) as (_, changes):
        assert await take(changes, 2) == [("SYNCED", None), ("ADDED", "a")]
        with pytest.raises(AuthenticationError):
            await take(changes, 1)


async def test_one_that_is_known_is_not_listed(tmp_path):
    """The watch begins where the request was that returned it."""
    server = Server([], [[event("DELETED", pod("a", "8"))]])
    async with mirror_of(tmp_path, server, fields="metadata.name=a", known=pod("a", "7")) as (
        mirror,
        changes,
    ):
        assert mirror.synced
        assert await take(changes, 1) == [("DELETED", "a")]
        assert mirror.objects == {}
    assert server.asked[0] == ("watch", "7")
