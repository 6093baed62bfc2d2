"""Refusals, missing entries, conflicts and failures."""

from __future__ import annotations

from vsqlvault.client.errors.base import Conflicting, Denied, Failed, NotThere, TemporarilyUnavailable, VaultError


class Unauthenticated(Denied):
    """No credential, or one that is not accepted."""

    slug = "unauthenticated"
    status = 401


class AmbiguousCredentials(Unauthenticated):
    """Two credentials name two different apps."""

    slug = "ambiguous-credentials"
    status = 401


class AccessDenied(Denied):
    """The access policy does not allow this."""

    slug = "access-denied"
    status = 403


class RoleRequired(AccessDenied):
    """The route needs a role that the caller does not have."""

    slug = "role-required"
    status = 403


class TlsRequired(Denied):
    """Plain HTTP is answered on the loopback only."""

    slug = "tls-required"
    status = 403


class FormRefused(Denied):
    """A form of a page was not sent by this vault's page in this session."""

    slug = "form-refused"
    status = 403


class UpgradeRefused(Denied):
    """The vault has no WebSockets."""

    slug = "upgrade-refused"
    status = 403


class ApiKeyNotFound(NotThere):
    """There is no such API key in the storage."""

    slug = "api-key-not-found"
    status = 404


class AccessReviewNotFound(NotThere):
    """There is no such access review."""

    slug = "access-review-not-found"
    status = 404


class AttestationNotFound(NotThere):
    """There is no such attestation."""

    slug = "attestation-not-found"
    status = 404


class ControlFailureNotFound(NotThere):
    """The control did not begin to fail at that time."""

    slug = "control-failure-not-found"
    status = 404


class HoldNotFound(NotThere):
    """There is no such legal hold."""

    slug = "hold-not-found"
    status = 404


class NoSuchRoute(NotThere):
    """There is no such route."""

    slug = "no-such-route"
    status = 404


class NotFound(NotThere):
    """There is no such entry."""

    slug = "not-found"
    status = 404


class NotModified(VaultError):
    """The entry is still the version that ``if_none_match`` names. Status 304."""

    slug = "not-modified"


class NotInTree(NotThere):
    """The transparency log has no such leaf, tile or size."""

    slug = "not-in-tree"
    status = 404


class RowsArchived(NotThere):
    """The rows are no longer in the vault. The detail names the archive that has them, and its place."""

    slug = "rows-archived"
    status = 410


class NothingSigned(NotThere):
    """The transparency log has no checkpoint yet, or no signing key is set."""

    slug = "nothing-signed"
    status = 404


class PolicyNotFound(NotThere):
    """There is no such policy."""

    slug = "policy-not-found"
    status = 404


class PurgeNotFound(NotThere):
    """There is no such purge."""

    slug = "purge-not-found"
    status = 404


class PolicyConflict(Conflicting):
    """The policy cannot be changed like this."""

    slug = "policy-conflict"
    status = 409


class BuiltInPolicy(PolicyConflict):
    """A built-in policy cannot be changed or deleted."""

    slug = "built-in-policy"
    status = 409


class ClockJump(Conflicting):
    """The clock of the storage is more than a day ahead: sweeps stop until an administrator confirms it."""

    slug = "clock-jump"
    status = 409


class IdRetired(Conflicting):
    """The id belonged to an entry that was shredded, and cannot be used again."""

    slug = "id-retired"
    status = 409


class PolicyInUse(PolicyConflict):
    """Entries still name this policy."""

    slug = "policy-in-use"
    status = 409


class ReplayRunning(Conflicting):
    """Another policy is being replayed."""

    slug = "replay-running"
    status = 409


class StoredKeysOff(Conflicting):
    """This vault accepts no API keys from its storage."""

    slug = "stored-keys-off"
    status = 409


class SweepRunning(Conflicting):
    """Another sweep is running."""

    slug = "sweep-running"
    status = 409


class TooManyApiKeys(Conflicting):
    """There are too many API keys: revoke unused ones."""

    slug = "too-many-api-keys"
    status = 409


class Expired(NotThere):
    """The entry has expired."""

    slug = "expired"
    status = 410


class Purged(NotThere):
    """The entry was purged."""

    slug = "purged"
    status = 410


class PreconditionFailed(Conflicting):
    """The entry, policy or hold is not in the state that the request requires."""

    slug = "precondition-failed"
    status = 412


class LegalHold(Denied):
    """The entry is under a legal hold and cannot be destroyed."""

    slug = "legal-hold"
    status = 423


class RateLimited(TemporarilyUnavailable):
    """Too many requests: wait before the next one."""

    slug = "rate-limited"
    status = 429


class InternalFault(Failed):
    """The vault failed on this request; its log has more under the request id."""

    slug = "internal-fault"
    status = 500


class Unavailable(TemporarilyUnavailable):
    """The vault cannot answer now."""

    slug = "unavailable"
    status = 503


class AuditUnavailable(Unavailable):
    """The audit row could not be written, so the request was not carried out."""

    slug = "audit-unavailable"
    status = 503


class AuthUnavailable(Unavailable):
    """The keys needed to verify the credential are temporarily unavailable."""

    slug = "auth-unavailable"
    status = 503


class Contended(Unavailable):
    """The entry changed at each attempt to carry out the request."""

    slug = "contended"
    status = 503


class OutcomeUnknown(Unavailable):
    """The vault lost its storage during the commit: the request may have been carried out."""

    slug = "outcome-unknown"
    status = 503


class ValueCorrupt(Unavailable):
    """The stored value differs from the hash recorded when it was stored: it must be stored again."""

    slug = "value-corrupt"
    status = 503


class Overloaded(Unavailable):
    """Too many requests are waiting."""

    slug = "overloaded"
    status = 503


class PluginFailure(Unavailable):
    """A plugin gave no usable answer, so the request was refused."""

    slug = "plugin-failure"
    status = 503


class Quarantined(Unavailable):
    """The database does not match the latest external checkpoint: an operator has to confirm the restore."""

    slug = "quarantined"
    status = 503


class ReceiptPending(Unavailable):
    """The purge is recorded, but not yet under a signed checkpoint."""

    slug = "receipt-pending"
    status = 503


class ShuttingDown(Unavailable):
    """The server is shutting down."""

    slug = "shutting-down"
    status = 503


class StorageUnavailable(Unavailable):
    """The storage is temporarily unavailable."""

    slug = "storage-unavailable"
    status = 503


class TreeDamaged(Unavailable):
    """The stored tree of the transparency log is not the one that was signed."""

    slug = "tree-damaged"
    status = 503


class StorageFull(Failed):
    """The storage is full."""

    slug = "storage-full"
    status = 507
