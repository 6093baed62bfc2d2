"""A file that has to survive has its name only when it is whole and synced; runs at once do not mix."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from vsqlvault.client.files import durable_file as client_file
from vsqlvault.durable_file import FileBusy, durable_file, write_durably

Calls = list[str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What is synced, renamed and linked, in order; each call is carried out."""
    found: Calls = []

    def noted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            what = name
            if name == "fsync":
                mode = os.fstat(arguments[0]).st_mode  # type: ignore[arg-type]
                what = "fsync of the directory" if stat.S_ISDIR(mode) else "fsync of the file"
            found.append(what)
            return real(*arguments, **options)

        return call

    for name in ("fsync", "replace", "link"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    return found


@pytest.mark.parametrize("write", [durable_file, client_file], ids=["server", "client"])
def test_it_is_synced_renamed_and_its_directory_synced(tmp_path: Path, calls: Calls, write) -> None:
    with write(tmp_path / "a") as file:
        file.write(b"content")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"content"
    assert [call for call in calls if "fsync" in call] == ["fsync of the file", "fsync of the directory"]
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("write", [durable_file, client_file], ids=["server", "client"])
def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path, write) -> None:
    (tmp_path / "a").write_bytes(b"before")

    def broken() -> None:
        with write(tmp_path / "a") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert (tmp_path / "a").read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("write", [durable_file, client_file], ids=["server", "client"])
def test_a_file_that_must_not_be_replaced_is_not(tmp_path: Path, write) -> None:
    (tmp_path / "a").write_bytes(b"before")
    with pytest.raises(FileExistsError), write(tmp_path / "a", replace=False) as file:
        file.write(b"after")
    assert (tmp_path / "a").read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    write_durably(tmp_path / "a", b"secret")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_a_part_file_of_an_interrupted_run_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".a.part").write_bytes(b"much longer than what follows")
    write_durably(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


def test_a_second_run_is_refused_while_the_first_writes(tmp_path: Path) -> None:
    with durable_file(tmp_path / "a") as file:
        file.write(b"first")
        with pytest.raises(FileBusy, match="another run"), durable_file(tmp_path / "a"):
            pass
    assert (tmp_path / "a").read_bytes() == b"first"
