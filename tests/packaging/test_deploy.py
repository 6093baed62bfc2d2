"""What contrib/deploy ships beside Kubernetes is used as it stands: the systemd units, and the example of three nodes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from vsqlvault.cli import parser
from vsqlvault.config import load_settings
from vsqlvault.proof.note import SigningKey
from vsqlvault.service.log.signing_keys import load_signing, write_key

DEPLOY = Path(__file__).parents[2] / "contrib" / "deploy"
UNIT = DEPLOY / "systemd" / "vsql-vault.service"
OF_TIMERS = [DEPLOY / "systemd" / f"vsql-vault-{name}.service" for name in ("archive", "drop")]
SERVICES = [UNIT, *OF_TIMERS]
TIMERS = [path.with_suffix(".timer") for path in OF_TIMERS]
MAX_EXPOSURE = 20
"""Tenths of the measure of ``systemd-analyze security``, from 0 (sandboxed) to 100."""


def lines_of(name: str, unit: Path = UNIT) -> list[str]:
    return re.findall(rf"^{name}=(.+)$", unit.read_text("utf-8"), re.MULTILINE)


def systemd_analyze(directory: Path, unit: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("systemd-analyze"):
        pytest.skip("this machine has no systemd-analyze")
    for each in (*SERVICES, *TIMERS):
        (directory / each.name).write_text(
            each.read_text("utf-8").replace("/opt/vsqlvault/bin/vsql-vault", "/bin/true")
        )
    command = ["systemd-analyze", *arguments, str(directory / unit.name)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class TestSystemd:
    @pytest.mark.parametrize("unit", [*SERVICES, *TIMERS], ids=lambda unit: unit.name)
    def test_the_unit_is_valid(self, unit: Path, tmp_path: Path) -> None:
        done = systemd_analyze(tmp_path, unit, "verify")
        assert unit.name not in done.stderr, done.stderr

    @pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
    def test_its_exposure_is_at_most_two_of_ten(self, unit: Path, tmp_path: Path) -> None:
        limit = f"--threshold={MAX_EXPOSURE}"
        done = systemd_analyze(tmp_path, unit, "security", "--offline=true", limit, "--no-pager")
        assert done.returncode == 0, done.stdout[-2000:]

    @pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
    def test_it_starts_a_command_that_exists(self, unit: Path) -> None:
        (command,) = lines_of("ExecStart", unit)
        assert parser.command_parser().parse_args(command.split()[1:]).config.suffix == ".toml"

    @pytest.mark.parametrize("unit", OF_TIMERS, ids=lambda unit: unit.name)
    def test_a_run_of_a_timer_has_the_settings_the_user_and_the_secrets_of_the_server(self, unit: Path) -> None:
        assert lines_of("ExecStart", unit)[0].split()[2:4] == lines_of("ExecStart")[0].split()[2:4]
        assert lines_of("User", unit) == [UNIT.stem]  # the name of a dynamic user that has no other
        for name in ("DynamicUser", "LoadCredential", "Environment", "WorkingDirectory"):
            assert lines_of(name, unit) == lines_of(name)

    def test_the_archive_is_written_where_its_unit_may_write(self) -> None:
        options = parser.command_parser().parse_args(lines_of("ExecStart", OF_TIMERS[0])[0].split()[1:])
        assert str(options.out).removeprefix("%S/") in lines_of("StateDirectory", OF_TIMERS[0])[0].split()

    def test_the_drop_reads_a_copy_that_it_cannot_change(self) -> None:
        options = parser.command_parser().parse_args(lines_of("ExecStart", OF_TIMERS[1])[0].split()[1:])
        assert list(map(str, options.archive)) == lines_of("ReadOnlyPaths", OF_TIMERS[1])

    def test_it_waits_longer_than_the_vault_takes_to_end(self) -> None:
        server = load_settings(None, {}).server
        (stop,) = lines_of("TimeoutStopSec")
        assert int(stop) >= 10 + server.graceful_timeout_seconds

    def test_it_keeps_no_secret_in_the_environment(self) -> None:
        assert not lines_of("EnvironmentFile")
        assert {line.partition("=")[0] for line in lines_of("Environment")} == {
            "PYTHONDONTWRITEBYTECODE",
            "VSQL_VAULT_AUDIT__SIGNING_KEY_FILE",
        }

    def test_the_vault_reads_its_credentials(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("VSQL_VAULT_API_KEY", raising=False)
        key = SigningKey.generate("vault.example/audit")
        for name, _, source in (line.partition(":") for line in lines_of("LoadCredential")):
            assert source.startswith("/etc/vsqlvault/credentials/")
            if name == "signing.key":
                write_key(tmp_path / name, key)
            else:
                (tmp_path / name).write_text(f"content of {name}\n")
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
        for line in lines_of("Environment"):
            monkeypatch.setenv(*line.replace("%d", str(tmp_path)).split("=", 1))
        try:
            settings = load_settings(None)
            settings.auth.check_secrets(os.environ)
            assert os.environ[settings.auth.api_key_env or ""] == "content of VSQL_VAULT_API_KEY"
            signer = load_signing(settings.audit).current
        finally:
            os.environ.pop("VSQL_VAULT_API_KEY", None)
        assert signer is not None
        assert str(signer.verifier) == str(key.verifier)


def test_the_vault_of_the_three_node_example_knows_every_database_node() -> None:
    settings = load_settings(DEPLOY / "patroni" / "vsql-vault.toml", {})
    nodes = yaml.safe_load((DEPLOY / "patroni" / "patroni.yml").read_text("utf-8"))["etcd3"]["hosts"]
    dsn = urlsplit(settings.storage.database_url)
    assert [host.partition(":")[0] for host in dsn.netloc.rpartition("@")[2].split(",")] == [
        node.partition(":")[0] for node in nodes
    ]
    assert dict(parse_qsl(dsn.query))["target_session_attrs"] == "read-write"
