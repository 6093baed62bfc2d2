"""Errors of entries, policies, legal holds, keys and the logs."""

from __future__ import annotations

from collections.abc import Sequence

from vsqlvault.errors.base import VaultError
from vsqlvault.errors.requests import ValidationFailed


class EntryNotFound(VaultError):
    """The entry does not exist."""

    slug = "not-found"
    status = 404
    reason = "not_found"


class EntryExpired(VaultError):
    """The entry has expired."""

    slug = "expired"
    status = 410
    reason = "expired"


class EntryPurged(VaultError):
    """The entry was purged."""

    slug = "purged"
    status = 410
    reason = "purged"


class IdRetired(VaultError):
    """The id belonged to an entry that was shredded, and cannot be used again."""

    slug = "id-retired"
    status = 409
    reason = "id_retired"


class EntryHeld(VaultError):
    """The entry is under a legal hold and cannot be destroyed."""

    slug = "legal-hold"
    status = 423
    reason = "legal_hold"

    def __init__(self, holds: Sequence[str], *, named: bool) -> None:
        """``holds`` are references (``case-17 v2``): the audit row has them, a caller reads them only if ``named``."""
        self._holds = ", ".join(holds)
        super().__init__(self._holds if named else None)

    @property
    def audit_detail(self) -> str:
        """The holds, whether the caller may know them or not."""
        return f"held by {self._holds}"


class PreconditionFailed(VaultError):
    """A precondition of the request is not met."""

    slug = "precondition-failed"
    status = 412
    reason = "precondition"


class RetentionRefused(ValidationFailed):
    """The retention policy does not allow this request."""

    slug = "retention-refused"
    reason = "retention"


class NoRetentionPolicy(RetentionRefused):
    """The purpose has no retention policy."""

    slug = "no-retention-policy"
    reason = "no_retention_policy"


class RetentionExceeded(RetentionRefused):
    """The expiry is beyond the maximum of the retention policy."""

    slug = "retention-exceeded"
    reason = "retention_exceeded"


class ExpiresInPast(RetentionRefused):
    """The expiry is not in the future."""

    slug = "expires-in-past"
    reason = "expires_in_past"


class UndefinedPolicy(ValidationFailed):
    """The access policy is not defined."""

    slug = "undefined-policy"
    reason = "undefined_policy"


class KeyRefWithoutValue(ValidationFailed):
    """key_ref and algorithm_hint cannot change without the value."""

    slug = "key-ref-without-value"
    reason = "key_ref_without_value"


class PolicyNotFound(VaultError):
    """The policy does not exist."""

    slug = "policy-not-found"
    status = 404
    reason = "policy_not_found"


class HoldNotFound(VaultError):
    """The legal hold does not exist."""

    slug = "hold-not-found"
    status = 404
    reason = "hold_not_found"


class PolicyConflict(VaultError):
    """The policy change conflicts with the current state."""

    slug = "policy-conflict"
    status = 409
    reason = "policy_conflict"


class BuiltInPolicy(PolicyConflict):
    """A built-in policy cannot be changed or deleted."""

    slug = "built-in-policy"
    reason = "built_in_policy"


class PolicyInUse(PolicyConflict):
    """Entries still use this policy."""

    slug = "policy-in-use"
    reason = "policy_in_use"


class ApiKeyNotFound(VaultError):
    """The API key does not exist in the storage."""

    slug = "api-key-not-found"
    status = 404
    reason = "api_key_not_found"


class TooManyApiKeys(VaultError):
    """The limit of API keys is reached: revoke unused keys."""

    slug = "too-many-api-keys"
    status = 409
    reason = "too_many_api_keys"


class StoredKeysOff(VaultError):
    """API keys in the storage are disabled."""

    slug = "stored-keys-off"
    status = 409
    reason = "stored_keys_off"


class NotInTree(VaultError):
    """The transparency log has no such leaf, tile or size."""

    slug = "not-in-tree"
    status = 404
    reason = "not_in_tree"


class RowsArchived(VaultError):
    """The rows are no longer in the vault: they are in an archive."""

    slug = "rows-archived"
    status = 410
    reason = "rows_archived"


class NothingSigned(VaultError):
    """The transparency log has no checkpoint: no signing key is set, or the log is empty."""

    slug = "nothing-signed"
    status = 404
    reason = "nothing_signed"


class AttestationNotFound(VaultError):
    """The attestation does not exist."""

    slug = "attestation-not-found"
    status = 404
    reason = "attestation_not_found"


class AccessReviewNotFound(VaultError):
    """The access review does not exist."""

    slug = "access-review-not-found"
    status = 404
    reason = "access_review_not_found"


class ControlFailureNotFound(VaultError):
    """The control did not begin to fail at that time."""

    slug = "control-failure-not-found"
    status = 404
    reason = "control_failure_not_found"


class PurgeNotFound(VaultError):
    """The purge does not exist."""

    slug = "purge-not-found"
    status = 404
    reason = "purge_not_found"


class SweepRunning(VaultError):
    """Another sweep is running."""

    slug = "sweep-running"
    status = 409
    reason = "sweep_running"


class ReplayRunning(VaultError):
    """Another replay is running."""

    slug = "replay-running"
    status = 409
    reason = "replay_running"


class ClockJumped(VaultError):
    """The storage's clock jumped forward by more than a day: sweeps are refused until an administrator confirms the clock."""

    slug = "clock-jump"
    status = 409
    reason = "clock_jump"
