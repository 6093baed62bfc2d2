"""Purge receipts: one JSON file that proves, without the vault, that a signed checkpoint covers a purge."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

from vsqlvault.model.purge import PurgeRecord
from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint, read_proof, write_proof
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.proof.note import NoteRefused, VerifierKey
from vsqlvault.proof.tree import ProofInvalid, check_inclusion, leaf_hash
from vsqlvault.quick_dataclass import dataclass

FORMAT = "vsqlvault-receipt-v1"


MAX_SHOWN = 80
"""Characters of a value in an error."""


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


def check_answer(document: Mapping[str, Any], keys: Collection[VerifierKey]) -> ShownPurge:
    """Return the content of a receipt, alone or in the response of DELETE, whose other members must say the same.

    A member that the response does not have is not compared. One that the row does not have must be null.

    Raises:
        ReceiptInvalid: as ``check_receipt``, or with the first member that differs.
    """
    if "receipt" not in document:
        return check_receipt(document, keys)
    shown = check_receipt(document["receipt"], keys)
    for name, value in document.items():
        proven = shown.row.get(name)
        if name != "receipt" and not _is_same(value, proven):
            raise ReceiptInvalid(
                f"{_text(name)} next to the receipt is {_text(value)}, and the row in the receipt has {_text(proven)}"
            )
    return shown


def _is_same(value: Any, proven: Any) -> bool:
    """Whether a member is that of the row, where a long string can be its hash and size."""
    if isinstance(proven, dict) and isinstance(value, str):
        data = value.encode(errors="surrogatepass")
        value = {"sha256": sha256(data).hexdigest(), "size": len(data)}
    return json.dumps(value, sort_keys=True) == json.dumps(proven, sort_keys=True)


def _text(value: Any) -> str:
    text = "no value" if value is None else json.dumps(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
