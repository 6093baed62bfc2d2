"""The table of commands, which is printed without the modules that run them."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from vsqlvault.cli.parser import command_parser, function_named
from vsqlvault.cli.table import COMMANDS, LAST_COMMANDS, Command
from vsqlvault.cli.words import Parser, actions_of, commands_of

EVERY = (*COMMANDS, *LAST_COMMANDS)
OF_THE_SERVER = {
    "pydantic",
    "pluggy",
    "asyncio",
    "cryptography",
    "vsqlvault.config",
    "vsqlvault.runtime",
    "vsqlvault.http",
}


@pytest.mark.parametrize("command", EVERY, ids=lambda command: command.name)
def test_a_command_of_the_table_can_be_run(command: Command) -> None:
    assert len(inspect.signature(function_named(command.run)).parameters) == 2


@pytest.mark.parametrize("command", EVERY, ids=lambda command: command.name)
def test_its_arguments_are_those_of_its_module(command: Command) -> None:
    real = Parser(prog="real")
    if command.arguments:
        function_named(command.arguments)(real)
    shown = commands_of(command_parser())[command.name]
    of_every_command = {"help", "config"}
    assert {action.dest for action in actions_of(shown)} - of_every_command == {
        action.dest for action in actions_of(real)
    } - of_every_command


def test_no_name_occurs_twice() -> None:
    assert len({command.name for command in EVERY}) == len(EVERY)


def imported_by(*arguments: str) -> set[str]:
    """Return which modules of the server a command imports until it prints its help."""
    script = (
        "import sys\nfrom vsqlvault.cli import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit:\n    pass\n"
        f"print(*sorted({OF_THE_SERVER!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [("--version",), ("completion", "--help"), ("get", "--help")], ids=" ".join)
def test_a_command_imports_nothing_of_the_others(arguments: tuple[str, ...]) -> None:
    assert imported_by(*arguments) == set()


def test_the_modules_that_are_searched_for_are_those_that_a_command_imports() -> None:
    assert imported_by("sweep", "--help") >= {"pydantic", "asyncio", "vsqlvault.config", "vsqlvault.runtime"}
