"""Converts rows of the tables to values of the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import wraps
from typing import Any, TypeVar

from vsqlvault.interfaces.storage import LogRow
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.control import ControlChange, ControlState
from vsqlvault.model.entry import Entry, EntryVersion, ValueEncoding
from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import PurgeReason, PurgeRecord, ScrubRecord, SweepRecord
from vsqlvault.model.times import EPOCH
from vsqlvault.model.transparency import Checkpoint
from vsqlvault_plugins.storage.sql.decoding import Row, names_of, rules_of, unreadable

Value = TypeVar("Value")
_FIRST_DAY = date(1970, 1, 1)
_ENCODINGS = {encoding.value: encoding for encoding in ValueEncoding}


def _decoder(decode: Callable[[Rows, Row], Value]) -> Callable[[Rows, Row], Value]:
    """Return ``decode`` with its errors as Unavailable, for rows that another program wrote and that cannot be decoded."""

    @wraps(decode)
    def checked(self: Rows, row: Row) -> Value:
        try:
            return decode(self, row)
        except Exception as error:
            raise unreadable(decode.__name__, error) from error

    return checked


class Rows:
    """Decodes the rows of one dialect. Methods that return a value of the model raise Unavailable where they cannot."""

    def __init__(
        self,
        time: Callable[[Any], datetime],
        day: Callable[[Any], date],
        duration: Callable[[Any], timedelta],
        names: Callable[[Any], list[str]],
        check: Callable[[Row], None],
    ) -> None:
        """``check`` raises for a row with columns of types that no table has."""
        self.time = time
        self.day = day
        self.duration = duration
        self._names = names
        self._check = check

    def time_or_none(self, at: Any) -> datetime | None:
        """Return a time, or None for None."""
        return None if at is None else self.time(at)

    def entry_of(self, row: Row) -> Entry:
        """Return the entry of the first nineteen columns."""
        time = self.time
        try:
            return Entry(
                row[0], row[1], row[2], row[3], _ENCODINGS[row[4]], row[5], row[6], row[7], row[8], row[9], row[10],
                row[11], row[12], time(row[13]), time(row[14]), time(row[15]), row[16],
                None if row[17] is None else time(row[17]), row[18],
            )  # fmt: skip
        except Exception as error:
            raise unreadable("entry_of", error) from error

    @_decoder
    def access_row_of(self, row: Row) -> LogRow[AccessRecord]:
        """Return the row of ``access_log`` that begins with its position."""
        (position, at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity,
         method, credential_id, client_address, untrusted, reason, policy, policy_version, count, detail, old_value,
         new_value, role) = row  # fmt: skip
        record = AccessRecord(
            at=self.time(at), request_id=request_id, operation=Operation(operation), outcome=Outcome(outcome),
            status=status, purpose=purpose, external_id=external_id,
            stamp=EntryVersion(entry_id, entry_version) if entry_id is not None else None, app=app, identity=identity,
            method=method, credential_id=credential_id, client_address=client_address,
            untrusted_forwarding=bool(untrusted), reason=reason, policy=policy, policy_version=policy_version,
            count=count, detail=detail, old_value=old_value, new_value=new_value, role=role,
        )  # fmt: skip
        return LogRow(position, record)

    @_decoder
    def purge_row_of(self, row: Row) -> LogRow[PurgeRecord]:
        """Return the row of ``purge_log`` that begins with its position. A nineteenth column is the time of its scrub."""
        record = PurgeRecord(
            row[1], row[2], row[3], row[4], row[5], row[6], PurgeReason(row[7]), row[8], row[9], row[10], row[11], row[12],
            self.time(row[13]), self.time(row[14]), row[15], row[16], row[17],
        )  # fmt: skip
        scrubbed_at = self.time_or_none(row[18]) if len(row) > 18 else None  # noqa: PLR2004
        return LogRow(row[0], record, scrubbed_at)

    @_decoder
    def access_policy_of(self, row: Row) -> AccessPolicy:
        """Return the policy of a row of ``access_policies``."""
        self._check(row)
        name, version, evaluator, rules, parameters, description, created_by, created_at, dropped = row
        return AccessPolicy(
            name=name, version=version, evaluator=evaluator, rules=rules_of(rules), parameters=parameters,
            description=description, created_by=created_by, created_at=self.time(created_at), dropped=bool(dropped),
        )  # fmt: skip

    @_decoder
    def retention_policy_of(self, row: Row) -> RetentionPolicy:
        """Return the policy of a row of ``retention_policies``."""
        self._check(row)
        allowed, required = (None if names is None else tuple(self._names(names)) for names in (row[11], row[13]))
        members: list[Any] = [*row[:10], self.time(row[10]), allowed, row[12], required or (), row[14]]
        return RetentionPolicy(*members)

    @_decoder
    def legal_hold_of(self, row: Row) -> LegalHold:
        """Return the hold of a row of ``legal_holds``."""
        self._check(row)
        return LegalHold(
            row[0], row[1], row[2], row[3], HoldSelector(*row[4:8]), self.time(row[8]), row[9], self.time(row[10]),
            row[11], self.time_or_none(row[12]),
        )  # fmt: skip

    @_decoder
    def api_key_of(self, row: Row) -> ApiKeyRecord:
        """Return the key of a row of ``api_keys``."""
        self._check(row)
        (key_id, version, digest, app, identity, purposes, roles, description, expires_at, created_by, created_at,
         revoked_by, revoked_at) = row  # fmt: skip
        return ApiKeyRecord(
            key_id=key_id, version=version, digest=digest, app=app, identity=identity, purposes=names_of(purposes),
            roles=frozenset(Role(role) for role in names_of(roles) or ()), description=description,
            expires_at=self.time_or_none(expires_at), created_by=created_by, created_at=self.time(created_at),
            revoked_by=revoked_by, revoked_at=self.time_or_none(revoked_at),
        )  # fmt: skip

    @_decoder
    def sweep_of(self, row: Row) -> SweepRecord:
        """Return the sweep of a row of ``sweeps``."""
        self._check(row)
        return SweepRecord(row[0], self.time(row[1]), self.time(row[2]), row[3], row[4], row[5], bool(row[6]), row[7])

    @_decoder
    def scrub_of(self, row: Row) -> ScrubRecord:
        """Return the scrub of a row of ``scrubs``."""
        self._check(row)
        return ScrubRecord(row[0], self.time(row[1]), self.time(row[2]), row[3], row[4], row[5], bool(row[6]), row[7])

    @_decoder
    def checkpoint_of(self, row: Row) -> Checkpoint:
        """Return the checkpoint of a row that begins with its origin."""
        origin, size, root, note, signed_at = row
        if not (isinstance(origin, str) and isinstance(root, bytes) and isinstance(note, str)):
            raise TypeError("expected an origin, a root hash and a note")
        return Checkpoint(origin, size, root, note, self.time(signed_at))

    @_decoder
    def control_change_of(self, row: Row) -> ControlChange:
        """Return the change of a row of ``control_changes``."""
        self._check(row)
        if not isinstance(row[1], int):
            raise TypeError("expected a number")
        return ControlChange(row[0], row[1], ControlState(row[2]), self.time(row[3]), row[4])

    @_decoder
    def attestation_of(self, row: Row) -> Attestation:
        """Return the attestation of a row of ``attestations``."""
        self._check(row)
        return Attestation(row[0], self.time(row[1]), bool(row[2]), row[3], row[4])

    @_decoder
    def access_review_of(self, row: Row) -> AccessReview:
        """Return the review of a row of ``access_reviews``."""
        self._check(row)
        return AccessReview(row[0], self.time(row[1]), row[2], self.time(row[3]), row[4], row[5])

    @_decoder
    def archive_of(self, row: Row) -> LogArchive:
        """Return the archive of a row of ``log_archives``."""
        self._check(row)
        number, first, end, access_through, purge_through, at, document = row
        return LogArchive(
            number=number, first=first, end=end, access_through=access_through, purge_through=purge_through,
            at=self.time(at), document=document,
        )  # fmt: skip


class RowsOfValues(Rows):
    """Decodes rows whose driver returns times, days, durations and lists as they are."""

    def __init__(self) -> None:
        super().__init__(_unchanged, _unchanged, _unchanged, _unchanged, _unchanged)

    def entry_of(self, row: Row) -> Entry:
        """See ``Rows.entry_of``. It calls nothing for a time, because every retrieval decodes an entry."""
        try:
            columns = list(row[:19])
            columns[4] = _ENCODINGS[columns[4]]
            return Entry(*columns)
        except Exception as error:
            raise unreadable("entry_of", error) from error


def _texts_and_integers(row: Row) -> None:
    """Raise TypeError for another type. SQLite stores any type in any column."""
    if any(isinstance(column, bytes | float) for column in row):
        raise TypeError("expected texts and integers")


def _unchanged(value: Any) -> Any:
    return value


SQLITE_ROWS = Rows(
    time=lambda micros: EPOCH + timedelta(0, 0, micros),
    day=lambda number: _FIRST_DAY + timedelta(number),
    duration=lambda micros: timedelta(0, 0, micros),
    names=json.loads,
    check=_texts_and_integers,
)
"""A time is microseconds and a counted day days since 1970, a duration microseconds, a list of names JSON text."""
POSTGRESQL_ROWS = RowsOfValues()
