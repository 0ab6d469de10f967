"""Small packages on disk, installed as pip would do it: a module and its dist-info."""

import textwrap
from pathlib import Path

SOURCE = """
import contextvars
import threading

tenant = contextvars.ContextVar("tenant", default=None)
gate = threading.Event()
entered = threading.Semaphore(0)
made = []


class ApiError(Exception):
    def __init__(self, message, status_code, headers=None):
        super().__init__(message)
        self.status_code = status_code
        self.headers = headers or {}


class AuthenticationError(Exception):
    pass


class Lost(Exception):
    pass


class Orders:
    def create(self, amount, currency="eur"):
        return {"amount": amount, "currency": currency, "thread": threading.get_ident()}


class Client:
    limit = 3

    def __init__(self, endpoint, api_key=None, **options):
        self.endpoint, self.api_key, self.options = endpoint, api_key, options
        self.orders = Orders()
        self.calls = self.closed = 0
        made.append(self)

    def request(self, endpoint, data):
        self.calls += 1
        return getattr(self, "on_" + endpoint)(**data)

    def on_echo(self, **data):
        return {"endpoint": self.endpoint, "data": data}

    def on_key(self):
        return {"right": self.api_key == "sk-canary-51c0ffee"}

    def on_where(self):
        return {"thread": threading.get_ident(), "tenant": tenant.get()}

    def on_leak(self):
        raise ValueError("bad key " + self.api_key) from KeyError(self.api_key)

    def on_fail(self, status, headers=None):
        raise ApiError("status %d" % status, status, headers)

    def on_lose(self, error):
        try:
            raise {"timeout": TimeoutError, "reset": ConnectionResetError}[error]("wire")
        except OSError as exc:
            raise Lost("lost it") from exc

    def on_refuse(self):
        raise ConnectionRefusedError("refused")

    def on_block(self):
        entered.release()
        gate.wait(30)
        return {"waited": True}

    def ping(self):
        if self.api_key == "wrong":
            raise AuthenticationError("no such key: wrong")
        if self.api_key == "broken-canary":
            raise RuntimeError("broken by " + self.api_key)
        return self.api_key != "false"

    def _secret(self):
        return {}

    def close(self):
        self.closed += 1
"""


def install(
    folder: Path, name: str, source: str = SOURCE, version: str | None = "1.4.0", **modules: str
) -> None:
    """Put the package `name`, with more `modules` in it, and its metadata into `folder`."""
    package = folder / name
    package.mkdir(parents=True)
    for module, text in {"__init__": source, **modules}.items():
        (package / f"{module}.py").write_text(textwrap.dedent(text))
    if version is not None:
        info = folder / f"{name}_dist-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{name}/__init__.py,,\n")
