"""What a start does and does not do: the port first, then the schema; a signing key of its own; which secrets it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fixtures import NewDatabase
from tests.support.postgres import Databases
from tests.support.server import ADMIN, App, VaultServer, eventually
from tests.support.warm_start import run_vault
from tests.upgrades.frozen import OLDEST_SQLITE
from vsqlvault.proof.note import SigningKey

KEY_FILE = "vault-signing.key"
WITHOUT_SIGNING = (
    ["report"], ["sweep"], ["sweep", "--dry-run"], ["scrub"], ["keys", "list"], ["keys", "create", "--app", "a"],
    ["migrate", "--plan"], ["migrate"], ["plugins"], ["confirm-restore", "--without-export"],
)  # fmt: skip
Run = Callable[..., subprocess.CompletedProcess[str]]


def ran(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a directory, with no variable of a vault but these."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("VSQL_VAULT_")}
    return run_vault(arguments, directory, variables | environment)


@pytest.fixture
def vault(tmp_path: Path, new_database: NewDatabase):
    server = VaultServer(tmp_path, database_url=new_database(tmp_path))
    yield server
    server.kill()


def signed_by(vault: VaultServer) -> str:
    answer = eventually(lambda: (found := vault.call("auditor", "GET", "/audit/checkpoint")).status == 200 and found)
    return answer.body.decode()


class TestSigningKey:
    def test_the_first_start_makes_one_and_says_so_and_the_next_one_takes_it(self, vault: VaultServer) -> None:
        vault.start()
        file = vault.directory / KEY_FILE
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        verifier = str(SigningKey.parse(file.read_text()).verifier)
        said = vault.wait_for_line(lambda line: line["message"].startswith("a signing key was generated"))
        assert (said["file"], said["verifier_key"]) == (str(file), verifier)
        vault.retention("card")
        assert verifier.split("+", maxsplit=1)[0] in signed_by(vault)
        content = file.read_bytes()
        assert vault.stop() == 0
        vault.start()
        assert file.read_bytes() == content
        assert vault.stop() == 0
        done = ran(vault.directory, "verify", "--config", "vault.toml")
        assert done.returncode == 0, done.stderr
        assert "The log verifies" in done.stdout
        assert "Use --vkey" in done.stdout

    def test_a_log_that_was_signed_is_never_signed_by_a_new_one(self, vault: VaultServer) -> None:
        vault.start()
        vault.retention("card")
        first = signed_by(vault)
        assert vault.stop() == 0
        (vault.directory / KEY_FILE).unlink()
        vault.start()
        assert [line for line in vault.log_lines() if "it serves, and does not sign" in line]
        assert not (vault.directory / KEY_FILE).exists()
        vault.stored("payments", "card/a")
        assert vault.call("auditor", "GET", "/audit/checkpoint").body.decode().split("\n")[0] == first.split("\n")[0]
        assert vault.stop() == 0

    def test_a_generated_key_of_another_vault_is_not_used(self, vault: VaultServer) -> None:
        vault.start()
        vault.retention("card")
        signed_by(vault)
        assert vault.stop() == 0
        (vault.directory / KEY_FILE).unlink()
        assert ran(vault.directory, "keygen", "--signing").returncode == 0
        vault.start()
        assert [line for line in vault.log_lines() if "this process does not sign" in line]
        assert vault.stop() == 0


class TestSchema:
    @pytest.fixture
    def older(self, tmp_path: Path) -> Path:
        """A file with the schema of an earlier version, and a vault's settings beside it."""
        OLDEST_SQLITE.load_sqlite(tmp_path / "vault.db")
        return tmp_path

    @staticmethod
    def version(directory: Path) -> int:
        with closing(sqlite3.connect(directory / "vault.db")) as file:
            return int(file.execute("SELECT version FROM schema_version").fetchone()[0])

    def test_a_port_that_is_taken_leaves_the_schema_alone(self, older: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = ran(older, "serve", VSQL_VAULT_SERVER__LISTEN_ADDR=f"127.0.0.1:{taken.getsockname()[1]}")
        assert (done.returncode, "Address already in use" in done.stderr) == (2, True)
        assert self.version(older) == OLDEST_SQLITE.version
        assert not (older / KEY_FILE).exists()

    @pytest.mark.parametrize("command", [["serve"], ["report"], ["verify", "--vkey", "any"]])
    def test_manual_leaves_it_to_the_command(self, older: Path, command: list[str]) -> None:
        if command[0] == "verify":
            command = ["verify", "--vkey", str(SigningKey.generate("a/b").verifier)]
        done = ran(older, *command, VSQL_VAULT_STORAGE__MIGRATE="manual", VSQL_VAULT_SERVER__LISTEN_ADDR="127.0.0.1:0")
        assert done.returncode == 2
        assert re.search(r"the schema has version 12, this program needs \d+: run vsql-vault migrate", done.stderr)
        assert self.version(older) == OLDEST_SQLITE.version

    def test_the_plan_changes_nothing_and_names_each_step(self, older: Path) -> None:
        plan = ran(older, "migrate", "--plan")
        assert (plan.returncode, "0013_cursors.sql" in plan.stdout) == (0, True)
        assert self.version(older) == OLDEST_SQLITE.version
        told = json.loads(ran(older, "migrate", "--plan", "--json").stdout)
        assert (told["before"], told["steps"][0]) == (OLDEST_SQLITE.version, "0013_cursors.sql")
        done = json.loads(ran(older, "migrate", "--json").stdout)
        assert (done["before"], done["after"]) == (OLDEST_SQLITE.version, self.version(older))

    def test_an_older_one_in_postgresql_is_not_migrated_by_a_start(self, postgres: Databases, tmp_path: Path) -> None:
        name = postgres.create_database()
        server = VaultServer(tmp_path, database_url=postgres.url(name))
        server.start()  # an empty database is migrated
        assert server.stop() == 0
        server.query(sqlite="", postgresql="UPDATE vault.schema_version SET version = version - 1")
        with pytest.raises(AssertionError, match="run vsql-vault migrate"):
            server.start()
        postgres.drop_database(name)


class TestSecrets:
    def test_only_the_server_needs_those_of_apps(self, vault: VaultServer) -> None:
        vault.start()
        vault.retention("card")
        signed_by(vault)
        assert vault.stop() == 0
        vault.apps["shop"] = App("shop", ("card",))
        config = vault.write_config()
        text = config.read_text().replace(f'key_sha256 = "{_digest(vault.apps["shop"])}"', 'key_env = "SHOP_KEY"')
        config.write_text(text)
        for command in (["report"], ["verify"], ["evidence", "--out", "evidence.zip"], ["sweep"], ["keys", "list"]):
            done = ran(vault.directory, *command, "--config", "vault.toml")
            assert done.returncode == 0, (command, done.stderr)
        for command in (["serve"], ["check-config"]):
            done = ran(vault.directory, *command, "--config", "vault.toml")
            assert (done.returncode, "expected a key in the variable" in done.stderr) == (2, True)

    def test_a_command_that_signs_nothing_needs_no_signing_key(self, vault: VaultServer) -> None:
        vault.start()
        vault.retention("card")
        verifier = signed_by(vault) and str(SigningKey.parse((vault.directory / KEY_FILE).read_text()).verifier)
        assert vault.stop() == 0
        (vault.directory / KEY_FILE).unlink()
        config = vault.write_config()
        config.write_text(config.read_text() + '\n[audit]\nsigning_key_env = "VAULT_SIGNING_KEY"\n')
        for command in WITHOUT_SIGNING:
            done = ran(vault.directory, *command, "--config", "vault.toml")
            assert done.returncode == 0, (command, done.stderr)
        exported = ran(vault.directory, "export-audit", "--out", "log.zip", "--config", "vault.toml")
        assert (exported.returncode, "contains no verifier key" in exported.stderr) == (0, True)
        assert ran(vault.directory, "verify", "log.zip", "--vkey", verifier).returncode == 0
        assert ran(vault.directory, "verify", "--vkey", verifier, "--config", "vault.toml").returncode == 0
        for command in (["serve"], ["check-config"], ["evidence", "--out", "e.zip"], ["attest"], ["verify"]):
            done = ran(vault.directory, *command, "--config", "vault.toml", VSQL_VAULT_API_KEY="x" * 32)
            assert (done.returncode, "expected the variable VAULT_SIGNING_KEY to be set" in done.stderr) == (2, True)
            assert ("use --vkey KEY" in done.stderr) == (command == ["verify"])


def _digest(app: App) -> str:
    return re.findall(r'key_sha256 = "(\w+)"', app.toml())[0]


class TestSettings:
    def test_those_beside_are_read_and_the_start_says_so(self, vault: VaultServer) -> None:
        shutil.move(vault.write_config(), vault.directory / "vsql-vault.toml")
        vault.command = lambda: [sys.executable, "-m", "vsqlvault"]  # type: ignore[method-assign]
        vault.start()
        said = vault.wait_for_line(lambda line: line["message"] == "settings are read from the current directory")
        assert said["file"] == "vsql-vault.toml"
        assert vault.call(ADMIN, "GET", "/health").status == 200
        assert vault.stop() == 0

    def test_names_that_nothing_defines_are_warned_of_with_the_nearest(self, vault: VaultServer) -> None:
        vault.apps["shop"] = App("shop", ("card", "crad"))
        vault.write_config()
        vault.start()
        retention = {
            "max_retention_days": 9,
            "purge_method": "physical-delete",
            "allowed_access_policies": ["owned-only"],
        }
        assert vault.call(ADMIN, "PUT", "/admin/retention-policies/card", json_body=retention).status == 201
        policy = {"rules": {"retrieve": {"allowed_apps": ["shpo"]}}}
        assert vault.call(ADMIN, "PUT", "/admin/access-policies/typo", json_body=policy).status == 201
        hold = {"case_reference": "17 O 4/27", "reason": "Litigation", "selector": {"purpose": "crad"}}
        assert vault.call(ADMIN, "PUT", "/admin/legal-holds/typo", json_body=hold).status == 201
        assert vault.stop() == 0
        vault.start()
        said = vault.wait_for_line(lambda line: line["message"].startswith("names that nothing defines"))
        for sentence in (
            "shop: purpose crad has no retention policy (did you mean card?)",
            "access policy typo: app shpo has no credential (did you mean shop?)",
            "retention policy card: access policy owned-only is not defined (did you mean owner-only?)",
            "legal hold typo: purpose crad has no retention policy (did you mean card?)",
        ):
            assert sentence in said["names"]
        assert vault.stop() == 0

    def test_a_server_for_this_machine_alone_that_listens_elsewhere_says_so(self, vault: VaultServer) -> None:
        config = vault.write_config()
        config.write_text(config.read_text().replace('"127.0.0.1:0"', '"0.0.0.0:0"'))
        vault.start()
        assert eventually(
            lambda: [line for line in vault.log_lines() if "only clients on this machine are served" in line]
        )
        assert vault.stop() == 0

    def test_the_text_log_has_short_lines_of_keys_and_values(self, tmp_path: Path) -> None:
        server = subprocess.Popen(
            [sys.executable, "-m", "vsqlvault", "--dev"], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
            env=os.environ | {"VSQL_VAULT_SERVER__LISTEN_ADDR": "127.0.0.1:0"},
        )  # fmt: skip
        assert server.stdout is not None
        lines = []
        for line in server.stdout:
            lines.append(line)
            if "API documentation" in line:
                break
        server.terminate()
        assert server.wait(20) == 0
        server.stdout.close()
        logged = [line for line in lines if line.startswith("20")]
        assert all(len(line) < 400 and "{" not in line and "['" not in line for line in logged), logged
        assert any("storage.product=SQLite" in line for line in logged)
        assert len(logged) < 12
