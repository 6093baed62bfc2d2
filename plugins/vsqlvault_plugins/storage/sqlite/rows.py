"""Converts between rows of SQLite and values of the model. A time is microseconds in the row and aware UTC in the value."""

from __future__ import annotations

import json
from datetime import datetime

from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, ValueEncoding
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, ScrubRecord, SweepRecord
from vsqlvault.model.times import to_micros
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.leaf import row_hash
from vsqlvault_plugins.storage.sql.decoding import (
    Row,
    names_text,
    rules_text,
)

_ENCODINGS = {encoding.value: encoding for encoding in ValueEncoding}


def _optional_micros(at: datetime | None) -> int | None:
    return None if at is None else to_micros(at)


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


def row_of_purge(record: PurgeRecord, leaf: bytes | None = None) -> Row:
    """Return the columns of ``purge_log`` without its position, the hash of its leaf last."""
    return (
        record.purge_id, record.purpose, record.external_id, record.entry_id, record.entry_version, record.method,
        record.reason.value, record.policy_reference, record.proof_hash, record.value_size, record.key_ref,
        record.owner_app, to_micros(record.purged_at), to_micros(record.expired_at), record.app, record.identity,
        record.request_id, leaf or row_hash(record),
    )  # fmt: skip


def row_of_access_policy(policy: AccessPolicy, created_at: datetime) -> Row:
    """Return the columns of ``access_policies`` for a version in force."""
    return (
        policy.name, policy.version, policy.evaluator, rules_text(policy), policy.parameters,
        policy.description, policy.created_by, to_micros(created_at), 0,
    )  # fmt: skip


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


def row_of_checkpoint(checkpoint: Checkpoint) -> Row:
    """Return the columns of ``checkpoints``."""
    return (
        checkpoint.size, checkpoint.origin, checkpoint.root, checkpoint.note, to_micros(checkpoint.signed_at),
    )  # fmt: skip
