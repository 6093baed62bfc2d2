"""The page of the report: self-contained, whatever sections there are and whatever stands in them."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import pytest

from vsqlvault.report_html.charts import chart
from vsqlvault.report_html.page import Reading, content_security_policy, report_page
from vsqlvault.report_html.tables import exceptions, value
from vsqlvault.report_html.words import label

HOSTILE = "</style><script src=//evil.example>alert('1')</script><img src=x onerror=\"y\">&amp;"
VOID = {"meta", "br", "img", "link", "input", "wbr"}


class Reader(HTMLParser):
    """Reads a page and complains of what is not closed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(report: dict[str, Any]) -> Reader:
    reader = Reader()
    reader.feed(report_page(report).decode("utf-8"))
    assert reader.open == []
    return reader


def a_report(**members: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "as_of": "2027-01-15T12:00:00Z",
        "period": {"since": "2026-10-17T12:00:00Z", "until": "2027-01-15T12:00:00Z"},
        "summary": {"total_entries": 12847},
    }
    requirements = {"standard": "PCI DSS v4.0.1", "note": "n", "by_id": {}, "aliases": []}
    return {**usual, **members, "requirements": requirements}


def a_section(**members: Any) -> dict[str, Any]:
    return {
        "title": "Of a plugin", "requirements": ["3.2.1"], "result": "supports", "supports": "s", "measured": "period",
        "period": None, "method": "counted", "population": 1234567, "exceptions": {"count": 0, "listed": []},
        "owner": None, "figures": {}, "charts": [], **members,
    }  # fmt: skip


SHAPES: dict[str, Any] = {
    "nothing": {},
    "failed": {"failed": True},
    "a section of a plugin": a_section(
        figures={"wait_seconds": 93784.2, "by_kind": {"a_b": 1}, "deep": {"x": {"y": {"z": [1]}}}}
    ),
    "hostile words": a_section(
        title=HOSTILE, requirements=[HOSTILE], supports=HOSTILE, method=HOSTILE, owner=HOSTILE, result=HOSTILE,
        measured=HOSTILE, exceptions={"count": 1, "listed": [{HOSTILE: HOSTILE}]}, figures={HOSTILE: {HOSTILE: [HOSTILE]}},
        charts=[{"title": HOSTILE, "unit": HOSTILE, "series": [HOSTILE], "bars": [{"label": HOSTILE, "values": [3]}]}],
    ),
    "a member that is no mapping": [1, 2],
    "awkward values": {"n": None, "t": True, "l": [], "m": {}, "f": 1.5, "nested": [[1], {"a": 1}], "mixed": [1, {"a": 2}]},
}  # fmt: skip


@pytest.mark.parametrize("member", SHAPES.values(), ids=SHAPES)
def test_a_page_is_well_formed_and_loads_and_runs_nothing(member: Any) -> None:
    reader = read(a_report(extra=member))
    assert {tag for tag, _ in reader.tags} & {"script", "img", "link", "iframe", "object", "form", "base"} == set()
    for _, attributes in reader.tags:
        assert not {name for name in attributes if name.startswith("on") or name in {"src", "style", "xlink:href"}}
        assert (attributes.get("href") or "#").startswith("#")


def test_the_style_is_allowed_by_its_hash_and_names_nothing_outside() -> None:
    reading = Reading(HOSTILE, HOSTILE, "ab" * 32)
    policy = content_security_policy(a_report(), reading)
    styles = re.findall(r"<style>(.*?)</style>", report_page(a_report(), reading).decode(), re.DOTALL)
    digests = ["'sha256-" + b64encode(hashlib.sha256(style.encode()).digest()).decode() + "'" for style in styles]
    assert f"style-src {' '.join(digests)};" in policy
    assert len(styles) == 2
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not [style for style in styles if "url(" in style or "@import" in style or "<" in style]


def test_every_table_tells_what_its_heads_are_of() -> None:
    listed = [{"purpose": "card", "count": 2}]
    reader = read(
        a_report(extra=a_section(exceptions={"count": 5, "listed": listed}, figures={"a": 1, "b": {"c": {"d": 1}}}))
    )
    heads = [attributes for tag, attributes in reader.tags if tag == "th"]
    assert heads
    assert all(attributes.get("scope") in {"row", "col"} for attributes in heads)
    assert "4 more are not listed" in reader.text


def test_headings_begin_with_one_and_leave_no_level_out() -> None:
    reader = read(a_report(extra=a_section(figures={"by_x": {"a": {"b": {"c": {"d": 1}}}}})))
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_failed_section_says_so_and_the_others_are_there() -> None:
    text = read(a_report(broken={"failed": True}, extra=a_section())).text
    assert "This section could not be written" in text
    assert "1,234,567" in text


def test_a_chart_has_a_text_alternative() -> None:
    bars = [{"label": "card", "values": [1200, 3]}, {"label": "ach", "values": [0, 4]}]
    drawn = chart({"title": "Entries", "unit": "entries", "series": ["active", "expired"], "bars": bars})
    assert 'aria-label="Entries, in entries. card: 1,200 active, 3 expired; ach: 4 expired."' in drawn


def test_where_all_is_zero_there_is_no_chart() -> None:
    assert chart({"title": "t", "unit": "u", "series": ["a"], "bars": [{"label": "x", "values": [0]}]}) == ""


