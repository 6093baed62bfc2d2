"""API keys: every version is kept, the newest counts, each change is seen in the revision; and when credentials were used."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.writes import Conflict, RevisionIs, SaveApiKey, Write
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.model.principal import Role
from vsqlvault.testing.driving import StorageKit, committed, driven, revision_of
from vsqlvault.testing.samples import T0, a_write, an_access_record, an_api_key

SECOND = timedelta(seconds=1)
API_KEYS: dict[str, ApiKeyRecord] = {
    "plain": an_api_key(),
    "every field": an_api_key(
        identity="Jöran \U0001f510",
        purposes=frozenset({"card", "ach", "a-_0"}),
        roles=frozenset(Role),
        description='who\'s "that"',
        expires_at=T0 + timedelta(days=90, microseconds=1),
    ),
    "every purpose": an_api_key(purposes=None),
    "no purpose": an_api_key(purposes=frozenset(), roles=frozenset({Role.AUDITOR})),
    "revoked": an_api_key(version=2, revoked_by="jane", revoked_at=T0 + SECOND),
}
NAME = CredentialName("api-key", "sha256:0123456789ab")


class ApiKeyConformance(StorageKit):
    """Keys in the rulebook, and the uses of credentials beside it."""

    @driven
    async def test_a_new_storage_has_no_keys_and_no_uses(self, storage: Storage) -> None:
        assert dict((await storage.policy_snapshot()).api_keys) == {}
        assert dict(await storage.credential_uses()) == {}

    @pytest.mark.parametrize("key", API_KEYS.values(), ids=API_KEYS)
    @driven
    async def test_a_key_comes_back_as_it_was(self, storage: Storage, key: ApiKeyRecord) -> None:
        await committed(storage, a_write(SaveApiKey(key)))
        assert dict((await storage.policy_snapshot()).api_keys) == {key.key_id: key}

    @driven
    async def test_the_newest_version_of_each_key_counts(self, storage: Storage) -> None:
        one, other = an_api_key("vsk_one"), an_api_key("vsk_other")
        gone = replace(one, version=2, revoked_by="vault-admin", revoked_at=T0)
        await committed(storage, a_write(SaveApiKey(one)), a_write(SaveApiKey(other)))
        await committed(storage, a_write(SaveApiKey(gone)))
        assert dict((await storage.policy_snapshot()).api_keys) == {one.key_id: gone, other.key_id: other}

    @driven
    async def test_the_keys_that_granted_rows_revoke_are_known(self, storage: Storage) -> None:
        assert await storage.revoked_keys() == frozenset()
        row = an_access_record(operation=Operation.REVOKE_API_KEY, detail="sha256:00000000aaaa")
        denied = replace(row, outcome=Outcome.DENIED, detail="sha256:00000000bbbb")
        other = replace(row, operation=Operation.CREATE_API_KEY, detail="sha256:00000000cccc")
        await committed(storage, *(Write((each,)) for each in (row, denied, other, row)))
        assert await storage.revoked_keys() == {"sha256:00000000aaaa"}

    @driven
    async def test_the_revision_grows_with_each_change_of_a_key(self, storage: Storage) -> None:
        before = await revision_of(storage)
        await committed(storage, a_write(SaveApiKey(an_api_key())))
        between = await revision_of(storage)
        await committed(storage, a_write(SaveApiKey(an_api_key(version=2, revoked_by="jane", revoked_at=T0))))
        assert before < between < await revision_of(storage)

    @driven
    async def test_what_rests_on_the_rules_before_a_key_was_revoked_conflicts(self, storage: Storage) -> None:
        await committed(storage, a_write(SaveApiKey(an_api_key())))
        before = RevisionIs(await revision_of(storage))
        await committed(storage, a_write(SaveApiKey(an_api_key(version=2, revoked_by="jane", revoked_at=T0))))
        assert list(await storage.commit([a_write(expects=(before,))])) == [Conflict(before)]

    @driven
    async def test_of_the_uses_of_a_credential_the_first_and_the_last_stay(self, storage: Storage) -> None:
        for offset in (5, 9, 2, 7):
            await storage.record_usages({NAME: T0 + offset * SECOND})
        assert dict(await storage.credential_uses()) == {NAME: CredentialUse(T0 + 2 * SECOND, T0 + 9 * SECOND)}

    @driven
    async def test_one_id_of_two_methods_is_two_credentials(self, storage: Storage) -> None:
        other = CredentialName("badge", NAME.credential_id)
        await storage.record_usages({NAME: T0, other: T0 + SECOND})
        await storage.record_usages({})
        uses = await storage.credential_uses()
        assert (uses[NAME].last_used_at, uses[other].last_used_at) == (T0, T0 + SECOND)

    @driven
    async def test_a_use_is_no_change_of_a_rule(self, storage: Storage) -> None:
        before = await revision_of(storage)
        await storage.record_usages({NAME: T0})
        assert await revision_of(storage) == before

    @driven
    async def test_uses_noted_at_once_do_not_get_in_each_others_way(self, storage: Storage) -> None:
        names = [CredentialName("api-key", f"key-{number}") for number in range(20)]
        forth = dict.fromkeys(names, T0)
        back = dict.fromkeys(reversed(names), T0 + SECOND)
        await asyncio.gather(*(storage.record_usages(uses) for uses in (forth, back) * 5))
        assert set((await storage.credential_uses()).values()) == {CredentialUse(T0, T0 + SECOND)}
