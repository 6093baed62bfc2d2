"""A command that reads a vault creates none: in a wrong folder it fails, and leaves nothing there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.archived_vault import KEY
from vsqlvault import cli

COMMANDS = (
    "report", "sweep", "sweep --dry-run", "scrub", "keys list", "keys revoke sha256:0123456789ab", "attest", "verify",
    "evidence --out e.zip", "export-audit --out a.zip", "archive-audit --out .", "drop-archived --archive .",
    "check-config --connect", "confirm-restore --without-export", "backup --out b.db",
    "keys create --app shop", "migrate --plan", "import signing.key",
)  # fmt: skip


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a signing key and without a vault."""
    (tmp_path / "signing.key").write_text(KEY.reveal(), "utf-8")
    (tmp_path / "signing.key").chmod(0o600)
    monkeypatch.setenv("VSQL_VAULT_AUDIT__SIGNING_KEY_FILE", "signing.key")
    monkeypatch.setenv("VSQL_VAULT_STORAGE__DATABASE_URL", "sqlite:///vault.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("words", COMMANDS)
def test_without_a_database_a_command_fails_and_creates_nothing(
    words: str, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words.split()) == 2
    assert "storage.database_url: there is no database vault.db" in capsys.readouterr().err
    assert [path.name for path in wrong.iterdir()] == ["signing.key"]


@pytest.mark.parametrize("words", ["report", "keys list", "attest", "verify"])
def test_an_empty_database_is_no_vault_and_does_not_become_one(
    words: str, wrong: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (wrong / "vault.db").touch()
    for _ in range(2):
        assert cli.main(words.split()) == 2
        assert "storage.database_url: expected the database of a vault, found an empty one" in capsys.readouterr().err


def test_a_key_may_be_created_before_the_first_start_in_a_vault_that_migrate_made(wrong: Path) -> None:
    assert cli.main(["migrate"]) == 0
    assert cli.main(["keys", "create", "--app", "shop", "--purpose", "card"]) == 0
    assert cli.main(["keys", "list"]) == 0
