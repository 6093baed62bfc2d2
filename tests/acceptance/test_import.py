"""``vsql-vault import`` on both storages: files, standard input, a vibesql-vault, bad records, and interrupted runs."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.fixtures import SIGNING_KEY, NewDatabase
from tests.support.postgres import Databases
from tests.support.vibesql import ENTRIES, TABLES
from vsqlvault import runtime
from vsqlvault.__main__ import main
from vsqlvault.config import load_settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, Read, Storage, VersionQuery
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry, EntryKey, ValueEncoding
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.principal import SYSTEM, Call, Role
from vsqlvault.model.times import EPOCH, utc_now
from vsqlvault.plugin_loader import Plugins
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.compliance.access_reviews import ReviewRequest
from vsqlvault.service.credentials.api_keys import ApiKeyRequest
from vsqlvault.service.entries.requests import NO_PRECONDITIONS, StoreRequest
from vsqlvault.service.log.vault_copy import END_DETAIL, VaultCopy
from vsqlvault.testing import a_call, a_legal_hold, a_retention_policy, an_access_policy

INTERRUPTED = 130
Run = Callable[..., tuple[int, dict[str, Any], str]]
LINE: dict[str, Any] = {
    "purpose": "card",
    "external_id": "imp-0",
    "encrypted_value": "ciphertext",
    "owner_app": "legacy",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2027-06-01T00:00:00Z",
}


@pytest.fixture
def directory(tmp_path: Path, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the settings of a vault that has a retention policy for ``card``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "k" * 40)
    (tmp_path / "signing.key").write_text(SIGNING_KEY.reveal(), "utf-8")
    (tmp_path / "signing.key").chmod(0o600)
    settings = f'[storage]\ndatabase_url = "{new_database(tmp_path)}"\n[audit]\nsigning_key_file = "signing.key"\n'
    (tmp_path / "vsql-vault.toml").write_text(settings, "utf-8")

    async def retain() -> None:
        async with runtime.open_vault(settings_of(tmp_path)) as vault:
            policy = a_retention_policy("card", max_retention_days=730)
            await vault.rules.policies.save_retention_policy(Call(SYSTEM, "0" * 32), policy)

    asyncio.run(retain())
    return tmp_path


def settings_of(directory: Path) -> Any:
    return load_settings(directory / "vsql-vault.toml", {"VSQL_VAULT_API_KEY": "k" * 40})


@pytest.fixture
def run(directory: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``import`` in this process. Return the exit code, the count, and standard error."""

    def call(*arguments: str) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        try:
            code = main(["import", "--json", *arguments])
        except SystemExit as ended:
            code = int(str(ended.code))
        shown = capsys.readouterr()
        return code, json.loads(shown.out) if shown.out else {}, shown.err

    return call


def lines(directory: Path, *changes: dict[str, Any], name: str = "entries.ndjson") -> str:
    """Write a file with one line for each change of ``LINE``."""
    (directory / name).write_text("".join(json.dumps(LINE | change) + "\n" for change in changes), "utf-8")
    return str(directory / name)


def many(directory: Path, count: int) -> str:
    return lines(directory, *({"external_id": f"imp-{number:04}"} for number in range(count)))


def entries(directory: Path) -> list[tuple[Entry, bytes | None]]:
    """Return the entries of ``card`` with their values."""

    async def read() -> list[tuple[Entry, bytes | None]]:
        async with runtime.open_vault(settings_of(directory)) as vault:
            found = await vault.storage.entries(EntryQuery(purpose="card", now=utc_now(), limit=5_000, state=None))
            return [(each, (await vault.queue.read(each.key, with_value=True)).value) for each in found]

    return asyncio.run(read())


def import_rows(directory: Path) -> list[str]:
    """Return the ids of the ``import`` rows, in order."""

    async def read() -> list[str]:
        async with runtime.open_vault(settings_of(directory)) as vault:
            query = LogQuery(limit=10_000, oldest_first=True, equals={"operation": Operation.IMPORT.value})
            return [row.record.external_id or "" for row in await vault.storage.access_log(query)]

    return asyncio.run(read())


