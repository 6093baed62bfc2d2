"""Converts between rows of PostgreSQL and values of the model. asyncpg passes aware times unchanged."""

from __future__ import annotations

from datetime import datetime

from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, ValueEncoding
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, ScrubRecord, SweepRecord
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.leaf import row_hash
from vsqlvault_plugins.storage.sql.decoding import Row, names_text, rules_text

_ENCODINGS = {encoding.value: encoding for encoding in ValueEncoding}


def put_of(write: int, fresh: bool, entry: Entry, value: bytes, shard: int = 0) -> Row:
    """Return a ``vault.entry_put``. ``fresh``: no row may exist."""
    return (
        write, fresh, entry.purpose, entry.external_id, entry.entry_id, entry.version, entry.encoding,
        entry.value_sha256, entry.value_size, entry.algorithm_hint, entry.key_ref, entry.metadata, entry.owner_app,
        entry.owner_identity, entry.access_policy, entry.created_at, entry.updated_at, entry.expires_at,
        entry.retrievals, entry.purged_at, entry.purge_method, value, shard,
    )  # fmt: skip


def access_row(write: int, record: AccessRecord, leaf: bytes | None = None, shard: int = 0) -> Row:
    """Return a ``vault.access_row``."""
    entry_id, entry_version = record.stamp or (None, None)
    return (
        write, record.at, record.request_id, record.operation, record.outcome, record.status, record.purpose,
        record.external_id, entry_id, entry_version, record.app, record.identity, record.method, record.credential_id,
        record.client_address, record.untrusted_forwarding, record.reason, record.policy, record.policy_version,
        record.count, record.detail, record.old_value, record.new_value, leaf or row_hash(record), record.role,
        shard,
    )  # fmt: skip


def purge_row(write: int, record: PurgeRecord, leaf: bytes | None = None, shard: int = 0) -> Row:
    """Return a ``vault.purge_row``."""
    return (
        write, record.purge_id, record.purpose, record.external_id, record.entry_id, record.entry_version, record.method,
        record.reason, record.policy_reference, record.proof_hash, record.value_size, record.key_ref,
        record.owner_app, record.purged_at, record.expired_at, record.app, record.identity, record.request_id,
        leaf or row_hash(record), shard,
    )  # fmt: skip


def access_policy_row(policy: AccessPolicy, created_at: datetime) -> Row:
    """Return the columns of ``access_policies`` for a version in force."""
    return (
        policy.name, policy.version, policy.evaluator, rules_text(policy), policy.parameters,
        policy.description, policy.created_by, created_at, False,
    )  # fmt: skip


def retention_policy_row(policy: RetentionPolicy, created_at: datetime) -> Row:
    """Return the columns of ``retention_policies``."""
    return (
        policy.purpose, policy.version, policy.max_retention_days, policy.default_ttl_days, policy.purge_method,
        policy.description, policy.justification, policy.legal_basis, policy.data_class, policy.created_by, created_at,
        policy.allowed_access_policies, policy.max_value_bytes, policy.required_metadata or None, policy.inactivity_days,
    )  # fmt: skip


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


def checkpoint_row(checkpoint: Checkpoint) -> Row:
    """Return the columns of ``checkpoints``."""
    return (checkpoint.size, checkpoint.origin, checkpoint.root, checkpoint.note, checkpoint.signed_at)
