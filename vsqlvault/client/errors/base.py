"""The root of every exception of the client, and the groups that callers catch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldProblem:
    """One invalid field: its path (``metadata.merchant_id``) and what was expected. Never the value."""

    field: str
    expected: str

    @property
    def sentence(self) -> str:
        """The problem as a part of a line of text. A problem of no field is one of the body."""
        name = self.field or "body"
        if self.expected == "required":
            return f"{name} is required"
        is_unknown = self.expected.startswith("unknown field")
        return f"{name}: {self.expected}" if is_unknown else f"{name}: expected {self.expected}"


class VaultError(Exception):
    """A request to the vault failed.

    ``request_id`` names the audit row; None where the vault did not answer. ``maybe_applied`` is True where the vault may
    have carried the request out although it failed for the caller: an answer was lost on the way.
    """

    slug: str = "vault-error"
    status: int | None = None

    def __init__(
        self,
        detail: str | None = None,
        *,
        title: str | None = None,
        status: int | None = None,
        slug: str | None = None,
        request_id: str | None = None,
        errors: Sequence[FieldProblem] = (),
        retry_after_seconds: float | None = None,
        maybe_applied: bool = False,
    ) -> None:
        self.title = title or (self.__doc__ or "").strip().splitlines()[0].rstrip(".")
        self.detail = detail
        self.status = status if status is not None else type(self).status
        self.slug = slug or type(self).slug
        self.request_id = request_id
        self.errors = tuple(errors)
        self.retry_after_seconds = retry_after_seconds
        self.maybe_applied = maybe_applied
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        parts = [self.title]
        if self.detail:
            parts.append(self.detail)
        parts += [each.sentence for each in self.errors]
        if self.maybe_applied:
            parts.append("the vault may have carried it out")
        about = ", ".join(str(each) for each in (self.status, self.slug, self.request_id) if each is not None)
        return f"{': '.join(parts)} ({about})"


class Denied(VaultError):
    """The vault refused: the credential, the right, or a legal hold. Statuses 401, 403 and 423."""


class NotThere(VaultError):
    """What was asked for is not there, or not any more. Statuses 404 and 410."""


class Conflicting(VaultError):
    """The present state does not allow it. Statuses 409 and 412."""


class Invalid(VaultError):
    """The request is not one the vault accepts. The remaining 4xx statuses, and 501."""


class TemporarilyUnavailable(VaultError):
    """The vault cannot answer now; repeating later can help. Statuses 429 and 503, and lost connections."""


class Failed(VaultError):
    """The vault failed. The remaining 5xx statuses."""


class UnexpectedAnswer(VaultError):
    """The answer is not one of a vault: check the address, and what stands between."""

    slug = "unexpected-answer"


class Unreachable(TemporarilyUnavailable):
    """No connection to the vault: the request was not sent."""

    slug = "unreachable"


class ConnectionLost(TemporarilyUnavailable):
    """The connection was lost after the request was sent."""

    slug = "connection-lost"


class Unusable(VaultError):
    """The settings of the client cannot be used."""

    slug = "client-settings"
