from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from journal_site import ADMIN, Site, a_vault, deliver, fill, no_room_beyond, retain, wanted
from vsqlvault_purge_journal import plugin

from vsqlvault.errors import EntryNotFound, PluginFailed, SettingsInvalid, StartUpRefused
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.runtime import open_vault
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.service.vault import Vault

METHOD = "journalled-delete"
P1 = EntryKey("card", "p1")
SOON_SECONDS = 1.0


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=SOON_SECONDS)


async def purge(vault: Vault, key: EntryKey = P1) -> PurgeRecord:
    return await vault.entries.purge(ADMIN, key, Preconditions())


async def purge_log_ids(vault: Vault) -> set[str]:
    rows = await vault.audit.log_reader.purge_log(ADMIN, LogQuery(limit=100))
    return {row.record.purge_id for row in rows}


def test_the_vault_loads_the_plugin_from_its_distribution(site: Site) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            assert PluginOrigin("purge-journal", "vsqlvault-purge-journal", "0.1.0") in vault.plugins

    asyncio.run(work())


def test_a_purge_on_request_removes_the_entry_and_leaves_its_line(site: Site) -> None:
    async def work() -> PurgeRecord:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1")
            gone = await purge(vault)
            await deliver(vault)
            assert [line["purge_id"] for line in site.lines()] == [gone.purge_id]
            with pytest.raises(EntryNotFound):
                await vault.entries.retrieve(ADMIN, P1)
            return gone

    gone = asyncio.run(work())
    (line,) = site.lines()
    assert line["method"] == METHOD
    assert line["reason"] == "requested"
    assert line["proof_hash"] == gone.proof_hash
    assert (line["entry_id"], line["entry_version"]) == (gone.entry_id, gone.entry_version)
    assert datetime.fromisoformat(line["purged_at"]) == gone.purged_at
    assert site.journal.stat().st_mode & 0o777 == 0o600


def test_the_id_can_be_used_again(site: Site) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1")
            gone = await purge(vault)
            stored = await vault.entries.store(ADMIN, P1, wanted())
            assert stored.created
            assert stored.viewed.entry.entry_id != gone.entry_id

    asyncio.run(work())


def test_every_row_of_the_purge_log_has_its_line_whatever_the_method(site: Site) -> None:
    async def work() -> set[str]:
        async with a_vault(site.settings()) as vault:
            for purpose, method in (("a", "physical-delete"), ("b", "crypto-shred"), ("c", METHOD)):
                await retain(vault, purpose, method)
                await fill(vault, "p1", purpose=purpose)
                await purge(vault, EntryKey(purpose, "p1"))
            await fill(vault, "p2", purpose="a")
            await vault.entries.store(ADMIN, EntryKey("a", "p2"), wanted(b"newer"))
            return await purge_log_ids(vault)

    logged = asyncio.run(work())
    assert {line["purge_id"] for line in site.lines()} == logged
    assert sorted(line["method"] for line in site.lines()) == ["crypto-shred", METHOD, "physical-delete", "replace"]
    assert {line["method"] for line in site.lines() if line["reason"] == "replaced"} == {"replace"}


def test_a_sweep_leaves_a_line_for_each_entry(site: Site) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, *(f"p{n}" for n in range(20)), expires_at=soon())
            await asyncio.sleep(SOON_SECONDS)
            assert (await vault.purge.sweeper.sweep(ADMIN)).purged == 20

    asyncio.run(work())
    assert {line["external_id"] for line in site.lines()} == {f"p{n}" for n in range(20)}
    assert {line["reason"] for line in site.lines()} == {"expired"}


def test_a_dry_run_leaves_no_line(site: Site) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1", expires_at=soon())
            await asyncio.sleep(SOON_SECONDS)
            assert (await vault.purge.sweeper.sweep(ADMIN, dry_run=True)).purged == 1

    asyncio.run(work())
    assert site.lines() == []


def test_the_next_start_goes_on_in_the_same_file(site: Site) -> None:
    async def work(external_id: str) -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, external_id)
            await purge(vault, EntryKey("card", external_id))

    asyncio.run(work("p1"))
    asyncio.run(work("p2"))
    assert [line["external_id"] for line in site.lines()] == ["p1", "p2"]


def a_directory(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "no" / "purges.ndjson")


