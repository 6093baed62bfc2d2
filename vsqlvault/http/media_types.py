"""Media types: what ``Accept`` prefers, and what ``Content-Type`` names (RFC 9110, sections 12.5.1 and 8.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vsqlvault.errors import NotAcceptable

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(
    rf'[ \t]*;[ \t]*(?:({_WORD})=({_WORD}|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"))?'
)
JSON, MERGE_PATCH = "application/json", "application/merge-patch+json"


def is_one_of(content_type: str, taken: Sequence[str]) -> bool:
    """Whether a ``Content-Type`` names one of the types taken, in UTF-8. Parameters other than ``charset`` are ignored."""
    text = content_type.strip()
    place = len(text.partition(";")[0].rstrip(" \t"))
    if text[:place].lower() not in taken:
        return False
    while place < len(text):
        parameter = _PARAMETER.match(text, place)
        if parameter is None:
            return False
        name, value = parameter.groups()
        if name and name.lower() == "charset" and value.strip('"').lower() != "utf-8":
            return False
        place = parameter.end()
    return True


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """Return the offered media type that ``Accept`` prefers, or the first one if it has no preference (RFC 9110,
    12.5.1).

    Raises:
        NotAcceptable: it accepts none of them.
    """
    if not accept or not accept.strip():
        return offered[0]
    quality = {media_type: _quality(accept, media_type) for media_type in offered}
    best = max(offered, key=lambda media_type: quality[media_type])
    if quality[best] <= 0:
        raise NotAcceptable(", ".join(offered))
    return best


def _quality(accept: str, media_type: str) -> float:
    """Return the quality of the most specific range that matches the media type, or 0 if none does."""
    found, precision = 0.0, -1
    kind = media_type.partition("/")[0]
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        level = {media_type: 2, f"{kind}/*": 1, "*/*": 0}.get(name, -1)
        if level > precision:
            found, precision = _weight(parameters), level
    return found


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
