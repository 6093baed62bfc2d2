"""Receipts: they show what they show only with everything in place."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest

from vsqlvault.http.schemas.responses import purge_row
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.leaf import row_hash, row_leaf
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.receipt import ReceiptInvalid, check_answer, check_receipt, write_receipt
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


def test_an_answer_of_delete_whose_members_are_those_of_the_row_verifies(receipt: dict[str, Any]) -> None:
    answer = {**purge_row(RECORD), "receipt": receipt}
    assert check_answer(answer, [KEY.verifier]).row == receipt["purge"]
    assert check_answer(receipt, [KEY.verifier]).row == receipt["purge"]


@pytest.mark.parametrize("name", [*purge_row(RECORD), "more"])
def test_a_changed_member_next_to_the_receipt_is_named(receipt: dict[str, Any], name: str) -> None:
    answer = {**purge_row(RECORD), "receipt": receipt}
    with pytest.raises(ReceiptInvalid, match=f'^"{name}" next to the receipt is "changed"'):
        check_answer({**answer, name: "changed"}, [KEY.verifier])


@pytest.mark.parametrize("version", [True, 1.0, "1", None])
def test_a_number_next_to_the_receipt_must_have_the_type_of_the_row(receipt: dict[str, Any], version: object) -> None:
    assert receipt["purge"]["entry_version"] == 1
    with pytest.raises(ReceiptInvalid, match="entry_version"):
        check_answer({"entry_version": version, "receipt": receipt}, [KEY.verifier])


def test_a_long_text_next_to_the_receipt_is_compared_by_its_hash() -> None:
    record = replace(RECORD, identity="x" * 66_000)
    edge, _ = Edge().grown([row_hash(record)])
    checkpoint = sign_checkpoint(TreeHead(KEY.verifier.name, 1, edge.root()), KEY.signer)
    made = write_receipt(record, 0, [], checkpoint, KEY.verifier, [])
    assert check_answer({**purge_row(record), "receipt": made}, [KEY.verifier]).index == 0
    with pytest.raises(ReceiptInvalid, match="identity"):
        check_answer({**purge_row(record), "identity": "y" * 66_000, "receipt": made}, [KEY.verifier])
