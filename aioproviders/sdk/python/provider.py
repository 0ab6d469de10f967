"""The Python SDK driver: any vendor's package, sync or async, as a provider.

    config  →  import package  →  check version  →  Client(endpoint=…, api_key=…)  →  client.request(…)

Sync packages run in worker threads of the provider's own, with the caller's context variables; a call
that takes too long is given up, and its thread keeps its place until it ends.
"""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

import anyio
from pydantic import Field, SecretBytes, SecretStr, field_validator

from aioproviders.calls import current_call
from aioproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    ProviderStateError,
    RequestError,
    UnsupportedCapabilityError,
)
from aioproviders.health import HealthCheck, HealthStatus
from aioproviders.redaction import Redactor
from aioproviders.sdk import SDKConfig, SDKProvider, SDKResponse
from aioproviders.sdk.python.client import VendorClient
from aioproviders.sdk.python.packages import (
    NoSuchNameError,
    check_version,
    find_attribute,
    import_package,
    searching,
    specifier_of,
    version_of,
)
from aioproviders.sdk.python.threads import WorkerThreads
from aioproviders.sdk.python.vendor import error_of_vendor

__all__ = ["PythonSDKConfig", "PythonSDKProvider"]

_FIELD = re.compile(r"\{(\w+)\}")


