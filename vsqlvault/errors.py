"""Everything that can go wrong, under one root.

The first line of a class's docstring is the sentence a user reads (the ``title`` of RFC 9457); ``slug`` names the
problem in ``urn:vsqlvault:problem:<slug>``; ``status`` is its HTTP status; ``reason`` is the word the audit row carries.
"""

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
    """The vault could not do that."""

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


class BadRequest(VaultError):
    """The request is malformed."""

    slug = "bad-request"
    status = 400
    reason = "bad_request"


class InvalidPath(BadRequest):
    """The path is not one this server has: see the grammar of purposes, ids and names."""

    slug = "invalid-path"
    reason = "invalid_path"


class DuplicateHeader(BadRequest):
    """A header that may stand once stands twice."""

    slug = "duplicate-header"
    reason = "duplicate_header"


class InvalidHeader(BadRequest):
    """A header has a value that cannot be understood."""

    slug = "invalid-header"
    reason = "invalid_header"


class CredentialInUrl(BadRequest):
    """A credential in a URL is a leaked credential: send it in a header, and replace this one."""

    slug = "credential-in-url"
    reason = "credential_in_url"
    credential_id: str | None = None
    """That of the credential, where it is one that is known; for the audit row only."""


class InvalidJson(BadRequest):
    """The body is not JSON as this server reads it."""

    slug = "invalid-json"
    reason = "invalid_json"


class DuplicateKey(InvalidJson):
    """A JSON object names one key twice."""

    slug = "duplicate-key"


class TooDeep(InvalidJson):
    """The JSON is nested too deeply."""

    slug = "too-deep"


class ClientAborted(BadRequest):
    """The client went away before its request was complete."""

    slug = "client-aborted"
    reason = "client_abort"


class RequestTimeout(BadRequest):
    """The request did not arrive in time."""

    slug = "request-timeout"
    status = 408
    reason = "body_timeout"


class UriTooLong(BadRequest):
    """The request target is too long."""

    slug = "uri-too-long"
    status = 414
    reason = "invalid_path"


class BadFraming(BadRequest):
    """The bytes are no HTTP/1.1 request, or say two things about where it ends."""

    slug = "bad-framing"
    reason = "bad_framing"


class BadForwarding(BadRequest):
    """A listed proxy says something of its client that cannot be understood."""

    slug = "bad-forwarding"
    reason = "bad_forwarding"


class HeadTooLarge(BadRequest):
    """The request has too many header fields, or too large ones."""

    slug = "headers-too-large"
    status = 431
    reason = "headers_too_large"


class ExpectationFailed(BadRequest):
    """The request expects what this server does not do."""

    slug = "expectation-failed"
    status = 417
    reason = "expectation_failed"


class UpgradeRefused(BadRequest):
    """There are no WebSockets here."""

    slug = "upgrade-refused"
    status = 403
    reason = "upgrade_refused"


class TransferCodingUnknown(BadRequest):
    """The body has a transfer coding other than chunked."""

    slug = "transfer-coding-unknown"
    status = 501
    reason = "transfer_coding_unknown"


class NoSuchRoute(VaultError):
    """There is no such route."""

    slug = "no-such-route"
    status = 404
    reason = "no_such_route"


class MethodNotAllowed(VaultError):
    """This route does not take that method."""

    slug = "method-not-allowed"
    status = 405
    reason = "method"


class NotAcceptable(VaultError):
    """None of the media types asked for can be served."""

    slug = "not-acceptable"
    status = 406
    reason = "not_acceptable"


class PayloadTooLarge(VaultError):
    """The body or the value is larger than this server takes."""

    slug = "payload-too-large"
    status = 413
    reason = "too_large"


class UnsupportedMediaType(VaultError):
    """The body must be application/json in UTF-8."""

    slug = "unsupported-media-type"
    status = 415
    reason = "media_type"


class ContentEncodingRefused(UnsupportedMediaType):
    """A compressed body is not taken."""

    slug = "content-encoding"
    reason = "content_encoding"


class ValidationFailed(VaultError):
    """Some fields are not as they should be."""

    slug = "validation-failed"
    status = 422
    reason = "validation"


class InvalidQuery(ValidationFailed):
    """The query string is not one this route understands."""

    slug = "invalid-query"
    reason = "invalid_query"


class InvalidText(ValidationFailed):
    """A text holds a character that is not taken: a control, a lone surrogate, a bidirectional override."""

    slug = "invalid-text"
    reason = "invalid_metadata"


class InvalidBase64(ValidationFailed):
    """The value is not canonical base64 (RFC 4648, section 4, with padding)."""

    slug = "invalid-base64"


class MetadataTooLarge(ValidationFailed):
    """The metadata is larger than this server takes."""

    slug = "metadata-too-large"


class InvalidTime(ValidationFailed):
    """A time is not RFC 3339 with seconds and an explicit offset."""

    slug = "invalid-time"
    reason = "invalid_time"


class CredentialRefused(VaultError):
    """No credential, or one that is not accepted."""

    slug = "unauthenticated"
    status = 401
    reason = "no_credential"

    def __init__(self, why: str = "no_credential", *, credential_id: str | None = None) -> None:
        """``why`` and ``credential_id`` go to the audit row only: every caller reads the same answer."""
        super().__init__()
        self.why = why
        self.credential_id = credential_id


class AmbiguousCredentials(CredentialRefused):
    """Two credentials name two different apps."""

    slug = "ambiguous-credentials"
    reason = "ambiguous"


class RateLimited(VaultError):
    """Too many credentials from this source were refused: wait before you try another."""

    slug = "rate-limited"
    status = 429
    reason = "rate_limited"

    def __init__(self, retry_after_seconds: int, *, credential_id: str | None = None) -> None:
        """``credential_id`` is that of the credential that was refused, for the audit row only."""
        super().__init__()
        self.retry_after_seconds = retry_after_seconds
        self.credential_id = credential_id


class TlsRequired(VaultError):
    """Plain HTTP is answered on the loopback only."""

    slug = "tls-required"
    status = 403
    reason = "tls_required"


class AccessDenied(VaultError):
    """The access policy does not allow this."""

    slug = "access-denied"
    status = 403
    reason = "access_denied"


class RoleRequired(AccessDenied):
    """This route needs a role that the caller does not have."""

    slug = "role-required"
    reason = "role"


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


class StartUpRefused(VaultError):
    """The vault does not start like this."""

    slug = "start-up-refused"


class SettingsInvalid(StartUpRefused):
    """The settings are not usable."""


class PluginClash(StartUpRefused):
    """Two plugins offer the same name."""


class PluginUnusable(StartUpRefused):
    """A plugin cannot be loaded."""


class UnsafeStorage(StartUpRefused):
    """The storage is set so that it would lose what was acknowledged."""


class HardeningUnavailable(StartUpRefused):
    """The system does not let the process lock itself in as far as the settings require."""


class SchemaTooNew(StartUpRefused):
    """The storage was made by a newer version of vsqlvault."""


class InternalFault(VaultError):
    """The server failed on this request; the log says more under its id."""

    slug = "internal-fault"
    status = 500
    reason = "internal_fault"
