"""`OperationResult`: what the result models of all kinds have in common."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

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
    _error: ProviderError | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        """Whether it is of the same class with the same fields: the error's own identity does not count."""
        if not isinstance(other, OperationResult):
            return NotImplemented
        return (
            type(self) is type(other)
            and self.__dict__ == other.__dict__
            and self.__pydantic_extra__ == other.__pydantic_extra__
        )

    __hash__ = None  # type: ignore[assignment]  # as every model that can be changed

    def because_of(self, error: ProviderError) -> Self:
        """Return the result with `error` as what `raise_for_error` raises."""
        result = self.model_copy(update={"error_detail": ErrorDetail.from_error(error)})
        result._error = error  # noqa: SLF001 - of this class
        return result

    def raise_for_error(self) -> Self:
        """Return the result, if it is a success.

        Raises:
            ProviderError: It is not; the class tells the kind of failure.
        """
        if self.success:
            return self
        raise self._error or self._as_error()

    def _as_error(self) -> ProviderError:
        """Return the error of a failure that the method itself made, or that was data meanwhile."""
        return self.error_detail.to_error() if self.error_detail is not None else self._plain_error()

    def _plain_error(self) -> ProviderError:
        """Return the error of a failure that says of itself only what the model's own fields do."""
        return ProviderError("the operation failed")
