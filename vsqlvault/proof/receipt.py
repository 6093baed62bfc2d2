"""Purge receipts: one JSON file that proves, without the vault, that a signed checkpoint covers a purge."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from vsqlvault.model.purge import PurgeRecord
from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint, read_proof, write_proof
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.proof.note import NoteRefused, VerifierKey
from vsqlvault.proof.tree import ProofInvalid, check_inclusion, leaf_hash
from vsqlvault.quick_dataclass import dataclass

FORMAT = "vsqlvault-receipt-v1"


class ReceiptInvalid(ValueError):
    """A receipt is malformed, or does not verify."""


@dataclass(frozen=True, slots=True)
class ShownPurge:
    """The content of a receipt: the row of the purge log as JSON types, its index, and its tree."""

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
    """Return the receipt as JSON types. ``not_reached`` lists where the purged bytes may still be."""
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
    """Return the content of a receipt, if one of the keys has signed its checkpoint.

    The key in the receipt is not trusted.

    Raises:
        ReceiptInvalid: with the reason.
    """
    if not isinstance(receipt, dict) or receipt.get("format") != FORMAT:
        raise ReceiptInvalid(f"expected a receipt with the format {FORMAT}")
    leaf, proof = receipt.get("leaf"), receipt.get("proof")
    if not isinstance(leaf, str) or not isinstance(proof, str):
        raise ReceiptInvalid("expected the strings leaf and proof")
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
        raise ReceiptInvalid("expected purge and entry_hash to match the leaf, found a difference")
    return ShownPurge(row, index, head)
