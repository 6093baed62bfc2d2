"""Policies, legal holds and API keys as JSON types with the names of the HTTP API.

They serve responses, audit rows and comparisons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy, Rule
from vsqlvault.model.times import format_time

StoredRule = AccessPolicy | RetentionPolicy | LegalHold


def rule_document(rule: StoredRule) -> dict[str, Any]:
    """Return the document of a policy or hold."""
    match rule:
        case AccessPolicy():
            return access_policy_document(rule)
        case RetentionPolicy():
            return retention_policy_document(rule)
        case LegalHold():
            return legal_hold_document(rule)


def version_document(rule: StoredRule) -> dict[str, Any]:
    """Return the document of one version; for an access policy it also has ``deleted``."""
    document = rule_document(rule)
    return {**document, "dropped": rule.dropped} if isinstance(rule, AccessPolicy) else document


def as_json(document: Mapping[str, Any]) -> str:
    """Return the text of a document for an audit row."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def access_policy_document(policy: AccessPolicy) -> dict[str, Any]:
    """Return the policy as JSON types."""
    return {
        "name": policy.name,
        "version": policy.version,
        "description": policy.description,
        "evaluator": policy.evaluator,
        "rules": {action.value: access_rule_document(rule) for action, rule in sorted(policy.rules.items())},
        "parameters": json.loads(policy.parameters),
        "built_in": policy.built_in,
        "created_by": policy.created_by,
        "created_at": _time(policy.created_at),
    }


def access_rule_document(rule: Rule) -> dict[str, Any]:
    """Return one rule of an access policy as JSON types."""
    return {
        "allowed_apps": None if rule.allowed_apps is None else sorted(rule.allowed_apps),
        "require_identity": rule.require_identity,
        "max_retrievals": rule.max_retrievals,
        "any_purpose": rule.any_purpose,
    }


def retention_policy_document(policy: RetentionPolicy) -> dict[str, Any]:
    """Return the policy as JSON types."""
    return {
        "purpose": policy.purpose,
        "version": policy.version,
        "max_retention_days": policy.max_retention_days,
        "default_ttl_days": policy.default_ttl_days,
        "purge_method": policy.purge_method,
        "require_purge_proof": True,
        "description": policy.description,
        "justification": policy.justification,
        "legal_basis": policy.legal_basis,
        "data_class": policy.data_class,
        **retention_limits(policy),
        "created_by": policy.created_by,
        "created_at": _time(policy.created_at),
    }


def retention_limits(policy: RetentionPolicy) -> dict[str, Any]:
    """Return the limits that the policy sets for the entries of its purpose, as JSON types."""
    allowed = policy.allowed_access_policies
    return {
        "allowed_access_policies": None if allowed is None else list(allowed),
        "max_value_bytes": policy.max_value_bytes,
        "required_metadata": list(policy.required_metadata),
        "inactivity_days": policy.inactivity_days,
    }


def legal_hold_document(hold: LegalHold) -> dict[str, Any]:
    """Return the hold as JSON types; of its selector the given members."""
    selector = hold.selector
    selected = {"purpose": selector.purpose, "external_id": selector.external_id, "owner_app": selector.owner_app}
    selected |= {"metadata": json.loads(selector.metadata) if selector.metadata else None}
    return {
        "name": hold.name,
        "version": hold.version,
        "state": "released" if hold.is_released else "active",
        "case_reference": hold.case_reference,
        "reason": hold.reason,
        "selector": {name: value for name, value in selected.items() if value is not None},
        "held_since": _time(hold.held_since),
        "created_by": hold.created_by,
        "created_at": _time(hold.created_at),
        "released_by": hold.released_by,
        "released_at": _time(hold.released_at),
    }


def api_key_document(key: ApiKeyRecord) -> dict[str, Any]:
    """Return what a key grants as JSON types; neither the key nor its digest."""
    return {
        "key_id": key.key_id,
        "app": key.app,
        "identity": key.identity,
        "purposes": ["*"] if key.purposes is None else sorted(key.purposes),
        "roles": sorted(key.roles),
        "description": key.description,
        "expires_at": _time(key.expires_at),
        "created_by": key.created_by,
        "created_at": format_time(key.created_at),
        "revoked_by": key.revoked_by,
        "revoked_at": _time(key.revoked_at),
    }


def _time(at: datetime | None) -> str | None:
    return format_time(at) if at else None
