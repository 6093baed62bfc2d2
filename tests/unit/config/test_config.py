"""Settings: what is read, from where, and the one sentence about what is wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.support.settings import load
from vsqlvault.config import Settings, load_settings
from vsqlvault.errors import SettingsInvalid, VaultError
from vsqlvault.plugin_loader import Plugins

DIGEST = "ab" * 32
QUICK_START = """
[server]
listen_addr = "0.0.0.0:8443"

[auth]
api_key_header = "X-Vault-Key"
api_key_env = "VSQL_VAULT_API_KEY"

[storage]
database_url = "postgresql://postgres@localhost:5432/vault"

[purge]
sweep_interval_hours = 24
purge_proof_hash = true

[logging]
format = "json"
level = "info"
"""


@pytest.fixture
def file(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "vsql-vault.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def environment(**variables: str) -> dict[str, str]:
    return {f"VSQL_VAULT_{name.upper()}": text for name, text in variables.items()}


def refused(path: Path | None = None, **variables: str) -> str:
    with pytest.raises(SettingsInvalid) as told:
        load(path, environment(**variables))
    sentence = str(told.value)
    assert "\n" not in sentence
    assert "pydantic" not in sentence
    return sentence


class TestReading:
    def test_without_anything_there_are_defaults(self) -> None:
        assert load_settings(None, {}) == Settings()
        assert Settings().server.listen_addr == "127.0.0.1:8443"
        assert Settings().storage.database_url == "sqlite:///vault.db"

    def test_the_quick_start_is_read(self, file) -> None:
        settings = load_settings(file(QUICK_START), {})
        assert settings.server.listen_addr == "0.0.0.0:8443"
        assert settings.storage.database_url == "postgresql://postgres@localhost:5432/vault"
        assert settings.purge.sweep_interval_hours == 24

    def test_the_environment_lies_over_the_file(self, file) -> None:
        settings = load_settings(
            file(QUICK_START), environment(server__listen_addr="127.0.0.1:1", logging__level="debug")
        )
        assert (settings.server.listen_addr, settings.logging.level) == ("127.0.0.1:1", "debug")
        assert settings.logging.format == "json"

    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("server__max_body_bytes", "4096", 4096),
            ("server__body_timeout_seconds", "2.5", 2.5),
            ("access__require_defined_policy", "true", True),
            ("auth__api_key_env", "OTHER_KEY", "OTHER_KEY"),
            ("auth__api_key_app", "123", "123"),
            ("storage__database_url", "sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
            ("purge__sweep_interval_hours", "0", 0),
        ],
    )
    def test_a_variable_is_read_as_its_setting_needs_it(self, name, text, value) -> None:
        section, key = name.split("__")
        assert getattr(getattr(load_settings(None, environment(**{name: text})), section), key) == value

    def test_the_key_itself_is_no_setting(self) -> None:
        assert load_settings(None, {"VSQL_VAULT_API_KEY": "secret", "PATH": "/bin"}) == Settings()

    def test_keys_of_apps_are_read_from_the_file(self, file) -> None:
        settings = load_settings(
            file(
                f"""
                [[auth.api_keys]]
                app = "payments"
                key_sha256 = "{DIGEST}"
                purposes = ["card", "ach"]
                roles = ["auditor"]
                expires_at = 2027-02-16T00:00:00Z
                [[auth.api_keys]]
                app = "shop"
                key_env = "SHOP_KEY"
                purposes = ["*"]
                """
            ),
            {},
        )
        first, second = settings.auth.api_keys
        assert (first.app, first.purposes, first.roles) == ("payments", ("card", "ach"), ("auditor",))
        assert first.expires_at == datetime(2027, 2, 16, tzinfo=UTC)
        assert (second.key_env, second.purposes) == ("SHOP_KEY", None)

    def test_keys_of_apps_are_read_from_the_environment(self) -> None:
        settings = load_settings(None, environment(auth__api_keys=f"[{{app = 'payments', key_sha256 = '{DIGEST}'}}]"))
        assert settings.auth.api_keys[0].app == "payments"

    @pytest.mark.parametrize(
        ("line", "purposes"),
        [("", ()), ("purposes = []", ()), ("purposes = ['*']", None), ("purposes = ['card']", ("card",))],
    )
    def test_an_app_holds_the_purposes_that_are_written_down_and_no_other(self, file, line, purposes) -> None:
        settings = load_settings(file(f"[[auth.api_keys]]\napp = 'shop'\nkey_env = 'K'\n{line}\n"), {})
        assert settings.auth.api_keys[0].purposes == purposes

    def test_settings_cannot_be_changed(self) -> None:
        with pytest.raises(ValidationError):
            Settings().server.listen_addr = "x"

    @pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:8443", "localhost:65535", "0.0.0.0:80"])
    def test_an_address_is_taken(self, address) -> None:
        assert load_settings(None, environment(server__listen_addr=address)).server.listen_addr == address


class TestRefusing:
    def test_a_file_that_is_not_there(self, tmp_path) -> None:
        sentence = refused(tmp_path / "none.toml")
        assert sentence.endswith("none.toml: expected a readable file, found: No such file or directory")

    def test_a_directory(self, tmp_path) -> None:
        assert "expected a readable file, found: Is a directory" in refused(tmp_path)

    def test_bytes_that_are_no_text(self, file) -> None:
        assert "expected TOML in UTF-8, found other bytes" in refused(file(b"\xff\xfe"))

    @pytest.mark.parametrize("text", ["[server", "a = ", "[a]\n[a]", "a = 1\na = 2", "= 3"])
    def test_what_is_no_toml(self, file, text) -> None:
        assert "expected TOML, found: " in refused(file(text))

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("[serverr]\n", "serverr: expected a known key, found an unknown one"),
            ("[server]\nlisten = 'x'\n", "server.listen: expected a known key, found an unknown one"),
            ("server = 5\n", "server: expected "),
            ("[server]\nlisten_addr = 5\n", "server.listen_addr: expected string, found 5"),
            ("[server]\nmax_body_bytes = 'x'\n", "server.max_body_bytes: expected integer, found 'x'"),
            ("[server]\nmax_body_bytes = true\n", "server.max_body_bytes: expected integer, found True"),
            ("[server]\nmax_body_bytes = 5000.5\n", "server.max_body_bytes: expected integer, found 5000.5"),
            (
                "[server]\nmax_body_bytes = 10\n",
                "server.max_body_bytes: expected greater than or equal to 1024, found 10",
            ),
            ("[server]\nmax_body_bytes = [1]\n", "server.max_body_bytes: expected integer, found a list"),
            (
                "[access]\nrequire_defined_policy = 'true'\n",
                "access.require_defined_policy: expected boolean, found 'true'",
            ),
            ("[access]\nrequire_defined_policy = 1\n", "access.require_defined_policy: expected boolean, found 1"),
            (
                "[access]\nplugin_timeout_seconds = 0\n",
                "access.plugin_timeout_seconds: expected greater than 0, found 0",
            ),
            ("[access]\nplugin_timeout_seconds = nan\n", "access.plugin_timeout_seconds: expected "),
            (
                "[access]\nplugin_timeout_seconds = inf\n",
                "access.plugin_timeout_seconds: expected less than or equal to 60",
            ),
            (
                "[logging]\nlevel = 'loud'\n",
                "logging.level: expected 'debug', 'info', 'warning' or 'error', found 'loud'",
            ),
            ("[server]\nplaintext = 'yes'\n", "server.plaintext: expected 'loopback' or 'any', found 'yes'"),
            (
                "[purge]\npurge_proof_hash = false\n",
                "purge.purge_proof_hash: expected true: no proof, no purge, found False",
            ),
            ("[purge]\nsweep_interval_hours = -1\n", "purge.sweep_interval_hours: expected greater than or equal to 0"),
            ("[auth]\napi_key_header = 'a b'\n", "auth.api_key_header: expected "),
            ("[auth]\napi_key_app = ''\n", "auth.api_key_app: expected "),
            ("[plugins]\nallow = 'x'\n", "plugins: expected allow as a list of plugin names"),
            ("[plugins]\nblock = [1]\n", "plugins: expected block as a list of plugin names"),
            ("[plugins]\nhours = 5\n", "plugins: expected hours as a table"),
            ("[[auth.api_keys]]\nkey_env = 'K'\n", "auth.api_keys.0.app: expected a value, found none"),
            (
                "[[auth.api_keys]]\napp = 'a'\n",
                "auth.api_keys.0: expected exactly one of key_sha256 and key_env, found a table",
            ),
            (
                f"[[auth.api_keys]]\napp = 'a'\nkey_env = 'K'\nkey_sha256 = '{DIGEST}'\n",
                "auth.api_keys.0: expected exactly one of key_sha256 and key_env, found a table",
            ),
            ("[[auth.api_keys]]\napp = 'a b'\nkey_env = 'K'\n", "auth.api_keys.0.app: expected "),
            (
                "[[auth.api_keys]]\napp = 'a'\nkey_env = 'K'\npurposes = ['Card']\n",
                "auth.api_keys.0.purposes: expected purposes of",
            ),
            (
                "[[auth.api_keys]]\napp = 'a'\nkey_env = 'K'\npurposes = ['*', 'card']\n",
                "auth.api_keys.0.purposes: expected ",
            ),
            (
                "[[auth.api_keys]]\napp = 'a'\nkey_env = 'K'\nroles = ['root']\n",
                "auth.api_keys.0.roles.0: expected 'admin' or 'auditor', found 'root'",
            ),
            (
                "[[auth.api_keys]]\napp = 'a'\nkey_env = 'K'\nexpires_at = 2027-02-16T00:00:00\n",
                "auth.api_keys.0.expires_at: expected a time with an offset, such as 2027-02-16T00:00:00Z",
            ),
            (
                "[[auth.api_keys]]\napp = 'a'\nkey_env = 'K'\nexpires_at = '2027-02-16T00:00:00Z'\n",
                "auth.api_keys.0.expires_at: expected ",
            ),
        ],
    )
    def test_each_fault_is_one_sentence_with_key_expected_and_found(self, file, text, sentence) -> None:
        told = refused(file(text))
        assert sentence in told
        assert "vsql-vault.toml: " in told

    @pytest.mark.parametrize(
        "address",
        [
            "8443",
            ":8443",
            "localhost",
            "localhost:",
            "localhost:x",
            "localhost:65536",
            "::1:80",
            "a b:80",
            "localhost:80\n",
        ],
    )
    def test_what_is_no_address(self, address) -> None:
        assert "server.listen_addr: expected host:port, such as 127.0.0.1:8443 or [::1]:8443" in refused(
            server__listen_addr=address
        ).replace("\\n", "")

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            ("DB_URL", "an unknown one (did you mean VSQL_VAULT_STORAGE__DATABASE_URL?)"),
            ("API_KEY_", "an unknown one (did you mean VSQL_VAULT_API_KEY?)"),
            ("SERVER__WORKER", "VSQL_VAULT_SERVER__WORKER: server.worker: expected a known key"),
            ("SERVER__WORKER", "(did you mean workers?)"),
            ("AUDT__SIGNING_KEY_FILE", "found no section 'audt' (did you mean audit?)"),
        ],
    )
    def test_a_variable_that_nothing_reads_is_refused(self, name: str, sentence: str) -> None:
        with pytest.raises(SettingsInvalid, match=re.escape(sentence)):
            load_settings(None, {f"VSQL_VAULT_{name}": "1"})

    def test_an_empty_variable_is_named(self) -> None:
        with pytest.raises(
            SettingsInvalid, match=r"^VSQL_VAULT_STORAGE__DATABASE_URL: expected a value, found an empty"
        ):
            load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": ""})

    def test_a_bad_value_of_a_variable_is_not_blamed_on_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "vault.toml"
        path.write_text("[server]\nworkers = 2\n")
        with pytest.raises(SettingsInvalid, match=r"^VSQL_VAULT_SERVER__WORKERS: server\.workers: "):
            load_settings(path, {"VSQL_VAULT_SERVER__WORKERS": "999"})

    @pytest.mark.parametrize("name", ["POOL_SIZE", "POOLSIZE"])
    def test_nor_is_one_that_a_plugin_reads(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / "vault.toml"
        path.write_text("[server]\nworkers = 2\n")
        settings = load_settings(path, {f"VSQL_VAULT_STORAGE__{name}": "999"})
        with pytest.raises(SettingsInvalid, match=rf"^VSQL_VAULT_STORAGE__{name}: storage\.{name.lower()}: "):
            Plugins(settings)

    def test_variables_of_kubernetes_of_the_client_and_of_the_settings_are_left_alone(self, tmp_path: Path) -> None:
        names = [
            "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTPS", "PORT", "PORT_8443_TCP", "PORT_8443_TCP_ADDR", "ADDR",
            "TOKEN", "PROFILE", "CONFIG", "SHOP",
        ]  # fmt: skip
        path = tmp_path / "vault.toml"
        path.write_text("[[auth.api_keys]]\napp = 'shop'\nkey_env = 'VSQL_VAULT_SHOP'\n")
        assert load_settings(path, {f"VSQL_VAULT_{name}": "1" for name in names}).directory == tmp_path

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ('[server]\nlisten_adr = "a"', "did you mean listen_addr?"),
            ("[[auth.api_keys]]\napp = 'a'\nkey_sha = 'b'", "did you mean key_sha256?"),
            ("[server.tls]\ncertfile = 'a'", "did you mean cert_file?"),
            ("[storag]\npool_size = 1", "did you mean storage?"),
            ("[server]\nmax_batch = 1", "did you mean storage.max_batch?"),
        ],
    )
    def test_an_unknown_key_names_the_nearest(self, tmp_path: Path, text: str, hint: str) -> None:
        path = tmp_path / "vault.toml"
        path.write_text(text)
        with pytest.raises(SettingsInvalid, match=re.escape(hint)):
            load_settings(path, {})

    def test_a_long_value_is_not_shown_whole(self) -> None:
        assert "found a text of 500 characters" in refused(logging__level="x" * 500)

    def test_a_variable_of_no_section(self) -> None:
        assert refused(serverr__x="1").startswith("VSQL_VAULT_SERVERR__X: expected VSQL_VAULT_<SECTION>__<KEY>")

    def test_a_variable_of_no_key(self) -> None:
        assert "server.nothing: expected a known key" in refused(server__nothing="1")

    def test_a_variable_without_a_key(self) -> None:
        assert "VSQL_VAULT_SERVER__" in refused(server__="1")

    def test_a_variable_over_what_is_no_table(self, file) -> None:
        assert "server: expected a table" in refused(file("server = 5"), server__listen_addr="x:1")

    def test_it_is_an_error_of_the_vault(self) -> None:
        assert issubclass(SettingsInvalid, VaultError)


class TestSecrets:
    SECRET = "hunter2-hunter2"

    @pytest.mark.parametrize(
        "text",
        [
            "[storage]\ndatabase_url = 'HUNTER'\n",
            "[storage]\ndatabase_url = ['HUNTER']\n",
            "[auth]\napi_keys = 'HUNTER'\n",
            "[auth]\napi_keys = ['HUNTER']\n",
            "[auth]\napi_key = 'HUNTER'\n",
            "[[auth.api_keys]]\napp = 'a'\nkey_sha256 = 'HUNTER'\n",
            "[[auth.api_keys]]\napp = 'a'\nkey = 'HUNTER'\n",
            "[[auth.api_keys]]\napp = 'a'\nkey_env = ['HUNTER']\n",
            "[[auth.api_keys]]\nkey_sha256 = 'HUNTER'\n",
            "[storage]\npassword = 'HUNTER'\n",
            "x = 'HUNTER'\nx = 'HUNTER'\n",
            "database_url = 'HUNTER\n",
        ],
    )
    def test_no_sentence_shows_what_might_be_a_secret(self, file, text) -> None:
        assert self.SECRET not in refused(file(text.replace("HUNTER", self.SECRET)))

    @pytest.mark.parametrize("name", ["auth__api_keys", "storage__database_url", "auth__api_key", "storage__password"])
    def test_no_sentence_about_a_variable_does_either(self, name) -> None:
        assert self.SECRET not in refused(**{name: self.SECRET})

    def test_a_digest_in_a_table_that_is_not_closed_is_not_shown(self) -> None:
        digest = "ab" * 20
        assert digest not in refused(auth__api_keys=f"[{{app='a',key_sha256='{digest}'}}")
