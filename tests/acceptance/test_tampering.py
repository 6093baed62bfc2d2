"""What somebody with every right on the database can do to the log: both verifiers find it, and name the first bad index."""

from __future__ import annotations

import asyncio
import base64
import secrets
import shutil
import sqlite3
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.exports import second_verifier
from tests.support.postgres import Databases
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.entry import EntryVersion
from vsqlvault.model.times import to_micros
from vsqlvault.model.transparency import Checkpoint, LogName
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.leaf import row_hash
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.tiles import Edge
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.log.export import open_export, write_export
from vsqlvault.service.log.sequencer import Sequencer, Signing
from vsqlvault.service.log.verification import StorageSource, VerificationResult, verify_log
from vsqlvault.testing import T0, a_purge_record, an_access_record, an_entry
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

ORIGIN = "vault.example/audit"
OLD, KEY, STRANGER = (SigningKey(ORIGIN, bytes([number]) * 32) for number in (1, 2, 3))
STEPS = 12
ROWS = 50
"""The number of access log rows between two checkpoints, and five times the number of purge log rows."""


@dataclass
class Log:
    """A log in a database of its own, past whose triggers one can reach."""

    url: str
    directory: Path

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    async def open(self) -> Storage:
        storage: Any
        if self.is_sqlite:
            storage = await SqliteStorage.open(Path(self.url.removeprefix("sqlite:///")))
        else:
            storage = await PostgresStorage.open(self.url)
        await storage.migrate()
        return storage

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement with the triggers off, and on again afterwards."""
        if self.is_sqlite:
            return self._sqlite(statement, *values)
        for number in range(statement.count("?")):
            statement = statement.replace("?", f"${number + 1}", 1)
        connection = await asyncpg.connect(self.url, server_settings={"search_path": "vault", "timezone": "UTC"})
        try:
            await connection.execute("SET session_replication_role = replica")
            return list(await connection.fetch(statement, *values))
        finally:
            await connection.close()

    def _sqlite(self, statement: str, *values: Any) -> list[Any]:
        with sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None) as file:
            file.execute("PRAGMA synchronous = OFF")
            file.execute("BEGIN")
            triggers = file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
            for name, _ in triggers:
                file.execute(f"DROP TRIGGER {name}")
            found = file.execute(statement, values).fetchall()
            for _, text in triggers:
                file.execute(text)
            file.execute("COMMIT")
        file.close()
        return found


def access(number: int) -> Any:
    return an_access_record(
        at=T0 + timedelta(seconds=number),
        request_id=f"{number:032x}",
        stamp=EntryVersion(f"{number:032x}", number),
        identity="jane",
        reason="because",
        policy="owner-only",
        policy_version=3,
        detail="d",
        old_value="{}",
        new_value="[]",
    )


def purge(number: int) -> Any:
    entry = an_entry(f"pay-{number}", entry_id=f"{number:032x}", version=number + 1)
    return a_purge_record(
        entry,
        purge_id=f"{number:032x}",
        purged_at=T0,
        policy_reference="card v1",
        identity="joe",
        request_id=f"{number:032x}",
    )


async def filled(storage: Storage) -> None:
    """Make a log with checkpoints every sixty leaves, the key of which changes on the way."""
    clock = StorageClock()
    queue = CommitQueue(storage, clock, max_batch=256, max_waiting=4096)

    def sequencing(signing: Signing) -> Sequencer:
        return Sequencer(storage=storage, queue=queue, clock=clock, signing=signing, interval_seconds=1)

    sequencer = sequencing(Signing(OLD.signer))
    for step in range(STEPS):
        if step == STEPS // 2:
            sequencer = sequencing(Signing(KEY.signer, OLD.signer))
        numbers = range(step * ROWS, (step + 1) * ROWS)
        await storage.commit([Write((access(n),), purges=(purge(n),) if n % 5 == 0 else ()) for n in numbers])
        await sequencer.sequence()
        await sequencer.sequence()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    directory = tmp_path_factory.mktemp("original")
    if request.param == "sqlite":
        log = Log(f"sqlite:///{directory / 'vault.db'}", directory)
    else:
        databases: Databases = request.getfixturevalue("postgres")
        log = Log(databases.url(databases.create_database()), directory)

    async def fill() -> None:
        storage = await log.open()
        await filled(storage)
        await storage.close()

    asyncio.run(fill())
    yield log
    if not log.is_sqlite:
        databases.drop_database(log.url.rpartition("/")[2])


@pytest.fixture
def copy(request: pytest.FixtureRequest, original: Log, tmp_path: Path) -> Iterator[Callable[[], Log]]:
    """Copy the log; whatever is done to the copy, the original stays."""
    made: list[str] = []

    def make() -> Log:
        if original.is_sqlite:
            target = tmp_path / f"{len(made)}.db"
            made.append(str(target))
            shutil.copyfile(original.url.removeprefix("sqlite:///"), target)
            return Log(f"sqlite:///{target}", tmp_path)
        databases: Databases = request.getfixturevalue("postgres")
        name = f"copy_{secrets.token_hex(6)}"
        databases.sql(f"CREATE DATABASE {name} TEMPLATE {original.url.rpartition('/')[2]}")
        made.append(name)
        return Log(databases.url(name), tmp_path)

    yield make
    if not original.is_sqlite:
        for name in made:
            request.getfixturevalue("postgres").drop_database(name)


@pytest.fixture
def log(copy: Callable[[], Log]) -> Log:
    return copy()


async def both_verdicts(log: Log, kept: list[str]) -> tuple[VerificationResult, VerificationResult, Any]:
    """Check a log in its storage, its export, and its export with the second verifier."""
    storage = await log.open()
    path = log.directory / f"{secrets.token_hex(4)}.zip"
    try:
        live = await verify_log(StorageSource(storage), [OLD.verifier], kept)
        await write_export(path, StorageSource(storage), KEY.verifier, lambda *_: None)
    finally:
        await storage.close()
    with open_export(path) as source:
        exported = await verify_log(source, [OLD.verifier], kept)
    key = second_verifier.parse_key(str(OLD.verifier))
    with zipfile.ZipFile(path) as archive, redirect_stdout(StringIO()):
        check, _ = second_verifier.check_export(second_verifier.Export(archive), [key], kept)
    return live, exported, check


async def first_bad(log: Log, kept: list[str] | None = None) -> int | None:
    """Return the first bad index that all agree on; None if all find no problem."""
    live, exported, check = await both_verdicts(log, kept or [])
    found = {
        findings[0] if findings else None
        for findings in (
            [finding.index for finding in live.findings],
            [finding.index for finding in exported.findings],
            [index for index, _ in check.findings],
        )
    }
    assert len(found) == 1, (live.findings[:5], exported.findings[:5], check.findings[:5])
    return found.pop()


@dataclass
class Facts:
    """What is known of the untouched log."""

    places: list[tuple[LogName, int]]
    checkpoints: list[Checkpoint]

    @property
    def size(self) -> int:
        return len(self.places)

    @property
    def kept(self) -> list[str]:
        """What an auditor has kept of half of the log."""
        return [self.checkpoints[len(self.checkpoints) // 2].note]

    def some(self, log: LogName, after: int = 300) -> tuple[int, int]:
        """Return index and position of a leaf of one of the logs, in the middle."""
        return next((i, p) for i, (name, p) in enumerate(self.places) if name is log and i >= after)

    def good_before(self, index: int) -> int:
        return max((each.size for each in self.checkpoints if each.size <= index), default=0)


@pytest.fixture(scope="module")
def facts(original: Log) -> Facts:
    async def look() -> Facts:
        storage = await original.open()
        try:
            rows = await storage.leaf_rows(0, 10_000)
            return Facts([tuple(row.place) for row in rows], list(await storage.checkpoints(0, 1000)))  # type: ignore[misc]
        finally:
            await storage.close()

    return asyncio.run(look())


def test_the_untouched_log_passes(original: Log, facts: Facts) -> None:
    live, exported, check = asyncio.run(both_verdicts(original, [*facts.kept, facts.checkpoints[-1].note]))
    assert live.is_good, live.findings
    assert exported.is_good, exported.findings
    assert not check.findings
    assert live.size == exported.size == check.size == facts.size > 512
    assert any("changes the signing key" in remark for remark in live.remarks)


ACCESS = [
    "at", "request_id", "operation", "outcome", "status", "purpose", "external_id", "entry_id", "entry_version", "app",
    "identity", "method", "credential_id", "client_address", "untrusted_forwarding", "reason", "policy",
    "policy_version", "count", "detail", "old_value", "new_value", "leaf_hash", "role",
]  # fmt: skip
PURGE = [
    "purge_id", "purpose", "external_id", "entry_id", "entry_version", "method", "reason", "policy_reference", "proof_hash",
    "value_size", "key_ref", "owner_app", "purged_at", "expired_at", "app", "identity", "request_id", "leaf_hash",
]  # fmt: skip
NOT_IN_A_LEAF = {"position", "shard"}
OTHER_WORD = {"granted": "denied", "requested": "expired", "retrieve": "store"}


def another(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case datetime():
            return value + timedelta(microseconds=1)
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case str() if len(value) == 64:
            return value[:-1] + ("0" if value[-1] != "0" else "1")
        case _:
            return OTHER_WORD.get(value, f"{value}!")


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, original: Log, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """A copy for many tests: each of them puts back what it has changed."""
    directory = tmp_path_factory.mktemp("values")
    if original.is_sqlite:
        shutil.copyfile(original.url.removeprefix("sqlite:///"), directory / "vault.db")
        yield Log(f"sqlite:///{directory / 'vault.db'}", directory)
        return
    databases: Databases = request.getfixturevalue("postgres")
    name = f"values_{secrets.token_hex(6)}"
    databases.sql(f"CREATE DATABASE {name} TEMPLATE {original.url.rpartition('/')[2]}")
    yield Log(databases.url(name), directory)
    databases.drop_database(name)


class TestValues:
    """One value of one row."""

    @pytest.mark.parametrize(
        ("name", "column"),
        [(LogName.ACCESS, column) for column in ACCESS] + [(LogName.PURGE, column) for column in PURGE],
        ids=str,
    )
    def test_a_changed_value_is_found_where_it_is(self, shared: Log, facts: Facts, name: LogName, column: str) -> None:
        index, position = facts.some(name)

        async def tamper() -> None:
            ((value,),) = await shared.sql(f"SELECT {column} FROM {name.value}_log WHERE position = ?", position)
            statement = f"UPDATE {name.value}_log SET {column} = ? WHERE position = ?"
            try:
                await shared.sql(statement, another(value), position)
                assert await first_bad(shared) == index
            finally:
                await shared.sql(statement, value, position)

        asyncio.run(tamper())

    @pytest.mark.parametrize(("name", "columns"), [(LogName.ACCESS, ACCESS), (LogName.PURGE, PURGE)], ids=str)
    def test_these_are_all_the_columns_there_are(self, shared: Log, name: LogName, columns: list[str]) -> None:
        names = (
            f"SELECT name FROM pragma_table_info('{name.value}_log')"
            if shared.is_sqlite
            else "SELECT column_name FROM information_schema.columns"
            f" WHERE table_schema = 'vault' AND table_name = '{name.value}_log'"
        )
        found = {row[0] for row in asyncio.run(shared.sql(names))}
        assert found - NOT_IN_A_LEAF == set(columns)

    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("operation", "no-such-operation"),
            ("detail", None),
            ("count", 2**52),
            ("entry_version", None),
            ("at", "end of time"),
        ],
        ids=str,
    )
    def test_a_value_that_no_program_has_written_is_found_where_it_is(
        self, shared: Log, facts: Facts, column: str, value: Any
    ) -> None:
        index, position = facts.some(LogName.ACCESS)
        if value == "end of time":
            value = 2**62 if shared.is_sqlite else None
            if value is None:
                pytest.skip("PostgreSQL takes no time that is none")

        async def tamper() -> None:
            ((before,),) = await shared.sql(f"SELECT {column} FROM access_log WHERE position = ?", position)
            statement = f"UPDATE access_log SET {column} = ? WHERE position = ?"
            try:
                await shared.sql(statement, value, position)
                assert await first_bad(shared) == index
            finally:
                await shared.sql(statement, before, position)

        asyncio.run(tamper())


Tamper = Callable[["Log", "Facts"], Awaitable[int]]
"""Does it, and returns the index that must be named."""


async def rewritten(log: Log, facts: Facts, index: int, *, kept_hash: bool = True) -> None:
    """Change a row, and the hash that is kept with it, so that they fit each other."""
    name, position = facts.places[index]
    await log.sql(f"UPDATE {name.value}_log SET app = 'mallory' WHERE position = ?", position)
    if kept_hash:
        storage = await log.open()
        (row,) = await storage.leaf_rows(index, 1)
        await storage.close()
        assert row.record is not None
        await log.sql(f"UPDATE {name.value}_log SET leaf_hash = ? WHERE position = ?", row_hash(row.record), position)


async def grown_anew(log: Log, *, levels: int = 9) -> Edge:
    """Put tiles in their place that fit the rows as they now are, up to a level."""
    storage = await log.open()
    rows = await storage.leaf_rows(0, 10_000)
    await storage.close()
    edge, tiles = Edge().grown([row_hash(row.record) for row in rows if row.record])
    for key, tile in tiles.items():
        if key.level < levels:
            await log.sql("UPDATE tiles SET hashes = ? WHERE level = ? AND tile_index = ?", tile, key.level, key.index)
    return edge


async def signed_anew(log: Log, checkpoints: list[Checkpoint], key_of: Callable[[int], SigningKey]) -> None:
    """Put checkpoints in their place that fit the rows as they now are."""
    storage = await log.open()
    rows = await storage.leaf_rows(0, 10_000)
    await storage.close()
    hashes = [row_hash(row.record) for row in rows if row.record]
    for number, checkpoint in enumerate(checkpoints):
        root = Edge().grown(hashes[: checkpoint.size])[0].root()
        note = sign_checkpoint(TreeHead(ORIGIN, checkpoint.size, root), key_of(number).signer)
        await log.sql("UPDATE checkpoints SET root_hash = ?, note = ? WHERE size = ?", root, note, checkpoint.size)


def key_then(facts: Facts) -> Callable[[int], SigningKey]:
    """Return which key signed each checkpoint."""
    return lambda number: OLD if OLD.verifier.key_id.hex() in _key_id(facts.checkpoints[number].note) else KEY


def _key_id(note: str) -> str:
    return base64.b64decode(note.rsplit(" ", maxsplit=1)[-1])[:4].hex()


async def drop_access_row(log: Log, facts: Facts) -> int:
    index, position = facts.some(LogName.ACCESS)
    await log.sql("DELETE FROM access_log WHERE position = ?", position)
    return index


async def drop_purge_row(log: Log, facts: Facts) -> int:
    index, position = facts.some(LogName.PURGE)
    await log.sql("DELETE FROM purge_log WHERE position = ?", position)
    return index


async def drop_first_row(log: Log, facts: Facts) -> int:
    await log.sql("DELETE FROM access_log WHERE position = ?", facts.places[0][1])
    return 0


async def drop_last_row(log: Log, facts: Facts) -> int:
    name, position = facts.places[-1]
    await log.sql(f"DELETE FROM {name.value}_log WHERE position = ?", position)
    return facts.size - 1


async def cut_rows(log: Log, facts: Facts) -> int:
    index, position = facts.some(LogName.ACCESS, 500)
    await log.sql("DELETE FROM access_log WHERE position >= ?", position)
    return index


async def cut_rows_and_leaves(log: Log, facts: Facts) -> int:
    index, position = facts.some(LogName.ACCESS, 500)
    await log.sql("DELETE FROM access_log WHERE position >= ?", position)
    await log.sql("DELETE FROM leaves WHERE leaf_index >= ?", index)
    return index


async def cut_leaves_and_tiles(log: Log, facts: Facts) -> int:
    await log.sql("DELETE FROM leaves WHERE leaf_index >= 512")
    await log.sql("DELETE FROM tiles WHERE level = 0 AND tile_index >= 2")
    return 512


async def swap_rows(log: Log, facts: Facts) -> int:
    (first, a), (_, b) = facts.some(LogName.ACCESS, 200), facts.some(LogName.ACCESS, 400)
    for position, to in ((a, -7), (b, a), (-7, b)):
        if log.is_sqlite:
            await log.sql("UPDATE access_log SET position = ? WHERE position = ?", to, position)
        else:  # an identity column cannot be set by any role; so the rows' contents change places
            columns = ", ".join(ACCESS)
            if position == a:
                await log.sql(
                    "CREATE TABLE swapped AS SELECT * FROM access_log WHERE position = ANY (?::bigint[])", [a, b]
                )
                for one, other in ((a, b), (b, a)):
                    await log.sql(
                        f"UPDATE access_log SET ({columns}) = (SELECT {columns} FROM swapped WHERE position = ?)"
                        " WHERE position = ?",
                        one,
                        other,
                    )
    return first


async def swap_neighbours_in_the_index(log: Log, facts: Facts) -> int:
    index, _ = facts.some(LogName.ACCESS, 200)
    a, b = facts.places[index][1], facts.places[index + 1][1]
    await log.sql("UPDATE leaves SET position = ? WHERE leaf_index = ?", b, index)
    await log.sql("UPDATE leaves SET position = ? WHERE leaf_index = ?", a, index + 1)
    return index


async def insert_row_in_between(log: Log, facts: Facts) -> int:
    columns = ", ".join(ACCESS if log.is_sqlite else (*ACCESS, "shard"))
    overriding = "" if log.is_sqlite else "OVERRIDING SYSTEM VALUE"
    await log.sql(
        f"INSERT INTO access_log (position, {columns}) {overriding} SELECT -1, {columns} FROM access_log WHERE position = ?",
        facts.places[0][1],
    )
    return 0


async def put_another_row_in_its_place(log: Log, facts: Facts) -> int:
    index, position = facts.some(LogName.ACCESS)
    _, other = facts.some(LogName.ACCESS, 100)
    columns = ", ".join(ACCESS if log.is_sqlite else (*ACCESS, "shard"))
    overriding = "" if log.is_sqlite else "OVERRIDING SYSTEM VALUE"
    await log.sql("DELETE FROM access_log WHERE position = ?", position)
    await log.sql(
        f"INSERT INTO access_log (position, {columns}) {overriding}"
        f" SELECT {position}, {columns} FROM access_log WHERE position = ?",
        other,
    )
    return index


async def point_a_leaf_at_a_forged_row(log: Log, facts: Facts) -> int:
    index, position = facts.some(LogName.ACCESS)
    columns = ", ".join(ACCESS if log.is_sqlite else (*ACCESS, "shard"))
    overriding = "" if log.is_sqlite else "OVERRIDING SYSTEM VALUE"
    await log.sql(
        f"INSERT INTO access_log (position, {columns}) {overriding}"
        f" SELECT 1000000, {columns} FROM access_log WHERE position = ?",
        position - 1,
    )
    await log.sql("UPDATE leaves SET position = 1000000 WHERE leaf_index = ?", index)
    return index


async def take_a_leaf_out_of_the_index(log: Log, facts: Facts) -> int:
    index, _ = facts.some(LogName.ACCESS)
    await log.sql("DELETE FROM leaves WHERE leaf_index = ?", index)
    return index


async def call_an_access_leaf_a_purge(log: Log, facts: Facts) -> int:
    index, _ = facts.some(LogName.ACCESS, 590)
    await log.sql("UPDATE leaves SET log = 'purge', position = position + 1000000 WHERE leaf_index = ?", index)
    return index


async def alter_a_hash_in_a_tile(log: Log, facts: Facts) -> int:
    return await _alter_tile(log, 0, 1, 44, 256 + 44)


async def alter_a_hash_in_the_last_tile(log: Log, facts: Facts) -> int:
    return await _alter_tile(log, 0, 2, 3, 512 + 3)


async def alter_a_hash_above(log: Log, facts: Facts) -> int:
    return await _alter_tile(log, 1, 0, 1, 256)


async def _alter_tile(log: Log, level: int, index: int, place: int, named: int) -> int:
    ((tile,),) = await log.sql("SELECT hashes FROM tiles WHERE level = ? AND tile_index = ?", level, index)
    altered = tile[: place * 32] + bytes(32) + tile[(place + 1) * 32 :]
    await log.sql("UPDATE tiles SET hashes = ? WHERE level = ? AND tile_index = ?", altered, level, index)
    return named


async def take_a_tile_away(log: Log, facts: Facts) -> int:
    await log.sql("DELETE FROM tiles WHERE level = 0 AND tile_index = 1")
    return 256


async def take_the_tile_above_away(log: Log, facts: Facts) -> int:
    await log.sql("DELETE FROM tiles WHERE level = 1")
    return 0


async def cut_a_tile_short(log: Log, facts: Facts) -> int:
    await log.sql("UPDATE tiles SET hashes = ? WHERE level = 0 AND tile_index = 1", b"")
    return 256


async def change_a_row_and_its_hash(log: Log, facts: Facts) -> int:
    index, _ = facts.some(LogName.ACCESS)
    await rewritten(log, facts, index)
    return index


async def change_a_row_and_its_tile(log: Log, facts: Facts) -> int:
    index, _ = facts.some(LogName.ACCESS)
    await rewritten(log, facts, index)
    await grown_anew(log, levels=1)
    return 256  # the tile above says that it is in this one; the checkpoints say a little less


async def change_a_row_and_the_whole_tree(log: Log, facts: Facts) -> int:
    index, _ = facts.some(LogName.PURGE, 400)
    await rewritten(log, facts, index)
    await grown_anew(log)
    return facts.good_before(index)


async def change_the_last_row_and_the_whole_tree(log: Log, facts: Facts) -> int:
    await rewritten(log, facts, facts.size - 1)
    await grown_anew(log)
    return facts.good_before(facts.size - 1)


async def sign_a_changed_log_with_another_key(log: Log, facts: Facts) -> int:
    index, _ = facts.some(LogName.ACCESS)
    await rewritten(log, facts, index)
    await grown_anew(log)
    await signed_anew(log, facts.checkpoints, lambda _: STRANGER)
    return 0  # no checkpoint is left that verifies


async def sign_the_end_with_another_key(log: Log, facts: Facts) -> int:
    index, _ = facts.some(LogName.ACCESS, facts.checkpoints[-2].size)
    await rewritten(log, facts, index)
    await grown_anew(log)
    last = facts.checkpoints[-1]
    edge = await grown_anew(log)
    note = sign_checkpoint(TreeHead(ORIGIN, last.size, edge.root()), STRANGER.signer)
    await log.sql("UPDATE checkpoints SET root_hash = ?, note = ? WHERE size = ?", edge.root(), note, last.size)
    return facts.checkpoints[-2].size


async def write_another_root_into_the_newest_checkpoint(log: Log, facts: Facts) -> int:
    last = facts.checkpoints[-1]
    forged = last.note.replace(str(TreeHead(ORIGIN, last.size, last.root)), str(TreeHead(ORIGIN, last.size, bytes(32))))
    await log.sql("UPDATE checkpoints SET root_hash = ?, note = ? WHERE size = ?", bytes(32), forged, last.size)
    return facts.checkpoints[-2].size


async def write_another_root_into_an_earlier_checkpoint(log: Log, facts: Facts) -> int:
    one = facts.checkpoints[3]
    forged = one.note.replace(str(TreeHead(ORIGIN, one.size, one.root)), str(TreeHead(ORIGIN, one.size, bytes(32))))
    await log.sql("UPDATE checkpoints SET root_hash = ?, note = ? WHERE size = ?", bytes(32), forged, one.size)
    return facts.checkpoints[2].size


async def write_another_root_beside_a_checkpoint(log: Log, facts: Facts) -> int:
    await log.sql("UPDATE checkpoints SET root_hash = ? WHERE size = ?", bytes(32), facts.checkpoints[-1].size)
    return facts.checkpoints[-2].size


async def claim_a_larger_size(log: Log, facts: Facts) -> int:
    last = facts.checkpoints[-1]
    larger = replace(last, size=last.size + 1000)
    forged = last.note.replace(f"\n{last.size}\n", f"\n{larger.size}\n")
    at = to_micros(last.signed_at) if log.is_sqlite else last.signed_at
    await log.sql(
        "INSERT INTO checkpoints (size, origin, root_hash, note, signed_at) VALUES (?, ?, ?, ?, ?)",
        larger.size, ORIGIN, last.root, forged, at,
    )  # fmt: skip
    return facts.size


TAMPERS = [
    drop_access_row, drop_purge_row, drop_first_row, drop_last_row, cut_rows, cut_rows_and_leaves, cut_leaves_and_tiles,
    swap_rows, swap_neighbours_in_the_index, insert_row_in_between, put_another_row_in_its_place,
    point_a_leaf_at_a_forged_row, take_a_leaf_out_of_the_index, call_an_access_leaf_a_purge, alter_a_hash_in_a_tile,
    alter_a_hash_in_the_last_tile, alter_a_hash_above, take_a_tile_away, take_the_tile_above_away, cut_a_tile_short,
    change_a_row_and_its_hash, change_a_row_and_its_tile, change_a_row_and_the_whole_tree,
    change_the_last_row_and_the_whole_tree, sign_a_changed_log_with_another_key, sign_the_end_with_another_key,
    write_another_root_into_the_newest_checkpoint, write_another_root_into_an_earlier_checkpoint,
    write_another_root_beside_a_checkpoint, claim_a_larger_size,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERS, ids=lambda tamper: tamper.__name__)
def test_tampering_is_found_and_the_first_bad_index_named(log: Log, facts: Facts, tamper: Tamper) -> None:
    async def scene() -> None:
        named = await tamper(log, facts)
        assert await first_bad(log) == named

    asyncio.run(scene())


class TestWithACheckpointThatWasKept:
    """What only somebody finds who has kept a checkpoint from outside."""

    def test_an_old_copy_in_the_place_of_the_new_one(self, log: Log, facts: Facts) -> None:
        async def scene() -> None:
            old = facts.checkpoints[4].size
            await cut_back(log, facts, old)
            assert await first_bad(log) is None
            assert await first_bad(log, facts.kept) == old

        asyncio.run(scene())

    def test_another_history_signed_with_the_keys(self, log: Log, facts: Facts) -> None:
        async def scene() -> None:
            index, _ = facts.some(LogName.ACCESS, 200)
            await rewritten(log, facts, index)
            await grown_anew(log)
            await signed_anew(log, facts.checkpoints, key_then(facts))
            assert await first_bad(log) is None
            early, late = facts.checkpoints[1], facts.checkpoints[-1]
            assert early.size < index < late.size
            assert await first_bad(log, [early.note]) is None
            assert await first_bad(log, [late.note]) == 0
            assert await first_bad(log, [early.note, late.note]) == early.size

        asyncio.run(scene())

    def test_checkpoints_that_were_thinned_out_are_not_missed_and_can_be_checked(self, log: Log, facts: Facts) -> None:
        async def scene() -> None:
            for gone in facts.checkpoints[:-1:2]:
                await log.sql("DELETE FROM checkpoints WHERE size = ?", gone.size)
            assert await first_bad(log, [each.note for each in facts.checkpoints]) is None

        asyncio.run(scene())

    def test_a_checkpoint_that_was_taken_away(self, log: Log, facts: Facts) -> None:
        async def scene() -> None:
            last = facts.checkpoints[-1]
            await log.sql("DELETE FROM checkpoints WHERE size = ?", last.size)
            assert await first_bad(log, [last.note]) == facts.checkpoints[-2].size

        asyncio.run(scene())


async def cut_back(log: Log, facts: Facts, size: int) -> None:
    """Make the database what it was when the tree had ``size`` leaves."""
    for name in LogName:
        last = max(position for log_name, position in facts.places[:size] if log_name is name)
        await log.sql(f"DELETE FROM {name.value}_log WHERE position > ?", last)
    await log.sql("DELETE FROM leaves WHERE leaf_index >= ?", size)
    await log.sql("DELETE FROM checkpoints WHERE size > ?", size)
    await log.sql("DELETE FROM tiles")
    storage = await log.open()
    rows = await storage.leaf_rows(0, size)
    await storage.close()
    _, tiles = Edge().grown([row_hash(row.record) for row in rows if row.record])
    for key, tile in tiles.items():
        await log.sql("INSERT INTO tiles (level, tile_index, hashes) VALUES (?, ?, ?)", key.level, key.index, tile)
