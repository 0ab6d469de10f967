"""Requests and streams: what goes over the wire, and what becomes of failures."""

import sys
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
import pytest
from aiohttp import web
from scripted_api import ScriptedApi, config, kubeconfig

from aioproviders.deployment.kubernetes import KubernetesDeploymentProvider
from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.connection import connect
from aioproviders.deployment.kubernetes.errors import FieldConflictError, GoneError
from aioproviders.deployment.kubernetes.health import cluster_health
from aioproviders.deployment.kubernetes.objects import Ref
from aioproviders.deployment.kubernetes.output import last_lines
from aioproviders.deployment.kubernetes.resources import Resources
from aioproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestError,
)

WEB = Ref("apps/v1", "Deployment", "shop", "web")
PATH = "/apis/apps/v1/namespaces/shop/deployments"


@pytest.fixture
def reach(tmp_path):
    """Return an async context manager: script -> the scripted server, and an API to it."""

    @asynccontextmanager
    async def reach(script, run=None):
        async with ScriptedApi(script) as server:
            path = tmp_path / "kubeconfig"
            path.write_text(kubeconfig(server.url))
            connection = await connect(config(kubeconfig_path=path))
            try:
                yield server, Api(connection, run)
            finally:
                await connection.close()

    return reach


def status(code, message="no", **more):
    """Return an answer that is a failure."""
    return code, {"kind": "Status", "code": code, "message": message, **more}


async def failure(reach, answer):
    """Return the error that an answer to GET becomes."""
    async with reach({f"GET {PATH}/web": [answer]}) as (_, api):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what the tests look at
            await api.get(WEB)
    return caught.value


# Requests.


async def test_apply_is_strict_and_says_who_it_is(reach):
    """Server-side apply with our manager, unforced; a dry run says so."""
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}
    async with reach({f"PATCH {PATH}/web": [(200, {"done": True})]}) as (server, api):
        assert await api.apply(obj) == {"done": True}
        await api.apply(obj, force=True, dry_run=True, manager="other")
    usual, other = server.seen
    assert usual.headers["Content-Type"] == "application/apply-patch+yaml"
    assert usual.body == obj
    assert usual.query == {"fieldManager": "aioproviders", "force": "false", "fieldValidation": "Strict"}
    assert (other.query["fieldManager"], other.query["force"], other.query["dryRun"]) == (
        "other",
        "true",
        "All",
    )


async def test_a_patch_of_a_subresource(reach):
    """A merge patch, at the subresource's path."""
    async with reach({f"PATCH {PATH}/web/scale": [(200, {})]}) as (server, api):
        await api.patch(WEB, {"spec": {"replicas": 2}}, subresource="scale")
    (seen,) = server.seen
    assert seen.headers["Content-Type"] == "application/merge-patch+json"
    assert seen.body == {"spec": {"replicas": 2}}


async def test_a_list_has_all_pages(reach):
    """The items of each, and the selectors in each request."""
    pages = [
        (200, {"metadata": {"continue": "more"}, "items": [1]}),
        (200, {"metadata": {}, "items": [2]}),
    ]
    async with reach({f"GET {PATH}": pages}) as (server, api):
        listed = await api.list("apps/v1", "Deployment", "shop", labels="a=b", metadata_only=True)
    assert listed["items"] == [1, 2]
    assert [seen.query.get("continue") for seen in server.seen] == [None, "more"]
    assert {seen.query["labelSelector"] for seen in server.seen} == {"a=b"}
    assert all("PartialObjectMetadataList" in seen.headers["Accept"] for seen in server.seen)


async def test_deleting_what_is_not_there(reach):
    """It is said, and is no failure; the uid is a condition."""
    async with reach({f"DELETE {PATH}/web": [(200, {}), status(404)]}) as (server, api):
        assert await api.delete(WEB, uid="u-1") is True
        assert await api.delete(WEB) is False
    assert server.seen[0].body["preconditions"] == {"uid": "u-1"}
    assert server.seen[0].body["propagationPolicy"] == "Background"


