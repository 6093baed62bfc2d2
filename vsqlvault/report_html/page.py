"""The compliance report as one HTML page: no script, no external resource, no knowledge of particular sections."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from vsqlvault import __version__
from vsqlvault.report_html.charts import chart
from vsqlvault.report_html.values import label, value

_STYLE = files("vsqlvault.report_html").joinpath("report.css").read_text("utf-8")
_STYLE_HASH = b64encode(hashlib.sha256(_STYLE.encode("utf-8")).digest()).decode("ascii")
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"
CONTENT_SECURITY_POLICY = f"{_POLICY}; frame-ancestors 'none'; sandbox allow-top-navigation-by-user-activation"
"""The Content-Security-Policy of the page, repeated in a meta element as far as HTML allows."""

_CORE = ("as_of", "period", "requirements")
_RESULTS = {
    "supports": ("ok", "Supports", "\u2713"),
    "exceptions": ("warn", "Exceptions", "!"),
    "not_assessed": ("none", "Not assessed", "?"),
}
_MEASURED = {
    "as_of": "as of the instant of this report",
    "period": "entries as of the instant of this report, logs over its period",
    "now": "of the time at which this report was written",
}


def report_page(report: Mapping[str, Any]) -> bytes:
    """Return the page of a report as HTML in UTF-8: the same report gives the same bytes."""
    members = {name: member for name, member in report.items() if name not in _CORE and isinstance(member, Mapping)}
    assessed = {name: member for name, member in members.items() if "result" in member or member.get("failed")}
    plain = {name: member for name, member in members.items() if name not in assessed}
    title = f"Compliance report as of {report['as_of']}"
    body = [
        _head(report),
        _cards(plain.pop("summary", {})),
        _contents(assessed),
        *(_section(name, member) for name, member in assessed.items()),
        _plain_members(plain),
        _appendix(report.get("requirements", {})),
    ]
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{_STYLE}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )
    return page.encode("utf-8")


def _head(report: Mapping[str, Any]) -> str:
    period = report.get("period") or {}
    standard = report.get("requirements", {}).get("standard", "")
    span = f"{value('since', period['since'])} to {value('until', period['until'])}" if period else "\u2013"
    return (
        f'<header><p class="eyebrow">VibeSQL Vault \u00b7 {escape(standard)} evidence</p><h1>Compliance report</h1>'
        f'<dl class="facts"><div><dt>As of</dt><dd>{value("as_of", report["as_of"])}</dd></div>'
        f"<div><dt>Logs counted from</dt><dd>{span}</dd></div>"
        f"<div><dt>Written by</dt><dd>vsqlvault {escape(__version__)}</dd></div></dl>"
        f'<p class="note">{escape(report.get("requirements", {}).get("note", ""))}</p></header>'
    )


def _cards(summary: Mapping[str, Any]) -> str:
    cards = "".join(
        f"<div><dt>{escape(label(name))}</dt><dd>{value(name, number)}</dd></div>" for name, number in summary.items()
    )
    heading = '<h2 id="summary" class="quiet">Summary</h2>'
    return f'<section aria-labelledby="summary">{heading}<dl class="cards">{cards}</dl></section>'


def _contents(assessed: Mapping[str, Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><a href="#{escape(name)}">{escape(_title(name, member))}</a></th>'
        f'<td>{_numbers(member)}</td><td>{_badge(member)}</td><td class="number">{_exceptions_count(member)}</td></tr>'
        for name, member in assessed.items()
    )
    return (
        '<section aria-labelledby="overview"><h2 id="overview">Overview</h2><table><thead><tr><th scope="col">Section</th>'
        '<th scope="col">Requirements</th><th scope="col">Result</th><th scope="col" class="number">Exceptions</th>'
        "</tr></thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )


def _section(name: str, member: Mapping[str, Any]) -> str:
    heading = f'<h2 id="{escape(name)}">{escape(_title(name, member))} {_badge(member)}</h2>'
    if member.get("failed"):
        text = "This section could not be written. The vault's log has the reason. The other sections are not affected."
        return f'<section aria-labelledby="{escape(name)}">{heading}<p>{text}</p></section>'
    facts = [
        ("Requirements", _numbers(member)),
        ("How it was counted", escape(str(member.get("method", "")))),
        ("Measured", escape(_MEASURED.get(str(member.get("measured")), str(member.get("measured", ""))))),
        ("Population", value("population", member.get("population"))),
    ]
    if member.get("owner"):
        facts.append(("Owner", escape(str(member["owner"]))))
    shown = "".join(f"<div><dt>{term}</dt><dd>{text}</dd></div>" for term, text in facts)
    return (
        f'<section aria-labelledby="{escape(name)}">{heading}<p class="supports">{escape(str(member.get("supports", "")))}</p>'
        f'<dl class="facts method">{shown}</dl>{_exceptions(member)}'
        f"{''.join(chart(each) for each in member.get('charts', ()))}"
        f"{_figures(member)}</section>"
    )


def _exceptions(member: Mapping[str, Any]) -> str:
    exceptions = member.get("exceptions") or {}
    listed, count = exceptions.get("listed", []), exceptions.get("count", 0)
    if not count:
        return ""
    more = f"<p>{count - len(listed):,} more are not listed.</p>" if count > len(listed) else ""
    return f'<div class="exceptions"><h3>Exceptions ({count:,})</h3>{value("exceptions", listed)}{more}</div>'


_SHAPE = frozenset({
    "title", "requirements", "result", "supports", "measured", "period", "method", "population", "exceptions", "owner",
    "charts", "figures",
})  # fmt: skip


def _figures(member: Mapping[str, Any]) -> str:
    """Render the figures, and the members beyond the common shape."""
    figures = {**member.get("figures", {}), **{name: each for name, each in member.items() if name not in _SHAPE}}
    return value("figures", figures) if figures else ""


def _plain_members(plain: Mapping[str, Mapping[str, Any]]) -> str:
    return "".join(
        f'<section aria-labelledby="{escape(name)}"><h2 id="{escape(name)}">{escape(label(name))}</h2>'
        f"{value(name, member) if member else '<p>None.</p>'}</section>"
        for name, member in plain.items()
    )


def _appendix(requirements: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr id="req-{escape(number)}"><th scope="row">{escape(number)}</th><td>{escape(each["title"])}</td>'
        f"<td>{', '.join(map(_link, each['sections']))}</td></tr>"
        for number, each in requirements.get("by_id", {}).items()
    )
    aliases = "".join(
        f'<tr><th scope="row">{escape(each["number"])}</th><td>{escape(each["label"])}</td>'
        f"<td>{escape(', '.join(each['requirements']))}</td><td>{escape(each['note'])}</td></tr>"
        for each in requirements.get("aliases", ())
    )
    return (
        '<section aria-labelledby="requirements"><h2 id="requirements">Requirements and where their evidence is</h2>'
        "<table><thead><tr>"
        '<th scope="col">Id</th><th scope="col">Title, in our own words</th><th scope="col">Sections</th></tr></thead>'
        f'<tbody>{rows}</tbody></table><h3>Other numbers in use</h3><table><thead><tr><th scope="col">Number</th>'
        f'<th scope="col">Label</th><th scope="col">In v4.0.1</th><th scope="col">Note</th></tr></thead><tbody>{aliases}'
        "</tbody></table></section>"
    )


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(label(name))}</a>'


def _title(name: str, member: Mapping[str, Any]) -> str:
    return str(member.get("title") or label(name))


def _numbers(member: Mapping[str, Any]) -> str:
    numbers = member.get("requirements") or []
    return " ".join(f'<a class="req" href="#req-{escape(str(each))}">{escape(str(each))}</a>' for each in numbers)


def _badge(member: Mapping[str, Any]) -> str:
    kind, word, sign = (
        ("bad", "Failed", "\u00d7")
        if member.get("failed")
        else _RESULTS.get(str(member.get("result")), ("none", str(member.get("result")), "?"))
    )
    return f'<span class="badge {kind}"><span aria-hidden="true">{sign}</span> {escape(word)}</span>'


def _exceptions_count(member: Mapping[str, Any]) -> str:
    count = (member.get("exceptions") or {}).get("count")
    return "\u2013" if count is None else f"{count:,}"
