"""A database that an earlier version made is upgraded by ``migrate``: to the schema of a new one, with the log it had."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import asyncpg
import pytest

from tests.support.postgres import Databases
from tests.upgrades import catalogue
from tests.upgrades.frozen import FROZEN, Frozen
from vsqlvault.cli import main
from vsqlvault.errors import SchemaTooOld
from vsqlvault.interfaces.storage import MigrationStatus, Storage
from vsqlvault_plugins.storage.postgres import schema as postgres_schema
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage
from vsqlvault_plugins.storage.schemas import Schema, SchemaState
from vsqlvault_plugins.storage.sqlite import schema as sqlite_schema
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

SCHEMAS = {"postgresql": postgres_schema.SCHEMA, "sqlite": sqlite_schema.SCHEMA}
COUNTS = (
    "SELECT (SELECT count(*) FROM {0}entries), (SELECT count(*) FROM {0}access_log), (SELECT count(*) FROM {0}purge_log),"
    " (SELECT count(*) FROM {0}leaves), (SELECT count(*) FROM {0}checkpoints), (SELECT max(root_hash) FROM {0}checkpoints"
    " WHERE size = (SELECT max(size) FROM {0}checkpoints)), (SELECT count(*) FROM {0}api_keys),"
    " (SELECT count(*) FROM {0}legal_holds), (SELECT count(*) FROM {0}access_policies)"
)
LIVE = "SELECT count(*) FROM {0}entries WHERE purged_at IS NULL"
TALLIED = "SELECT coalesce((SELECT sum(entry_count) FROM {0}key_tallies), 0){1}"
DROP_TRIGGER = "DROP TRIGGER access_log_append_only ON vault.access_log"
_DELTAS = " + coalesce((SELECT sum(entry_count) FROM vault.entry_deltas), 0)"


class Place:
    """A database of either kind."""

    def __init__(self, kind: str, directory: Path, url: str) -> None:
        self.kind = kind
        self.file = directory / "vault.db"
        self.url = url if kind == "postgresql" else f"sqlite:///{self.file}"

    def load(self, frozen: Frozen) -> None:
        if frozen.kind == "sqlite":
            frozen.load_sqlite(self.file)
        else:
            asyncio.run(frozen.load_postgres(self.url))

    async def open(self) -> Storage:
        if self.kind == "sqlite":
            return await SqliteStorage.open(self.file)
        return await PostgresStorage.open(self.url, pool_size=1)

    def status(self, *, migrates: bool) -> MigrationStatus:
        async def found() -> MigrationStatus:
            storage = await self.open()
            try:
                return await (storage.migrate() if migrates else storage.schema_status())
            finally:
                await storage.close()

        return asyncio.run(found())

    def catalogue(self) -> object:
        if self.kind == "sqlite":
            return catalogue.of_sqlite(self.file)
        return asyncio.run(catalogue.of_postgres(self.url))

    def row(self, sql: str) -> tuple[object, ...]:
        if self.kind == "sqlite":
            with closing(sqlite3.connect(self.file)) as connection, connection:
                return tuple(connection.execute(sql.format("", "")).fetchone() or ())
        return asyncio.run(self._row(sql.format("vault.", _DELTAS)))

    async def _row(self, sql: str) -> tuple[object, ...]:
        connection = await asyncpg.connect(self.url)
        try:
            return tuple(await connection.fetchrow(sql) or ())
        finally:
            await connection.close()


def verified(text: str) -> set[str]:
    """Return the leaves and the values that ``vsql-vault verify`` has verified. Earlier versions did not verify values."""
    found = set(re.findall(r"\d+ leaves of [^,]+|\d+ values match their hashes", text))
    assert found
    return found


@pytest.fixture(scope="module")
def new_catalogues(postgres: Databases, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The catalogues of new databases."""
    name = postgres.create_database()
    found = {}
    for kind in SCHEMAS:
        place = Place(kind, tmp_path_factory.mktemp("new"), postgres.url(name))
        assert place.status(migrates=True).steps == ("schema.sql", "functions.sql")
        found[kind] = place.catalogue()
    postgres.drop_database(name)
    return found


@pytest.fixture(params=FROZEN, ids=str)
def frozen(request: pytest.FixtureRequest) -> Frozen:
    return request.param


@pytest.fixture
def place(frozen: Frozen, tmp_path: Path, postgres: Databases) -> Iterator[Place]:
    name = postgres.create_database()
    place = Place(frozen.kind, tmp_path, postgres.url(name))
    place.load(frozen)
    yield place
    postgres.drop_database(name)


def test_both_storages_have_a_dump_of_the_last_version_before_the_squash() -> None:
    assert {str(frozen) for frozen in FROZEN} >= {"sqlite-16", "postgresql-18"}


def test_an_upgraded_schema_is_that_of_a_new_database(
    frozen: Frozen, place: Place, new_catalogues: dict[str, object]
) -> None:
    planned = place.status(migrates=False)
    assert (planned.before, planned.after) == (frozen.version, SCHEMAS[frozen.kind].version)
    assert place.row("SELECT version FROM {0}schema_version") == (frozen.version,)
    assert place.status(migrates=True) == planned
    assert place.catalogue() == new_catalogues[frozen.kind]
    assert place.status(migrates=True).steps == ()


def test_an_upgrade_keeps_entries_logs_and_rules_and_the_log_verifies(
    frozen: Frozen, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VSQL_VAULT_STORAGE__DATABASE_URL", place.url)
    before = place.row(COUNTS)
    (note,) = place.row("SELECT note FROM {0}checkpoints ORDER BY size DESC LIMIT 1")
    kept = tmp_path / "checkpoint"
    kept.write_text(str(note))
    place.status(migrates=True)
    assert place.row(COUNTS) == before
    assert place.row(TALLIED) == place.row(LIVE)
    assert main(["verify", "--vkey", str(frozen.path("vkey")), "--checkpoint", str(kept)]) == 0
    assert verified(frozen.path("verified").read_text()) <= verified(capsys.readouterr().out)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_functions_are_replaced_when_their_text_has_changed(kind: str, tmp_path: Path, postgres: Databases) -> None:
    name = postgres.create_database()
    place = Place(kind, tmp_path, postgres.url(name))
    place.status(migrates=True)
    new = place.catalogue()
    place.row("UPDATE {0}schema_version SET functions = 'of another text' RETURNING version")
    place.row("DROP TRIGGER access_log_no_update" if kind == "sqlite" else DROP_TRIGGER)
    assert place.catalogue() != new
    assert place.status(migrates=False).steps == ("functions.sql",)
    assert place.status(migrates=True).steps == ("functions.sql",)
    assert place.catalogue() == new
    assert place.status(migrates=True).steps == ()
    postgres.drop_database(name)


@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_a_schema_from_before_the_oldest_step_is_refused(schema: Schema) -> None:
    with pytest.raises(SchemaTooOld, match=f"version {schema.oldest - 1}.* from version {schema.oldest} on"):
        schema.pending(SchemaState(schema.oldest - 1))
    assert schema.pending(SchemaState(schema.oldest))[0] == schema.steps[0]
