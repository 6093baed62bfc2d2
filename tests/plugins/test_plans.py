"""How a database gets at what it is asked for: an index, where a table would take its time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Databases
from vsqlvault.testing import T0, storing
from vsqlvault_plugins.storage.postgres.batches import QUERIES as POSTGRES
from vsqlvault_plugins.storage.postgres.entry_counts import COUNTS as POSTGRES_COUNTS
from vsqlvault_plugins.storage.postgres.server import Server
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage
from vsqlvault_plugins.storage.postgres.tallies import TALLIES as POSTGRES_TALLIES
from vsqlvault_plugins.storage.sqlite import entry_counts as sqlite_counts
from vsqlvault_plugins.storage.sqlite.entry_counts import COUNTS as SQLITE_COUNTS
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage
from vsqlvault_plugins.storage.sqlite.tallies import TALLIES as SQLITE_TALLIES
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES as SQLITE

WRITES = [storing(f"e{number}", key_ref=f"k{number % 7}") for number in range(200)]
COUNTS_OF_LOGS = {"access_counts": "access", "purge_counts": "purge", "lag_counts": "purge", "retired_keys": "purge"}
OF_PERIOD = {"since": 0, "until": 1, "size": 8_192, "kept": 1, "purposes": "[]", "as_of": 0, "limit": 10}
FILTERS = ("none", "any", "after", "equal")


@pytest.fixture(scope="module")
def plan_of_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Return SQLite's plan of a statement, on a file with some entries."""
    file = tmp_path_factory.mktemp("plans") / "vault.db"

    async def fill() -> None:
        storage = await SqliteStorage.open(file)
        await storage.migrate()
        await storage.commit(WRITES)
        await storage.close()

    asyncio.run(fill())
    connection = sqlite3.connect(file)
    yield lambda sql, **named: "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", named))
    connection.close()


@pytest.fixture(scope="module")
def plan_of_postgres(postgres: Databases) -> Iterator[Callable[..., str]]:
    """Return PostgreSQL's plan of a statement, on a connection that is set up as the storage's own."""
    name = postgres.create_database()
    url = postgres.url(name)

    async def fill() -> None:
        storage = await PostgresStorage.open(url)
        await storage.migrate()
        await storage.commit(WRITES)
        await storage.close()

    async def explain(sql: str, parameters: Sequence[Any]) -> str:
        connection: asyncpg.Connection[Any] = await Server(url).connect()
        try:
            return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {sql}", *parameters))
        finally:
            await connection.close()

    asyncio.run(fill())
    yield lambda sql, *parameters: asyncio.run(explain(sql, parameters))
    postgres.drop_database(name)


@pytest.mark.parametrize("name", FILTERS)
def test_sqlite_counts_by_key_from_the_index_alone(plan_of_sqlite: Callable[..., str], name: str) -> None:
    sql = SQLITE["key_refs"].format(filter=SQLITE[f"key_refs_where_{name}"])
    plan = plan_of_sqlite(sql, purpose="card", now=0, created_before=0, after="a", key_ref="k1", limit=10)
    assert "USING COVERING INDEX entries_by_key_ref" in plan
    assert "TEMP B-TREE" not in plan


def test_sqlite_takes_the_census_of_a_purpose_from_the_index_alone(plan_of_sqlite: Callable[..., str]) -> None:
    sql = SQLITE["census_of_purpose"]
    plan = plan_of_sqlite(sql, purpose="card", as_of=0, retention_limit=0, soon=0, retention_limit_soon=0)
    assert plan == "SEARCH entries USING COVERING INDEX entries_by_key_ref (purpose=?)"


def test_sqlite_counts_holdings_from_the_index_alone(plan_of_sqlite: Callable[..., str]) -> None:
    names = (
        "as_of",
        "retention_limit",
        "due",
        "limit_due",
        *(f"{n}_{k}" for n in ("end", "retention_limit") for k in (1, 2, 3)),
    )
    plan = plan_of_sqlite(SQLITE["evidence_holdings"], purpose="card", **dict.fromkeys(names, 0))
    assert "USING COVERING INDEX entries_by_key_ref" in plan


