"""A vault that lives two years by a clock that the test moves: everything that the report counts happens in it."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from vsqlvault.errors import VaultError
from vsqlvault.interfaces.storage import ClockReading, Read, Snapshot, Storage
from vsqlvault.interfaces.watch_storage import NewestControlChangeIs, SaveControlChange
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.access import Action
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.control import ControlChange, ControlState
from vsqlvault.model.credential import CredentialName
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import SYSTEM, Call, Role
from vsqlvault.service.compliance.access_reviews import ReviewRequest
from vsqlvault.service.compliance.controls import _rows
from vsqlvault.service.credentials.api_keys import ApiKeyRequest
from vsqlvault.service.entries.requests import Preconditions, StoreRequest, UpdateRequest
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_legal_hold, a_retention_policy, an_access_policy, an_access_record

START = datetime(2030, 1, 1, 9, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WEEKS = 104
CRYPTOPERIODS = {"akv:": 90, "akv:long-": 400}
GRACE = timedelta(hours=336)
MAXIMUM = {"y2-card": 365, "y2-cold": 60, "y2-idle": 30}
SETTINGS: dict[str, Any] = {
    "compliance": {"cryptoperiods": CRYPTOPERIODS, "period_days": 400},
    "purge": {"sweep_interval_hours": 336},
    "auth": {
        "api_keys": [
            {"app": "y2-shop", "key_sha256": "a" * 64, "purposes": ["y2-card", "y2-cold"], "identity": "shop-1"},
            {"app": "y2-asleep", "key_sha256": "b" * 64, "purposes": ["y2-card"]},
        ]
    },
}


class Clock:
    """The clock of the vault's life."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at


class ClockedStorage:
    """A storage whose reads have the time of a clock of the test, whatever the time of the database is."""

    def __init__(self, inner: Storage, clock: Clock) -> None:
        self._inner = inner
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """Return what the storage reads, at the time of the clock."""
        return [replace(each, now=self._clock()) for each in await self._inner.read(reads)]

    async def clock(self) -> ClockReading:
        """Return the time of the clock with the mark of the storage."""
        return ClockReading(self._clock(), (await self._inner.clock()).mark)


