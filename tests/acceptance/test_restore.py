"""An old copy of the database: detected at start, confirmed by an operator, and purged again."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.support.checks import assert_problem
from tests.support.exports import second_verifier
from tests.support.fixtures import MARKER, NewDatabase
from tests.support.postgres import Databases
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.warm_start import run_vault
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey

KEY = SigningKey("vault.example/audit", b"\x01" * 32)
NEXT_KEY = SigningKey("vault.example/audit", b"\x02" * 32)
PLACES = ("/vault/card/kept", "/vault/card/gone", "/vault/card")


def run(vault: VaultServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"VSQL_VAULT_API_KEY": vault.admin_key, "PATH": ""}
    return run_vault([*arguments, "--config", vault.directory / "vault.toml"], vault.directory, environment)


@pytest.fixture
def vault(tmp_path: Path, new_database: NewDatabase) -> Iterator[VaultServer]:
    (tmp_path / "signing.key").write_text(KEY.reveal(), "utf-8")
    (tmp_path / "signing.key").chmod(0o600)
    settings = (
        '[audit]\nsigning_key_file = "signing.key"\ncheckpoint_interval_seconds = 0.1\n'
        '[plugins.file-anchor]\npath = "checkpoints.jsonl"\ninterval_seconds = 0\n'
    )
    server = VaultServer(tmp_path, settings=settings, database_url=new_database(tmp_path))
    server.start()
    server.retention("card")
    yield server
    server.kill()


class Copies:
    """Keeps a copy of a stopped vault's database, and puts it back."""

    def __init__(self, vault: VaultServer, request: pytest.FixtureRequest) -> None:
        self._vault = vault
        self._file = vault.directory / "vault.db"
        self._request = request
        self._name = vault.database_url.rpartition("/")[2]

    def keep(self) -> None:
        if self._vault.database_url.startswith("sqlite"):
            shutil.copyfile(self._file, self._file.with_suffix(".copy"))
            return
        self._databases.sql(f"CREATE DATABASE {self._name}_copy TEMPLATE {self._name}")

    def put_back(self) -> None:
        if self._vault.database_url.startswith("sqlite"):
            for left in self._vault.directory.glob("vault.db-*"):
                left.unlink()
            shutil.copyfile(self._file.with_suffix(".copy"), self._file)
            return
        self._databases.drop_database(self._name)
        self._databases.sql(f"ALTER DATABASE {self._name}_copy RENAME TO {self._name}")

    @property
    def _databases(self) -> Databases:
        found: Databases = self._request.getfixturevalue("postgres")
        return found


def test_a_database_that_was_put_back_is_in_quarantine_until_what_was_purged_is_purged_again(
    vault: VaultServer, request: pytest.FixtureRequest
) -> None:
    copies = Copies(vault, request)
    vault.stored("payments", "card/kept", MARKER)
    vault.stored("payments", "card/gone", MARKER)
    assert vault.stop() == 0
    copies.keep()

    vault.start()
    purged = vault.call("payments", "DELETE", "/vault/card/gone", headers={"Prefer": "wait"}).json
    assert purged["receipt"]
    assert vault.stop() == 0
    exported = run(vault, "export-audit", "--out", "audit.zip")
    assert exported.returncode == 0, exported.stderr
    known = [json.loads(line) for line in (vault.directory / "checkpoints.jsonl").read_text("utf-8").splitlines()]
    assert known[-1]["size"] > known[0]["size"]
    good = run(vault, "verify", "audit.zip", "--vkey", str(KEY.verifier), "--checkpoint", "checkpoints.jsonl")
    assert good.returncode == 0, good.stdout

    copies.put_back()
    vault.start()
    for place in PLACES:
        answer = vault.call("payments", "GET", place)
        assert_problem(answer, 503, "quarantined")
        row = vault.row(answer)
        assert (row["outcome"], row["reason"]) == ("denied", "quarantined")
    assert_problem(vault.put("payments", "card/new", MARKER), 503, "quarantined")
    assert_problem(vault.delete("payments", "card/kept"), 503, "quarantined")
    assert vault.call("auditor", "GET", "/admin/retention-policies").status == 200

    assert run(vault, "confirm-restore").returncode == 2
    confirmed = run(vault, "confirm-restore", "--export", "audit.zip", "--vkey", str(KEY.verifier))
    assert confirmed.returncode == 0, confirmed.stderr
    assert "1 purged again" in confirmed.stdout
    assert eventually(lambda: vault.get("payments", "card/kept").status == 200)
    assert_problem(vault.get("payments", "card/gone"), 404, "not-found")
    (again,) = vault.purge_rows("external_id=gone")
    assert (again["reason"], again["entry_id"]) == ("restored-then-purged", purged["entry_id"])

    assert vault.stop() == 0
    vault.start()
    assert vault.get("payments", "card/kept").status == 200
    assert vault.stop() == 0
    verified = run(vault, "verify", "--json", "--vkey", str(KEY.verifier), "--checkpoint", "checkpoints.jsonl")
    assert verified.returncode == 0, verified.stdout
    (restored,) = json.loads(verified.stdout)["restores"]
    assert restored["app"] == "vsqlvault"
    assert restored["sizes_given_up"][-1] == known[-1]["size"]

    forged = sign_checkpoint(TreeHead("vault.example/audit", known[-1]["size"], bytes(32)), KEY.signer)
    (vault.directory / "forged").write_text(forged, "utf-8")
    bad = run(vault, "verify", "--vkey", str(KEY.verifier), "--checkpoint", "forged")
    assert bad.returncode == 1
    assert "DOES NOT VERIFY" in bad.stdout


