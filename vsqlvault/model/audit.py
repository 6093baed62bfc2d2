"""Rows of the access log."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from vsqlvault.model.entry import EntryVersion
from vsqlvault.quick_dataclass import dataclass


class Operation(StrEnum):
    """What was attempted. The first six are asked of entries, the rest of the vault."""

    STORE = "store"
    UPDATE = "update"
    RETRIEVE = "retrieve"
    INSPECT = "inspect"
    LIST = "list"
    PURGE = "purge"
    SWEEP = "sweep"
    SCRUB = "scrub"
    AUTHENTICATE = "authenticate"
    READ_ACCESS_POLICY = "read-access-policy"
    CHANGE_ACCESS_POLICY = "change-access-policy"
    DELETE_ACCESS_POLICY = "delete-access-policy"
    READ_RETENTION_POLICY = "read-retention-policy"
    CHANGE_RETENTION_POLICY = "change-retention-policy"
    PREVIEW_RETENTION_POLICY = "preview-retention-policy"
    READ_API_KEY = "read-api-key"
    CREATE_API_KEY = "create-api-key"
    REVOKE_API_KEY = "revoke-api-key"
    EXPLAIN_ACCESS = "explain-access"
    REPLAY_ACCESS_POLICY = "replay-access-policy"
    READ_LEGAL_HOLD = "read-legal-hold"
    CHANGE_LEGAL_HOLD = "change-legal-hold"
    RELEASE_LEGAL_HOLD = "release-legal-hold"
    READ_ACCESS_LOG = "read-access-log"
    READ_PURGE_LOG = "read-purge-log"
    READ_KEY_REFS = "read-key-refs"
    READ_REPORT = "read-report"
    READ_TRANSPARENCY_LOG = "read-transparency-log"
    READ_RECEIPT = "read-receipt"
    ROTATE_SIGNING_KEY = "rotate-signing-key"
    VERIFY_LOG = "verify-log"
    ARCHIVE_LOG = "archive-log"
    DROP_ARCHIVED = "drop-archived"
    QUARANTINE = "quarantine"
    CONFIRM_RESTORE = "confirm-restore"
    AUDIT_GAP = "audit-gap"
    SERVER_STARTED = "server-started"
    SERVER_STOPPED = "server-stopped"
    SETTINGS_RELOADED = "settings-reloaded"
    SCHEMA_MIGRATED = "schema-migrated"
    PLUGINS_LOADED = "plugins-loaded"
    CREDENTIALS_LOADED = "credentials-loaded"
    CREDENTIAL_ADDED = "credential-added"
    CREDENTIAL_CHANGED = "credential-changed"
    CREDENTIAL_REMOVED = "credential-removed"
    CLOCK_JUMP = "clock-jump"
    CLOCK_BACKWARDS = "clock-backwards"
    CONFIRM_CLOCK = "confirm-clock"
    READ_CONTROLS = "read-controls"
    CONTROL_FAILED = "control-failed"
    CONTROL_RECOVERED = "control-recovered"
    ACKNOWLEDGE_FAILURE = "acknowledge-failure"
    ATTEST = "attest"
    READ_ATTESTATION = "read-attestation"
    REVIEW_ACCESS = "review-access"
    READ_ACCESS_REVIEW = "read-access-review"
    EXPORT_EVIDENCE = "export-evidence"
    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    READ_SESSIONS = "read-sessions"
    END_SESSION = "end-session"
    READ_PAGE = "read-page"
    SUBMIT_PAGE = "submit-page"
    IMPORT = "import"
    UNKNOWN = "unknown"


class Outcome(StrEnum):
    """The outcome of an operation."""

    GRANTED = "granted"
    DENIED = "denied"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRecord:
    """One operation, granted or denied.

    ``app`` is None if the credential was rejected. ``reason`` is set on denials. ``status`` is the HTTP status of the
    response. ``count`` is above 1 only on coalesced rejections of one address within a second, and on the row of an
    audit gap, where it is the number of requests answered 503 or 507 while no row could be committed. ``detail``
    describes input that could not be recorded literally. ``old_value`` and ``new_value`` are JSON text of what an
    administrator changed. ``role`` is ``admin`` or ``auditor`` if the caller's credential has that role, else None; the
    vault itself has none.
    """

    at: datetime
    request_id: str
    operation: Operation
    outcome: Outcome
    status: int
    purpose: str | None = None
    external_id: str | None = None
    stamp: EntryVersion | None = None
    app: str | None = None
    identity: str | None = None
    method: str | None = None
    credential_id: str | None = None
    client_address: str | None = None
    untrusted_forwarding: bool = False
    reason: str | None = None
    policy: str | None = None
    policy_version: int | None = None
    count: int = 1
    detail: str | None = None
    old_value: str | None = None
    new_value: str | None = None
    role: str | None = None
