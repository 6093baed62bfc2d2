"""The cost of comparing each value with its hash when it is read: GET with the check and without it, by turns.

    python -m benchmarks.bench_value_check [--storage postgresql] [--callers 64] [--rounds 9] [--seconds 2] [--bytes 1024]

The whole service without HTTP, so the share of the check is larger than for a client. Both ways are measured in each round.
The first round warms up. A ratio is the rate with the check, divided by that without it in the same round. Processor time is
that of this process, with SQLite's threads.

"Without" replaces the check of the service by a function that does nothing. The vault has no setting for that.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from dataclasses import replace
from unittest import mock

from benchmarks.bench_log import ENTRIES, a_call, a_key, a_wish, drive, place, vault_at
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.service.entries.value_integrity import ValueIntegrity
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_retention_policy

TARGET = 0.97
WAYS = ("with", "without")


def no_check(_integrity: ValueIntegrity, _entry: Entry, _value: bytes) -> None:
    """Accept any value. A function, because a mock costs more than the check."""


async def measured(options: argparse.Namespace, url: str) -> list[dict[str, tuple[float, float]]]:
    """Return the rate and the processor time of both ways, for each round."""
    found: list[dict[str, tuple[float, float]]] = []
    async with vault_at(url) as vault:
        await vault.rules.policies.save_retention_policy(a_call(), a_retention_policy("card"))
        for number in range(ENTRIES):
            wish = replace(a_wish(), value=os.urandom(options.bytes))
            await vault.entries.store(a_call(), EntryKey("card", f"e{number}"), wish)
        for turn in range(options.rounds + 1):
            ways = WAYS if turn % 2 else tuple(reversed(WAYS))
            found.append({way: await one(options, vault, way) for way in ways})
    return found[1:]


async def one(options: argparse.Namespace, vault: Vault, way: str) -> tuple[float, float]:
    """Return operations a second, and microseconds of processor time for each."""

    async def retrieve() -> None:
        await vault.entries.retrieve(a_call(), a_key())

    if way == "with":
        return await drive(retrieve, options.callers, options.seconds)
    with mock.patch.object(ValueIntegrity, "check", no_check):
        return await drive(retrieve, options.callers, options.seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--bytes", type=int, default=1024)
    options = parser.parse_args()
    with place(options.storage) as url:
        rounds = asyncio.run(measured(options, url))
    for way in WAYS:
        rate, cost = (statistics.median(each) for each in zip(*(turn[way] for turn in rounds), strict=True))
        print(f"GET {way:<8} the check {rate:>9,.0f}/s {cost:>7.1f} us of processor time, medians")
    for index, (name, text) in enumerate((("rate", "with / without"), ("processor time", "with / without"))):
        ratios = sorted(turn["with"][index] / turn["without"][index] for turn in rounds)
        print(f"{name}, {text}: {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")
    print(f"target for the rate: at least {TARGET}")


if __name__ == "__main__":
    main()
