"""Counts every number of the report again, slowly, from raw rows."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from tests.compliance.living import CRYPTOPERIODS, DAY, GRACE, HOUR, MAXIMUM, SETTINGS, START
from tests.compliance.raw_rows import Row

Path = tuple[str | int, ...]
ON_ENTRIES = {"store", "update", "retrieve", "inspect", "list", "purge"}
_LOGS_READ = "read-access-log read-purge-log read-report read-transparency-log read-receipt export-evidence"
_CREDENTIALS = "create-api-key revoke-api-key rotate-signing-key credential-added credential-changed credential-removed"
_SERVERS = "server-started server-stopped settings-reloaded schema-migrated plugins-loaded audit-gap control-failed"
CLASSES = {
    "10.2.1.1": ON_ENTRIES,
    "10.2.1.3": set(_LOGS_READ.split()),
    "10.2.1.5": set(_CREDENTIALS.split()),
    "10.2.1.6": set(_SERVERS.split()),
}
LAG_BOUNDS = {
    "up to 1 hour": HOUR, "up to 6 hours": 6 * HOUR, "up to 1 day": DAY, "up to 2 days": 2 * DAY, "up to 7 days": 7 * DAY,
    "up to 30 days": 30 * DAY, "longer": timedelta.max,
}  # fmt: skip
AGES = {"up to 30 days": 30, "31 to 90 days": 90, "91 to 365 days": 365, "1 to 2 years": 730, "over 2 years": 10**9}
ENDINGS = {"within 30 days": 30, "31 to 90 days": 90, "91 to 365 days": 365, "later": 10**6}


class Facts:
    """The raw rows of a vault, as of one instant, and the report that is recounted (for the names in it only)."""

    def __init__(self, rows: Mapping[str, Sequence[Row]], report: Mapping[str, Any], at: datetime) -> None:
        self.rows = rows
        self.report = report
        self.at = at

    @cached_property
    def access(self) -> list[Row]:
        """The access log of the period."""
        return [row for row in self.rows["access_log"] if START <= row["at"] < self.at]

    @cached_property
    def purges(self) -> list[Row]:
        """The purge log of the period."""
        return [row for row in self.rows["purge_log"] if START <= row["purged_at"] < self.at]

    @cached_property
    def entries(self) -> list[Row]:
        """The entries that are not purged."""
        return [row for row in self.rows["entries"] if row["purged_at"] is None]

    def of(self, purpose: str) -> list[Row]:
        """Return the entries of a purpose."""
        return [row for row in self.entries if row["purpose"] == purpose]

    def end(self, row: Row) -> datetime:
        """Return when an entry expires."""
        expires_at: datetime = row["expires_at"]
        return min(expires_at, row["created_at"] + timedelta(days=MAXIMUM[row["purpose"]]))

    def expired(self, purpose: str | None = None) -> list[Row]:
        """Return the expired entries."""
        return [row for row in self.entries if purpose in {None, row["purpose"]} and self.end(row) <= self.at]

    @cached_property
    def holds(self) -> dict[str, Row]:
        """The newest version of each hold that is in force."""
        newest = _newest(self.rows["legal_holds"], "name")
        return {name: row for name, row in newest.items() if row["released_at"] is None}

    def held(self, rows: Sequence[Row], hold: str | None = None) -> int:
        """Return how many of these entries a hold keeps."""
        purposes = {row["purpose"] for name, row in self.holds.items() if hold in {None, name}}
        return sum(row["purpose"] in purposes for row in rows)

    def overdue(self, purpose: str | None = None) -> int:
        """Return how many entries are overdue."""
        late = [row for row in self.expired(purpose) if self.end(row) <= self.at - GRACE]
        return len(late) - self.held(late)

    def lags(self, purpose: str | None = None) -> list[timedelta]:
        """Return the lags of purges, the shortest first."""
        rows = [row for row in self.purges if purpose in {None, row["purpose"]}]
        return sorted(row["purged_at"] - row["expired_at"] for row in rows if row["purged_at"] >= row["expired_at"])

    def lag(self, name: str, purpose: str | None = None) -> float:
        """Return one figure of the lags."""
        lags = self.lags(purpose)
        if name == "purges":
            return len(lags)
        share = {"p50_seconds": 50, "p99_seconds": 99, "max_seconds": 100}[name]
        return lags[math.ceil(len(lags) * share / 100) - 1].total_seconds()

    def denied(self) -> list[Row]:
        """Return the denied rows."""
        return [row for row in self.access if row["outcome"] == "denied"]

    def granted(self, *operations: str) -> list[Row]:
        """Return the granted rows of operations."""
        return [row for row in self.access if row["outcome"] == "granted" and row["operation"] in operations]

    @cached_property
    def stored_under(self) -> dict[str, list[datetime]]:
        """The times at which values were stored under each key_ref, also of values that are gone."""
        versions: dict[str, list[tuple[int, str | None]]] = {}
        for row in self.rows["purge_log"]:
            versions.setdefault(row["entry_id"], []).append((row["entry_version"], row["key_ref"]))
        for row in self.entries:
            versions.setdefault(row["entry_id"], []).append((row["version"], row["key_ref"]))
        found: dict[str, list[datetime]] = {}
        for row in self.granted("store"):
            later = [each for each in versions[row["entry_id"]] if each[0] >= row["entry_version"]]
            key_ref = min(later, key=lambda each: each[0])[1]
            if key_ref is not None:
                found.setdefault(key_ref, []).append(row["at"])
        return found

    @cached_property
    def keys(self) -> Counter[tuple[str, str]]:
        """The entries of each purpose and key_ref."""
        return Counter((row["purpose"], row["key_ref"]) for row in self.entries if row["key_ref"] is not None)

    def cryptoperiod(self, key_ref: str) -> int | None:
        """Return the days of the longest prefix that fits."""
        fitting = [prefix for prefix in CRYPTOPERIODS if key_ref.startswith(prefix)]
        return CRYPTOPERIODS[max(fitting, key=len)] if fitting else None

    def age(self, key_ref: str) -> int:
        """Return the days since the first value under a key."""
        return (self.at - min(self.stored_under[key_ref])).days

    def is_stale(self, key_ref: str) -> bool:
        """Whether a key is past its cryptoperiod."""
        days = self.cryptoperiod(key_ref)
        return days is not None and self.age(key_ref) >= days

    def used_late(self, key_ref: str) -> bool:
        """Whether a value was stored under a key after its cryptoperiod."""
        days, times = self.cryptoperiod(key_ref), self.stored_under[key_ref]
        return days is not None and (max(times) - min(times)).days >= days

    @cached_property
    def api_keys(self) -> list[Row]:
        """The newest version of each stored key."""
        return list(_newest(self.rows["api_keys"], "key_id").values())

    @cached_property
    def active_keys(self) -> list[Row]:
        """The stored keys that are active."""
        return [
            row
            for row in self.api_keys
            if row["revoked_at"] is None and (row["expires_at"] is None or row["expires_at"] > self.at)
        ]

    @cached_property
    def of_settings(self) -> list[dict[str, Any]]:
        """The keys in the settings, which have neither an age nor an expiry, and were never used."""
        keys: list[dict[str, Any]] = SETTINGS["auth"]["api_keys"]
        return keys

    def last_use(self, key_id: str) -> datetime:
        """Return the last use of a stored key."""
        (row,) = [row for row in self.rows["credential_uses"] if row["credential_id"] == key_id]
        used_at: datetime = row["last_used_at"]
        return used_at

    def reviews(self) -> list[dict[str, Any]]:
        """Return the documents of the access reviews and their notes, the newest first."""
        found = sorted(self.rows["access_reviews"], key=lambda row: -int(row["number"]))
        return [{**json.loads(row["document"]), "note": row["note"]} for row in found]

    def review(self, purpose: str) -> dict[str, Any]:
        """Return the newest review that has a purpose."""
        return next(each for each in self.reviews() if purpose in {of["purpose"] for of in each["purposes"]})

    def controls(self, state: str) -> list[Row]:
        """Return the changes to a state, the oldest first."""
        return sorted((row for row in self.rows["control_changes"] if row["state"] == state), key=lambda row: row["at"])

    def policies(self, table: str, name: str) -> list[Row]:
        """Return the newest versions of policies that are in force."""
        return [row for row in _newest(self.rows[table], name).values() if not row.get("dropped")]


def _newest(rows: Sequence[Row], name: str) -> dict[str, Row]:
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row["version"]):
        found[row[name]] = row
    return found


def numbers(document: Any, path: Path = ()) -> Iterator[tuple[Path, float]]:
    """Yield each number of a JSON document with its path."""
    if isinstance(document, Mapping):
        for name, each in document.items():
            yield from numbers(each, (*path, name))
    elif isinstance(document, list):
        for place, each in enumerate(document):
            yield from numbers(each, (*path, place))
    elif isinstance(document, int | float) and not isinstance(document, bool):
        yield path, document


def at_path(document: Any, path: Path) -> Any:
    """Return the member of a document at a path."""
    for part in path:
        document = document[part]
    return document


Count = Callable[[Facts, Path], Any]


class Rules:
    """Ways to count the numbers of the report, by the pattern of their paths. A ``*`` is any one part of a path."""

    def __init__(self, rules: Mapping[str, Count]) -> None:
        self._rules = [
            (re.compile("/".join(_part(part) for part in name.split("/"))), name, count)
            for name, count in rules.items()
        ]
        self.used: set[str] = set()

    @property
    def names(self) -> set[str]:
        """The patterns."""
        return {name for _, name, _ in self._rules}

    def find(self, path: Path) -> Count | None:
        """Return the way to count the number at a path, or None."""
        text = "/".join(map(str, path))
        for pattern, name, count in self._rules:
            if pattern.fullmatch(text):
                self.used.add(name)
                return count
        return None


def _part(part: str) -> str:
    return "[^/]+" if part == "*" else re.escape(part)
