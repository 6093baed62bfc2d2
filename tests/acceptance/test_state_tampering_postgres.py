"""The tampers of tables on PostgreSQL: one database, each tamper undone from a copy of its table; both verifiers name each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.acceptance.test_state_tampering import FORGED, KEY, OWNER, findings_in_export, live, wanted
from tests.support.postgres import Databases
from vsqlvault.config import load_settings
from vsqlvault.model.entry import EntryKey
from vsqlvault.proof.credential_replay import VaultReplay
from vsqlvault.runtime import open_vault
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.service.log.export import write_export
from vsqlvault.service.log.state_check import StateResult, check_state
from vsqlvault.service.log.verification import StorageSource, verify_log
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage

TABLES = (
    "access_policies", "retention_policies", "legal_holds", "api_keys", "control_changes", "attestations",
    "access_reviews", "log_archives", "sweeps", "entries",
)  # fmt: skip
E0, FULL, I1 = "external_id = 'e0'", "external_id = 'full'", "external_id = 'i1'"
TAMPERS: dict[str, str] = {
    "UPDATE retention_policies SET max_retention_days = 3650 WHERE version = 2": "retention_policies, tamper v2",
    "UPDATE retention_policies SET default_ttl_days = 1 WHERE version = 2": "retention_policies, tamper v2",
    "UPDATE retention_policies SET created_by = 'jane' WHERE version = 2": "retention_policies, tamper v2",
    "UPDATE retention_policies SET created_at = created_at - interval '1 s' WHERE version = 2": "retention_policies, tamper v2",
    "UPDATE retention_policies SET required_metadata = '{a}' WHERE version = 2": "retention_policies, tamper v2",
    "UPDATE retention_policies SET inactivity_days = NULL WHERE purpose = 'idle'": "retention_policies, idle v1",
    "DELETE FROM retention_policies WHERE version = 2": "retention_policies, tamper v2",
    "INSERT INTO retention_policies (purpose, version, max_retention_days, purge_method, created_by, created_at)"
    " VALUES ('forged', 1, 10, 'physical-delete', 'vault-admin', now())": "retention_policies, forged v1",
    "UPDATE access_policies SET rules = '{}' WHERE name = 'kept' AND version = 1": "access_policies, kept v1",
    "UPDATE access_policies SET description = 'x' WHERE name = 'vast'": "access_policies, vast v1",
    "UPDATE access_policies SET dropped = true WHERE name = 'kept' AND version = 2": "access_policies, kept v2",
    "UPDATE access_policies SET dropped = false WHERE name = 'gone' AND version = 2": "access_policies, gone v2",
    "DELETE FROM access_policies WHERE name = 'kept' AND version = 2": "access_policies, kept v2",
    "INSERT INTO access_policies SELECT 'forged', 1, evaluator, rules, parameters, description, created_by, created_at, false"
    " FROM access_policies WHERE name = 'kept' AND version = 1": "access_policies, forged v1",
    "UPDATE access_policies SET rules = 'x' WHERE name = 'kept' AND version = 2": "access_policies, kept v2",
    "UPDATE legal_holds SET purpose = 'other' WHERE name = 'case-t1'": "legal_holds, case-t1 v1",
    "UPDATE legal_holds SET released_by = 'x', released_at = now() WHERE name = 'case-t1'": "legal_holds, case-t1 v1",
    "DELETE FROM legal_holds WHERE name = 'case-t2' AND version = 2": "legal_holds, case-t2 v2",
    "INSERT INTO api_keys SELECT 'sha256:000000000000', 1, repeat('0', 64), 'vault-admin', NULL, NULL, '[\"admin\"]', NULL,"
    " NULL, 'vault-admin', now(), NULL, NULL": "api_keys, sha256:000000000000",
    "UPDATE api_keys SET roles = '[\"admin\"]' WHERE app = 'kept'": "api_keys, sha256:",
    "UPDATE api_keys SET purposes = NULL WHERE app = 'kept'": "api_keys, sha256:",
    "UPDATE api_keys SET digest = substr(digest, 1, 12) || repeat('0', 52) WHERE app = 'kept'": "api_keys, sha256:",
    "DELETE FROM api_keys WHERE app = 'revoked' AND version = 2": "api_keys, sha256:",
    "UPDATE control_changes SET detail = 'x' WHERE number = 2 AND name = 'of_state'": "control_changes, of_state",
    "DELETE FROM control_changes WHERE number = 2 AND name = 'of_state'": "control_changes, of_state",
    "UPDATE attestations SET document = replace(document, 'clean', 'bad')": "attestations, 1",
    "UPDATE attestations SET is_clean = NOT is_clean WHERE number = 1": "attestations, 1",
    "DELETE FROM attestations WHERE number = 2": "attestations, 2",
    "UPDATE access_reviews SET document = replace(document, 'all is needed', 'none')": "access_reviews, 1: sha256 is",
    "UPDATE access_reviews SET due_at = due_at + interval '1 d' WHERE number = 1": "access_reviews, 1: at, purpose or due_at",
    "UPDATE access_reviews SET purpose = 'shredded' WHERE number = 2": "access_reviews, 2: at, purpose or due_at",
    "DELETE FROM access_reviews WHERE number = 2": "access_reviews, 2: the row is missing",
    "INSERT INTO access_reviews SELECT 3, at, purpose, due_at, document, note FROM access_reviews WHERE number = 2": (
        "access_reviews, 3: "
    ),
    "UPDATE log_archives SET document = replace(document, '\"access_rows\":', '\"access_rows\":1')": (
        "log_archives, 1: access_rows is"
    ),
    "UPDATE log_archives SET document = 'x'": "log_archives, 1: document is not the record",
    "UPDATE log_archives SET end_index = 512": "log_archives, 1: number, first_index or end_index",
    "UPDATE log_archives SET at = at + interval '1 s'": "log_archives, 1: at is",
    "DELETE FROM log_archives": "log_archives, 1: the row is missing",
    "INSERT INTO log_archives SELECT 2, end_index, 512, access_through, purge_through, at, document FROM log_archives": (
        "log_archives, 2: "
    ),
    "UPDATE sweeps SET purged = 7": "sweeps, ",
    "DELETE FROM sweeps": "sweeps, ",
    f"UPDATE entries SET owner_app = 'thief' WHERE {E0}": "entries, tamper/e0: owner_app",
    f"UPDATE entries SET version = 9 WHERE {E0}": "entries, tamper/e0: version",
    f"UPDATE entries SET entry_id = repeat('0', 32) WHERE {E0}": "entries, tamper/e0: entry_id",
    "DELETE FROM entries WHERE external_id = 'e2'": "entries, tamper/e2: the row is missing",
    "UPDATE entries SET purged_at = now() WHERE external_id = 's2'": "entries, shredded/s2: no leaf purged",
    "UPDATE entries SET purged_at = NULL WHERE external_id = 's1'": "entries, shredded/s1: ",
    f"UPDATE entries SET encrypted_value = 'forged'::bytea WHERE {E0}": "entries, tamper/e0: encrypted_value",
    f"UPDATE entries SET encrypted_value = 'forged'::bytea, value_sha256 = '{FORGED}' WHERE {E0}": "entries, tamper/e0: ",
    "UPDATE entries SET retrievals = 2 WHERE external_id = 'counted' AND purpose = 'tamper'": "entries, tamper/counted: ret",
    "UPDATE entries SET retrievals = 0 WHERE external_id = 'counted' AND purpose = 'idle'": "entries, idle/counted: ret",
    f"UPDATE entries SET expires_at = expires_at + interval '1 us' WHERE {E0}": "entries, tamper/e0: expires_at",
    f"UPDATE entries SET expires_at = expires_at - interval '1 d' WHERE {I1}": "entries, idle/i1: expires_at",
    f"UPDATE entries SET access_policy = 'kept' WHERE {E0}": "entries, tamper/e0: access_policy",
    f"UPDATE entries SET owner_identity = 'jane' WHERE {E0}": "entries, tamper/e0: ",
    f"UPDATE entries SET metadata = '{{}}' WHERE {FULL}": "entries, tamper/full: ",
    f"UPDATE entries SET key_ref = NULL WHERE {FULL}": "entries, tamper/full: ",
    f"UPDATE entries SET algorithm_hint = 'none' WHERE {FULL}": "entries, tamper/full: ",
    f"UPDATE entries SET encoding = 'base64' WHERE {E0}": "entries, tamper/e0: ",
    f"UPDATE entries SET value_size = 7 WHERE {E0}": "entries, tamper/e0: ",
    f"UPDATE entries SET created_at = created_at - interval '1 s' WHERE {E0}": "entries, tamper/e0: ",
    f"UPDATE entries SET updated_at = updated_at + interval '1 s' WHERE {E0}": "entries, tamper/e0: ",
}


def table_of(statement: str) -> str:
    return next(each for each in TABLES if f" {each} " in statement or statement.endswith(each))


CHECKED = list(TAMPERS)
if not os.environ.get("VSQLVAULT_ALL_TAMPERS"):
    CHECKED = [*CHECKED[::2], *(each for each in CHECKED[1::2] if "retrievals" in each)]


@dataclass
class Lived:
    """A stopped vault on PostgreSQL, an open storage and a connection of the superuser, on one event loop."""

    runner: asyncio.Runner
    storage: PostgresStorage
    superuser: Any

    def check(self, path: Path) -> tuple[list[str], list[str]]:
        """Return the findings in the storage, and those in an export by both verifiers."""

        async def check() -> StateResult:
            source, replay = StorageSource(self.storage), VaultReplay()
            assert (await verify_log(source, [KEY.verifier], replay=replay)).findings == []
            found = await check_state(self.storage, source, replay)
            await write_export(path, StorageSource(self.storage), KEY.verifier, lambda *_: None, self.storage)
            return found

        return [str(each) for each in self.runner.run(check()).findings], findings_in_export(path)

    def sql(self, statement: str) -> str:
        return str(self.runner.run(self.superuser.execute(statement)))


async def fill(directory: Path, url: str) -> None:
    variables = {
        "VSQL_VAULT_STORAGE__DATABASE_URL": url,
        "VSQL_VAULT_AUDIT__SIGNING_KEY_FILE": str(directory / "signing.key"),
    }
    async with open_vault(load_settings(None, variables)) as vault:
        await live(vault)
        await vault.log.sequencer.sequence()
        await vault.entries.purge(OWNER, EntryKey("tamper", "e5"), Preconditions())
        await vault.entries.store(OWNER, EntryKey("tamper", "late"), wanted())


@pytest.fixture(scope="module")
def lived(postgres: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    directory = tmp_path_factory.mktemp("lived")
    (directory / "signing.key").write_text(KEY.reveal(), "utf-8")
    (directory / "signing.key").chmod(0o600)
    name = postgres.create_database()
    url = postgres.url(name)
    with asyncio.Runner() as runner:
        runner.run(fill(directory, url))
        superuser = runner.run(asyncpg.connect(url, server_settings={"search_path": "vault"}))
        lived = Lived(runner, runner.run(PostgresStorage.open(url)), superuser)
        lived.sql("SET session_replication_role = replica; CREATE SCHEMA kept")
        for table in TABLES:
            lived.sql(f"CREATE TABLE kept.{table} AS TABLE vault.{table}")
        yield lived
        runner.run(superuser.close())
        runner.run(lived.storage.close())
    postgres.drop_database(name)


def test_an_untouched_vault_passes_on_postgresql(lived: Lived, tmp_path: Path) -> None:
    assert lived.check(tmp_path / "audit.zip") == ([], [])


def test_each_table_has_a_tamper_that_is_checked() -> None:
    assert {table_of(each) for each in CHECKED} == set(TABLES)


@pytest.mark.parametrize("statement", CHECKED)
def test_a_tamper_of_a_table_on_postgresql_is_named_by_both_verifiers(
    lived: Lived, tmp_path: Path, statement: str
) -> None:
    table = table_of(statement)
    changed = lived.sql(statement)
    try:
        live_findings, exported = lived.check(tmp_path / "audit.zip")
    finally:
        lived.sql(f"DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept.{table}")
    assert not changed.endswith(" 0"), "the statement changes nothing"
    for findings in (live_findings, exported):
        assert any(each.startswith(TAMPERS[statement]) for each in findings), findings


@pytest.mark.parametrize(("where", "name"), [(E0, "tamper/e0"), ("external_id = 's1'", "shredded/s1")])
def test_both_verifiers_name_an_entry_in_another_shard(lived: Lived, tmp_path: Path, where: str, name: str) -> None:
    lived.sql(f"UPDATE entries SET shard = 1 WHERE {where}")
    try:
        findings, exported = lived.check(tmp_path / "audit.zip")
    finally:
        lived.sql("DELETE FROM entries; INSERT INTO entries SELECT * FROM kept.entries")
    assert findings == exported == [f"entries, {name}: a lookup by purpose and external_id does not find the row"]


@pytest.mark.parametrize("log", ["access", "purge"])
@pytest.mark.parametrize("shard", [-1, 1])
def test_a_second_row_at_the_position_of_another_is_found(lived: Lived, log: str, shard: int) -> None:
    """Each key of a log has the shard too, so another shard allows the same position again."""
    table, place = f"{log}_log", f"(SELECT min(position) FROM {log}_log)"
    lived.sql(f"CREATE TEMPORARY TABLE forged AS SELECT * FROM {table} WHERE position = {place}")
    lived.sql(
        f"UPDATE forged SET app = 'forged', shard = {shard}; INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM forged"
    )
    try:
        found = lived.runner.run(verify_log(StorageSource(lived.storage), [KEY.verifier])).findings
    finally:
        lived.sql(f"DROP TABLE forged; DELETE FROM {table} WHERE app = 'forged'")
    assert any(f"the {log} log has two rows at its position" in each.what for each in found), found