@pytest.mark.parametrize(
    ("occupy", "sentence"),
    [
        (a_directory, "expected a file, found a directory"),
        (a_pipe, "expected a writable file"),
        (a_link_to_nowhere, "expected a writable file"),
    ],
)
def test_the_vault_does_not_start_without_its_journal(
    site: Site, occupy: Callable[[Path], None], sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with open_vault(site.settings()):
            pytest.fail("it started")

    occupy(site.journal)
    with pytest.raises(StartUpRefused, match="purge-journal") as refused:
        asyncio.run(work())
    assert f"plugins.purge-journal.path: {sentence}" in f"{refused.value}\n{caplog.text}"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ("", "plugins.purge-journal.path: expected a value, found none"),
        ("[plugins.purge-journal]\npath = 7", "plugins.purge-journal.path: expected string, found 7"),
        ('[plugins.purge-journal]\npath = "purges"', "plugins.purge-journal.path: expected an absolute path"),
        ('[plugins.purge-journal]\npath = ""', "plugins.purge-journal.path: expected an absolute path"),
        ('[plugins.purge-journal]\npath = "/a\\u0000b"', "plugins.purge-journal.path: expected an absolute path"),
        (
            '[plugins.purge-journal]\npath = "/tmp/j"\nfsync = false',
            "plugins.purge-journal.fsync: expected a known key, found an unknown one",
        ),
        (
            '[plugins.purge-journal]\npath = "/nonexistent/j"',
            "plugins.purge-journal.path: expected a file in a directory that exists, found no directory /nonexistent",
        ),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(site: Site, table: str, sentence: str) -> None:
    async def work() -> None:
        async with open_vault(site.settings(table)):
            pytest.fail("it started")

    with pytest.raises(SettingsInvalid) as refused:
        asyncio.run(work())
    assert str(refused.value).startswith(sentence)


def test_an_entry_is_kept_while_the_journal_is_closed(site: Site) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1")
            plugin.journal.close()
            with pytest.raises(PluginFailed):
                await purge(vault)
            assert (await vault.entries.retrieve(ADMIN, P1)).value == b"ciphertext"
            assert await purge_log_ids(vault) == set()

    asyncio.run(work())
    assert site.lines() == []


def test_a_sweep_keeps_what_has_no_journal_and_the_next_one_purges_it(site: Site) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1", "p2", expires_at=soon())
            await asyncio.sleep(SOON_SECONDS)
            plugin.journal.close()
            kept = await vault.purge.sweeper.sweep(ADMIN)
            assert (kept.purged, kept.failed) == (0, 2)
            plugin.journal.open(site.journal)
            gone = await vault.purge.sweeper.sweep(ADMIN)
            assert (gone.purged, gone.failed) == (2, 0)

    asyncio.run(work())
    assert {line["external_id"] for line in site.lines()} == {"p1", "p2"}


def test_an_entry_is_kept_while_the_journal_is_moved(site: Site) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1")
            site.journal.rename(site.journal.with_suffix(".old"))
            with pytest.raises(PluginFailed):
                await purge(vault)
            assert (await vault.entries.retrieve(ADMIN, P1)).value == b"ciphertext"

    asyncio.run(work())


def test_a_full_disk_breaks_no_answer_keeps_the_next_entry_and_loses_no_line(
    site: Site, record: Callable[[str], PurgeRecord], caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1", "p2")
            plugin.journal.append([record("before")])
            _grow(site.journal, 8 * 1024 * 1024)
            with no_room_beyond(site.journal.stat().st_size):
                gone = await purge(vault)
                assert gone.external_id == "p1"
                with pytest.raises(PluginFailed):
                    await deliver(vault)
                with pytest.raises(PluginFailed):
                    await purge(vault, EntryKey("card", "p2"))
                assert (await vault.entries.retrieve(ADMIN, EntryKey("card", "p2"))).value == b"ciphertext"
            await deliver(vault)
            await purge(vault, EntryKey("card", "p2"))

    asyncio.run(work())
    assert [line["external_id"] for line in site.lines()][-2:] == ["p1", "p2"]
    assert "plugin failed" in [entry.getMessage() for entry in caplog.records]


def _grow(journal: Path, size: int) -> None:
    """Append whole lines until the journal is larger than any file of the database."""
    line = journal.read_bytes().splitlines(keepends=True)[0]
    with journal.open("ab") as file:
        file.write(line * (size // len(line)))


def test_a_version_replaced_under_the_method_has_one_line(site: Site) -> None:
    async def work() -> None:
        async with a_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1")
            await vault.entries.store(ADMIN, P1, wanted(b"newer"))

    asyncio.run(work())
    assert [(line["method"], line["entry_version"]) for line in site.lines()] == [("replace", 1)]


def test_lines_of_one_run_that_was_cut_short_are_written_by_the_next(site: Site) -> None:
    async def work() -> None:
        async with open_vault(site.settings()) as vault:
            await retain(vault, "card", METHOD)
            await fill(vault, "p1")
            await purge(vault)
        assert site.lines() == []
        async with open_vault(site.settings()) as vault:
            await deliver(vault)

    asyncio.run(work())
    assert [line["external_id"] for line in site.lines()] == ["p1"]
