"""The next version of an entry: the members that it keeps, and its expiry."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from vsqlvault.errors import ExpiresInPast, FieldError, KeyRefWithoutValue, RetentionExceeded, RetentionRefused
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.ids import new_timed_id
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.proof.canonical import read_canonical
from vsqlvault.service.access.authorizer import note_retention
from vsqlvault.service.access.loading import MAX_CLOCK_AGE_SECONDS
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.entries.requests import StoreRequest, UpdateRequest

_CLOCK_MARGIN = timedelta(seconds=MAX_CLOCK_AGE_SECONDS)


def is_same(present: Entry, wanted: StoreRequest) -> bool:
    """Whether the request asks for the entry as it is. A request without an expiry asks for no other expiry."""
    return (
        has_same_value(present, wanted)
        and present.encoding is wanted.encoding
        and present.algorithm_hint == wanted.algorithm_hint
        and present.key_ref == wanted.key_ref
        and present.metadata == wanted.metadata
        and present.access_policy == wanted.access_policy
        and wanted.ttl is None
        and wanted.expires_at in {None, present.expires_at}
    )


def has_same_value(present: Entry, wanted: StoreRequest) -> bool:
    """Whether the value to store equals the present one byte for byte."""
    return present.value_size == len(wanted.value) and present.value_sha256 == wanted.value_sha256


def expires_soon(wanted: StoreRequest, assumed_now: datetime) -> bool:
    """Whether the expiry is so near that only the storage's clock can decide whether it is past."""
    if wanted.ttl is not None:
        return wanted.ttl <= _CLOCK_MARGIN
    return wanted.expires_at is not None and wanted.expires_at - assumed_now <= _CLOCK_MARGIN


def next_version(
    context: AuditContext,
    key: EntryKey,
    wanted: StoreRequest,
    present: Entry | None,
    retention: RetentionPolicy,
    now: datetime,
) -> Entry:
    """Return the entry to store: a new one, or the next version of the one present.

    A next version keeps owner, creation time and retrieval counter. So a replacement neither takes over an entry, nor extends
    its retention, nor resets its limit.

    Raises:
        KeyRefWithoutValue, ExpiresInPast, RetentionExceeded, RetentionRefused.
    """
    _check_limits(context, wanted, retention)
    if present is None:
        principal = context.call.principal
        return Entry(
            key.purpose, key.external_id, new_timed_id(now), 1, wanted.encoding, wanted.value_sha256, len(wanted.value),
            wanted.algorithm_hint, wanted.key_ref, wanted.metadata, principal.app, principal.identity,
            wanted.access_policy, now, now, _expiry(context, wanted, now, retention, now),
        )  # fmt: skip
    redescribed = (present.key_ref, present.algorithm_hint) != (wanted.key_ref, wanted.algorithm_hint)
    if redescribed and has_same_value(present, wanted):
        raise KeyRefWithoutValue
    return Entry(
        key.purpose, key.external_id, present.entry_id, present.version + 1, wanted.encoding, wanted.value_sha256,
        len(wanted.value), wanted.algorithm_hint, wanted.key_ref, wanted.metadata, present.owner_app,
        present.owner_identity, wanted.access_policy, present.created_at, now,
        _expiry(context, wanted, present.created_at, retention, now), present.retrievals,
    )  # fmt: skip


def updated(
    context: AuditContext, present: Entry, wanted: UpdateRequest, retention: RetentionPolicy, now: datetime
) -> Entry:
    """Return the next version with the changes; the present one itself where nothing changes.

    Raises:
        ExpiresInPast, RetentionExceeded, RetentionRefused, MetadataTooLarge.
    """
    expires_at = present.expires_at
    if wanted.changes_expiry:
        expires_at = _expiry(context, wanted, present.created_at, retention, now)
    entry = replace(
        present,
        metadata=wanted.metadata(present.metadata) if wanted.metadata else present.metadata,
        access_policy=wanted.access_policy or present.access_policy,
        expires_at=expires_at,
    )
    if entry.metadata != present.metadata:
        _check_metadata(context, entry.metadata, retention)
    return present if entry == present else replace(entry, version=present.version + 1, updated_at=now)


def after_retrieval(entry: Entry, retention: RetentionPolicy | None, now: datetime) -> Entry:
    """Return the entry with the expiry that it has once it was retrieved at ``now``."""
    if retention is None or retention.inactivity_days is None:
        return entry
    return replace(entry, expires_at=_idle_expiry(entry.created_at, retention, retention.inactivity_days, now))


def _idle_expiry(created_at: datetime, retention: RetentionPolicy, days: int, now: datetime) -> datetime:
    return min(now + timedelta(days=days), created_at + timedelta(days=retention.max_retention_days))


def _check_limits(context: AuditContext, wanted: StoreRequest, retention: RetentionPolicy) -> None:
    limit = retention.max_value_bytes
    if limit is not None and len(wanted.value) > limit:
        note_retention(context, retention)
        raise RetentionRefused(errors=[FieldError("encrypted_value", f"at most {limit} bytes in this purpose")])
    _check_metadata(context, wanted.metadata, retention)


def _check_metadata(context: AuditContext, metadata: str, retention: RetentionPolicy) -> None:
    if retention.required_metadata:
        members = read_canonical(metadata)
        if missing := [name for name in retention.required_metadata if name not in members]:
            note_retention(context, retention)
            raise RetentionRefused(
                errors=[FieldError(f"metadata.{name}", "required in this purpose") for name in missing]
            )


def _expiry(
    context: AuditContext,
    wanted: StoreRequest | UpdateRequest,
    created_at: datetime,
    retention: RetentionPolicy,
    now: datetime,
) -> datetime:
    retention_limit = created_at + timedelta(days=retention.max_retention_days)
    field, expires_at = ("ttl", now + wanted.ttl) if wanted.ttl is not None else ("expires_at", wanted.expires_at)
    if retention.inactivity_days is not None:
        if expires_at is not None:
            note_retention(context, retention)
            expected = (
                f"no expiry: entries of this purpose expire {retention.inactivity_days} days after their last retrieval"
            )
            raise RetentionRefused(errors=[FieldError(field, expected)])
        return _idle_expiry(created_at, retention, retention.inactivity_days, now)
    if expires_at is None:
        return min(now + timedelta(days=retention.default_ttl_days or retention.max_retention_days), retention_limit)
    if expires_at <= now:
        raise ExpiresInPast(errors=[FieldError(field, "a time in the future")])
    if expires_at > retention_limit:
        expected = f"at most {retention.max_retention_days} days after the entry was created"
        note_retention(context, retention)
        raise RetentionExceeded(errors=[FieldError(field, expected)])
    return expires_at
