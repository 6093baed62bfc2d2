"""Merkle trees of RFC 9162, section 2.1 (the same as in RFC 6962): hashes, proofs and their verification.

A hash is SHA-256, 32 bytes. Leaves are counted from 0. A tree of ``size`` contains the leaves below that index.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()

NodeReader = Callable[[int, int], bytes]
"""Returns the hash over the leaves ``[index << level, (index + 1) << level)``, all of which exist."""


class ProofInvalid(ValueError):
    """A proof does not verify."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def nodes_above(hashes: bytes) -> bytes:
    """Return the hash of each pair of adjacent hashes. Both are without separators: two hashes are the input of one node."""
    pair = 2 * HASH_BYTES
    return b"".join([sha256(b"\x01" + hashes[begin : begin + pair]).digest() for begin in range(0, len(hashes), pair)])


class GrowingTree:
    """A tree that keeps only the roots of its complete subtrees: at most one per level."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        remaining = self.size
        while remaining & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            remaining >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def copy(self) -> GrowingTree:
        """Return a copy that grows independently."""
        copied = GrowingTree()
        copied.size, copied._peaks = self.size, list(self._peaks)
        return copied

    def root(self) -> bytes:
        """Return the current root hash."""
        return fold(self._peaks)


def fold(peaks: Sequence[bytes]) -> bytes:
    """Return the hash over adjacent complete subtrees, each smaller than the one before it."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def root_hash(size: int, node: NodeReader) -> bytes:
    """Return the root hash of the first ``size`` leaves."""
    return _hash_of(0, size, node)


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """Return the path from leaf ``index`` to the root of the first ``size`` leaves, the leaf's sibling first.

    Raises:
        ValueError: there is no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"expected an index below the size {size}, found {index}")
    start, end = 0, size
    path: list[bytes] = []
    while end - start > 1:
        split = _split(start, end)
        if index < split:
            path.append(_hash_of(split, end, node))
            end = split
        else:
            path.append(_hash_of(start, split, node))
            start = split
    return path[::-1]


def consistency_proof(first: int, second: int, node: NodeReader) -> list[bytes]:
    """Return the consistency proof between the trees of ``first`` and of ``second`` leaves.

    Raises:
        ValueError: the first size is larger than the second.
    """
    if not 0 <= first <= second:
        raise ValueError(f"expected a size up to {second}, found {first}")
    if first in {0, second}:
        return []
    start, end = 0, second
    proof: list[bytes] = []
    while end != first:
        split = _split(start, end)
        if first <= split:
            proof.append(_hash_of(split, end, node))
            end = split
        else:
            proof.append(_hash_of(start, split, node))
            start = split
    if start:
        proof.append(_hash_of(start, end, node))
    return proof[::-1]


def check_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Verify that the leaf with the hash ``leaf`` is at ``index`` under ``root`` (RFC 9162, section 2.1.3.2).

    Raises:
        ProofInvalid: the proof does not verify.
    """
    if not 0 <= index < size:
        raise ProofInvalid(f"expected an index below the size {size}, found {index}")
    _check_hashes(proof)
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid(f"expected fewer hashes than {len(proof)}")
        if place & 1 or place == last:
            found = node_hash(sibling, found)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofInvalid(f"expected more hashes than {len(proof)}")
    _check_root(found, root)


def check_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> None:
    """Verify that the tree of ``first`` leaves is a prefix of the tree of ``second`` (RFC 9162, section 2.1.4.2).

    Raises:
        ProofInvalid: the proof does not verify.
    """
    if not 0 <= first <= second:
        raise ProofInvalid(f"expected a size up to {second}, found {first}")
    _check_hashes(proof)
    if first in {0, second}:
        if proof:
            raise ProofInvalid(f"expected no hashes, found {len(proof)}")
        _check_root(EMPTY_ROOT if first == 0 else second_root, first_root)
        return
    hashes = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not hashes:
        raise ProofInvalid("expected hashes, found none")
    _climb(first - 1, second - 1, hashes, first_root, second_root)


def _climb(place: int, last: int, hashes: Sequence[bytes], first_root: bytes, second_root: bytes) -> None:
    while place & 1:
        place, last = place >> 1, last >> 1
    smaller = larger = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofInvalid("expected fewer hashes")
        if place & 1 or place == last:
            smaller, larger = node_hash(sibling, smaller), node_hash(sibling, larger)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            larger = node_hash(larger, sibling)
        place, last = place >> 1, last >> 1
    if last:
        raise ProofInvalid("expected more hashes")
    _check_root(smaller, first_root)
    _check_root(larger, second_root)


def _check_hashes(proof: Sequence[bytes]) -> None:
    for one in proof:
        if len(one) != HASH_BYTES:
            raise ProofInvalid(f"expected hashes of {HASH_BYTES} bytes, found one of {len(one)}")


def _check_root(found: bytes, root: bytes) -> None:
    if found != root:
        raise ProofInvalid(f"expected the root {root.hex()}, found {found.hex()}")


def _split(start: int, end: int) -> int:
    """Return the size of the left subtree: the greatest power of two below the number of leaves."""
    return start + (1 << ((end - start - 1).bit_length() - 1))


def _hash_of(start: int, end: int, node: NodeReader) -> bytes:
    """Return the hash over leaves ``[start, end)``, where ``start`` is a split point of RFC 9162."""
    peaks: list[bytes] = []
    while start < end:
        level = (end - start).bit_length() - 1
        peaks.append(node(level, start >> level))
        start += 1 << level
    return fold(peaks)
