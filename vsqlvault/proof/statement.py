"""Signed statements: a note (C2SP signed-note) with two lines, the kind of the document and the hash of its bytes."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from vsqlvault.proof.note import NoteRefused, Signer, VerifierKey, open_note, sign_note


def sign_statement(kind: str, document: bytes, signer: Signer) -> str:
    """Return the note that signs a document. ``kind`` prevents its use for another document or for a checkpoint."""
    return sign_note(_text(kind, document), signer)


def open_statement(kind: str, document: bytes, note: str, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Return the keys that have signed the document.

    Raises:
        NoteRefused: none has, or the note is of another document.
    """
    text, signed = open_note(note, keys)
    if text != _text(kind, document):
        raise NoteRefused(f"expected a note of this document and of the kind {kind}, found another note")
    return signed


def _text(kind: str, document: bytes) -> str:
    return f"{kind}\nsha256:{sha256(document).hexdigest()}\n"
