"""The way to an API server: one ApiClient for each provider, and credentials that are kept fresh.

A 401 is taken once as a sign that the credentials are too old: a plugin is run, a token file read again,
and the request is sent once more. It is safe for any request, since a 401 was not acted upon.
"""

from __future__ import annotations

import errno
import importlib.metadata
import os
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import aiohttp
from aiohttp.http_exceptions import LineTooLong
from anyio import to_thread
from kubernetes_asyncio.client import ApiClient, Configuration
from kubernetes_asyncio.client.rest import RESTClientObject

from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.kubernetes.credentials import Credentials, KeyPair
from aioproviders.deployment.kubernetes.errors import error_of_status, one_line, read_status
from aioproviders.deployment.kubernetes.kubeconfig import Target, find_target
from aioproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RequestError,
)
from aioproviders.redaction import describe

__all__ = ["Answer", "Connection", "connect", "error_of_exception"]

_UNAUTHORIZED = 401
_FAILURE = 400
_SHARE = 0.9
"""Of a request's time, what a credential plugin may take."""


@dataclass(frozen=True)
class Answer:
    """What a request was answered with, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connection:
    """An open connection.

    Attributes:
        server: The API server's URL.
        context: The kubeconfig's context; empty in a pod.
        namespace: The namespace that the context, or the pod's service account, names, if any.
    """

    def __init__(
        self,
        target: Target,
        context: ssl.SSLContext | None,
        conceal: Callable[[str], None],
        user_agent: str,
        patience: float,
    ) -> None:
        self.server = target.server
        self.context = target.context
        self.namespace = target.namespace
        self._target = target
        self._credentials = Credentials(target, conceal, self._use_key_pair, patience)
        self._pool = _Pool(context)
        self._client = _Client(target, self._pool, user_agent)

    async def close(self) -> None:
        """Close it; once is enough."""
        await self._client.close()

    async def send(  # noqa: PLR0913 - a request has as many parts
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> Answer:
        """Send a request and read its answer.

        Args:
            method: The HTTP method.
            path: The path, its parts quoted.
            what: What is asked, for errors.
            query: Query parameters.
            body: JSON.
            headers: Further headers.
            accept: Statuses that are an answer, too, and no failure.

        Raises:
            ProviderError: It failed, see `errors`.
        """
        async with self.open(
            method, path, what, query=query, body=body, headers=headers, accept=accept
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    @asynccontextmanager
    async def open(  # noqa: PLR0913 - a request has as many parts
        self,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; inside, the response can be read, and what fails then is translated, too."""
        try:
            response = await self._begin(method, path, query, body, headers)
            try:
                if response.status >= _FAILURE and response.status not in accept:
                    status = read_status(await response.read())
                    raise error_of_status(response.status, status, what, response.headers)
                yield response
            finally:
                # Released where all of it was read, else the connection is closed.
                if not response.closed:
                    response.close()
        except ProviderError:
            raise  # some are OSErrors, too
        except LineTooLong:  # which is no ClientError, and shows what was read
            raise RequestError(f"{what}: a line is too long to be read", retryable=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise error_of_exception(error, what, self.server) from error

    async def _begin(
        self, method: str, path: str, query: Any, body: Any, headers: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        again = False
        while True:
            shown = await self._credentials.headers()
            generation = self._credentials.generation
            response: aiohttp.ClientResponse = await self._client.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", **(headers or {}), **shown},
                body=body,
                _preload_content=False,
            )
            if response.status != _UNAUTHORIZED or again:
                return response
            try:
                renewed = await self._credentials.renew(generation)
            except BaseException:
                response.close()
                raise
            if not renewed:
                return response
            response.close()
            again = True

    def _use_key_pair(self, pair: KeyPair) -> None:
        """Show another certificate from now on; called in a worker thread."""
        if self._pool.context is not None:
            target = replace(self._target, certificate=pair.certificate, key=pair.key)
            self._pool.context = _tls_context(target)


class _Client(ApiClient):
    """An ApiClient that reads no file, since its TLS context is made elsewhere."""

    def __init__(self, target: Target, pool: _Pool, user_agent: str) -> None:
        # Not super(): that one makes a TLS context on the event loop.
        self.configuration = Configuration(host=target.server)
        self.client_side_validation = False
        self.pool_threads = 1
        self.cookie = ""
        self.default_headers = {}
        self.rest_client = _Rest(target, pool)
        self.user_agent = user_agent


class _Rest(RESTClientObject):
    def __init__(self, target: Target, pool: _Pool) -> None:
        self.server_hostname = target.server_name or ""
        self.proxy = target.proxy or ""
        self.proxy_headers = {}
        self.pool_manager = cast("aiohttp.ClientSession", pool)  # of which it calls these two methods


class _Pool:
    """A session whose TLS context can be another from now on.

    Connections are kept by context, so that those with the old certificate are not used again; they close
    by themselves.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.context = context
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            # With it, aiohttp would look for a .netrc at each request that shows no token.
            trust_env=False,
            # An event of a watch is one line, and etcd takes objects of 1.5 MiB.
            read_bufsize=2**21,
        )

    async def request(self, **given: Any) -> aiohttp.ClientResponse:
        return await self._session.request(**given, ssl=True if self.context is None else self.context)

    async def close(self) -> None:
        await self._session.close()


async def connect(
    config: KubernetesDeploymentConfig, conceal: Callable[[str], None] = lambda _: None
) -> Connection:
    """Read the configuration and make the client; no request is sent. Call it in ``initialize``.

    Args:
        config: The provider's.
        conceal: Told of tokens and passwords; a provider's `conceal`.

    Raises:
        ConfigurationError: There is no configuration, it is broken, or has no such context.
    """

    def read() -> tuple[Target, ssl.SSLContext | None, str]:
        target = find_target(config.kubeconfig_path, config.context)
        context = _tls_context(target) if target.server.startswith("https:") else None
        return target, context, f"aioproviders/{importlib.metadata.version('aioproviders')}"

    target, context, user_agent = await to_thread.run_sync(read)
    # Within the request's own time, or nobody would hear what it was that took so long.
    patience = config.timeout_ms / 1000 * _SHARE
    return Connection(target, context, conceal, user_agent, patience)


def _tls_context(target: Target) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=target.ca.decode("ascii") if target.ca else None)
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise ConfigurationError(
            f"{target.source}: 'certificate-authority' is no certificate in PEM"
        ) from None
    # Python 3.13 is strict about extensions that many clusters' authorities lack, and Go is not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if target.certificate is not None and target.key is not None:
        _load(context, KeyPair(target.certificate, target.key), target.source)
    return context


def _load(context: ssl.SSLContext, pair: KeyPair, source: str) -> None:
    """Give a context a client certificate, for connections from now on; it takes files only."""
    with tempfile.TemporaryDirectory(prefix="aioproviders-") as folder:
        certificate, key = Path(folder, "crt"), Path(folder, "key")
        certificate.write_bytes(pair.certificate)
        key.write_bytes(pair.key)
        try:
            context.load_cert_chain(certificate, key, password="")
        except (ssl.SSLError, ValueError):
            raise ConfigurationError(
                f"{source}: the client certificate and its key don't fit together"
            ) from None


def error_of_exception(  # noqa: PLR0911 - one table
    exc: Exception, what: str, server: str
) -> ProviderError:
    """Return the error for a request that got no whole answer.

    Args:
        exc: What aiohttp or kubernetes_asyncio raised.
        what: What was asked.
        server: The API server's URL.
    """
    if isinstance(exc, ProviderError):
        return exc
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return ProviderUnavailableError(f"{what}: the proxy answered {exc.status}", sent=False)
    if isinstance(exc, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError)):
        return ConfigurationError(f"{server!r} is no URL of an API server", sent=False)
    tls = _tls_error(exc)
    if tls is not None:
        return _tls_failure(tls, what, server)
    if isinstance(exc, aiohttp.ClientConnectorError):
        # Asyncio's own, for a server that hangs up during the handshake, says nothing.
        reason = _told_by_system(exc.os_error) or "it hung up"
        return ProviderUnavailableError(f"{what}: can't connect to {server}: {reason}", sent=False)
    if isinstance(exc, TimeoutError):
        return ProviderTimeoutError(f"{what}: {server} did not answer in time")
    if isinstance(exc, (aiohttp.ClientError, ConnectionError)):
        return ProviderUnavailableError(f"{what}: {server} dropped the connection ({describe(exc)})")
    return RequestError(f"{what}: {describe(exc)}", retryable=False)


def _told_by_system(error: OSError) -> str:
    """Return the system's own word; asyncio's names the address once more instead."""
    if error.errno is not None and error.errno in errno.errorcode and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _tls_failure(tls: ssl.SSLError | ssl.CertificateError, what: str, server: str) -> ProviderError:
    """Return the error for a TLS handshake that failed."""
    reason = getattr(tls, "verify_message", "") or getattr(tls, "reason", "") or str(tls)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return ConfigurationError(
            f"{what}: the certificate of {server} can't be trusted: {one_line(str(reason))}; "
            "the kubeconfig's certificate-authority should be the one that signed it",
            sent=False,
        )
    if "alert" in str(tls).lower():
        return AuthenticationError(f"{what}: {server} refused the client certificate ({reason})", sent=False)
    return ProviderUnavailableError(f"{what}: no TLS with {server}: {one_line(str(reason))}", sent=False)


def _tls_error(exc: BaseException | None) -> ssl.SSLError | None:
    while exc is not None:
        # It is an SSLError itself, and one that says all twice.
        if isinstance(exc, aiohttp.ClientConnectorCertificateError):
            inner = exc.certificate_error
            return inner if isinstance(inner, ssl.SSLError) else None
        if isinstance(exc, ssl.SSLError):
            return exc
        if isinstance(exc, aiohttp.ClientConnectorError) and isinstance(exc.os_error, ssl.SSLError):
            return exc.os_error
        exc = exc.__cause__
    return None
