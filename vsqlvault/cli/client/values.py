"""Reading and writing values: never as an argument, byte for byte."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vsqlvault.cli.client.arguments import WrongArgument
from vsqlvault.cli.output_files import write_file

STANDARD = "-"
MAX_BYTES = 64 * 1024 * 1024


def read_value(file: str | None) -> bytes:
    """Return the bytes of a file, of standard input (``-``, or where it is no terminal), or of a hidden prompt."""
    if file is not None and file != STANDARD:
        return Path(file).read_bytes()
    if file is None and sys.stdin.isatty():
        return getpass.getpass("Value (not shown): ").encode("utf-8")
    value = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(value) > MAX_BYTES:
        raise WrongArgument(f"the value: expected at most {MAX_BYTES} bytes")
    return value


def read_document(file: str) -> dict[str, Any]:
    """Return the JSON object in a file or in standard input (``-``). Raises WrongArgument."""
    text = sys.stdin.buffer.read(MAX_BYTES) if file == STANDARD else Path(file).read_bytes()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise WrongArgument("--file: expected a JSON object")
    return document


def write_value(value: bytes, file: str | None) -> None:
    """Write bytes and nothing else to standard output, or to the file of ``--out``, which only its owner can read.

    Raises:
        FileRefused: the file cannot be written; the bytes are printed instead.
    """
    if file is None or file == STANDARD:
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
        return
    write_file("--out", file, value)


def metadata_of(pairs: Sequence[str]) -> dict[str, Any] | None:
    """Return ``k=v`` pairs as metadata. A value that is JSON is taken as that, any other as text. Raises WrongArgument."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise WrongArgument("--metadata: expected NAME=VALUE")
        try:
            found[name] = json.loads(text)
        except (ValueError, RecursionError):
            found[name] = text
    return found or None


def place_of(text: str) -> tuple[str, str]:
    """Return purpose and id of ``PURPOSE/ID``. Raises WrongArgument."""
    purpose, separator, external_id = text.partition("/")
    if not separator or not purpose or not external_id:
        raise WrongArgument(f"expected PURPOSE/ID, such as card/payment-12345, found {text!a}")
    return purpose, external_id
