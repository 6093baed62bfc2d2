"""What entries, policies, holds, keys and the logs refuse."""

from __future__ import annotations

from collections.abc import Sequence

from vsqlvault.errors.base import VaultError
from vsqlvault.errors.requests import ValidationFailed


class EntryNotFound(VaultError):
    """There is no such entry."""

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
    """The id belonged to an entry that was shredded, and is not used again."""

    slug = "id-retired"
    status = 409
    reason = "id_retired"


class EntryHeld(VaultError):
    """The entry is under a legal hold, and is not destroyed while it is."""

    slug = "legal-hold"
    status = 423
    reason = "legal_hold"

    def __init__(self, holds: Sequence[str], *, named: bool) -> None:
        """``holds`` are references (``case-17 v2``): the audit row has them, a caller reads them only if ``named``."""
        told = ", ".join(holds)
        super().__init__(told if named else None)
        self.recorded_detail = f"held by {told}"


class PreconditionFailed(VaultError):
    """What the request is about is not in the state it asks for."""

    slug = "precondition-failed"
    status = 412
    reason = "precondition"


class RetentionRefused(ValidationFailed):
    """The retention policy does not allow this."""

    slug = "retention-refused"
    reason = "retention"


class NoRetentionPolicy(RetentionRefused):
    """The purpose has no retention policy, so nothing can be stored under it."""

    slug = "no-retention-policy"
    reason = "no_retention_policy"


class RetentionExceeded(RetentionRefused):
    """The entry would outlive the retention policy's maximum."""

    slug = "retention-exceeded"
    reason = "retention_exceeded"


class ExpiresInPast(RetentionRefused):
    """The entry would be expired when it is stored."""

    slug = "expires-in-past"
    reason = "expires_in_past"


class UndefinedPolicy(ValidationFailed):
    """The access policy is not defined, and this server requires that it is."""

    slug = "undefined-policy"
    reason = "undefined_policy"


class KeyRefWithoutValue(ValidationFailed):
    """key_ref and algorithm_hint describe the value: they change only together with it."""

    slug = "key-ref-without-value"
    reason = "key_ref_without_value"


class PolicyNotFound(VaultError):
    """There is no such policy."""

    slug = "policy-not-found"
    status = 404
    reason = "policy_not_found"


class HoldNotFound(VaultError):
    """There is no such legal hold."""

    slug = "hold-not-found"
    status = 404
    reason = "hold_not_found"


class PolicyConflict(VaultError):
    """The policy cannot be changed so."""

    slug = "policy-conflict"
    status = 409
    reason = "policy_conflict"


class BuiltInPolicy(PolicyConflict):
    """A built-in policy cannot be changed or deleted."""

    slug = "built-in-policy"
    reason = "built_in_policy"


class PolicyInUse(PolicyConflict):
    """Entries still name this policy."""

    slug = "policy-in-use"
    reason = "policy_in_use"


class ApiKeyNotFound(VaultError):
    """There is no such API key in the storage."""

    slug = "api-key-not-found"
    status = 404
    reason = "api_key_not_found"


class TooManyApiKeys(VaultError):
    """There are too many API keys: revoke those that nobody needs."""

    slug = "too-many-api-keys"
    status = 409
    reason = "too_many_api_keys"


class StoredKeysOff(VaultError):
    """This vault takes no API keys from its storage."""

    slug = "stored-keys-off"
    status = 409
    reason = "stored_keys_off"


class NotInTree(VaultError):
    """The transparency log has no such leaf, tile or size."""

    slug = "not-in-tree"
    status = 404
    reason = "not_in_tree"


class NothingSigned(VaultError):
    """The transparency log has no checkpoint: no signing key is set, or nothing has happened yet."""

    slug = "nothing-signed"
    status = 404
    reason = "nothing_signed"


class AttestationNotFound(VaultError):
    """There is no such attestation."""

    slug = "attestation-not-found"
    status = 404
    reason = "attestation_not_found"


class PurgeNotFound(VaultError):
    """There is no such purge."""

    slug = "purge-not-found"
    status = 404
    reason = "purge_not_found"


class SweepRunning(VaultError):
    """Another sweep is running."""

    slug = "sweep-running"
    status = 409
    reason = "sweep_running"


class ReplayRunning(VaultError):
    """Another policy is being replayed."""

    slug = "replay-running"
    status = 409
    reason = "replay_running"


class ClockJumped(VaultError):
    """The storage's clock is more than a day past the last time it was seen: nothing is swept until that is confirmed."""

    slug = "clock-jump"
    status = 409
    reason = "clock_jump"
