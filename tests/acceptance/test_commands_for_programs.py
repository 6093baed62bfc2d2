"""Every command of an operator prints JSON with ``--json``, one document a line, and nothing else on stdout."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.warm_start import run_vault
from vsqlvault.cli.parser import command_parser
from vsqlvault.cli.words import commands_of, options_of

PRINT_SOMETHING_ELSE = {"new-plugin", "check-token", "serve", "report", "schema", "completion", "man"}
"""``report`` and ``schema`` print JSON anyway; the others print text for a shell, or run until they are stopped."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    assert run(tmp_path, "keygen", "--signing", "--json")["file"] == "vault-signing.key"
    return tmp_path


def run(directory: Path, *arguments: str, code: int = 0) -> Any:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VSQL_VAULT_")}
    done = run_vault(arguments, directory, environment)
    assert done.returncode == code, done.stderr
    documents = (
        [json.loads(line) for line in done.stdout.splitlines()] if "--json" in arguments else [json.loads(done.stdout)]
    )
    return documents[0] if len(documents) == 1 else documents


def leaves(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = commands_of(parser)
    if not below:
        yield path, parser
    for name, command in below.items():
        yield from leaves(command, (*path, name))


def test_every_command_takes_json() -> None:
    without = {" ".join(path) for path, command in leaves(command_parser()) if "--json" not in options_of(command)}
    assert without - PRINT_SOMETHING_ELSE == set()


def test_what_they_print(directory: Path) -> None:
    migrated = run(directory, "migrate", "--json")
    assert (migrated["before"], [name.rsplit("/")[-1] for name in migrated["steps"]]) == (
        0,
        ["schema.sql", "functions.sql"],
    )
    assert run(directory, "check-config", "--connect", "--json")["schema"]["before"] == migrated["after"]
    assert "storage-sqlite" in {each["name"] for each in run(directory, "plugins", "--json")}
    made = run(directory, "keys", "create", "--app", "shop", "--purpose", "card", "--json")
    assert made["key"].startswith("vsk_")
    listed = run(directory, "keys", "list", "--json")
    assert (listed["key_id"], listed["app"], listed["state"]) == (made["key_id"], "shop", "active")
    assert "key" not in listed
    assert run(directory, "keys", "revoke", made["key_id"], "--json")["state"] == "revoked"
    assert run(directory, "sweep", "--json")["purged"] == 0
    assert run(directory, "sweep", "--dry-run", "--json")["dry_run"] is True
    assert run(directory, "scrub", "--json") == {"scrub": None}
    assert run(directory, "attest", "--json")["attestation"]
    generated = run(directory, "keygen", "--app", "shop", "--json")
    assert set(generated) == {"app", "key", "key_sha256"}
    assert "hardening" in run(directory, "report")


def test_a_log_that_nobody_has_signed_does_not_verify_in_json_either(directory: Path) -> None:
    run(directory, "migrate", "--json")
    found = run(directory, "verify", "--json", code=1)
    assert (found["kind"], found["verifies"]) == ("log", False)
    assert found["findings"][0]["what"]