def test_sqlite_counts_whole_blocks_by_their_tallies_and_rows_only_at_the_ends(
    plan_of_sqlite: Callable[..., str],
) -> None:
    for name, log in COUNTS_OF_LOGS.items():
        plan = plan_of_sqlite(f"{SQLITE_TALLIES['of_period']}\n{SQLITE_TALLIES[name]}", **OF_PERIOD, log=log)
        assert "SEARCH t USING INDEX" in plan
        assert f"SEARCH {log}_log USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan
        assert "SCAN access_log" not in plan
        assert "SCAN purge_log" not in plan


def test_postgresql_counts_whole_blocks_by_their_tallies_and_rows_only_at_the_ends(
    plan_of_postgres: Callable[..., str],
) -> None:
    more = {"access_counts": [["card"]], "retired_keys": [T0, 10]}
    for name, log in COUNTS_OF_LOGS.items():
        sql = f"{POSTGRES_TALLIES['of_period']}\n{POSTGRES_TALLIES[name]}".replace("{log}", log)
        plan = plan_of_postgres(sql, T0, T0, 8_192, True, *more.get(name, []))
        assert "_tallies_by_block" in plan
        assert f"Index Scan using {log}_log_pkey" in plan
        assert "Seq Scan on" not in plan


def test_sqlite_looks_a_lag_up_by_its_rank_in_the_index_of_lags(plan_of_sqlite: Callable[..., str]) -> None:
    plan = plan_of_sqlite(SQLITE_TALLIES["lag_of_rank"], above=0, up_to=1, since=0, until=1, purpose=None, rank=3)
    assert "USING COVERING INDEX purge_log_by_lag (<expr>>? AND <expr><?)" in plan
    assert "TEMP B-TREE" not in plan


def test_postgresql_looks_a_lag_up_by_its_rank_in_the_index_of_lags(plan_of_postgres: Callable[..., str]) -> None:
    plan = plan_of_postgres(POSTGRES_TALLIES["lag_of_rank"], T0, T0, timedelta(1), None, 3)
    assert "Index Scan using purge_log_by_lag" in plan or "Index Only Scan using purge_log_by_lag" in plan
    assert "Sort  " not in plan


def test_sqlite_looks_up_a_retired_key_by_the_index_of_keys(plan_of_sqlite: Callable[..., str]) -> None:
    sql = f"{SQLITE_TALLIES['of_period']}\n{SQLITE_TALLIES['retired_keys']}"
    plan = plan_of_sqlite(sql, **OF_PERIOD, log="purge")
    assert "SEARCH e USING COVERING INDEX entries_by_key_ref (purpose=? AND key_ref=?)" in plan


def test_postgresql_looks_up_a_retired_key_by_the_index_of_keys(plan_of_postgres: Callable[..., str]) -> None:
    sql = f"{POSTGRES_TALLIES['of_period']}\n{POSTGRES_TALLIES['retired_keys']}".replace("{log}", "purge")
    plan = plan_of_postgres(sql, T0, T0, 8_192, True, T0, 10)
    assert plan.count("_purpose_key_ref_external_id") == 16


@pytest.mark.parametrize("name", ["evidence_oldest_expiry", "evidence_oldest_creation"])
def test_sqlite_finds_what_is_overdue_the_longest_at_once(plan_of_sqlite: Callable[..., str], name: str) -> None:
    plan = plan_of_sqlite(SQLITE[name], purpose="card", as_of=0, retention_limit=0)
    assert "USING" in plan
    assert "INDEX entries_by_" in plan
    assert "TEMP B-TREE" not in plan


def test_postgresql_counts_holdings_from_the_index_alone(plan_of_postgres: Callable[..., str]) -> None:
    plan = plan_of_postgres(POSTGRES["evidence_holdings"], "card", *[T0] * 10)
    scans = [line for line in plan.splitlines() if " Scan" in line]
    assert len(scans) == 16
    assert all("Index Only Scan using entries_" in line for line in scans)


