"""What cannot be done now, and a fault of the server's own."""

from __future__ import annotations

from vsqlvault.errors.base import VaultError


class Unavailable(VaultError):
    """The vault cannot answer now."""

    slug = "unavailable"
    status = 503
    reason = "unavailable"
    retry_after_seconds = 1


class StorageUnavailable(Unavailable):
    """The storage cannot be reached now."""

    slug = "storage-unavailable"
    reason = "storage_unavailable"


class AuditUnavailable(Unavailable):
    """The audit row could not be written, so the request was not carried out."""

    slug = "audit-unavailable"
    reason = "audit_unavailable"


class OutcomeUnknown(Unavailable):
    """The connection was lost while committing: the request may or may not have been carried out."""

    slug = "outcome-unknown"
    reason = "outcome_unknown"


class Overloaded(Unavailable):
    """Too many requests are waiting."""

    slug = "overloaded"
    reason = "overloaded"


class ShuttingDown(Unavailable):
    """The server is about to end."""

    slug = "shutting-down"
    reason = "shutting_down"


class Contended(Unavailable):
    """The entry changed each time the request was about to be carried out."""

    slug = "contended"
    reason = "contended"


class AuthUnavailable(Unavailable):
    """The keys that would tell whether the credential is good cannot be had now."""

    slug = "auth-unavailable"
    reason = "auth_unavailable"
    retry_after_seconds = 5


class ReceiptPending(Unavailable):
    """The purge is on record, but not yet under a signed checkpoint: ask again in a second."""

    slug = "receipt-pending"
    reason = "receipt_pending"


class Quarantined(Unavailable):
    """The database is older than what is known outside, or another one: nothing is given away until an operator confirms it."""

    slug = "quarantined"
    reason = "quarantined"
    retry_after_seconds = 60


class TreeDamaged(Unavailable):
    """The stored tree of the transparency log is not the one that was signed."""

    slug = "tree-damaged"
    reason = "tree_damaged"


class StorageFull(VaultError):
    """The storage is full."""

    slug = "storage-full"
    status = 507
    reason = "storage_full"


class PluginFailed(Unavailable):
    """A plugin did not give a usable answer, so the request was refused."""

    slug = "plugin-failure"
    reason = "plugin_failure"


class InternalFault(VaultError):
    """The server failed on this request; the log says more under its id."""

    slug = "internal-fault"
    status = 500
    reason = "internal_fault"
