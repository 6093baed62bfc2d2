from datetime import UTC, datetime

import pytest

from vsqlvault.model.entry import Entry, ValueEncoding

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def entry():
    return Entry(
        "card",
        "p",
        "0" * 32,
        1,
        ValueEncoding.UTF_8,
        "0" * 64,
        1,
        None,
        None,
        "{}",
        "a",
        None,
        "owner-only",
        AT,
        AT,
        AT,
    )
