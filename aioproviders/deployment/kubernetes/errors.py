"""What failures that the API server answers with are as errors of ours: the one place that says so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aioproviders.deployment.kubernetes.objects import MANAGER
from aioproviders.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    NotFoundError,
    ProviderError,
    RateLimitedError,
    RequestError,
)

__all__ = ["FieldConflictError", "GoneError", "error_of_status", "one_line", "read_status"]

_LONGEST = 1000
_BAD_REQUEST, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _CONFLICT, _GONE = 400, 401, 403, 404, 409, 410
_INVALID, _TOO_MANY, _UNAVAILABLE, _SERVER_ERROR = 422, 429, 503, 500
_REQUEST_TIMEOUT = 408
# How the authorizers word a refusal; quotas, webhooks and namespaces that end answer 403, too.
_NOT_ALLOWED = re.compile(r'User "[^"]*" cannot |is forbidden: User ')
# Server-side apply answers 500 to a field, type or value that a kind does not have (structured-merge-diff).
_NOT_OF_THE_KIND = re.compile(
    r"failed to (?:create typed patch object|convert new object) \([^)]*\)(?: to proper version)?: "
    r"(?:unable to convert unstructured object to [^:]*: )?(.*)"
)
# It shows the value, which may be a secret's.
_GOT = re.compile(r", got .*", re.DOTALL)
_NO_NAMESPACE = re.compile(r'^namespaces "([^"]*)" not found$')
_NOTES = "metadata.annotations.aioproviders.dev/"
_IMMUTABLE = "field is immutable"
_MANAGER = re.compile(r'conflict with "([^"]*)"')


class FieldConflictError(ConflictError):
    """Fields belong to other managers.

    Attributes:
        conflicts: (field, manager) pairs: ``("spec.replicas", "kubectl-edit")``.
    """

    conflicts: tuple[tuple[str, str], ...] = ()


class GoneError(NotFoundError):
    """The resource version is too old (410): list anew."""


def read_status(body: bytes | str) -> dict[str, Any]:
    """Return the ``Status`` object that a failure answers with, or what stands for one.

    Source: Kubernetes API conventions, "Response Status Kind".
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else body
    try:
        status = json.loads(text)
    except ValueError:
        status = None
    return status if isinstance(status, dict) else {"message": text}


def error_of_status(
    code: int, status: Mapping[str, Any], what: str, headers: Mapping[str, str] | None = None
) -> ProviderError:
    """Return the error for an answer that is a failure.

    Args:
        code: HTTP status, 400 or more.
        status: What the server said, see `read_status`.
        what: What was asked: ``apply Deployment/web in shop``.
        headers: The answer's.
    """
    said = one_line(str(status.get("message") or "")) or f"answered {code}"
    details = status.get("details") or {}
    causes = [cause for cause in details.get("causes") or () if isinstance(cause, Mapping)]
    if code == _CONFLICT and any(cause.get("reason") == "FieldManagerConflict" for cause in causes):
        return _field_conflict(causes, what)
    return _error(code, f"{what}: {said}", said, causes, what, _retry_after(details, headers or {}))


def _error(  # noqa: PLR0911, PLR0913, PLR0917 - one table
    code: int, message: str, said: str, causes: list[Any], what: str, retry_after: float | None
) -> ProviderError:
    unfit = _NOT_OF_THE_KIND.search(said)
    if unfit is not None:
        told = _GOT.sub("", unfit[1].lstrip("."))
        return ConfigurationError(f"{what}: {told}", status_code=_BAD_REQUEST, sent=False)
    if code == _UNAUTHORIZED:
        return AuthenticationError(
            f"{what}: the API server does not accept the credentials ({said})", status_code=code, sent=False
        )
    if code == _FORBIDDEN:
        kind = AuthenticationError if _NOT_ALLOWED.search(said) else RequestError
        return kind(message, status_code=code, sent=False, outage=False)
    if code == _GONE:
        return GoneError(message, status_code=code)
    if code == _NOT_FOUND:
        namespace = _NO_NAMESPACE.search(said)
        if namespace is not None and what.startswith("apply "):
            message = f"{what}: there is no namespace {namespace[1]!r}; create_namespace = true would make it"
        return NotFoundError(message, status_code=code)
    if code == _CONFLICT:
        return ConflictError(message, status_code=code, sent=False)
    if code in (_BAD_REQUEST, _INVALID):
        told = one_line(_told(causes)) or said
        hint = "; delete it first, or give it another name" if _IMMUTABLE in told else ""
        return ConfigurationError(f"{what}: {told}{hint}", status_code=code, sent=False)
    if code == _TOO_MANY:
        return RateLimitedError(message, status_code=code, sent=False, retry_after=retry_after)
    refused = code in (_REQUEST_TIMEOUT, _UNAVAILABLE)
    return RequestError(
        message,
        status_code=code,
        sent=not refused,
        retryable=refused or code >= _SERVER_ERROR,
        retry_after=retry_after,
    )


def _told(causes: list[Any]) -> str:
    """Return what is wrong with which fields; what is wrong with several is said once."""
    fields: dict[str, list[str]] = {}
    for cause in causes:
        if cause.get("field"):
            fields.setdefault(str(cause.get("message")), []).append(str(cause["field"]))
    return "; ".join(f"{', '.join(names)}: {message}" for message, names in fields.items())


def _field_conflict(causes: list[Any], what: str) -> FieldConflictError:
    conflicts = []
    for cause in causes:
        manager = _MANAGER.search(str(cause.get("message")))
        conflicts.append((str(cause.get("field")).lstrip("."), manager[1] if manager else "another manager"))
    # What we own by another request of ours, such as scaling, is no news where others are in the way.
    others = [conflict for conflict in conflicts if conflict[1] != MANAGER] or conflicts
    # Nor are our own notes, which nobody could leave out.
    others = [conflict for conflict in others if not conflict[0].startswith(_NOTES)] or others
    told = ", ".join(f"{field} is owned by {manager}" for field, manager in others)
    scaled = any(field == "spec.replicas" for field, _ in others)
    hint = "; 'scale' sets the number anew" if scaled else ""
    error = FieldConflictError(
        f"{what}: {one_line(told)}; leave it out, or take it over with force = true{hint}",
        status_code=_CONFLICT,
        sent=False,
    )
    error.conflicts = tuple(conflicts)
    return error


def _retry_after(details: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
    # The API server sends whole seconds only.
    value = str(headers.get("Retry-After") or details.get("retryAfterSeconds") or "").strip()
    return float(value) if value.isdecimal() else None


def one_line(text: str) -> str:
    """Return what a server says on one line, no longer than is good to read."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
