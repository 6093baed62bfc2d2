"""What programs read of the commands on the vault's host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.cli import main

SETTINGS = """
[storage]
database_url = "sqlite:///{folder}/vault.db"
[logging]
level = "error"
[plugins]
allow = ["access-rules", "auth-api-key", "purge-methods", "report-evidence", "storage-sqlite"]
"""


class Commands:
    """Runs commands on one settings file, and reads what they print."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = folder / "vsql-vault.toml"
        self.config.write_text(SETTINGS.format(folder=folder))
        self.capsys = capsys

    def text(self, *words: str, code: int = 0) -> str:
        assert main([*words, "--config", str(self.config)]) == code
        return self.capsys.readouterr().out

    def documents(self, *words: str) -> list[Any]:
        return [json.loads(line) for line in self.text(*words, "--json").splitlines()]


@pytest.fixture
def commands(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "a-key-of-this-test")
    return Commands(tmp_path, capsys)


def test_commands_print_a_json_document_a_line(commands: Commands) -> None:
    (migrated,) = commands.documents("migrate")
    assert migrated["before"] < migrated["after"]
    assert {"name", "distribution", "version"} <= set(commands.documents("plugins")[0])
    (checked,) = commands.documents("check-config")
    assert (checked["valid"], checked["plugins"]) == (True, 5)
    (swept,) = commands.documents("sweep", "--dry-run")
    assert (swept["dry_run"], swept["purged"], swept["completed"]) == (True, 0, True)
    assert commands.documents("scrub") == [{"scrub": None}]


def test_a_report_by_a_command_does_not_assess_the_sandbox_of_the_server(commands: Commands) -> None:
    commands.documents("migrate")
    section = json.loads(commands.text("report"))["system_state"]
    assert [each for each in section["exceptions"]["listed"] if "hardening" in each["what"]] == []
    assert section["owner"].startswith("not assessed by this command: ask the server")


def test_keys_are_made_listed_and_revoked_as_json_and_as_a_table(commands: Commands) -> None:
    commands.documents("migrate")
    (made,) = commands.documents("keys", "create", "--app", "payments", "--purpose", "card", "--purpose", "ach")
    assert made["key"].startswith("vsk_")
    (listed,) = commands.documents("keys", "list")
    assert (listed["key_id"], listed["purposes"], "key" in listed) == (made["key_id"], ["ach", "card"], False)
    header, row = commands.text("keys", "list").splitlines()
    assert header.split()[:3] == ["CREDENTIAL_ID", "STATE", "APP"]
    assert row.split()[:5] == [made["credential_id"], "active", "payments", "-", "ach,card"]
    (revoked,) = commands.documents("keys", "revoke", made["key_id"])
    assert revoked["state"] == "revoked"


def test_what_is_not_there_is_exit_code_4(commands: Commands) -> None:
    commands.text("migrate")
    commands.text("keys", "revoke", "sha256:000000000000", code=4)


def test_a_storage_that_cannot_be_used_is_exit_code_2(commands: Commands) -> None:
    commands.config.write_text(commands.config.read_text().replace("/vault.db", "/nowhere/vault.db"))
    commands.text("keys", "list", code=2)
