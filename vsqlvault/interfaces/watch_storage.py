"""The part of a storage for changes of controls, attestations and access reviews. They are append-only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.control import ControlChange
from vsqlvault.model.database_access import DatabaseAccess
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class NewestControlChangeIs:
    """The newest recorded change of this control has this number; 0 if there is none."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class NewestAttestationIs:
    """The newest attestation has this number; 0 if there is none."""

    number: int


@dataclass(frozen=True, slots=True)
class NewestAccessReviewIs:
    """The newest access review has this number; 0 if there is none."""

    number: int


@dataclass(frozen=True, slots=True)
class SaveControlChange:
    """Add the change. Older ones are kept."""

    change: ControlChange


@dataclass(frozen=True, slots=True)
class SaveAttestation:
    """Add the attestation. Older ones are kept."""

    attestation: Attestation


@dataclass(frozen=True, slots=True)
class SaveAccessReview:
    """Add the access review. Older ones are kept."""

    review: AccessReview


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgesByIdQuery:
    """Rows of the purge log whose time is in ``[since, until)``, in the order of their ids, from ``first_id`` on."""

    first_id: str
    since: datetime
    until: datetime
    limit: int


class WatchStorage(Protocol):
    """The part of a storage that controls, attestations and access reviews use. Errors are as for ``Storage``."""

    async def control_states(self) -> Sequence[ControlChange]:
        """Return the newest change of every control, by name."""
        ...

    async def control_changes(self, since: datetime, until: datetime, limit: int) -> Sequence[ControlChange]:
        """Return changes whose time is in ``[since, until)``, oldest first."""
        ...

    async def attestations(self, before: int | None, limit: int) -> Sequence[Attestation]:
        """Return attestations, newest first: those numbered below ``before``, if it is given."""
        ...

    async def access_reviews(self, before: int | None, limit: int) -> Sequence[AccessReview]:
        """Return access reviews, newest first: those numbered below ``before``, if it is given."""
        ...

    async def newest_access_reviews(self, as_of: datetime) -> Sequence[AccessReview]:
        """Return the newest review of each purpose, and of all purposes, made at or before ``as_of``, by number.

        It must not scan the log.
        """
        ...

    async def database_access(self) -> DatabaseAccess | None:
        """Return who can reach the stored tables without the vault, or None if the storage does not know. No secrets."""
        ...

    async def purges_by_id(self, query: PurgesByIdQuery) -> Sequence[PurgeRecord]:
        """Return rows of the purge log in the order of their ids, byte by byte.

        Ids are random, so the order has no other meaning.
        """
        ...
