"""What a start of the command saves, and that its answers stay the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vsqlvault.cli.parser import command_parser

SHOWN = """
import gc, os, sys
sys.argv = ["vsql-vault", "reload-is-no-command"]
from vsqlvault.cli import main
try:
    main()
except SystemExit:
    pass
print(gc.get_threshold()[0], os.environ["PYDANTIC_DISABLE_PLUGINS"])
"""


@pytest.mark.parametrize(("given", "kept"), [({}, "__all__"), ({"PYDANTIC_DISABLE_PLUGINS": "one"}, "one")])
def test_a_command_collects_garbage_rarely_and_searches_no_plugins_of_pydantic(
    given: dict[str, str], kept: str
) -> None:
    done = subprocess.run([sys.executable, "-c", SHOWN], env=given, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["10000", kept]


@pytest.mark.parametrize("more", [[], ["--config", "a.toml"]])
def test_the_parser_of_serve_alone_gives_the_options_of_the_whole_parser(more: list[str]) -> None:
    arguments = ["serve", *more]
    alone, whole = (vars(command_parser(made).parse_args(arguments)) for made in (arguments, ()))
    assert {**alone, "run": None} == {**whole, "run": None}


def test_the_help_of_serve_is_that_of_the_whole_parser(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for made in (["serve", "--help"], []):
        with pytest.raises(SystemExit):
            command_parser(made).parse_args(["serve", "--help"])
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] != ""
