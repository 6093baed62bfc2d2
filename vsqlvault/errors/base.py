"""The root of all errors, and what one field has wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault in one field: its path (``metadata.merchant_id``) and what was expected. Never the value."""

    field: str
    expected: str


class VaultError(Exception):
    """The vault could not carry out the request."""

    slug: ClassVar[str] = "vault-error"
    status: ClassVar[int] = 503
    reason: ClassVar[str] = "vault_error"
    retry_after_seconds: int | None = None
    recorded_for: str | None
    """The request whose audit row tells of this error; an error object may be raised for more than one."""

    recorded_detail: str | None = None
    """What its audit row says in ``detail``, beside what the caller reads."""

    def __init__(self, detail: str | None = None, *, errors: Sequence[FieldError] = ()) -> None:
        self.detail = detail
        self.errors = tuple(errors)
        self.recorded_for = None
        super().__init__(detail or self.title())

    @classmethod
    def title(cls) -> str:
        """Return the sentence a user reads, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")
