"""Converts between rows of PostgreSQL and values of the model. asyncpg passes aware times unchanged."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from vsqlvault.interfaces.storage import LogRow
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry, EntryVersion, ValueEncoding
from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import PurgeReason, PurgeRecord, ScrubRecord, SweepRecord
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.leaf import row_hash
from vsqlvault_plugins.storage.decoding import Row, names_of, names_text, readable, rules_of, rules_text

_ENCODINGS = {encoding.value: encoding for encoding in ValueEncoding}


@readable
def entry_of(row: Row) -> Entry:
    """Return the entry of the first nineteen columns."""
    (purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
     owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at,
     purge_method) = row[:19]  # fmt: skip
    return Entry(
        purpose, external_id, entry_id, version, _ENCODINGS[encoding], value_sha256, value_size, algorithm_hint, key_ref,
        metadata, owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at,
        purge_method,
    )  # fmt: skip


def put_of(write: int, fresh: bool, entry: Entry, value: bytes) -> Row:
    """Return a ``vault.entry_put``. ``fresh``: no row may exist."""
    return (
        write, fresh, entry.purpose, entry.external_id, entry.entry_id, entry.version, entry.encoding,
        entry.value_sha256, entry.value_size, entry.algorithm_hint, entry.key_ref, entry.metadata, entry.owner_app,
        entry.owner_identity, entry.access_policy, entry.created_at, entry.updated_at, entry.expires_at,
        entry.retrievals, entry.purged_at, entry.purge_method, value,
    )  # fmt: skip


def access_row(write: int, record: AccessRecord, leaf: bytes | None = None) -> Row:
    """Return a ``vault.access_row``."""
    entry_id, entry_version = record.stamp or (None, None)
    return (
        write, record.at, record.request_id, record.operation, record.outcome, record.status, record.purpose,
        record.external_id, entry_id, entry_version, record.app, record.identity, record.method, record.credential_id,
        record.client_address, record.untrusted_forwarding, record.reason, record.policy, record.policy_version,
        record.count, record.detail, record.old_value, record.new_value, leaf or row_hash(record), record.role,
    )  # fmt: skip


@readable
def access_row_of(row: Row) -> LogRow[AccessRecord]:
    """Return the row of ``access_log`` that begins with its position."""
    (position, at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity,
     method, credential_id, client_address, untrusted, reason, policy, policy_version, count, detail, old_value,
     new_value, role) = row  # fmt: skip
    record = AccessRecord(
        at=at, request_id=request_id, operation=Operation(operation), outcome=Outcome(outcome), status=status,
        purpose=purpose, external_id=external_id,
        stamp=EntryVersion(entry_id, entry_version) if entry_id is not None else None, app=app, identity=identity,
        method=method, credential_id=credential_id, client_address=client_address, untrusted_forwarding=untrusted,
        reason=reason, policy=policy, policy_version=policy_version, count=count, detail=detail, old_value=old_value,
        new_value=new_value, role=role,
    )  # fmt: skip
    return LogRow(position, record)


def purge_row(write: int, record: PurgeRecord, leaf: bytes | None = None) -> Row:
    """Return a ``vault.purge_row``."""
    return (
        write, record.purge_id, record.purpose, record.external_id, record.entry_id, record.entry_version, record.method,
        record.reason, record.policy_reference, record.proof_hash, record.value_size, record.key_ref,
        record.owner_app, record.purged_at, record.expired_at, record.app, record.identity, record.request_id,
        leaf or row_hash(record),
    )  # fmt: skip


@readable
def purge_row_of(row: Row) -> LogRow[PurgeRecord]:
    """Return the row of ``purge_log`` that begins with its position."""
    (position, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
     value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id) = row  # fmt: skip
    record = PurgeRecord(
        purge_id, purpose, external_id, entry_id, entry_version, method, PurgeReason(reason), policy_reference, proof_hash,
        value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id,
    )  # fmt: skip
    return LogRow(position, record)


def access_policy_row(policy: AccessPolicy, created_at: datetime) -> Row:
    """Return the columns of ``access_policies`` for a version in force."""
    return (
        policy.name, policy.version, policy.evaluator, rules_text(policy), policy.parameters,
        policy.description, policy.created_by, created_at, False,
    )  # fmt: skip


@readable
def access_policy_of(row: Row) -> AccessPolicy:
    """Return the policy of a row of ``access_policies``."""
    name, version, evaluator, rules, parameters, description, created_by, created_at, dropped = row
    return AccessPolicy(
        name=name,
        version=version,
        evaluator=evaluator,
        rules=rules_of(rules),
        parameters=parameters,
        description=description,
        created_by=created_by,
        created_at=created_at,
        dropped=bool(dropped),
    )


def retention_policy_row(policy: RetentionPolicy, created_at: datetime) -> Row:
    """Return the columns of ``retention_policies``."""
    return (
        policy.purpose, policy.version, policy.max_retention_days, policy.default_ttl_days, policy.purge_method,
        policy.description, policy.justification, policy.legal_basis, policy.data_class, policy.created_by, created_at,
        policy.allowed_access_policies, policy.max_value_bytes, policy.required_metadata or None, policy.inactivity_days,
    )  # fmt: skip


@readable
def retention_policy_of(row: Row) -> RetentionPolicy:
    """Return the policy of a row of ``retention_policies``."""
    allowed, required = (None if names is None else tuple(names) for names in (row[11], row[13]))
    members: list[Any] = [*row[:11], allowed, row[12], required or (), row[14]]
    return RetentionPolicy(*members)


def api_key_row(key: ApiKeyRecord) -> Row:
    """Return the columns of ``api_keys``."""
    return (
        key.key_id, key.version, key.digest, key.app, key.identity, names_text(key.purposes), names_text(key.roles),
        key.description, key.expires_at, key.created_by, key.created_at, key.revoked_by, key.revoked_at,
    )  # fmt: skip


def legal_hold_row(hold: LegalHold, held_since: datetime, created_at: datetime) -> Row:
    """Return the columns of ``legal_holds``."""
    selector = hold.selector
    return (
        hold.name, hold.version, hold.case_reference, hold.reason, selector.purpose, selector.external_id,
        selector.owner_app, selector.metadata, held_since, hold.created_by, created_at, hold.released_by,
        hold.released_at,
    )  # fmt: skip


@readable
def legal_hold_of(row: Row) -> LegalHold:
    """Return the hold of a row of ``legal_holds``."""
    name, version, case_reference, reason, purpose, external_id, owner_app, metadata, *rest = row
    return LegalHold(
        name, version, case_reference, reason, HoldSelector(purpose, external_id, owner_app, metadata), *rest
    )


@readable
def api_key_of(row: Row) -> ApiKeyRecord:
    """Return the key of a row of ``api_keys``."""
    (key_id, version, digest, app, identity, purposes, roles, description, expires_at, created_by, created_at, revoked_by,
     revoked_at) = row  # fmt: skip
    return ApiKeyRecord(
        key_id=key_id, version=version, digest=digest, app=app, identity=identity, purposes=names_of(purposes),
        roles=frozenset(Role(role) for role in names_of(roles) or ()), description=description, expires_at=expires_at,
        created_by=created_by, created_at=created_at, revoked_by=revoked_by, revoked_at=revoked_at,
    )  # fmt: skip


def sweep_row(sweep: SweepRecord) -> Row:
    """Return the columns of ``sweeps``."""
    return (
        sweep.sweep_id,
        sweep.started_at,
        sweep.finished_at,
        sweep.trigger,
        sweep.purged,
        sweep.failed,
        sweep.completed,
        sweep.held,
    )


def scrub_row(scrub: ScrubRecord) -> Row:
    """Return the columns of ``scrubs``."""
    return (
        scrub.scrub_id,
        scrub.started_at,
        scrub.finished_at,
        scrub.trigger,
        scrub.through,
        scrub.rewritten,
        scrub.completed,
        scrub.left,
    )


@readable
def scrub_of(row: Row) -> ScrubRecord:
    """Return the scrub of a row of ``scrubs``."""
    return ScrubRecord(*row)


@readable
def sweep_of(row: Row) -> SweepRecord:
    """Return the sweep of a row of ``sweeps``."""
    return SweepRecord(*row)


def checkpoint_row(checkpoint: Checkpoint) -> Row:
    """Return the columns of ``checkpoints``."""
    return (checkpoint.size, checkpoint.origin, checkpoint.root, checkpoint.note, checkpoint.signed_at)


@readable
def checkpoint_of(row: Row) -> Checkpoint:
    """Return the checkpoint of a row that begins with its origin."""
    return Checkpoint(*row)
