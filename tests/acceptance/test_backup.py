"""Backups: made while the vault serves, checked against their manifest, and restored."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import PROGRAMS, Databases, package_directory
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.warm_start import run_vault
from vsqlvault.proof.note import SigningKey

KEY = SigningKey("vault.example/backup", b"\x07" * 32)
ANCHORED = (
    '[audit]\nsigning_key_file = "signing.key"\ncheckpoint_interval_seconds = 0.1\n'
    '[plugins.file-anchor]\npath = "checkpoints.jsonl"\ninterval_seconds = 0\n'
)


def command(vault: VaultServer, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    return run_vault(arguments, vault.directory, {"VSQL_VAULT_API_KEY": vault.admin_key, "PATH": path}, 120)


def backed_up(vault: VaultServer, path: str = "") -> dict[str, Any]:
    """Make ``copy.db`` and return the manifest that the command prints."""
    done = command(vault, "backup", "--config", "vault.toml", "--json", "--out", "copy.db", path=path)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def shredding(vault: VaultServer, purpose: str) -> None:
    policy = {"max_retention_days": 30, "purge_method": "crypto-shred"}
    assert vault.call(ADMIN, "PUT", f"/admin/retention-policies/{purpose}", json_body=policy).status in {200, 201}


def store(vault: VaultServer, name: str) -> int:
    return vault.call("payments", "PUT", f"/vault/card/{name}", json_body={"encrypted_value": f"v-{name}"}).status


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[VaultServer]:
    (tmp_path / "signing.key").write_text(KEY.reveal(), "utf-8")
    (tmp_path / "signing.key").chmod(0o600)
    server = VaultServer(tmp_path, settings=ANCHORED).start()
    shredding(server, "card")
    yield server
    server.kill()


def restore(vault: VaultServer) -> None:
    vault.stop()
    for suffix in ("-wal", "-shm", "-reserve"):
        (vault.directory / f"vault.db{suffix}").unlink(missing_ok=True)
    shutil.copy(vault.directory / "copy.db", vault.directory / "vault.db")


def test_a_backup_made_under_load_contains_everything_acknowledged_before_it(vault: VaultServer) -> None:
    stop, acknowledged = threading.Event(), []

    def work() -> None:
        while not stop.is_set():
            name = f"load-{len(acknowledged)}"
            assert store(vault, name) == 201
            acknowledged.append(name)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        while len(acknowledged) < 20:
            pass
        before = list(acknowledged)
        backed_up(vault)
    finally:
        stop.set()
        worker.join()
    with closing(sqlite3.connect(vault.directory / "copy.db")) as copy:
        found = {name for (name,) in copy.execute("SELECT external_id FROM entries")}
    assert set(before) <= found


def test_a_copy_of_the_file_alone_loses_rows_that_a_backup_has(vault: VaultServer) -> None:
    vault.stop()  # the whole log is copied to the file
    vault.start()
    assert store(vault, "in-the-log") == 201
    shutil.copy(vault.directory / "vault.db", vault.directory / "cp.db")
    manifest = backed_up(vault)
    with closing(sqlite3.connect(vault.directory / "cp.db")) as copy:
        (count,) = copy.execute("SELECT count(*) FROM access_log").fetchone()
    assert count < manifest["access_rows"]


def test_the_manifest_counts_what_is_in_the_backup(vault: VaultServer) -> None:
    assert store(vault, "one") == 201
    manifest = backed_up(vault)
    assert (manifest["format"], manifest["entries"], manifest["purge_rows"]) == ("vsqlvault-backup-v1", 1, 0)
    assert manifest["bytes"] == (vault.directory / "copy.db").stat().st_size
    assert (vault.directory / "copy.db").stat().st_mode & 0o777 == 0o600


def test_a_changed_backup_differs_from_its_manifest(vault: VaultServer) -> None:
    backed_up(vault)
    assert command(vault, "backup", "--check", "copy.db").returncode == 0
    with (vault.directory / "copy.db").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    changed = command(vault, "backup", "--check", "copy.db")
    assert (changed.returncode, "DIFFERS" in changed.stdout) == (1, True)


def test_a_damaged_database_gives_no_backup(vault: VaultServer) -> None:
    vault.stop()
    with (vault.directory / "vault.db").open("r+b") as file:
        file.seek(3 * 4096)
        file.write(os.urandom(8 * 4096))
    done = command(vault, "backup", "--config", "vault.toml", "--out", "copy.db")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert not (vault.directory / "copy.db").exists()


def test_a_database_whose_rows_break_a_constraint_gives_no_backup(vault: VaultServer) -> None:
    vault.stop()
    with closing(sqlite3.connect(vault.directory / "vault.db")) as database, database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute("INSERT INTO checkpoints VALUES (9999, 'x', x'00', 'n', 0)")
    done = command(vault, "backup", "--config", "vault.toml", "--out", "copy.db")
    assert (done.returncode, "integrity_check" in done.stderr) == (2, True)
    assert not (vault.directory / "copy.db").exists()


def test_a_missing_database_gives_no_backup(vault: VaultServer) -> None:
    vault.stop()
    (vault.directory / "vault.db").unlink()
    done = command(vault, "backup", "--config", "vault.toml", "--out", "copy.db")
    assert (done.returncode, "there is no database" in done.stderr) == (2, True)


def test_a_restored_vault_serves_and_keeps_its_tombstones(vault: VaultServer) -> None:
    assert store(vault, "kept") == store(vault, "shredded") == 201
    assert vault.call("payments", "DELETE", "/vault/card/shredded").status == 200
    backed_up(vault)
    restore(vault)
    (vault.directory / "checkpoints.jsonl").unlink(missing_ok=True)  # nothing outside knows a later state
    vault.start()
    assert vault.call("payments", "GET", "/vault/card/kept").json["encrypted_value"] == "v-kept"
    assert vault.call("payments", "GET", "/vault/card/shredded").status == 410
    assert store(vault, "shredded") == 409
    assert store(vault, "new") == 201


def test_a_restore_behind_an_anchor_starts_in_quarantine(vault: VaultServer) -> None:
    assert store(vault, "kept") == 201
    size = backed_up(vault)["access_rows"]
    assert store(vault, "later") == 201
    anchor = vault.directory / "checkpoints.jsonl"
    eventually(lambda: json.loads(anchor.read_text("utf-8").splitlines()[-1])["size"] > size)
    restore(vault)
    vault.start()
    assert vault.call("payments", "GET", "/vault/card/kept").json["type"] == "urn:vsqlvault:problem:quarantined"


def test_postgresql_is_backed_up_by_pg_dump_and_restored(
    tmp_path: Path, postgres_url: str, postgres: Databases
) -> None:
    vault = VaultServer(tmp_path, database_url=postgres_url).start()
    try:
        shredding(vault, "card")
        assert store(vault, "kept") == store(vault, "shredded") == 201
        assert vault.call("payments", "DELETE", "/vault/card/shredded").status == 200
        programs = str(package_directory() / PROGRAMS)
        manifest = backed_up(vault, programs)
        assert (manifest["entries"], manifest["purge_rows"]) == (2, 1)
        vault.stop()
        name = postgres.create_database()
        fresh = postgres.url(name)
        arguments = ["pg_restore", "--exit-on-error", "--dbname", fresh, tmp_path / "copy.db"]
        subprocess.run(arguments, env={"PATH": programs}, check=True, timeout=120)
        vault.database_url = fresh
        vault.write_config()
        vault.start()
        assert vault.call("payments", "GET", "/vault/card/kept").status == 200
        assert vault.call("payments", "GET", "/vault/card/shredded").status == 410
        vault.stop()
        postgres.drop_database(name)
    finally:
        vault.kill()
