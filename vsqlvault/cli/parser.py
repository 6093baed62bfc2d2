"""The vsql-vault command: its options and subcommands. The module of a command is imported when the command is used."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vsqlvault.cli.client.commands import PROFILE_HELP
from vsqlvault.cli.client.commands import add_commands as add_client_commands
from vsqlvault.cli.exit_codes import exit_code
from vsqlvault.cli.table import COMMANDS, LAST_COMMANDS, SERVE, Command
from vsqlvault.cli.words import Parser

if TYPE_CHECKING:
    from vsqlvault.config import Settings

HERE = Path("vsql-vault.toml")
"""The settings where no --config is given."""

ReadSettings = Callable[[argparse.Namespace], "Settings"]
Run = Callable[[argparse.Namespace, ReadSettings], Any]
_HELP = frozenset({"-h", "--help"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 success, 1 failure, 2 unusable settings or plugins."""
    code = exit_code(lambda: _run(sys.argv[1:] if arguments is None else arguments))
    if arguments is not None or "vsqlvault.plugin_loader" not in sys.modules:
        return code
    from vsqlvault.runtime import leave  # noqa: PLC0415 - a command that loads no plugin leaves nothing behind

    return leave(code)


def command_parser(arguments: Sequence[str] = ()) -> Parser:
    """Return the parser; with the commands of plugins, where the arguments ask for one."""
    parser = Parser(
        prog="vsql-vault",
        description="Governed storage for data that was encrypted elsewhere.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file in TOML")
    parser.add_argument("--version", action=_Version, nargs=0, help="show program's version number and exit")
    parser.add_argument(
        "--dev",
        action="store_true",
        help="start a development server: SQLite in this directory, a new API key, loopback only",
    )
    parser.add_argument("--listen", metavar="HOST:PORT", help="with --dev: another loopback address or port")
    parser.add_argument(
        "--key", metavar="KEY", help="with --dev: this API key. Default: VSQL_VAULT_API_KEY, or a new key"
    )
    parser.add_argument("--profile", metavar="NAME", help=PROFILE_HELP)
    parser.set_defaults(run=_runner(SERVE), dev=False, is_server=True)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    if arguments and arguments[0] == SERVE.name:  # the parsers of the other commands take a twentieth of a start
        _add(commands, SERVE.name, SERVE.help, _runner(SERVE), partial(_add_arguments, SERVE))
        return parser
    for command in COMMANDS:
        _add(commands, command.name, command.help, _runner(command), partial(_add_arguments, command))
    add_client_commands(commands)
    for command in LAST_COMMANDS:
        _add(commands, command.name, command.help, _runner(command), partial(_add_arguments, command))
    word, config = first_word(arguments)
    if word not in commands.choices and (word is not None or _HELP & set(arguments)):
        from vsqlvault.cli.plugin_commands import add_plugin_commands  # noqa: PLC0415 - it imports the settings

        add_plugin_commands(partial(_add, commands), list(commands.choices), config, is_asked_for=word is not None)
    return parser


def first_word(arguments: Sequence[str]) -> tuple[str | None, Path | None]:
    """Return the first word that is neither an option nor the value of one, and the file of ``--config``."""
    word: str | None = None
    config: Path | None = None
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if name == "--config":
            config = Path(value if equals else (rest.pop(0) if rest else ""))
        elif name == "--profile" and not equals:
            del rest[:1]
        elif word is None and not argument.startswith("-"):
            word = argument
    return word, config


def add_shell_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument of ``completion``."""
    from vsqlvault.cli.completion import SHELLS  # noqa: PLC0415

    parser.add_argument("shell", choices=SHELLS, help="the shell")


def print_completion(options: argparse.Namespace, _: ReadSettings) -> None:
    """Print the completion script for a shell."""
    from vsqlvault.cli.completion import script  # noqa: PLC0415

    print(script(command_parser(), options.shell), end="")


def print_man_page(_: argparse.Namespace, __: ReadSettings) -> None:
    """Print the man page."""
    from vsqlvault import __version__  # noqa: PLC0415
    from vsqlvault.cli.man import page  # noqa: PLC0415

    print(page(command_parser(), __version__), end="")


def _run(arguments: Sequence[str]) -> Any:
    parser = command_parser(arguments)
    options = parser.parse_args(arguments)
    if options.profile is not None and "handler" not in options:
        parser.error("--profile: expected a command that calls a vault, such as get")
    return options.run(options, _settings)


def _add(
    commands: Any, name: str, text: str, run: Run, add_arguments: Callable[[Parser], None] | None = None
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, add_arguments=add_arguments
    )
    parser.add_argument("--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="settings file in TOML")
    parser.set_defaults(run=run, is_server=name == SERVE.name)
    return parser


def _add_arguments(command: Command, parser: Parser) -> None:
    if command.arguments:
        function_named(command.arguments)(parser)


def _runner(command: Command) -> Run:
    def run(options: argparse.Namespace, read_settings: ReadSettings) -> Any:
        return function_named(command.run)(options, read_settings)

    return run


def function_named(target: str) -> Callable[..., Any]:
    """Return the function ``module:function``, and import its module."""
    module, _, name = target.partition(":")
    found: Callable[..., Any] = getattr(import_module(f"vsqlvault.cli.{module}"), name)
    return found


def _settings(options: argparse.Namespace) -> Settings:
    from vsqlvault.cli.log_format import set_up_logging  # noqa: PLC0415
    from vsqlvault.config import load_settings  # noqa: PLC0415 - commands that call a vault have no settings

    if options.config is None and HERE.is_file():
        options.config = HERE
    settings = load_settings(options.config)
    set_up_logging(settings.logging.format, settings.logging.level, sys.stdout if options.is_server else sys.stderr)
    return settings


class _Version(argparse.Action):
    """Prints the version. It is found when it is asked for, because that reads the installed distributions."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from vsqlvault import __version__  # noqa: PLC0415

        print(f"vsql-vault {__version__}")
        parser.exit()
