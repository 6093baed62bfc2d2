"""A change of the signing key: a note with both keys, signed by both."""

from __future__ import annotations

from collections.abc import Collection

from vsqlvault.proof.note import KeyInvalid, NoteRefused, Signer, VerifierKey, open_note, sign_note
from vsqlvault.quick_dataclass import dataclass

HEADER = "vsqlvault-key-roll-v1"


@dataclass(frozen=True, slots=True)
class KeyRoll:
    """The old key and the new key. Both have the log's origin as their name."""

    old: VerifierKey
    new: VerifierKey

    def __str__(self) -> str:
        return f"{HEADER}\n{self.old}\n{self.new}\n"

    @classmethod
    def parse(cls, text: str) -> KeyRoll:
        """Parse the text form. Raises NoteRefused for any other text."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[0] != HEADER or lines[3]:  # noqa: PLR2004
            raise NoteRefused(f"expected {HEADER}, the old key and the new key, one line each")
        try:
            return cls(VerifierKey.parse(lines[1]), VerifierKey.parse(lines[2]))
        except KeyInvalid as error:
            raise NoteRefused(str(error)) from None


def sign_roll(old: VerifierKey, new: VerifierKey, *signers: Signer) -> str:
    """Return the note, signed by the given signers."""
    return sign_note(str(KeyRoll(old, new)), *signers)


def open_roll(note: str, trusted: Collection[VerifierKey]) -> VerifierKey:
    """Return the new key, if a trusted old key and the new key have signed the change.

    Raises:
        NoteRefused: they have not.
    """
    roll = KeyRoll.parse(note.rpartition("\n\n")[0] + "\n")
    if roll.old not in trusted or roll.old.name != roll.new.name:
        raise NoteRefused(f"expected a change of a trusted key, found one of {roll.old}")
    signed = open_note(note, (roll.old, roll.new))[1]
    if len(signed) != 2:  # noqa: PLR2004
        raise NoteRefused(f"expected the signatures of both keys, found one of {signed[0]}")
    return roll.new
