"""JSON values as HTML: short members side by side, mappings and lists as tables, with one row for each mapping."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from vsqlvault.report_html.values import (
    NOTHING,
    has_data_keys,
    heading,
    inline,
    is_short,
    named,
    numeric,
    scalar,
    tiles,
)
from vsqlvault.report_html.words import label

WIDEST_TABLE = 8
FEWEST_FOR_SAME = 3
"""Rows from which on a column that is the same everywhere becomes a sentence."""
FEWEST_FOR_HALVES, HALF_WIDTH = 16, 48
"""Rows from which on a table is set in two columns, and the characters that a row of such a table has at most."""
SMALL = 4
WHAT = "what"
_COUNTS = ("count", "entries", "rows")
"""Members of an exception that count; the first is shown."""
TOP_LEVEL = 3
"""The level of headings of a section's figures."""

FIGURES = "figures"
NUMBER = ' class="number"'
_FRACTION = re.compile(r"\.\d+(?=Z$)", re.ASCII)
_KEY_HEADS = {"policies": "Policy", "used_by": "App", "tests": "Test"}
_KINDS = frozenset({"version", "evaluator"})
"""Numbers that are no counts: they may be stated once for several rows."""
_ONLY_IN_JSON = frozenset({"may_sha256"})
"""Columns that report.json has and the page leaves out: digests of 64 digits in each row."""

Row = tuple[str | None, Mapping[str, Any]]
Parts = Mapping[str, Mapping[str, Any]]


def value(name: str, found: Any, level: int = TOP_LEVEL) -> str:
    """Return the value of the member ``name`` as HTML, with headings from ``level`` on."""
    if isinstance(found, list):
        return listed(name, found, level)
    if not isinstance(found, Mapping):
        return scalar(name, found)
    if not found:
        return NOTHING
    if name != FIGURES and all(isinstance(member, Mapping) for member in found.values()):
        return table(name, list(found.items()), level)
    short = {key: member for key, member in found.items() if is_short(member)}
    long = {key: member for key, member in found.items() if key not in short}
    return tiles(name, short) + "".join(
        f"{heading(level, named(name, key))}{value(key, member, level + 1)}" for key, member in long.items()
    )


def table(name: str, found: Sequence[tuple[str, Mapping[str, Any]]], level: int) -> str:
    """Return a table of mappings by key. A single one with many members has a heading and its members side by side."""
    if len(found) == 1 and len(found[0][1]) > WIDEST_TABLE:
        ((key, members),) = found
        return heading(level, named(name, key)) + value(key, members, level + 1)
    rows: list[Row] = [(named(name, key), flattened(members)) for key, members in found]
    return _table(rows, level, key_head=_key_head(name))


def listed(name: str, found: Sequence[Any], level: int) -> str:
    """Return a list: of mappings as a table, of anything else on one line."""
    if not found:
        return NOTHING
    if all(isinstance(each, Mapping) for each in found):
        return _table([(None, flattened(each)) for each in found], level)
    return ", ".join(
        scalar(name, each) if is_short(each) and not isinstance(each, list) else inline(name, each) for each in found
    )


