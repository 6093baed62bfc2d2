"""``vsql-vault import --from vault``: a source that is no vault is named as the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsqlvault.__main__ import main

SETTINGS_INVALID = 2


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("sqlite:///missing.db", "SOURCE: there is no database missing.db; nothing was created"),
        ("mysql://u:pw-of-u@h/x", "SOURCE: expected a URL with one of the schemes"),
        ("postgresql://u:pw-of-u@127.0.0.1:1/x", "SOURCE: no answer at 127.0.0.1:1"),
    ],
)
def test_the_error_names_the_source(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vsql-vault.toml").write_text('[storage]\ndatabase_url = "sqlite:///target.db"\n', "utf-8")
    assert main(["import", "--from", "vault", source]) == SETTINGS_INVALID
    said = capsys.readouterr().err
    assert text in said
    assert "pw-of-u" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["vsql-vault.toml"]


def test_an_empty_file_is_no_vault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vsql-vault.toml").write_text('[storage]\ndatabase_url = "sqlite:///target.db"\n', "utf-8")
    (tmp_path / "empty.db").touch()
    assert main(["import", "--from", "vault", "sqlite:///empty.db"]) == SETTINGS_INVALID
    assert "SOURCE: expected the storage of a vault, found an empty one" in capsys.readouterr().err
    assert not (tmp_path / "target.db").exists()


def test_a_dry_run_of_a_copy_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vsql-vault.toml").write_text('[storage]\ndatabase_url = "sqlite:///target.db"\n', "utf-8")
    assert main(["import", "--from", "vault", "--dry-run", "sqlite:///missing.db"]) == SETTINGS_INVALID
    assert [path.name for path in tmp_path.iterdir()] == ["vsql-vault.toml"]
