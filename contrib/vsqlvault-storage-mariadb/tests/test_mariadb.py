"""What is MariaDB's own: the URL, the checks at start, the schema, and errors of the server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pymysql
import pytest
from mariadb_server import SOCKET_VARIABLE, run_sql, url_of
from vsqlvault_storage_mariadb import MariaDbStorages, vault_process_needs
from vsqlvault_storage_mariadb.connections import options_of
from vsqlvault_storage_mariadb.storage import MariaDbStorage

from vsqlvault.config import Settings
from vsqlvault.errors import SchemaTooNew, SettingsInvalid, StorageUnavailable, Unavailable, UnsafeStorage
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, Read
from vsqlvault.interfaces.writes import Committed, Write
from vsqlvault.testing import T0, PluginConformance, a_purge_record, a_write, an_access_record, storing

Result = TypeVar("Result")
URL = "mariadb://vault:p%40ss@db.example:3307/vault?ssl_ca=/etc/ca.pem"


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(asyncio.wait_for(work, 60))


def names(directory: Path) -> tuple[str, str]:
    """Return the URL of the directory's database, and the name of the database."""
    url = url_of(directory)
    return url, options_of(url)["db"]


class TestPlugin(PluginConformance, distribution="vsqlvault-storage-mariadb"):
    pass


@pytest.mark.parametrize(
    "url", ["mariadb://host", "mariadb://host/", "mariadb://host:port/vault", "mariadb://host/vault?sslca=x"]
)
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsInvalid) as caught:
        options_of(url.replace("//", "//vault:secret@"))
    assert "secret" not in str(caught.value)


def test_a_url_gives_host_port_user_password_and_database() -> None:
    found = options_of(URL.partition("?")[0])
    assert found == {"host": "db.example", "port": 3307, "user": "vault", "password": "p@ss", "db": "vault"}


@pytest.mark.parametrize(
    ("url", "ports"),
    [(URL, (3307,)), ("mariadb://db/vault", (3306,)), ("mariadb://localhost/vault?unix_socket=/run/m", ())],
)
def test_the_process_needs_the_port_of_the_server(url: str, ports: tuple[int, ...]) -> None:
    (needs,) = vault_process_needs(Settings.model_validate({"storage": {"database_url": url}}))
    assert needs.connect_ports == ports
    assert needs.readable == (("/etc/ca.pem",) if "ssl_ca" in url else ())


def test_another_storage_needs_nothing_of_it() -> None:
    assert vault_process_needs(Settings.model_validate({"storage": {"database_url": "sqlite:///vault.db"}})) == []


def test_a_server_that_cannot_be_reached_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable) as caught:
        run(MariaDbStorages().open(f"mariadb://vault:secret@localhost/vault?unix_socket={tmp_path / 'none'}"))
    assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("mariadb_socket")