def exceptions(found: Sequence[Mapping[str, Any]]) -> str:
    """Return exceptions by kind: one row for each finding, with its cases."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for each in found:
        kinds.setdefault(str(each.get(WHAT, "")), []).append(each)
    rows = "".join(
        f'<tr><th scope="row">{scalar(WHAT, kind)}</th>{cell("Cases", f"{len(cases):,}", NUMBER)}'
        f"{cell('Where', _cases(cases))}</tr>"
        for kind, cases in kinds.items()
    )
    heads = '<th scope="col">Finding</th><th scope="col" class="number">Cases</th><th scope="col">Where</th>'
    return f'<table class="kinds"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _cases(cases: Sequence[Mapping[str, Any]]) -> str:
    """Return the cases of one kind, by the member that has the fewest values."""
    members = [name for name in dict.fromkeys(key for case in cases for key in case) if name not in (WHAT, *_COUNTS)]
    members = [name for name in members if any(case.get(name) not in (None, "") for case in cases)]
    if not members:
        return joined_counts([("", _count(case)) for case in cases])
    if len(members) == 1 or len(cases) == 1:
        return joined_counts([(_texts(case, members), _count(case)) for case in cases])
    first = min(members, key=lambda name: len({str(case.get(name)) for case in cases}))
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for case in cases:
        groups.setdefault(inline(first, case.get(first)), []).append(case)
    others = [name for name in members if name != first]
    return "".join(
        f"<div>{escape(label(first))} {text}: {joined_counts([(_texts(case, others), _count(case)) for case in group])}</div>"
        for text, group in groups.items()
    )


def _count(case: Mapping[str, Any]) -> Any:
    return next((case[name] for name in _COUNTS if case.get(name) is not None), None)


def _texts(case: Mapping[str, Any], members: Sequence[str]) -> str:
    shown = [name for name in members if case.get(name) not in (None, "")]
    if len(members) == 1:
        return "".join(inline(name, case[name]) for name in shown)
    return ", ".join(f"{escape(label(name))} {inline(name, case[name])}" for name in shown)


def joined_counts(cases: Sequence[tuple[str, Any]]) -> str:
    """Return texts with the counts that are not one."""
    texts = [f"{text} ({count:,})" if isinstance(count, int) and count != 1 else text for text, count in cases]
    return ", ".join(text for text in texts if text) or NOTHING


def flattened(member: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping with the members of small nested mappings inlined: ``lag: purges``. Keys that are data stay."""
    flat: dict[str, Any] = {}
    for key, each in member.items():
        is_small = isinstance(each, Mapping) and 0 < len(each) <= SMALL and all(map(is_short, each.values()))
        if is_small and not has_data_keys(key):
            flat.update({f"{key}: {inner}": found for inner, found in each.items()})
        else:
            flat[key] = each
    return flat


def cell(head: str, text: str, kind: str = "") -> str:
    """Return a cell with the head of its column, which a narrow screen shows beside it."""
    return f'<td{kind} data-head="{escape(head)}">{text}</td>'


def _key_head(name: str) -> str:
    """Return the head of the column of keys."""
    if name in _KEY_HEADS:
        return _KEY_HEADS[name]
    return label(name.removeprefix("by_")) if name.startswith("by_") else "Name"


def _table(rows: Sequence[Row], level: int, key_head: str = "") -> str:
    columns = list(dict.fromkeys(key for _, row in rows for key in row))
    columns = [column for column in columns if not any(other.startswith(f"{column}: ") for other in columns)]
    columns = [column for column in columns if column not in _ONLY_IN_JSON and not _is_length(column, rows)]
    same = _same(columns, rows)
    columns = [column for column in columns if column not in same]
    if not columns:
        return _told(same)
    shared = {column: _shared(column, rows) for column in columns}
    shown = columns if len(columns) <= WIDEST_TABLE else columns[: WIDEST_TABLE - 1]
    rest = columns[len(shown) :]
    places = {column: next((text for _, row in rows if (text := numeric(row.get(column)))), "") for column in shown}
    heads = "".join(f'<th scope="col"{place}>{escape(_head(column))}</th>' for column, place in places.items())
    first, last = (
        ("" if rows[0][0] is None else f'<th scope="col">{escape(key_head)}</th>'),
        ('<th scope="col">More</th>' if rest else ""),
    )
    body = "".join(_row(key, row, places, rest, shared) for key, row in rows)
    legends = "".join(
        f"{heading(level, escape(_head(column)))}{_table(_legend_rows(column, parts), level + 1, _key_head(column))}"
        for column, parts in shared.items()
        if parts
    )
    table = f"<table><thead><tr>{first}{heads}{last}</tr></thead><tbody>{body}</tbody></table>"
    return f"{_told(same)}{_side_by_side(table) if _is_narrow(columns, rows) else table}{legends}"


def _head(column: str) -> str:
    return ": ".join(
        label(part) if place == 0 else label(part).lower() for place, part in enumerate(column.split(": "))
    )


