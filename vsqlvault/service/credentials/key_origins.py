"""Compares the stored API keys with the audit log. A key that no row created, or that a row revoked, does not authenticate."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from typing import Any

from vsqlvault.interfaces.storage import LogQuery, PolicySnapshot, Storage
from vsqlvault.model.api_key import ApiKeyRecord, key_id_of
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.service.audit.rule_documents import api_key_document
from vsqlvault.service.credentials.api_keys import created_document

log = logging.getLogger(__name__)
ROWS_OF_AN_INSTANT = 256
CONCURRENT_READS = 8
_CREATED = {"operation": Operation.CREATE_API_KEY.value, "outcome": Outcome.GRANTED.value}
_OF_REVOCATION = ("revoked_by", "revoked_at")


class KeyOrigins:
    """Finds the stored keys that no row of the access log created, and those that it revoked but the storage did not.

    A key and its row have the same time, and are committed together. So one read by time finds the row. Each key is checked
    once in a process, and again if its row in the storage changes. A revoked key is not checked: it does not authenticate.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._checked: dict[ApiKeyRecord, bool] = {}
        self._revoked: frozenset[str] = frozenset()

    async def unlogged(self, policies: PolicySnapshot) -> frozenset[str]:
        """Return the ids of the keys that must not authenticate. Raises Unavailable."""
        keys = [key for key in policies.api_keys.values() if key.revoked_at is None]
        at_once = asyncio.Semaphore(CONCURRENT_READS)
        found = await asyncio.gather(*(self._has_row(key, at_once) for key in keys))
        self._checked = dict(zip(keys, found, strict=True))
        revoked = frozenset(key.key_id for key in keys) & await self._storage.revoked_keys()
        for key_id in sorted(revoked - self._revoked):
            log.error("an API key that the audit log revokes is not revoked: it is refused", extra={"key_id": key_id})
        self._revoked = revoked
        return revoked | {key.key_id for key, has_row in self._checked.items() if not has_row}

    async def _has_row(self, key: ApiKeyRecord, at_once: asyncio.Semaphore) -> bool:
        if (known := self._checked.get(key)) is not None:
            return known
        query = LogQuery(
            limit=ROWS_OF_AN_INSTANT,
            since=key.created_at,
            until=key.created_at + timedelta(microseconds=1),
            equals=_CREATED,
        )
        async with at_once:
            rows = await self._storage.access_log(query)
        has_row = key.key_id == key_id_of(key.digest) and any(_creates(row.record.new_value, key) for row in rows)
        if not has_row:
            log.error("an API key has no audit row that created it: it is refused", extra={"key_id": key.key_id})
        return has_row


def _creates(new_value: str | None, key: ApiKeyRecord) -> bool:
    """Whether the row created exactly this key. Rows of older versions have no hash of the digest."""
    try:
        document: Any = json.loads(new_value or "null")
    except (ValueError, RecursionError):
        return False
    return document in (created_document(key), api_key_document(key))
