"""What a request shows of who sends it, kept fresh: token files are read again, plugins run again."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import anyio
from anyio import to_thread

from aioproviders.deployment.kubernetes.kubeconfig import Target
from aioproviders.deployment.kubernetes.yaml_documents import read_text
from aioproviders.errors import AuthenticationError, ConfigurationError

__all__ = ["Credentials", "KeyPair"]

_REREAD = 60.0
"""Seconds after which a token file is read again; client-go's number. Kubelets renew them well ahead."""
_AHEAD = 10.0
"""Seconds before its end that a plugin's credential is renewed."""
_API = "client.authentication.k8s.io/"


class KeyPair(NamedTuple):
    """A client certificate and its key, PEM."""

    certificate: bytes
    key: bytes


class Credentials:
    """The credentials of one target.

    Args:
        target: What the kubeconfig says.
        conceal: Told of each secret before it is used.
        on_key_pair: Told of each certificate that a plugin gives.
        patience: How many seconds a plugin may take.
    """

    def __init__(
        self,
        target: Target,
        conceal: Callable[[str], None],
        on_key_pair: Callable[[KeyPair], Any],
        patience: float,
    ) -> None:
        self._target = target
        self._conceal = conceal
        self._on_key_pair = on_key_pair
        self._patience = patience
        self._lock = anyio.Lock()
        self._token: str | None = None
        self._stale = True
        self._until = 0.0
        self._generation = 0
        for secret in (target.token, target.basic and target.basic[1]):
            if secret:
                conceal(secret)

    @property
    def generation(self) -> int:
        """Number that changes with each renewal; what `renew` wants to know."""
        return self._generation

    async def headers(self) -> dict[str, str]:
        """Return the headers that say who we are, renewed where their time is over.

        Raises:
            AuthenticationError: A plugin failed.
            ConfigurationError: A plugin or a token file is not there.
        """
        target = self._target
        if target.exec is not None or target.token_file is not None:
            if self._is_old():
                async with self._lock:
                    if self._is_old():
                        await self._fetch()
            token = self._token
        else:
            token = target.token
        shown = dict(target.impersonate)
        if token:
            shown["Authorization"] = f"Bearer {token}"
        elif target.basic is not None:
            shown["Authorization"] = "Basic " + base64.b64encode(":".join(target.basic).encode()).decode()
        return shown

    async def renew(self, generation: int) -> bool:
        """Get new credentials after a 401; whether there is a point in asking again.

        Args:
            generation: That of the credentials that were refused: others may have renewed them meanwhile.
        """
        if self._target.exec is None and self._target.token_file is None:
            return False
        async with self._lock:
            if generation == self._generation:
                before = self._token
                await self._fetch()
                return self._target.exec is not None or self._token != before
        return True

    def _is_old(self) -> bool:
        return self._stale or time.time() >= self._until

    async def _fetch(self) -> None:
        if self._target.exec is not None:
            self._until = await self._run_plugin(self._target.exec)
        elif self._target.token_file is not None:
            self._token = await to_thread.run_sync(_read_token, self._target.token_file)
            self._until = time.time() + _REREAD
        if self._token:
            self._conceal(self._token)
        self._stale = False
        self._generation += 1

    async def _run_plugin(self, settings: Mapping[str, Any]) -> float:
        name, status = await _plugin_status(settings, self._target, self._patience)
        token, certificate, key = (
            status.get("token"), status.get("clientCertificateData"), status.get("clientKeyData")
        )  # fmt: skip
        if not token and not (certificate and key):
            raise AuthenticationError(
                f"{name}: gave neither a token nor a certificate with its key", sent=False
            )
        self._token = token
        if certificate and key:
            await to_thread.run_sync(self._on_key_pair, KeyPair(certificate.encode(), key.encode()))
        expires = status.get("expirationTimestamp")
        return _seconds(expires, name) - _AHEAD if expires else float("inf")


def _read_token(path: Path) -> str:
    token = read_text(path).strip()
    if not token:
        raise ConfigurationError(f"{path}: the token file is empty")
    return token


def _seconds(text: str, name: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise AuthenticationError(f"{name}: expirationTimestamp {text!r} is no time", sent=False) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


async def _plugin_status(
    settings: Mapping[str, Any], target: Target, patience: float
) -> tuple[str, Mapping[str, Any]]:
    """Run a plugin for some seconds at most; return what to call it in errors, and the credential's status.

    Source: Kubernetes documentation, "client-go credential plugins".
    """
    command = str(settings["command"])
    name = f"{target.source}: the plugin {command!r}"
    version = str(settings.get("apiVersion") or _API + "v1")
    spec: dict[str, Any] = {"interactive": False}
    if settings.get("provideClusterInfo"):
        spec["cluster"] = _cluster_info(target)
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    extra = {str(item["name"]): str(item["value"]) for item in settings.get("env") or ()}
    if os.sep in command:
        command = str(target.exec_folder / command)
    try:
        with anyio.fail_after(patience):
            process = await anyio.run_process(
                [command, *map(str, settings.get("args") or ())],
                env={**os.environ, **extra, "KUBERNETES_EXEC_INFO": json.dumps(info)},
                check=False,
            )
    except TimeoutError:
        raise AuthenticationError(f"{name} has not ended within {patience:g} s", sent=False) from None
    except OSError as error:
        hint = " ".join(str(settings.get("installHint") or "").split())
        told = f"{name} can't be run: {error.strerror or error}"
        raise ConfigurationError(f"{told}; {hint}" if hint else told) from error
    if process.returncode != 0:
        said = process.stderr.decode(errors="replace").strip().splitlines()
        raise AuthenticationError(
            f"{name} ended with {process.returncode}: {said[-1].strip() if said else 'it says nothing'}",
            sent=False,
        )
    try:
        credential = json.loads(process.stdout)
        status = credential["status"]
        if credential["apiVersion"] != version or not isinstance(status, dict):
            raise ValueError(version)
    except (ValueError, KeyError, TypeError):
        # What it printed may be a secret.
        raise AuthenticationError(f"{name} printed no ExecCredential of {version}", sent=False) from None
    return name, status


def _cluster_info(target: Target) -> dict[str, Any]:
    info: dict[str, Any] = {"server": target.server}
    if target.ca:
        info["certificate-authority-data"] = base64.b64encode(target.ca).decode()
    if not target.verify:
        info["insecure-skip-tls-verify"] = True
    if target.server_name:
        info["tls-server-name"] = target.server_name
    if target.proxy:
        info["proxy-url"] = target.proxy
    return info
