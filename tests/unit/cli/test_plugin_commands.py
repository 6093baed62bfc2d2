"""Commands that plugins offer."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support import rogue
from tests.support.bad_tokens import PUBLISHED, signed
from tests.support.tokens import ISSUER
from vsqlvault.cli import main
from vsqlvault.interfaces.command import VaultCommand
from vsqlvault.testing import offering


class Hello(VaultCommand):
    help = "say hello"

    def __init__(self, name: str = "hello", run: Callable[[], Any] = lambda: 7) -> None:
        self.name = name
        self._run = run

    def run(self, options: Namespace, settings: Any) -> int:
        answer: int = self._run()
        return answer


def fails() -> int:
    raise SystemExit(0)


def test_its_exit_code_is_that_of_the_process(install: Any) -> None:
    install(mine=offering("vault_commands", Hello()))
    assert main(["hello"]) == 7


def test_what_it_raises_is_one_sentence(install: Any, capsys: pytest.CaptureFixture[str]) -> None:
    install(mine=offering("vault_commands", Hello(run=fails)))
    assert main(["hello"]) == 2
    assert capsys.readouterr().err == "vsql-vault: command hello: its plugin failed: SystemExit\n"


@pytest.mark.parametrize("error", [*rogue.RAISED.values()])
@pytest.mark.parametrize("method", ["add_arguments", "run"])
def test_whatever_a_method_raises_it_is_never_a_success(
    install: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Any, method: str
) -> None:
    def raising(*_: object) -> None:
        raise error

    monkeypatch.setattr(Hello, method, raising)
    install(mine=offering("vault_commands", Hello()))
    code, said = main(["hello"]), capsys.readouterr().err
    if error is KeyboardInterrupt:  # as the one who runs it may cause
        assert (code, said) == (130, "")
    else:
        assert (code, said) == (2, f"vsql-vault: command hello: its plugin failed: {error.__name__}\n")


@pytest.mark.parametrize(
    "returned", [None, object(), "0", 0.0, 256, -1, 10**30], ids=lambda value: type(value).__name__
)
def test_what_is_no_exit_code_is_no_success(install: Any, capsys: pytest.CaptureFixture[str], returned: Any) -> None:
    install(mine=offering("vault_commands", Hello(run=lambda: returned)))
    assert main(["hello"]) == 2
    assert "command hello: expected an exit code from 0 to 255" in capsys.readouterr().err


def test_a_method_that_blocks_is_waited_for(install: Any) -> None:
    install(mine=offering("vault_commands", Hello(run=lambda: time.sleep(0.01) or 7)))
    assert main(["hello"]) == 7


def test_a_method_that_empties_its_arguments_changes_nothing(install: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: Hello, options: Namespace, settings: Any) -> int:
        vars(options).clear()
        with pytest.raises(AttributeError):
            settings.plugins.clear()
        with pytest.raises(ValidationError):
            settings.storage.database_url = "sqlite:///another.db"
        return 7

    monkeypatch.setattr(Hello, "run", run)
    install(mine=offering("vault_commands", Hello()))
    assert main(["hello"]) == 7


@pytest.mark.parametrize(("text", "code"), [(None, 2), (object(), 2), ("100 % %d %(prog)s", 0)])
def test_help_that_is_no_text_is_refused_and_any_text_is_shown(
    install: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: Any, code: int
) -> None:
    monkeypatch.setattr(Hello, "help", text)
    install(mine=offering("vault_commands", Hello()))
    if code:
        assert main(["hello"]) == 2
        assert "command hello: expected a text as help" in capsys.readouterr().err
        return
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "stated"), [("serve", "is the vault's own"), ("Hello you", "expected lower-case words")]
)
def test_a_name_that_cannot_be_is_refused(
    install: Any, name: str, stated: str, capsys: pytest.CaptureFixture[str]
) -> None:
    install(mine=offering("vault_commands", Hello(name)))
    assert main(["another"]) == 2
    assert stated in capsys.readouterr().err


def test_help_lists_it(install: Any, capsys: pytest.CaptureFixture[str]) -> None:
    install(mine=offering("vault_commands", Hello()))
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "say hello" in capsys.readouterr().out


def test_help_works_without_usable_settings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", "/none/such.toml", "--help"])
    assert ended.value.code == 0
    assert "check-token" not in capsys.readouterr().out


def test_a_plugin_that_the_settings_block_offers_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "vault.toml"
    config.write_text('[plugins]\nblock = ["auth-jwt"]\n', "utf-8")
    with pytest.raises(SystemExit):
        main(["--config", str(config), "check-token"])
    assert "unknown word 'check-token'" in capsys.readouterr().err


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "keys.json").write_bytes(PUBLISHED)
    path = tmp_path / "vault.toml"
    keys = tmp_path / "keys.json"
    path.write_text(f'[[auth.jwt]]\nissuer = "{ISSUER}"\naudience = "vault"\njwks_file = "{keys}"\n', "utf-8")
    return path


def test_check_token_prints_the_caller(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    token = signed(time.time(), client_id="payments")
    (tmp_path / "token").write_text(token, "utf-8")
    assert main(["--config", str(config), "check-token", str(tmp_path / "token")]) == 0
    stated = capsys.readouterr().out
    assert "app: payments\n" in stated
    assert token not in stated


def test_check_token_says_why_it_is_refused(tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text(signed(time.time())[:-4] + "AAAA", "utf-8")
    assert main(["--config", str(config), "check-token", str(tmp_path / "token")]) == 1
    assert capsys.readouterr().out.endswith("refused: signature\n")


def test_check_token_needs_a_file_that_is_there(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "check-token", "/none/such"]) == 2
    assert "FILE: expected a readable file" in capsys.readouterr().err
