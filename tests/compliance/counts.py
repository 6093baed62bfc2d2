"""Slow counts over raw rows, for the numbers of the report that need more than one line."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from tests.compliance.living import DAY, MAXIMUM
from tests.compliance.recount import (
    AGES,
    CLASSES,
    ENDINGS,
    LAG_BOUNDS,
    ON_ENTRIES,
    Facts,
    Path,
    at_path,
)
from vsqlvault.model.times import format_time

NOBODY = "(not authenticated)"


def named(facts: Facts, path: Path, name: str) -> Any:
    """Return another member of the mapping that has the number at a path."""
    return at_path(facts.report, path[:-1])[name]


def bar(facts: Facts, path: Path) -> tuple[str, str, str]:
    """Return the title of the chart, the label of the bar and the series of a number in a chart."""
    chart = at_path(facts.report, path[:3])
    return chart["title"], at_path(facts.report, path[:5])["label"], chart["series"][path[-1]]


def in_retention_chart(facts: Facts, path: Path) -> int:
    title, label, series = bar(facts, path)
    if title.startswith("Time from expiry"):
        lower = [timedelta(-1), *LAG_BOUNDS.values()][list(LAG_BOUNDS).index(label)]
        return sum(lower < lag <= LAG_BOUNDS[label] for lag in facts.lags())
    if series == "expired, not purged":
        return len(facts.expired(label))
    left = [facts.end(row) - facts.at for row in facts.of(label) if facts.end(row) > facts.at]
    lower = [timedelta(0), *(days * DAY for days in ENDINGS.values())][list(ENDINGS).index(series)]
    return sum(lower < each <= ENDINGS[series] * DAY for each in left)


def in_key_chart(facts: Facts, path: Path) -> int:
    _, label, series = bar(facts, path)
    lower = [-1, *AGES.values()][list(AGES).index(label)]
    keys = [key for _, key in facts.keys if lower < facts.age(key) <= AGES[label]]
    return sum(facts.is_stale(key) == (series == "stale") for key in keys)


def exceptions_of_keys(facts: Facts) -> int:
    keys = [key for _, key in facts.keys]
    unnamed = {row["purpose"] for row in facts.entries if row["key_ref"] is None}
    return sum(map(facts.is_stale, keys)) + sum(map(facts.used_late, keys)) + len(unnamed)


def entries_of_exception(facts: Facts, path: Path) -> int:
    purpose, key_ref = named(facts, path, "purpose"), named(facts, path, "key_ref")
    return sum(row["key_ref"] == key_ref for row in facts.of(purpose))


def retirable(facts: Facts) -> int:
    purged = {(row["purpose"], row["key_ref"]) for row in facts.purges if row["key_ref"] is not None}
    return len(purged - facts.keys.keys())


def uses(facts: Facts, purpose: str) -> Counter[tuple[str, str]]:
    rows = [row for row in facts.granted(*ON_ENTRIES) if row["purpose"] == purpose and row["app"]]
    return Counter((row["app"], row["operation"]) for row in rows)


def holders(facts: Facts, purpose: str) -> set[str]:
    keys = [*facts.of_settings, *facts.active_keys]
    return {str(key["app"]) for key in keys if key["purposes"] is None or purpose in key["purposes"]}


def apps(facts: Facts, purpose: str) -> set[str]:
    return {app for app, _ in uses(facts, purpose)}


def may(facts: Facts) -> int:
    """Return the items of who may: apps with a purpose, the actions that policies in use allow, and undefined policies."""
    named = len(json.loads(facts.policies("access_policies", "name")[0]["rules"])["retrieve"]["allowed_apps"]) - 1
    allowed = {
        "owner-only": 5 + 1 + 3,  # the owner does all; a holder creates; an admin creates, inspects and purges
        "y2-tellers": 4 + 1 + 2 + named * 3,  # no rule for purge; a named app creates, inspects and retrieves
    }
    found = 0
    for purpose in MAXIMUM:
        policies = {row["access_policy"] for row in facts.of(purpose)}
        items = [
            (key["app"], key.get("identity"))
            for key in (*facts.of_settings, *facts.active_keys)
            if purpose in key["purposes"]
        ]
        found += len(set(items)) + sum(allowed.get(policy, 1) for policy in policies)
    return found


def exceptions_of_review(facts: Facts) -> int:
    undefined = {
        (row["purpose"], row["access_policy"]) for row in facts.entries if row["access_policy"] == "y2-undefined"
    }
    unused = sum(len(holders(facts, purpose) - apps(facts, purpose)) for purpose in MAXIMUM)
    found = len(undefined) + unused
    for purpose in MAXIMUM:
        review = facts.review(purpose)
        (reviewed,) = [each for each in review["purposes"] if each["purpose"] == purpose]
        shown = facts.report["access_review"]["figures"]["by_purpose"][purpose]
        found += (review["due_at"] <= facts.report["as_of"]) + (review["reviewed_by"]["identity"] is None)
        found += (reviewed["may_sha256"] != shown["may_sha256"]) + (review["note"] is None)
    return found


def reads(facts: Facts, app: str | None = None) -> int:
    return sum(app in {None, row["app"]} for row in facts.granted("retrieve", "list", "inspect"))


def by_method(facts: Facts, path: Path) -> int:
    stored, active = facts.api_keys, facts.active_keys
    revoked = sum(row["revoked_at"] is not None for row in stored)
    return {
        "active": len(active) + len(facts.of_settings),
        "expired": len(stored) - revoked - len(active),
        "revoked": revoked,
        "never_used": len(facts.of_settings),
        "without_expiry": len(facts.of_settings) + sum(row["expires_at"] is None for row in active),
        "expiring_next_30_days": sum(row["expires_at"] and row["expires_at"] - facts.at <= 30 * DAY for row in active),
        "older_than_max_age": sum((facts.at - row["created_at"]).days > 365 for row in active),
        "age_unknown": len(facts.of_settings),
    }[str(path[-1])]


def exceptions_of_credentials(facts: Facts) -> int:
    found = 2 * len(facts.of_settings)  # neither an age nor an expiry
    for row in facts.active_keys:
        found += ((facts.at - row["created_at"]).days > 365) + (row["expires_at"] is None)
    return found


def unused(facts: Facts) -> int:
    late = [row for row in facts.active_keys if facts.at - facts.last_use(row["key_id"]) > 90 * DAY]
    return len(late) + len(facts.of_settings)


def by_operation(facts: Facts, path: Path) -> int:
    rows = [row for row in facts.access if row["operation"] == path[-2]]
    of_one = path[-2] in {"store", "retrieve", "inspect", "purge"}
    lacks = {
        "granted": lambda row: row["outcome"] == "granted",
        "denied": lambda row: row["outcome"] == "denied",
        "without_app": lambda row: row["app"] is None,
        "without_origin": lambda row: row["client_address"] is None and row["method"] != "system",
        "without_subject": lambda row: of_one and row["external_id"] is None and row["detail"] is None,
    }
    return sum(map(lacks[str(path[-1])], rows))


def by_class(facts: Facts, path: Path) -> int:
    number = str(path[-2])
    if number == "10.2.1.2":
        return sum(row["role"] == "admin" for row in facts.access)
    if number == "10.2.1.4":
        return len(facts.denied())
    return sum(row["operation"] in CLASSES[number] for row in facts.access)


def by_role(facts: Facts, path: Path) -> int:
    def name(row: Any) -> str:
        return row["role"] or ("(the vault itself)" if row["app"] == "vsqlvault" else "(no role)")

    return sum(name(row) == path[-1] for row in facts.access)


def denied(facts: Facts, column: str, value: Any, other: str = "") -> int:
    return sum(row["count"] for row in facts.denied() if (row[column] or other) == value)


def of_day(facts: Facts, day: str, kind: str) -> int:
    on = date.fromisoformat(day)
    if kind == "purged":
        return sum(row["purged_at"].date() == on for row in facts.purges)
    if kind == "denied":
        return sum(row["count"] for row in facts.denied() if row["at"].date() == on)
    return sum(row["at"].date() == on for row in facts.granted({"stored": "store", "retrieved": "retrieve"}[kind]))


def in_all(facts: Facts, kind: str) -> int:
    return {
        "stored": len(facts.granted("store")),
        "retrieved": len(facts.granted("retrieve")),
        "denied": sum(row["count"] for row in facts.denied()),
        "purged": len(facts.purges),
    }[kind]


def active_days(facts: Facts) -> int:
    days = {row["at"].date() for row in (*facts.denied(), *facts.granted("store", "retrieve"))}
    return len(days | {row["purged_at"].date() for row in facts.purges})


def sweep(facts: Facts, path: Path) -> Any:
    shown = named(facts, path, "sweep")
    (row,) = [row for row in facts.rows["sweeps"] if row["sweep_id"] == shown]
    if path[-1] == "seconds":
        return (row["finished_at"] - row["started_at"]).total_seconds()
    return row[str(path[-1])]


def last_sweep(facts: Facts, column: str) -> Any:
    return max(facts.rows["sweeps"], key=lambda row: row["finished_at"])[column]


def changes(facts: Facts) -> int:
    return len(facts.rows["access_policies"]) + len(facts.rows["retention_policies"])


def late_failures(facts: Facts) -> int:
    """Return the ended failures without cause and remedy, as all have ended."""
    named = {json.loads(row["new_value"])["failed_at"] for row in facts.granted("acknowledge-failure")}
    return len(facts.controls("failing")) - len(named)


def events(facts: Facts, *operations: str) -> int:
    return sum(row["count"] for row in facts.access if row["operation"] in operations)


def with_role(facts: Facts) -> int:
    return sum(row["role"] is not None for row in facts.access)


def without_identity(facts: Facts) -> list[tuple[str, str]]:
    return [(row["app"], row["role"]) for row in facts.access if row["role"] and row["identity"] is None and row["app"]]


def classes(facts: Facts, name: Any) -> int:
    newest = {row["purpose"]: row["data_class"] for row in facts.policies("retention_policies", "purpose")}
    return sum((newest[row["purpose"]] or "(no data class)") == name for row in facts.entries)


def hints(facts: Facts, name: Any) -> int:
    return sum((row["algorithm_hint"] or "(none given)") == name for row in facts.entries)


def providers(facts: Facts, name: Any) -> int:
    def of(key: str) -> str:
        return key.partition(":")[0] if ":" in key else "(no provider named)"

    return sum(count for (_, key), count in facts.keys.items() if of(key) == name)


def recent(facts: Facts) -> int:
    purged = [row for row in facts.rows["purge_log"] if facts.at - 30 * DAY < row["purged_at"] <= facts.at]
    return sum(row["reason"] != "replaced" for row in purged)


def version(facts: Facts, path: Path) -> int:
    """Return the version of a change, from the rows that are in its table with its time and name."""
    kind, name, at = (named(facts, path, each) for each in ("kind", "name", "at"))
    table, column = ("access_policies", "name") if kind == "access" else ("retention_policies", "purpose")
    (version,) = [
        row["version"] for row in facts.rows[table] if row[column] == name and format_time(row["created_at"]) == at
    ]
    return int(version)


def exceptions_of_attestations(facts: Facts) -> int:
    made = sorted(facts.rows["attestations"], key=lambda row: row["number"])
    late = sum(after["at"] - before["at"] > 92 * DAY for before, after in pairwise(made))
    return late + (not made[-1]["is_clean"]) + (made[-1]["note"] is None) + (made[-1]["at"] + 90 * DAY <= facts.at)


def gaps_of_sweeps(facts: Facts) -> list[timedelta]:
    """Return the times between the ends of sweeps, and from the last one to the end of the period."""
    return [
        after - before
        for before, after in pairwise([*sorted(row["finished_at"] for row in facts.rows["sweeps"]), facts.at])
    ]
