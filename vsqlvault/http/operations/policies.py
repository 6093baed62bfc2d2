"""``/admin``: access policies, retention policies and the sweep."""

from __future__ import annotations

from typing import Any

from vsqlvault.errors import (
    BuiltInPolicy,
    ClockJumped,
    ContentEncodingRefused,
    InvalidJson,
    InvalidQuery,
    PayloadTooLarge,
    PolicyInUse,
    PolicyNotFound,
    PreconditionFailed,
    RoleRequired,
    SweepRunning,
    UnsupportedMediaType,
    ValidationFailed,
)
from vsqlvault.http.conditions import read_version_preconditions, version_etag
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.operations.known_apps import misspelt_purpose, undefined_apps
from vsqlvault.http.schemas.bodies import AccessPolicyBody, RetentionPolicyBody, dump_json
from vsqlvault.http.schemas.queries import RetentionPolicyQuery, SweepQuery
from vsqlvault.http.schemas.responses import sweep_document
from vsqlvault.http.schemas.results.rules import (
    AccessPolicies,
    RetentionPolicies,
    SavedAccessPolicy,
    SavedRetentionPolicy,
)
from vsqlvault.http.schemas.results.rules import AccessPolicy as AccessPolicyResult
from vsqlvault.http.schemas.results.rules import RetentionPolicy as RetentionPolicyResult
from vsqlvault.http.schemas.results.service import Sweep
from vsqlvault.interfaces.storage import RetentionLimitEffect
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.policy import ADMIN, OWNER, AccessPolicy, RetentionPolicy
from vsqlvault.model.times import format_time
from vsqlvault.service.audit.rule_documents import access_policy_document, retention_policy_document, rule_document
from vsqlvault.service.roles import require_admin, require_reader
from vsqlvault.service.rules.policies import SavedRetention
from vsqlvault.service.rules.rule_changes import RuleView


async def put_retention_policy(exchange: RequestContext) -> Reply:
    """Set a retention policy, or report what it would do."""
    purpose, policies, call = exchange.request.params["purpose"], exchange.vault.rules.policies, exchange.call
    async with policies.naming(call, Audited.CHANGE_RETENTION_POLICY, purpose):
        require_admin(call)
        dry_run = exchange.query(RetentionPolicyQuery).dry_run
        preconditions = read_version_preconditions(exchange.request)
        wanted = (await exchange.body(RetentionPolicyBody)).policy(purpose)
    if dry_run:
        would_be = await policies.preview_retention_policy(call, wanted, preconditions)
        return Reply(200, dump_json({**await _saved(exchange, would_be), "dry_run": True}))
    saved = await policies.save_retention_policy(call, wanted, preconditions)
    etag = ("ETag", version_etag(saved.policy.version))
    return Reply(201 if saved.is_new else 200, dump_json(await _saved(exchange, saved)), headers=[etag])


async def _saved(exchange: RequestContext, saved: SavedRetention) -> dict[str, Any]:
    warnings = [*saved.warnings, *(await misspelt_purpose(exchange, saved.policy.purpose) if saved.is_new else ())]
    return {
        **retention_policy_document(saved.policy),
        "effect": _effect(saved.effect) if saved.effect else None,
        **({"warnings": warnings} if warnings else {}),
    }


def _effect(effect: RetentionLimitEffect) -> dict[str, Any]:
    oldest = effect.oldest_created_at
    return {
        "expired_at_once": effect.expired_at_once,
        "oldest_created_at": format_time(oldest) if oldest else None,
        "revived": effect.revived,
        "effective_expiry_changed": effect.changed,
    }


