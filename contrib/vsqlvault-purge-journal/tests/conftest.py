from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from journal_site import Site
from vsqlvault_purge_journal import plugin

from vsqlvault.model.purge import PurgeReason, PurgeRecord


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    yield Site(tmp_path)
    plugin.journal.close()


@pytest.fixture
def record() -> Callable[[str], PurgeRecord]:
    return lambda external_id: PurgeRecord(
        purge_id=hashlib.sha256(external_id.encode()).hexdigest()[:32],
        purpose="card",
        external_id=external_id,
        entry_id="1" * 32,
        entry_version=3,
        method="journalled-delete",
        reason=PurgeReason.REQUESTED,
        policy_reference=None,
        proof_hash="2" * 64,
        value_size=1,
        key_ref="key-ref-1",
        owner_app="till",
        purged_at=datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
        expired_at=datetime(2027, 3, 1, tzinfo=UTC),
        app="till",
        identity=None,
        request_id="request-1",
    )
