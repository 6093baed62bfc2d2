"""What is installed is what was meant: from the wheel alone, in an empty folder, with third-party plugins beside it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
import venv
import zipfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.server import eventually

ROOT = Path(__file__).parents[2]
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CONTRIB = sorted(path.parent for path in (ROOT / "contrib").glob("*/pyproject.toml"))


def run(*command, cwd, **options):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory):
    """The wheels of the project and of everything in contrib. The environment of the tests has what builds them."""
    folder = tmp_path_factory.mktemp("wheels")
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(sys.executable, *build, ROOT, *CONTRIB, cwd=folder)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def wheel(wheels):
    return next(path for path in wheels if path.name.startswith("vsqlvault-"))


@pytest.fixture(scope="session")
def installed(wheels, tmp_path_factory):
    """A virtual environment with the wheel, the contributed plugins and pytest, and with no way to the source tree.

    What they require, and nothing else, is taken from the environment of the tests. pip installs what that does not have.
    """
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    own = {canonicalize_name(path.name.partition("-")[0]) for path in wheels}
    for found in required([*(line for path in wheels for line in requirements_of(path)), "pytest", "boto3"], own):
        for file in found.files:
            if file.parts[0] != "..":
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file.locate(), packages / file)
    install = ("-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
    run(sys.executable, *install, *wheels, "pytest", "boto3", cwd=folder)
    return python.parent


def requirements_of(wheel):
    """Return what the wheel requires when it is installed without an extra."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])


def required(lines, own):
    """Return the distributions of this environment that pip would install for these requirements, as far as they fit."""
    found, seen, todo = {}, set(), [(Requirement(line), "") for line in lines]
    while todo:
        requirement, extra = todo.pop()
        name = canonicalize_name(requirement.name)
        if name in own or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        with suppress(PackageNotFoundError):
            here = distribution(name)
            if here.version in requirement.specifier and (name, *sorted(requirement.extras)) not in seen:
                seen.add((name, *sorted(requirement.extras)))
                found[name] = here
                more = [Requirement(line) for line in here.requires or ()]
                todo += [(each, asked) for each in more for asked in ("", *requirement.extras)]
    return found.values()


def test_only_what_is_required_is_taken_from_the_environment_of_the_tests():
    names = {
        found.name.lower() for found in required(["jinja2>=3", "pytest>=999", "no-such-distribution"], {"markupsafe"})
    }
    assert names == {"jinja2"}
    assert {found.name.lower() for found in required(["jinja2>=3"], set())} == {"jinja2", "markupsafe"}


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"vsqlvault", "vsqlvault_plugins"}
    assert "vsqlvault_plugins/storage/sqlite/queries.sql" in names
    for name in ("schema.sql", "functions.sql", "migrations/0017_functions_apart.sql"):
        assert f"vsqlvault_plugins/storage/sqlite/{name}" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_command_starts_from_an_empty_folder_and_serves(installed, tmp_path):
    environment = {
        "VSQL_VAULT_SERVER__LISTEN_ADDR": "127.0.0.1:0",
        "VSQL_VAULT_PLUGINS__BLOCK": '["purge-journal"]',  # it asks for a path, and here is none
    }
    with Server(installed, tmp_path, ["--dev"], environment) as server:
        stored = server.call("PUT", "/vault/card/payment-1", {"encrypted_value": "vault:v1:ciphertext"})
        assert stored[0] == 201
        assert server.call("GET", "/vault/card/payment-1")[1]["encrypted_value"] == "vault:v1:ciphertext"
    assert (tmp_path / "vault.db").stat().st_mode & 0o777 == 0o600


def test_the_contributed_plugins_are_loaded_with_their_distribution(installed, tmp_path):
    (tmp_path / "vsql-vault.toml").write_text(SETTINGS.format(folder=tmp_path))
    listed = run(installed / "vsql-vault", "plugins", "--config", "vsql-vault.toml", cwd=tmp_path)
    for name in ("access-cedar", "access-hours", "anchor-git", "purge-journal", "storage-mariadb"):
        assert re.search(rf"^{name} +vsqlvault-{name} ", listed, re.MULTILINE)


def test_a_third_party_purge_method_works_in_the_running_server(installed, tmp_path):
    with configured(installed, tmp_path) as server:
        server.put_policy("journalled-delete")
        server.call("PUT", "/vault/card/payment-1", {"encrypted_value": "ciphertext"})
        status, record = server.call("DELETE", "/vault/card/payment-1")
        assert (status, record["method"]) == (200, "journalled-delete")
        assert server.call("GET", "/vault/card/payment-1")[0] == 404
        journal = tmp_path / "journals" / "purges.ndjson"
        lines = eventually(lambda: journal.read_text().splitlines())  # after the commit, beside the answer
        assert [json.loads(line)["proof_hash"] for line in lines] == [record["proof_hash"]]
        assert server.call("GET", "/health")[1]["hardening"]["landlock"]["state"] != "off"


