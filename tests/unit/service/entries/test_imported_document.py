"""The new value on the row of an imported entry, which the importer writes by hand, is RFC 8785 canonical JSON."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vsqlvault.model.entry import Entry
from vsqlvault.model.times import format_time
from vsqlvault.proof.canonical import canonical_json
from vsqlvault.service.entries import importer
from vsqlvault.testing import T0, an_entry

TIMES = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - aware by ``timezones``
TEXTS = st.text(max_size=12)


def written(entry: Entry) -> str:
    """Return the text that the row of this imported entry has."""
    return importer._document(entry)


def expected(entry: Entry) -> str:
    """Return the same members by the general function."""
    document = {
        "created_at": format_time(entry.created_at),
        "expires_at": format_time(entry.expires_at),
        "owner_app": entry.owner_app,
        "owner_identity": entry.owner_identity,
        "updated_at": format_time(entry.updated_at),
    }
    return canonical_json(document).decode()


@settings(max_examples=150)
@given(TEXTS, st.none() | TEXTS, TIMES, TIMES)
@example("", "", T0, T0)
@example('"\\/\b\f\n\r\t', "\x00\x1f\x7f\u2028\u2029\ufeff", T0, T0)
@example("é\U0001f512", None, T0, T0)
def test_it_is_canonical_json_of_any_text_and_time(
    app: str, identity: str | None, created: datetime, updated: datetime
) -> None:
    entry = replace(
        an_entry("imported-document"), owner_app=app, owner_identity=identity, created_at=created, updated_at=updated
    )
    assert written(entry) == expected(entry)


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_a_lone_surrogate_is_refused_by_the_general_function_and_never_becomes_bytes(text: str) -> None:
    entry = replace(an_entry("imported-document"), owner_identity=text)
    with pytest.raises(ValueError):  # noqa: PT011
        expected(entry)
    with pytest.raises(UnicodeEncodeError):
        written(entry).encode()
