from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from vsqlvault_purge_journal.journal import Journal
from vsqlvault_purge_journal.method import JournalledDelete

from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.testing import PurgeMethodConformance


class TestJournalledDeleteConforms(PurgeMethodConformance):
    @pytest.fixture
    def purge_method(self, tmp_path: Path) -> Iterator[PurgeMethod]:
        journal = Journal()
        journal.open(tmp_path / "purges.ndjson")
        yield JournalledDelete(journal)
        journal.close()
