"""The root of all errors, and the error of one field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """An error in one field: its path (``metadata.merchant_id``) and what was expected. Never the value."""

    field: str
    expected: str


class VaultError(Exception):
    """The vault could not carry out the request."""

    slug: ClassVar[str] = "vault-error"
    status: ClassVar[int] = 503
    reason: ClassVar[str] = "vault_error"
    retry_after_seconds: int | None = None
    recorded_for: str | None
    """The request whose audit row describes this error. An error object may be raised for several requests."""

    recorded_detail: str | None = None
    """The ``detail`` of the audit row, in addition to the ``detail`` for the caller."""

    def __init__(self, detail: str | None = None, *, errors: Sequence[FieldError] = ()) -> None:
        self.detail = detail
        self.errors = tuple(errors)
        self.recorded_for = None
        super().__init__(detail or self.title())

    @classmethod
    def title(cls) -> str:
        """Return the message for users, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")
