"""Subcommands that plugins offer (``vault_commands``)."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from vsqlvault.config import Settings, load_settings
from vsqlvault.errors import PluginClash, PluginUnusable, StartUpRefused, VaultError
from vsqlvault.interfaces.command import VaultCommand
from vsqlvault.plugin_loader import Plugins

ReadSettings = Callable[[argparse.Namespace], Settings]
Add = Callable[[str, str, Callable[[argparse.Namespace, ReadSettings], Any]], argparse.ArgumentParser]
"""Adds a command by name, help and function, and returns its parser."""

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
MAX_EXIT_CODE = 255


def add_plugin_commands(add: Add, known: Collection[str], config: Path | None, *, is_asked_for: bool) -> None:
    """Add the commands of the plugins that the settings load.

    ``is_asked_for``: a word asks for one. Help leaves the plugins' commands out where the settings cannot be used.

    Raises:
        StartUpRefused: settings or plugins cannot be used.
    """
    try:
        offered = Plugins(load_settings(config)).offers("vault_commands")
    except StartUpRefused:
        if is_asked_for:
            raise
        return
    for name, command in offered.items():
        if not _NAME.fullmatch(name):
            raise PluginUnusable(f"command {name!r}: expected lower-case words with hyphens")
        if name in known:
            raise PluginClash(f"command {name!r} is the vault's own: block the plugin that offers it")
        _add(add, name, command)


def _add(add: Add, name: str, command: VaultCommand) -> None:
    def run(options: argparse.Namespace, read_settings: ReadSettings) -> int:
        settings = Plugins(read_settings(options)).settings
        code = _contained(name, lambda: command.run(options, settings))
        if type(code) not in {int, bool} or not 0 <= code <= MAX_EXIT_CODE:
            raise PluginUnusable(
                f"command {name}: expected an exit code from 0 to {MAX_EXIT_CODE}, its plugin returned {_shown(code)}"
            )
        return int(code)

    text = _contained(name, lambda: command.help)
    if type(text) is not str:
        raise PluginUnusable(f"command {name}: expected a text as help, found {type(text).__name__}")
    parser = add(name, text.replace("%", "%%"), run)
    _contained(name, lambda: command.add_arguments(parser))


def _shown(code: object) -> str:
    return "another number" if type(code) is int else type(code).__name__


def _contained(name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (VaultError, KeyboardInterrupt, BrokenPipeError):
        raise
    except BaseException as error:
        raise PluginUnusable(f"command {name}: its plugin failed: {type(error).__name__}") from error