def test_sqlite_finds_when_a_key_was_used_first_and_last_at_the_ends_of_an_index(
    plan_of_sqlite: Callable[..., str],
) -> None:
    for name in ("key_first_used", "key_last_used"):
        plan = plan_of_sqlite(SQLITE_COUNTS[name], policy="owner-only", purpose="card", key_ref="k1", as_of=0)
        assert plan == (
            "SEARCH entries USING COVERING INDEX entries_by_access_policy (access_policy=? AND purpose=? AND key_ref=?)"
        )


def test_postgresql_finds_when_a_key_was_used_first_and_last_at_the_ends_of_an_index(
    plan_of_postgres: Callable[..., str],
) -> None:
    for name in ("key_used_of_a_key", "key_used_of_none"):
        sql = POSTGRES_COUNTS["key_used"].format(key=POSTGRES_COUNTS[name])
        plan = plan_of_postgres(sql, ["owner-only"], ["card"], ["k1"], T0)
        assert plan.count("_access_policy_purpose_key_ref_updated_at") == 32


@pytest.mark.parametrize("name", ["_TALLIED_HOLDINGS", "_TALLIED_KEYS", "_ENTRIES_OF_CUT_DAYS"])
def test_sqlite_counts_entries_by_tallies_and_looks_up_the_days_that_are_cut(
    plan_of_sqlite: Callable[..., str], name: str
) -> None:
    times = (
        "as_of",
        "retention_limit",
        "due",
        "limit_due",
        *(f"{n}_{k}" for n in ("end", "retention_limit") for k in (1, 2, 3)),
    )
    days = {f"{time}_day": 0 for time in times}
    plan = plan_of_sqlite(
        getattr(sqlite_counts, name), purpose="card", expiry_days="[]", creation_days="[]", first=0, day=1,
        **dict.fromkeys(times, 0), **days,
    )  # fmt: skip
    scanned = [line for line in plan.splitlines() if line.startswith(("SCAN", "SEARCH")) and "list" not in line.lower()]
    assert "SCAN e" not in scanned
    assert "USE TEMP B-TREE" not in plan or name == "_ENTRIES_OF_CUT_DAYS"
    if name == "_ENTRIES_OF_CUT_DAYS":
        assert "SEARCH e USING INDEX entries_by_expiry (purpose=? AND expires_at>? AND expires_at<?)" in plan
        assert "SEARCH e USING INDEX entries_by_creation (purpose=? AND created_at>? AND created_at<?)" in plan
    else:
        assert "_tallies USING PRIMARY KEY (purpose=?)" in plan


def test_sqlite_finds_what_is_left_under_a_key_by_the_index(plan_of_sqlite: Callable[..., str]) -> None:
    filters = f"{SQLITE['entries_where_active']} {SQLITE['entries_where_key_ref']}"
    plan = plan_of_sqlite(
        SQLITE["entries_page"].format(filters=filters),
        purpose="card", after="", now=0, created_before=0, key_ref="k1", limit=10,
    )  # fmt: skip
    assert "INDEX entries_by_key_ref (purpose=? AND key_ref=? AND external_id>?" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("name", FILTERS)
def test_postgresql_counts_by_key_from_the_index_alone(plan_of_postgres: Callable[..., str], name: str) -> None:
    sql = POSTGRES["key_refs"].format(filter=POSTGRES[f"key_refs_where_{name}"])
    plan = plan_of_postgres(sql, "card", T0, T0, 10, None if name in {"none", "any"} else "k1")
    scans = [line for line in plan.splitlines() if " Scan" in line]
    assert len(scans) == 16
    assert all("Index Only Scan using entries_" in line for line in scans)


def test_postgresql_finds_what_is_left_under_a_key_by_the_index(plan_of_postgres: Callable[..., str]) -> None:
    filters = f"{POSTGRES['entries_where_active']} {POSTGRES['entries_where_equal'].format(column='key_ref', place=6)}"
    sql = POSTGRES["entries_page"].format(filters=filters)
    plan = plan_of_postgres(sql, "card", "", 10, T0, T0, "k1")
    assert plan.count("Index Scan using entries_") == 16
    assert plan.count("_purpose_key_ref_external_id") == 16
    assert "Sort  " not in plan
