"""Access policies, retention policies and legal holds, their versions, and what is said about them."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import ConfigDict, Field

from vsqlvault.http.schemas.results.base import Count, Result, Timestamp
from vsqlvault.http.schemas.results.entries import ACCESS, PurgeRecord

RULE: dict[str, Any] = {
    "allowed_apps": ["@owner", "billing"],
    "require_identity": False,
    "max_retrievals": None,
    "any_purpose": False,
}
AUTHOR: dict[str, Any] = {"created_by": "vault-admin", "created_at": "2027-02-16T00:00:00Z"}
ACCESS_POLICY: dict[str, Any] = {
    "name": "billing-reads",
    "version": 1,
    "description": None,
    "evaluator": "rules",
    "rules": {"retrieve": RULE},
    "parameters": {},
    "built_in": False,
    **AUTHOR,
}
RETENTION_POLICY: dict[str, Any] = {
    "purpose": "card",
    "version": 1,
    "max_retention_days": 365,
    "default_ttl_days": 90,
    "purge_method": "physical-delete",
    "require_purge_proof": True,
    "description": None,
    "justification": None,
    "legal_basis": None,
    "data_class": None,
    "allowed_access_policies": None,
    "max_value_bytes": None,
    "required_metadata": [],
    "inactivity_days": None,
    **AUTHOR,
}
LEGAL_HOLD: dict[str, Any] = {
    "name": "case-17",
    "version": 1,
    "state": "active",
    "case_reference": "2027-17",
    "reason": "Pending claim",
    "selector": {"purpose": "card", "owner_app": "payments"},
    "held_since": "2027-02-16T00:00:00Z",
    **AUTHOR,
    "released_by": None,
    "released_at": None,
}


class AccessRule(Result):
    """Who may perform one operation. ``allowed_apps`` null: any app that has the purpose."""

    allowed_apps: list[str] | None
    require_identity: bool
    max_retrievals: int | None
    any_purpose: bool


class AccessRules(Result):
    """A rule for each operation. An operation without a rule is denied; inspecting then follows retrieving."""

    store: AccessRule | None = None
    retrieve: AccessRule | None = None
    inspect: AccessRule | None = None
    purge: AccessRule | None = None


class AccessPolicy(Result):
    """One version of an access policy."""

    model_config = ConfigDict(json_schema_extra={"examples": [ACCESS_POLICY]})

    name: str
    version: int
    description: str | None
    evaluator: str
    rules: AccessRules
    parameters: dict[str, Any]
    built_in: bool
    created_by: str | None
    created_at: Timestamp | None


class SavedAccessPolicy(AccessPolicy):
    """An access policy as it was put in force."""

    warnings: list[str] = Field(default=[], description="Names that nothing defines.")


class AccessPolicyVersion(AccessPolicy):
    """One version of an access policy, which may be the one that put it out of force."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**ACCESS_POLICY, "dropped": False}]})

    dropped: bool


class AccessPolicies(Result):
    """All access policies in force."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"access_policies": [ACCESS_POLICY]}]})

    access_policies: list[AccessPolicy]


class RetentionPolicy(Result):
    """One version of a retention policy."""

    model_config = ConfigDict(json_schema_extra={"examples": [RETENTION_POLICY]})

    purpose: str
    version: int
    max_retention_days: int
    default_ttl_days: int | None
    purge_method: str
    require_purge_proof: bool
    description: str | None
    justification: str | None
    legal_basis: str | None
    data_class: str | None
    allowed_access_policies: list[str] | None
    max_value_bytes: int | None
    required_metadata: list[str]
    inactivity_days: int | None
    created_by: str | None
    created_at: Timestamp | None


class RetentionEffect(Result):
    """The effect of a change of the maximum on stored entries."""

    expired_at_once: Count
    oldest_created_at: Timestamp | None
    revived: Count
    effective_expiry_changed: Count


class SavedRetentionPolicy(RetentionPolicy):
    """A retention policy as it was put in force, or would be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **RETENTION_POLICY,
                    "effect": {
                        "expired_at_once": 0,
                        "oldest_created_at": None,
                        "revived": 0,
                        "effective_expiry_changed": 0,
                    },
                }
            ]
        }
    )

    effect: RetentionEffect | None = Field(description="Null where the storage cannot count it now.")
    dry_run: bool = False
    warnings: list[str] = Field(default=[], description="Names that nothing defines.")


class RetentionPolicies(Result):
    """All retention policies in force."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"retention_policies": [RETENTION_POLICY]}]})

    retention_policies: list[RetentionPolicy]


class HoldSelector(Result):
    """The entries under a hold match all members that are given."""

    purpose: str | None = None
    external_id: str | None = None
    owner_app: str | None = None
    metadata: dict[str, Any] | None = None


class LegalHold(Result):
    """One version of a legal hold, which may be its release."""

    model_config = ConfigDict(json_schema_extra={"examples": [LEGAL_HOLD]})

    name: str
    version: int
    state: Literal["active", "released"]
    case_reference: str
    reason: str
    selector: HoldSelector
    held_since: Timestamp | None
    created_by: str | None
    created_at: Timestamp | None
    released_by: str | None
    released_at: Timestamp | None


class SavedLegalHold(LegalHold):
    """A legal hold as it was placed or changed."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**LEGAL_HOLD, "entries_held": 12, "entries_held_is_complete": True}]}
    )

    entries_held: Count | None = Field(description="Active and expired entries under the hold. Null: not counted.")
    entries_held_is_complete: bool = Field(description="False: there were too many entries to examine all.")
    warnings: list[str] = Field(default=[], description="Names that nothing defines.")


