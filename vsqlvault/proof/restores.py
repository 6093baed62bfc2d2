"""Confirmed restores: rows of the access log that name the checkpoints which the log does not continue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vsqlvault.proof.checkpoint import TreeHead
from vsqlvault.proof.leaf import granted_row
from vsqlvault.proof.note import NoteRefused, split_note
from vsqlvault.quick_dataclass import dataclass

OPERATION = "confirm-restore"
MAX_NOTES_BYTES = 48_000
"""How much of ``new_value`` the notes of one row may take. The leaf of a longer row would have only their hash."""


@dataclass(frozen=True, slots=True)
class ConfirmedRestore:
    """A granted ``confirm-restore`` row: its leaf, its time, who confirmed, and the notes of the checkpoints given up."""

    index: int
    at: str
    app: str
    notes: frozenset[str]

    @property
    def sizes(self) -> list[int]:
        """The sizes of the checkpoints given up, smallest first."""
        return sorted(_sizes(self.notes))

    def __str__(self) -> str:
        sizes = self.sizes
        if not sizes:
            given_up = "no checkpoint is given up"
        elif len(sizes) == 1:
            given_up = f"the checkpoint of {sizes[0]} leaves is given up"
        else:
            given_up = f"{len(sizes)} checkpoints, of {sizes[0]} to {sizes[-1]} leaves, are given up"
        return f"leaf {self.index} confirms a restored database, at {self.at}, by {self.app}: {given_up}"


def restore_in(index: int, leaf: bytes) -> ConfirmedRestore | None:
    """Return the confirmed restore of a leaf; None for any other leaf."""
    row = granted_row(leaf, OPERATION)
    if row is None:
        return None
    try:
        notes = frozenset(split_notes(row["new_value"])) if isinstance(row.get("new_value"), str) else frozenset()
        return ConfirmedRestore(index, str(row["at"]), str(row.get("app")), notes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def join_notes(notes: Sequence[str]) -> str:
    """Return the notes as one text, an empty line between them."""
    return "\n".join(notes)


def split_notes(text: str) -> list[str]:
    """Return the notes in a text of ``join_notes``. A checkpoint has one empty line, before its signatures."""
    parts = text.removesuffix("\n").split("\n\n")
    return [f"{body}\n\n{signatures}\n" for body, signatures in zip(parts[::2], parts[1::2], strict=False)]


def in_rows(notes: Sequence[str]) -> Iterator[list[str]]:
    """Split notes into lists, each of which fits into one row."""
    some: list[str] = []
    size = 0
    for note in notes:
        length = len(note.encode()) + note.count("\n") + 2
        if some and size + length > MAX_NOTES_BYTES:
            yield some
            some, size = [], 0
        some.append(note)
        size += length
    if some:
        yield some


def _sizes(notes: frozenset[str]) -> Iterator[int]:
    for note in notes:
        try:
            yield TreeHead.parse(split_note(note)[0]).size
        except NoteRefused:
            continue
