"""The options of the commands that call a vault. The client itself is imported when one of them runs."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from vsqlvault.cli.output import add_json
from vsqlvault.cli.words import Parser

COMMANDS = ("put", "get", "head", "ls", "rm", "log", "policy", "hold", "review-access")
USAGE = 2
ENTRY: dict[str, Any] = {"metavar": "PURPOSE/ID", "help": "the entry, such as card/payment-12345"}
_VALUE = (
    "the file of the value, - for standard input; default: standard input, or a hidden prompt on a terminal. A value is never "
    "an argument, which other users of the host can read"
)
_ENTITY_TAGS = re.compile(r'\s*\*\s*|(?:[\s,]*(?:W/)?"[!#-~\x80-\xff]*"\s*(?=,|$))+[\s,]*')
Add = Callable[..., argparse.ArgumentParser]


def _time(text: str) -> str:
    from vsqlvault.cli.periods import time_argument  # noqa: PLC0415 - only a command with a time needs it

    time_argument(text)
    return text


def _tags(text: str) -> str:
    if not _ENTITY_TAGS.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "expected an entity tag in its double quotes, or *; the command head prints it"
        )
    return text


PROFILE_HELP = "for commands that call a vault: a profile of ~/.config/vsqlvault/client.toml"
IF_MATCH: dict[str, Any] = {"type": _tags, "metavar": "ETAG", "help": "change only this version"}


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands and return its exit code."""
    parser = Parser(prog="vsql-vault")
    parser.set_defaults(profile=None)
    add_commands(parser.add_subparsers(title="commands", metavar="COMMAND", required=True))
    return run(parser.parse_args(arguments))


def run(options: argparse.Namespace, *_: object) -> int:
    """Run the command of the options: with exit code 2 where the client is not installed."""
    try:
        running = import_module("vsqlvault.cli.client.running")
    except ModuleNotFoundError as missing:
        if missing.name not in {"httpx", "anyio"}:
            raise
        print("vsql-vault: this command needs httpx: pip install 'vsqlvault[client]'", file=sys.stderr)
        return USAGE
    return int(running.run(options))


def add_commands(commands: Any) -> None:
    """Add the commands to the subcommands of a parser."""

    def add(name: str, handler: str, text: str, to: Any = commands) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = to.add_parser(name, help=text, description=text)
        command.add_argument("--profile", default=argparse.SUPPRESS, metavar="NAME", help=PROFILE_HELP)
        add_json(command)
        command.add_argument("--quiet", action="store_true", help="print only what was asked for, and errors")
        command.set_defaults(run=run, handler=handler)
        return command

    _add_entries(add)
    text = "print the access log or the purge log"
    log = commands.add_parser("log", help=text, description=text)
    _add_logs(add, log.add_subparsers(title="logs", metavar="LOG", required=True))
    text = "read and change access and retention policies"
    policy = commands.add_parser("policy", help=text, description=text)
    kinds = policy.add_subparsers(title="kinds", metavar="KIND", required=True)
    for kind, adding in (("access", _add_access), ("retention", _add_retention)):
        text = f"{kind} policies"
        commands_of_kind = kinds.add_parser(kind, help=text, description=text)
        adding(add, commands_of_kind.add_subparsers(title="commands", metavar="COMMAND", required=True))
    text = "place, read and release legal holds"
    hold = commands.add_parser("hold", help=text, description=text)
    _add_holds(add, hold.add_subparsers(title="commands", metavar="COMMAND", required=True))
    _add_review(add("review-access", "rules.review_access", "record that you have reviewed who may access what"))


def _add_review(review: argparse.ArgumentParser) -> None:
    review.add_argument(
        "purpose", nargs="?", metavar="PURPOSE", help="default: all purposes, and the accounts with a role"
    )
    review.add_argument(
        "--statement",
        required=True,
        metavar="TEXT",
        help="what you found, and what was done about access that is not needed",
    )
    review.add_argument("--interval-days", type=_whole, metavar="N", help="the next review is due after N days")
    review.add_argument("--may-sha256", metavar="HEX", help="fail if the list is no longer the one with this digest")
    review.add_argument("--out", metavar="FILE", help="also write the signed review to this file")


