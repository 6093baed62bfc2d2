"""The command: settings that cannot be used end it with exit code 2 and one sentence, never a traceback."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from vsqlvault.cli import dev, main
from vsqlvault.errors import SettingsInvalid

DEEP = "[" * 5000 + "]" * 5000
ADDRESS = "server.listen_addr: expected host:port, such as 127.0.0.1:8443 or [::1]:8443, found "
UNUSABLE = {
    "a host with an empty label": ('[server]\nlisten_addr = "a..b:1"', {}, ADDRESS + "'a..b:1'"),
    "a host with a label of 70": (f'[server]\nlisten_addr = "{"a" * 70}:1"', {}, ADDRESS),
    "a host with NUL": ('[server]\nlisten_addr = "a\\u0000b:1"', {}, ADDRESS),
    "a path with NUL": (
        '[storage]\ndatabase_url = "sqlite:///a\\u0000b"',
        {},
        "storage.database_url: expected a URL without control characters, found a value that is not shown",
    ),
    "a plugin's table that is a number": (
        "",
        {"PLUGINS__A": "1", "PLUGINS__A__B": "2"},
        "VSQL_VAULT_PLUGINS__A__B: expected plugins.a to be a table, found an integer",
    ),
    "a plugin's table that is a number in the file": (
        "[plugins]\na-b = 5",
        {"PLUGINS__A_B__C": "2"},
        "VSQL_VAULT_PLUGINS__A_B__C: expected plugins.a-b to be a table, found an integer",
    ),
    "a deep file": (f"a = {DEEP}", {}, "expected TOML, found it nested too deeply"),
    "a deep variable": (
        "",
        {"AUTH__API_KEYS": DEEP},
        "VSQL_VAULT_AUTH__API_KEYS: expected TOML, found it nested too deeply",
    ),
    "a deep variable of a plugin": (
        "",
        {"PLUGINS__A__B": DEEP},
        "VSQL_VAULT_PLUGINS__A__B: expected TOML, found it nested too deeply",
    ),
    "a deep table": (f"{'.'.join('a' * 4_000)} = 1", {}, "a: expected a known key, found an unknown one"),
    "a number of 5000 digits": (f"[server]\nmax_body_bytes = {'9' * 5000}", {}, "expected TOML, found: "),
    "a variable of 5000 digits": ("", {"SERVER__MAX_BODY_BYTES": "9" * 5000}, "server.max_body_bytes: expected integer"),
    "a number that cannot be written": (
        f"[server]\nmax_body_bytes = 0x{'f' * 9000}",
        {},
        "server.max_body_bytes: expected less than or equal to 67108864, found an integer",
    ),
    "a bootstrap key that is not there": (
        '[auth]\napi_key_env = "NO_SUCH_VARIABLE"',
        {},
        "auth.api_key_env: expected a key in the variable NO_SUCH_VARIABLE, found none",
    ),
    "the usual bootstrap key, written down and not there": (
        '[auth]\napi_key_env = "VSQL_VAULT_API_KEY"',
        {},
        "auth.api_key_env: expected a key in the variable VSQL_VAULT_API_KEY, found none",
    ),
    "the usual bootstrap key, not written down, and empty": (
        "",
        {"API_KEY": ""},
        "auth.api_key_env: expected a key in the variable VSQL_VAULT_API_KEY, found an empty variable",
    ),
    "a proxy whose network has too long a prefix": (
        '[server]\ntrusted_proxies = ["127.0.0.1", "10.0.0.0/33"]',
        {},
        ".trusted_proxies.1: expected an address, or a network without host bits, such as 10.0.0.0/8, found '10.0.0.0/33'",
    ),
    "a SQLite URL with two slashes": (
        '[storage]\ndatabase_url = "sqlite://x.db"',
        {},
        "storage.database_url: expected sqlite:///path to a file",
    ),
    "a SQLite URL without slashes": (
        '[storage]\ndatabase_url = "sqlite:x.db"',
        {},
        "storage.database_url: expected sqlite:///path to a file",
    ),
    "a blocked plugin that is not installed": (
        '[plugins]\nblock = ["storage-sqlit"]',
        {},
        "plugins.block: expected storage-sqlit to be installed, found no such plugin (did you mean storage-sqlite?)",
    ),
    "an export to a file in no directory": (
        '[[export]]\nname = "agent"\nkind = "file"\npath = "/nonexistent/dir/x"',
        {},
        "export.agent.path: expected a file in a directory that exists, found no directory /nonexistent/dir",
    ),
    "an export to a directory": (
        '[[export]]\nname = "agent"\nkind = "file"\npath = "/tmp"',
        {},
        "export.agent.path: expected a file, found a directory /tmp",
    ),
    "an anchor in no directory": (
        '[plugins.file-anchor]\npath = "/nonexistent/dir/x"',
        {},
        "plugins.file-anchor.path: expected a file in a directory that exists, found no directory /nonexistent/dir",
    ),
    "an empty bootstrap key": (
        '[auth]\napi_key_env = "VSQL_VAULT_API_KEY"',
        {"API_KEY": ""},
        "auth.api_key_env: expected a key in the variable VSQL_VAULT_API_KEY, found an empty variable",
    ),
}  # fmt: skip


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Check settings, and return the exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VSQL_VAULT_API_KEY", raising=False)

    def run(text: str, variables: dict[str, str]) -> int:
        for name, value in variables.items():
            monkeypatch.setenv(f"VSQL_VAULT_{name}", value)
        Path("vsql-vault.toml").write_text(text, "utf-8")
        return main(["check-config", "--config", "vsql-vault.toml"])

    return run


@pytest.mark.parametrize(("text", "variables", "sentence"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_settings_that_cannot_be_used_are_one_sentence(check, capsys, text, variables, sentence) -> None:
    assert check(text, variables) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.startswith("vsql-vault: ")
    assert told.count("\n") == 1
    assert len(told) < 400


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ('[auth]\napi_key_env = ""', {}),
        ('[auth]\napi_key_env = "VSQL_VAULT_API_KEY"', {"API_KEY": "a-key-for-this-test-alone"}),
    ],
    ids=["left out and not set", "none wished for", "written down and set"],
)
def test_a_bootstrap_key_need_not_be_there_unless_it_is_written_down(check, text, variables) -> None:
    assert check(text, variables) == 0


def test_a_development_server_takes_its_key_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "given-to-the-development-server")
    served: list[tuple[str, str | None]] = []
    monkeypatch.setattr(dev, "dev_settings", lambda key, listen: served.append((key, listen)) or sys.exit(0))
    with pytest.raises(SystemExit):
        dev.serve_dev("127.0.0.1:0")
    assert served == [("given-to-the-development-server", "127.0.0.1:0")]


def test_a_key_on_the_command_line_goes_before_that_of_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "of-the-environment")
    served: list[str] = []
    monkeypatch.setattr(dev, "dev_settings", lambda key, _: served.append(key) or sys.exit(0))
    with pytest.raises(SystemExit):
        dev.serve_dev(None, "of-the-command-line")
    assert served == ["of-the-command-line"]


def test_a_development_server_refuses_an_empty_key(monkeypatch) -> None:
    monkeypatch.setenv("VSQL_VAULT_API_KEY", "")
    monkeypatch.setattr(dev, "dev_settings", lambda *_: sys.exit(0))
    with pytest.raises(SettingsInvalid, match="found an empty variable"):
        dev.serve_dev("127.0.0.1:0")


def test_a_development_server_listens_at_the_given_address() -> None:
    assert dev.dev_settings("k" * 30, "127.0.0.1:9443").server.listen_addr == "127.0.0.1:9443"


def test_a_development_server_listens_on_the_loopback_only() -> None:
    with pytest.raises(SettingsInvalid, match="loopback"):
        dev.dev_settings("k" * 30, "0.0.0.0:9443")


def test_a_given_key_is_not_printed_again() -> None:
    assert "-H 'X-Vault-Key: KEY'" in dev._dev_welcome(None, "127.0.0.1:8443")


@pytest.mark.parametrize("option", [["--listen", "127.0.0.1:1"], ["--key", "k"]])
def test_options_of_the_development_server_need_it(option: list[str], capsys) -> None:
    assert main(option) == 2
    assert "expected --dev" in capsys.readouterr().err


def test_a_new_key_grants_no_purpose_that_was_not_given(capsys) -> None:
    assert main(["keygen", "--app", "payments"]) == 0
    printed = capsys.readouterr().out
    assert tomllib.loads(printed[printed.index("[[auth.api_keys]]") :])["auth"]["api_keys"][0]["purposes"] == []