def verify(directory: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Let every row become a leaf, then verify the log, the tables and the values."""

    async def sequence() -> None:
        async with runtime.open_vault(settings_of(directory)) as vault:
            while await vault.log.sequencer.sequence():
                pass

    asyncio.run(sequence())
    capsys.readouterr()
    code = main(["verify"])
    return code, capsys.readouterr().out


def test_an_imported_vault_verifies_with_replay(directory, run, capsys) -> None:
    code, count, _ = run(many(directory, 600))
    assert (code, count["created"]) == (0, 600)
    found = entries(directory)
    assert {each.owner_app for each, _ in found} == {"legacy"}
    assert {value for _, value in found} == {b"ciphertext"}
    assert sorted(import_rows(directory)) == ["", *sorted(each.external_id for each, _ in found)]
    code, text = verify(directory, capsys)
    assert code == 0, text
    assert "600 values match their hashes" in text


def test_an_answer_of_the_vault_is_a_line(directory, run) -> None:
    run(lines(directory, {"metadata": {"a": 1.5}, "encoding": "base64", "encrypted_value": "/w=="}))
    entry = entries(directory)[0][0]
    answer = {
        "entry_id": entry.entry_id, "version": 1, "state": "active", "value_sha256": entry.value_sha256, "value_size": 1,
        "effective_expires_at": "2027-06-01T00:00:00Z", "retrievals": None, "owner_identity": None, "key_ref": None,
        "algorithm_hint": None, "access_policy": "owner-only", "updated_at": "2026-01-01T00:00:00Z", "metadata": {"a": 1.5},
        "encoding": "base64", "encrypted_value": "/w==",
    }  # fmt: skip
    code, count, text = run(lines(directory, answer))
    assert (code, count["unchanged"]) == (0, 1), text


def test_standard_input_is_a_source(directory, run, monkeypatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(LINE).encode())))
    assert run("-")[1]["created"] == 1


def test_a_run_that_was_interrupted_is_resumed(directory, run, monkeypatch, capsys) -> None:
    path, commit, batches = many(directory, 1_500), CommitQueue.commit, []

    async def interrupted(queue: CommitQueue, write: Any) -> Any:
        outcome = await commit(queue, write)
        batches.append(len(write.changes))
        if len(batches) == 2:  # a batch is committed, and the process ends before it knows
            raise KeyboardInterrupt
        return outcome

    monkeypatch.setattr(CommitQueue, "commit", interrupted)
    assert run(path)[0] == INTERRUPTED
    monkeypatch.setattr(CommitQueue, "commit", commit)
    there = len(entries(directory))
    assert 0 < there < 1_500
    code, count, _ = run(path)
    assert (code, count["created"], count["unchanged"]) == (0, 1_500 - there, there)
    rows = [name for name in import_rows(directory) if name]
    assert len(rows) == len(set(rows)) == 1_500
    assert verify(directory, capsys)[0] == 0


def test_a_dry_run_stores_nothing(directory, run) -> None:
    code, count, _ = run("--dry-run", lines(directory, {}, {"external_id": "no id"}))
    assert (code, count["created"], count["rejected"]) == (1, 1, 1)
    assert entries(directory) == []
    assert import_rows(directory) == []


BAD_LINES: list[tuple[dict[str, Any], str]] = [
    ({"purpose": "Card"}, "purpose: "),
    ({"purpose": "crad"}, "purpose: expected a purpose with a retention policy (did you mean card?)"),
    ({"external_id": "../x"}, "external_id: "),
    ({"owner_app": None}, "owner_app: "),
    ({"owner_app": ""}, "owner_app: "),
    ({"created_at": "yesterday"}, "created_at: expected RFC 3339"),
    ({"created_at": "2026-01-01T00:00:00"}, "created_at: expected RFC 3339"),
    ({"created_at": "2200-01-01T00:00:00Z"}, "created_at: expected a time that is not in the future"),
    ({"updated_at": "2025-12-31T00:00:00Z"}, "updated_at: expected a time that is not before created_at"),
    ({"expires_at": "2025-01-01T00:00:00Z"}, "expires_at: expected a time after created_at"),
    ({"expires_at": "2031-01-01T00:00:00Z"}, "expires_at: expected at most 730 days after created_at"),
    ({"encrypted_value": ""}, ": encrypted_value is required"),
    ({"encrypted_value": 7}, "encrypted_value: "),
    ({"encrypted_value": "x" * (1024 * 1024 + 1)}, "encrypted_value: expected at most 1048576 bytes"),
    ({"encoding": "base64", "encrypted_value": "no base64"}, "encrypted_value: expected canonical base64"),
    ({"encoding": "latin-1"}, "encoding: "),
    ({"metadata": []}, "metadata: "),
    ({"metadata": {"a": "x" * 9000}}, "metadata: "),
    ({"value_sha256": "0" * 64}, "value_sha256: expected the SHA-256 of encrypted_value"),
    ({"value_size": 1}, "value_size: "),
    ({"key_reff": "k"}, ": key_reff: unknown field (did you mean key_ref?)"),
    ({"access_policy": "No Policy"}, "access_policy: "),
    ({"ttl": "90d"}, "expires_at or ttl"),
    ({"owner_identity": "a\u202eb"}, "owner_identity: "),
    ({"retrievals": "many"}, "retrievals: "),
]


def test_each_of_100_bad_lines_has_its_message(directory, run) -> None:
    bad = [
        (change | ({} if "external_id" in change else {"external_id": f"bad-{turn}-{place}"}), message)
        for turn in range(4)
        for place, (change, message) in enumerate(BAD_LINES)
    ]
    code, count, text = run(lines(directory, *(change for change, _ in bad)))
    assert (code, count["rejected"], count["created"]) == (1, 100, 0)
    said = text.splitlines()
    for number, (_, message) in enumerate(bad, start=1):
        assert any(line.startswith(f"line {number}: ") and message in line for line in said), (number, message)
    assert entries(directory) == []


def test_lines_that_are_no_json_are_named_by_number(directory, run) -> None:
    good = json.dumps(LINE).encode()
    bad = [b"\xef\xbb\xbf" + good, b"{", b"[]", b'{"a":1,"a":2}', b'{"purpose":"\xff"}', b'{"a":NaN}', b"", good]
    (directory / "bad.ndjson").write_bytes(b"\n".join(bad))
    code, count, text = run("bad.ndjson")
    assert (code, count["created"], count["rejected"]) == (1, 1, 6)
    assert [line.partition(":")[0] for line in text.splitlines()] == [f"line {number}" for number in range(1, 7)]


def test_a_line_that_is_too_long_is_rejected_and_the_next_one_taken(directory, run) -> None:
    path = lines(directory, {"encrypted_value": "x" * 6_400_000}, {})
    code, count, text = run(path)
    assert (code, count["created"], count["rejected"]) == (1, 1, 1)
    assert text.startswith("line 1: expected a line of at most 6356992 bytes, which server.max_value_bytes sets")


def test_a_value_that_fits_is_taken_however_its_characters_are_escaped(directory, run) -> None:
    escaped = json.dumps(LINE).replace('"ciphertext"', '"' + "\\u0078" * 300_000 + '"')
    (directory / "escaped.ndjson").write_text(escaped + "\n", "utf-8")
    assert run("escaped.ndjson")[1]["created"] == 1


def test_rejects_are_collected_in_a_file_that_can_be_imported(directory, run) -> None:
    run("--rejects", "rejects.ndjson", lines(directory, {"external_id": "late", "expires_at": "2031-01-01T00:00:00Z"}))
    reject = json.loads((directory / "rejects.ndjson").read_text("utf-8"))
    assert reject["place"] == "line 1"
    assert reject["errors"][0]["field"] == "expires_at"
    assert run("--shorten-expiry", "rejects.ndjson")[1]["created"] == 1
    assert (directory / "rejects.ndjson").stat().st_mode & 0o777 == 0o600


def test_a_file_of_rejects_is_never_overwritten(directory, run) -> None:
    (directory / "rejects.ndjson").write_text("mine")
    code, _, text = run("--rejects", "rejects.ndjson", lines(directory, {}))
    assert (code, (directory / "rejects.ndjson").read_text()) == (2, "mine")
    assert "--rejects: expected a new file" in text


def test_a_missing_file_is_named(directory, run) -> None:
    code, _, text = run("nowhere.ndjson")
    assert (code, "SOURCE: expected a file that can be read" in text) == (2, True)


def test_no_value_is_shown(directory, run) -> None:
    secret = "ciphertext-7f3e"
    _, _, text = run(lines(directory, {"encrypted_value": secret, "purpose": "nowhere"}))
    assert secret not in text


@pytest.fixture
def vibesql(postgres: Databases) -> Any:
    name = postgres.create_database()
    postgres.sql(TABLES + ENTRIES, name)
    yield postgres.url(name)
    postgres.drop_database(name)


def test_a_vibesql_vault_is_imported(directory, run, vibesql, capsys) -> None:
    code, count, text = run("--from", "vibesql-vault", vibesql)
    assert (code, count["created"], count["purged"]) == (0, 4, 1), text
    entry, value = entries(directory)[1]
    assert entry.key == EntryKey("card", "00000000-0000-0000-0000-000000000002")
    assert (value, entry.encoding, entry.owner_app, entry.key_ref) == (b"\x00\xff2", "base64", "payments", "kv:key-1")
    assert json.loads(entry.metadata) == {"merchant": "m1", "content_type": "application/octet-stream"}
    assert (entry.updated_at - entry.created_at).days == 1
    assert run("--from", "vibesql-vault", vibesql)[1]["unchanged"] == 4
    assert verify(directory, capsys)[0] == 0


def test_a_database_without_the_table_is_named(directory, run, vibesql) -> None:
    code, _, text = run("--from", "vibesql-vault", "--table", "public.entries", vibesql)
    assert (code, "found no table public.entries" in text) == (2, True)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a vault on SQLite that has policies, a hold, a key, replaced, shredded and swept entries."""
    directory = tmp_path_factory.mktemp("lived")
    (directory / "signing.key").write_text(SIGNING_KEY.reveal(), "utf-8")
    (directory / "signing.key").chmod(0o600)

    async def live() -> None:
        async with runtime.open_vault(lived_settings(directory)) as vault:
            await live_in(vault)

    asyncio.run(live())
    return directory


def lived_settings(directory: Path) -> Any:
    database, key = directory / "vault.db", directory / "signing.key"
    text = f'[storage]\ndatabase_url = "sqlite:///{database}"\n[audit]\nsigning_key_file = "{key}"\n'
    (directory / "vsql-vault.toml").write_text(text, "utf-8")
    return settings_of(directory)


async def live_in(vault: Any) -> None:
    admin, owner = a_call("vault-admin", Role.ADMIN), a_call("payments")
    for purpose, method in (("card", "physical-delete"), ("cold", "crypto-shred")):
        for days in (30, 60):
            policy = a_retention_policy(purpose, max_retention_days=days, purge_method=method, default_ttl_days=None)
            await vault.rules.policies.save_retention_policy(admin, policy)
    for description in ("first", "second"):
        await vault.rules.policies.save_access_policy(admin, an_access_policy("copied", description=description))
    await vault.rules.policies.delete_access_policy(admin, "copied")
    await vault.rules.policies.save_access_policy(admin, an_access_policy("copied"))
    await vault.credentials.api_keys.create(admin, ApiKeyRequest(app="copied", purposes=frozenset({"card"})))
    for number in range(6):
        key = EntryKey("cold" if number % 2 else "card", f"copy-{number}")
        await vault.entries.store(owner, key, a_store(b"\x00\xff%d" % number))
        await vault.log.sequencer.sequence()
    await vault.entries.store(owner, EntryKey("card", "copy-0"), a_store(b"again"))
    await vault.entries.purge(owner, EntryKey("cold", "copy-1"), NO_PRECONDITIONS)
    await vault.entries.purge(owner, EntryKey("card", "copy-2"), NO_PRECONDITIONS)
    await vault.rules.legal_holds.save(admin, a_legal_hold("copied", selector=HoldSelector(purpose="cold")))
    await vault.purge.sweeper.sweep(admin)
    await vault.log.sequencer.sequence()
    await vault.compliance.attestations.attest(admin)
    await vault.compliance.access_reviews.review(admin, ReviewRequest(statement="all of them are needed"))
    await vault.entries.retrieve(owner, EntryKey("card", "copy-0"))  # this row has no index yet


def a_store(value: bytes) -> StoreRequest:
    return StoreRequest(value, ValueEncoding.BASE64, None, "k1", '{"a":1}', None, "owner-only")


async def state_of(settings: Any) -> dict[str, Any]:
    """Return what a copy must have: rows, checkpoints, rules, runs and entries with values."""
    storage = await runtime.open_storage(Plugins(settings))
    try:
        rules = await storage.policy_snapshot()
        known = await storage.entries(EntryQuery(purpose="cold", now=utc_now(), limit=99, state=None))
        known = [*known, *await storage.entries(EntryQuery(purpose="card", now=utc_now(), limit=99, state=None))]
        size = await storage.tree_size()
        return {
            "leaves": [(leaf.place.log, leaf.record, leaf.leaf_hash) for leaf in await storage.leaf_rows(0, size)],
            "access": [row.record for row in await storage.access_log(LogQuery(limit=999, oldest_first=True))],
            "purges": [row.record for row in await storage.purge_log(LogQuery(limit=999, oldest_first=True))],
            "checkpoints": await storage.checkpoints(0, 999),
            "rules": (dict(rules.access), dict(rules.retention), dict(rules.holds), dict(rules.api_keys)),
            "versions": await storage.access_policy_versions(VersionQuery(name="copied", limit=9)),
            "sweeps": (await storage.sweeps(EPOCH, utc_now(), 9)).newest,
            "attestations": await storage.attestations(None, 9),
            "reviews": await storage.access_reviews(None, 9),
            "entries": known,
            "values": [each.value for each in await storage.read([Read(entry.key, True) for entry in known])],
        }
    finally:
        await storage.close()


@pytest.fixture
def empty(tmp_path: Path, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with settings of a vault on an empty storage, and the signing key of the vault that lived."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "k" * 40)
    (tmp_path / "signing.key").write_text(SIGNING_KEY.reveal(), "utf-8")
    (tmp_path / "signing.key").chmod(0o600)
    settings = f'[storage]\ndatabase_url = "{new_database(tmp_path)}"\n[audit]\nsigning_key_file = "signing.key"\n'
    (tmp_path / "vsql-vault.toml").write_text(settings, "utf-8")
    return tmp_path


def copy(lived: Path) -> int:
    return main(["import", "--from", "vault", f"sqlite:///{lived / 'vault.db'}"])


def without_the_last_row(state: dict[str, Any]) -> dict[str, Any]:
    assert state["access"][-1].detail == END_DETAIL
    return state | {"access": state["access"][:-1]}


def test_a_whole_vault_is_copied_with_its_log(lived, empty, capsys) -> None:
    assert copy(lived) == 0
    wanted, found = asyncio.run(state_of(settings_of(lived))), asyncio.run(state_of(settings_of(empty)))
    assert without_the_last_row(found) == wanted
    assert {entry.purged_at is None for entry in wanted["entries"]} == {True, False}
    code, text = verify(empty, capsys)
    assert code == 0, text


def test_a_copy_is_copied_to_sqlite(lived, empty, capsys, monkeypatch) -> None:
    assert copy(lived) == 0
    settings = settings_of(empty)
    back = empty / "back"
    back.mkdir()
    monkeypatch.chdir(back)
    text = f'[storage]\ndatabase_url = "sqlite:///{back / "vault.db"}"\n[audit]\nsigning_key_file = "{empty / "signing.key"}"\n'
    (back / "vsql-vault.toml").write_text(text, "utf-8")
    assert main(["import", "--from", "vault", settings.storage.database_url]) == 0
    wanted, found = asyncio.run(state_of(settings)), asyncio.run(state_of(settings_of(back)))
    assert without_the_last_row(found) == wanted
    code, text = verify(back, capsys)
    assert code == 0, text


def test_a_copy_that_was_interrupted_at_any_commit_goes_on(lived, empty) -> None:
    wanted = asyncio.run(state_of(settings_of(lived)))

    async def interrupted_copy() -> int:
        """Copy, ended once after each commit. Return the number of interruptions."""
        source = await runtime.open_storage(Plugins(settings_of(lived)))
        target = Interrupted(await runtime.open_storage(Plugins(settings_of(empty))))
        await target.inner.migrate()
        times = 0
        try:
            while True:
                try:
                    target.commits_left = 1 + times % 2
                    await VaultCopy(source, target, page=2).run(END_ROW)
                except Interruption:
                    times += 1
                else:
                    return times
        finally:
            await source.close()
            await target.close()

    assert asyncio.run(interrupted_copy()) > 20
    assert without_the_last_row(asyncio.run(state_of(settings_of(empty)))) == wanted


def test_a_second_copy_adds_nothing(lived, empty, capsys) -> None:
    assert (copy(lived), copy(lived)) == (0, 0)
    assert "copied before" in capsys.readouterr().out


def test_a_vault_is_not_copied_over_another_one(lived, directory, capsys) -> None:
    assert copy(lived) == 2
    assert "expected an empty storage, found rows of another vault" in capsys.readouterr().err


class Interruption(Exception):
    """The process ends."""


class Interrupted:
    """A storage that ends the process after some changes."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.commits_left = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name not in {"commit", "grow_tree"}:
            return method

        async def counted(*arguments: Any) -> Any:
            if not self.commits_left:
                raise Interruption
            self.commits_left -= 1
            return await method(*arguments)

        return counted


END_ROW = AccessRecord(
    at=utc_now(), request_id="0" * 32, operation=Operation.IMPORT, outcome=Outcome.GRANTED, status=200, app="vsqlvault",
    method="system", credential_id="system", detail=END_DETAIL,
)  # fmt: skip


class Growing:
    """A source whose log grows while it is copied."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def tree_size(self) -> int:
        self.calls += 1
        size: int = await self.inner.tree_size()
        return size + (self.calls > 1)


def test_a_copy_of_a_vault_that_is_used_meanwhile_does_not_end(lived, empty) -> None:
    async def copied() -> None:
        source = await runtime.open_storage(Plugins(settings_of(lived)))
        target = await runtime.open_storage(Plugins(settings_of(empty)))
        try:
            await target.migrate()
            with pytest.raises(SettingsInvalid, match="that no server uses, found new rows"):
                await VaultCopy(cast("Storage", Growing(source)), target).run(END_ROW)
            assert (await target.access_log(LogQuery(limit=1)))[0].record.detail != END_DETAIL
        finally:
            await source.close()
            await target.close()

    asyncio.run(copied())


def test_an_owner_that_no_credential_names_is_a_warning_with_the_nearest_app(run: Run, directory: Path) -> None:
    file = lines(
        directory,
        {"external_id": "own-1", "owner_app": "vault-admni"},
        {"external_id": "own-2", "owner_app": "vault-admin"},
    )
    code, count, _ = run("--dry-run", file)
    assert code == 0
    assert count["warnings"] == [
        {
            "warning": "owner_app vault-admni is not defined (did you mean vault-admin?): no credential names it",
            "entries": 1,
        }
    ]


def test_the_owner_of_an_entry_that_is_not_stored_is_no_warning(run: Run, directory: Path) -> None:
    file = lines(directory, {"external_id": "own-3", "owner_app": "vault-admni"})
    assert [len(run(file)[1]["warnings"]) for _ in range(2)] == [1, 0]


def test_beyond_100_different_warnings_the_output_counts_the_rest(
    run: Run, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [{"external_id": f"own-{number}", "owner_app": f"unknown-{number}"} for number in range(102)]
    file = lines(directory, *entries)
    _, count, _ = run("--dry-run", file)
    assert (len(count["warnings"]), count["more_warnings"]) == (100, 2)
    assert main(["import", "--dry-run", file]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "note: other warnings: 2, not shown"
