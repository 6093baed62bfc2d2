"""Whether response times distinguish one wrong API key from another: medians of many attempts by turns, and their differences.

A statistic, not a test, because it contains the machine's noise. For comparison, one kind is measured twice.
``python -m benchmarks.bench_refusals``, with ``--tries``.
"""

import argparse
import hashlib
import random
import statistics
import sys
import time

from vsqlvault.config import AuthSettings
from vsqlvault.errors import CredentialRefused
from vsqlvault.http.authentication import authenticate
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault_plugins.auth.api_key import ApiKeyAuthenticator

KEY = "vsk_a-key-for-benchmarks-of-the-usual-length-0123456"
AT_ONCE = 10
NOTICEABLE_PERCENT = 2.0


def other(character):
    """Return another character."""
    return "x" if character != "x" else "y"


KINDS = {
    "unknown": "vsk_" + "q" * (len(KEY) - 4),
    "unknown, once more": "vsk_" + "r" * (len(KEY) - 4),
    "last character wrong": KEY[:-1] + other(KEY[-1]),
    "first character wrong": other(KEY[0]) + KEY[1:],
    "same prefix, rest wrong": KEY[:12] + "z" * (len(KEY) - 12),
    "one character short": KEY[:-1],
}


def refuse(authenticators, presented):
    """Ask as every request asks; the key is refused."""
    asked = authenticate(authenticators, presented)
    try:
        asked.send(None)
    except CredentialRefused:
        return
    raise AssertionError("it was not refused")


def medians(tries):
    """Return the median microseconds of a refusal, by kind; the kinds take turns in an order that is drawn each time."""
    keys = [
        {"app": f"app-{place}", "key_sha256": hashlib.sha256(f"{KEY}{place or ''}".encode()).hexdigest()}
        for place in range(100)
    ]
    settings = AuthSettings.model_validate({"api_key_env": None, "api_keys": keys})
    authenticators = [ApiKeyAuthenticator(settings, {})]
    presented = {name: Presented({"accept": "*/*", "x-vault-key": key}) for name, key in KINDS.items()}
    taken = {name: [] for name in KINDS}
    order = list(KINDS)
    for _ in range(tries):
        random.shuffle(order)
        for name in order:
            started = time.perf_counter_ns()
            for _ in range(AT_ONCE):
                refuse(authenticators, presented[name])
            taken[name].append((time.perf_counter_ns() - started) / AT_ONCE / 1000)
    return {name: statistics.median(found) for name, found in taken.items()}


def main():
    """Print the medians, and the difference of each from that of an unknown key."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=10_000)
    found = medians(parser.parse_args().tries)
    usual = found["unknown"]
    for name, median in found.items():
        percent = (median / usual - 1) * 100
        told = "" if abs(percent) < NOTICEABLE_PERCENT else "   noticeable"
        print(f"{name:<26} {median:>8.3f} µs {percent:>+7.2f} %{told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
