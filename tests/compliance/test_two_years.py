"""Every number of the report of a vault that lived two years is what slow counts over its raw rows give."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.compliance.counted_numbers import ALL, NO_COUNTS
from tests.compliance.living import SETTINGS, START, Clock, ClockedStorage, Life
from tests.compliance.raw_rows import raw_rows
from tests.compliance.recount import Facts, Rules, numbers
from tests.support.fixtures import NewDatabase
from vsqlvault.testing.vaults import a_vault
from vsqlvault_plugins.storage.postgres import tallies as postgres_tallies
from vsqlvault_plugins.storage.sql import log_counts
from vsqlvault_plugins.storage.sqlite import tallies as sqlite_tallies

BLOCK_ROWS = 64


@dataclass(frozen=True)
class Lived:
    """The vault's report of both years, and the facts that it is recounted from."""

    report: dict[str, Any]
    facts: Facts


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Lived:
    directory: Path = tmp_path_factory.mktemp("two-years")
    url, clock = new_database(directory), Clock()

    async def live() -> Lived:
        settings = {**SETTINGS, "storage": {"database_url": url}}
        async with a_vault(directory, settings=settings, wrap=lambda inner: ClockedStorage(inner, clock)) as vault:  # type: ignore[arg-type,return-value]
            life = Life(vault, clock)
            await life.run()
            report = await vault.compliance.report.write(life.auditor, clock.at, since=START)
            return Lived(report, Facts(await raw_rows(url), report, clock.at))

    with pytest.MonkeyPatch.context() as patch:
        for module in (log_counts, postgres_tallies, sqlite_tallies):
            patch.setattr(module, "BLOCK_ROWS", BLOCK_ROWS)  # so that most rows are counted by block
        return asyncio.run(live())


def test_every_number_is_what_a_slow_count_gives(lived: Lived) -> None:
    rules, no_counts = Rules(ALL), Rules(dict.fromkeys(NO_COUNTS, lambda _facts, _path: None))
    different: dict[str, tuple[Any, Any]] = {}
    not_counted: list[str] = []
    for path, found in numbers({name: each for name, each in lived.report.items() if name != "requirements"}):
        name = "/".join(map(str, path))
        if count := rules.find(path):
            if (expected := count(lived.facts, path)) != found:
                different[name] = (found, expected)
        elif not no_counts.find(path):
            not_counted.append(name)
    assert not_counted == []
    assert different == {}
    assert rules.names - rules.used <= {"log_review/figures/by_app/*"}


@pytest.mark.parametrize("name", ["log_review", "bulk_access"])
def test_the_rows_that_a_check_asks_for_are_those_that_the_section_counts(lived: Lived, name: str) -> None:
    member = lived.report[name]
    found = [
        row
        for operation in re.findall(r"\?outcome=granted&operation=([a-z-]+)", member["check"])
        for row in lived.facts.access
        if (row["outcome"], row["operation"]) == ("granted", operation)
    ]
    assert len(found) == member["population"]


def test_the_sweeps_are_the_rows_of_their_check_that_are_no_dry_run(lived: Lived) -> None:
    member = lived.report["sweeps"]
    rows = [row for row in lived.facts.access if row["operation"] == "sweep" and row["outcome"] == "granted"]
    runs = [row for row in rows if not (row["detail"] or "").startswith("dry run")]
    assert len(runs) == member["population"]
    reasons = re.findall(r"purge-log\?reason=([a-z-]+)", member["check"])
    purged = sum(row["reason"] in reasons for row in lived.facts.purges)
    assert purged >= member["figures"]["purged"] > 0


def test_no_section_has_failed(lived: Lived) -> None:
    assert [name for name, member in lived.report.items() if member == {"failed": True}] == []


def test_the_life_has_something_of_everything(lived: Lived) -> None:
    operations = Counter(row["operation"] for row in lived.facts.access)
    assert operations.keys() >= {
        "store", "update", "retrieve", "purge", "sweep", "scrub", "attest", "review-access", "control-failed",
        "acknowledge-failure", "change-legal-hold", "release-legal-hold", "create-api-key", "revoke-api-key",
        "delete-access-policy", "clock-jump", "confirm-restore", "server-started", "authenticate",
    }  # fmt: skip
    blocks = Counter(row["log"] for row in lived.facts.rows["log_blocks"])
    assert blocks["access"] * BLOCK_ROWS > len(lived.facts.access) / 2
    assert blocks["purge"] * BLOCK_ROWS > len(lived.facts.purges) / 2
    figures = lived.report["retention_and_purge"]["figures"]
    assert min(figures["overdue"], figures["held"], figures["lag"]["purges"]) > 0
    assert set(figures["purged_by_reason"]) == {"expired", "replaced", "requested"}
    assert lived.report["key_inventory"]["figures"]["stale"] > 0
    what = {each["what"] for each in lived.report["access_review"]["exceptions"]["listed"]}
    assert what >= {"the next review of access is overdue", "who may access has changed since the review"}
