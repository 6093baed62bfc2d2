"""Verifies a part of a log against the signed head of the whole log: the leaves of some tiles, and hashes for the rest.

It needs the bundles and tiles of level 0 with the part, every tile above level 0, and the last tile of level 0 if it is
partial. Each full tile gives its hash one level up, so the leaves are bound to the root.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.log_check import Finding
from vsqlvault.proof.tiles import (
    HEIGHT,
    MAX_LEVEL,
    WIDTH,
    node_within,
    reader_of,
    tiles_needed,
    width_of,
)
from vsqlvault.proof.tree import HASH_BYTES, leaf_hash, root_hash
from vsqlvault.quick_dataclass import dataclass

ReadTile = Callable[[TileKey], bytes]
ReadBundle = Callable[[int, int], Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class LogPart:
    """The leaves from ``first`` up to, but not including, ``end``, of a log of ``size`` leaves, in whole tiles of level
    0.
    """

    size: int
    first: int
    end: int

    def bundles(self) -> range:
        """Return the indexes of the tiles of level 0 with the part."""
        return range(self.first // WIDTH, -(-self.end // WIDTH)) if self.first < self.end else range(0)

    def tiles(self) -> Iterator[TileKey]:
        """Yield every tile that is needed."""
        of_part = self.bundles()
        yield from (TileKey(0, index) for index in of_part)
        last = TileKey(0, self.size // WIDTH)
        if self.size % WIDTH and last.index not in of_part:
            yield last
        for level in range(1, MAX_LEVEL + 1):
            for index in range(-(-(self.size >> (HEIGHT * level)) // WIDTH)):
                yield TileKey(level, index)


def check_part(part: LogPart, tile: ReadTile, bundle: ReadBundle) -> Iterator[Finding]:
    """Yield the leaves and tiles that do not match the tiles above, from the leaves up.

    The root is not checked; see ``root_of``.
    """
    for index in part.bundles():
        key = TileKey(0, index)
        width = width_of(key, part.size)
        hashes, leaves = tile(key)[: width * HASH_BYTES], bundle(index, width)
        for place in range(width):
            leaf = leaves[place] if place < len(leaves) else b""
            if leaf_hash(leaf) != hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]:
                what = "the leaf does not match its hash in the tile" if leaf else "the leaf is missing"
                yield Finding(index * WIDTH + place, what)
        yield from _check_above(part, key, hashes, tile)
    for key in part.tiles():
        if key.level:
            width = width_of(key, part.size)
            yield from _check_above(part, key, tile(key)[: width * HASH_BYTES], tile)


def root_of(size: int, tile: ReadTile) -> bytes:
    """Return the root hash of the first ``size`` leaves.

    Raises:
        TileMissing: a required tile is missing or too short.
    """

    def root(node: Callable[[int, int], bytes]) -> bytes:
        return root_hash(size, node)

    return root(reader_of({key: tile(key) for key in tiles_needed(root)}))


def _check_above(part: LogPart, key: TileKey, hashes: bytes, tile: ReadTile) -> Iterator[Finding]:
    """Yield a finding if a full tile does not match its hash in the tile above."""
    width = width_of(key, part.size)
    first = (key.index * WIDTH) << (HEIGHT * key.level)
    if len(hashes) < width * HASH_BYTES:
        yield Finding(first, f"tile {key.index} of level {key.level} is missing, or too short")
        return
    if width < WIDTH:
        return
    above, place = TileKey(key.level + 1, key.index // WIDTH), key.index % WIDTH
    found = tile(above)[place * HASH_BYTES : (place + 1) * HASH_BYTES]
    if node_within(hashes, HEIGHT, 0) != found:
        yield Finding(first, f"tile {key.index} of level {key.level} does not match its hash in the tile above")
