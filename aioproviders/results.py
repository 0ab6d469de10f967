"""`OperationResult`: what the result models of all kinds have in common."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict

from aioproviders.errors import ErrorDetail, ProviderError

__all__ = ["OperationResult"]


class OperationResult(BaseModel):
    """Base of the models that an operation returns, in failure too.

    Attributes:
        success: Whether it worked.
        error_detail: If it did not, the error as data.
    """

    model_config = ConfigDict(ser_json_bytes="base64", hide_input_in_errors=True)

    success: bool
    error_detail: ErrorDetail | None = None

    def because_of(self, error: ProviderError) -> Self:
        """Return the result with `error` as what `raise_for_error` raises."""
        return self.model_copy(update={"error_detail": ErrorDetail.from_error(error)})

    def raise_for_error(self) -> Self:
        """Return the result, if it is a success.

        Raises:
            ProviderError: It is not; the class tells the kind of failure.
        """
        if self.success:
            return self
        raise self._plain_error() if self.error_detail is None else self.error_detail.error

    def _plain_error(self) -> ProviderError:
        """Return the error of a failure that says of itself only what the model's own fields do."""
        return ProviderError("the operation failed")
