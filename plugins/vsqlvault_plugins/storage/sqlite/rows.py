"""Converts between rows of SQLite and values of the model. A time is microseconds in the row and aware UTC in the value."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.interfaces.storage import LogRow
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry, EntryVersion, ValueEncoding
from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import PurgeReason, PurgeRecord, ScrubRecord, SweepRecord
from vsqlvault.model.times import EPOCH, from_micros, to_micros
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.leaf import row_hash
from vsqlvault_plugins.storage.decoding import (
    Row,
    names_of,
    names_text,
    readable,
    rules_of,
    rules_text,
    unreadable,
    without_bytes,
)

_ENCODINGS = {encoding.value: encoding for encoding in ValueEncoding}


def _optional_time(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _optional_micros(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


def entry_of(row: Row) -> Entry:
    """Return the entry of the first nineteen columns. Raises as ``readable``; by hand, because it runs on each read."""
    try:
        return Entry(
            row[0], row[1], row[2], row[3], _ENCODINGS[row[4]], row[5], row[6], row[7], row[8], row[9], row[10], row[11],
            row[12], EPOCH + timedelta(0, 0, row[13]), EPOCH + timedelta(0, 0, row[14]), EPOCH + timedelta(0, 0, row[15]),
            row[16], None if row[17] is None else from_micros(row[17]), row[18],
        )  # fmt: skip
    except Exception as error:
        raise unreadable("entry_of", error) from error


def row_of_entry(entry: Entry, value: bytes) -> Row:
    """Return the twenty columns of ``entries``."""
    return (
        entry.purpose, entry.external_id, entry.entry_id, entry.version, entry.encoding.value, entry.value_sha256,
        entry.value_size, entry.algorithm_hint, entry.key_ref, entry.metadata, entry.owner_app, entry.owner_identity,
        entry.access_policy, to_micros(entry.created_at), to_micros(entry.updated_at), to_micros(entry.expires_at),
        entry.retrievals, None if entry.purged_at is None else to_micros(entry.purged_at), entry.purge_method, value,
    )  # fmt: skip


def row_of_access(record: AccessRecord, leaf: bytes | None = None) -> Row:
    """Return the columns of ``access_log`` without its position, the hash of its leaf last."""
    stamp = record.stamp
    return (
        to_micros(record.at), record.request_id, record.operation.value, record.outcome.value, record.status,
        record.purpose, record.external_id, stamp.entry_id if stamp else None, stamp.version if stamp else None,
        record.app, record.identity, record.method, record.credential_id, record.client_address,
        int(record.untrusted_forwarding), record.reason, record.policy, record.policy_version, record.count,
        record.detail, record.old_value, record.new_value, leaf or row_hash(record), record.role,
    )  # fmt: skip


@readable
def access_row_of(row: Row) -> LogRow[AccessRecord]:
    """Return the row of ``access_log`` that begins with its position."""
    (position, at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity,
     method, credential_id, client_address, untrusted, reason, policy, policy_version, count, detail, old_value,
     new_value, role) = row  # fmt: skip
    record = AccessRecord(
        at=from_micros(at), request_id=request_id, operation=Operation(operation), outcome=Outcome(outcome),
        status=status, purpose=purpose, external_id=external_id,
        stamp=EntryVersion(entry_id, entry_version) if entry_id is not None else None, app=app, identity=identity,
        method=method, credential_id=credential_id, client_address=client_address,
        untrusted_forwarding=bool(untrusted), reason=reason, policy=policy, policy_version=policy_version, count=count,
        detail=detail, old_value=old_value, new_value=new_value, role=role,
    )  # fmt: skip
    return LogRow(position, record)


def row_of_purge(record: PurgeRecord, leaf: bytes | None = None) -> Row:
    """Return the columns of ``purge_log`` without its position, the hash of its leaf last."""
    return (
        record.purge_id, record.purpose, record.external_id, record.entry_id, record.entry_version, record.method,
        record.reason.value, record.policy_reference, record.proof_hash, record.value_size, record.key_ref,
        record.owner_app, to_micros(record.purged_at), to_micros(record.expired_at), record.app, record.identity,
        record.request_id, leaf or row_hash(record),
    )  # fmt: skip


@readable
def purge_row_of(row: Row) -> LogRow[PurgeRecord]:
    """Return the row of ``purge_log`` that begins with its position."""
    record = PurgeRecord(
        row[1], row[2], row[3], row[4], row[5], row[6], PurgeReason(row[7]), row[8], row[9], row[10], row[11], row[12],
        from_micros(row[13]), from_micros(row[14]), row[15], row[16], row[17],
    )  # fmt: skip
    return LogRow(row[0], record)


def row_of_access_policy(policy: AccessPolicy, created_at: datetime) -> Row:
    """Return the columns of ``access_policies`` for a version in force."""
    return (
        policy.name, policy.version, policy.evaluator, rules_text(policy), policy.parameters,
        policy.description, policy.created_by, to_micros(created_at), 0,
    )  # fmt: skip


@without_bytes
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
        created_at=from_micros(created_at),
        dropped=bool(dropped),
    )


def row_of_retention_policy(policy: RetentionPolicy, created_at: datetime) -> Row:
    """Return the columns of ``retention_policies``."""
    return (
        policy.purpose, policy.version, policy.max_retention_days, policy.default_ttl_days, policy.purge_method,
        policy.description, policy.justification, policy.legal_basis, policy.data_class, policy.created_by,
        to_micros(created_at), _optional_list(policy.allowed_access_policies), policy.max_value_bytes,
        _optional_list(policy.required_metadata or None), policy.inactivity_days,
    )  # fmt: skip


def _optional_list(names: tuple[str, ...] | None) -> str | None:
    return None if names is None else json.dumps(names)


@without_bytes
def retention_policy_of(row: Row) -> RetentionPolicy:
    """Return the policy of a row of ``retention_policies``."""
    allowed, required = (None if text is None else tuple(json.loads(text)) for text in (row[11], row[13]))
    members: list[Any] = [*row[:10], from_micros(row[10]), allowed, row[12], required or (), row[14]]
    return RetentionPolicy(*members)


def row_of_api_key(key: ApiKeyRecord) -> Row:
    """Return the columns of ``api_keys``."""
    return (
        key.key_id, key.version, key.digest, key.app, key.identity, names_text(key.purposes), names_text(key.roles),
        key.description, _optional_micros(key.expires_at), key.created_by, to_micros(key.created_at), key.revoked_by,
        _optional_micros(key.revoked_at),
    )  # fmt: skip


def row_of_legal_hold(hold: LegalHold, held_since: datetime, created_at: datetime) -> Row:
    """Return the columns of ``legal_holds``."""
    selector = hold.selector
    return (
        hold.name, hold.version, hold.case_reference, hold.reason, selector.purpose, selector.external_id,
        selector.owner_app, selector.metadata, to_micros(held_since), hold.created_by, to_micros(created_at),
        hold.released_by, None if hold.released_at is None else to_micros(hold.released_at),
    )  # fmt: skip


@without_bytes
def legal_hold_of(row: Row) -> LegalHold:
    """Return the hold of a row of ``legal_holds``."""
    return LegalHold(
        row[0], row[1], row[2], row[3], HoldSelector(*row[4:8]), from_micros(row[8]), row[9], from_micros(row[10]), row[11],
        _optional_time(row[12]),
    )  # fmt: skip


@without_bytes
def api_key_of(row: Row) -> ApiKeyRecord:
    """Return the key of a row of ``api_keys``."""
    (key_id, version, digest, app, identity, purposes, roles, description, expires_at, created_by, created_at, revoked_by,
     revoked_at) = row  # fmt: skip
    return ApiKeyRecord(
        key_id=key_id, version=version, digest=digest, app=app, identity=identity, purposes=names_of(purposes),
        roles=frozenset(Role(role) for role in names_of(roles) or ()), description=description,
        expires_at=_optional_time(expires_at), created_by=created_by, created_at=from_micros(created_at),
        revoked_by=revoked_by, revoked_at=_optional_time(revoked_at),
    )  # fmt: skip


def row_of_sweep(sweep: SweepRecord) -> Row:
    """Return the columns of ``sweeps``."""
    return (
        sweep.sweep_id, to_micros(sweep.started_at), to_micros(sweep.finished_at), sweep.trigger, sweep.purged,
        sweep.failed, int(sweep.completed), sweep.held,
    )  # fmt: skip


def row_of_scrub(scrub: ScrubRecord) -> Row:
    """Return the columns of ``scrubs``."""
    return (
        scrub.scrub_id, to_micros(scrub.started_at), to_micros(scrub.finished_at), scrub.trigger, scrub.through,
        scrub.rewritten, int(scrub.completed), scrub.left,
    )  # fmt: skip


@without_bytes
def scrub_of(row: Row) -> ScrubRecord:
    """Return the scrub of a row of ``scrubs``."""
    return ScrubRecord(row[0], from_micros(row[1]), from_micros(row[2]), row[3], row[4], row[5], bool(row[6]), row[7])


@without_bytes
def sweep_of(row: Row) -> SweepRecord:
    """Return the sweep of a row of ``sweeps``."""
    return SweepRecord(row[0], from_micros(row[1]), from_micros(row[2]), row[3], row[4], row[5], bool(row[6]), row[7])


def row_of_checkpoint(checkpoint: Checkpoint) -> Row:
    """Return the columns of ``checkpoints``."""
    return (
        checkpoint.size, checkpoint.origin, checkpoint.root, checkpoint.note, to_micros(checkpoint.signed_at),
    )  # fmt: skip


@readable
def checkpoint_of(row: Row) -> Checkpoint:
    """Return the checkpoint of a row that begins with its origin."""
    origin, _, root, note, _ = row
    if not (isinstance(origin, str) and isinstance(root, bytes) and isinstance(note, str)):
        raise TypeError("expected an origin, a root hash and a note")
    return Checkpoint(row[0], row[1], row[2], row[3], from_micros(row[4]))
