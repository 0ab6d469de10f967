"""Finding out from kubeconfigs, or from the pod that this runs in, which API server is meant and who asks.

All functions read files: call them in a worker thread.

Source: Kubernetes documentation, "Organizing Cluster Access Using kubeconfig Files".
"""

from __future__ import annotations

import base64
import binascii
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aioproviders.deployment.kubernetes.yaml_documents import read_documents, read_text
from aioproviders.errors import ConfigurationError

__all__ = ["Target", "find_target"]

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECTIONS = ("clusters", "contexts", "users")


@dataclass(frozen=True)
class Target:
    """An API server, and who we are to it.

    Attributes:
        server: URL without a slash at its end.
        source: Where this is from, for errors.
        context: The context's name; empty in a pod.
        namespace: The namespace it names, if any.
        ca: Certificates of authorities, PEM; None for the system's.
        verify: Whether the server's certificate is checked.
        server_name: The name that the certificate is for, where it is not the URL's.
        proxy: URL of a proxy.
        certificate: Our certificate, PEM.
        key: Its key, PEM.
        token: A bearer token.
        token_file: File of one, which may change.
        basic: User name and password.
        exec: A plugin to run for credentials, as the kubeconfig has it.
        exec_folder: What its relative paths start from.
        impersonate: Headers that say as whom to act.
    """

    server: str
    source: str
    context: str = ""
    namespace: str | None = None
    ca: bytes | None = field(default=None, repr=False)
    verify: bool = True
    server_name: str | None = None
    proxy: str | None = field(default=None, repr=False)
    certificate: bytes | None = field(default=None, repr=False)
    key: bytes | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    basic: tuple[str, str] | None = field(default=None, repr=False)
    exec: Mapping[str, Any] | None = field(default=None, repr=False)
    exec_folder: Path = Path()
    impersonate: Mapping[str, str] = field(default_factory=dict)


def find_target(path: Path | None, context: str | None) -> Target:
    """Find the API server.

    Args:
        path: A kubeconfig; None for those of ``KUBECONFIG``, or ``~/.kube/config``, or the pod's.
        context: Name of a context; None for the current one.

    Raises:
        ConfigurationError: There is none, or it is broken; the context is unknown: says which there are.
    """
    if path is not None:
        if path.is_dir():
            raise ConfigurationError(f"kubeconfig_path: {path} is a folder; name the file in it")
        if not path.is_file():
            raise ConfigurationError(f"kubeconfig_path: there is no file {path}")
        return _Kubeconfig([path]).target(context)
    named = os.environ.get("KUBECONFIG", "")
    home = Path(os.environ.get("HOME") or "~").expanduser() / ".kube" / "config"
    paths = [Path(part).expanduser() for part in named.split(os.pathsep) if part] or [home]
    there = [candidate for candidate in paths if candidate.is_file()]
    if there:
        return _Kubeconfig(there).target(context)
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if host and port:
        if context is not None:
            raise ConfigurationError(f"there is no kubeconfig, so there is no context {context!r}")
        return _in_pod(host, port)
    looked = ", ".join(map(str, paths))
    raise ConfigurationError(
        f"there is no kubeconfig ({looked}), and this runs in no pod: set kubeconfig_path or KUBECONFIG"
    )


def _in_pod(host: str, port: str) -> Target:
    token, ca = _SERVICE_ACCOUNT / "token", _SERVICE_ACCOUNT / "ca.crt"
    namespace = _SERVICE_ACCOUNT / "namespace"
    if not token.is_file():
        raise ConfigurationError(
            f"this pod has no service account token ({token}), and there is no kubeconfig"
        )
    address = f"[{host}]" if ":" in host else host
    server = f"https://{address}:{port}"
    return Target(
        server=server,
        source=str(_SERVICE_ACCOUNT),
        namespace=read_text(namespace).strip() or None if namespace.is_file() else None,
        ca=_read(ca, "the service account's ca.crt"),
        token_file=token,
        proxy=_usual_proxy(server),
    )


