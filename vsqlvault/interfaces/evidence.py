"""What the compliance report counts of a vault and its logs, taken by a storage in one consistent state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vsqlvault.interfaces.storage import EntryStatistics, KeyRefUse

ENDING_WITHIN_DAYS = (30, 90, 365)
LAG_BOUNDS_SECONDS = (3_600, 6 * 3_600, 86_400, 2 * 86_400, 7 * 86_400, 30 * 86_400)
MAX_LISTED_CHANGES = 200
MAX_LISTED_KEYS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceQuery:
    """What is counted: entries as of one instant, rows of the logs whose time is in ``[since, until)``.

    ``retention_limits`` maps each purpose that has a retention policy to the instant at or before which an entry must have been
    created to be expired by the maximum at ``as_of``. An entry is overdue that had expired ``grace`` before ``as_of``.
    ``known_policies`` are the access policies that are defined. A storage may keep counts, if they are exact; ``from_rows``
    asks for the same without them, however long it takes.
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
    """Entries that share purpose, algorithm_hint, access policy and owner, created at or before ``as_of`` and not purged.

    ``expired`` counts those past their effective expiry, ``overdue`` those of them that are for longer than the grace.
    ``ending`` counts the active ones that end within each of ``ENDING_WITHIN_DAYS``; each count has those before in it.
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
    """How many versions were destroyed in the period, of one purpose, for one reason, by one method."""

    purpose: str
    reason: str
    method: str
    count: int


@dataclass(frozen=True, slots=True)
class PurgeLag:
    """Of what was destroyed in the period at or after its expiry: ``purged_at`` less ``expired_at``.

    The percentiles are by nearest rank: the smallest lag that at least so many of a hundred do not exceed.
    """

    count: int
    p50: timedelta
    p99: timedelta
    longest: timedelta


@dataclass(frozen=True, slots=True)
class RetiredKey:
    """A key_ref under which something was destroyed in the period, and under which nothing lies any more."""

    purpose: str
    key_ref: str
    last_purged_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessCount:
    """Rows of the access log in the period that share all that is named here.

    ``purpose`` is None also where no retention policy knows the purpose. ``events`` is the sum of the rows' ``count``.
    ``without_app``, ``without_origin`` and ``without_subject`` count rows that lack the app, the client's address (rows of
    the vault itself left out), and, of the four operations on one entry, the external_id and a ``detail`` in its place.
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


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One version of a policy that came into force in the period. ``kind`` is ``access`` or ``retention``."""

    kind: str
    name: str
    version: int
    dropped: bool
    changed_by: str
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The counts, each as its type says.

    ``oldest_expired_at`` has the earliest effective expiry of those expired and not purged, for each purpose with any.
    ``lags`` has one for each purpose, and under None the one of all; ``lag_histogram`` counts the same rows by
    ``LAG_BOUNDS_SECONDS``: up to the first bound, up to the second, and so on; the last number is of those beyond.
    ``retired_keys`` has at most ``MAX_LISTED_KEYS``, by purpose and key_ref. ``policy_changes`` has the oldest
    ``MAX_LISTED_CHANGES`` of ``policy_changes_count``. ``oldest_access_at`` and ``oldest_purge_at`` are of the whole logs.

    A storage that has them at hand also gives the ``entry_statistics``, and as ``key_uses`` the key_refs of each
    purpose, with the
    purpose, up to one more than ``MAX_LISTED_KEYS``. Where they are None, ``Storage.entry_statistics`` and
    ``Storage.key_refs`` are
    asked.
    """

    holdings: Sequence[Holding] = ()
    oldest_expired_at: Mapping[str, datetime] = field(default_factory=dict)
    purges: Sequence[PurgeCount] = ()
    lags: Mapping[str | None, PurgeLag] = field(default_factory=dict)
    lag_histogram: Sequence[int] = (0,) * (len(LAG_BOUNDS_SECONDS) + 1)
    retired_keys: Sequence[RetiredKey] = ()
    access: Sequence[AccessCount] = ()
    policy_changes: Sequence[PolicyChange] = ()
    policy_changes_count: int = 0
    oldest_access_at: datetime | None = None
    oldest_purge_at: datetime | None = None
    entry_statistics: EntryStatistics | None = None
    key_uses: Sequence[tuple[str, KeyRefUse]] | None = None
