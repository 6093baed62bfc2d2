"""A copy of a vault knows every table beside the logs."""

from __future__ import annotations

import inspect
import re

from vsqlvault.interfaces import archive_storage, watch_storage, writes
from vsqlvault.service.log import copied_tables

NOT_COPIED = {"SaveArchive"}
"""A log with archives is refused."""


def test_every_change_that_saves_a_row_is_used_by_a_copy() -> None:
    modules = (archive_storage, watch_storage, writes)
    saved = {name for module in modules for name in vars(module) if re.match("Save|Drop", name)} - NOT_COPIED
    source = inspect.getsource(copied_tables).partition("class CopiedTables")[2]
    assert {name for name in saved if name not in source} == set()