def _add_entries(add: Add) -> None:
    put = add("put", "entries.put", "store a value")
    put.add_argument("entry", **ENTRY)
    put.add_argument("--file", metavar="FILE", help=_VALUE)
    put.add_argument("--key-ref", metavar="TEXT", help="the key that encrypted the value")
    put.add_argument("--algorithm", metavar="TEXT", help="the algorithm that encrypted it")
    put.add_argument("--policy", metavar="NAME", help="the access policy; default: owner-only")
    expiry = put.add_mutually_exclusive_group()
    expiry.add_argument(
        "--expires-at", type=_time, metavar="TIME", help="when it expires, such as 2027-02-16T00:00:00Z"
    )
    expiry.add_argument("--ttl", metavar="TIME", help="how long it is kept, such as 90d or 12h")
    put.add_argument(
        "--metadata",
        action="append",
        default=[],
        metavar="K=V",
        help="a member of the metadata, repeatable; V is JSON or text",
    )
    condition = put.add_mutually_exclusive_group()
    condition.add_argument("--if-match", **IF_MATCH)
    condition.add_argument("--create", action="store_true", help="only create, never replace")
    get = add("get", "entries.get", "retrieve a value: its bytes and nothing else")
    get.add_argument("entry", **ENTRY)
    get.add_argument("--out", metavar="FILE", help="write it to this file, which only its owner can read")
    add(
        "head", "entries.head", "show when an entry expires and its access policy; no retrieval is counted"
    ).add_argument("entry", **ENTRY)
    ls = add("ls", "entries.ls", "list the entries of a purpose, without values")
    ls.add_argument("purpose", metavar="PURPOSE")
    ls.add_argument("--key-ref", metavar="TEXT", help="those under this key")
    ls.add_argument("--owner-app", metavar="APP", help="those of this app")
    ls.add_argument("--policy", metavar="NAME", help="those with this access policy")
    ls.add_argument("--expires-before", type=_time, metavar="TIME", help="those that expire before")
    ls.add_argument("--state", choices=("active", "expired", "purged"), help="default: active")
    ls.add_argument("--limit", type=_whole, metavar="N", help="at most N entries")
    rm = add("rm", "entries.rm", "purge an entry, with proof")
    rm.add_argument("entry", **ENTRY)
    rm.add_argument("--if-match", type=_tags, metavar="ETAG", help="purge only this version")
    rm.add_argument("--receipt", metavar="FILE", help="wait for the receipt and write it to this file")


def _add_logs(add: Add, to: Any) -> None:
    filters = {
        "access": (
            "operation", "outcome", "purpose", "external-id", "app", "identity", "method", "credential-id", "client-address",
            "reason", "policy", "request-id",
        ),
        "purge": ("purpose", "external-id", "app", "method", "reason", "request-id", "owner-app", "key-ref", "purge-id"),
    }  # fmt: skip
    for name, members in filters.items():
        log = add(name, f"logs.{name}", f"print the {name} log, newest first", to)
        log.add_argument("--since", type=_time, metavar="TIME", help="rows from this time on")
        log.add_argument("--until", type=_time, metavar="TIME", help="rows before this time")
        log.add_argument("--oldest-first", action="store_true", help="print the oldest rows first")
        log.add_argument("--limit", type=_whole, metavar="N", help="at most N rows")
        log.add_argument("--follow", action="store_true", help="print rows as they come, until interrupted")
        if name == "access":
            log.add_argument("--status", type=_whole, metavar="CODE", help="rows with this status")
        for member in members:
            log.add_argument(f"--{member}", metavar="TEXT", help=f"rows with this {member.replace('-', '_')}")