@pytest.mark.parametrize(("offset_days", "status"), [(0, 200), (3, 403)])
def test_a_third_party_access_policy_decides_in_the_running_server(installed, tmp_path, offset_days, status):
    days = [WEEK[(datetime.now(UTC).weekday() + offset_days + more) % 7] for more in (0, 1)]
    policy = {
        "evaluator": "office-hours",
        "rules": {"store": {}, "retrieve": {}},
        "parameters": {"timezone": "UTC", "days": days, "opens": "00:00", "closes": "24:00"},
    }
    with configured(installed, tmp_path) as server:
        server.put_policy("physical-delete")
        assert server.call("PUT", "/admin/access-policies/by-day", policy)[0] == 201
        entry = {"encrypted_value": "ciphertext", "access_policy": "by-day"}
        assert server.call("PUT", "/vault/card/payment-1", entry)[0] == 201
        assert server.call("GET", "/vault/card/payment-1")[0] == status


@pytest.mark.parametrize(("offset_days", "status"), [(0, 200), (3, 403)])
def test_a_policy_in_cedar_decides_in_the_running_server(installed, tmp_path, offset_days, status):
    """Its time zone is read when the policy first names it: a process that has locked itself in still can."""
    today = datetime.now(ZoneInfo("Pacific/Kiritimati")).date()
    days = [str(today + timedelta(days=offset_days + more)) for more in (0, 1)]
    on_these = f"permit (principal, action, resource) when {{ {json.dumps(days)}.contains(context.local.date) }};"
    storing = 'permit (principal, action == Action::"store", resource);'
    parameters = {"policies": [on_these, storing], "timezone": "Pacific/Kiritimati"}
    policy = {"evaluator": "cedar", "parameters": parameters}
    with configured(installed, tmp_path) as server:
        server.put_policy("physical-delete")
        assert server.call("PUT", "/admin/access-policies/dated", policy)[0] == 201
        entry = {"encrypted_value": "ciphertext", "access_policy": "dated"}
        assert server.call("PUT", "/vault/card/payment-1", entry)[0] == 201
        assert server.call("GET", "/vault/card/payment-1")[0] == status


def test_a_third_party_anchor_keeps_the_checkpoints_of_a_server_that_has_locked_itself_in(installed, tmp_path):
    if shutil.which("git") is None:
        pytest.skip("this machine has no git")
    bare = tmp_path / "checkpoints.git"
    run("git", "init", "--quiet", "--bare", bare, cwd=tmp_path)
    run(installed / "vsql-vault", "keygen", "--signing", "--origin", "vault.example.com/audit", cwd=tmp_path)
    more = f'[audit]\nsigning_key_file = "vault-signing.key"\n[plugins.git-anchor]\nrepository = "{bare}"\n'
    with configured(installed, tmp_path, more) as server:
        hardening = server.call("GET", "/health")[1]["hardening"]
        assert {hardening[step]["state"] for step in ("landlock", "seccomp")} <= {"on", "unavailable"}
    origin, size, *_ = run("git", "-C", bare, "show", "main:checkpoint", cwd=tmp_path).splitlines()
    assert (origin, int(size) > 0) == ("vault.example.com/audit", True)


@pytest.mark.parametrize("distribution", CONTRIB, ids=lambda path: path.name)
def test_each_contributed_plugin_passes_its_own_tests(installed, distribution, tmp_path):
    printed = run(
        installed / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", distribution / "tests",
        "--rootdir", distribution, cwd=tmp_path, env={**os.environ, "ROTATE_KEYS_TEST_ENTRIES": "200"},
    )  # fmt: skip
    assert re.search(r"^\d+ passed", printed, re.MULTILINE)


SETTINGS = """
[server]
listen_addr = "127.0.0.1:0"
[storage]
database_url = "sqlite:///data/vault.db"
[plugins.purge-journal]
path = "{folder}/journals/purges.ndjson"
"""


def configured(installed, tmp_path, more=""):
    for folder in ("data", "journals"):
        (tmp_path / folder).mkdir()
    (tmp_path / "vsql-vault.toml").write_text(SETTINGS.format(folder=tmp_path) + more)
    key = "a-key-for-this-test-and-for-no-other"
    server = Server(installed, tmp_path, ["--config", "vsql-vault.toml"], {"VSQL_VAULT_API_KEY": key})
    server.key = key
    return server


class Server:
    """A running ``vsql-vault`` of an installed wheel."""

    def __init__(self, bin_folder, cwd, arguments, environment):
        self.process = subprocess.Popen(
            [str(bin_folder / "vsql-vault"), *arguments],
            cwd=cwd,
            env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.key = None
        self.address = None
        for line in self.process.stdout:
            if match := re.search(r'listen_addr["=: ]+([\d.]+:\d+)', line):
                self.address = match[1]
            if match := re.search(r"vsk_[\w-]+", line):
                self.key = match[0]
            if self.address and (self.key or "--dev" not in arguments):
                break
        assert self.address, "the server did not start"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            f"http://{self.address}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Key": self.key, "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return refused.code, json.loads(refused.read())

    def put_policy(self, method):
        policy = {"max_retention_days": 30, "purge_method": method}
        assert self.call("PUT", "/admin/retention-policies/card", policy)[0] == 201