async def test_each_request_is_an_attempt_of_the_hook(reach):
    """It is told whether repeating does no harm; streams and the bare API go around it."""
    told = []

    async def run(attempt, idempotent):
        told.append(idempotent)
        return await attempt()

    script = {f"GET {PATH}/web": [(200, {})], f"POST {PATH}": [(201, {})]}
    async with reach(script, run) as (_, api):
        await api.get(WEB)
        await api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "shop"}})
        await api.bare().get(WEB)
        async with aclosing(api.lines(f"{PATH}/web")) as lines:
            assert [line async for line in lines] == [b"{}"]
    assert told == [True, False]
    assert api.requests == 2


@pytest.fixture
def provide(tmp_path):
    """Return an async context manager: script -> the scripted server, and a provider's own API to it."""

    @asynccontextmanager
    async def provide(script):
        async with ScriptedApi(script) as server:
            path = tmp_path / "kubeconfig"
            path.write_text(kubeconfig(server.url))
            limits = {"timeout_ms": 300, "retry_attempts": 3, "backoff_initial_ms": 1, "backoff_max_ms": 1}
            async with KubernetesDeploymentProvider(config(kubeconfig_path=path, **limits)) as provider:
                yield server, provider._api

    return provide


async def test_a_provider_tries_again(provide):
    """What is idempotent after any failure of the server's, what is not only where it surely did nothing."""
    plain = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}
    script = {
        f"PATCH {PATH}/web": [status(500), status(503), (200, {"applied": 1})],
        f"POST {PATH}": [status(503), status(500), (201, {})],
    }
    async with provide(script) as (server, api):
        assert await api.apply(plain) == {"applied": 1}
        with pytest.raises(RequestError) as caught:
            await api.create(plain)
    assert caught.value.status_code == 500
    assert [seen.method for seen in server.seen] == ["PATCH"] * 3 + ["POST"] * 2


async def test_a_provider_bounds_each_attempt(provide):
    """An answer that does not come in time is given up, and asked for again."""

    async def hang(_):
        await anyio.sleep_forever()

    async with provide({f"GET {PATH}/web": [hang, (200, {"found": 1})]}) as (server, api):
        assert await api.get(WEB) == {"found": 1}
    assert len(server.seen) == 2


async def test_unknown_kinds_are_discovered_once():
    """By the group's list of resources, subresources left aside; a missing kind is asked for again."""
    asked = []

    async def discover(path):
        asked.append(path)
        if "nowhere" in path:
            raise NotFoundError
        return {
            "resources": [
                {"name": "gadgets/status", "kind": "Gadget", "namespaced": False},
                {"name": "gadgets", "kind": "Gadget", "namespaced": True},
            ]
        }

    resources = Resources(discover)
    for _ in range(2):
        assert await resources.of("example.org/v1", "Gadget") == ("gadgets", True)
    assert await resources.of("apps/v1", "Deployment") == ("deployments", True)
    with pytest.raises(ConfigurationError, match="no kind 'Gadget' in 'nowhere/v1'"):
        await resources.of("nowhere/v1", "Gadget")
    assert asked == ["/apis/example.org/v1", "/apis/nowhere/v1"]


# Failures.


@pytest.mark.parametrize(
    ("answer", "kind", "retryable", "sent"),
    [
        (status(401), AuthenticationError, False, False),
        (status(403, 'pods is forbidden: User "x" cannot list'), AuthenticationError, False, False),
        (status(403, 'pods "x" is forbidden: exceeded quota'), RequestError, False, False),
        (status(404), NotFoundError, False, True),
        (status(409), ConflictError, False, False),
        (status(410), GoneError, False, True),
        (status(400), ConfigurationError, False, False),
        (status(429), RateLimitedError, True, False),
        (status(500), RequestError, True, True),
        (status(503), RequestError, True, False),
        (status(504), RequestError, True, True),
    ],
)
async def test_what_statuses_mean(reach, answer, kind, retryable, sent):
    """Which error, whether it is worth a retry, and whether it may have been acted upon."""
    error = await failure(reach, answer)
    assert type(error) is kind
    assert (error.retryable, error.sent) == (retryable, sent)
    assert error.status_code == answer[0]
    assert "Deployment/web in shop" in error.message


