"""API keys, key references, sweeps, attestations, reviews, proofs, the report, health and controls."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from vsqlvault.http.schemas.results.base import Count, Id, NextCursor, Result, Sha256, Timestamp
from vsqlvault.http.schemas.results.entries import ENTRY
from vsqlvault.http.schemas.results.rules import NextBefore

API_KEY: dict[str, Any] = {
    "key_id": "sha256-0123456789ab",
    "credential_id": "sha256:0123456789ab",
    "app": "payments",
    "identity": None,
    "purposes": ["card"],
    "roles": [],
    "description": "Checkout, production",
    "expires_at": None,
    "created_by": "vault-admin",
    "created_at": "2027-02-16T00:00:00Z",
    "revoked_by": None,
    "revoked_at": None,
    "state": "active",
    "last_used_at": None,
}
ATTESTATION: dict[str, Any] = {
    "attestation": {"format": "vsqlvault-attestation-v1", "number": 1, "result": "clean"},
    "sha256": ENTRY["value_sha256"],
    "note": None,
}

ACCESS_REVIEW: dict[str, Any] = {
    "access_review": {"format": "vsqlvault-access-review-v1", "number": 1, "purpose": "card"},
    "sha256": ENTRY["value_sha256"],
    "note": None,
}


class ApiKey(Result):
    """What an API key grants, its state and its last use."""

    model_config = ConfigDict(json_schema_extra={"examples": [API_KEY]})

    key_id: str = Field(description="The key's name in paths.")
    credential_id: str = Field(description="The key's name in audit rows.")
    app: str
    identity: str | None
    purposes: list[str] = Field(description='`["*"]` for all.')
    roles: list[Literal["admin", "auditor"]]
    description: str | None
    expires_at: Timestamp | None
    created_by: str
    created_at: Timestamp
    revoked_by: str | None
    revoked_at: Timestamp | None
    state: Literal["active", "expired", "revoked"]
    last_used_at: Timestamp | None
    warnings: list[str] = Field(default=[], description="For example purposes that nothing defines.")


class CreatedApiKey(ApiKey):
    """A new API key, with its only copy."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"key": "vsk_…", **API_KEY}]})

    key: str


class ApiKeys(Result):
    """A page of API keys."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"api_keys": [API_KEY], "next_cursor": None}]})

    api_keys: list[ApiKey]
    next_cursor: NextCursor


class KeyRef(Result):
    """The entries of one purpose under one key_ref; null counts those without one."""

    purpose: str
    key_ref: str | None
    entries: Count
    active: Count
    expired_pending_purge: Count
    first_used_at: Timestamp
    last_used_at: Timestamp


class KeyRefs(Result):
    """A page of key_refs."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "key_refs": [
                        {
                            "purpose": "card",
                            "key_ref": "key-2027-01",
                            "entries": 2,
                            "active": 1,
                            "expired_pending_purge": 1,
                            "first_used_at": "2027-01-01T00:00:00Z",
                            "last_used_at": "2027-02-16T00:00:00Z",
                        }
                    ],
                    "next_cursor": None,
                }
            ]
        }
    )

    key_refs: list[KeyRef]
    next_cursor: NextCursor


class Scrub(Result):
    """A run of the scrub."""

    id: str
    finished_at: Timestamp
    completed: bool
    left: str | None


class Sweep(Result):
    """A run of the sweep, or a dry run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": None,
                    "dry_run": True,
                    "started_at": "2027-02-16T00:00:00Z",
                    "finished_at": None,
                    "purged": 3,
                    "failed": 0,
                    "held": 0,
                    "completed": True,
                    "by_purpose": {"card": 3},
                    "scrub": None,
                }
            ]
        }
    )

    id: str | None
    dry_run: bool
    started_at: Timestamp
    finished_at: Timestamp | None
    purged: Count
    failed: Count
    held: Count
    completed: bool
    by_purpose: dict[str, int]
    scrub: Scrub | None


class Attestation(Result):
    """An attestation, as it was signed."""

    model_config = ConfigDict(json_schema_extra={"examples": [ATTESTATION]})

    attestation: dict[str, Any]
    sha256: Sha256
    note: str | None


class ListedAttestation(Result):
    """An attestation in a list."""

    number: int
    at: Timestamp
    result: Literal["clean", "exceptions"]
    signed: bool
    sha256: Sha256


class Attestations(Result):
    """A page of attestations, newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"attestations": [], "next_before": None, "due_at": "2027-03-16T00:00:00Z"}]}
    )

    attestations: list[ListedAttestation]
    next_before: NextBefore
    due_at: Timestamp | None


