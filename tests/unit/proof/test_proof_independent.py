"""Others' implementations take our trees, proofs and checkpoints: sigstore's client, and pymerkle."""

from __future__ import annotations

from base64 import b64decode
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pymerkle import InmemoryTree
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import verify_checkpoint
from sigstore._internal.trust import Keyring
from sigstore.errors import VerificationError
from sigstore_models.common import v1

from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.tiles import Edge, reader_of
from vsqlvault.proof.tree import inclusion_proof, leaf_hash, root_hash
from vsqlvault.testing import an_access_record

KEY = SigningKey("vault.example/audit", b"\x05" * 32)
LEAVES = [row_leaf(an_access_record(request_id=f"{number}")) for number in range(600)]
EDGE, TILES = Edge().grown([leaf_hash(leaf) for leaf in LEAVES])


def entry_of(index: int, size: int, *, leaf: bytes | None = None, key: SigningKey = KEY) -> Any:
    """Return what sigstore takes for an entry of its own log."""
    root = root_hash(size, reader_of(TILES))
    proof = SimpleNamespace(
        log_index=index,
        tree_size=size,
        hashes=inclusion_proof(index, size, reader_of(TILES)),
        root_hash=root,
        checkpoint=SimpleNamespace(envelope=sign_checkpoint(TreeHead(KEY.verifier.name, size, root), key.signer)),
    )
    inner = SimpleNamespace(
        inclusion_proof=proof,
        canonicalized_body=LEAVES[index] if leaf is None else leaf,
        log_id=SimpleNamespace(key_id=KEY.verifier.key_id),
    )
    return SimpleNamespace(_inner=inner)


def keyring() -> Keyring:
    public = Ed25519PublicKey.from_public_bytes(KEY.verifier.public_key)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Keyring(
        [v1.PublicKey.model_construct(raw_bytes=der, key_details=v1.PublicKeyDetails.PKIX_ED25519, valid_for=None)]
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 255, 256, 257, 511, 513, 600])
def test_sigstore_takes_our_proofs_of_inclusion(size: int) -> None:
    for index in {0, size // 3, size // 2, size - 1}:
        verify_merkle_inclusion(entry_of(index, size))
        with pytest.raises(VerificationError):
            verify_merkle_inclusion(entry_of(index, size, leaf=b"something else"))


def test_sigstore_takes_our_checkpoints() -> None:
    verify_checkpoint(keyring(), entry_of(5, 600))


def test_sigstore_refuses_a_checkpoint_by_another_key() -> None:
    with pytest.raises(VerificationError):
        verify_checkpoint(keyring(), entry_of(5, 600, key=SigningKey(KEY.verifier.name, b"\x06" * 32)))


def test_pymerkle_comes_to_our_roots() -> None:
    tree = InmemoryTree(algorithm="sha256")
    for size, leaf in enumerate(LEAVES, start=1):
        tree.append_entry(leaf)
        if size in {1, 2, 3, 100, 256, 257, 599, 600}:
            assert tree.get_root() == root_hash(size, reader_of(TILES))


def test_a_key_id_is_what_others_make_of_it() -> None:
    name, key_id, material = str(KEY.verifier).split("+")
    assert (name, key_id, b64decode(material)[1:]) == (
        KEY.verifier.name,
        KEY.verifier.key_id.hex(),
        KEY.verifier.public_key,
    )