async def test_when_to_come_back(reach):
    """Retry-After, or what the details say."""
    by_header = await failure(reach, (*status(429), {"Retry-After": "3"}))
    by_details = await failure(reach, status(503, details={"retryAfterSeconds": 2}))
    assert (by_header.retry_after, by_details.retry_after) == (3.0, 2.0)


async def test_bad_fields_are_all_named_in_a_line(reach):
    """With the server's reason for each."""
    causes = [
        {"reason": "FieldValueRequired", "message": "Required value:\n x", "field": "spec.a"},
        {"reason": "FieldValueInvalid", "message": "Invalid value", "field": "spec.b"},
    ]
    error = await failure(reach, status(422, "long", details={"causes": causes}))
    assert error.message == "get Deployment/web in shop: spec.a: Required value: x; spec.b: Invalid value"


async def test_what_is_wrong_with_several_fields_is_said_once(reach):
    """And of what can't be changed, what would help."""
    message = "Invalid value: 1: field is immutable"
    causes = [{"reason": "FieldValueInvalid", "message": message, "field": f"spec.{name}"} for name in "ab"]
    error = await failure(reach, status(422, "long", details={"causes": causes}))
    assert error.message == (
        f"get Deployment/web in shop: spec.a, spec.b: {message}; delete it first, or give it another name"
    )


async def test_all_conflicts_are_named(reach):
    """Field and manager of each; not requests and notes of our own, where others are in the way."""
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "helm" using apps/v1',
            "field": ".spec.a",
        },
        {"reason": "FieldManagerConflict", "message": "conflict", "field": ".spec.b"},
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "aioproviders" with subresource "scale"',
            "field": ".spec.c",
        },
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl"',
            "field": ".metadata.annotations.aioproviders.dev/release",
        },
    ]
    error = await failure(reach, status(409, details={"causes": causes}))
    assert isinstance(error, FieldConflictError)
    assert error.conflicts == (
        ("spec.a", "helm"),
        ("spec.b", "another manager"),
        ("spec.c", "aioproviders"),
        ("metadata.annotations.aioproviders.dev/release", "kubectl"),
    )
    assert ": spec.a is owned by helm, spec.b is owned by another manager; leave it out" in error.message


async def test_an_answer_that_is_no_json(reach):
    """A proxy's page is no object; and its failure's text is kept short, in one line."""

    async def page(_):
        return web.Response(text="<html>\nhello")

    async def failing(_):
        return web.Response(status=502, text="bad\n" + "x" * 5000)

    assert "is no JSON object" in (await failure(reach, page)).message
    error = await failure(reach, failing)
    assert "\n" not in error.message
    assert len(error.message) < 1200


async def test_an_answer_that_breaks_off(reach):
    """The connection was lost."""

    async def half(request):
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        request.transport.abort()
        return response

    assert isinstance(await failure(reach, half), ProviderUnavailableError)


# Streams.


def streaming(*chunks, hang=False):
    """Return an answer that comes in chunks."""

    async def answer(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk)
        if hang:
            await anyio.sleep_forever()
        return response

    return answer


async def events(api, **more):
    """Return the events of a watch."""
    async with aclosing(api.watch("apps/v1", "Deployment", "shop", resource_version="7", **more)) as watch:
        opened, *seen = [event async for event in watch]
    assert opened == {"type": "OPENED", "object": {}}
    return seen


async def test_a_watch_yields_its_events(reach):
    """However they are cut; it asks for bookmarks, from where it was told to."""
    parts = [b'{"type":"ADDED",', b'"object":{"a":1}}\n{"type":"BOOKMARK","object":{}}', b"\n"]
    async with reach({f"GET {PATH}": [streaming(*parts)]}) as (server, api):
        seen = await events(api, fields="metadata.name=web", server_timeout=30)
    assert [(event["type"], event["object"]) for event in seen] == [("ADDED", {"a": 1}), ("BOOKMARK", {})]
    assert server.seen[0].query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "7",
        "timeoutSeconds": "30",
        "fieldSelector": "metadata.name=web",
    }