class _Kubeconfig:
    """One or more files, merged: of what stands in several, the first holds."""

    def __init__(self, paths: list[Path]) -> None:
        self.source = os.pathsep.join(map(str, paths))
        self.current: str | None = None
        self.sections: dict[str, dict[str, tuple[Mapping[str, Any], Path]]] = {name: {} for name in _SECTIONS}
        for path in paths:
            self._add(path)

    def _add(self, path: Path) -> None:
        documents = read_documents(read_text(path), str(path))
        if len(documents) > 1:
            raise ConfigurationError(f"{path}: a kubeconfig is one document, this has {len(documents)}")
        content = documents[0].value if documents else {}
        if not isinstance(content, dict):
            raise ConfigurationError(
                f"{path}: is no kubeconfig: should be a table with clusters, users, contexts"
            )
        self.current = self.current or content.get("current-context")
        for section, known in self.sections.items():
            for item in content.get(section) or []:
                what = section.removesuffix("s")
                if (
                    not isinstance(item, dict)
                    or "name" not in item
                    or not isinstance(item.get(what) or {}, dict)
                ):
                    raise ConfigurationError(
                        f"{path}: each of {section} should have 'name' and a table {what!r}"
                    )
                known.setdefault(str(item["name"]), (item.get(what) or {}, path))

    def target(self, wanted: str | None) -> Target:
        name = wanted or self.current
        contexts = self.sections["contexts"]
        known = ", ".join(sorted(contexts))
        if not known:
            raise ConfigurationError(f"{self.source}: is no kubeconfig: it has no contexts")
        if not name:
            raise ConfigurationError(f"{self.source}: no context is current; name one, there are: {known}")
        if name not in contexts:
            raise ConfigurationError(f"{self.source}: there is no context {name!r}; there are: {known}")
        context = contexts[name][0]
        cluster, cluster_file = self._entry("clusters", context.get("cluster"), name)
        user, user_file = (
            self._entry("users", context["user"], name) if context.get("user") else ({}, cluster_file)
        )
        server = cluster.get("server")
        if not isinstance(server, str) or not server.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{cluster_file}: cluster {context.get('cluster')!r}: 'server' should be a URL"
            )
        return Target(
            server=server.rstrip("/"),
            source=str(cluster_file),
            context=name,
            namespace=context.get("namespace"),
            ca=_data(cluster, "certificate-authority", cluster_file),
            verify=not cluster.get("insecure-skip-tls-verify"),
            server_name=cluster.get("tls-server-name"),
            proxy=_proxy(cluster.get("proxy-url"), f"{cluster_file}: 'proxy-url'") or _usual_proxy(server),
            **_credentials(user, user_file),
        )

    def _entry(self, section: str, name: Any, context: str) -> tuple[Mapping[str, Any], Path]:
        found = self.sections[section].get(str(name))
        if found is None:
            raise ConfigurationError(
                f"{self.source}: context {context!r} names {name!r}, which is none of the {section}: "
                f"{', '.join(sorted(self.sections[section])) or 'there are none'}"
            )
        return found


def _credentials(user: Mapping[str, Any], path: Path) -> dict[str, Any]:
    if "auth-provider" in user:
        # Only plugins are left: client-go 1.26 dropped the built-in ones of the clouds.
        raise ConfigurationError(f"{path}: 'auth-provider' is not supported; use an 'exec' plugin or a token")
    if "exec" in user and (not isinstance(user["exec"], dict) or not user["exec"].get("command")):
        raise ConfigurationError(f"{path}: 'exec' should be a table with 'command'")
    certificate, key = _data(user, "client-certificate", path), _data(user, "client-key", path)
    if (certificate is None) != (key is None):
        raise ConfigurationError(f"{path}: 'client-certificate' and 'client-key' belong together")
    token_file = user.get("tokenFile")
    basic = (str(user["username"]), str(user.get("password", ""))) if user.get("username") else None
    impersonate = {"Impersonate-User": str(user["as"])} if user.get("as") else {}
    return {
        "certificate": certificate,
        "key": key,
        # A token file that is named goes before a token, as kubectl has it.
        "token": None if token_file else user.get("token"),
        "token_file": _beside(path, token_file) if token_file else None,
        "basic": basic,
        "exec": user.get("exec"),
        "exec_folder": path.resolve().parent,
        "impersonate": impersonate,
    }


def _data(table: Mapping[str, Any], key: str, path: Path) -> bytes | None:
    """Return what stands in ``key-data``, base64, or in the file that ``key`` names."""
    inline = table.get(f"{key}-data")
    if inline:
        try:
            return base64.b64decode(inline, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ConfigurationError(f"{path}: '{key}-data' is no base64") from None
    return _read(_beside(path, table[key]), f"{path}: '{key}'") if table.get(key) else None


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{what}: {path} can't be read: {error.strerror or error}") from error


def _beside(path: Path, named: str) -> Path:
    return path.resolve().parent / Path(named).expanduser()


def _usual_proxy(server: str) -> str | None:
    """Return the proxy that ``HTTPS_PROXY`` and ``NO_PROXY`` say, which kubectl heeds, too."""
    parts = urlsplit(server)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return _proxy(urllib.request.getproxies().get(parts.scheme), f"{parts.scheme.upper()}_PROXY")


def _proxy(url: Any, where: str) -> str | None:
    if not url:
        return None
    text = str(url) if "://" in str(url) else f"http://{url}"
    if not text.startswith(("http://", "https://")):
        raise ConfigurationError(f"{where} should be http:// or https://; others are not supported")
    return text
