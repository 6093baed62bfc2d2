"""Samples that nobody can choose and anybody can repeat: the log's root hash determines the sampled purges.

The rule ``vsqlvault-sample-v1``: the population is ordered by purge id. Draw n, counted from 0, is the first 16 bytes,
in hex, of SHA-256 over ``vsqlvault-sample-v1``, a newline, the seed (the root hash, 32 bytes) and n (8 bytes,
big-endian). It selects the purge with that id, or the next one that is not drawn yet; after the last id it continues
with the first. Ids are random, so each purge is equally likely. The root is not known before the purges are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from hashlib import sha256

RULE = "vsqlvault-sample-v1"
_ID_BYTES = 16


def draw(seed: bytes, number: int) -> str:
    """Return the id of a draw, 32 hex digits."""
    return sha256(f"{RULE}\n".encode() + seed + number.to_bytes(8, "big")).digest()[:_ID_BYTES].hex()


def choose(ids: Iterable[str], seed: bytes, size: int) -> list[str]:
    """Return the sample of the population's ids, in the order of the draws."""
    left = sorted(ids)
    chosen: list[str] = []
    while left and len(chosen) < size:
        place = bisect_left(left, draw(seed, len(chosen)))
        chosen.append(left.pop(place if place < len(left) else 0))
    return chosen
