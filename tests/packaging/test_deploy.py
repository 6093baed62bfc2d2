"""What contrib/deploy ships is used as it stands: settings that load, a command that exists, a unit that systemd takes."""

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml

from vsqlvault.cli import parser
from vsqlvault.config import load_settings

DEPLOY = Path(__file__).parents[2] / "contrib" / "deploy"
UNIT = DEPLOY / "vsql-vault.service"
MANIFEST = DEPLOY / "kubernetes.yaml"


def manifest():
    return list(yaml.safe_load_all(MANIFEST.read_text("utf-8")))


def vault_container():
    return manifest()[1]["spec"]["template"]["spec"]["containers"][0]


def test_the_settings_in_the_manifest_load_and_name_what_is_mounted(tmp_path):
    (tmp_path / "vsql-vault.toml").write_text(manifest()[0]["data"]["vsql-vault.toml"])
    settings = load_settings(tmp_path / "vsql-vault.toml", {})
    assert settings.hardening.seccomp == "required"
    mounted = {Path(mount["mountPath"]) for mount in vault_container()["volumeMounts"]}
    assert {Path(file).parent for file in (settings.server.tls.cert_file, settings.server.tls.key_file)} <= mounted


def test_every_container_of_the_manifest_is_locked_in():
    pod = manifest()[1]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize(
    "arguments",
    [
        re.search(r"^ExecStart=\S+/vsql-vault (.+)$", UNIT.read_text("utf-8"), re.MULTILINE)[1].split(),
        vault_container()["args"],
    ],
    ids=["systemd", "kubernetes"],
)
def test_the_commands_exist(arguments):
    assert parser.command_parser().parse_args(arguments).config.suffix == ".toml"


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


def test_the_vault_of_the_three_node_example_knows_every_database_node():
    settings = load_settings(DEPLOY / "patroni" / "vsql-vault.toml", {})
    nodes = yaml.safe_load((DEPLOY / "patroni" / "patroni.yml").read_text("utf-8"))["etcd3"]["hosts"]
    dsn = urlsplit(settings.storage.database_url)
    assert [host.partition(":")[0] for host in dsn.netloc.rpartition("@")[2].split(",")] == [
        node.partition(":")[0] for node in nodes
    ]
    assert dict(parse_qsl(dsn.query))["target_session_attrs"] == "read-write"