def test_keys_that_were_revoked_and_holds_that_were_placed_after_the_backup_are_so_after_the_confirmation(
    vault: VaultServer, request: pytest.FixtureRequest
) -> None:
    copies = Copies(vault, request)
    leaked = vault.call(ADMIN, "POST", "/admin/api-keys", json_body={"app": "leaked", "purposes": ["card"]}).json
    key_id = leaked["key_id"].replace("-", ":")
    vault.stored("payments", "card/kept", MARKER)
    assert vault.stop() == 0
    copies.keep()
    vault.start()
    assert vault.call(ADMIN, "DELETE", f"/admin/api-keys/{leaked['key_id']}").status in {200, 204}
    hold = {"case_reference": "17 O 9", "reason": "a case", "selector": {"purpose": "card", "metadata": {"a": 1.5}}}
    assert vault.call(ADMIN, "PUT", "/admin/legal-holds/case-9", json_body=hold).status == 201
    vault.retention("card", days=200)
    assert vault.stop() == 0
    assert run(vault, "export-audit", "--out", "rules.zip").returncode == 0
    copies.put_back()
    vault.start()

    confirm = ["confirm-restore", "--export", "rules.zip", "--vkey", str(KEY.verifier)]
    stopped = run(vault, *confirm)
    assert stopped.returncode == 1
    assert f"API key {key_id}: revoked again\nlegal hold case-9: placed again\n" in stopped.stdout
    assert (
        "retention policy card: the export has version 2, the vault has version 1 with other content" in stopped.stdout
    )
    assert_problem(vault.get("payments", "card/kept"), 503, "quarantined")
    accepted = run(vault, *confirm, "--accept-rules", "--json")
    assert accepted.returncode == 0, accepted.stderr
    shown = json.loads(accepted.stdout)
    assert (shown["confirmed"], shown["revoked_again"], shown["placed_again"]) == (True, [], [])
    assert [each["exported"]["max_retention_days"] for each in shown["lost"]] == [200]
    assert eventually(lambda: vault.get("payments", "card/kept").status == 200)
    assert vault.call(None, "GET", "/vault/card", headers={"X-Vault-Key": leaked["key"]}).status == 401
    placed = vault.call("auditor", "GET", "/admin/legal-holds/case-9").json
    assert (placed["state"], placed["selector"]) == ("active", hold["selector"])
    (row,) = vault.rows("operation=confirm-restore")
    assert "accepted as restored: retention policy card" in row["detail"]
    assert vault.stop() == 0
    verified = run(vault, "verify", "--vkey", str(KEY.verifier), "--checkpoint", "checkpoints.jsonl")
    assert verified.returncode == 0, verified.stdout
    assert run(vault, "export-audit", "--with-tables", "--out", "after.zip").returncode == 0
    with redirect_stdout(StringIO()) as written:
        code = second_verifier.main([str(vault.directory / "after.zip"), "--vkey", str(KEY.verifier)])
    assert code == 0, written.getvalue()


def test_an_entry_that_was_purged_and_that_a_later_hold_keeps_does_not_come_back(
    vault: VaultServer, request: pytest.FixtureRequest
) -> None:
    copies = Copies(vault, request)
    vault.stored("payments", "card/gone", MARKER)
    assert vault.stop() == 0
    copies.keep()
    vault.start()
    assert vault.call("payments", "DELETE", "/vault/card/gone").status == 200
    hold = {"case_reference": "17 O 9", "reason": "a case", "selector": {"purpose": "card"}}
    assert vault.call(ADMIN, "PUT", "/admin/legal-holds/case-10", json_body=hold).status == 201
    assert vault.stop() == 0
    assert run(vault, "export-audit", "--out", "later.zip").returncode == 0
    copies.put_back()
    vault.start()

    confirm = ["confirm-restore", "--export", "later.zip", "--vkey", str(KEY.verifier)]
    stopped = run(vault, *confirm)
    assert stopped.returncode == 1
    assert "1 of the entries that were purged are not purged again" in stopped.stdout
    assert_problem(vault.get("payments", "card/gone"), 503, "quarantined")
    assert vault.call(ADMIN, "DELETE", "/admin/legal-holds/case-10").status == 200
    assert run(vault, *confirm, "--accept-rules").returncode == 0
    assert eventually(lambda: vault.get("payments", "card/gone").status == 404)


