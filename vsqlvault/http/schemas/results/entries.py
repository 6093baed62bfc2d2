"""Entries, purge records, and the pages of both."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from vsqlvault.http.schemas.results.base import Count, Id, NextCursor, Result, Sha256, Timestamp

ENTRY: dict[str, Any] = {
    "purpose": "card",
    "external_id": "tok_1",
    "entry_id": "019afa3c5d0e7c41b2a9d3e4f5061728",
    "version": 1,
    "state": "active",
    "encoding": "utf-8",
    "value_sha256": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
    "value_size": 24,
    "algorithm_hint": "AES-256-GCM",
    "key_ref": "key-2027-01",
    "owner_app": "payments",
    "owner_identity": None,
    "access_policy": "owner-only",
    "created_at": "2027-02-16T00:00:00Z",
    "updated_at": "2027-02-16T00:00:00Z",
    "expires_at": "2027-05-17T00:00:00Z",
    "effective_expires_at": "2027-05-17T00:00:00Z",
    "retrievals": None,
    "metadata": {"last4": "4242"},
}
PURGE: dict[str, Any] = {
    "id": "019afa3c5d0e7c41b2a9d3e4f5061729",
    "purged_at": "2027-03-01T00:00:00Z",
    "purpose": "card",
    "external_id": "tok_1",
    "entry_id": ENTRY["entry_id"],
    "entry_version": 1,
    "method": "physical-delete",
    "reason": "requested",
    "policy_reference": None,
    "proof_hash": ENTRY["value_sha256"],
    "value_size": 24,
    "key_ref": "key-2027-01",
    "owner_app": "payments",
    "expired_at": "2027-05-17T00:00:00Z",
    "app": "payments",
    "identity": None,
    "request_id": "019afa3c5d0e7c41b2a9d3e4f5061730",
    "scrubbed_at": None,
}
RECEIPT: dict[str, Any] = {
    "format": "vsqlvault-receipt-v1",
    "purge": {"id": PURGE["id"]},
    "entry_hash": PURGE["proof_hash"],
    "leaf": "{…}",
    "proof": "c2sp.org/tlog-proof@v1\n…",
    "verifier_key": "vault.example/audit+…",
    "not_reached": ["backups"],
}


class Entry(Result):
    """An entry without its value."""

    model_config = ConfigDict(json_schema_extra={"examples": [ENTRY]})

    purpose: str
    external_id: str
    entry_id: Id
    version: Annotated[int, Field(ge=1)]
    state: Literal["active", "expired", "purged"]
    encoding: Literal["utf-8", "base64"]
    value_sha256: Sha256
    value_size: Count
    algorithm_hint: str | None
    key_ref: str | None
    owner_app: str
    owner_identity: str | None
    access_policy: str
    created_at: Timestamp
    updated_at: Timestamp
    expires_at: Timestamp
    effective_expires_at: Timestamp = Field(
        description="The earlier of `expires_at` and the limit of the retention policy in force."
    )
    retrievals: Count | None = Field(
        description="The retrievals that were counted, or null if none was. Only a policy with `max_retrievals` counts."
    )
    purged_at: Timestamp | None = None
    purge_method: str | None = None
    metadata: dict[str, Any]


class RetrievedEntry(Entry):
    """An entry with its value."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**ENTRY, "encrypted_value": "vault:v1:c2VjcmV0"}]})

    encrypted_value: str


class StoredEntry(Entry):
    """An entry as it was stored."""

    warnings: list[str] = Field(default=[], description="For example that its access policy is not defined.")


class EntryPage(Result):
    """A page of entries."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"entries": [ENTRY], "next_cursor": None}]})

    entries: list[Entry]
    next_cursor: NextCursor


class PurgeRecord(Result):
    """A row of the purge log."""

    model_config = ConfigDict(json_schema_extra={"examples": [PURGE]})

    id: Id
    purged_at: Timestamp
    purpose: str
    external_id: str
    entry_id: Id
    entry_version: int
    method: str
    reason: str
    policy_reference: str | None
    proof_hash: Sha256
    value_size: Count
    key_ref: str | None
    owner_app: str
    expired_at: Timestamp = Field(
        description="The expiry that was planned for the version. It is after `purged_at` if the purge came earlier."
    )
    app: str
    identity: str | None
    request_id: str
    scrubbed_at: Timestamp | None = Field(description="When a scrub removed the bytes from the data files.")


class Receipt(Result):
    """A proof that a signed checkpoint covers a purge. It verifies without the vault."""

    model_config = ConfigDict(json_schema_extra={"examples": [RECEIPT]})

    format: Literal["vsqlvault-receipt-v1"]
    purge: dict[str, Any]
    entry_hash: Sha256
    leaf: str
    proof: str
    verifier_key: str
    not_reached: list[str]


class PurgeResult(PurgeRecord):
    """The purge record of a deleted entry."""

    receipt: Receipt | None = Field(default=None, description="With `Prefer: wait`; null where there is none by then.")


class AccessRecord(Result):
    """A row of the access log."""

    at: Timestamp
    request_id: str
    operation: str
    outcome: Literal["granted", "denied"]
    status: int
    purpose: str | None
    external_id: str | None
    entry_id: str | None
    entry_version: int | None
    app: str | None
    identity: str | None
    method: str | None
    credential_id: str | None
    client_address: str | None
    untrusted_forwarding: bool
    reason: str | None
    policy: str | None
    policy_version: int | None
    count: int
    detail: str | None
    old_value: str | None
    new_value: str | None
    role: Literal["admin", "auditor"] | None = Field(
        description="The role of the caller's credential, `admin` before `auditor`. Null for the vault itself."
    )


ARCHIVED: Any = Field(default=None, description="Only there if rows of the period were dropped and are in archives.")
ACCESS: dict[str, Any] = {
    **dict.fromkeys(AccessRecord.model_fields),
    "at": "2027-02-16T00:00:00Z",
    "request_id": "019afa3c5d0e7c41b2a9d3e4f5061730",
    "operation": "retrieve",
    "outcome": "granted",
    "status": 200,
    "purpose": "card",
    "external_id": "tok_1",
    "app": "payments",
    "method": "api_key",
    "untrusted_forwarding": False,
    "policy": "owner-only",
    "policy_version": 1,
    "count": 1,
}


class ArchivedRows(Result):
    """The rows that are no longer in the vault, but in archives."""

    archives: int = Field(description="The number of archives.")
    end: int = Field(description="The archived rows are those of leaves below this index.")
    absent_rows: int = Field(description="The number of rows that were dropped.")
    newest_row_at: Timestamp = Field(description="Every newer row is in the vault.")
    places: list[str] = Field(description="Where the archives were written.")


class AccessLogPage(Result):
    """A page of the access log."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rows": [ACCESS], "next_cursor": None}]})

    rows: list[AccessRecord]
    next_cursor: NextCursor
    archived: ArchivedRows | None = ARCHIVED


class PurgeLogPage(Result):
    """A page of the purge log."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rows": [PURGE], "next_cursor": None}]})

    rows: list[PurgeRecord]
    next_cursor: NextCursor
    archived: ArchivedRows | None = ARCHIVED