@pytest.mark.parametrize(
    ("name", "found", "shown"),
    [
        ("n", 12847, "12,847"),
        ("lag_seconds", 93784.2, "1 d 2 h"),
        ("lag_seconds", 0, "0 s"),
        ("lag_seconds", 61, "1 min 1 s"),
        ("n", True, "yes"),
        (
            "n",
            "2027-01-15T12:00:00.123456Z",
            "<time datetime=\"2027-01-15T12:00:00.123456Z\"><span>2027-01-15</span> <span>12:00:00 UTC</span></time>",
        ),
        ("n", "0a" * 32, "<code>" + "<wbr>".join(["0a" * 8] * 4) + "</code>"),
        ("n", ["a", 1], "a, 1"),
    ],
)  # fmt: skip
def test_values_are_to_read(name: str, found: Any, shown: str) -> None:
    assert value(name, found) == shown


def test_a_page_names_the_vault_who_asked_and_the_hash() -> None:
    reader = Reader()
    reader.feed(report_page(a_report(), Reading("vault.example/audit", "assessor (carol)", "ab" * 32)).decode())
    assert "vault.example/audit" in reader.text
    assert "assessor (carol)" in reader.text
    assert "ab" * 32 in reader.text


def test_the_page_of_a_bundle_names_nobody() -> None:
    assert "Asked for by" not in read(a_report()).text


@pytest.mark.parametrize("count", [2, 40])
def test_each_purpose_has_one_row_however_many_there_are(count: int) -> None:
    members = {f"member_{number}": number for number in range(12)}
    found = {f"purpose-{number}": {**members, "own": number, "deep": {"a": {"b": [1]}}} for number in range(count)}
    assert len(re.findall(r'<tr><th scope="row"><code>purpose-', value("by_purpose", found))) == count


def test_a_column_that_is_the_same_everywhere_is_one_sentence() -> None:
    shown = value("by_purpose", {f"p{number}": {"days": 365, "basis": None, "own": number} for number in range(3)})
    assert "In every row: Days 365." in shown
    assert "Not set in any row: Basis." in shown
    assert shown.count("365") == 1


def test_what_all_rows_say_of_a_policy_is_said_once_and_counts_stay() -> None:
    def row(entries: int) -> dict[str, object]:
        return {"policies": {"owner-only": {"entries": entries, "version": 1, "may": {"owner": ["retrieve"]}}}}

    shown = value("by_purpose", {"a": row(3), "b": row(4)})
    assert (shown.count("retrieve"), shown.count("Entries 3"), shown.count("Entries 4")) == (1, 1, 1)


def test_what_differs_between_rows_is_in_each_row() -> None:
    shown = value("by_purpose", {name: {"policies": {"p": {"version": name}, "q": {"x": "y"}}} for name in ("1", "2")})
    assert "Version: 1" in shown
    assert "Version: 2" in shown


def test_exceptions_are_grouped_by_kind_with_their_counts() -> None:
    cases = [{"what": "no key", "purpose": name, "count": 2} for name in ("a", "b")]
    cases += [{"what": "unused", "purpose": name, "who": "shop", "count": None} for name in ("a", "b")]
    text = re.sub(r"(?:<[^>]+>)+", "|", exceptions(cases))
    assert "|no key|2|a (2), b (2)|" in text
    assert "|unused|2|App shop: a, b|" in text


def test_a_chart_of_many_bars_shows_the_largest_and_the_sum_of_the_others() -> None:
    bars = [{"label": f"p{number}", "values": [number, 1]} for number in range(100)]
    drawn = chart({"title": "t", "unit": "u", "series": ["a", "b"], "bars": bars})
    assert drawn.count('class="label"') == 12
    assert "89 others together: 3,916 a, 89 b" in drawn


def test_a_count_of_the_items_beside_it_has_no_column_of_its_own() -> None:
    shown = value("by_purpose", {name: {"unused": [name], "unused_count": 1} for name in ("a", "b")})
    assert "count" not in shown
    assert "Unused count" in value("by_purpose", {name: {"unused": [name], "unused_count": 9} for name in ("a", "b")})


def test_a_long_narrow_table_is_set_in_halves() -> None:
    rows = [{"name": f"package-{number}", "version": number} for number in range(40)]
    assert 'class="halves"' in value("libraries", rows)
    assert 'class="halves"' not in value("libraries", [{**row, "text": f"{row} {'x' * 50}"} for row in rows])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("by_purpose", "By purpose"),
        ("max_value_bytes", "Maximum value in bytes"),
        ("purged_last_30_days", "Purged in the last 30 days"),
        ("lowest_tls_version", "Lowest TLS version"),
        ("wait_seconds", "Wait"),
    ],
)
def test_labels_are_words(name: str, shown: str) -> None:
    assert label(name) == shown


def test_codes_of_the_vault_are_words_and_data_is_unchanged() -> None:
    assert "no such entry (not a denial)" in value("by_reason", {"not_found": 2})
    assert "<code>not_found</code>" in value("by_purpose", {"not_found": 2})
    assert value("trigger", "time_limit") == "time limit"
    assert value("purpose", "card_data") == "card_data"
