"""The counts of the compliance report, taken by a storage in one consistent state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import date, datetime, timedelta

from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse
from vsqlvault.quick_dataclass import dataclass

ENDING_WITHIN_DAYS = (30, 90, 365)
LAG_BOUNDS_SECONDS = (3_600, 6 * 3_600, 86_400, 2 * 86_400, 7 * 86_400, 30 * 86_400)
MAX_LISTED_CHANGES = 200
MAX_LISTED_KEYS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceQuery:
    """What to count: entries as of one time, and rows of the logs whose time is in ``[since, until)``.

    ``retention_limits`` maps each purpose with a retention policy to a time. Entries created at or before it are
    expired by the maximum at ``as_of``. An entry is overdue if it had expired ``grace`` before ``as_of``.
    ``known_policies`` are the defined access policies. A storage may keep exact counters. ``from_rows`` requests the
    same counts without counters, however long it takes.
    """

    as_of: datetime
    since: datetime
    until: datetime
    retention_limits: Mapping[str, datetime]
    grace: timedelta
    known_policies: Sequence[str] = ()
    from_rows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Entries with the same purpose, algorithm_hint, access policy and owner, created at or before ``as_of`` and not
    purged.

    ``expired`` counts those past their effective expiry, and ``overdue`` those expired for longer than the grace.
    ``ending`` counts the active ones that expire within each of ``ENDING_WITHIN_DAYS``; each count includes the ones
    before.
    """

    purpose: str
    algorithm_hint: str | None
    access_policy: str
    owner_app: str
    active: int
    expired: int
    overdue: int
    ending: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class PurgeCount:
    """The number of versions destroyed in the period, by purpose, reason and method."""

    purpose: str
    reason: str
    method: str
    count: int


@dataclass(frozen=True, slots=True)
class PurgeLag:
    """The lag, ``purged_at`` minus ``expired_at``, of versions destroyed in the period at or after their expiry.

    The percentiles are by nearest rank: the smallest lag that at least this percentage does not exceed.
    """

    count: int
    p50: timedelta
    p99: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class RetiredKey:
    """A key_ref whose last value was destroyed in the period."""

    purpose: str
    key_ref: str
    last_purged_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCount:
    """Rows of the access log in the period with the same values of all fields here.

    ``purpose`` is None also if no retention policy has the purpose. ``events`` is the sum of the rows' ``count``.
    ``without_app`` counts rows without an app. ``without_origin`` counts rows without a client address, except rows of
    the vault itself. ``without_subject`` counts rows of the four operations on one entry without both external_id and
    ``detail``. ``role`` is that of the caller. ``without_identity`` counts rows with an app but without an identity,
    except rows of the vault itself.
    """

    operation: str
    outcome: str
    reason: str | None
    purpose: str | None
    app: str | None
    rows: int
    events: int
    first_at: datetime
    last_at: datetime
    without_app: int
    without_origin: int
    without_subject: int
    role: str | None = None
    without_identity: int = 0


@dataclass(frozen=True, slots=True)
class DayCount:
    """The activity of one day, in UTC, within the period.

    ``stored`` and ``retrieved`` count granted rows, ``denied`` the sum of ``count`` of denied rows, and ``purged`` rows of the
    purge log.
    """

    day: date
    stored: int = 0
    retrieved: int = 0
    denied: int = 0
    purged: int = 0


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A version of a policy that was created in the period. ``kind`` is ``access`` or ``retention``."""

    kind: str
    name: str
    version: int
    dropped: bool
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The counts.

    ``oldest_expired_at`` has, for each purpose with expired entries, the earliest effective expiry of those not purged.
    ``lags`` has one item per purpose, and under None the one of all. ``lag_histogram`` counts the same rows by
    ``LAG_BOUNDS_SECONDS``: up to the first bound, up to the second, and so on; the last number counts those beyond.
    ``retired_keys`` has at most ``MAX_LISTED_KEYS``, by purpose and key_ref. ``policy_changes`` has the oldest
    ``MAX_LISTED_CHANGES`` of ``policy_changes_count``. ``days`` has each day with rows, in order.
    ``oldest_access_at`` and ``oldest_purge_at`` are of the whole logs.

    A storage with counters also returns ``entry_statistics``, and in ``key_uses`` the key_refs of each purpose, at most
    ``MAX_LISTED_KEYS`` plus one. If they are None, ``Storage.entry_statistics`` and ``Storage.key_refs`` are called.
    """

    holdings: Sequence[Holding] = ()
    oldest_expired_at: Mapping[str, datetime] = field(default_factory=dict)
    purges: Sequence[PurgeCount] = ()
    lags: Mapping[str | None, PurgeLag] = field(default_factory=dict)
    lag_histogram: Sequence[int] = (0,) * (len(LAG_BOUNDS_SECONDS) + 1)
    retired_keys: Sequence[RetiredKey] = ()
    access: Sequence[AccessCount] = ()
    days: Sequence[DayCount] = ()
    policy_changes: Sequence[PolicyChange] = ()
    policy_changes_count: int = 0
    oldest_access_at: datetime | None = None
    oldest_purge_at: datetime | None = None
    entry_statistics: EntryStatistics | None = None
    key_uses: Sequence[tuple[str, KeyRefUse]] | None = None
