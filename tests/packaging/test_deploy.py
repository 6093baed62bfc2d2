"""What contrib/deploy ships is used as it stands: settings that load, a command that exists, a unit that systemd takes."""

import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from vsqlvault import cli
from vsqlvault.config import load_settings

DEPLOY = Path(__file__).parents[2] / "contrib" / "deploy"
UNIT = DEPLOY / "vsql-vault.service"
MANIFEST = DEPLOY / "kubernetes.yaml"


def test_the_settings_in_the_manifest_load(tmp_path):
    block = re.search(r"^  vsql-vault\.toml: \|\n((?:    .*\n|\n)+)", MANIFEST.read_text("utf-8"), re.MULTILINE)
    (tmp_path / "vsql-vault.toml").write_text(textwrap.dedent(block[1]))
    settings = load_settings(tmp_path / "vsql-vault.toml", {})
    assert settings.hardening.seccomp == "required"
    for file in (settings.server.tls.cert_file, settings.server.tls.key_file):
        assert f"mountPath: {Path(file).parent}" in MANIFEST.read_text("utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        re.search(r"^ExecStart=\S+/vsql-vault (.+)$", UNIT.read_text("utf-8"), re.MULTILINE)[1].split(),
        re.findall(r'"([^"]+)"', re.search(r"args: \[(.+)\]", MANIFEST.read_text("utf-8"))[1]),
    ],
    ids=["systemd", "kubernetes"],
)
def test_the_commands_exist(arguments):
    assert cli._parser().parse_args(arguments).config.suffix == ".toml"


def test_systemd_takes_the_unit(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("this machine has no systemd-analyze")
    unit = UNIT.read_text("utf-8").replace("/opt/vsqlvault/bin/vsql-vault", "/bin/true")
    (tmp_path / UNIT.name).write_text(unit)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / UNIT.name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert UNIT.name not in done.stderr, done.stderr
