"""Trees, their tiles and their proofs, beside a naive reading of RFC 9162 and published vectors."""

from __future__ import annotations

from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.tiles import (
    BundleInvalid,
    Edge,
    TileMissing,
    format_path,
    keys_of,
    parse_path,
    read_bundle,
    reader_of,
    tiles_needed,
    width_of,
    write_bundle,
)
from vsqlvault.proof.tree import (
    EMPTY_ROOT,
    GrowingTree,
    ProofInvalid,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_hash,
)

# The vectors of the Certificate Transparency reference implementation.
INPUTS = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def some_leaves(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def tiled(leaves: list[bytes], *cuts: int) -> tuple[Edge, dict[TileKey, bytes]]:
    """Grow a tree in steps that end at ``cuts``, and return its edge and all its tiles."""
    edge, tiles = Edge(), {}
    places = sorted({0, len(leaves), *(cut % (len(leaves) + 1) for cut in cuts)})
    for start, end in pairwise(places):
        edge, changed = edge.grown(leaves[start:end])
        tiles |= changed
    return edge, tiles


BIG = some_leaves(66_000)
BIG_EDGE, BIG_TILES = tiled(BIG, 255, 256, 257, 65_535, 65_536, 65_537)


class TestTree:
    def test_published_roots_come_out(self) -> None:
        assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        leaves = [leaf_hash(data) for data in INPUTS]
        for size, root in enumerate(ROOTS, start=1):
            assert tiled(leaves[:size])[0].root().hex() == root

    @given(st.integers(0, 700), st.lists(st.integers(0, 700), max_size=4))
    @settings(max_examples=60, deadline=None)
    def test_the_root_is_that_of_a_naive_tree_however_it_grew(self, size: int, cuts: list[int]) -> None:
        edge, tiles = tiled(BIG[:size], *cuts)
        growing = GrowingTree()
        for leaf in BIG[:size]:
            growing.append(leaf)
        assert edge.root() == naive_root(BIG[:size]) == growing.root() == root_hash(size, reader_of(tiles))

    def test_the_root_of_a_large_tree_is_that_of_a_naive_one(self) -> None:
        assert BIG_EDGE.root() == naive_root(BIG) == root_hash(len(BIG), reader_of(BIG_TILES))

    @given(st.integers(0, len(BIG)))
    @settings(max_examples=40, deadline=None)
    def test_every_smaller_tree_has_its_root_in_the_tiles(self, size: int) -> None:
        growing = GrowingTree()
        for leaf in BIG[:size]:
            growing.append(leaf)
        assert root_hash(size, reader_of(BIG_TILES)) == growing.root()
        assert Edge.of(size, BIG_TILES).root() == growing.root()

    @given(st.integers(1, 600), st.data())
    @settings(max_examples=80, deadline=None)
    def test_inclusion_proofs_are_those_of_the_naive_tree_and_check(self, size: int, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, size - 1))
        leaves = BIG[:size]
        proof = inclusion_proof(index, size, reader_of(BIG_TILES))
        assert proof == naive_path(index, leaves)
        check_inclusion(index, size, leaves[index], proof, naive_root(leaves))

    @given(st.integers(0, 600), st.data())
    @settings(max_examples=80, deadline=None)
    def test_consistency_proofs_check(self, second: int, data: st.DataObject) -> None:
        first = data.draw(st.integers(0, second))
        proof = consistency_proof(first, second, reader_of(BIG_TILES))
        check_consistency(first, second, naive_root(BIG[:first]), naive_root(BIG[:second]), proof)

    def test_all_proofs_of_small_trees_check_and_no_other(self) -> None:
        node = reader_of(BIG_TILES)
        roots = [naive_root(BIG[:size]) for size in range(20)]
        for second in range(20):
            for first in range(second + 1):
                proof = consistency_proof(first, second, node)
                check_consistency(first, second, roots[first], roots[second], proof)
                if 0 < first < second:
                    for wrong in range(20):
                        if wrong != first:
                            with pytest.raises(ProofInvalid):
                                check_consistency(first, second, roots[wrong], roots[second], proof)
                        if wrong != second:
                            with pytest.raises(ProofInvalid):
                                check_consistency(first, second, roots[first], roots[wrong], proof)

    @given(st.integers(1, 300), st.data())
    @settings(max_examples=100, deadline=None)
    def test_a_proof_with_anything_changed_is_refused(self, size: int, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, size - 1))
        root, leaf = root_hash(size, reader_of(BIG_TILES)), BIG[index]
        proof = inclusion_proof(index, size, reader_of(BIG_TILES))
        changed = [
            (index, size, leaf_hash(b"other"), proof, root),
            (index, size, leaf, proof, leaf_hash(b"other")),
            (index, size, leaf, [*proof, leaf], root),
            (size, size, leaf, proof, root),
            (-1, size, leaf, proof, root),
        ]
        if proof:
            place = data.draw(st.integers(0, len(proof) - 1))
            flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
            changed += [
                (index, size, leaf, proof[:-1], root),
                (index, size, leaf, [*proof[:place], flipped, *proof[place + 1 :]], root),
                (index, size, leaf, [*proof[:place], proof[place][:31], *proof[place + 1 :]], root),
                (index ^ 1, size, leaf, proof, root),
            ]
        for arguments in changed:
            with pytest.raises(ProofInvalid):
                check_inclusion(*arguments)

    def test_what_is_beyond_the_tree_has_no_proof(self) -> None:
        with pytest.raises(ValueError, match="below the size 3"):
            inclusion_proof(3, 3, reader_of(BIG_TILES))
        with pytest.raises(ValueError, match="up to 3"):
            consistency_proof(4, 3, reader_of(BIG_TILES))
        with pytest.raises(ProofInvalid, match="up to 3"):
            check_consistency(4, 3, EMPTY_ROOT, EMPTY_ROOT, [])
        with pytest.raises(ProofInvalid, match="no hashes"):
            check_consistency(0, 3, EMPTY_ROOT, EMPTY_ROOT, [EMPTY_ROOT])


