"""JSON values as HTML: numbers, times and durations formatted, mappings and lists as lists and tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import escape
from typing import Any

WIDEST_TABLE = 8
MOST_COLUMNS = 5
SMALL = 4
HASH_PART = 16
"""Digits of a hash or id after which a line may break."""
FIGURES = "figures"
_NONE = '<span class="nothing">\u2013</span>'
_TIME = re.compile(r"\b(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}:\d{2})(?:\.\d+)?Z\b", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{32,128}", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_NAMES_ARE_DATA = ("by_", "used_by", "key_refs", "entries_by_", "purged_by_", "policies", "tests")
_SCALES = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def label(name: str) -> str:
    """Return a member's name as words."""
    words = name.removesuffix("_seconds").replace("_", " ")
    return words[:1].upper() + words[1:]


def value(name: str, found: Any) -> str:
    """Return the value of the member ``name`` as HTML."""
    if isinstance(found, Mapping):
        return _mapping(name, found)
    if isinstance(found, list):
        return _list(name, found)
    return _scalar(name, found)


def _scalar(name: str, found: Any) -> str:
    if found is None or found == "":
        return _NONE
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, (int, float)):
        return _span(found) if name.endswith("_seconds") else f"{found:,}"
    text = str(found)
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
    return " ".join(parts[:2]) or "0 s"


def _mapping(name: str, found: Mapping[str, Any]) -> str:
    if not found:
        return _NONE
    are_data = name.startswith(_NAMES_ARE_DATA)
    rows = [member for member in found.values() if isinstance(member, Mapping)]
    if len(rows) == len(found) and name != FIGURES:
        return _table_of_mappings(found, are_data)
    short = {key: member for key, member in found.items() if _is_short(member)}
    long = {key: member for key, member in found.items() if key not in short}
    return _facts(short, are_data) + "".join(
        f"<h3>{_named(key, are_data)}</h3>{value(key, member)}" for key, member in long.items()
    )


def _is_short(found: Any) -> bool:
    """Whether it fits on one line: a scalar, a short list, or nothing."""
    if isinstance(found, list):
        return all(not isinstance(each, (Mapping, list)) for each in found)
    return not isinstance(found, Mapping) or not found


def _facts(found: Mapping[str, Any], are_data: bool) -> str:
    """Return a table of names and values."""
    if not found:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{_named(key, are_data)}</th><td{_numeric(member)}>{value(key, member)}</td></tr>'
        for key, member in found.items()
    )
    return f'<table class="pairs"><tbody>{rows}</tbody></table>'


def _table_of_mappings(found: Mapping[str, Mapping[str, Any]], are_data: bool) -> str:
    flat = {key: _flattened(member) for key, member in found.items()}
    columns = list(dict.fromkeys(key for member in flat.values() for key in member))
    columns = [column for column in columns if not any(other.startswith(f"{column}: ") for other in columns)]
    is_flat = all(_is_short(each) for member in flat.values() for each in member.values())
    if is_flat and len(columns) > WIDEST_TABLE and len(found) <= MOST_COLUMNS:
        return _turned_table(flat, columns, are_data)
    if not is_flat or len(columns) > WIDEST_TABLE:
        return "".join(
            f'<h3>{_named(key, are_data)}</h3><div class="nested">{_mapping(key, member)}</div>'
            for key, member in found.items()
        )
    places = _places(columns, list(flat.values()))
    rows = "".join(
        f'<tr><th scope="row">{_named(key, are_data)}</th>{_cells(member, places)}</tr>' for key, member in flat.items()
    )
    heads = _heads(places)
    return f"<table><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _turned_table(flat: Mapping[str, Mapping[str, Any]], members: Sequence[str], are_data: bool) -> str:
    """Return a table with one column for each mapping, for few mappings with many members."""
    heads = "".join(f'<th scope="col">{_named(key, are_data)}</th>' for key in flat)
    rows = "".join(
        f'<tr><th scope="row">{escape(label(name))}</th>'
        f"{''.join(f'<td>{value(name, mapping.get(name))}</td>' for mapping in flat.values())}</tr>"
        for name in members
    )
    return f'<table class="turned"><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _flattened(member: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping with the members of small nested mappings inlined: ``lag: purges``."""
    flat: dict[str, Any] = {}
    for key, each in member.items():
        if isinstance(each, Mapping) and each and len(each) <= SMALL and all(map(_is_short, each.values())):
            flat.update({f"{key}: {inner}": found for inner, found in each.items()})
        else:
            flat[key] = each
    return flat


def _places(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return each column's class: numeric columns are aligned right, with head and empty cells."""
    return {column: next((found for row in rows if (found := _numeric(row.get(column)))), "") for column in columns}


def _heads(places: Mapping[str, str]) -> str:
    return "".join(f'<th scope="col"{place}>{escape(label(column))}</th>' for column, place in places.items())


def _list(name: str, found: Sequence[Any]) -> str:
    if not found:
        return _NONE
    if all(isinstance(each, Mapping) for each in found):
        columns = list(dict.fromkeys(key for member in found for key in member))
        places = _places(columns, found)
        rows = "".join(f"<tr>{_cells(member, places)}</tr>" for member in found)
        wide = ' class="wide"' if len(columns) > WIDEST_TABLE else ""
        return f"<table{wide}><thead><tr>{_heads(places)}</tr></thead><tbody>{rows}</tbody></table>"
    return ", ".join(value(name, each) for each in found)


def _cells(member: Mapping[str, Any], places: Mapping[str, str]) -> str:
    return "".join(f"<td{place}>{value(column, member.get(column))}</td>" for column, place in places.items())


def _numeric(found: Any) -> str:
    return ' class="number"' if isinstance(found, (int, float)) and not isinstance(found, bool) else ""


def _named(key: str, are_data: bool) -> str:
    """Return a member name as words, and a data key unchanged."""
    return f"<code>{escape(key)}</code>" if are_data or not _NAME.fullmatch(key) else escape(label(key))
