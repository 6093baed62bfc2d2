"""Errors of requests that cannot be carried out now, and internal errors."""

from __future__ import annotations

from vsqlvault.errors.base import VaultError


class Unavailable(VaultError):
    """The vault is temporarily unavailable."""

    slug = "unavailable"
    status = 503
    reason = "unavailable"
    retry_after_seconds = 1


class StorageUnavailable(Unavailable):
    """The storage is unavailable."""

    slug = "storage-unavailable"
    reason = "storage_unavailable"


class AuditUnavailable(Unavailable):
    """The audit row could not be written; the request was not carried out."""

    slug = "audit-unavailable"
    reason = "audit_unavailable"


class OutcomeUnknown(Unavailable):
    """The connection to the storage was lost during the commit: the request may or may not have been carried out."""

    slug = "outcome-unknown"
    reason = "outcome_unknown"


class ValueCorrupt(Unavailable):
    """The stored value differs from the hash recorded when it was stored."""

    slug = "value-corrupt"
    reason = "value_corrupt"


class Overloaded(Unavailable):
    """Too many requests are waiting."""

    slug = "overloaded"
    reason = "overloaded"


class ShuttingDown(Unavailable):
    """The server is shutting down."""

    slug = "shutting-down"
    reason = "shutting_down"


class Contended(Unavailable):
    """Concurrent changes to the entry prevented the request from being carried out."""

    slug = "contended"
    reason = "contended"


class AuthUnavailable(Unavailable):
    """The keys needed to verify this credential are temporarily unavailable."""

    slug = "auth-unavailable"
    reason = "auth_unavailable"
    retry_after_seconds = 5


class ReceiptPending(Unavailable):
    """The purge is not yet covered by a signed checkpoint: retry in one second."""

    slug = "receipt-pending"
    reason = "receipt_pending"


class Quarantined(Unavailable):
    """The database does not match the latest external checkpoint; entries are unavailable until the restore is confirmed."""

    slug = "quarantined"
    reason = "quarantined"
    retry_after_seconds = 60


class TreeDamaged(Unavailable):
    """The stored tree of the transparency log does not match the signed tree."""

    slug = "tree-damaged"
    reason = "tree_damaged"


class StorageFull(VaultError):
    """The storage is full."""

    slug = "storage-full"
    status = 507
    reason = "storage_full"


class PluginFailed(Unavailable):
    """A plugin failed, so the request was refused."""

    slug = "plugin-failure"
    reason = "plugin_failure"


class InternalFault(VaultError):
    """Internal error: the server log contains details under the request id."""

    slug = "internal-fault"
    status = 500
    reason = "internal_fault"
