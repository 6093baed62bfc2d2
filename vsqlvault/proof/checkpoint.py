"""Checkpoints: signed tree heads in the format C2SP tlog-checkpoint, and proofs in the format C2SP tlog-proof."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence

from vsqlvault.proof.note import NoteRefused, Signer, VerifierKey, open_note, sign_note
from vsqlvault.proof.tree import HASH_BYTES, ProofInvalid
from vsqlvault.quick_dataclass import dataclass

PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The content of a checkpoint: the log, the number of leaves, and the root hash, 32 bytes."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> TreeHead:
        """Parse a checkpoint's text. Further lines are ignored.

        Raises:
            NoteRefused: it is not a checkpoint.
        """
        lines = text.split("\n")
        root = _hash(lines[2]) if len(lines) > 3 else None  # noqa: PLR2004
        if root is None or not lines[0] or not _NUMBER.fullmatch(lines[1]):
            raise NoteRefused("expected a checkpoint: origin, size and root hash, one line each")
        return cls(lines[0], int(lines[1]), root)


def sign_checkpoint(head: TreeHead, *signers: Signer) -> str:
    """Return the signed note of a tree head."""
    return sign_note(str(head), *signers)


def open_checkpoint(note: str, keys: Iterable[VerifierKey]) -> TreeHead:
    """Return the tree head of a checkpoint that one of these keys has signed, under the name that is its origin.

    Raises:
        NoteRefused: it is malformed, or not signed by any of them.
    """
    text, signed = open_note(note, keys)
    head = TreeHead.parse(text)
    if all(key.name != head.origin for key in signed):
        raise NoteRefused(f"expected the origin {signed[0].name}, found {head.origin}")
    return head


def write_proof(index: int, proof: Sequence[bytes], checkpoint: str) -> str:
    """Return an inclusion proof and its checkpoint as one text."""
    hashes = "".join(f"{b64encode(one).decode()}\n" for one in proof)
    return f"{PROOF_HEADER}\nindex {index}\n{hashes}\n{checkpoint}"


def read_proof(text: str) -> tuple[int, list[bytes], str]:
    """Return the index, the hashes and the checkpoint of a result of ``write_proof``.

    Raises:
        ProofInvalid: it is malformed.
    """
    head, separator, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if lines[1:] and lines[1].startswith("extra "):
        del lines[1]
    numbered = re.fullmatch(f"index ({_NUMBER.pattern})", lines[1]) if len(lines) > 1 else None
    hashes = [_hash(line) for line in lines[2:]]
    if not separator or lines[0] != PROOF_HEADER or numbered is None or None in hashes:
        raise ProofInvalid(f"expected a proof: {PROOF_HEADER}, an index, hashes, an empty line, a checkpoint")
    return int(numbered[1]), [one for one in hashes if one is not None], checkpoint


def _hash(line: str) -> bytes | None:
    try:
        found = b64decode(line, validate=True)
    except ValueError:
        return None
    return found if len(found) == HASH_BYTES and b64encode(found).decode() == line else None