def test_a_vault_that_lived_through_all_of_it_verifies_by_both_verifiers(
    vault: VaultServer, request: pytest.FixtureRequest
) -> None:
    """Policies, holds, keys, purges, a sweep, a restore and a new signing key: nothing of it is a finding."""
    copies = Copies(vault, request)
    live(vault)
    assert vault.stop() == 0
    copies.keep()
    vault.start()
    assert vault.delete("payments", "card/b").status == 200
    assert vault.stop() == 0
    assert run(vault, "export-audit", "--out", "old.zip").returncode == 0
    copies.put_back()
    vault.start()
    assert run(vault, "confirm-restore", "--export", "old.zip", "--vkey", str(KEY.verifier)).returncode == 0
    assert vault.stop() == 0

    (vault.directory / "new.key").write_text(NEXT_KEY.reveal(), "utf-8")
    (vault.directory / "new.key").chmod(0o600)
    rolled = 'signing_key_file = "new.key"\nprevious_signing_key_file = "signing.key"'
    vault.settings = vault.settings.replace('signing_key_file = "signing.key"', rolled)
    vault.write_config()
    vault.start()
    vault.stored("payments", "card/late", MARKER)
    assert vault.stop() == 0

    keys = [option for key in (KEY, NEXT_KEY) for option in ("--vkey", str(key.verifier))]
    kept = ["--checkpoint", str(vault.directory / "checkpoints.jsonl")]
    live_check = run(vault, "verify", *keys, *kept)
    assert live_check.returncode == 0, live_check.stdout
    for command, name in (
        (["export-audit"], "audit.zip"),
        (["export-audit", "--with-tables"], "tables.zip"),
        (["evidence"], "evidence.zip"),
    ):
        assert run(vault, *command, "--out", name).returncode == 0
        with redirect_stdout(StringIO()) as written:
            code = second_verifier.main([str(vault.directory / name), *keys, *(kept if name == "audit.zip" else [])])
        assert code == 0, written.getvalue()
        checked = run(vault, "verify", name, *keys, *(kept if name == "audit.zip" else []))
        assert checked.returncode == 0, checked.stdout


def live(vault: VaultServer) -> None:
    """Use what leaves rows: entries, both kinds of policies, a hold, keys, purges and a sweep."""
    vault.retention("card", days=200)
    vault.access_policy("tellers", store={}, retrieve={"allowed_apps": ["billing"]}, purge={})
    vault.access_policy("tellers", store={}, retrieve={"allowed_apps": ["billing", "archive"]}, purge={})
    for name in "abcd":
        vault.stored("payments", f"card/{name}", MARKER, access_policy="tellers")
    assert vault.get("billing", "card/a").status == 200
    idle = {"max_retention_days": 200, "inactivity_days": 5, "purge_method": "physical-delete"}
    assert vault.call(ADMIN, "PUT", "/admin/retention-policies/ach", json_body=idle).status == 201
    vault.stored("other", "ach/a", MARKER)
    assert vault.get("other", "ach/a").status == 200
    patch, merge = {"metadata": {"rate": 0.5, "é": "ü"}}, {"Content-Type": "application/merge-patch+json"}
    assert vault.call("payments", "PATCH", "/vault/card/b", json_body=patch, headers=merge).status == 200
    assert vault.put("payments", "card/c", MARKER + "2").status == 200
    assert vault.delete("payments", "card/d").status == 200
    hold = {"case_reference": "17 O 4", "reason": "a case", "selector": {"purpose": "card", "external_id": "a"}}
    assert vault.call(ADMIN, "PUT", "/admin/legal-holds/case-1", json_body=hold).status == 201
    assert vault.call(ADMIN, "DELETE", "/admin/legal-holds/case-1").status == 200
    made = vault.call(ADMIN, "POST", "/admin/api-keys", json_body={"app": "lived", "purposes": ["card"]})
    assert made.status == 201
    assert vault.call(ADMIN, "DELETE", f"/admin/api-keys/{made.json['key_id']}").status in {200, 204}
    assert vault.call(ADMIN, "POST", "/admin/purge/sweep").status in {200, 202}
