"""Files that commands write: refused before anything is done, by the option and the path that were given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.busy_file import busy
from vsqlvault import cli
from vsqlvault.cli.output_files import FileRefused, require_writable, write_file


@pytest.mark.parametrize(
    ("path", "why"),
    [("nowhere/r.json", "the folder nowhere does not exist"), (".", "it is a folder"), ("", "it is a folder"),
     ("pipe", "it is no regular file"), ("/proc/r.json", "nothing can be written in its folder"),
     ("n" * 300, "File name too long")],
)  # fmt: skip
def test_a_path_that_cannot_be_written_is_refused(
    path: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises(FileRefused, match=f"^--out: expected a writable file, found {path}: {why}"):
        require_writable("--out", path)
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]


def test_a_check_leaves_a_file_that_exists_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    require_writable("--out", tmp_path / "kept")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("kept", "kept")]


def test_content_that_cannot_be_written_is_printed(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with busy(tmp_path / "out"), pytest.raises(FileRefused, match="its content was printed to standard output instead"):
        write_file("--out", tmp_path / "out", b"\xff content")
    assert capfdbinary.readouterr().out == b"\xff content"


@pytest.mark.parametrize(
    ("words", "option"),
    [("report --html", "--html"), ("report --json", "--json"), ("report --oscal", "--oscal"), ("attest --out", "--out"),
     ("evidence --out", "--out"), ("export-audit --out", "--out"), ("backup --out", "--out"),
     ("keygen --signing --out", "--out")],
)  # fmt: skip
def test_a_command_names_the_option_before_it_opens_the_vault(
    words: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*words.split(), "nowhere/file"]) == 2
    expected = (
        f"vsql-vault: {option}: expected a writable file, found nowhere/file: the folder nowhere does not exist\n"
    )
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("words", "sentence"),
    [("archive-audit --out nope", "--out: expected a directory that exists, found nope"),
     ("drop-archived --archive nope", "--archive: expected a directory that exists, found nope")],
)  # fmt: skip
def test_a_directory_that_does_not_exist_is_named(
    words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(words.split()) == 2
    assert capsys.readouterr().err == f"vsql-vault: {sentence}\n"


@pytest.mark.parametrize("words", ["archive-audit --out . --before", "report --as-of", "evidence --out e.zip --since"])
def test_a_time_that_is_none_is_an_error_of_its_option(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*words.split(), "yesterday"])
    assert ended.value.code == 2
    assert f"argument {words.rsplit(maxsplit=1)[-1]}: expected RFC 3339" in capsys.readouterr().err


def test_a_report_names_each_file_that_it_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["migrate"]) == 0
    capsys.readouterr()
    assert cli.main(["report", "--html", "r.html", "--json", "r.json"]) == 0
    sizes = {name: (tmp_path / name).stat().st_size for name in ("r.json", "r.html")}
    assert capsys.readouterr().out == "".join(f"{name}: {size} bytes\n" for name, size in sizes.items())


@pytest.mark.parametrize("name", ["old.db", "old.db.manifest.json"])
def test_a_backup_is_not_written_over_another_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(b"before")
    assert cli.main(["backup", "--out", "old.db"]) == 2
    expected = f"vsql-vault: --out: expected a new file, or also --overwrite: {name} exists\n"
    assert capsys.readouterr().err == expected
    assert (tmp_path / name).read_bytes() == b"before"
