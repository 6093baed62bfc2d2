"""JSON values on one line of HTML: numbers, times and durations formatted, short members side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from html import escape
from typing import Any

from vsqlvault.report_html.words import in_words, is_coded, label

DEEPEST_LEVEL = 6
HASH_PART = 16
"""Digits of a hash or id after which a line may break."""
MAX_INLINE = 24
"""Items of a list in a cell of a table; report.json has all of them."""

LONG_TEXT = 48
"""Characters of a text that has a line of its own."""
NOTHING = '<span class="nothing">\u2013</span>'
_TIME = re.compile(r"\b(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z\b", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{32,128}", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_NAMES_ARE_DATA = ("by_", "used_by", "key_refs", "entries_by_", "purged_by_", "policies", "tests")
_SCALES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def scalar(name: str, found: Any) -> str:
    """Return a value that is no container."""
    if found is None or found == "":
        return NOTHING
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, (int, float)):
        return _span(found) if name.endswith("seconds") else f"{found:,}"
    text = in_words(str(found)) if is_coded(name) else str(found)
    if _HASH.fullmatch(text):
        return (
            f"<code>{'<wbr>'.join(text[place : place + HASH_PART] for place in range(0, len(text), HASH_PART))}</code>"
        )
    return _TIME.sub(_time, escape(text))


def _time(match: re.Match[str]) -> str:
    return f'<time datetime="{match[0]}"><span>{match[1]}</span> <span>{match[2]} UTC</span></time>'


def _span(seconds: float) -> str:
    """Return a duration in its two largest units: ``1 d 4 h``."""
    whole = round(timedelta(seconds=seconds).total_seconds())
    parts: list[str] = []
    for size, unit in _SCALES:
        number, whole = divmod(whole, size)
        if number or (parts and len(parts) < 2):  # noqa: PLR2004
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or ("0 s" if not seconds else "under 1 s")


def is_short(found: Any) -> bool:
    """Whether it fits on one line: a scalar, a short list, or nothing."""
    if isinstance(found, list):
        return all(not isinstance(each, (Mapping, list)) for each in found)
    return not isinstance(found, Mapping) or not found


def tiles(name: str, found: Mapping[str, Any]) -> str:
    """Return names and values side by side: numbers of data keys in columns, everything else in a grid."""
    if not found:
        return ""
    numbers = all(_is_number(member) for member in found.values())
    kind = "counts" if numbers and has_data_keys(name) else "tiles"
    items = "".join(
        f"<div{_width(member)}><dt>{named(name, key)}</dt><dd>{inline(key, member)}</dd></div>"
        for key, member in found.items()
    )
    return f'<dl class="{kind}">{items}</dl>'


def _width(found: Any) -> str:
    text = ", ".join(map(str, found)) if isinstance(found, list) else found
    return ' class="long"' if isinstance(text, str) and len(text) > LONG_TEXT else ""


def inline(name: str, found: Any) -> str:
    """Return any value on one line, for a cell of a table; what is not set is left out."""
    if isinstance(found, Mapping):
        set_members = {key: member for key, member in found.items() if member not in (None, "", [], {})}
        pairs = [f"{named(name, key)}{_sign(member)} {inline(key, member)}" for key, member in set_members.items()]
        is_deep = any(isinstance(member, (Mapping, list)) for member in set_members.values())
        return (("; " if is_deep else ", ").join(pairs)) or NOTHING
    if isinstance(found, list):
        more = f" and {len(found) - MAX_INLINE:,} more" if len(found) > MAX_INLINE else ""
        return f"{', '.join(inline(name, each) for each in found[:MAX_INLINE])}{more}" or NOTHING
    return scalar(name, found)


def _sign(found: Any) -> str:
    return ":" if isinstance(found, (Mapping, list, str)) else ""


def heading(level: int, text: str) -> str:
    """Return a heading; below the deepest level, a paragraph."""
    return f"<h{level}>{text}</h{level}>" if level <= DEEPEST_LEVEL else f'<p class="heading">{text}</p>'


def named(name: str, key: str) -> str:
    """Return a key of the mapping ``name``: a member name or a code as words, data unchanged."""
    if is_coded(name):
        return escape(in_words(key))
    if has_data_keys(name) or not _NAME.fullmatch(key):
        return f"<code>{escape(key)}</code>"
    return escape(label(key))


def numeric(found: Any) -> str:
    """Return the class of a cell."""
    return ' class="number"' if _is_number(found) else ""


def _is_number(found: Any) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool)


def has_data_keys(name: str) -> bool:
    """Whether the keys of a mapping of this name are data, not names of members."""
    return name.startswith(_NAMES_ARE_DATA)
