"""NDJSON: one entry on each line, with the members that ``GET`` of an entry returns. docs/migrating.md describes it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, Any, Literal

from pydantic import Field

from vsqlvault.cli.imports.source import Record
from vsqlvault.config import App
from vsqlvault.errors import FieldError, PayloadTooLarge, ValidationFailed, VaultError
from vsqlvault.errors.wording import worded
from vsqlvault.http.json_body import parse_json
from vsqlvault.http.schemas.bodies import (
    ExternalId,
    Purpose,
    StoreBody,
    body_time,
    duration_of,
    read_body,
)
from vsqlvault.http.schemas.metadata import metadata_text
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.service.entries.imports import ImportedEntry

ESCAPED_SIZE = 6
"""How many bytes of a line a byte of the value may take: an ASCII character can be written as ``\\u0041``."""
_REJECT_MEMBERS = {"place", "errors", "entry"}
OTHER_MEMBERS_BYTES = 64 * 1024
"""How many bytes a line may have beside the value."""


class ImportedBody(StoreBody):
    """One line. The members after ``last_used_at`` are those of an answer that the import does not take."""

    purpose: Purpose
    external_id: ExternalId
    encrypted_value: str = ""
    owner_app: App
    owner_identity: str | None = Field(default=None, min_length=1, max_length=256)
    created_at: str
    updated_at: str | None = None
    purged_at: str | None = None
    last_used_at: str | None = None
    value_sha256: str | None = Field(default=None, pattern=worded(r"^[0-9a-f]{64}$", "64 hex digits in lower case"))
    value_size: int | None = None
    entry_id: str | None = None
    version: int | None = None
    state: Literal["active", "expired", "purged"] | None = None
    effective_expires_at: str | None = None
    retrievals: int | None = None
    purge_method: str | None = None
    warnings: list[str] | None = None

    def imported(self, max_value_bytes: int) -> ImportedEntry:
        """Return the entry of the line.

        Raises:
            VaultError: with the errors of its fields.
        """
        is_purged = self.purged_at is not None or self.state == "purged"
        if not self.encrypted_value and not is_purged:
            raise ValidationFailed(errors=[FieldError("encrypted_value", "required")])
        try:
            value = b"-" if is_purged else self.value_within(max_value_bytes)
        except PayloadTooLarge:
            expected = f"at most {max_value_bytes} bytes (server.max_value_bytes)"
            raise ValidationFailed(errors=[FieldError("encrypted_value", expected)]) from None
        created_at = body_time("created_at", self.created_at)
        entry = ImportedEntry(
            key=EntryKey(self.purpose, self.external_id),
            value=value,
            encoding=ValueEncoding.UTF_8 if is_purged else ValueEncoding(self.encoding),
            algorithm_hint=self.algorithm_hint,
            key_ref=self.key_ref,
            metadata=metadata_text(self.metadata),
            access_policy=self.access_policy,
            owner_app=self.owner_app,
            owner_identity=self.owner_identity,
            created_at=created_at,
            updated_at=_time("updated_at", self.updated_at) or created_at,
            expires_at=_time("expires_at", self.expires_at),
            ttl=duration_of(self.ttl),
            last_used_at=_time("last_used_at", self.last_used_at),
            is_purged=is_purged,
        )
        self._check_value(entry)
        return entry

    def _check_value(self, entry: ImportedEntry) -> None:
        """Compare the value with its hash and its size, where the line has them."""
        if entry.is_purged:
            return
        if self.value_sha256 not in {None, entry.value_sha256}:
            raise ValidationFailed(errors=[FieldError("value_sha256", "the SHA-256 of encrypted_value")])
        if self.value_size not in {None, len(entry.value)}:
            raise ValidationFailed(errors=[FieldError("value_size", "the number of bytes of encrypted_value")])


def _time(name: str, text: str | None) -> datetime | None:
    return None if text is None else body_time(name, text)


class Lines:
    """The lines of a file. An empty line is no entry."""

    def __init__(self, file: IO[bytes], total: int, max_value_bytes: int) -> None:
        self._file = file
        self._max_value_bytes = max_value_bytes
        self.total = total

    async def records(self) -> AsyncIterator[Record]:
        """Yield what each line has: an entry, or why it has none. A line that is too long is not read into memory."""
        limit = self._max_value_bytes * ESCAPED_SIZE + OTHER_MEMBERS_BYTES
        number = 0
        while line := self._file.readline(limit + 1):
            number += 1
            if len(line) > limit and not line.endswith(b"\n"):
                self._skip_rest(limit)
                expected = f"a line of at most {limit} bytes, which server.max_value_bytes sets"
                yield Record(f"line {number}", None, (FieldError("", expected),))
            elif number == 1 and line.startswith(b"\xef\xbb\xbf"):
                yield Record("line 1", None, (FieldError("", "UTF-8 without a byte order mark"),), line)
            elif line.strip():
                yield record_of(f"line {number}", line, self._max_value_bytes)

    def _skip_rest(self, limit: int) -> None:
        while piece := self._file.readline(limit):
            if piece.endswith(b"\n"):
                return


def record_of(place: str, line: bytes, max_value_bytes: int) -> Record:
    """Return what one line has. A line of a file of rejects has the entry as a member."""
    try:
        text = line.rstrip(b"\r\n")
        body: Any = parse_json(text)
        if isinstance(body, dict) and body.keys() == _REJECT_MEMBERS:
            body = body["entry"]
        return Record(
            place, read_body(ImportedBody, body, is_plain=_is_plain(text)).imported(max_value_bytes), line=line
        )
    except VaultError as error:
        return Record(place, None, error.errors or (FieldError("", _expected(error)),), line)


def _is_plain(text: bytes) -> bool:
    """Return whether every string of a JSON text is a part of the text itself, with printable ASCII only."""
    return text.isascii() and b"\\" not in text and text.decode("ascii").isprintable()


def _expected(error: VaultError) -> str:
    text = error.detail or error.title()
    if text.startswith("expected "):
        return text.removeprefix("expected ")
    return f"a line that can be read; {text[0].lower()}{text[1:]}"
