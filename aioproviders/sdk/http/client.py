"""The `httpx.AsyncClient` behind an HTTP provider: made from its config."""

from __future__ import annotations

import importlib.util
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx

from aioproviders.errors import ConfigurationError
from aioproviders.sdk.http.config import HTTPSDKConfig
from aioproviders.sdk.http.pooled_client import PooledClient

__all__ = ["make_client"]


def make_client(config: HTTPSDKConfig) -> httpx.AsyncClient:
    """Make the client. It reads certificates from disk, so it belongs into a worker thread.

    Raises:
        ConfigurationError: A certificate can't be read, or an optional package is missing.
    """
    for needed, package, extra in (
        (config.http2, "h2", "http2"),
        (config.proxy is not None and config.proxy.startswith("socks"), "socksio", "socks"),
    ):
        if needed and importlib.util.find_spec(package) is None:
            raise ConfigurationError(f"the package {package} is missing: pip install 'httpx[{extra}]'")
    limits = httpx.Limits(
        max_connections=config.max_connections,
        max_keepalive_connections=config.max_keepalive_connections,
        keepalive_expiry=config.keepalive_expiry_ms / 1000,
    )
    # A provider is shared by many users: a cookie set for one must not be sent for another.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    try:
        context = _tls(config)
        if config.transport == "aiohttp":
            return PooledClient(verify=context, limits=limits, proxy=config.proxy, cookies=no_cookies)
        return httpx.AsyncClient(
            verify=context,
            limits=limits,
            proxy=config.proxy,
            http2=config.http2,
            cookies=no_cookies,
            trust_env=False,
        )
    except (ssl.SSLError, OSError) as exc:
        files = " and ".join(
            f"{name} {value}"
            for name, value in (
                ("verify", config.verify),
                ("client_certificate", config.client_certificate),
                ("client_key", config.client_key),
            )
            if isinstance(value, str)
        )
        reason = exc.strerror or str(exc)
        raise ConfigurationError(f"{files} should be readable PEM files that fit together: {reason}") from exc


def _tls(config: HTTPSDKConfig) -> ssl.SSLContext | bool:
    """Return the TLS context; True for the default one, of which there is one for all clients."""
    if config.verify is True and config.client_certificate is None:
        return True
    if isinstance(config.verify, str):
        context = ssl.create_default_context(cafile=config.verify)
    else:
        context = httpx.create_ssl_context(verify=config.verify, trust_env=False)
    context.set_alpn_protocols(["http/1.1"])  # httpx adds h2 where that is wanted
    if config.client_certificate is not None:
        password = config.client_key_password
        context.load_cert_chain(
            config.client_certificate,
            config.client_key,
            # Never None: OpenSSL would ask on the terminal.
            password.get_secret_value() if password is not None else "",
        )
    return context