class AccessReview(Result):
    """A review of access, as it was signed."""

    model_config = ConfigDict(json_schema_extra={"examples": [ACCESS_REVIEW]})

    access_review: dict[str, Any]
    sha256: Sha256
    note: str | None


class ListedAccessReview(Result):
    """A review of access in a list. ``purpose`` is null for all purposes."""

    number: int
    at: Timestamp
    purpose: str | None
    due_at: Timestamp
    signed: bool
    sha256: Sha256


class AccessReviews(Result):
    """A page of reviews of access, newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"access_reviews": [], "next_before": None}]})

    access_reviews: list[ListedAccessReview]
    next_before: NextBefore


class ConsistencyProof(Result):
    """A proof that one tree is the beginning of another."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"from": 1, "to": 2, "proof": ["…"]}]})

    from_: Count = Field(alias="from")
    to: Count
    proof: list[str] = Field(description="Hashes in base64.")


class Report(Result):
    """The compliance report. `vsql-vault schema report` prints its full JSON Schema."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "as_of": "2027-02-16T00:00:00Z",
                    "period": {"since": "2027-01-16T00:00:00Z", "until": "2027-02-16T00:00:00Z"},
                    "requirements": {},
                }
            ]
        },
    )

    as_of: Timestamp
    period: dict[str, Any]
    requirements: dict[str, Any]


class SandboxStep(Result):
    """One step of the sandbox."""

    state: str
    detail: str | None


class Plugin(Result):
    """A loaded plugin."""

    name: str
    distribution: str
    version: str


class Health(Result):
    """Whether the storage answers. All other members are for admins and auditors."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "ok"}]})

    status: Literal["ok", "full", "unavailable"] = Field(
        description="`full`: the disk of the storage is full; entries can be read and purged, but not stored."
    )
    version: str | None = None
    storage: dict[str, Any] | None = None
    hardening: dict[str, SandboxStep] | None = None
    plugins: list[Plugin] | None = None


class Live(Result):
    """That the process answers."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "live"}]})

    status: Literal["live"]


class Ready(Result):
    """Whether the process serves entries, or the reason why not."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ready"}, {"status": "unavailable", "reason": "quarantined"}]}
    )

    status: Literal["ready", "unavailable"]
    reason: Literal["ending", "quarantined", "storage_unavailable"] | None = None


class Control(Result):
    """A control and its state."""

    name: str
    state: Literal["ok", "failing", "not_in_use"]
    since: Timestamp
    detail: str | None
    requirements: list[str]


class Controls(Result):
    """All controls."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "failing": 0,
                    "controls": [
                        {
                            "name": "audit_log",
                            "state": "ok",
                            "since": "2027-02-16T00:00:00Z",
                            "detail": None,
                            "requirements": ["10.2.1"],
                        }
                    ],
                }
            ]
        }
    )

    failing: Count
    controls: list[Control]


class Acknowledgement(Result):
    """The cause and the remedy of a failed control."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "control": "sweep_ran",
                    "failed_at": "2027-02-16T04:00:12Z",
                    "cause": "The disk was full",
                    "remedy": "Twice the space, and an alert at 80 percent",
                    "acknowledged_at": "2027-02-16T09:30:00Z",
                    "app": "vault-admin",
                    "identity": None,
                }
            ]
        }
    )

    control: str
    failed_at: Timestamp
    cause: str
    remedy: str
    acknowledged_at: Timestamp
    app: str
    identity: str | None


class OpenApi(Result):
    """An OpenAPI document."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {"openapi": "3.1.0", "info": {"title": "vsqlvault", "version": "0"}, "paths": {}, "components": {}}
            ]
        },
    )

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
    components: dict[str, Any]


class FieldFault(Result):
    """A field, and the value that was expected there."""

    field: str
    expected: str


class Problem(Result):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:vsqlvault:problem:not-found",
                    "title": "There is no such entry",
                    "status": 404,
                    "request_id": "019afa3c5d0e7c41b2a9d3e4f5061730",
                }
            ]
        }
    )

    type: str = Field(pattern="^urn:vsqlvault:problem:[a-z0-9-]+$")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str | None = None
    request_id: Id
    errors: list[FieldFault] = []
