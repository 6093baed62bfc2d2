"""The argument parser of the command: an unknown word suggests the nearest one."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn

_INVALID_CHOICE = re.compile(
    r"(argument (?P<argument>.*): )?invalid choice: '(?P<word>.*)' \(choose from .*\)", re.DOTALL
)


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name the nearest word. Options cannot be abbreviated.

    ``add_arguments`` is called once, before the arguments are needed: for a command that is not used, never.
    """

    def __init__(self, *, add_arguments: Callable[[Parser], None] | None = None, **options: object) -> None:
        super().__init__(**{"allow_abbrev": False, **options})  # type: ignore[arg-type]
        self._add_arguments = add_arguments

    def complete(self) -> None:
        """Add the arguments, if they were not added yet."""
        add_arguments, self._add_arguments = self._add_arguments, None
        if add_arguments is not None:
            add_arguments(self)

    def parse_known_args(self, *arguments: Any, **options: Any) -> Any:
        """Parse as argparse does, and reject an unknown argument where it stands: its command knows the nearest option."""
        self.complete()
        found, unknown = super().parse_known_args(*arguments, **options)
        if unknown:
            self._reject(unknown[0].partition("=")[0])
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Print a sentence and where to read more, and exit with 2."""
        self.exit(2, f"{self.prog}: {self._sentence(message)}\nTry '{self.prog} --help'.\n")

    def _sentence(self, message: str) -> str:
        if match := _INVALID_CHOICE.fullmatch(message):
            known = sorted(commands_of(self)) or self._choices(match["argument"])
            return f"unknown word {match['word']!r}{_suggested(match['word'], known)}"
        return message

    def _reject(self, word: str) -> NoReturn:
        near = _close_matches(word, options_of(self))
        self.error(f"unknown argument {word!r}{f'; did you mean {near[0]}?' if near else ''}")

    def _choices(self, argument: str | None) -> list[str]:
        """Return the choices of an argument, by its name in an error."""
        named = [
            each for each in self._actions if argument == ("/".join(each.option_strings) or each.metavar or each.dest)
        ]
        return [str(choice) for action in named for choice in action.choices or ()]


def actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the arguments of a parser."""
    if isinstance(parser, Parser):
        parser.complete()
    return parser._actions  # noqa: SLF001 - argparse shows its arguments nowhere else


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the subcommands of a parser by their names."""
    found: dict[str, argparse.ArgumentParser] = {}
    for action in actions_of(parser):
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            found |= action.choices
    return found


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """Return the options of a parser."""
    return [option for action in actions_of(parser) for option in action.option_strings]


def _suggested(word: str, known: list[str]) -> str:
    near = _close_matches(word, known)
    if near:
        return f"; did you mean {near[0]}?"
    return f"; expected one of {', '.join(known)}" if known else ""


def _close_matches(word: str, known: list[str]) -> list[str]:
    from difflib import get_close_matches  # noqa: PLC0415 - only an error needs it

    return get_close_matches(word, known, 1, 0.6)
