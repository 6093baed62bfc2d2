"""A part of a log is bound to the root of the whole: whatever is changed in it, or above it, is found."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.log_part import LogPart, check_part, root_of
from vsqlvault.proof.tiles import WIDTH, Edge, TileMissing, width_of
from vsqlvault.proof.tree import HASH_BYTES, GrowingTree, leaf_hash

SIZES = [1, 255, 256, 257, 511, 512, 1000, 2 * 256 * 3 + 5]


class Log:
    """A log in memory: its leaves, and its tiles as they are after the last leaf."""

    def __init__(self, size: int) -> None:
        self.leaves = [b"leaf %d" % number for number in range(size)]
        edge, self.tiles = Edge().grown([leaf_hash(leaf) for leaf in self.leaves])
        self.tiles.update(edge.tiles())

    def root(self, size: int) -> bytes:
        tree = GrowingTree()
        for leaf in self.leaves[:size]:
            tree.append(leaf_hash(leaf))
        return tree.root()

    def given(self, part: LogPart) -> tuple[dict[TileKey, bytes], dict[int, list[bytes]]]:
        """Return what somebody is handed of a part: tiles, and bundles by index."""
        tiles = {key: self.tiles[key][: width_of(key, part.size) * HASH_BYTES] for key in part.tiles()}
        return tiles, {index: self.leaves[index * WIDTH : (index + 1) * WIDTH] for index in part.bundles()}


def findings(part: LogPart, tiles: dict[TileKey, bytes], bundles: dict[int, list[bytes]]) -> list[int]:
    found = check_part(part, lambda key: tiles.get(key, b""), lambda index, _: bundles.get(index, []))
    return [finding.index for finding in found]


def parts(size: int) -> list[LogPart]:
    chance = random.Random(size)
    bounds = [sorted(chance.choices(range(size + 1), k=2)) for _ in range(8)]
    return [LogPart(size, 0, size), LogPart(size, size, size), *(LogPart(size, *pair) for pair in bounds)]


@pytest.mark.parametrize("size", SIZES)
def test_a_part_that_is_as_it_was_is_bound_to_the_root(size: int) -> None:
    log = Log(size)
    for part in parts(size):
        tiles, bundles = log.given(part)
        assert findings(part, tiles, bundles) == []
        assert root_of(size, lambda key, tiles=tiles: tiles.get(key, b"")) == log.root(size)


@pytest.mark.parametrize("size", SIZES)
def test_earlier_sizes_in_the_part_have_their_roots(size: int) -> None:
    log = Log(size)
    part = LogPart(size, size // 3, size)
    tiles, _ = log.given(part)
    for earlier in range(part.bundles().start * WIDTH + 1, size, 37):
        assert root_of(earlier, lambda key: tiles.get(key, b"")) == log.root(earlier)


def test_a_size_whose_leaves_are_not_there_cannot_be_compared() -> None:
    tiles, _ = Log(1000).given(LogPart(1000, 600, 1000))
    with pytest.raises(TileMissing):
        root_of(100, lambda key: tiles.get(key, b""))


CHANGES: dict[str, Callable[[list[bytes]], None]] = {
    "changed": lambda leaves: leaves.__setitem__(5, b"another"),
    "emptied": lambda leaves: leaves.__setitem__(5, b""),
    "dropped": lambda leaves: leaves.__delitem__(5),
    "swapped": lambda leaves: leaves.insert(5, leaves.pop(6)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_leaf_that_is_not_as_it_was_is_named(change: str) -> None:
    part = LogPart(1000, 300, 700)
    tiles, bundles = Log(1000).given(part)
    CHANGES[change](bundles[1])
    assert findings(part, tiles, bundles)[0] == 256 + 5


def test_a_leaf_that_was_changed_together_with_its_tile_is_found_one_level_up() -> None:
    part = LogPart(1000, 300, 700)
    tiles, bundles = Log(1000).given(part)
    bundles[1][5] = b"another"
    key = TileKey(0, 1)
    tiles[key] = tiles[key][: 5 * HASH_BYTES] + leaf_hash(b"another") + tiles[key][6 * HASH_BYTES :]
    assert findings(part, tiles, bundles) == [256]


@pytest.mark.parametrize("size", [700, 256 * 256 + 700])
def test_whatever_hash_is_changed_is_found_there_or_in_the_root(size: int) -> None:
    log = Log(size)
    part = LogPart(size, 300, 600)
    root = log.root(size)
    given, bundles = log.given(part)
    for key in given:
        for place in {0, width_of(key, size) // 2, width_of(key, size) - 1}:
            tiles = dict(given)
            begin = place * HASH_BYTES
            tiles[key] = tiles[key][:begin] + bytes(HASH_BYTES) + tiles[key][begin + HASH_BYTES :]
            is_found = bool(findings(part, tiles, bundles))
            assert is_found or root_of(size, lambda each, tiles=tiles: tiles.get(each, b"")) != root, key


@pytest.mark.parametrize("key", [TileKey(0, 1), TileKey(0, 2), TileKey(1, 0)])
def test_a_tile_that_is_missing_is_found(key: TileKey) -> None:
    part = LogPart(1000, 300, 700)
    tiles, bundles = Log(1000).given(part)
    for short in (b"", tiles[key][:-1]):
        assert findings(part, {**tiles, key: short}, bundles) != []


def test_a_finding_says_whether_the_leaf_is_changed_or_missing() -> None:
    part = LogPart(1000, 300, 700)
    for change, what in (
        (b"another", "the leaf does not match its hash in the tile"),
        (b"", "the leaf is missing"),
    ):
        tiles, bundles = Log(1000).given(part)
        bundles[1][5] = change
        found = list(
            check_part(part, lambda key, tiles=tiles: tiles[key], lambda index, _, given=bundles: given[index])
        )
        assert [(each.index, each.what) for each in found] == [(261, what)]


def test_a_leaf_is_missing_whatever_is_its_number_in_a_bundle_that_ends_early() -> None:
    part = LogPart(1000, 300, 700)
    tiles, bundles = Log(1000).given(part)
    del bundles[1][250:]
    found = list(check_part(part, tiles.__getitem__, lambda index, _: bundles[index]))
    assert [each.index for each in found] == list(range(256 + 250, 512))
    assert {each.what for each in found} == {"the leaf is missing"}


def test_a_tile_that_is_too_short_is_found_at_the_first_leaf_below_it() -> None:
    size = 256 * 256 + 700
    part = LogPart(size, size - 10, size)
    tiles, bundles = Log(size).given(part)
    key = TileKey(1, 1)
    short = {**tiles, key: tiles[key][:-1]}
    found = list(check_part(part, lambda each: short.get(each, b""), lambda index, _: bundles[index]))
    assert (256 * 256, "tile 1 of level 1 is missing, or too short") in [(each.index, each.what) for each in found]


def test_a_part_without_leaves_needs_no_bundle() -> None:
    assert list(LogPart(1000, 300, 300).bundles()) == []
    assert list(LogPart(1000, 0, 0).bundles()) == []
