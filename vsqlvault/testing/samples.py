"""Builders of sample values: each returns a complete, plausible value, and takes the fields that a test needs."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from vsqlvault.interfaces.writes import Change, Expectation, StoreEntry, Write
from vsqlvault.model.access import Action
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.api_key import ApiKeyRecord, key_id_of
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.control import ControlChange, ControlState
from vsqlvault.model.entry import Entry, EntryKey, ValueEncoding
from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.ids import new_timed_id
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy, Rule
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.model.purge import PurgeReason, PurgeRecord, ScrubRecord, SweepRecord

T0 = datetime(2027, 1, 15, 12, 0, 0, 123456, tzinfo=UTC)
"""The time of the samples."""


def an_id() -> str:
    """Return 32 hex digits, different each time."""
    return secrets.token_hex(16)


def an_entry(external_id: str = "pay-1", value: bytes = b"cipher", **fields: Any) -> Entry:
    """Return an entry of purpose ``card`` whose size and hash fit ``value``."""
    made: dict[str, Any] = {
        "purpose": "card",
        "external_id": external_id,
        "version": 1,
        "encoding": ValueEncoding.UTF_8,
        "value_sha256": hashlib.sha256(value).hexdigest(),
        "value_size": len(value),
        "algorithm_hint": "AES-256-GCM",
        "key_ref": "akv:kv:card-key-v7",
        "metadata": "{}",
        "owner_app": "payments",
        "owner_identity": None,
        "access_policy": "owner-only",
        "created_at": T0,
        "updated_at": T0,
        "expires_at": T0 + timedelta(days=90),
    }
    made |= fields
    made.setdefault("entry_id", new_timed_id(made["created_at"]))
    return Entry(**made)


def an_access_record(**fields: Any) -> AccessRecord:
    """Return a row of the access log: a granted retrieval at ``T0``."""
    made: dict[str, Any] = {
        "at": T0,
        "request_id": an_id(),
        "operation": Operation.RETRIEVE,
        "outcome": Outcome.GRANTED,
        "status": 200,
        "purpose": "card",
        "external_id": "pay-1",
        "app": "payments",
        "method": "api-key",
        "credential_id": "sha256:0123456789ab",
        "client_address": "192.0.2.7",
    }
    return AccessRecord(**made | fields)


def a_purge_record(entry: Entry | None = None, **fields: Any) -> PurgeRecord:
    """Return a row of the purge log for ``entry``, purged on request of its owner."""
    about = entry or an_entry()
    made: dict[str, Any] = {
        "purge_id": an_id(),
        "purpose": about.purpose,
        "external_id": about.external_id,
        "entry_id": about.entry_id,
        "entry_version": about.version,
        "method": "physical-delete",
        "reason": PurgeReason.REQUESTED,
        "policy_reference": None,
        "proof_hash": hashlib.sha256(about.entry_id.encode("ascii")).hexdigest(),
        "value_size": about.value_size,
        "key_ref": about.key_ref,
        "owner_app": about.owner_app,
        "purged_at": T0,
        "expired_at": about.expires_at,
        "app": about.owner_app,
        "identity": None,
        "request_id": an_id(),
    }
    return PurgeRecord(**made | fields)


def an_access_policy(name: str = "tellers", version: int = 1, **fields: Any) -> AccessPolicy:
    """Return a policy by which ``tellers`` may retrieve and the owner may purge."""
    made: dict[str, Any] = {
        "evaluator": "rules",
        "rules": {
            Action.STORE: Rule(),
            Action.RETRIEVE: Rule(allowed_apps=frozenset({"tellers"})),
            Action.PURGE: Rule(allowed_apps=frozenset({"@owner"})),
        },
        "created_by": "vault-admin",
        "created_at": T0,
    }
    return AccessPolicy(name, version, **made | fields)


def a_retention_policy(purpose: str = "card", version: int = 1, **fields: Any) -> RetentionPolicy:
    """Return a policy with a maximum of one year, ninety days by default, that deletes rows."""
    made: dict[str, Any] = {
        "max_retention_days": 365,
        "default_ttl_days": 90,
        "purge_method": "physical-delete",
        "created_by": "vault-admin",
        "created_at": T0,
    }
    return RetentionPolicy(purpose, version, **made | fields)


def an_api_key(text: str = "vsk_sample", version: int = 1, **fields: Any) -> ApiKeyRecord:
    """Return the record of the key ``text`` of ``payments``, with the purpose ``card`` and without expiry."""
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()
    made: dict[str, Any] = {
        "key_id": key_id_of(digest),
        "digest": digest,
        "app": "payments",
        "identity": None,
        "purposes": frozenset({"card"}),
        "roles": frozenset(),
        "description": None,
        "expires_at": None,
        "created_by": "vault-admin",
        "created_at": T0,
    }
    return ApiKeyRecord(version=version, **made | fields)


def a_legal_hold(name: str = "case-17", version: int = 1, **fields: Any) -> LegalHold:
    """Return a hold in force on all entries of ``card``; ``selector`` takes another ``HoldSelector``."""
    made: dict[str, Any] = {
        "case_reference": "17 O 4/27",
        "reason": "Litigation over chargebacks",
        "selector": HoldSelector(purpose="card"),
        "held_since": T0,
        "created_by": "vault-admin",
        "created_at": T0,
    }
    return LegalHold(name, version, **made | fields)


def a_sweep(**fields: Any) -> SweepRecord:
    """Return the record of a sweep that took one minute and purged seven entries."""
    made: dict[str, Any] = {
        "sweep_id": an_id(),
        "started_at": T0,
        "finished_at": T0 + timedelta(minutes=1),
        "trigger": "timer",
        "purged": 7,
        "failed": 0,
        "completed": True,
    }
    return SweepRecord(**made | fields)


def a_scrub(**fields: Any) -> ScrubRecord:
    """Return the record of a complete scrub."""
    made: dict[str, Any] = {
        "scrub_id": an_id(),
        "started_at": T0 - timedelta(minutes=1),
        "finished_at": T0,
        "trigger": "timer",
        "through": 0,
        "rewritten": 16,
        "completed": True,
        "left": None,
    }
    return ScrubRecord(**made | fields)


def a_control_change(name: str = "sweep_ran", number: int = 1, **fields: Any) -> ControlChange:
    """Return a change after which a control is ok."""
    made: dict[str, Any] = {"state": ControlState.OK, "at": T0, "detail": "the last sweep ended at noon"}
    return ControlChange(name, number, **made | fields)


def an_attestation(number: int = 1, **fields: Any) -> Attestation:
    """Return an attestation without findings. Its document contains only its number."""
    made: dict[str, Any] = {"at": T0, "is_clean": True, "document": f'{{"number":{number}}}', "note": "a note\n"}
    return Attestation(number, **made | fields)


def an_access_review(number: int = 1, **fields: Any) -> AccessReview:
    """Return a review of all purposes. Its document contains only its number."""
    made: dict[str, Any] = {
        "at": T0, "purpose": None, "due_at": T0 + timedelta(days=180), "document": f'{{"number":{number}}}', "note": "a note\n",
    }  # fmt: skip
    return AccessReview(number, **made | fields)


def a_write(*changes: Change, expects: tuple[Expectation, ...] = (), purges: tuple[PurgeRecord, ...] = ()) -> Write:
    """Return a write of these changes, with one row of the access log."""
    return Write((an_access_record(operation=Operation.STORE),), expects, changes, purges)


def storing(external_id: str = "pay-1", value: bytes = b"cipher", **fields: Any) -> Write:
    """Return a write that stores an entry, whether or not one exists."""
    return a_write(StoreEntry(an_entry(external_id, value, **fields), value))


def a_principal(app: str = "payments", *roles: Role, **fields: Any) -> Principal:
    """Return an app with every purpose and these roles."""
    principal = Principal(app=app, method="api-key", credential_id=f"key-of-{app}", roles=frozenset(roles))
    return replace(principal, **fields)


def a_call(app: str = "payments", *roles: Role, **fields: Any) -> Call:
    """Return a call by ``a_principal`` with a new request id."""
    return Call(a_principal(app, *roles, **fields), an_id(), "192.0.2.7")


def keys_of(*external_ids: str, purpose: str = "card") -> list[EntryKey]:
    """Return the keys of these ids."""
    return [EntryKey(purpose, external_id) for external_id in external_ids]
