"""The compliance report as one HTML page: no script, no external resource, no knowledge of particular sections."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from vsqlvault import __version__
from vsqlvault.report_html.charts import chart
from vsqlvault.report_html.day_charts import day_charts
from vsqlvault.report_html.tables import NUMBER, cell, value
from vsqlvault.report_html.tables import exceptions as exceptions_table
from vsqlvault.report_html.words import label

_STYLE = files("vsqlvault.report_html").joinpath("report.css").read_text("utf-8")
_HTTP_ONLY = "frame-ancestors 'none'; sandbox allow-top-navigation-by-user-activation"

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


@dataclass(frozen=True, slots=True)
class Reading:
    """Which vault a report is of, who asked for it, and the SHA-256 of the same facts as ``report.json`` of a bundle.

    ``origin`` None: the vault's log is not signed.
    """

    origin: str | None
    asked_by: str
    digest: str


def content_security_policy(report: Mapping[str, Any], reading: Reading | None = None) -> str:
    """Return the Content-Security-Policy of a page. A meta element of the page repeats it as far as HTML allows."""
    return f"{_policy(running_heads(report, reading))}; {_HTTP_ONLY}"


def _policy(heads: str) -> str:
    hashes = " ".join(
        f"'sha256-{b64encode(hashlib.sha256(style.encode('utf-8')).digest()).decode('ascii')}'"
        for style in (_STYLE, heads)
    )
    return f"default-src 'none'; style-src {hashes}; base-uri 'none'; form-action 'none'"


def running_heads(report: Mapping[str, Any], reading: Reading | None) -> str:
    """Return the style of the heads and feet of printed pages."""
    origin = (reading and reading.origin) or "VibeSQL Vault"
    digest = f"report.json {reading.digest[:16]}…" if reading else ""
    return (
        f'@page {{ @top-left {{ content: "{_in_css(origin)}" }} @top-right {{ content: "{_in_css(report["as_of"])}" }} '
        f'@bottom-left {{ content: "{_in_css(digest)}" }} }}'
    )


def _in_css(text: str) -> str:
    """Return text for a string of a style sheet: everything but ASCII letters and digits as an escape."""
    return "".join(each if each.isascii() and each.isalnum() else f"\\{ord(each):x} " for each in text)


def report_page(report: Mapping[str, Any], reading: Reading | None = None) -> bytes:
    """Return the page of a report as HTML in UTF-8: the same report and reading give the same bytes.

    ``reading`` None: the page does not say who asked for it, as in a bundle.
    """
    members = {name: member for name, member in report.items() if name not in _CORE and isinstance(member, Mapping)}
    assessed = {name: member for name, member in members.items() if "result" in member or member.get("failed")}
    plain = {name: member for name, member in members.items() if name not in assessed}
    title = f"Compliance report as of {report['as_of']}"
    body = [
        _head(report, reading),
        _cards(plain.pop("summary", {})),
        _contents(assessed),
        *(_section(name, member) for name, member in assessed.items()),
        _plain_members(plain),
        _appendix(report.get("requirements", {})),
    ]
    heads = running_heads(report, reading)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(_policy(heads))}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f"<style>{_STYLE}</style><style>{heads}</style></head><body><main>{''.join(body)}</main></body></html>\n"
    )
    return page.encode("utf-8")


def _head(report: Mapping[str, Any], reading: Reading | None) -> str:
    period = report.get("period") or {}
    standard = report.get("requirements", {}).get("standard", "")
    span = "\u2013"
    if period:
        span = f"{value('since', period['since'])} to {value('until', period['until'])}"
        span += (
            f"; for a query of a log <code>since={escape(period['since'])}&amp;until={escape(period['until'])}</code>"
        )
    return (
        f'<header><p class="eyebrow">VibeSQL Vault \u00b7 {escape(standard)} evidence</p><h1>Compliance report</h1>'
        f'<dl class="facts">{_vault(reading)}<div><dt>As of</dt><dd>{value("as_of", report["as_of"])}</dd></div>'
        f"<div><dt>Logs counted from</dt><dd>{span}</dd></div>"
        f"<div><dt>Written by</dt><dd>vsqlvault {escape(__version__)}</dd></div></dl>"
        f'<p class="note">{escape(report.get("requirements", {}).get("note", ""))}</p></header>'
    )


def _vault(reading: Reading | None) -> str:
    if reading is None:
        return ""
    return (
        f"<div><dt>Vault</dt><dd>{escape(reading.origin or 'its log is not signed')}</dd></div>"
        f"<div><dt>Asked for by</dt><dd>{escape(reading.asked_by)}</dd></div>"
        f'<div class="wide"><dt>SHA-256 of the facts on this page, as a canonical report.json</dt>'
        f"<dd>{value('digest', reading.digest)}</dd></div>"
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
        f"{cell('Requirements', _numbers(member))}{cell('Result', _badge(member))}"
        f"{cell('Exceptions', _exceptions_count(member), NUMBER)}</tr>"
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
        *([("Requirements", _numbers(member))] if member.get("requirements") else []),
        ("How it was counted", escape(str(member.get("method", "")))),
        ("How to check it", escape(_check(member))),
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


def _check(member: Mapping[str, Any]) -> str:
    """Return the check without the limits of the period, which the head of the page has once for all sections."""
    period = member.get("period") or {}
    limits = f" Add since={period.get('since')}&until={period.get('until')} to a query of a log."
    return str(member.get("check", "")).removesuffix(limits)


def _exceptions(member: Mapping[str, Any]) -> str:
    exceptions = member.get("exceptions") or {}
    listed, count = exceptions.get("listed", []), exceptions.get("count", 0)
    if not count:
        return ""
    more = f"<p>{count - len(listed):,} more are not listed.</p>" if count > len(listed) else ""
    return f'<div class="exceptions"><h3>Exceptions ({count:,})</h3>{exceptions_table(listed)}{more}</div>'


DAYS = "days"
"""The figure that is drawn by day and has no table."""

_SHAPE = frozenset({
    "title", "requirements", "result", "supports", "measured", "period", "method", "check", "population", "exceptions", "owner",
    "charts", "figures",
})  # fmt: skip


def _figures(member: Mapping[str, Any]) -> str:
    """Render the figures, and the members beyond the common shape."""
    own = dict(member.get("figures", {}))
    days = own.pop(DAYS, None)
    figures = {**own, **{name: each for name, each in member.items() if name not in _SHAPE}}
    shown = value("figures", figures) if figures else ""
    return shown + day_charts(days) if _are_days(days) else shown


def _are_days(found: Any) -> bool:
    """Whether a figure is a list of counts by day."""
    return isinstance(found, list) and all(isinstance(each, Mapping) and "day" in each for each in found)


def _plain_members(plain: Mapping[str, Mapping[str, Any]]) -> str:
    return "".join(
        f'<section aria-labelledby="{escape(name)}"><h2 id="{escape(name)}">{escape(label(name))}</h2>'
        f"{_plain(name, member) if member else '<p>None.</p>'}</section>"
        for name, member in plain.items()
    )


def _plain(name: str, member: Mapping[str, Any]) -> str:
    """Render how the figures were counted as one paragraph, and the figures. An only table of figures needs no heading."""
    said = " ".join(str(member[each]) for each in ("method", "check") if each in member)
    figures = {each: found for each, found in member.items() if each not in {"method", "check"}}
    only = next(iter(figures.values())) if len(figures) == 1 else figures
    shown = value(name, only if isinstance(only, Mapping) else figures) if only else "<p>None.</p>"
    return (f'<p class="supports">{escape(said)}</p>' if said else "") + shown


def _appendix(requirements: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr id="req-{escape(number)}"><th scope="row">{escape(number)}</th>{cell("Title", escape(each["title"]))}'
        f"{cell('Sections', ', '.join(map(_link, each['sections'])))}</tr>"
        for number, each in requirements.get("by_id", {}).items()
    )
    aliases = "".join(
        f'<tr><th scope="row">{escape(each["number"])}</th>{cell("Label", escape(each["label"]))}'
        f"{cell('In v4.0.1', escape(', '.join(each['requirements'])))}{cell('Note', escape(each['note']))}</tr>"
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
