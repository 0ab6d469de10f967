"""An API server for faults of the connection: TLS, answers that break off in the middle, or hang.

For answers that are whole, kmock is enough.
"""

import json
import ssl
from dataclasses import dataclass

from aiohttp import web

from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig


@dataclass
class Seen:
    """One request that came in."""

    method: str
    path: str
    query: dict
    headers: dict
    body: object


class ScriptedApi:
    """Answers with what `script` holds for "METHOD /path"; the last answer stays.

    An answer is a (status, JSON) pair, or (status, JSON, headers), or an async function of the request.
    """

    def __init__(self, script=None, tls=None):
        self.script = {key: list(answers) for key, answers in (script or {}).items()}
        self.seen = []
        self.url = ""
        self._tls: ssl.SSLContext | None = tls
        self._runner = None

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _answer(self, request):
        text = await request.text()
        body = json.loads(text) if text else None
        self.seen.append(Seen(request.method, request.path, dict(request.query), dict(request.headers), body))
        answers = self.script.get(f"{request.method} {request.path}")
        if not answers:
            return web.json_response({"kind": "Status", "message": "not scripted", "code": 404}, status=404)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            return await answer(request)
        status, content, *headers = answer
        return web.json_response(content, status=status, headers=headers[0] if headers else None)


def kubeconfig(server, user=None, cluster=None):
    """Return a kubeconfig's text; JSON is YAML."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
            "users": [{"name": "u", "user": user or {}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        }
    )


def config(**fields):
    """Return a config of the driver."""
    given = {"name": "web", "version": "1.0.0", "namespace": "shop", "image": "web:{version}", **fields}
    return KubernetesDeploymentConfig(**given)
