"""What the API server's and the client's failures are as errors of ours; the only place that translates them."""

from __future__ import annotations

from aioproviders.errors import ConflictError, NotFoundError

__all__ = ["FieldConflictError", "GoneError"]


class FieldConflictError(ConflictError):
    """Fields belong to other managers; ``conflicts`` has (field, manager) pairs."""

    conflicts: tuple[tuple[str, str], ...] = ()


class GoneError(NotFoundError):
    """The resource version is too old (410): list anew."""
