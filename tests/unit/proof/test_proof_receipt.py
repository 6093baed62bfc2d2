"""Receipts: they show what they show only with everything in place."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.leaf import row_hash, row_leaf
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.receipt import ReceiptInvalid, check_receipt, write_receipt
from vsqlvault.proof.tiles import Edge, reader_of
from vsqlvault.proof.tree import inclusion_proof, leaf_hash
from vsqlvault.testing import a_purge_record, an_access_record

KEY = SigningKey("vault.example/audit", b"\x01" * 32)
OTHER = SigningKey("vault.example/audit", b"\x02" * 32)
RECORD = a_purge_record()
INDEX = 5


@pytest.fixture
def receipt() -> dict[str, Any]:
    leaves = [leaf_hash(bytes([number])) for number in range(9)]
    leaves[INDEX] = row_hash(RECORD)
    edge, tiles = Edge().grown(leaves)
    checkpoint = sign_checkpoint(TreeHead(KEY.verifier.name, 9, edge.root()), KEY.signer)
    proof = inclusion_proof(INDEX, 9, reader_of(tiles))
    made = write_receipt(RECORD, INDEX, proof, checkpoint, KEY.verifier, ["backups"])
    return json.loads(json.dumps(made))


def test_it_shows_the_purge_and_where_it_stands(receipt: dict[str, Any]) -> None:
    shown = check_receipt(receipt, [KEY.verifier])
    assert (shown.index, shown.head.size) == (INDEX, 9)
    assert shown.row["id"] == RECORD.purge_id
    assert shown.row["proof_hash"] == receipt["entry_hash"] == RECORD.proof_hash
    assert receipt["not_reached"] == ["backups"]


def test_its_own_key_is_not_believed(receipt: dict[str, Any]) -> None:
    with pytest.raises(ReceiptInvalid, match="trusted key"):
        check_receipt(receipt, [OTHER.verifier])


def changed(receipt: dict[str, Any]) -> list[Any]:
    def but(**members: Any) -> dict[str, Any]:
        return {**copy.deepcopy(receipt), **members}

    without = {name: value for name, value in receipt.items() if name != "leaf"}
    access = f'{{"access":{json.dumps(receipt["purge"])}}}'
    return [
        None,
        [],
        but(format="vsqlvault-receipt-v2"),
        without,
        but(leaf=5),
        but(proof=None),
        but(proof="nonsense"),
        but(leaf=receipt["leaf"].replace("card", "cord")),
        but(leaf=access),
        but(purge={**receipt["purge"], "purpose": "cord"}),
        but(purge={**receipt["purge"], "more": 1}),
        but(entry_hash="0" * 64),
        but(proof=receipt["proof"].replace(f"index {INDEX}", "index 6")),
        but(proof=receipt["proof"].replace("\n9\n", "\n8\n")),
    ]


@pytest.mark.parametrize("number", range(14))
def test_with_anything_changed_it_shows_nothing(receipt: dict[str, Any], number: int) -> None:
    with pytest.raises(ReceiptInvalid):
        check_receipt(changed(receipt)[number], [KEY.verifier])


def test_a_row_of_the_other_log_is_no_purge() -> None:
    leaf = an_access_record()
    edge, _ = Edge().grown([row_hash(leaf)])
    checkpoint = sign_checkpoint(TreeHead(KEY.verifier.name, 1, edge.root()), KEY.signer)
    made = write_receipt(RECORD, 0, [], checkpoint, KEY.verifier, [])
    made["leaf"] = row_leaf(leaf).decode()
    with pytest.raises(ReceiptInvalid, match="a row of the purge log"):
        check_receipt(made, [KEY.verifier])
