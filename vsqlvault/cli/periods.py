"""The options of commands that count the logs of a period."""

from __future__ import annotations

import argparse
from datetime import datetime

from vsqlvault.errors import InvalidTime
from vsqlvault.model.times import parse_time


def add_period(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add ``--as-of``, ``--since`` and ``--until``; ``verb``: what the command does with the logs."""
    for name, text in (
        ("--as-of", "count entries as of this instant"),
        ("--since", f"{verb} the logs from this time, inclusive"),
        ("--until", f"{verb} the logs up to this time, exclusive"),
    ):
        parser.add_argument(name, type=time_argument, metavar="TIME", help=f"{text}, such as 2027-02-16T00:00:00Z")


def time_argument(text: str) -> datetime:
    """Return the time of an argument. Raises ArgumentTypeError, which becomes an error that names the option."""
    try:
        return parse_time(text)
    except InvalidTime as error:
        raise argparse.ArgumentTypeError(str(error)) from None