def _add_access(add: Add, to: Any) -> None:
    add("get", "rules.access_get", "print an access policy", to).add_argument("name", metavar="NAME")
    put = add("set", "rules.access_set", "create or replace an access policy", to)
    put.add_argument("name", metavar="NAME")
    put.add_argument(
        "--file", required=True, metavar="FILE", help="the policy as a JSON document; - for standard input"
    )
    put.add_argument("--if-match", **IF_MATCH)
    add("ls", "rules.access_ls", "list the access policies", to)
    rm = add("rm", "rules.access_rm", "delete an access policy that no entry names", to)
    rm.add_argument("name", metavar="NAME")
    rm.add_argument("--if-match", **IF_MATCH)
    explain = add("explain", "rules.access_explain", "show what a request would be answered, without making it", to)
    explain.add_argument("operation", choices=("store", "update", "retrieve", "inspect", "purge"))
    explain.add_argument("entry", **ENTRY)
    explain.add_argument("--app", required=True, metavar="APP", help="the app that would make it")
    explain.add_argument("--identity", metavar="TEXT", help="the identity behind the app")
    explain.add_argument(
        "--purpose", action="append", default=[], metavar="NAME", help="a purpose it has, repeatable; '*' for all"
    )
    explain.add_argument(
        "--role", action="append", default=[], choices=("admin", "auditor"), help="a role it has, repeatable"
    )
    explain.add_argument("--policy", metavar="NAME", help="for store: the access policy that the entry would name")


def _add_retention(add: Add, to: Any) -> None:
    add("get", "rules.retention_get", "print the retention policy of a purpose", to).add_argument(
        "purpose", metavar="PURPOSE"
    )
    put = add("set", "rules.retention_set", "create or change the retention policy of a purpose", to)
    put.add_argument("purpose", metavar="PURPOSE")
    put.add_argument(
        "--file", metavar="FILE", help="the whole policy as a JSON document, instead of options; - for standard input"
    )
    put.add_argument(
        "--max-days",
        dest="max_retention_days",
        type=_whole,
        metavar="N",
        help="the maximum number of days that entries are kept",
    )
    put.add_argument(
        "--default-ttl-days",
        type=_whole,
        metavar="N",
        help="how many days entries without an expiry of their own are kept",
    )
    put.add_argument(
        "--method", dest="purge_method", metavar="NAME", help="how entries are purged; default: physical-delete"
    )
    put.add_argument(
        "--inactivity-days", type=_whole, metavar="N", help="entries expire N days after their last retrieval"
    )
    put.add_argument("--max-value-bytes", type=_whole, metavar="N", help="the maximum number of bytes of a value")
    for option, name, text in (
        ("--allowed-access-policy", "allowed_access_policies", "an access policy that entries may name, repeatable"),
        ("--required-metadata", "required_metadata", "a member that metadata must have, repeatable"),
    ):
        put.add_argument(option, dest=name, action="append", metavar="NAME", help=text)
    for name in ("description", "justification", "legal-basis", "data-class"):
        put.add_argument(f"--{name}", metavar="TEXT")
    put.add_argument("--replace", action="store_true", help="set members that are not given to their defaults")
    put.add_argument(
        "--dry-run", action="store_true", help="show what it would do to stored entries, and change nothing"
    )
    put.add_argument("--if-match", **IF_MATCH)
    add("ls", "rules.retention_ls", "list the retention policies", to)


def _add_holds(add: Add, to: Any) -> None:
    put = add("set", "rules.hold_set", "place a legal hold, or replace it", to)
    put.add_argument("name", metavar="NAME")
    put.add_argument("--case", required=True, metavar="TEXT", help="the reference of the case")
    put.add_argument("--reason", required=True, metavar="TEXT", help="why the entries are kept")
    put.add_argument("--purpose", metavar="NAME", help="entries of this purpose")
    put.add_argument("--id", metavar="ID", help="entries with this id")
    put.add_argument("--owner-app", metavar="APP", help="entries of this app")
    put.add_argument(
        "--metadata", action="append", default=[], metavar="K=V", help="entries with this metadata, repeatable"
    )
    condition = put.add_mutually_exclusive_group()
    condition.add_argument("--if-match", **IF_MATCH)
    condition.add_argument("--create", action="store_true", help="only place, never replace")
    add("get", "rules.hold_get", "print a legal hold", to).add_argument("name", metavar="NAME")
    add("ls", "rules.hold_ls", "list the legal holds", to).add_argument(
        "--state", choices=("active", "released"), default="active", help="default: active"
    )
    rm = add("rm", "rules.hold_rm", "release a legal hold", to)
    rm.add_argument("name", metavar="NAME")
    rm.add_argument("--if-match", **IF_MATCH)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"expected a whole number, found {text!a}")
    return int(text)
