"""``/admin/access-policies``: explains decisions and replays candidate policies."""

from __future__ import annotations

from typing import Any

from vsqlvault.errors import (
    BuiltInPolicy,
    ContentEncodingRefused,
    InvalidJson,
    InvalidQuery,
    PayloadTooLarge,
    ReplayRunning,
    RoleRequired,
    UnsupportedMediaType,
    ValidationFailed,
)
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.admin_bodies import ExplainBody, ReplayQuery
from vsqlvault.http.schemas.bodies import AccessPolicyBody, dump_json
from vsqlvault.http.schemas.responses import purge_row
from vsqlvault.http.schemas.results.rules import Explanation as ExplanationResult
from vsqlvault.http.schemas.results.rules import Replay
from vsqlvault.model.access import Allow, Deny
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.entry import Entry
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.times import format_time
from vsqlvault.service.access.explain import Explanation
from vsqlvault.service.access.replay import ChangedAnswer, Replayed
from vsqlvault.service.audit.rule_documents import legal_hold_document, retention_policy_document
from vsqlvault.service.roles import require_reader


async def explain(exchange: RequestContext) -> Reply:
    """Return how a request would be answered, and by which rules."""
    require_reader(exchange.call)
    question = (await exchange.body(ExplainBody)).question()
    return Reply(200, dump_json(_explanation(await exchange.vault.access.explain.explain(exchange.call, question))))


async def replay(exchange: RequestContext) -> Reply:
    """Return which past decisions a candidate policy would change."""
    name = exchange.request.params["name"]
    async with exchange.vault.rules.policies.naming(exchange.call, Audited.REPLAY_ACCESS_POLICY, name):
        require_reader(exchange.call)
        window = exchange.query(ReplayQuery).window()
        candidate = (await exchange.body(AccessPolicyBody)).policy(name)
    return Reply(200, dump_json(_replayed(await exchange.vault.access.replay.replay(exchange.call, candidate, window))))


def _replayed(found: Replayed) -> dict[str, Any]:
    return {
        "since": format_time(found.since),
        "until": format_time(found.until),
        "rows": found.rows,
        "complete": found.complete,
        "oldest_row_at": format_time(found.oldest) if found.oldest else None,
        "unchanged": found.unchanged,
        "granted_to_denied": found.granted_to_denied,
        "denied_to_granted": found.denied_to_granted,
        "refused_anyway": found.refused_anyway,
        "not_replayable": {"total": sum(found.not_replayable.values()), **dict(sorted(found.not_replayable.items()))},
        "changes": [_changed(change) for change in found.changes],
        "changes_left_out": found.changed - len(found.changes),
    }


def _changed(change: ChangedAnswer) -> dict[str, Any]:
    row = change.row
    denial = change.would_be if isinstance(change.would_be, Deny) else None
    return {
        "at": format_time(row.at),
        "request_id": row.request_id,
        "operation": row.operation.value,
        "purpose": row.purpose,
        "external_id": row.external_id,
        "app": row.app,
        "identity": row.identity,
        "was": {
            "outcome": row.outcome.value,
            "status": row.status,
            "reason": row.reason,
            "version": row.policy_version,
        },
        "would_be": {"decision": "deny" if denial else "allow", "reason": denial.reason if denial else None},
    }


def _explanation(found: Explanation) -> dict[str, Any]:
    decided, policy, refusal = found.decided, found.policy, found.refusal
    allows = decided is not None and isinstance(decided.decision, Allow)
    return {
        "decision": "allow" if allows else "deny",
        "policy": decided.policy if decided else None,
        "version": decided.version if decided else None,
        "reason": decided.reason if decided else refusal.reason if refusal else None,
        "in_force_since": format_time(policy.created_at) if policy and policy.created_at else None,
        "changed_by": policy.created_by if policy else None,
        "max_retrievals": found.allowed.max_retrievals if found.allowed else None,
        "answer": {
            "status": found.status,
            "slug": refusal.slug if refusal else None,
            "title": refusal.title() if refusal else None,
        },
        "at": format_time(found.at),
        "entry": _entry(found.entry, found) if found.entry else None,
        "retention_policy": _retention(found.retention) if found.retention else None,
        "legal_holds": [_hold(hold) for hold in found.holds],
        "last_purge": purge_row(found.last_purge.record, found.last_purge.scrubbed_at) if found.last_purge else None,
    }


def _entry(entry: Entry, found: Explanation) -> dict[str, Any]:
    retention_limit = found.retention.max_retention_days if found.retention else None
    return {
        "entry_id": entry.entry_id,
        "version": entry.version,
        "state": found.state.value if found.state else None,
        "owner_app": entry.owner_app,
        "access_policy": entry.access_policy,
        "created_at": format_time(entry.created_at),
        "expires_at": format_time(entry.expires_at),
        "effective_expires_at": format_time(entry.effective_expires_at(retention_limit)),
        "retrievals": entry.retrievals or None,
        "purged_at": format_time(entry.purged_at) if entry.purged_at else None,
        "purge_method": entry.purge_method,
    }


def _retention(policy: RetentionPolicy) -> dict[str, Any]:
    document = retention_policy_document(policy)
    wanted = (
        "purpose",
        "version",
        "max_retention_days",
        "default_ttl_days",
        "purge_method",
        "allowed_access_policies",
        "max_value_bytes",
        "required_metadata",
        "inactivity_days",
        "created_by",
        "created_at",
    )
    return {name: document[name] for name in wanted}


def _hold(hold: LegalHold) -> dict[str, Any]:
    document = legal_hold_document(hold)
    return {
        name: document[name] for name in ("name", "version", "case_reference", "reason", "held_since", "created_by")
    }


_BODY = (InvalidJson, PayloadTooLarge, UnsupportedMediaType, ContentEncodingRefused, ValidationFailed)

OPERATIONS = (
    Operation(
        method="POST",
        path="/admin/access-policies/explain",
        name="explain_access",
        result=ExplanationResult,
        summary="Explain how a request would be answered",
        description=(
            "`decision`, `policy`, `version` and `reason` are those of the access policy. `answer` is the response "
            "that the request would get. The result also shows since when the version applies, its author, when "
            "the entry expires, which legal holds keep it, and the newest row of the purge log for it. Nothing is "
            "carried out."
        ),
        handler=explain,
        audited=Audited.EXPLAIN_ACCESS,
        body=ExplainBody,
        answers={200: "The explanation. Nothing was carried out or counted."},
        problems=(RoleRequired, *_BODY),
        tag="admin",
    ),
    Operation(
        method="POST",
        path="/admin/access-policies/{name}/replay",
        name="replay_access_policy",
        result=Replay,
        summary="Replay past requests under a candidate policy",
        description=(
            "The body is the document of a PUT. The rows of the access log that this policy decided are decided "
            "again, newest first, up to `limit`. If a decision depends on something that the row does not contain, "
            "the row is counted in `not_replayable`. The policy is not changed."
        ),
        handler=replay,
        audited=Audited.REPLAY_ACCESS_POLICY,
        body=AccessPolicyBody,
        query=ReplayQuery,
        answers={200: "The decisions that would change. At most 1000 are listed."},
        problems=(RoleRequired, BuiltInPolicy, ReplayRunning, InvalidQuery, *_BODY),
        tag="admin",
    ),
)