@pytest.mark.parametrize(
    "answer",
    [
        status(410, "too old"),
        streaming(b'{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}\n'),
    ],
)
async def test_a_version_that_is_too_old(reach, answer):
    """By status or by event, it is the same."""
    async with reach({f"GET {PATH}": [answer]}) as (_, api):
        with pytest.raises(GoneError, match="too old"):
            await events(api)


async def test_a_silent_stream_is_given_up(reach):
    """Nothing comes: the connection is taken for dead."""
    line = b'{"type":"ADDED","object":{}}\n'
    async with reach({f"GET {PATH}": [streaming(line, hang=True)]}) as (_, api):
        with pytest.raises(ProviderUnavailableError, match=r"nothing came for 0.2 s"):
            await events(api, idle=0.2)


async def test_a_watch_that_is_cut(reach):
    """The connection was lost, which can be told from its end."""

    async def cut(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED","object":{}}\n{"type"')
        request.transport.abort()
        return response

    async with reach({f"GET {PATH}": [cut]}) as (_, api):
        with pytest.raises(ProviderUnavailableError):
            await events(api)


async def test_leaving_a_stream_closes_it(reach):
    """The server sees the connection go."""
    gone = anyio.Event()

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"line\r\n")
                await anyio.sleep(0.01)
        except (ConnectionError, anyio.get_cancelled_exc_class()):
            gone.set()
            raise

    async with reach({"GET /log": [endless]}) as (_, api):
        async with aclosing(api.lines("/log")) as lines:
            assert await anext(lines) == b"line"
        with anyio.fail_after(10):
            await gone.wait()


async def test_leaving_the_last_lines_closes_their_streams(reach):
    """There and then, and not when the garbage is collected."""
    left, finalizer = [], sys.get_asyncgen_hooks().finalizer
    pod = {
        "metadata": {"name": "web-1", "namespace": "shop"},
        "status": {"containerStatuses": [{"name": "web", "state": {"running": {}}}]},
    }

    def note(generator):
        left.append(generator.__qualname__)
        finalizer(generator)

    async def lines(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\ntwo\n")
        await anyio.sleep_forever()

    path = "GET /api/v1/namespaces/shop/pods/web-1/log"
    async with reach({path: [lines]}) as (_, api):
        sys.set_asyncgen_hooks(finalizer=note)
        try:
            async with aclosing(last_lines(api, [pod], instance=None, lines=2)) as found:
                assert (await anext(found)).text == "one"
            del found
        finally:
            sys.set_asyncgen_hooks(finalizer=finalizer)
    assert left == []


async def test_a_line_without_end(reach):
    """What is longer than can be held is an error, not a failure of ours."""

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"x" * 1_000_000)
        return response

    async with reach({"GET /log": [endless]}) as (_, api):
        with pytest.raises(RequestError, match="read /log: a line is too long to be read"):
            async for _ in api.lines("/log"):
                pass


# Health.


async def test_checks_that_fail_are_named(reach):
    """A server that isn't ready is unhealthy."""

    async def unready(_):
        return web.Response(
            status=500, text="[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed"
        )

    script = {
        "GET /readyz": [unready],
        "GET /version": [(200, {"gitVersion": "v1.34.0"})],
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews": [(201, {"status": {"allowed": True}})],
    }
    async with reach(script) as (_, api):
        health = await cluster_health(api, "shop")
    assert health["status"] == "unhealthy"
    assert health["error"] == "the API server is not ready: etcd"
    assert health["details"]["failed_checks"] == ["etcd"]
    assert health["details"]["version"] == "v1.34.0"


async def test_a_cluster_that_can_not_be_reached_is_an_error(tmp_path, unused_tcp_port):
    """Nothing is known of its health."""
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(f"http://127.0.0.1:{unused_tcp_port}"))
    connection = await connect(config(kubeconfig_path=path))
    with pytest.raises(ProviderUnavailableError):
        await cluster_health(Api(connection), "shop")
    await connection.close()
