"""The man page, made from the parser, in the macros of man(7)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from vsqlvault.cli.words import actions_of, commands_of

EXIT_CODES = {
    "0": "done",
    "1": "failed, or something was found wanting",
    "2": "settings or usage",
    "3": "denied: 401, 403, 423",
    "4": "not there: 404, 410",
    "5": "unavailable: 429, 503, or no connection",
    "130": "interrupted",
}
VARIABLES = {
    "VSQL_VAULT_ADDR": "the address of the vault; default: http://localhost:8443",
    "VSQL_VAULT_KEY": "an API key",
    "VSQL_VAULT_TOKEN": "a token",
    "VSQL_VAULT_CACERT": "a PEM file of the authorities that may sign the vault's certificate",
    "VSQL_VAULT_CLIENT_CERT": "a PEM file with the certificate of this client",
    "VSQL_VAULT_CLIENT_KEY": "a PEM file with the key of that certificate",
    "VSQL_VAULT_PROFILE": "the profile to use",
    "VSQL_VAULT_<SECTION>__<KEY>": "a setting of the server",
    "NO_COLOR": "if it is set, no colour is printed",
}


def page(parser: argparse.ArgumentParser, version: str) -> str:
    """Return the page of the command and all its subcommands."""
    lines = [
        f'.TH {parser.prog.upper()} 1 "" "vsqlvault {version}"',
        ".SH NAME",
        f"{_text(parser.prog)} \\- {_text((parser.description or '').rstrip('.'))}",
        ".SH SYNOPSIS",
        f".B {_text(parser.prog)}",
        "[OPTIONS] COMMAND [ARGUMENTS]",
        ".SH OPTIONS",
        *_arguments(parser),
        ".SH COMMANDS",
        *_commands(parser),
        ".SH EXIT STATUS",
        *_definitions(EXIT_CODES),
        ".SH ENVIRONMENT",
        *_definitions(VARIABLES),
        ".SH FILES",
        *_definitions({"~/.config/vsqlvault/client.toml": "profiles: addresses and credentials of vaults"}),
    ]
    return "\n".join(lines) + "\n"


def _commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    for command in commands_of(parser).values():
        if commands_of(command):
            yield from _commands(command)
            continue
        yield f".SS {_text(_usage(command))}"
        yield _text(_sentence(command.description or ""))
        yield from _arguments(command)


def _usage(command: argparse.ArgumentParser) -> str:
    names = [str(action.metavar or action.dest.upper()) for action in actions_of(command) if not action.option_strings]
    return " ".join((command.prog, *names))


def _arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in actions_of(parser):
        if not action.option_strings or action.help == argparse.SUPPRESS:
            continue
        value = "" if action.nargs == 0 else f" {action.metavar or '|'.join(map(str, action.choices or ()))}"
        yield ".TP"
        yield f".B {_text(', '.join(action.option_strings) + value)}"
        yield _text(action.help or "")


def _definitions(members: dict[str, str]) -> Iterator[str]:
    for name, text in members.items():
        yield ".TP"
        yield f".B {_text(name)}"
        yield _text(text)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""


def _text(text: str) -> str:
    """Return text that roff takes as it is: no line of it begins with a control character."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
