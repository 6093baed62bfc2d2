"""``vsql-vault import --from vault``: a source that is no vault is named as the source."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsqlvault.__main__ import main

SETTINGS_INVALID = 2


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("sqlite:///missing.db", "SOURCE: expected the storage of a vault, found an empty one"),
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
    assert not (tmp_path / "target.db").exists()
