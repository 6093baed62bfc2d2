"""How a database gets at what it is asked for: an index, where a table would take its time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Databases
from vsqlvault.testing import T0, storing
from vsqlvault_plugins.storage.postgres.entry_counts import COUNTS as POSTGRES_COUNTS
from vsqlvault_plugins.storage.postgres.server import Server
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage
from vsqlvault_plugins.storage.sql import entry_counts
from vsqlvault_plugins.storage.sql.dialect import POSTGRESQL, QUERIES, SQLITE
from vsqlvault_plugins.storage.sql.log_counts import LOG_COUNTS
from vsqlvault_plugins.storage.sqlite.answers import stored
from vsqlvault_plugins.storage.sqlite.entry_counts import COUNTS as SQLITE_COUNTS
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

WRITES = [storing(f"e{number}", key_ref=f"k{number % 7}") for number in range(200)]
COUNTS_OF_LOGS = {"access_counts": "access", "purge_counts": "purge", "lag_counts": "purge", "retired_keys": "purge"}
OF_PERIOD = {"since": T0, "until": T0, "size": 8_192, "kept": True, "purposes": [], "as_of": T0, "limit": 10} | {
    "in_use": []
}
TIMES = dict.fromkeys(
    (
        "as_of", "retention_limit", "due", "limit_due",
        *(f"{name}_{k}" for name in ("end", "retention_limit") for k in (1, 2, 3)),
    ),
    T0,
)  # fmt: skip
OF_RANK = {"up_to": timedelta(1), "below_all": timedelta(-1), "since": T0, "until": T0, "purpose": None, "rank": 3}
UNDER_A_KEY = QUERIES.with_parts(
    "entries_page",
    filters=f"{QUERIES['entries_where_active']} {QUERIES.with_parts('entries_where_equal', column='key_ref')}",
)
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

    def explain(query: str, **parameters: Any) -> str:
        found = connection.execute(f"EXPLAIN QUERY PLAN {SQLITE.render(query).sql}", stored(parameters))
        return "\n".join(row[3] for row in found)

    yield explain
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

    async def explain(query: str, parameters: Mapping[str, Any]) -> str:
        connection: asyncpg.Connection[Any] = await Server(url).connect()
        sql, names = POSTGRESQL.render(query)
        try:
            found = await connection.fetch(f"EXPLAIN {sql}", *[parameters[name] for name in names])
            return "\n".join(row[0] for row in found)
        finally:
            await connection.close()

    asyncio.run(fill())
    yield lambda query, **parameters: asyncio.run(explain(query, parameters))
    postgres.drop_database(name)


@pytest.mark.parametrize("name", FILTERS)
def test_sqlite_counts_by_key_from_the_index_alone(plan_of_sqlite: Callable[..., str], name: str) -> None:
    query = QUERIES.with_parts("key_refs", filter=QUERIES[f"key_refs_where_{name}"])
    plan = plan_of_sqlite(query, purpose="card", now=T0, created_before=T0, after="a", key_ref="k1", limit=10)
    assert "USING COVERING INDEX entries_by_key_ref" in plan
    assert "TEMP B-TREE" not in plan


def test_sqlite_takes_the_census_of_a_purpose_from_the_index_alone(plan_of_sqlite: Callable[..., str]) -> None:
    query = QUERIES["census_of_purpose"]
    plan = plan_of_sqlite(query, purpose="card", as_of=T0, retention_limit=T0, soon=T0, retention_limit_soon=T0)
    assert plan == "SEARCH entries USING COVERING INDEX entries_by_key_ref (purpose=?)"


def test_sqlite_counts_holdings_from_the_index_alone(plan_of_sqlite: Callable[..., str]) -> None:
    plan = plan_of_sqlite(QUERIES["evidence_holdings"], purpose="card", **TIMES)
    assert "USING COVERING INDEX entries_by_key_ref" in plan


def test_sqlite_counts_whole_blocks_by_their_tallies_and_rows_only_at_the_ends(
    plan_of_sqlite: Callable[..., str],
) -> None:
    for name, log in COUNTS_OF_LOGS.items():
        plan = plan_of_sqlite(f"{LOG_COUNTS['of_period']}\n{LOG_COUNTS[name]}", **OF_PERIOD, log=log)
        assert "SEARCH t USING INDEX" in plan
        assert f"SEARCH {log}_log USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)" in plan
        assert "SCAN access_log" not in plan
        assert "SCAN purge_log" not in plan


def test_postgresql_counts_whole_blocks_by_their_tallies_and_rows_only_at_the_ends(
    plan_of_postgres: Callable[..., str],
) -> None:
    for name, log in COUNTS_OF_LOGS.items():
        plan = plan_of_postgres(f"{LOG_COUNTS['of_period']}\n{LOG_COUNTS[name]}", **OF_PERIOD, log=log)
        assert "_tallies_by_block" in plan
        assert f"Index Scan using {log}_log_pkey" in plan
        assert "Seq Scan on" not in plan


def test_sqlite_looks_a_lag_up_by_its_rank_in_the_index_of_lags(plan_of_sqlite: Callable[..., str]) -> None:
    plan = plan_of_sqlite(LOG_COUNTS["lag_of_rank"], **OF_RANK)
    assert "USING COVERING INDEX purge_log_by_lag (<expr>>? AND <expr><?)" in plan
    assert "TEMP B-TREE" not in plan


def test_postgresql_looks_a_lag_up_by_its_rank_in_the_index_of_lags(plan_of_postgres: Callable[..., str]) -> None:
    plan = plan_of_postgres(LOG_COUNTS["lag_of_rank"], **OF_RANK)
    assert "Index Scan using purge_log_by_lag" in plan or "Index Only Scan using purge_log_by_lag" in plan
    assert "Sort  " not in plan


def test_sqlite_looks_up_a_retired_key_by_the_index_of_keys(plan_of_sqlite: Callable[..., str]) -> None:
    plan = plan_of_sqlite(f"{LOG_COUNTS['of_period']}\n{LOG_COUNTS['retired_keys']}", **OF_PERIOD, log="purge")
    assert "SEARCH e USING COVERING INDEX entries_by_key_ref (purpose=? AND key_ref=?)" in plan


def test_postgresql_looks_up_a_retired_key_by_the_index_of_keys(plan_of_postgres: Callable[..., str]) -> None:
    plan = plan_of_postgres(f"{LOG_COUNTS['of_period']}\n{LOG_COUNTS['retired_keys']}", **OF_PERIOD, log="purge")
    assert plan.count("_purpose_key_ref_external_id") == 16


@pytest.mark.parametrize("name", ["evidence_oldest_expiry", "evidence_oldest_creation"])
def test_sqlite_finds_what_is_overdue_the_longest_at_once(plan_of_sqlite: Callable[..., str], name: str) -> None:
    plan = plan_of_sqlite(QUERIES[name], purpose="card", as_of=T0, retention_limit=T0)
    assert "USING" in plan
    assert "INDEX entries_by_" in plan
    assert "TEMP B-TREE" not in plan


def test_postgresql_counts_holdings_from_the_index_alone(plan_of_postgres: Callable[..., str]) -> None:
    plan = plan_of_postgres(QUERIES["evidence_holdings"], purpose="card", **TIMES)
    scans = [line for line in plan.splitlines() if " Scan" in line]
    assert len(scans) == 16
    assert all("Index Only Scan using entries_" in line for line in scans)


def test_sqlite_finds_when_a_key_was_used_first_and_last_at_the_ends_of_an_index(
    plan_of_sqlite: Callable[..., str],
) -> None:
    for name in ("key_first_used", "key_last_used"):
        plan = plan_of_sqlite(SQLITE_COUNTS[name], policy="owner-only", purpose="card", key_ref="k1", as_of=T0)
        assert plan == (
            "SEARCH entries USING COVERING INDEX entries_by_access_policy (access_policy=? AND purpose=? AND key_ref=?)"
        )


def test_postgresql_finds_when_a_key_was_used_first_and_last_at_the_ends_of_an_index(
    plan_of_postgres: Callable[..., str],
) -> None:
    for name in ("key_used_of_a_key", "key_used_of_none"):
        sql = POSTGRES_COUNTS["key_used"].format(key=POSTGRES_COUNTS[name])
        plan = plan_of_postgres(sql, policies=["owner-only"], purposes=["card"], key_refs=["k1"], as_of=T0)
        assert plan.count("_access_policy_purpose_key_ref_updated_at") == 32


@pytest.mark.parametrize("name", ["TALLIED_HOLDINGS", "TALLIED_KEYS", "ENTRIES_OF_CUT_DAYS"])
def test_sqlite_counts_entries_by_tallies_and_looks_up_the_days_that_are_cut(
    plan_of_sqlite: Callable[..., str], name: str
) -> None:
    query = getattr(entry_counts, name)
    plan = plan_of_sqlite(query, purpose="card", expiry_days=[], creation_days=[], **TIMES)
    scanned = [line for line in plan.splitlines() if line.startswith(("SCAN", "SEARCH")) and "list" not in line.lower()]
    assert "SCAN e" not in scanned
    assert "USE TEMP B-TREE" not in plan or name == "ENTRIES_OF_CUT_DAYS"
    if name == "ENTRIES_OF_CUT_DAYS":
        assert "SEARCH e USING INDEX entries_by_expiry (purpose=? AND expires_at>? AND expires_at<?)" in plan
        assert "SEARCH e USING INDEX entries_by_creation (purpose=? AND created_at>? AND created_at<?)" in plan
    else:
        assert "_tallies USING PRIMARY KEY (purpose=?)" in plan


def test_sqlite_finds_what_is_left_under_a_key_by_the_index(plan_of_sqlite: Callable[..., str]) -> None:
    plan = plan_of_sqlite(
        UNDER_A_KEY, purpose="card", after="", now=T0, created_before=T0, key_ref="k1", limit=10
    )  # fmt: skip
    assert "INDEX entries_by_key_ref (purpose=? AND key_ref=? AND external_id>?" in plan
    assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("name", FILTERS)
def test_postgresql_counts_by_key_from_the_index_alone(plan_of_postgres: Callable[..., str], name: str) -> None:
    query = QUERIES.with_parts("key_refs", filter=QUERIES[f"key_refs_where_{name}"])
    plan = plan_of_postgres(query, purpose="card", now=T0, created_before=T0, after="a", key_ref="k1", limit=10)
    scans = [line for line in plan.splitlines() if " Scan" in line]
    assert len(scans) == 16
    assert all("Index Only Scan using entries_" in line for line in scans)


def test_postgresql_finds_what_is_left_under_a_key_by_the_index(plan_of_postgres: Callable[..., str]) -> None:
    plan = plan_of_postgres(
        UNDER_A_KEY, purpose="card", after="", now=T0, created_before=T0, key_ref="k1", limit=10
    )  # fmt: skip
    assert plan.count("Index Scan using entries_") == 16
    assert plan.count("_purpose_key_ref_external_id") == 16
    assert "Sort  " not in plan
