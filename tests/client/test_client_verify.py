"""Offline verification: what the vault signs verifies, and nothing else does."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import Any

import pytest

from vsqlvault.client import NotVerified, errors, verify_checkpoint, verify_receipt
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint, write_proof
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.tree import GrowingTree, inclusion_proof, leaf_hash, node_hash

KEY, OTHER = SigningKey("vault.example/audit", b"\x01" * 32), SigningKey("vault.example/audit", b"\x02" * 32)
SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 33)


def leaves(size: int) -> list[str]:
    return [json.dumps({"purge": {"id": f"p{number}", "proof_hash": f"h{number}"}}) for number in range(size)]


def receipt_of(size: int, index: int, key: SigningKey = KEY) -> dict[str, Any]:
    rows = leaves(size)
    hashes = [leaf_hash(row.encode()) for row in rows]

    def node(level: int, place: int) -> bytes:
        return hashes[place] if level == 0 else node_hash(node(level - 1, 2 * place), node(level - 1, 2 * place + 1))

    tree = GrowingTree()
    for each in hashes:
        tree.append(each)
    note = sign_checkpoint(TreeHead(key.verifier.name, size, tree.root()), key.signer)
    purge = json.loads(rows[index])["purge"]
    return {
        "format": "vsqlvault-receipt-v1",
        "purge": purge,
        "entry_hash": purge["proof_hash"],
        "leaf": rows[index],
        "proof": write_proof(index, inclusion_proof(index, size, node), note),
    }


VERIFIER = str(KEY.verifier)


@pytest.mark.parametrize("size", SIZES)
def test_every_row_of_a_log_has_a_receipt_that_verifies(size: int) -> None:
    for index in range(size):
        shown = verify_receipt(receipt_of(size, index), VERIFIER)
        assert (shown.row["id"], shown.index, shown.checkpoint.size) == (f"p{index}", index, size)


@pytest.mark.parametrize("size", [size for size in SIZES if size > 1])
def test_a_receipt_of_another_row_does_not_verify(size: int) -> None:
    right, wrong = receipt_of(size, 0), receipt_of(size, size - 1)
    for name in ("leaf", "purge", "entry_hash", "proof"):
        with pytest.raises(NotVerified):
            verify_receipt({**right, name: wrong[name]}, VERIFIER)


@pytest.mark.parametrize("size", SIZES)
def test_a_path_that_is_too_short_or_too_long_does_not_verify(size: int) -> None:
    for index in range(size):
        receipt = receipt_of(size, index)
        head, _, note = receipt["proof"].partition("\n\n")
        lines = head.split("\n")
        for changed in (
            lines[:-1] if len(lines) > 2 else None,
            [*lines, "A" * 43 + "="],
            lines[:2] if len(lines) > 2 else None,
        ):
            if changed is not None:
                with pytest.raises(NotVerified):
                    verify_receipt({**receipt, "proof": "\n".join(changed) + "\n\n" + note}, VERIFIER)


def test_a_path_that_the_size_does_not_allow_does_not_verify_even_if_it_leads_to_the_root() -> None:
    receipt = receipt_of(1, 0)
    head = TreeHead(KEY.verifier.name, 2, leaf_hash(receipt["leaf"].encode()))
    with pytest.raises(NotVerified):
        verify_receipt({**receipt, "proof": write_proof(0, [], sign_checkpoint(head, KEY.signer))}, VERIFIER)


def test_a_key_that_did_not_sign_verifies_nothing() -> None:
    for key in (str(OTHER.verifier), []):
        with pytest.raises(NotVerified):
            verify_receipt(receipt_of(3, 1), key)
    assert verify_receipt(receipt_of(3, 1), [str(OTHER.verifier), VERIFIER]).index == 1


def test_a_forged_signature_is_refused_even_beside_a_good_one() -> None:
    note = sign_checkpoint(TreeHead(KEY.verifier.name, 1, b"\0" * 32), KEY.signer)
    dash, name, encoded = note.splitlines()[-1].split(" ")
    material = bytearray(b64decode(encoded))
    material[-1] ^= 1
    forged = f"{dash} {name} {b64encode(material).decode()}\n"
    assert verify_checkpoint(note, VERIFIER).size == 1
    with pytest.raises(NotVerified, match="not valid"):
        verify_checkpoint(note + forged, VERIFIER)


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note.replace("\n1\n", "\n2\n"),
        lambda note: note.replace("vault.example/audit\n", "other.example/audit\n", 1),
        lambda note: note.replace("\n\n", "\n"),
        lambda note: note.rpartition("—")[0],
        lambda note: "",
        lambda note: note * 4000,
        lambda note: note.replace("—", "-"),
    ],
)
def test_a_checkpoint_that_was_changed_does_not_verify(change: Any) -> None:
    note = sign_checkpoint(TreeHead(KEY.verifier.name, 1, b"\0" * 32), KEY.signer)
    assert verify_checkpoint(note, VERIFIER).size == 1
    with pytest.raises(NotVerified):
        verify_checkpoint(change(note), VERIFIER)


@pytest.mark.parametrize("key", ["", "name", "name+00000000+AAAA", VERIFIER.replace("+", "-", 1), VERIFIER[:-2] + "AA"])
def test_a_text_that_is_no_verifier_key_is_refused(key: str) -> None:
    with pytest.raises(errors.Unusable):
        verify_receipt(receipt_of(1, 0), key)


@pytest.mark.parametrize(
    "receipt", [{}, {"format": "other"}, {**receipt_of(1, 0), "leaf": 7}, {**receipt_of(1, 0), "proof": ""}]
)
def test_a_document_that_is_no_receipt_is_refused(receipt: dict[str, Any]) -> None:
    with pytest.raises(NotVerified):
        verify_receipt(receipt, VERIFIER)
