"""The warnings of an import: how many are kept, and how often they are computed."""

from __future__ import annotations

import pytest

from vsqlvault.cli.imports import warnings
from vsqlvault.cli.imports.warnings import MAX_SHOWN, ImportWarnings

UNKNOWN = "owner_app biling is not defined (did you mean billing?): no credential names it"


def test_an_owner_that_no_credential_names_is_a_warning_with_the_number_of_its_entries() -> None:
    found = ImportWarnings(lambda: {"billing"})
    for owner in ("biling", "billing", "biling"):
        found.check_owner(owner)
    assert (found.shown, found.more) == ({UNKNOWN: 2}, 0)


@pytest.mark.parametrize("apps", [None, frozenset()])
def test_without_known_apps_no_owner_is_a_warning(apps: frozenset[str] | None) -> None:
    found = ImportWarnings(lambda: apps)
    found.check_owner("biling")
    assert (found.shown, found.more) == ({}, 0)


def test_the_credentials_are_read_once_and_the_nearest_app_is_searched_once_for_each_owner_that_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads: list[str] = []
    searches: list[str] = []
    usual = warnings.undefined

    def apps() -> frozenset[str]:
        reads.append("read")
        return frozenset({"billing"})

    def undefined(kind: str, names: list[str], *others: object) -> tuple[str, ...]:
        searches.extend(names)
        return usual(kind, names, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(warnings, "undefined", undefined)
    found = ImportWarnings(apps)
    owners = [f"unknown-{number}" for number in range(MAX_SHOWN + 50)]
    for owner in (*owners, *owners):
        found.check_owner(owner)
    assert reads == ["read"]
    assert searches == owners[:MAX_SHOWN]


def test_beyond_the_maximum_warnings_are_only_counted() -> None:
    found = ImportWarnings(lambda: {"billing"})
    for number in range(MAX_SHOWN + 3):
        found.add(f"policy p-{number} is not defined")
    found.add("policy p-0 is not defined")
    found.check_owner("biling")
    assert (len(found.shown), found.shown["policy p-0 is not defined"], found.more) == (MAX_SHOWN, 2, 4)
