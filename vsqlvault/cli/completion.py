"""Shell completion, made from the parser: a static script, so that a key press starts no Python."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from vsqlvault.cli.words import actions_of, commands_of
from vsqlvault.quick_dataclass import dataclass

SHELLS = ("bash", "zsh", "fish")


@dataclass(frozen=True)
class Node:
    """One command: the words that lead to it, and what may follow."""

    words: tuple[str, ...]
    commands: tuple[str, ...]
    options: tuple[tuple[str, str, bool], ...]
    """Each option with its help, and whether a file name follows."""

    @property
    def candidates(self) -> str:
        """The words that may follow."""
        return " ".join((*self.commands, *(option for option, _, _ in self.options)))


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script for a shell."""
    nodes = list(nodes_of(parser, ()))
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](parser.prog, nodes)


def nodes_of(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[Node]:
    """Return every command below a parser."""
    commands = commands_of(parser)
    options = tuple(
        (option, (action.help or "").split(";")[0], action.metavar == "FILE")
        for action in actions_of(parser)
        for option in action.option_strings
        if option.startswith("--")
    )
    yield Node(words, tuple(commands), options)
    for name, command in commands.items():
        yield from nodes_of(command, (*words, name))


def _cases(nodes: list[Node]) -> str:
    return "\n".join(f'    "{" ".join(node.words)}") words="{node.candidates}" ;;' for node in nodes)


def _names(nodes: list[Node]) -> str:
    """Return the paths of commands as a pattern of case."""
    return "|".join(f'"{" ".join(node.words)}"' for node in nodes if node.words)


def _files(nodes: list[Node]) -> str:
    """Return the options after which a file name follows, each with its command, as a pattern of case."""
    return "|".join(
        f'"{" ".join(node.words)} {option}"' for node in nodes for option, _, is_file in node.options if is_file
    )


def _bash(prog: str, nodes: list[Node]) -> str:
    return f"""# bash completion of {prog}: source it, or put it into /etc/bash_completion.d
_vsql_vault() {{
  local word at="" words="" current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "${{at:+$at }}$word" in
      {_names(nodes)}) at="${{at:+$at }}$word" ;;
    esac
  done
  case "$at $previous" in
    {_files(nodes)}) COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  case "$at" in
{_cases(nodes)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o filenames -F _vsql_vault {prog}
"""


def _zsh(prog: str, nodes: list[Node]) -> str:
    return f"""#compdef {prog}
# zsh completion of {prog}: put it into a directory of $fpath as _{prog}
_vsql_vault() {{
  local word at="" candidates=""
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "${{at:+$at }}$word" in
      {_names(nodes)}) at="${{at:+$at }}$word" ;;
    esac
  done
  case "$at ${{words[CURRENT-1]}}" in
    {_files(nodes)}) _files; return ;;
  esac
  case "$at" in
{_cases(nodes).replace("words=", "candidates=")}
  esac
  compadd -- ${{=candidates}}
}}
compdef _vsql_vault {prog}
"""


def _fish(prog: str, nodes: list[Node]) -> str:
    lines = [
        f"# fish completion of {prog}: put it into ~/.config/fish/completions/{prog}.fish",
        f"complete -c {prog} -f",
    ]
    for node in nodes:
        condition = _fish_condition(node)
        lines += [f"complete -c {prog} -n '{condition}' -a {name}" for name in node.commands]
        for option, text, is_file in node.options:
            file = " -r -F" if is_file else ""
            lines.append(f"complete -c {prog} -n '{condition}' -l {option[2:]}{file} -d {_quoted(text)}")
    return "\n".join(lines) + "\n"


def _fish_condition(node: Node) -> str:
    """Return the test for this command and for none below it."""
    seen = [f"__fish_seen_subcommand_from {word}" for word in node.words]
    if node.commands:
        seen.append(f"not __fish_seen_subcommand_from {' '.join(node.commands)}")
    return "; and ".join(seen) if seen else "true"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
