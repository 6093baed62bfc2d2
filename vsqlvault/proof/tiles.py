"""Tiles of a tree and bundles of its entries, as C2SP tlog-tiles lays them out (https://c2sp.org/tlog-tiles).

A tile has up to 256 hashes of one level; at level 0 they are leaf hashes, above that each is the root of a full tile of the
level below. A partial tile is the beginning of what will be the full one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.tree import HASH_BYTES, NodeReader, fold, node_hash

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_LEVEL = 7
"""A tree of 2**64 leaves has no tile above this level."""

MAX_ENTRY_BYTES = 0xFFFF
PATH = re.compile(r"(?:x[0-9]{3}/){0,5}[0-9]{3}(?:\.p/(?:[1-9][0-9]{0,2}))?", re.ASCII)
_LENGTH = struct.Struct(">H")


class TileMissing(LookupError):
    """A tile that the tree needs is not there, or not whole."""

    def __init__(self, key: TileKey) -> None:
        self.key = key
        super().__init__(f"level {key.level}, tile {key.index}")


class BundleInvalid(ValueError):
    """A bundle of entries does not hold what it should."""


def format_path(index: int, width: int = WIDTH) -> str:
    """Return how a tile is called within its level: ``x001/x234/067``, and for a partial one ``x001/x234/067.p/112``."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return path if width == WIDTH else f"{path}.p/{width}"


def parse_path(path: str) -> tuple[int, int]:
    """Return index and width of the tile that is called so.

    Raises:
        ValueError: no tile is called so.
    """
    if not PATH.fullmatch(path):
        raise ValueError("expected a tile's path, such as x001/067 or 000.p/12")
    name, _, width = path.partition(".p/")
    index, size = int(name.replace("x", "").replace("/", "")), int(width or WIDTH)
    if format_path(index, size) != path or size > WIDTH:
        raise ValueError("expected a tile's path without superfluous zeros, and a width below 256")
    return index, size


def width_of(key: TileKey, size: int) -> int:
    """Return how many hashes a tile has in a tree of ``size``; 0: there is no such tile."""
    hashes = size >> (HEIGHT * key.level)
    return min(max(hashes - key.index * WIDTH, 0), WIDTH)


