"""Receipts of purges: one JSON file that shows, without the vault, that a purge is on record under a signed checkpoint."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from vsqlvault.model.purge import PurgeRecord
from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint, read_proof, write_proof
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.proof.note import NoteRefused, VerifierKey
from vsqlvault.proof.tree import ProofInvalid, check_inclusion, leaf_hash

FORMAT = "vsqlvault-receipt-v1"


class ReceiptInvalid(ValueError):
    """A receipt is malformed, or does not show what it says."""


@dataclass(frozen=True, slots=True)
class ShownPurge:
    """What a receipt shows: the row of the purge log as JSON types, its index, and the tree it is in."""

    row: dict[str, Any]
    index: int
    head: TreeHead


def write_receipt(
    record: PurgeRecord,
    index: int,
    proof: Sequence[bytes],
    checkpoint: str,
    verifier: VerifierKey,
    not_reached: Sequence[str],
) -> dict[str, Any]:
    """Return the receipt as JSON types. ``not_reached`` says where the purged bytes may still be."""
    leaf = row_leaf(record).decode()
    return {
        "format": FORMAT,
        "purge": json.loads(leaf)["purge"],
        "entry_hash": record.proof_hash,
        "leaf": leaf,
        "proof": write_proof(index, proof, checkpoint),
        "verifier_key": str(verifier),
        "not_reached": list(not_reached),
    }


def check_receipt(receipt: Any, keys: Collection[VerifierKey]) -> ShownPurge:
    """Return what a receipt shows, if one of the keys has signed the checkpoint in it. Its own key is not believed.

    Raises:
        ReceiptInvalid: with the sentence that says why.
    """
    if not isinstance(receipt, dict) or receipt.get("format") != FORMAT:
        raise ReceiptInvalid(f"expected a receipt with the format {FORMAT}")
    leaf, proof = receipt.get("leaf"), receipt.get("proof")
    if not isinstance(leaf, str) or not isinstance(proof, str):
        raise ReceiptInvalid("expected the texts leaf and proof")
    try:
        index, hashes, checkpoint = read_proof(proof)
        head = open_checkpoint(checkpoint, keys)
        check_inclusion(index, head.size, leaf_hash(leaf.encode()), hashes, head.root)
        row = json.loads(leaf)["purge"]
    except (NoteRefused, ProofInvalid) as error:
        raise ReceiptInvalid(str(error)) from error
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ReceiptInvalid("expected a leaf that is a row of the purge log") from None
    if receipt.get("purge") != row or receipt.get("entry_hash") != row.get("proof_hash"):
        raise ReceiptInvalid("expected purge and entry_hash to say what the leaf says, found that they do not")
    return ShownPurge(row, index, head)
