"""Conformance tests of purge methods, which use the ``PurgeMethod`` protocol and a vault with the method.

Example:
    class TestZeroFill(PurgeMethodConformance):
        @pytest.fixture
        def purge_method(self):
            return ZeroFill()
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest

from vsqlvault.errors import EntryNotFound, EntryPurged, IdRetired
from vsqlvault.interfaces.purge_method import PurgeMethod, PurgeRequest
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.entry import Entry, EntryKey, ValueEncoding
from vsqlvault.model.policy import DEFAULT_POLICY, RetentionPolicy
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeReason, PurgeRecord, Remove
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.service.entries.requests import Preconditions, StoreRequest
from vsqlvault.service.vault import Vault
from vsqlvault.testing.driving import LoopKit, driven, never_blocks
from vsqlvault.testing.samples import a_call, a_retention_policy, an_entry
from vsqlvault.testing.vaults import a_vault, offering

MEBIBYTE = 1024 * 1024
SIZES = (1, 2, 255, 4095, 4096, 4097, 65_536, MEBIBYTE - 1, MEBIBYTE)
ASKED_FOR = (PurgeReason.REQUESTED, PurgeReason.EXPIRED)
ADMIN = a_call("vault-admin", Role.ADMIN)
KEY = EntryKey("card", "pay-1")
SOON = timedelta(milliseconds=50)


def _request(size: int, reason: PurgeReason = PurgeReason.REQUESTED) -> PurgeRequest:
    return PurgeRequest(an_entry(value=b"x" * size), reason, a_retention_policy())


def _requests() -> Iterator[PurgeRequest]:
    entries = (
        an_entry(),
        an_entry("A" + "~" * 255, key_ref=None, algorithm_hint=None, owner_identity="\U0001f510 o'brien; --"),
        an_entry(version=10**6, retrievals=10**6, encoding=ValueEncoding.BASE64, access_policy="nowhere-defined"),
    )
    policies = (a_retention_policy(), a_retention_policy(default_ttl_days=None, legal_basis="§ 147 AO"))
    for entry, reason, policy in itertools.product(entries, ASKED_FOR, policies):
        yield PurgeRequest(entry, reason, policy)


class PurgeMethodConformance(LoopKit):
    """Subclass it, and define the fixture ``purge_method``."""

    @pytest.fixture
    def purge_method(self) -> PurgeMethod:
        """Return the method."""
        raise NotImplementedError("define the fixture purge_method")

    def test_it_says_what_it_is_called_and_whether_ids_are_retired(self, purge_method: PurgeMethod) -> None:
        assert isinstance(purge_method.name, str)
        assert purge_method.name.strip()
        assert isinstance(purge_method.retires_id, bool)

    @pytest.mark.parametrize("size", SIZES)
    @driven
    async def test_the_plan_can_be_done_and_keeps_the_word_about_the_id(
        self, purge_method: PurgeMethod, size: int
    ) -> None:
        for reason in ASKED_FOR:
            plan = await purge_method.plan(_request(size, reason))
            assert isinstance(plan, PurgePlan)
            if purge_method.retires_id:
                assert isinstance(plan.disposal, Overwrite)
                assert isinstance(plan.disposal.filler, bytes)
                assert len(plan.disposal.filler) == size
            else:
                assert isinstance(plan.disposal, Remove)

    @driven
    async def test_the_reason_is_one_and_not_that_of_a_replacement(self, purge_method: PurgeMethod) -> None:
        """The report does not count replaced versions as purged."""
        for request in _requests():
            plan = await purge_method.plan(request)
            assert isinstance(plan.reason, PurgeReason)
            assert plan.reason is not PurgeReason.REPLACED

    @driven
    async def test_a_plan_can_be_made_again_and_changes_nothing_that_was_asked(self, purge_method: PurgeMethod) -> None:
        for request in _requests():
            before = copy.deepcopy(request)
            plans = [await purge_method.plan(request) for _ in range(3)]
            assert len({(type(plan.disposal), plan.reason) for plan in plans}) == 1
            assert request == before

    @driven
    async def test_it_never_blocks_the_loop(self, purge_method: PurgeMethod) -> None:
        await never_blocks(lambda: purge_method.plan(_request(MEBIBYTE)))

    @driven
    async def test_a_hundred_at_once_each_get_their_own_plan(self, purge_method: PurgeMethod) -> None:
        plans = await asyncio.gather(*(purge_method.plan(_request(size)) for size in range(1, 101)))
        if purge_method.retires_id:
            lengths = [len(plan.disposal.filler) for plan in plans if isinstance(plan.disposal, Overwrite)]
            assert lengths == list(range(1, 101))
        else:
            assert all(isinstance(plan.disposal, Remove) for plan in plans)

    @driven
    async def test_in_a_vault_a_request_destroys_the_entry_and_leaves_the_proof(
        self, purge_method: PurgeMethod
    ) -> None:
        value = secrets.token_bytes(32) * 1000
        async with self._vault(purge_method) as vault:
            entry = (await vault.entries.store(ADMIN, KEY, _wish(value))).viewed.entry
            record = await vault.entries.purge(ADMIN, KEY, Preconditions())
            await self._is_gone(vault, purge_method, entry, value, record)
        self._bytes_are_gone(value)

    @driven
    async def test_in_a_vault_the_sweep_destroys_the_entry_and_leaves_the_proof(
        self, purge_method: PurgeMethod
    ) -> None:
        value = secrets.token_bytes(32) * 1000
        async with self._vault(purge_method) as vault:
            now = (await vault.queue.read()).now
            entry = (await vault.entries.store(ADMIN, KEY, _wish(value, now + SOON))).viewed.entry
            await asyncio.sleep(SOON.total_seconds() * 1.5)
            count = await vault.purge.sweeper.sweep(ADMIN)
            assert (count.purged, count.failed) == (1, 0)
            (row,) = await vault.storage.purge_log(LogQuery(limit=10))
            await self._is_gone(vault, purge_method, entry, value, row.record)
        self._bytes_are_gone(value)

    async def _is_gone(
        self, vault: Vault, method: PurgeMethod, entry: Entry, value: bytes, record: PurgeRecord
    ) -> None:
        assert [row.record for row in await vault.storage.purge_log(LogQuery(limit=10))] == [record]
        assert (record.method, record.entry_id) == (method.name, entry.entry_id)
        assert record.proof_hash == purge_proof(entry, value)
        with pytest.raises(EntryPurged if method.retires_id else EntryNotFound):
            await vault.entries.retrieve(ADMIN, KEY)
        if method.retires_id:
            with pytest.raises(IdRetired):
                await vault.entries.store(ADMIN, KEY, _wish(b"again"))
        else:
            assert (await vault.entries.store(ADMIN, KEY, _wish(b"again"))).created

    def _bytes_are_gone(self, value: bytes) -> None:
        for path in self.directory.rglob("*"):
            if path.is_file():
                assert value[:32] not in path.read_bytes(), path.name

    @asynccontextmanager
    async def _vault(self, method: PurgeMethod) -> AsyncIterator[Vault]:
        directory = self.directory / "vault"
        directory.mkdir()
        plugin = offering("vault_purge_methods", method)
        async with a_vault(directory, plugins=[plugin], block=["purge-methods"]) as vault:
            await vault.rules.policies.save_retention_policy(
                ADMIN, RetentionPolicy(KEY.purpose, 0, 365, 90, method.name)
            )
            yield vault


def _wish(value: bytes, expires_at: datetime | None = None) -> StoreRequest:
    return StoreRequest(value, ValueEncoding.BASE64, None, "k1", "{}", expires_at, DEFAULT_POLICY)
