"""The nearest right word for one that is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_MAX_LENGTH = 128
NEAR = 0.6
"""The ratio of ``difflib`` from which two words are near."""

VERY_NEAR = 0.75
"""The ratio of two words of which one is probably a misspelling of the other: two letters of four that changed places."""


def did_you_mean(word: str, known: Iterable[str], *, ratio: float = NEAR) -> str:
    """Return ``" (did you mean X?)"`` with the nearest known word; an empty text where none is near.

    Only the known word is shown, never ``word``.
    """
    if len(word) > _MAX_LENGTH:
        return ""
    by_lower = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), by_lower, n=1, cutoff=ratio)
    return f" (did you mean {by_lower[near[0]]}?)" if near else ""


def undefined(kind: str, names: Iterable[str], known: Iterable[str], consequence: str) -> tuple[str, ...]:
    """Return a warning for each name that nothing defines, with the nearest name that is defined."""
    defined = sorted(known)
    return tuple(
        f"{kind} {name} is not defined{did_you_mean(name, defined)}: {consequence}"
        for name in sorted(set(names) - set(defined))
    )
