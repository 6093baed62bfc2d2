"""A hook that does a bad thing stops the start with a sentence, or changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support import rogue
from vsqlvault.cli import main
from vsqlvault.config import load_settings
from vsqlvault.errors import PluginUnusable
from vsqlvault.runtime import Tuning, open_vault, running

HOOKS = [name for name in vars(rogue) if name.startswith("vault_")]
OFFERING = [name for name in HOOKS if name not in {"vault_startup", "vault_shutdown"}]


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, install: Any) -> Any:
    orders = tmp_path / "orders"
    orders.write_text("nothing", "utf-8")
    monkeypatch.setenv("ROGUE", str(orders))
    monkeypatch.setenv("VSQL_VAULT_STORAGE__DATABASE_URL", f"sqlite:///{tmp_path / 'vault.db'}")
    monkeypatch.setenv("ROGUE_BLOCK_SECONDS", "0.01")
    install(rogue=rogue)
    return lambda where, how: orders.write_text(f"{where} {how}", "utf-8")


@pytest.mark.parametrize("hook", OFFERING)
@pytest.mark.parametrize("how", [*rogue.RAISED, "wrong type", "mutate"])
def test_it_stops_the_start_or_changes_nothing(tell: Any, hook: str, how: str, capsys: Any) -> None:
    tell(f"hook.{hook}", how)
    code = main(["check-config"])
    orders = capsys.readouterr().err
    assert code in {0, 2}
    if code:
        assert orders.startswith("vsql-vault: rogue (")
        assert "Traceback" not in orders
    if how in rogue.RAISED:
        assert code == 2


@pytest.mark.parametrize("how", [*rogue.RAISED])
def test_a_startup_that_goes_wrong_stops_the_start(tell: Any, how: str, capsys: Any) -> None:
    assert main(["migrate"]) == 0
    tell("hook.vault_startup", how)
    assert main(["sweep"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("vsql-vault: rogue (")


@pytest.mark.parametrize("how", rogue.RAISED)
def test_a_shutdown_that_goes_wrong_changes_nothing(tell: Any, how: str) -> None:
    assert main(["migrate"]) == 0
    tell("hook.vault_shutdown", how)
    assert main(["sweep"]) == 0


@pytest.mark.parametrize("how", [*rogue.RAISED, "wrong type"])
def test_an_anchor_that_answers_badly_stops_the_start(tell: Any, how: str, capsys: Any) -> None:
    assert main(["migrate"]) == 0
    tell("anchor.newest", how)
    assert main(["sweep"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("vsql-vault: anchor rogue: ")


@pytest.mark.parametrize("how", ["hang", "block", "swallow cancellation"])
def test_an_anchor_that_does_not_answer_stops_the_start(tell: Any, monkeypatch: Any, how: str) -> None:
    tell("anchor.newest", how)
    monkeypatch.setenv("ROGUE_BLOCK_SECONDS", "0.2")
    monkeypatch.setattr(running, "_abandoned", [])  # a later command would end the process of the tests

    async def start() -> None:
        async with open_vault(load_settings(None), tuning=Tuning(anchor_seconds=0.1)):
            raise AssertionError("it serves, though nobody said what the newest checkpoint is")

    with pytest.raises(PluginUnusable, match="anchor rogue: it cannot return its newest checkpoint"):
        running.run_to_end(start())
