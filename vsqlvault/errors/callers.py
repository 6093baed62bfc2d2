"""Errors of authentication and authorization."""

from __future__ import annotations

from vsqlvault.errors.base import VaultError


class CredentialRefused(VaultError):
    """The credential is missing or not accepted."""

    slug = "unauthenticated"
    status = 401
    reason = "no_credential"

    def __init__(self, why: str = "no_credential", *, credential_id: str | None = None) -> None:
        """``why`` and ``credential_id`` go only to the audit row. Every caller with a credential gets the same response."""
        super().__init__()
        self.why = why
        self.credential_id = credential_id


class AmbiguousCredentials(CredentialRefused):
    """The credentials belong to different apps."""

    slug = "ambiguous-credentials"
    reason = "ambiguous"


class RateLimited(VaultError):
    """Too many credentials from this address were rejected: retry later."""

    slug = "rate-limited"
    status = 429
    reason = "rate_limited"

    def __init__(self, retry_after_seconds: int, *, credential_id: str | None = None) -> None:
        """``credential_id`` is that of the rejected credential, for the audit row only."""
        super().__init__()
        self.retry_after_seconds = retry_after_seconds
        self.credential_id = credential_id


class TlsRequired(VaultError):
    """Plain HTTP is allowed from the loopback interface only."""

    slug = "tls-required"
    status = 403
    reason = "tls_required"


class FormRefused(VaultError):
    """The form was not sent by a page of this vault in this session: open the page again."""

    slug = "form-refused"
    status = 403
    reason = "form_refused"


class AccessDenied(VaultError):
    """The access policy does not allow this operation."""

    slug = "access-denied"
    status = 403
    reason = "access_denied"


class RoleRequired(AccessDenied):
    """The caller does not have the role that this route requires."""

    slug = "role-required"
    reason = "role"