class TestOnAServer:
    def test_a_server_that_loses_commits_in_a_power_failure_is_refused(self, tmp_path: Path) -> None:
        url, _ = names(tmp_path)
        run_sql(os.environ[SOCKET_VARIABLE], "SET GLOBAL innodb_flush_log_at_trx_commit = 2")
        try:
            with pytest.raises(UnsafeStorage, match="innodb_flush_log_at_trx_commit"):
                run(MariaDbStorage.open(url))
        finally:
            run_sql(os.environ[SOCKET_VARIABLE], "SET GLOBAL innodb_flush_log_at_trx_commit = 1")

    def test_a_schema_is_created_once_by_several_at_once(self, tmp_path: Path) -> None:
        async def migrate_together() -> list[tuple[int, int]]:
            storages = [await MariaDbStorage.open(names(tmp_path)[0]) for _ in range(3)]
            found = await asyncio.gather(*(storage.migrate() for storage in storages))
            for storage in storages:
                await storage.close()
            return [(status.before, status.after) for status in found]

        assert sorted(run(migrate_together())) == [(0, 1), (1, 1), (1, 1)]

    def test_a_schema_of_which_only_a_part_was_created_is_completed(self, tmp_path: Path) -> None:
        url, database = names(tmp_path)
        run(_with(url, lambda storage: storage.migrate()))
        run_sql(os.environ[SOCKET_VARIABLE], "DROP TABLE head", database)
        run(_with(url, lambda storage: storage.migrate()))
        assert list(run(_with(url, lambda storage: storage.commit([storing()])))) == [Committed()]

    def test_tables_of_another_program_are_left_alone(self, tmp_path: Path) -> None:
        url, database = names(tmp_path)
        run_sql(os.environ[SOCKET_VARIABLE], "CREATE TABLE customers (name TEXT)", database)
        with pytest.raises(SettingsInvalid):
            run(_with(url, lambda storage: storage.migrate()))
        assert run_sql(os.environ[SOCKET_VARIABLE], "SHOW TABLES", database) == [("customers",)]

    def test_a_schema_of_a_newer_program_is_not_used(self, tmp_path: Path) -> None:
        url, database = names(tmp_path)
        run(_with(url, lambda storage: storage.migrate()))
        run_sql(os.environ[SOCKET_VARIABLE], "UPDATE head SET schema_version = 2", database)
        with pytest.raises(SchemaTooNew):
            run(_with(url, lambda storage: storage.migrate()))

    @pytest.mark.parametrize("log", ["access_log", "purge_log"])
    @pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET position = position + 1"])
    def test_rows_of_the_logs_are_not_changed_or_deleted(self, tmp_path: Path, log: str, statement: str) -> None:
        url, database = names(tmp_path)
        run(_with(url, lambda storage: storage.migrate()))
        run(_with(url, lambda storage: storage.commit([a_write(purges=(a_purge_record(),))])))
        with pytest.raises(pymysql.err.OperationalError, match="append-only"):
            run_sql(os.environ[SOCKET_VARIABLE], statement.format(log), database)

    def test_a_row_of_another_program_is_unavailable(self, tmp_path: Path) -> None:
        url, database = names(tmp_path)
        run(_with(url, lambda storage: storage.migrate()))
        run(_with(url, lambda storage: storage.commit([storing()])))
        run_sql(os.environ[SOCKET_VARIABLE], "UPDATE entries SET encoding = 'rot13'", database)
        with pytest.raises(Unavailable, match="Entry"):
            run(_with(url, lambda storage: storage.entries(EntryQuery(purpose="card", now=T0, limit=9))))

    def test_a_text_that_ends_with_a_space_is_another_text(self, tmp_path: Path) -> None:
        url, _ = names(tmp_path)
        run(_with(url, lambda storage: storage.migrate()))
        records = [replace(an_access_record(), app=app) for app in ("till", "till ", "Till", "tíll")]
        run(_with(url, lambda storage: storage.commit([Write((record,)) for record in records])))
        query = LogQuery(limit=9, equals={"app": "till"})
        assert [row.record.app for row in run(_with(url, lambda storage: storage.access_log(query)))] == ["till"]

    def test_connections_that_the_server_has_ended_are_replaced(self, tmp_path: Path) -> None:
        url, _ = names(tmp_path)

        async def outlive() -> None:
            storage = await MariaDbStorage.open(url)
            await storage.migrate()
            for (thread,) in run_sql(
                os.environ[SOCKET_VARIABLE],
                f"SELECT id FROM information_schema.processlist WHERE db = '{options_of(url)['db']}'",
            ):
                run_sql(os.environ[SOCKET_VARIABLE], f"KILL CONNECTION {thread}")
            for _ in range(9):
                try:
                    await storage.read([Read()])
                except StorageUnavailable:
                    continue
                break
            assert list(await storage.commit([storing()])) == [Committed()]
            await storage.close()

        run(outlive())


async def _with(url: str, use: Any) -> Any:
    storage = await MariaDbStorage.open(url)
    try:
        return await use(storage)
    finally:
        await storage.close()
