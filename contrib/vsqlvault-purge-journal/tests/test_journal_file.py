from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from journal_site import no_room_beyond
from vsqlvault_purge_journal import journal as module
from vsqlvault_purge_journal.journal import Journal, JournalUnavailable

from vsqlvault.model.purge import PurgeRecord

NewRecord = Callable[[str], PurgeRecord]


def opened(path: Path) -> Journal:
    journal = Journal()
    journal.open(path)
    return journal


def ids(path: Path) -> list[str]:
    """Return the ids of a journal as a reader finds them: lines that are not JSON are skipped."""
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line)["external_id"])
        except ValueError:
            continue
    return found


def test_a_line_has_the_fields_that_a_second_purge_needs(record: NewRecord) -> None:
    assert json.loads(module.line(record("p1"))) == {
        "purge_id": record("p1").purge_id,
        "purpose": "card",
        "external_id": "p1",
        "entry_id": "1" * 32,
        "entry_version": 3,
        "method": "journalled-delete",
        "reason": "requested",
        "proof_hash": "2" * 64,
        "purged_at": "2026-03-01T09:30:00Z",
    }
    assert module.line(record("p1")).count(b"\n") == 1


def test_a_new_file_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        opened(tmp_path / "j").close()
    finally:
        os.umask(umask)
    assert (tmp_path / "j").stat().st_mode & 0o777 == 0o600


def test_a_file_that_others_could_read_is_for_its_owner_only_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.touch(mode=0o644)
    opened(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_there_stays(tmp_path: Path, record: NewRecord) -> None:
    for external_id in ("p1", "p2"):
        journal = opened(tmp_path / "j")
        journal.append([record(external_id)])
        journal.close()
    assert ids(tmp_path / "j") == ["p1", "p2"]


def test_two_writers_share_a_file(tmp_path: Path, record: NewRecord) -> None:
    first, second = opened(tmp_path / "j"), opened(tmp_path / "j")
    for writer, external_id in ((first, "p1"), (second, "p2"), (first, "p3")):
        writer.append([record(external_id)])
    first.close()
    second.close()
    assert ids(tmp_path / "j") == ["p1", "p2", "p3"]


def test_half_a_line_from_a_crash_spoils_no_other(tmp_path: Path, record: NewRecord) -> None:
    (tmp_path / "j").write_bytes(b'{"purge_id":"0')
    journal = opened(tmp_path / "j")
    journal.append([record("p1")])
    journal.close()
    assert ids(tmp_path / "j") == ["p1"]


def test_the_name_of_a_new_file_is_flushed_with_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    opened(tmp_path / "j").close()
    assert flushed[:2] == [(tmp_path / "j").stat().st_ino, tmp_path.stat().st_ino]


def test_a_line_is_flushed_before_append_returns(
    tmp_path: Path, record: NewRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(tmp_path / "j")
    sizes: list[int] = []
    flush = os.fsync

    def watched(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    journal.append([record("p1")])
    assert sizes == [len(module.line(record("p1")))]
    journal.close()


def test_a_line_whose_flush_fails_is_written_again(
    tmp_path: Path, record: NewRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    journal = opened(tmp_path / "j")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output"):
            journal.append([record("p1")])
    journal.append([record("p1")])
    journal.append([record("p2")])
    journal.close()
    assert ids(tmp_path / "j") == ["p1", "p1", "p2"]


def test_what_does_not_fit_is_an_error_until_it_is_written(tmp_path: Path, record: NewRecord) -> None:
    journal = opened(tmp_path / "j")
    journal.append([record("p1")])
    with no_room_beyond((tmp_path / "j").stat().st_size):
        with pytest.raises(OSError, match="File too large"):
            journal.append([record("p2"), record("p3")])
        with pytest.raises(JournalUnavailable, match="could not be written"):
            journal.require_ready()
    journal.append([record("p2"), record("p3")])
    journal.require_ready()
    journal.close()
    assert ids(tmp_path / "j") == ["p1", "p2", "p3"]


def test_a_line_of_which_half_fitted_is_written_again_as_a_whole(tmp_path: Path, record: NewRecord) -> None:
    journal = opened(tmp_path / "j")
    with no_room_beyond(40), pytest.raises(OSError, match="No space left"):
        journal.append([record("p1")])
    assert (tmp_path / "j").stat().st_size == 40
    journal.append([record("p1")])
    journal.close()
    assert ids(tmp_path / "j") == ["p1"]


def test_a_record_that_was_written_lately_gets_no_second_line(tmp_path: Path, record: NewRecord) -> None:
    journal = Journal(max_recent=2)
    journal.open(tmp_path / "j")
    for external_id in ("p1", "p1", "p2", "p3", "p1"):
        journal.append([record(external_id)])
    journal.close()
    assert ids(tmp_path / "j") == ["p1", "p2", "p3", "p1"]


def test_a_journal_that_was_moved_takes_no_line_until_it_is_back(tmp_path: Path, record: NewRecord) -> None:
    journal = opened(tmp_path / "j")
    (tmp_path / "j").rename(tmp_path / "elsewhere")
    with pytest.raises(JournalUnavailable, match="moved"):
        journal.require_ready()
    with pytest.raises(JournalUnavailable, match="moved"):
        journal.append([record("p1")])
    (tmp_path / "j").touch()
    with pytest.raises(JournalUnavailable, match="moved"):
        journal.require_ready()
    (tmp_path / "elsewhere").rename(tmp_path / "j")
    journal.append([record("p1")])
    journal.close()
    assert ids(tmp_path / "j") == ["p1"]


def test_a_journal_that_is_not_open_takes_no_line(record: NewRecord) -> None:
    journal = Journal()
    with pytest.raises(JournalUnavailable, match="not open"):
        journal.append([record("p1")])
    with pytest.raises(JournalUnavailable, match="not open"):
        journal.require_ready()
    journal.close()


def test_opening_again_goes_on_in_the_new_file(tmp_path: Path, record: NewRecord) -> None:
    journal = opened(tmp_path / "old")
    journal.open(tmp_path / "new")
    journal.append([record("p1")])
    journal.close()
    assert ids(tmp_path / "old") == []
    assert ids(tmp_path / "new") == ["p1"]


def test_opening_what_cannot_be_opened_leaves_no_descriptor(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = len(list(Path("/dev/fd").iterdir()))
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "no" / "j"):
        with pytest.raises(OSError, match=r"not a regular file|directory"):
            Journal().open(path)
    assert len(list(Path("/dev/fd").iterdir())) == before