class LegalHolds(Result):
    """Legal holds."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"legal_holds": [LEGAL_HOLD]}]})

    legal_holds: list[LegalHold]


NextBefore = Annotated[int | None, Field(description="Send it as `before` for the next page. Null: there is no more.")]
Version = TypeVar("Version", bound=Result)


class _Versions(Result, Generic[Version]):
    versions: list[Version]
    next_before: NextBefore


class AccessPolicyVersions(_Versions[AccessPolicyVersion]):
    """A page of versions of an access policy, newest first."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"versions": [{**ACCESS_POLICY, "dropped": False}], "next_before": None}]}
    )


class RetentionPolicyVersions(_Versions[RetentionPolicy]):
    """A page of versions of a retention policy, newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"versions": [RETENTION_POLICY], "next_before": None}]})


class LegalHoldVersions(_Versions[LegalHold]):
    """A page of versions of a legal hold, newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"versions": [LEGAL_HOLD], "next_before": None}]})


class VersionAuthor(Result):
    """A version, its author and its time."""

    version: int
    created_by: str | None
    created_at: Timestamp | None


class VersionChange(Result):
    """One difference. A side without the member has no value."""

    path: str
    old: Any = None
    new: Any = None


class VersionDiff(Result):
    """The differences between two versions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "from": {"version": 1, **AUTHOR},
                    "to": {"version": 2, **AUTHOR},
                    "changes": [{"path": "default_ttl_days", "old": 90, "new": 30}],
                }
            ]
        }
    )

    from_: VersionAuthor = Field(alias="from")
    to: VersionAuthor
    changes: list[VersionChange]


class ExplainedAnswer(Result):
    """The status and the problem that the request would be answered with."""

    status: int
    slug: str | None
    title: str | None


class ExplainedEntry(Result):
    """The entry that the question is about."""

    entry_id: str
    version: int
    state: Literal["active", "expired", "purged"] | None
    owner_app: str
    access_policy: str
    created_at: Timestamp
    expires_at: Timestamp
    effective_expires_at: Timestamp
    retrievals: Count | None
    purged_at: Timestamp | None
    purge_method: str | None


class ExplainedRetention(Result):
    """The retention policy of the purpose."""

    purpose: str
    version: int
    max_retention_days: int
    default_ttl_days: int | None
    purge_method: str
    allowed_access_policies: list[str] | None
    max_value_bytes: int | None
    required_metadata: list[str]
    inactivity_days: int | None
    created_by: str | None
    created_at: Timestamp | None


class ExplainedHold(Result):
    """A legal hold that keeps the entry."""

    name: str
    version: int
    case_reference: str
    reason: str
    held_since: Timestamp | None
    created_by: str | None


class Explanation(Result):
    """How a request would be answered, and by which rules."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "decision": "deny",
                    "policy": "owner-only",
                    "version": 1,
                    "reason": "app-not-allowed",
                    "in_force_since": None,
                    "changed_by": None,
                    "max_retrievals": None,
                    "answer": {
                        "status": 403,
                        "slug": "access-denied",
                        "title": "The access policy does not allow this",
                    },
                    "at": "2027-02-16T00:00:00Z",
                    "entry": None,
                    "retention_policy": None,
                    "legal_holds": [],
                    "last_purge": None,
                }
            ]
        }
    )

    decision: Literal["allow", "deny"]
    policy: str | None
    version: int | None
    reason: str | None
    in_force_since: Timestamp | None
    changed_by: str | None
    max_retrievals: int | None
    answer: ExplainedAnswer
    at: Timestamp
    entry: ExplainedEntry | None
    retention_policy: ExplainedRetention | None
    legal_holds: list[ExplainedHold]
    last_purge: PurgeRecord | None


class PastDecision(Result):
    """What was decided."""

    outcome: Literal["granted", "denied"]
    status: int
    reason: str | None
    version: int | None


class CandidateDecision(Result):
    """What the candidate decides."""

    decision: Literal["allow", "deny"]
    reason: str | None


class ChangedDecision(Result):
    """A decision that the candidate would have changed."""

    at: Timestamp
    request_id: str
    operation: str
    purpose: str | None
    external_id: str | None
    app: str | None
    identity: str | None
    was: PastDecision
    would_be: CandidateDecision


class Replay(Result):
    """The past decisions that a candidate policy would have changed."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "since": "2027-02-01T00:00:00Z",
                    "until": "2027-02-16T00:00:00Z",
                    "rows": 1,
                    "complete": True,
                    "oldest_row_at": "2027-02-16T00:00:00Z",
                    "unchanged": 0,
                    "granted_to_denied": 1,
                    "denied_to_granted": 0,
                    "refused_anyway": 0,
                    "not_replayable": {"total": 0},
                    "changes": [
                        {
                            **{
                                name: ACCESS[name]
                                for name in (
                                    "at", "request_id", "operation", "purpose", "external_id", "app", "identity"
                                )
                            },
                            "was": {"outcome": "granted", "status": 200, "reason": None, "version": 1},
                            "would_be": {"decision": "deny", "reason": "app-not-allowed"},
                        }
                    ],
                    "changes_left_out": 0,
                }
            ]
        }
    )  # fmt: skip

    since: Timestamp
    until: Timestamp
    rows: Count
    complete: bool
    oldest_row_at: Timestamp | None
    unchanged: Count
    granted_to_denied: Count
    denied_to_granted: Count
    refused_anyway: Count
    not_replayable: dict[str, int] = Field(description="`total`, and the number of rows by reason.")
    changes: list[ChangedDecision]
    changes_left_out: Count
