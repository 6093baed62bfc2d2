"""The root of all errors, and the error of one field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """An error in one field: its path (``metadata.merchant_id``) and what was expected. Never the value."""

    field: str
    expected: str

    @property
    def sentence(self) -> str:
        """The error as a part of a line of text."""
        return f"{self.field}{self.fault}" if self.field else self.fault.removeprefix(": ")

    @property
    def fault(self) -> str:
        """What follows the name of the field in the sentence."""
        if self.field and self.expected == "required":
            return " is required"
        return f": {self.expected}" if self.expected.startswith("unknown field") else f": expected {self.expected}"


class VaultError(Exception):
    """The vault could not carry out the request."""

    slug: ClassVar[str] = "vault-error"
    status: ClassVar[int] = 503
    reason: ClassVar[str] = "vault_error"
    retry_after_seconds: int | None = None

    driver_code: str | None = None
    """The database's own code of the error, which a storage sets for the log, such as ``53100`` or ``SQLITE_FULL``."""

    def __init__(self, detail: str | None = None, *, errors: Sequence[FieldError] = ()) -> None:
        self.detail = detail
        self.errors = tuple(errors)
        super().__init__(detail or self.title())

    @property
    def audit_detail(self) -> str | None:
        """The ``detail`` of its audit row; None where the row has none of its own."""
        return None

    @classmethod
    def title(cls) -> str:
        """Return the message for users, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")
