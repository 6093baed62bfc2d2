"""``vsql-vault drop-archived``: what it deletes, records and refuses, and that vault and archive verify as one log."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.archived_vault import KEY, SETTINGS, TAMPERS, inside, installed, leaves_at_hand
from vsqlvault import cli
from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.writes import StoreEntry, Write
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.entry import Entry
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time
from vsqlvault.model.transparency import LogName
from vsqlvault.proof.archive_record import ArchiveRecord
from vsqlvault.service.log.archive.drop import LEASE, ArchiveDropper, DropRules
from vsqlvault.service.log.archive.files import ArchiveFiles
from vsqlvault.service.log.archive.pace import ArchivePace
from vsqlvault.service.log.archive.rows import newest_drop
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_legal_hold, a_purge_record, an_access_record, an_entry
from vsqlvault_plugins.storage.sqlite import archived_logs
from vsqlvault_plugins.storage.sqlite.archiving import drop_archived

OLD_DAYS, YOUNG_DAYS = 400, 100
ROWS = 600


async def grow(vault: Vault, rows: int, days: float, start: int = 0) -> None:
    """Commit and sign rows of both logs that are some days old."""
    at = (await vault.queue.read()).now - timedelta(days=days)
    for first in range(start, start + rows, 100):
        records = tuple(
            an_access_record(request_id=f"d-{number}", at=at, operation=Operation.RETRIEVE)
            for number in range(first, first + 99)
        )
        purge = replace(a_purge_record(an_entry(f"dropped-{first}")), purged_at=at)
        await vault.queue.commit(Write(records, purges=(purge,)))
    await vault.log.sequencer.sequence()


def archive() -> int:
    """Archive the log."""
    return cli.main(["archive-audit", "--config", "vsql-vault.toml", "--out", "archive"])


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for a new vault."""
    installed(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def archived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a stopped vault of old rows, and an archive of them."""
    directory = tmp_path_factory.mktemp("archived")
    installed(directory)
    inside(directory, lambda vault: grow(vault, ROWS, OLD_DAYS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        assert archive() == 0
    return directory


@pytest.fixture(scope="module")
def dropped(archived: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with its archived rows dropped, and an export of the rest."""
    directory = tmp_path_factory.mktemp("dropped")
    shutil.copytree(archived, directory, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        assert drop() == 0
        inside(directory, lambda vault: vault.log.sequencer.sequence())
        assert cli.main(["export-audit", "--config", "vsql-vault.toml", "--out", "rest.zip"]) == 0
    return directory


@pytest.fixture
def place(archived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the vault and of its archive."""
    shutil.copytree(archived, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def rest(dropped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the vault without its archived rows."""
    shutil.copytree(dropped, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def drop(*arguments: str) -> int:
    """Run the command."""
    return cli.main(["drop-archived", "--config", "vsql-vault.toml", "--archive", "archive", *arguments])


def verify(*arguments: str) -> int:
    """Verify the vault."""
    return cli.main(["verify", "--config", "vsql-vault.toml", *arguments])


def test_archived_rows_are_dropped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drop() == 0
    assert "archive 1: 512 rows of leaves 0 to 511 are dropped, 0 stay" in capsys.readouterr().out
    assert leaves_at_hand(place) == []


def test_the_work_of_a_drop_does_not_grow_with_the_archived_rows_that_follow(place: Path) -> None:
    def steps_of(first: int) -> int:
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection.set_progress_handler(count, 10)
        drop_archived(connection, LogName.ACCESS, first, 2)
        connection.set_progress_handler(None, 0)
        return steps

    with closing(sqlite3.connect(place / "vault.db", isolation_level=None)) as connection:
        last = steps_of(500)
        assert steps_of(0) < 2 * last


def test_who_what_and_by_which_period_is_recorded(dropped: Path) -> None:
    row, record = inside(dropped, lambda vault: newest_drop(vault.storage, 1))
    assert (record.first, record.end, record.absent_rows, record.state) == (0, 512, 512, "ended")
    assert (record.min_days, record.min_days_from) == (366, "default")
    assert "@" in record.operator
    assert row.detail == "archive 1: 512 rows of leaves 0 to 511 are dropped"


def test_the_rest_verifies_and_says_how_many_rows_were_not_read(rest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify() == 0
    assert "512 rows are in archives and were not read" in capsys.readouterr().out


def test_archive_and_rest_verify_as_one_log(rest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify("--archive", "archive", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verifies"], found["rows_archived"]) == (True, 512)


def test_archive_and_an_export_of_the_rest_verify_as_one_log(rest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "rest.zip", "--vkey", str(KEY.verifier)]) == 0
    assert cli.main(["verify", "rest.zip", "--vkey", str(KEY.verifier), "--archive", "archive"]) == 0
    assert "512 rows are not in the vault: they were read from the archive" in capsys.readouterr().out


@pytest.mark.parametrize("what", TAMPERS)
def test_a_changed_archive_does_not_verify_with_the_rest(
    dropped: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dropped)
    assert verify("--archive", changed(dropped, tmp_path, what), "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"]


@pytest.mark.parametrize("what", TAMPERS)
def test_nothing_is_dropped_under_an_archive_that_was_changed(
    archived: Path, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(archived)
    changed_archive = changed(archived, tmp_path, what)
    assert cli.main(["drop-archived", "--config", "vsql-vault.toml", "--archive", changed_archive]) == 2
    assert len(leaves_at_hand(archived)) == 512


def changed(vault: Path, directory: Path, what: str) -> str:
    """Return a changed copy of the archive of a vault, which itself stays as it is."""
    shutil.copytree(vault / "archive", directory / "changed")
    TAMPERS[what](directory / "changed")
    return str(directory / "changed")


def test_an_archive_of_the_same_rows_that_is_not_the_recorded_one_is_refused(
    empty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside(empty, lambda vault: grow(vault, ROWS, OLD_DAYS))
    shutil.copy(empty / "vault.db", empty / "before.db")
    assert archive() == 0
    shutil.copy(empty / "vault.db", empty / "recorded.db")
    (empty / "archive").rename(empty / "recorded")
    (empty / "archive").mkdir()
    shutil.copy(empty / "before.db", empty / "vault.db")
    inside(empty, lambda vault: grow(vault, 100, OLD_DAYS, start=ROWS))
    assert archive() == 0
    shutil.copy(empty / "recorded.db", empty / "vault.db")
    assert drop() == 2
    assert "not the recorded archive: " in capsys.readouterr().err
    assert len(leaves_at_hand(empty)) == 512


def test_a_second_run_drops_nothing(rest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drop() == 0
    assert "nothing to drop" in capsys.readouterr().out


def test_a_delivery_that_does_not_exist_is_refused_with_the_nearest(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside(place, lambda vault: vault.storage.save_cursor("export:agent", 1))
    capsys.readouterr()
    assert drop("--without", "export:agentt") == 2
    expected = "--without: expected one of export:agent; found 'export:agentt' (did you mean export:agent?)"
    assert expected in capsys.readouterr().err


def test_a_delivery_of_checkpoints_alone_is_no_delivery_of_rows(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside(place, lambda vault: vault.storage.save_cursor("export:agent:checkpoints", 1))
    capsys.readouterr()
    assert drop("--without", "export:agent:checkpoints") == 2
    assert "--without: expected no such option, because nothing delivers rows" in capsys.readouterr().err


def test_rows_without_an_archive_are_not_dropped(place: Path) -> None:
    assert drop() == 0
    size = inside(place, lambda vault: vault.storage.tree_size())
    later = inside(place, lambda vault: vault.storage.leaf_rows(512, size))
    assert [row.index for row in later] == list(range(512, size))


def test_an_archive_in_another_directory_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "archive").rename(place / "moved")
    (place / "archive").mkdir()
    assert drop() == 2
    assert "--archive: expected archive 1 (leaves 0 to 511) in archive, found none" in capsys.readouterr().err
    assert len(leaves_at_hand(place)) == 512


def test_rows_younger_than_the_period_stay(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside(place, lambda vault: grow(vault, 300, YOUNG_DAYS, start=ROWS))
    assert archive() == 0
    assert drop() == 0
    out = capsys.readouterr().out
    assert "archive 1: 512 rows" in out
    assert "archive 2 stays" in out
    assert "366 days (audit.min_days_at_hand)" in out
    assert len(leaves_at_hand(place, 512, 768)) == 256


def test_the_settings_shorten_the_period_to_three_months_and_the_record_says_so(empty: Path) -> None:
    inside(empty, lambda vault: grow(vault, 300, YOUNG_DAYS))
    assert archive() == 0
    assert drop() == 0
    assert len(leaves_at_hand(empty)) == 300
    (empty / "vsql-vault.toml").write_text(SETTINGS + "min_days_at_hand = 92\n", "utf-8")
    assert drop() == 0
    _, record = inside(empty, lambda vault: newest_drop(vault.storage, 1))
    assert (record.min_days, record.min_days_from, record.absent_rows) == (92, "settings", 256)


def test_less_than_three_months_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "vsql-vault.toml").write_text(SETTINGS + "min_days_at_hand = 91\n", "utf-8")
    assert drop() == 2
    assert "audit.min_days_at_hand: expected at least 92" in capsys.readouterr().err
    assert len(leaves_at_hand(place)) == 512


@pytest.mark.parametrize("name", ["export:siem", "observer:watcher", "purge-method:journal"])
def test_rows_that_a_delivery_has_not_passed_stay(place: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    inside(place, lambda vault: vault.storage.save_cursor(name, 511))
    assert drop() == 2
    assert f"{name} has delivered the rows up to leaf 511, expected 512" in capsys.readouterr().err
    assert len(leaves_at_hand(place)) == 512
    assert drop("--without", name) == 0
    assert leaves_at_hand(place) == []


def test_a_delivery_that_has_passed_does_not_matter(place: Path) -> None:
    inside(place, lambda vault: vault.storage.save_cursor("export:siem", 512))
    assert drop() == 0


def test_a_vault_in_quarantine_drops_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(place / "vault.db", place / "older.db")
    inside(place, lambda vault: grow(vault, 100, 1, start=ROWS))
    later = inside(place, lambda vault: vault.storage.newest_checkpoint())
    line = {"signed_at": format_time(later.signed_at), "size": later.size, "note": later.note}
    (place / "anchor.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    for name in ("vault.db-wal", "vault.db-shm"):
        (place / name).unlink(missing_ok=True)
    (place / "older.db").rename(place / "vault.db")
    with (place / "vsql-vault.toml").open("a", encoding="utf-8") as file:
        file.write('[plugins.file-anchor]\npath = "anchor.jsonl"\n')
    assert drop() != 0
    assert "quarantine" in capsys.readouterr().err
    assert inside(place, lambda vault: newest_drop(vault.storage, 1)) is None
    assert len(leaves_at_hand(place)) == 512


def test_rows_about_an_entry_under_a_legal_hold_stay(empty: Path) -> None:
    async def hold(vault: Vault) -> None:
        entry = an_entry("held-by-archive")
        at = (await vault.queue.read()).now - timedelta(days=OLD_DAYS)
        rows = [_row_of(entry, at, Operation.STORE), _row_of(entry, at)]
        rows += [_row_of(an_entry("other"), at) for _ in range(255)]
        await vault.queue.commit(Write(tuple(rows), changes=(StoreEntry(entry, b"cipher"),)))
        await vault.log.sequencer.sequence()
        wanted = a_legal_hold("case-archive", selector=HoldSelector(external_id="held-by-archive"))
        await vault.rules.legal_holds.save(a_call("vault-admin", Role.ADMIN), wanted)

    async def left(vault: Vault) -> list[tuple[str, str | None]]:
        rows = await vault.storage.leaf_rows(0, 256)
        return [(row.record.operation, row.record.external_id) for row in rows if isinstance(row.record, AccessRecord)]

    inside(empty, hold)
    assert archive() == 0
    assert drop() == 0
    assert inside(empty, left) == [("store", "held-by-archive"), ("retrieve", "held-by-archive")]


def _row_of(entry: Entry, at: datetime, operation: Operation = Operation.RETRIEVE) -> AccessRecord:
    return an_access_record(
        operation=operation, at=at, purpose=entry.purpose, external_id=entry.external_id, stamp=entry.stamp
    )


class _Cut(Exception):
    """The process ends here."""


class _CutStorage:
    """A storage behind which the process ends before one of its calls."""

    def __init__(self, inner: Storage, method: str, calls: int) -> None:
        self._inner, self._method, self._left = inner, method, calls

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if name != self._method:
            return member

        async def counted(*arguments: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                raise _Cut
            return await member(*arguments)

        return counted


@pytest.mark.parametrize(
    ("method", "calls"),
    [("drop_archived", 1), ("drop_archived", 2), ("drop_archived", 4), ("save_cursor", 0), ("save_cursor", 1), ("reclaim", 0)],
)  # fmt: skip
def test_a_run_that_is_cut_verifies_and_is_repeated(place: Path, method: str, calls: int) -> None:
    async def cut(vault: Vault) -> None:
        storage: Any = _CutStorage(vault.storage, method, calls)
        rules = DropRules(min_days=366, min_days_from="default", operator="keeper@host")
        sign = vault.log.sequencer.sequence
        dropper = ArchiveDropper(storage, vault.queue, [KEY.verifier], rules, sign)
        now = (await vault.queue.read()).now
        with pytest.raises(_Cut):
            await dropper.drop(a_call(), [ArchiveFiles(place / "archive")], now, lambda *_: None)

    inside(place, cut)
    assert verify("--archive", "archive") == 0
    assert verify() == 0
    assert drop() == 0
    assert leaves_at_hand(place) == []
    assert verify("--archive", "archive") == 0


class _SlowToShorten:
    """A storage that shortens its file in three steps of a quarter of a second."""

    def __init__(self, inner: Storage) -> None:
        self._inner = inner
        self.now = 0.0
        self.pauses: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def reclaim(self) -> bool:
        self.now += 0.25
        return self.now < 0.75


def test_a_drop_rests_after_each_step_that_shortens_the_file(place: Path) -> None:
    async def dropped(vault: Vault) -> list[float]:
        storage: Any = _SlowToShorten(vault.storage)
        rules = DropRules(min_days=366, min_days_from="default", operator="keeper@host")
        pace = ArchivePace(storage, 2.0, monotonic=storage.monotonic, sleep=storage.sleep)
        sign = vault.log.sequencer.sequence
        dropper = ArchiveDropper(storage, vault.queue, [KEY.verifier], rules, sign, pace=pace)
        now = (await vault.queue.read()).now
        await dropper.drop(a_call(), [ArchiveFiles(place / "archive")], now, lambda *_: None)
        return list(filter(None, storage.pauses))

    assert inside(place, dropped) == [0.5, 0.5]


def test_the_threads_that_verify_yield_the_processor_and_those_that_delete_do_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, set[int]] = {"verify": set(), "delete": set()}
    read, delete = ArchiveFiles.bundle, archived_logs._dropped

    def bundle(files: ArchiveFiles, index: int) -> Any:
        found["verify"].add(os.sched_getscheduler(0))
        return read(files, index)

    def dropped(*arguments: Any) -> Any:
        found["delete"].add(os.sched_getscheduler(0))
        return delete(*arguments)

    monkeypatch.setattr(ArchiveFiles, "bundle", bundle)
    monkeypatch.setattr(archived_logs, "_dropped", dropped)
    usual = os.sched_getscheduler(0)
    assert drop() == 0
    assert found == {"verify": {os.SCHED_IDLE}, "delete": {usual}}


def test_of_two_runs_at_once_one_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inside(place, lambda vault: vault.storage.acquire_lease(LEASE, "another", 60.0))
    assert drop() == 2
    assert "another run drops archived rows" in capsys.readouterr().err
    assert len(leaves_at_hand(place)) == 512


def test_an_archive_that_the_log_does_not_record_is_not_dropped(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside(place, lambda vault: grow(vault, 300, OLD_DAYS, start=ROWS))

    async def forged(vault: Vault) -> None:
        first = (await vault.storage.archives())[0]
        record = replace(ArchiveRecord.parse(first.document), number=2, first=512, end=768, checkpoint_size=900)
        made = replace(first, number=2, first=512, end=768, document=record.text)
        await vault.queue.commit(Write((), (NewestArchiveIs(1),), (SaveArchive(made),)))

    inside(place, forged)
    assert drop() == 2
    assert "archive 2: expected a row archive-log of the table's record, found none" in capsys.readouterr().err
    assert len(leaves_at_hand(place, 512, 768)) == 256
