"""Tiles of a tree and bundles of its entries, in the layout of C2SP tlog-tiles (https://c2sp.org/tlog-tiles).

A tile has up to 256 hashes of one level. At level 0 these are leaf hashes. Above, each is the root of a full tile of
the level below. A partial tile is the beginning of the later full tile.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.tree import HASH_BYTES, NodeReader, fold, nodes_above

HEIGHT = 8
WIDTH = 1 << HEIGHT
MAX_LEVEL = 7
"""A tree of 2**64 leaves has no tile above this level."""

MAX_ENTRY_BYTES = 0xFFFF
PATH = re.compile(r"(?:x[0-9]{3}/){0,5}[0-9]{3}(?:\.p/(?:[1-9][0-9]{0,2}))?", re.ASCII)
_LENGTH = struct.Struct(">H")
_TILE_BYTES = WIDTH * HASH_BYTES


class TileMissing(LookupError):
    """A required tile is missing or incomplete."""

    def __init__(self, key: TileKey) -> None:
        self.key = key
        super().__init__(f"level {key.level}, tile {key.index}")


class BundleInvalid(ValueError):
    """A bundle of entries is malformed."""


def format_path(index: int, width: int = WIDTH) -> str:
    """Return the path of a tile within its level: ``x001/x234/067``, or ``x001/x234/067.p/112`` for a partial one."""
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    parts = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    path = "/".join([*(f"x{part}" for part in parts[:-1]), parts[-1]])
    return path if width == WIDTH else f"{path}.p/{width}"


def parse_path(path: str) -> tuple[int, int]:
    """Return index and width of the tile with this path.

    Raises:
        ValueError: it is not the path of a tile.
    """
    if not PATH.fullmatch(path):
        raise ValueError("expected a tile's path, such as x001/067 or 000.p/12")
    name, _, width = path.partition(".p/")
    index, size = int(name.replace("x", "").replace("/", "")), int(width or WIDTH)
    if format_path(index, size) != path or size > WIDTH:
        raise ValueError("expected a tile's path without superfluous zeros, and a width below 256")
    return index, size


def width_of(key: TileKey, size: int) -> int:
    """Return the number of hashes of a tile in a tree of ``size``, or 0 if there is no such tile."""
    hashes = size >> (HEIGHT * key.level)
    return min(max(hashes - key.index * WIDTH, 0), WIDTH)


def keys_of(size: int) -> Iterable[TileKey]:
    """Yield every tile of a tree of ``size``, level by level."""
    for level in range(MAX_LEVEL + 1):
        hashes = size >> (HEIGHT * level)
        for index in range(-(-hashes // WIDTH)):
            yield TileKey(level, index)


def write_bundle(entries: Iterable[bytes]) -> bytes:
    """Return the entries as a bundle, each with its length in two bytes, big-endian, before it.

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
        BundleInvalid: it ends within an entry.
    """
    entries: list[bytes] = []
    place = 0
    while place < len(data):
        begin = place + _LENGTH.size
        end = begin + (_LENGTH.unpack_from(data, place)[0] if begin <= len(data) else 1)
        if end > len(data):
            raise BundleInvalid(f"expected a whole entry at byte {place}, found only its start")
        entries.append(data[begin:end])
        place = end
    return entries


class Edge:
    """The right edge of a tree: its last tile at each level, which is sufficient to grow it and to compute its root."""

    def __init__(self, size: int = 0, tiles: Sequence[bytes] = ()) -> None:
        """Take the partial tiles of a tree of ``size``, level by level, in the order of ``keys_of_edge``; b"" for a
        missing level.
        """
        self.size = size
        self._tiles = tuple(tiles)

    @staticmethod
    def keys(size: int) -> list[TileKey | None]:
        """Return the tiles of the edge of a tree of ``size``, level by level; None for a missing one."""
        levels = range(max(1, -(-size.bit_length() // HEIGHT)))
        keys = [TileKey(level, size >> (HEIGHT * (level + 1))) for level in levels]
        return [key if width_of(key, size) else None for key in keys]

    @classmethod
    def of(cls, size: int, tiles: Mapping[TileKey, bytes]) -> Edge:
        """Return the edge of a tree of ``size``. The stored tiles may be longer.

        Raises:
            TileMissing: a tile is missing, or shorter than required.
        """
        return cls(size, [_part(key, size, tiles) if key else b"" for key in cls.keys(size)])

    def grown(self, leaves: Sequence[bytes]) -> tuple[Edge, dict[TileKey, bytes]]:
        """Return the edge with these leaf hashes added, and every changed tile."""
        changed: dict[TileKey, bytes] = {}
        tiles = list(self._tiles)
        added, level = b"".join(leaves), 0
        while added:
            tile = (tiles[level] if level < len(tiles) else b"") + added
            index, full = self.size >> (HEIGHT * (level + 1)), len(tile) // _TILE_BYTES
            whole = [tile[place * _TILE_BYTES : (place + 1) * _TILE_BYTES] for place in range(full)]
            rest = tile[full * _TILE_BYTES :]
            changed.update((TileKey(level, index + place), each) for place, each in enumerate(whole))
            if rest:
                changed[TileKey(level, index + full)] = rest
            tiles[level : level + 1] = [rest]
            added, level = b"".join([node_within(each, HEIGHT, 0) for each in whole]), level + 1
        return Edge(self.size + len(leaves), tiles), changed

    def tiles(self) -> dict[TileKey, bytes]:
        """Return the partial tiles of the edge."""
        return {
            TileKey(level, self.size >> (HEIGHT * (level + 1))): tile for level, tile in enumerate(self._tiles) if tile
        }

    def root(self) -> bytes:
        """Return the root hash."""
        peaks: list[bytes] = []
        for tile in reversed(self._tiles):
            peaks += _peaks(tile)
        return fold(peaks)


def node_within(tile: bytes, level: int, index: int) -> bytes:
    """Return the hash over group ``index`` of ``2**level`` hashes of a tile."""
    length = HASH_BYTES << level
    hashes = tile[index * length : (index + 1) * length]
    while len(hashes) > HASH_BYTES:
        hashes = nodes_above(hashes)
    return hashes


def reader_of(tiles: Mapping[TileKey, bytes]) -> NodeReader:
    """Return a reader of the nodes in these tiles.

    It raises TileMissing if a tile is missing or too short.
    """

    def node(level: int, index: int) -> bytes:
        key, below, place = _find(level, index)
        tile = tiles.get(key, b"")
        if len(tile) < ((place + 1) << below) * HASH_BYTES:
            raise TileMissing(key)
        return node_within(tile, below, place)

    return node


def tiles_needed(work: Callable[[NodeReader], object]) -> set[TileKey]:
    """Return the tiles that ``work`` reads, by running it on dummy hashes."""
    needed: set[TileKey] = set()

    def node(level: int, index: int) -> bytes:
        needed.add(_find(level, index)[0])
        return b"\x00" * HASH_BYTES

    work(node)
    return needed


def _find(level: int, index: int) -> tuple[TileKey, int, int]:
    """Return the tile of a node, the node's level within it, and its index at that level."""
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
    """Return the roots of the complete subtrees of a partial tile's hashes, largest first."""
    count, start, peaks = len(tile) // HASH_BYTES, 0, []
    while start < count:
        level = (count - start).bit_length() - 1
        peaks.append(node_within(tile, level, start >> level))
        start += 1 << level
    return peaks