class PythonSDKConfig(SDKConfig):
    """Configuration of the Python SDK driver.

    Attributes:
        package_name: The module to import, such as "stripe" or "google.cloud.storage".
        version: Versions that will do: a PEP 440 specifier (">=2.1,<3"), a bare version for exactly
            that, or "*".
        install_path: Folder to import the package from (of ``pip install --target``); None for where
            all else is imported from.
        distribution: What is installed for the package, where that has another name.
        client_class: The client's class in the package, or a function that makes one; may be dotted.
        client_arguments: What to make the client with, by argument: "{field}" is that field of this
            config, secrets in the clear; all else is meant literally.
        request_method: The client's method that requests go through, called with endpoint and data;
            None, or "" where a file can't say None: the endpoint itself names the method
            ("orders.create"), and data are its arguments.
        auth_method: The client's method that works only with the right credentials.
        health_method: The client's method that tells whether the service is well; False is no.
        idempotent_endpoints: Endpoints that do no harm when repeated, as patterns ("get_*").
        asynchronous: Whether the client belongs on the event loop; None: to be seen from its class.
        max_threads: Threads for sync calls, those given up included.
    """

    package_name: str
    version: str
    install_path: str | None = None
    distribution: str | None = None
    client_class: str = "Client"
    client_arguments: Mapping[str, Any] = {"endpoint": "{api_endpoint}", "api_key": "{api_key}"}
    request_method: str | None = "request"
    auth_method: str | None = None
    health_method: str | None = None
    idempotent_endpoints: tuple[str, ...] = ()
    asynchronous: bool | None = None
    max_threads: Annotated[int, Field(ge=1)] = 10

    @field_validator("version")
    @classmethod
    def _is_specifier(cls, value: str) -> str:
        specifier_of(value)
        return value

    @field_validator("request_method", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("package_name", "client_class", "request_method", "auth_method", "health_method")
    @classmethod
    def _is_public_name(cls, value: str | None) -> str | None:
        for part in value.split(".") if value is not None else ():
            if not part.isidentifier() or keyword.iskeyword(part) or part.startswith("_"):
                raise ValueError("should be a public name, with dots where it is further in")
        return value

    @field_validator("client_arguments")
    @classmethod
    def _fields_exist(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        for argument, item in value.items():
            field = _field_in(item)
            if field is not None and field not in cls.model_fields:
                near = difflib.get_close_matches(field, cls.model_fields, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{argument}: this config has no field {field!r}{hint}")
        return value


class PythonSDKProvider(SDKProvider[PythonSDKConfig]):
    """A vendor's Python package as an SDK provider.

    Args:
        config: A `PythonSDKConfig`.
    """

    def __init__(self, config: PythonSDKConfig) -> None:
        super().__init__(config)
        self._folder = Path(self.config.install_path) if self.config.install_path is not None else None
        self._threads = WorkerThreads(self.config.max_threads, self._on_abandoned)
        self._factory: Any = None
        self._version: str | None = None
        self._client: VendorClient | None = None

    @property
    def client(self) -> Any:
        """The vendor's client, None before `initialize`; what is called on it is subject to no limit."""
        return None if self._client is None else self._client.target

    async def initialize(self) -> None:
        """Import the package, check its version and make the client.

        Raises:
            ConfigurationError: The package is missing, of another version, or not as the config says.
            ProviderError: The client could not be made.
        """
        with self._searching():
            self._factory = await self._threads.run(self._load)
            self._client = await self._open(self._arguments({}))
            for field in ("request_method", "auth_method", "health_method"):
                method = getattr(self.config, field)
                if method is not None:
                    await self._require(self._client, field, method)
        self.logger.info("sdk.ready", package=self.config.package_name, package_version=self._version)

    async def make_request(self, endpoint: str, data: dict[str, Any] | None = None) -> SDKResponse:
        """Make a request: ``client.<request_method>(endpoint, data)``, or ``client.<endpoint>(**data)``.

        Args:
            endpoint: What the method takes for one; or the method itself, if `request_method` is None.
            data: What to send.

        Returns:
            With the method's result as `data`: plain where it says how (see
            `aioproviders.sdk.python.vendor.as_data`), otherwise the vendor's own object.
        """
        call = current_call()
        assert call is not None  # noqa: S101 - an operation runs within a call
        if any(fnmatchcase(endpoint, pattern) for pattern in self.config.idempotent_endpoints):
            call.idempotent = True
        if data is not None and not isinstance(data, Mapping):
            raise RequestError(
                f"data should be a dict, not {type(data).__name__}", sent=False, retryable=False
            )
        method, arguments = self.config.request_method, dict(data or {})
        if method is None:
            result = await self._use(self._ready(), endpoint, **arguments)
        else:
            result = await self._use(self._ready(), method, endpoint, arguments)
        return SDKResponse(
            success=True,
            data=result,
            latency_ms=round(call.elapsed * 1000),
            request_id=call.id,
            attempts=call.attempt,
        )

    async def authenticate(self, credentials: dict[str, str]) -> bool:
        """Make a client with `credentials`, call `auth_method` on it, and close it again.

        Args:
            credentials: By argument of the client, or by the config's field that it is made from.

        Returns:
            False where the service, or the method itself by returning False, says that they are wrong.

        Raises:
            UnsupportedCapabilityError: The config has no `auth_method`.
            ConfigurationError: The client is not made from such credentials.
            ProviderError: It could not be found out.
        """
        method = self.config.auth_method
        if method is None:
            raise UnsupportedCapabilityError("authenticate() needs auth_method in the config", sent=False)
        arguments = self._arguments(credentials)
        try:
            with self._searching():
                client = await self._open(arguments)
            try:
                return await self._use(client, method) is not False
            finally:
                await self._dismiss(client)
        except AuthenticationError:
            return False
        except Exception as exc:  # noqa: BLE001 - the error goes on, without these credentials
            error = error_of_vendor(exc)
            cause = exc.__cause__ if error is exc else exc
        redactor = Redactor(map(str, credentials.values()))
        error.message = redactor.text(error.message)
        error.args = (error.message,)
        error.__cause__ = cause
        redactor.scrub(error)
        raise error

    async def get_capabilities(self) -> dict[str, Any]:
        """Tell about the package, its client, and the threads it keeps busy."""
        client = self._ready()
        return {
            "package": self.config.package_name,
            "version": self._version,
            "client_class": self.config.client_class,
            "asynchronous": client.asynchronous,
            "methods": client.methods,
            "max_threads": self.config.max_threads,
            "busy_threads": self._threads.busy,
            "abandoned_threads": self._threads.abandoned,
            "abandoned_in_all": self._threads.abandoned_total,
        }

    async def health_check(self) -> HealthCheck:
        """Call `health_method`; without one, say only that package and client are there."""
        method = self.config.health_method
        details = {"sdk_version": self._version, "asked": method}
        client = self._ready()
        healthy = method is None or await self._use(client, method) is not False
        status = HealthStatus.HEALTHY if healthy else HealthStatus.UNHEALTHY
        return HealthCheck(status=status, details=details)

    async def cleanup(self) -> None:
        """Close the client, once the threads that were given up have ended or half the time is over."""
        client, self._client = self._client, None
        with anyio.move_on_after(self.config.for_operation("cleanup").timeout_ms / 2000):
            await self._threads.wait_for_abandoned()
        if self._threads.abandoned:
            self.logger.warning("sdk.threads_left", abandoned=self._threads.abandoned)
        if client is not None:
            with self._searching():
                await client.close()

    def _searching(self) -> AbstractContextManager[None]:
        return searching(self.config.package_name, self._folder)

    def _load(self) -> Any:
        """Import the package and return what makes clients; in a thread."""
        config = self.config
        specifier = specifier_of(config.version)
        top = config.package_name.partition(".")[0]
        module = import_package(config.package_name, self._folder, f"{config.distribution or top}{specifier}")
        self._version = version_of(config.package_name, module, self._folder, config.distribution)
        check_version(config.package_name, self._version, config.version)
        problem: str
        try:
            factory = find_attribute(module, config.client_class, config.package_name, module=True)
        except NoSuchNameError as exc:
            problem = str(exc)
        else:
            if callable(factory):
                return factory
            problem = f"{config.client_class!r} of {config.package_name} is neither a class nor a function"
        raise ConfigurationError(f"client_class: {problem}")

    async def _open(self, arguments: Mapping[str, Any]) -> VendorClient:
        try:
            return await VendorClient.open(
                self._factory,
                arguments,
                self._threads,
                asynchronous=self.config.asynchronous,
                request_method=self.config.request_method,
            )
        except Exception as exc:
            error = error_of_vendor(exc)
            if error is exc:
                raise
            raise error from exc

    async def _require(self, client: VendorClient, field: str, method: str) -> None:
        try:
            await client.require(method)
        except UnsupportedCapabilityError as exc:
            raise ConfigurationError(f"{field}: {exc.message}") from None

    async def _use(self, client: VendorClient, path: str, /, *args: Any, **kwargs: Any) -> Any:
        try:
            with self._searching():
                return await client.call(path, *args, **kwargs)
        except Exception as exc:
            error = error_of_vendor(exc)
            if error is exc:
                raise
            raise error from exc

    async def _dismiss(self, client: VendorClient) -> None:
        """Close a client that was only tried; what it was tried for has been found out by now."""
        limit = self.config.for_operation("authenticate").timeout_ms / 1000
        try:
            with anyio.move_on_after(limit, shield=True), self._searching():
                await client.close()
        except Exception as error:  # noqa: BLE001 - as above; its text may hold the credentials
            self.logger.warning("sdk.close_failed", error=type(error).__name__)

    def _ready(self) -> VendorClient:
        if self._client is None:
            raise ProviderStateError("the client is not there", sent=False)
        return self._client

    def _arguments(self, credentials: Mapping[str, Any]) -> dict[str, Any]:
        """Return what to make a client with, `credentials` in place of what the config says."""
        arguments: dict[str, Any] = {}
        known: set[str] = set()
        for name, value in self.config.client_arguments.items():
            field = _field_in(value)
            known |= {name} if field is None else {name, field}
            if name in credentials:
                value = credentials[name]  # noqa: PLW2901 - the credential stands in its place
            elif field is not None:
                value = credentials[field] if field in credentials else getattr(self.config, field)  # noqa: PLW2901 - likewise
            arguments[name] = _in_the_clear(value)
        unknown = sorted(set(map(str, credentials)) - known)
        if unknown:
            raise ConfigurationError(
                f"credentials: the client is made from {', '.join(sorted(known))}, not {', '.join(unknown)}"
            )
        return arguments

    def _on_abandoned(self) -> None:
        self.logger.warning(
            "sdk.thread_abandoned",
            abandoned=self._threads.abandoned,
            busy=self._threads.busy,
            max_threads=self.config.max_threads,
        )


def _field_in(value: Any) -> str | None:
    match = _FIELD.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def _in_the_clear(value: Any) -> Any:
    """Return a config's value as a vendor's code wants it: secrets unwrapped, containers not frozen."""
    if isinstance(value, (SecretStr, SecretBytes)):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: _in_the_clear(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_the_clear(item) for item in value]
    return value
