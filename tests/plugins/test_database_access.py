"""Who can reach the stored tables without the vault: the roles of PostgreSQL, and the file of SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.postgres import Databases
from vsqlvault.model.database_access import DatabaseAccess, DatabaseRole
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

NAMES = ("dba_reader", "dba_group", "dba_member", "dba_super", "dba_stranger", "dba_column", "dba_without_usage")


async def _on_postgres(url: str) -> DatabaseAccess:
    storage = await PostgresStorage.open(url)
    try:
        await storage.migrate()
        found = await storage.database_access()
        assert found is not None
        return found
    finally:
        await storage.close()


@pytest.fixture
def access(postgres: Databases, postgres_url: str) -> Iterator[dict[str, DatabaseRole]]:
    database = urlsplit(postgres_url).path[1:]
    for name in NAMES:
        options = {"dba_group": "", "dba_super": "LOGIN SUPERUSER", "dba_member": "LOGIN NOINHERIT"}
        postgres.sql(f"CREATE ROLE {name} {options.get(name, 'LOGIN')}")
    asyncio.run(_on_postgres(postgres_url))
    in_vault = (
        "GRANT SELECT ON vault.entries TO dba_reader, dba_without_usage",
        "GRANT SELECT, DELETE ON vault.entries, vault.access_log TO dba_group",
        "GRANT SELECT (purpose) ON vault.entries TO dba_column",
        "GRANT USAGE ON SCHEMA vault TO dba_reader, dba_group, dba_column",
        "GRANT dba_group TO dba_member",
    )
    try:
        for statement in in_vault:
            postgres.sql(statement, database=database)
        found = asyncio.run(_on_postgres(postgres_url))
        assert found.roles_examined > len(NAMES)
        yield {role.name: role for role in found.roles}
    finally:
        postgres.drop_database(database)
        postgres.sql(f"DROP ROLE {', '.join(NAMES)}")


def test_a_grant_a_membership_a_column_and_a_superuser_are_found(access: dict[str, DatabaseRole]) -> None:
    of = {name: access[name] for name in NAMES if name in access}
    assert set(of) == set(NAMES) - {"dba_stranger", "dba_without_usage"}
    assert [(of["dba_reader"].may_read, of["dba_reader"].may_write)] == [(1, 0)]
    assert (of["dba_column"].may_read, of["dba_column"].may_write) == (1, 0)
    assert (of["dba_group"].may_read, of["dba_group"].may_write, of["dba_group"].can_log_in) == (2, 2, False)
    member = of["dba_member"]
    assert (member.may_read, member.may_write, member.can_log_in, member.through) == (2, 2, True, ("dba_group",))
    assert (of["dba_super"].is_superuser, of["dba_super"].may_write > 9) == (True, True)
    assert not any(role.is_own for role in of.values())


def test_the_role_that_connects_is_the_vaults_own(access: dict[str, DatabaseRole], postgres_url: str) -> None:
    name = urlsplit(postgres_url).username or ""
    assert [role.name for role in access.values() if role.is_own] == [name]


@pytest.mark.parametrize(("mode", "others"), [(0o600, False), (0o640, True)])
def test_the_mode_and_owner_of_the_file_are_known(tmp_path: Path, mode: int, others: bool) -> None:
    async def found() -> Any:
        storage = await SqliteStorage.open(tmp_path / "vault.db")
        (tmp_path / "vault.db").chmod(mode)
        try:
            return await storage.database_access()
        finally:
            await storage.close()

    access = asyncio.run(found())
    assert access.file == {
        "mode": f"{mode:04o}",
        "owner_uid": (tmp_path / "vault.db").stat().st_uid,
        "owner_gid": (tmp_path / "vault.db").stat().st_gid,
        "others": others,
    }
    assert (list(access.roles), access.roles_examined) == ([], 0)