def keys_of(size: int) -> Iterable[TileKey]:
    """Give every tile of a tree of ``size``, level by level."""
    for level in range(MAX_LEVEL + 1):
        hashes = size >> (HEIGHT * level)
        for index in range(-(-hashes // WIDTH)):
            yield TileKey(level, index)


def write_bundle(entries: Iterable[bytes]) -> bytes:
    """Return entries one after the other, each behind its length in two bytes, the greater first.

    Raises:
        BundleInvalid: an entry is too long.
    """
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise BundleInvalid(f"expected entries of at most {MAX_ENTRY_BYTES} bytes, found one of {len(entry)}")
        parts += (_LENGTH.pack(len(entry)), entry)
    return b"".join(parts)


def read_bundle(data: bytes) -> list[bytes]:
    """Return the entries of a bundle.

    Raises:
        BundleInvalid: it ends in the middle of an entry.
    """
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        begin = place + _LENGTH.size
        end = begin + (_LENGTH.unpack_from(data, place)[0] if begin <= len(data) else 1)
        if end > len(data):
            raise BundleInvalid(f"expected a whole entry at byte {place}, found its beginning")
        entries.append(data[begin:end])
        place = end
    return entries


class Edge:
    """The right edge of a tree: its last tile at each level, which is all that is needed to grow it and to know its root."""

    def __init__(self, size: int = 0, tiles: Sequence[bytes] = ()) -> None:
        """Take the partial tiles of a tree of ``size``, level by level, as ``keys_of_edge`` names them; b"" where none is."""
        self.size = size
        self._tiles = [bytearray(tile) for tile in tiles] or [bytearray()]

    @staticmethod
    def keys(size: int) -> list[TileKey | None]:
        """Return which tiles the edge of a tree of ``size`` consists of, level by level; None where there is none."""
        levels = range(max(1, -(-size.bit_length() // HEIGHT)))
        keys = [TileKey(level, size >> (HEIGHT * (level + 1))) for level in levels]
        return [key if width_of(key, size) else None for key in keys]

    @classmethod
    def of(cls, size: int, tiles: Mapping[TileKey, bytes]) -> Edge:
        """Return the edge of a tree of ``size``, whose tiles may meanwhile be longer.

        Raises:
            TileMissing: one is not there, or shorter than it must be.
        """
        return cls(size, [_part(key, size, tiles) if key else b"" for key in cls.keys(size)])

    def grown(self, leaves: Sequence[bytes]) -> tuple[Edge, dict[TileKey, bytes]]:
        """Return the edge with these leaf hashes added, and every tile that this changes, as it then is."""
        grown = Edge(self.size, [bytes(tile) for tile in self._tiles])
        changed: dict[TileKey, bytes] = {}
        for leaf in leaves:
            grown._add(0, leaf, changed)
            grown.size += 1
        for level, tile in enumerate(grown._tiles):
            if tile and (grown.size >> (HEIGHT * level)) != (self.size >> (HEIGHT * level)):
                changed[TileKey(level, grown.size >> (HEIGHT * (level + 1)))] = bytes(tile)
        return grown, changed

    def tiles(self) -> dict[TileKey, bytes]:
        """Return the tiles that the edge consists of: the partial ones."""
        return {
            TileKey(level, self.size >> (HEIGHT * (level + 1))): bytes(tile)
            for level, tile in enumerate(self._tiles)
            if tile
        }

    def root(self) -> bytes:
        """Return the root hash."""
        peaks: list[bytes] = []
        for tile in reversed(self._tiles):
            peaks += _peaks(bytes(tile))
        return fold(peaks)

    def _add(self, level: int, found: bytes, full: dict[TileKey, bytes]) -> None:
        if level == len(self._tiles):
            self._tiles.append(bytearray())
        tile = self._tiles[level]
        tile += found
        if len(tile) == WIDTH * HASH_BYTES:
            whole = bytes(tile)
            full[TileKey(level, self.size >> (HEIGHT * (level + 1)))] = whole
            tile.clear()
            self._add(level + 1, node_within(whole, HEIGHT, 0), full)


def node_within(tile: bytes, level: int, index: int) -> bytes:
    """Return the hash over ``2**level`` hashes of a tile, of which it is the ``index``-th such group."""
    begin, count = index << level, 1 << level
    hashes = [tile[place * HASH_BYTES : (place + 1) * HASH_BYTES] for place in range(begin, begin + count)]
    while len(hashes) > 1:
        hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def reader_of(tiles: Mapping[TileKey, bytes]) -> NodeReader:
    """Return a reader of the nodes that these tiles hold.

    It raises TileMissing: a tile is not there, or too short.
    """

    def node(level: int, index: int) -> bytes:
        key, below, place = _find(level, index)
        tile = tiles.get(key, b"")
        if len(tile) < ((place + 1) << below) * HASH_BYTES:
            raise TileMissing(key)
        return node_within(tile, below, place)

    return node


def tiles_needed(work: Callable[[NodeReader], object]) -> set[TileKey]:
    """Return which tiles ``work`` asks for, by letting it work on hashes that mean nothing."""
    needed: set[TileKey] = set()

    def node(level: int, index: int) -> bytes:
        needed.add(_find(level, index)[0])
        return b"\x00" * HASH_BYTES

    work(node)
    return needed


def _find(level: int, index: int) -> tuple[TileKey, int, int]:
    """Return the tile that holds a node, the node's level within it, and its index within that."""
    tile_level, below = divmod(level, HEIGHT)
    tile_index = index >> (HEIGHT - below)
    return TileKey(tile_level, tile_index), below, index - (tile_index << (HEIGHT - below))


def _part(key: TileKey, size: int, tiles: Mapping[TileKey, bytes]) -> bytes:
    length = width_of(key, size) * HASH_BYTES
    tile = tiles.get(key, b"")
    if len(tile) < length:
        raise TileMissing(key)
    return tile[:length]


def _peaks(tile: bytes) -> list[bytes]:
    """Return the roots of the complete subtrees that a partial tile's hashes make, the largest first."""
    count, start, peaks = len(tile) // HASH_BYTES, 0, []
    while start < count:
        level = (count - start).bit_length() - 1
        peaks.append(node_within(tile, level, start >> level))
        start += 1 << level
    return peaks
