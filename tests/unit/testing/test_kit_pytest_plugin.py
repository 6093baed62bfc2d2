"""The fixtures that pytest has once vsqlvault is installed, as the suite of a plugin sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vsqlvault.testing
from vsqlvault.interfaces.storage import Read
from vsqlvault.model.entry import EntryKey

HEAVY = ("pydantic", "quart", "aiosqlite", "hypercorn", "hypothesis", "prometheus_client")


def python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


STRICT = ("-W", "error", "-W", "ignore:Module already imported so cannot be rewritten; _editable_impl_vsqlvault")


def pytest_passes(directory: Path, suite: str, *arguments: str) -> str:
    (directory / "test_suite.py").write_text(suite, "utf-8")
    done = python(directory, "-m", "pytest", "-q", *STRICT, "-p", "no:cacheprovider", *arguments, "test_suite.py")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_foreign_suite_imports_nothing_of_the_vault_but_the_plugin(tmp_path) -> None:
    suite = f"""
import sys

def test_what_is_loaded(request):
    assert request.config.pluginmanager.hasplugin("vsqlvault")
    loaded = {{name for name in sys.modules if name.partition(".")[0].startswith("vsqlvault")}}
    assert loaded == {{"vsqlvault", "vsqlvault.testing", "vsqlvault.testing.pytest_plugin"}}
    assert not set({HEAVY!r}) & set(sys.modules)
"""
    pytest_passes(tmp_path, suite, "-p", "no:hypothesispytest", "-p", "no:sybil", "-p", "no:schemathesis")


def test_the_fixtures_are_listed_with_what_they_are(tmp_path) -> None:
    done = python(tmp_path, "-m", "pytest", "--fixtures", "-q", "-p", "no:cacheprovider")
    for name in ("vault", "client", "storage", "plugins", "settings"):
        assert f"vsqlvault_{name}" in done.stdout
    assert "_vsqlvault_running" not in done.stdout


def test_importing_the_kit_needs_neither_pytest_nor_hypothesis(tmp_path) -> None:
    script = """
import sys
import vsqlvault.testing
assert not [name for name in sys.modules if name.startswith("vsqlvault.") and name != "vsqlvault.testing"]
for name in ("T0", "FaultyStorage", "a_vault", "running_vault", "StorageCapabilities"):
    getattr(vsqlvault.testing, name)
assert not {"pytest", "hypothesis"} & set(sys.modules)
"""
    done = python(tmp_path, "-c", script)
    assert done.returncode == 0, done.stderr


def test_a_name_that_the_kit_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        vsqlvault.testing.Nonsense  # noqa: B018


def test_a_failed_assertion_of_the_kit_is_explained(tmp_path) -> None:
    (tmp_path / "test_suite.py").write_text("""
import pytest
from vsqlvault.testing import PurgeMethodConformance

class Nameless:
    name = "  "
    retires_id = False

class TestNameless(PurgeMethodConformance):
    @pytest.fixture
    def purge_method(self):
        return Nameless()
""")
    done = python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_suite.py", "-k", "what_it_is_called")
    assert done.returncode == 1
    assert "where '' = " in done.stdout


def test_the_vault_its_client_and_its_storage(vsqlvault_vault, vsqlvault_client, vsqlvault_storage) -> None:
    stored = vsqlvault_client.request("PUT", "/vault/card/pay-1", json={"encrypted_value": "vault:v1:c2VjcmV0"})
    assert stored.status == 201
    vsqlvault_storage.arm(1, methods={"commit"})
    assert vsqlvault_client.request("GET", "/vault/card/pay-1").status == 503
    assert vsqlvault_client.request("GET", "/vault/card/pay-1").json["encrypted_value"] == "vault:v1:c2VjcmV0"
    assert vsqlvault_storage is vsqlvault_vault.vault.storage
    (snapshot,) = vsqlvault_vault.run(vsqlvault_vault.vault.storage.read([Read(EntryKey("card", "pay-1"))]))
    assert snapshot.entry is not None
    assert snapshot.entry.owner_app == "payments"


@pytest.mark.parametrize(
    ("app", "path", "status"),
    [
        ("vault-admin", "/admin/access-log", 200),
        ("auditor", "/admin/purge-log", 200),
        ("payments", "/admin/access-log", 403),
        ("shop", "/vault/card/nothing", 404),
        (None, "/vault/card/nothing", 401),
        ("nobody", "/vault/card/nothing", 401),
    ],
)
def test_each_app_may_do_what_its_roles_say(vsqlvault_client, app, path, status) -> None:
    assert vsqlvault_client.request("GET", path, app=app).status == status


def test_settings_and_plugins_of_a_suite_are_laid_over_the_usual_ones(tmp_path) -> None:
    suite = """
import pytest
from vsqlvault.model.access import Deny
from vsqlvault.testing import offering

class Nobody:
    name = "nobody"
    def built_in_policies(self):
        return []
    def check(self, policy):
        pass
    def evaluate(self, request, policy):
        return Deny("nobody-may")

@pytest.fixture
def vsqlvault_plugins():
    return [offering("vault_access_policies", Nobody())]

@pytest.fixture
def vsqlvault_settings():
    return {"server": {"max_value_bytes": 8}, "auth": {"api_key_app": "boss"}}

def test_it(vsqlvault_client):
    policy = {"evaluator": "nobody", "rules": {}}
    assert vsqlvault_client.request("PUT", "/admin/access-policies/none", app="vault-admin", json=policy).status == 201
    entry = {"encrypted_value": "12345678", "access_policy": "none"}
    assert vsqlvault_client.request("PUT", "/vault/card/a", json=entry).status == 403
    entry["encrypted_value"] += "9"
    assert vsqlvault_client.request("PUT", "/vault/card/a", json=entry).status == 413
"""
    assert "1 passed" in pytest_passes(tmp_path, suite)