class Life:
    """What happens week by week. Random choices are the same for each storage."""

    def __init__(self, vault: Vault, clock: Clock) -> None:
        self.vault = vault
        self.clock = clock
        self._random = random.Random(2030)
        self.jane = a_call("vault-admin", Role.ADMIN, identity="jane")
        self.shared = a_call("vault-admin", Role.ADMIN, identity=None)
        self.auditor = a_call("auditor", Role.AUDITOR, identity="paul")
        self.owner = a_call("y2-payments", identity="pay-1", purposes=frozenset(MAXIMUM))
        self.shop = a_call("y2-shop", identity=None, purposes=frozenset({"y2-card"}))
        self.outsider = a_call("y2-outsider", identity="mallory", purposes=frozenset())
        self._changes = 0
        self._keys: list[str] = []

    async def run(self) -> None:
        """Live for two years."""
        await self._begin()
        for week in range(WEEKS):
            await self._week(week)
        await self._end()

    async def _pass(self, **span: float) -> None:
        self.clock.at += timedelta(**span)
        await self.vault.storage.raise_mark(self.clock.at)

    async def _begin(self) -> None:
        policies = self.vault.rules.policies
        for purpose, days in MAXIMUM.items():
            await policies.save_retention_policy(
                self.jane,
                a_retention_policy(
                    purpose,
                    max_retention_days=days,
                    default_ttl_days=None,
                    purge_method="crypto-shred" if purpose == "y2-cold" else "physical-delete",
                    justification="chargebacks" if purpose == "y2-card" else None,
                    data_class="cardholder data" if purpose == "y2-card" else None,
                ),
            )
        await self._policy("y2-tellers", "y2-shop")
        await self._key("y2-batch", expires_at=None)

    async def _policy(self, name: str, *apps: str) -> None:
        rules = {Action.STORE: Rule(), Action.RETRIEVE: Rule(allowed_apps=frozenset({"@owner", *apps}))}
        await self.vault.rules.policies.save_access_policy(self.jane, an_access_policy(name, rules=rules))

    async def _key(self, app: str, **fields: Any) -> None:
        request = ApiKeyRequest(app=app, purposes=frozenset({"y2-card"}), **fields)
        made = await self.vault.credentials.api_keys.create(self.jane, request)
        self._keys.append(made.seen.key.key_id)
        name = CredentialName("api-key", made.seen.key.key_id)
        await self.vault.storage.record_usages({name: self.clock.at})

    async def _week(self, week: int) -> None:
        choose = self._random
        await self._pass(days=3, hours=choose.randrange(20), minutes=choose.randrange(59))
        await self._entries(week)
        await self._pass(days=3)
        if week % 3 == 0 and week % 12 != 9 and week < WEEKS - 6:  # one sweep in four is left out
            await self.vault.purge.sweeper.sweep(self.jane, confirm_clock=True)
        if week % 13 == 0 and week != 39:  # one attestation is left out, so that the next is late
            await self.vault.compliance.attestations.attest(self.jane)
        if week in {20, 50}:  # the second one is late: 30 weeks after the first, with 180 days as the interval
            await self._review(self.jane, None)
        if week in {70, 71}:
            await self._review(self.shared if week == 71 else self.jane, "y2-cold")
        if week % 26 == 10:
            await self._control(week)
        if week % 30 == 5:
            await self._rules(week)
        if week % 10 == 0:
            await self._refusals()
        if week % 9 == 0:
            await self.vault.log.sequencer.sequence()

    async def _entries(self, week: int) -> None:
        """Store, replace, update, read and purge some entries."""
        key_ref = f"akv:key-{week // 12}" if week % 5 else None
        life = (5, 20, 40, 300)[week % 4]
        for number in range(3):
            purpose = list(MAXIMUM)[(week + number) % 3]
            expires_at = self.clock.at + timedelta(days=min(life + number, MAXIMUM[purpose]))
            await self._store(
                purpose,
                f"e{week}-{number}",
                key_ref="unspecified" if number == 2 else key_ref,
                expires_at=expires_at,
                algorithm_hint="AES-256-GCM" if number else None,
                access_policy=("owner-only", "y2-tellers", "y2-undefined")[number],
            )
            await self._pass(minutes=7)
        await self._try(self.owner, "retrieve", EntryKey("y2-card", f"e{week}-0"))
        await self._try(self.shop, "retrieve", EntryKey("y2-card", f"e{week}-1"))
        await self._try(self.outsider, "retrieve", EntryKey("y2-cold", f"e{week}-2"))
        await self._try(self.owner, "retrieve", EntryKey("y2-idle", "missing"))
        if week % 6 == 0:
            await self._store("y2-card", "kept", value=f"version {week}".encode(), key_ref="akv:long-1")
            await self._store("y2-card", f"gone-{week}", key_ref=f"akv:once-{week}")
            await self.vault.entries.purge(self.owner, EntryKey("y2-card", f"gone-{week}"), Preconditions())
        if week % 8 == 0:
            metadata = json.dumps({"week": week})
            await self.vault.entries.update(
                self.owner, EntryKey("y2-card", "kept"), UpdateRequest(metadata=lambda _: metadata)
            )

    async def _store(self, purpose: str, name: str, **fields: Any) -> None:
        wanted: dict[str, Any] = {
            "value": b"cipher", "encoding": ValueEncoding.UTF_8, "algorithm_hint": "AES-256-GCM", "key_ref": "akv:key-0",
            "metadata": "{}", "expires_at": None, "access_policy": "owner-only", "preconditions": Preconditions(),
        }  # fmt: skip
        await self.vault.entries.store(self.owner, EntryKey(purpose, name), StoreRequest(**wanted | fields))
        await self.vault.key_usage.flush()  # a server does this once a minute

    async def _try(self, call: Call, method: str, key: EntryKey) -> None:
        try:
            await getattr(self.vault.entries, method)(call, key)
        except VaultError:
            return

    async def _review(self, call: Call, purpose: str | None) -> None:
        await self.vault.compliance.access_reviews.review(
            call, ReviewRequest(statement="all is needed", purpose=purpose)
        )

    async def _control(self, week: int) -> None:
        """Let a control fail for an hour. One of the failures is acknowledged."""
        before: ControlChange | None = None
        failed_at = self.clock.at
        for state in (ControlState.FAILING, ControlState.OK):
            self._changes += 1
            change = ControlChange("sweep_ran", self._changes, state, self.clock.at, "the last sweep ended long ago")
            expected = NewestControlChangeIs("sweep_ran", self._changes - 1)
            await self.vault.queue.commit(Write(_rows(change, before), (expected,), (SaveControlChange(change),)))
            before = change
            await self._pass(hours=1)
        if week > 50:
            await self.vault.compliance.acknowledgements.acknowledge(
                self.jane, "sweep_ran", failed_at, "the disk was full", "twice the space"
            )

    async def _rules(self, week: int) -> None:
        """Change policies, place and release holds, and replace a key."""
        await self._policy("y2-tellers", "y2-shop", f"y2-app-{week}")
        await self._policy(f"y2-short-{week}", "y2-shop")
        await self._pass(minutes=1)
        await self.vault.rules.policies.delete_access_policy(self.jane, f"y2-short-{week}")
        hold = a_legal_hold(f"y2-case-{week}", selector=HoldSelector(purpose="y2-idle"))
        await self.vault.rules.legal_holds.save(self.jane, hold)
        if week > 30:
            await self.vault.rules.legal_holds.release(self.jane, f"y2-case-{week - 30}")
        await self.vault.credentials.api_keys.revoke(self.jane, self._keys[-1])
        await self._key("y2-batch", expires_at=self.clock.at + timedelta(days=250))

    async def _refusals(self) -> None:
        """Rows that only a server writes: rejected credentials, a clock that jumped, a confirmed restore, a start."""
        usual: dict[str, Any] = {"purpose": None, "external_id": None, "stamp": None, "at": self.clock.at}
        rejected = an_access_record(
            operation=Operation.AUTHENTICATE, outcome=Outcome.DENIED, status=401, reason="invalid_credential", app=None,
            identity=None, count=7, **usual,
        )  # fmt: skip
        of_the_vault: dict[str, Any] = {"app": SYSTEM.app, "identity": None, "method": "system", "client_address": None}
        operations = (Operation.CLOCK_JUMP, Operation.CONFIRM_RESTORE, Operation.SERVER_STARTED)
        rows = [rejected, *(an_access_record(operation=each, **of_the_vault, **usual) for each in operations)]
        await self.vault.queue.commit(Write(tuple(rows)))
        await self.vault.compliance.report.write(self.auditor)

    async def _end(self) -> None:
        await self._pass(days=2)
        await self.vault.log.sequencer.sequence()
        await self.vault.queue.drain()
        await self._pass(seconds=1)
