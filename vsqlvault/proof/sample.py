"""Samples that nobody chooses and everybody can repeat: which purges are looked at follows from the root hash of the log.

The rule ``vsqlvault-sample-v1``: the purges that may be drawn stand in the order of their ids. The n-th draw, counted from 0,
falls on the first 16 bytes of SHA-256 over ``vsqlvault-sample-v1``, a newline, the seed (the root hash, 32 bytes) and n (8
bytes, the greater first), in hex: the purge with that id or the next one that is not drawn yet, from the beginning where the
end is reached. Ids are random, so each purge is as likely as any other; the root is not known before the purges are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from hashlib import sha256

RULE = "vsqlvault-sample-v1"
_ID_BYTES = 16


def draw(seed: bytes, number: int) -> str:
    """Return the id that a draw falls on, 32 hex digits."""
    return sha256(f"{RULE}\n".encode() + seed + number.to_bytes(8, "big")).digest()[:_ID_BYTES].hex()


def choose(ids: Iterable[str], seed: bytes, size: int) -> list[str]:
    """Return the sample of all ids that may be drawn, in the order of the draws."""
    left = sorted(ids)
    chosen: list[str] = []
    while left and len(chosen) < size:
        place = bisect_left(left, draw(seed, len(chosen)))
        chosen.append(left.pop(place if place < len(left) else 0))
    return chosen