class TestTiles:
    def test_the_example_of_the_specification_comes_out(self) -> None:
        keys = list(keys_of(70_000))
        widths = [(key.level, width_of(key, 70_000)) for key in keys]
        assert widths.count((0, 256)) == 273
        assert widths[273] == (0, 112)
        assert widths[274:] == [(1, 256), (1, 17), (2, 1)]
        assert [(key.level, width_of(key, 256)) for key in keys_of(256)] == [(0, 256), (1, 1)]

    def test_every_tile_of_a_tree_is_there_and_is_as_wide_as_it_should_be(self) -> None:
        assert set(BIG_TILES) == set(keys_of(len(BIG)))
        for key, tile in BIG_TILES.items():
            assert len(tile) == width_of(key, len(BIG)) * 32
        assert BIG_TILES[TileKey(0, 3)] == b"".join(BIG[768:1024])
        assert BIG_TILES[TileKey(1, 0)][32:64] == naive_root(BIG[256:512])
        assert BIG_TILES[TileKey(2, 0)] == naive_root(BIG[:65_536])

    def test_growing_leaves_the_edge_as_it_was(self) -> None:
        edge, _ = Edge().grown(BIG[:300])
        root = edge.root()
        edge.grown(BIG[300:700])
        assert (edge.size, edge.root()) == (300, root)

    def test_an_edge_whose_tile_is_gone_or_too_short_is_refused(self) -> None:
        with pytest.raises(TileMissing, match="level 0, tile 257"):
            Edge.of(len(BIG), {key: tile for key, tile in BIG_TILES.items() if key != TileKey(0, 257)})
        with pytest.raises(TileMissing, match="level 1, tile 1"):
            Edge.of(len(BIG), BIG_TILES | {TileKey(1, 1): b""})

    def test_a_reader_says_which_tile_it_lacks(self) -> None:
        short = BIG_TILES | {TileKey(0, 257): BIG_TILES[TileKey(0, 257)][:-32]}
        with pytest.raises(TileMissing, match="level 0, tile 257"):
            root_hash(len(BIG), reader_of(short))

    @given(st.integers(1, len(BIG)), st.data())
    @settings(max_examples=50, deadline=None)
    def test_the_tiles_that_are_said_to_be_needed_are_enough(self, size: int, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, size - 1))
        keys = tiles_needed(lambda node: inclusion_proof(index, size, node))
        proof = inclusion_proof(index, size, reader_of({key: BIG_TILES[key] for key in keys}))
        check_inclusion(index, size, BIG[index], proof, root_hash(size, reader_of(BIG_TILES)))
        assert len(keys) <= 6

    @pytest.mark.parametrize(
        ("index", "width", "path"),
        [
            (0, 256, "000"), (7, 1, "007.p/1"), (999, 256, "999"), (1000, 255, "x001/000.p/255"),
            (1_234_067, 256, "x001/x234/067"), (2**56 - 1, 256, "x072/x057/x594/x037/x927/935"),
        ],
    )  # fmt: skip
    def test_paths_are_written_and_read(self, index: int, width: int, path: str) -> None:
        assert format_path(index, width) == path
        assert parse_path(path) == (index, width)

    @pytest.mark.parametrize(
        "path",
        ["", "0", "00", "0000", "x000/000", "x000/x001/000", "001.p/0", "001.p/256", "001.p/257", "001.p/01", "001.p/",
         "001/002", "x001/x002", "001.p", "\u0660\u0660\u0660", "000\n", "x001/000.p/1000"],
    )  # fmt: skip
    def test_what_is_no_path_is_refused(self, path: str) -> None:
        with pytest.raises(ValueError, match="expected a tile's path"):
            parse_path(path)

    @given(st.lists(st.binary(max_size=80), max_size=10))
    def test_bundles_are_read_as_they_were_written(self, entries: list[bytes]) -> None:
        assert read_bundle(write_bundle(entries)) == entries

    def test_a_bundle_holds_the_longest_entry_and_no_longer_one(self) -> None:
        assert read_bundle(write_bundle([b"x" * 65_535])) == [b"x" * 65_535]
        with pytest.raises(BundleInvalid, match="at most 65535"):
            write_bundle([b"x" * 65_536])

    @pytest.mark.parametrize("data", [b"\x00", b"\x00\x01", b"\x00\x02a", b"\x00\x00\x00"])
    def test_a_bundle_that_breaks_off_is_refused(self, data: bytes) -> None:
        with pytest.raises(BundleInvalid, match="a whole entry"):
            read_bundle(data)


def test_a_node_is_hashed_as_rfc_9162_says() -> None:
    assert node_hash(b"l" * 32, b"r" * 32) == sha256(b"\x01" + b"l" * 32 + b"r" * 32).digest()


A, B = sha256(b"a").digest(), sha256(b"b").digest()


@pytest.mark.parametrize(
    ("first", "second", "first_root", "second_root"),
    [(3, 3, A, B), (2, 4, A, A), (0, 4, A, B), (4, 3, A, A), (-1, 3, A, A), (1, 2**63, A, A)],
)
def test_an_empty_consistency_proof_verifies_no_forged_size(
    first: int, second: int, first_root: bytes, second_root: bytes
) -> None:
    with pytest.raises(ProofInvalid):
        check_consistency(first, second, first_root, second_root, [])


@pytest.mark.parametrize(("index", "size"), [(0, 2), (1, 2), (0, 0), (1, 1), (5, 1), (-1, 1), (0, 2**63)])
def test_an_empty_inclusion_proof_verifies_no_forged_size(index: int, size: int) -> None:
    with pytest.raises(ProofInvalid):
        check_inclusion(index, size, A, [], A)
