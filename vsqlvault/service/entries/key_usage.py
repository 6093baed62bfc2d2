"""The first and the last use of each key_ref, which stay when its entries are purged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from vsqlvault.errors import FieldError, ValidationFailed, VaultError
from vsqlvault.interfaces.storage import KeyRefQuery, Storage
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.times import format_time
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.tasks import PeriodicTask

log = logging.getLogger(__name__)
METHOD = "(key_ref)"
"""The method under which uses of keys are kept beside those of credentials. No authenticator has this name."""
FLUSH_SECONDS = 60.0
SEED_EVERY = timedelta(days=1)
MAX_KEYS = 10_000
MAX_SEEDED = 1_000
Period = Callable[[str], int | None]


class KeyUsage:
    """Records when values were stored under each key_ref (PCI DSS 4.0.1, 3.7.4 and 3.7.5).

    A PUT only adds the key_ref to a map. Once a minute the times are written to the storage, in one write. A process that is
    killed loses at most those of the last minute. Once a day the entries that are stored are counted too, so that keys from
    before are known. At most ``MAX_KEYS`` key_refs are recorded.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        cryptoperiod_days: Period,
        refuses_stale: bool = False,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        """``cryptoperiod_days`` returns the period of a key_ref. ``refuses_stale``: no value is stored under a stale key."""
        self._storage = storage
        self._queue = queue
        self._cryptoperiod_days = cryptoperiod_days
        self._refuses_stale = refuses_stale
        self._pending: dict[str, datetime] = {}
        self._known: Mapping[str, CredentialUse] = {}
        self._seeded_at: datetime | None = None
        self.task = PeriodicTask("key usage", self.step, flush_seconds)
        """Writes the uses once a minute."""

    def require_current(self, key_ref: str | None, now: datetime) -> None:
        """Refuse a key past its cryptoperiod, if the settings say so.

        Raises:
            ValidationFailed.
        """
        if not self._refuses_stale or key_ref is None or (use := self._known.get(key_ref)) is None:
            return
        days = self._cryptoperiod_days(key_ref)
        if days is not None and now - use.first_used_at >= timedelta(days=days):
            expected = f"a key within its cryptoperiod of {days} days: this one is in use since "
            raise ValidationFailed(errors=[FieldError("key_ref", expected + format_time(use.first_used_at))])

    def note(self, key_ref: str | None, at: datetime) -> None:
        """Note that a value was stored under a key."""
        if key_ref is not None and (key_ref in self._known or len(self._known) + len(self._pending) < MAX_KEYS):
            self._pending[key_ref] = at

    async def lifetimes(self) -> Mapping[str, CredentialUse]:
        """Return the first and the last use of each key_ref, those of this process included. Raises Unavailable."""
        await self._read()
        return {**self._known, **{name: self._with(name, at) for name, at in self._pending.items()}}

    async def flush(self) -> None:
        """Write the uses to the storage; those that it does not accept now are kept for the next time."""
        try:
            await self._flush()
        except VaultError as error:
            log.warning("uses of keys wait for the storage", extra={"error": error.slug})

    async def step(self) -> None:
        """Write the uses, and once a day count the stored entries. Raises Unavailable."""
        now = (await self._queue.read()).now
        if self._seeded_at is None or now - self._seeded_at >= SEED_EVERY:
            await self._seed(now)
            self._seeded_at = now
        await self._flush()

    async def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        try:
            if pending:
                await self._storage.record_usages({CredentialName(METHOD, name): at for name, at in pending.items()})
        except VaultError:
            self._pending = {**pending, **self._pending}
            raise
        await self._read()

    async def _read(self) -> None:
        uses = await self._storage.credential_uses()
        self._known = {name.credential_id: use for name, use in uses.items() if name.method == METHOD}

    def _with(self, key_ref: str, at: datetime) -> CredentialUse:
        """Return the use of a key with one that is not written yet."""
        known = self._known.get(key_ref)
        return (
            CredentialUse(min(known.first_used_at, at), max(known.last_used_at, at)) if known else CredentialUse(at, at)
        )

    async def _seed(self, now: datetime) -> None:
        """Record the oldest value of each key that is stored now."""
        await self._flush()
        found: dict[str, datetime] = {}
        for purpose, policy in sorted((await self._storage.policy_snapshot()).retention.items()):
            retention_limit = now - timedelta(days=policy.max_retention_days)
            query = KeyRefQuery(purpose=purpose, now=now, created_before=retention_limit, limit=MAX_SEEDED)
            for use in await self._storage.key_refs(query):
                if use.key_ref is not None:
                    found[use.key_ref] = min(use.first_used_at, found.get(use.key_ref, now))
        older = {name: at for name, at in found.items() if self._is_older(name, at)}
        if older:
            await self._storage.record_usages({CredentialName(METHOD, name): at for name, at in older.items()})

    def _is_older(self, key_ref: str, at: datetime) -> bool:
        known = self._known.get(key_ref)
        if known is None:
            return len(self._known) < MAX_KEYS
        return at < known.first_used_at.replace(microsecond=0)