def _row(
    key: str | None, row: Mapping[str, Any], places: Mapping[str, str], rest: Sequence[str], shared: Mapping[str, Parts]
) -> str:
    head = "" if key is None else f'<th scope="row">{key}</th>'
    cells = "".join(
        cell(_head(column), _cell(column, row.get(column), shared[column]), place) for column, place in places.items()
    )
    more = cell("More", inline("more", {column: row.get(column) for column in rest})) if rest else ""
    return f"<tr>{head}{cells}{more}</tr>"


def _cell(column: str, found: Any, shared: Parts) -> str:
    """Return a cell; a mapping of mappings has a line for each, without what the legend below the table says."""
    name = column.rpartition(": ")[2]
    if not is_nested(found):
        return inline(name, found)
    own = {key: {part: each[part] for part in each if part not in shared.get(key, {})} for key, each in found.items()}
    return "".join(
        f"<div>{named(name, key)}{': ' + inline(key, each) if each else ''}</div>" for key, each in own.items()
    )


def _is_length(column: str, rows: Sequence[Row]) -> bool:
    """Whether a column only counts the items of another: ``used_by_count`` beside ``used_by``."""
    other = column.removesuffix("_count")
    found = [(row.get(other), row.get(column)) for _, row in rows]
    return other != column and all(isinstance(each, (Mapping, list)) and len(each) == count for each, count in found)


def _is_narrow(columns: Sequence[str], rows: Sequence[Row]) -> bool:
    """Whether two halves of a long table fit beside each other."""
    if len(rows) < FEWEST_FOR_HALVES:
        return False
    widths = (len(key or "") + sum(len(_plain(row.get(column))) for column in columns) for key, row in rows)
    return max(widths) <= HALF_WIDTH


def _plain(found: Any) -> str:
    return _FRACTION.sub("", str(found))


def _side_by_side(table: str) -> str:
    return f'<div class="halves">{table}</div>'


def _same(columns: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    """Return the columns that have one value in all of several rows."""
    if len(rows) < FEWEST_FOR_SAME:
        return {}
    first = rows[0][1]
    return {
        column: first.get(column)
        for column in columns
        if is_short(first.get(column)) and all(row.get(column) == first.get(column) for _, row in rows)
    }


def _told(same: Mapping[str, Any]) -> str:
    unset = [column for column, found in same.items() if found in (None, "", [], {})]
    rest = [column for column in same if column not in unset]
    told = ", ".join(f"{escape(_head(column))} {inline(column.rpartition(': ')[2], same[column])}" for column in rest)
    parts = [f"In every row: {told}." if told else ""]
    parts.append(f"Not set in any row: {escape(', '.join(map(_head, unset)))}." if unset else "")
    text = " ".join(part for part in parts if part)
    return f'<p class="same">{text}</p>' if text else ""


def is_nested(found: Any) -> bool:
    """Whether a value is a mapping of mappings."""
    return isinstance(found, Mapping) and bool(found) and all(isinstance(each, Mapping) for each in found.values())


def _shared(column: str, rows: Sequence[Row]) -> Parts:
    """Return what is the same in all rows about each key of a column: about a policy, for example. Counts never are."""
    first: dict[str, Mapping[str, Any]] = {}
    different: set[str] = set()
    is_repeated = False
    for _, row in rows:
        for key, each in row[column].items() if is_nested(row.get(column)) else ():
            is_repeated |= key in first
            known = first.setdefault(key, each)
            different |= {part for part in {*known, *each} if known.get(part) != each.get(part)}
    if not is_repeated:
        return {}
    parts = {key: {part: each[part] for part in each if _is_kind(part, each[part])} for key, each in first.items()}
    parts = {key: {part: found for part, found in each.items() if part not in different} for key, each in parts.items()}
    return {key: each for key, each in parts.items() if each}


def _is_kind(part: str, found: Any) -> bool:
    return part in _KINDS or not numeric(found)


def _legend_rows(column: str, parts: Parts) -> list[Row]:
    return [(named(column.rpartition(": ")[2], key), flattened(each)) for key, each in sorted(parts.items())]