async def get_retention_policy(exchange: RequestContext) -> Reply:
    """Return the retention policy in force."""
    purpose = exchange.request.params["purpose"]
    policies = exchange.vault.rules.policies
    async with policies.naming(exchange.call, Audited.READ_RETENTION_POLICY, purpose):
        require_reader(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
    return _shown(await policies.view_retention_policy(exchange.call, purpose, preconditions))


async def list_retention_policies(exchange: RequestContext) -> Reply:
    """Return all retention policies in force."""
    policies = await exchange.vault.rules.policies.retention_policies(exchange.call)
    return Reply(200, dump_json({"retention_policies": [retention_policy_document(policy) for policy in policies]}))


async def put_access_policy(exchange: RequestContext) -> Reply:
    """Set an access policy."""
    name = exchange.request.params["name"]
    async with exchange.vault.rules.policies.naming(exchange.call, Audited.CHANGE_ACCESS_POLICY, name):
        require_admin(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
        wanted = (await exchange.body(AccessPolicyBody)).policy(name)
    policy, is_new = await exchange.vault.rules.policies.save_access_policy(exchange.call, wanted, preconditions)
    headers = [("ETag", version_etag(policy.version))]
    named = {app for rule in policy.rules.values() for app in rule.allowed_apps or ()} - {OWNER, ADMIN}
    warnings = undefined_apps(exchange, named)
    document = {**rule_document(policy), **({"warnings": list(warnings)} if warnings else {})}
    return Reply(201 if is_new else 200, dump_json(document), headers=headers)


async def get_access_policy(exchange: RequestContext) -> Reply:
    """Return the access policy in force."""
    name, policies = exchange.request.params["name"], exchange.vault.rules.policies
    async with policies.naming(exchange.call, Audited.READ_ACCESS_POLICY, name):
        require_reader(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
    return _shown(await policies.view_access_policy(exchange.call, name, preconditions))


async def list_access_policies(exchange: RequestContext) -> Reply:
    """Return all access policies in force."""
    policies = await exchange.vault.rules.policies.access_policies(exchange.call)
    return Reply(200, dump_json({"access_policies": [access_policy_document(policy) for policy in policies]}))


async def delete_access_policy(exchange: RequestContext) -> Reply:
    """Delete an access policy and return its last version."""
    name = exchange.request.params["name"]
    async with exchange.vault.rules.policies.naming(exchange.call, Audited.DELETE_ACCESS_POLICY, name):
        require_admin(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
    policy = await exchange.vault.rules.policies.delete_access_policy(exchange.call, name, preconditions)
    return Reply(200, dump_json(access_policy_document(policy)))


async def sweep(exchange: RequestContext) -> Reply:
    """Purge expired entries, or count them."""
    query = exchange.query(SweepQuery)
    await exchange.no_body()
    count = await exchange.vault.purge.sweeper.sweep(
        exchange.call, dry_run=query.dry_run, confirm_clock=query.confirm_clock
    )
    return Reply(200, dump_json(sweep_document(count)))


def _shown(viewed: RuleView[AccessPolicy] | RuleView[RetentionPolicy]) -> Reply:
    headers = [("ETag", version_etag(viewed.rule.version))]
    if viewed.unmodified:
        return Reply(304, content_type=None, headers=headers)
    return Reply(200, dump_json(rule_document(viewed.rule)), headers=headers)


_BODY = (InvalidJson, PayloadTooLarge, UnsupportedMediaType, ContentEncodingRefused, ValidationFailed)
_ETAG_HEADER = {"ETag": "The version in force, for If-Match."}
_SAVED = {201: "Created.", 200: "Changed, as a new version."}

OPERATIONS = (
    Operation(
        method="PUT",
        path="/admin/retention-policies/{purpose}",
        name="put_retention_policy",
        result=SavedRetentionPolicy,
        summary="Create or update a retention policy",
        description=(
            "Every change is a new version with author and time, and also applies to stored entries. `effect` "
            "reports how many entries a shorter maximum expires at once. `dry_run=true` only reports this and does "
            "not change the policy."
        ),
        handler=put_retention_policy,
        audited=Audited.CHANGE_RETENTION_POLICY,
        body=RetentionPolicyBody,
        query=RetentionPolicyQuery,
        answers=_SAVED,
        headers=_ETAG_HEADER,
        problems=(RoleRequired, PreconditionFailed, InvalidQuery, *_BODY),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/retention-policies/{purpose}",
        name="get_retention_policy",
        result=RetentionPolicyResult,
        summary="Read a retention policy",
        handler=get_retention_policy,
        audited=Audited.READ_RETENTION_POLICY,
        answers={200: "The version in force.", 304: "The caller has this version."},
        headers=_ETAG_HEADER,
        problems=(RoleRequired, PolicyNotFound, PreconditionFailed),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/retention-policies",
        name="list_retention_policies",
        result=RetentionPolicies,
        summary="List retention policies",
        handler=list_retention_policies,
        audited=Audited.READ_RETENTION_POLICY,
        answers={200: "All retention policies in force."},
        problems=(RoleRequired,),
        tag="admin",
    ),
    Operation(
        method="PUT",
        path="/admin/access-policies/{name}",
        name="put_access_policy",
        result=SavedAccessPolicy,
        summary="Create or update an access policy",
        description=(
            "`rules` has a rule for each operation: store, retrieve, inspect, purge. `allowed_apps` null allows "
            "any app with the purpose. A list may contain `@owner` and `@admin`."
        ),
        handler=put_access_policy,
        audited=Audited.CHANGE_ACCESS_POLICY,
        body=AccessPolicyBody,
        answers=_SAVED,
        headers=_ETAG_HEADER,
        problems=(RoleRequired, BuiltInPolicy, PreconditionFailed, *_BODY),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/access-policies/{name}",
        name="get_access_policy",
        result=AccessPolicyResult,
        summary="Read an access policy",
        handler=get_access_policy,
        audited=Audited.READ_ACCESS_POLICY,
        answers={200: "The version in force.", 304: "The caller has this version."},
        headers=_ETAG_HEADER,
        problems=(RoleRequired, PolicyNotFound, PreconditionFailed),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/access-policies",
        name="list_access_policies",
        result=AccessPolicies,
        summary="List access policies",
        handler=list_access_policies,
        audited=Audited.READ_ACCESS_POLICY,
        answers={200: "All access policies in force, including the built-in ones."},
        problems=(RoleRequired,),
        tag="admin",
    ),
    Operation(
        method="DELETE",
        path="/admin/access-policies/{name}",
        name="delete_access_policy",
        result=AccessPolicyResult,
        summary="Delete an access policy",
        handler=delete_access_policy,
        audited=Audited.DELETE_ACCESS_POLICY,
        answers={200: "Deleted. The response is its last version."},
        problems=(RoleRequired, PolicyNotFound, BuiltInPolicy, PolicyInUse, PreconditionFailed),
        tag="admin",
    ),
    Operation(
        method="POST",
        path="/admin/purge/sweep",
        name="sweep",
        result=Sweep,
        summary="Run a purge sweep",
        description=(
            "Purges all expired entries. `dry_run=true` only counts and writes nothing to the purge log. "
            "`confirm_clock=true` confirms that the storage's clock is correct although it jumped forward by more "
            "than a day."
        ),
        handler=sweep,
        audited=Audited.SWEEP,
        query=SweepQuery,
        answers={200: "What was purged, or would be purged."},
        problems=(RoleRequired, SweepRunning, ClockJumped, InvalidQuery),
        tag="admin",
    ),
)
