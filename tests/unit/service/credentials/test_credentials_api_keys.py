"""Stored keys: made once, shown once, revoked for good; and no operation rests on one that is gone."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import (
    ApiKeyNotFound,
    CredentialRefused,
    RoleRequired,
    StoredKeysOff,
    TooManyApiKeys,
    ValidationFailed,
)
from vsqlvault.http.authentication import authenticate
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.interfaces.writes import Committed, SaveApiKey, Write
from vsqlvault.model.api_key import ApiKeyRecord, ApiKeyState, key_id_of
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.runtime import Tuning
from vsqlvault.service.audit.rule_documents import api_key_document
from vsqlvault.service.credentials import api_keys
from vsqlvault.service.credentials.api_keys import (
    LAST_ADMIN,
    OWN_KEY,
    ApiKeyRequest,
    CreatedKey,
    KeyListRequest,
    created_document,
)
from vsqlvault.service.entries.requests import ListRequest
from vsqlvault.testing import T0, a_call, a_retention_policy, a_write, an_access_record, an_api_key, an_id

WISH = ApiKeyRequest(app="payments", purposes=frozenset({"card"}), description="of the tests")
ALL = KeyListRequest(limit=100)


async def create(scene: Any, wanted: ApiKeyRequest = WISH) -> CreatedKey:
    created: CreatedKey = await scene.vault.credentials.api_keys.create(scene.admin, wanted)
    return created


async def recognised(vault: Any, secret: str) -> Principal:
    return await authenticate(vault.credentials.authenticators, Presented({"x-vault-key": secret}))


async def test_a_new_key_opens_what_was_wished_for_and_is_known_by_its_digest(scene) -> None:
    wanted = replace(WISH, identity="jane", roles=frozenset({Role.AUDITOR}))
    created = await create(scene, wanted)
    digest = hashlib.sha256(created.secret.encode()).hexdigest()
    key = created.seen.key
    assert (key.key_id, key.digest, key.version) == (key_id_of(digest), digest, 1)
    assert (key.created_by, key.created_at) == ("vault-admin", scene.clock.at)
    assert await recognised(scene.vault, created.secret) == Principal(
        "payments", "api-key", key.key_id, "jane", frozenset({"card"}), frozenset({Role.AUDITOR})
    )
    assert dict((await scene.storage.inner.policy_snapshot()).api_keys) == {key.key_id: key}


async def test_a_key_works_at_once_where_it_was_made_also_amid_bad_ones(scene) -> None:
    """Unknown keys have used this second's read of the storage."""
    with pytest.raises(CredentialRefused):
        await recognised(scene.vault, "vsk_bad")
    created = await create(scene)
    scene.storage.arm()
    assert (await recognised(scene.vault, created.secret)).app == "payments"
    assert scene.storage.calls == []


async def test_a_key_has_256_random_bits(scene) -> None:
    secrets = {(await create(scene)).secret for _ in range(20)}
    assert len(secrets) == 20
    assert {len(secret.removeprefix("vsk_")) for secret in secrets} == {43}


async def test_the_secret_and_the_digest_are_in_no_row_and_no_text_of_the_value(scene) -> None:
    created = await create(scene)
    await scene.vault.credentials.api_keys.revoke(scene.admin, created.seen.key.key_id)
    await scene.vault.credentials.api_keys.keys(scene.admin, ALL)
    told = repr(await scene.access_rows()) + repr(created)
    assert created.secret not in told
    assert created.seen.key.digest not in repr(await scene.access_rows())


async def test_the_rows_say_what_was_granted_and_what_became_of_it(scene) -> None:
    created = await create(scene)
    key_id = created.seen.key.key_id
    await scene.vault.credentials.api_keys.revoke(scene.admin, key_id)
    made, ended = await scene.access_rows(operation="create-api-key") + await scene.access_rows(
        operation="revoke-api-key"
    )
    assert (made.status, made.detail, made.old_value) == (201, key_id, None)
    grants = json.loads(made.new_value)
    digest = hashlib.sha256(created.seen.key.digest.encode()).hexdigest()
    assert grants.pop("digest_sha256") == digest
    assert (ended.status, ended.detail, json.loads(ended.old_value)) == (200, key_id, grants)
    assert (grants["app"], grants["identity"], grants["purposes"]) == ("payments", None, ["card"])
    assert grants["revoked_at"] is None
    assert json.loads(ended.new_value)["revoked_by"] == "vault-admin"


@pytest.mark.parametrize("offset", [timedelta(), timedelta(microseconds=-1)], ids=["now", "before now"])
async def test_a_key_that_would_be_expired_is_not_made(scene, offset) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await create(scene, replace(WISH, expires_at=scene.clock.at + offset))
    assert [error.field for error in refused.value.errors] == ["expires_at"]
    assert not (await scene.storage.inner.policy_snapshot()).api_keys


async def test_a_key_expires_by_the_storages_clock(scene) -> None:
    created = await create(scene, replace(WISH, expires_at=scene.clock.at + timedelta(hours=1)))
    call = Call(await recognised(scene.vault, created.secret), an_id())
    scene.clock.advance(hours=1)
    with pytest.raises(CredentialRefused):
        await scene.vault.entries.list_purpose(call, "card", ListRequest(limit=1))
    assert (await scene.last_row()).reason == "expired"
    with pytest.raises(CredentialRefused) as refused:
        await recognised(scene.vault, created.secret)
    assert refused.value.why == "expired"
    (seen,) = await scene.vault.credentials.api_keys.keys(scene.admin, ALL)
    assert seen.state is ApiKeyState.EXPIRED


async def test_a_revoked_key_is_refused_with_its_reason(scene) -> None:
    created = await create(scene)
    revoked = await scene.vault.credentials.api_keys.revoke(scene.admin, created.seen.key.key_id)
    assert (revoked.seen.state, revoked.seen.key.revoked_at) == (ApiKeyState.REVOKED, scene.clock.at)
    with pytest.raises(CredentialRefused) as refused:
        await recognised(scene.vault, created.secret)
    assert (refused.value.why, refused.value.credential_id) == ("revoked", created.seen.key.key_id)


async def test_revoking_again_changes_nothing_and_is_on_record(scene) -> None:
    key_id = (await create(scene)).seen.key.key_id
    first = await scene.vault.credentials.api_keys.revoke(scene.admin, key_id)
    scene.clock.advance(hours=1)
    again = await scene.vault.credentials.api_keys.revoke(a_call("other-admin", Role.ADMIN), key_id)
    assert again.seen == first.seen
    _, row = await scene.access_rows(operation="revoke-api-key")
    assert (row.outcome, row.app, row.old_value, row.new_value) == (Outcome.GRANTED, "other-admin", None, None)


async def test_twenty_changes_at_once_each_happen(scene) -> None:
    created = await asyncio.gather(*(create(scene) for _ in range(20)))
    ids = [each.seen.key.key_id for each in created]
    await asyncio.gather(*(scene.vault.credentials.api_keys.revoke(scene.admin, key_id) for key_id in [*ids, *ids]))
    policies = await scene.storage.inner.policy_snapshot()
    assert {key.version for key in policies.api_keys.values()} == {2}
    assert len(policies.api_keys) == 20


async def test_keys_are_listed_oldest_first_by_app_by_state_and_page_by_page(scene) -> None:
    ids = []
    for app in ("a", "b", "a", "b", "a"):
        ids.append((await create(scene, replace(WISH, app=app))).seen.key.key_id)
        scene.clock.advance(seconds=1)
    await scene.vault.credentials.api_keys.revoke(scene.admin, ids[2])

    async def listed(**wanted: Any) -> list[str]:
        seen = await scene.vault.credentials.api_keys.keys(scene.admin, replace(ALL, **wanted))
        return [each.key.key_id for each in seen]

    assert await listed() == ids
    assert await listed(app="a") == [ids[0], ids[2], ids[4]]
    assert await listed(app="a", state=ApiKeyState.ACTIVE) == [ids[0], ids[4]]
    assert await listed(state=ApiKeyState.REVOKED) == [ids[2]]
    pages: list[str] = []
    after = None
    while page := await scene.vault.credentials.api_keys.keys(scene.admin, KeyListRequest(limit=2, after=after)):
        pages += [each.key.key_id for each in page]
        after = (page[-1].key.created_at, page[-1].key.key_id)
    assert pages == ids


async def test_a_key_says_when_it_was_last_used(scene) -> None:
    created = await create(scene)
    principal = await recognised(scene.vault, created.secret)
    assert (await scene.vault.credentials.api_keys.key(scene.admin, principal.credential_id)).last_used_at is None
    scene.vault.credentials.inventory.record_usage(principal)
    used = (await scene.vault.credentials.api_keys.key(scene.admin, principal.credential_id)).last_used_at
    assert used is not None
    revoked = await scene.vault.credentials.api_keys.revoke(scene.admin, principal.credential_id)
    again = await scene.vault.credentials.api_keys.revoke(scene.admin, principal.credential_id)
    assert revoked.seen.last_used_at is not None
    assert again.seen.last_used_at == revoked.seen.last_used_at


@pytest.mark.parametrize("act", ["key", "revoke"])
async def test_a_key_that_is_not_there_is_not_found(scene, act) -> None:
    with pytest.raises(ApiKeyNotFound):
        await getattr(scene.vault.credentials.api_keys, act)(scene.admin, "sha256:000000000000")
    row = await scene.last_row()
    assert (row.reason, row.detail) == ("api_key_not_found", "sha256:000000000000")


@pytest.mark.parametrize("roles", [(), (Role.AUDITOR,)], ids=["an app", "an auditor"])
async def test_only_an_admin_makes_and_revokes_keys(scene, roles) -> None:
    key_id = (await create(scene)).seen.key.key_id
    before = await scene.storage.inner.policy_snapshot()
    for act, argument in (("create", WISH), ("revoke", key_id)):
        with pytest.raises(RoleRequired):
            await getattr(scene.vault.credentials.api_keys, act)(a_call("someone", *roles), argument)
        row = await scene.last_row()
        assert (row.outcome, row.reason, row.app) == (Outcome.DENIED, "role", "someone")
    assert await scene.storage.inner.policy_snapshot() == before


async def test_admins_and_auditors_read_keys_and_nobody_else(scene) -> None:
    key_id = (await create(scene)).seen.key.key_id
    for act, argument in (("key", key_id), ("keys", ALL)):
        read = getattr(scene.vault.credentials.api_keys, act)
        for role in Role:
            assert await read(a_call("reader", role), argument)
            assert (await scene.last_row()).operation is Operation.READ_API_KEY
        with pytest.raises(RoleRequired):
            await read(a_call(), argument)


async def test_there_is_an_end_to_how_many_keys_there_may_be(open_scene) -> None:
    scene = await open_scene(tuning=Tuning(max_api_keys=2))
    first = await create(scene)
    await create(scene)
    with pytest.raises(TooManyApiKeys):
        await create(scene)
    await scene.vault.credentials.api_keys.revoke(scene.admin, first.seen.key.key_id)
    await create(scene)


async def test_a_name_that_is_taken_is_not_given_twice(scene, monkeypatch) -> None:
    made = iter(["vsk_one", "vsk_one", "vsk_two"])
    monkeypatch.setattr(api_keys, "new_secret", lambda: next(made))
    assert [(await create(scene)).secret, (await create(scene)).secret] == ["vsk_one", "vsk_two"]


async def test_revoking_the_own_key_gives_a_warning_and_refuses_it_from_then_on(scene) -> None:
    created = await create(scene, replace(WISH, roles=frozenset({Role.ADMIN})))
    own = Call(await recognised(scene.vault, created.secret), an_id())
    revoked = await scene.vault.credentials.api_keys.revoke(own, created.seen.key.key_id)
    assert revoked.warnings == (OWN_KEY, LAST_ADMIN)
    with pytest.raises(CredentialRefused):
        await scene.vault.credentials.api_keys.keys(own, ALL)


async def test_the_last_admin_that_is_known_is_not_revoked_unseen(scene) -> None:
    ids = [(await create(scene, replace(WISH, roles=frozenset({Role.ADMIN})))).seen.key.key_id for _ in range(2)]
    warnings = [(await scene.vault.credentials.api_keys.revoke(scene.admin, key_id)).warnings for key_id in ids]
    assert warnings == [(), (LAST_ADMIN,)]


async def test_where_an_admin_stands_in_the_settings_revoking_one_warns_of_nothing(open_scene) -> None:
    scene = await open_scene(auth__api_keys=f"[{{app = 'ops', key_sha256 = '{'0' * 64}', roles = ['admin']}}]")
    created = await create(scene, replace(WISH, roles=frozenset({Role.ADMIN})))
    assert (await scene.vault.credentials.api_keys.revoke(scene.admin, created.seen.key.key_id)).warnings == ()


async def test_where_stored_keys_are_off_none_is_made_and_none_opens_anything(open_scene) -> None:
    scene = await open_scene(auth__stored_keys="false")
    with pytest.raises(StoredKeysOff):
        await create(scene)
    await scene.storage.inner.commit([a_write(SaveApiKey(key := an_api_key("vsk_left-over")))])
    with pytest.raises(CredentialRefused) as refused:
        await recognised(scene.vault, "vsk_left-over")
    assert refused.value.why == "bad_key"
    await scene.vault.credentials.api_keys.revoke(scene.admin, key.key_id)


async def test_a_key_made_by_another_process_works_at_its_first_use(scene) -> None:
    await commit_with_row(scene, an_api_key("vsk_from-afar"))
    assert (await recognised(scene.vault, "vsk_from-afar")).app == "payments"


async def test_a_key_whose_row_has_no_hash_of_its_digest_works(scene) -> None:
    """Rows of older versions have none."""
    key = an_api_key("vsk_of-old")
    await commit_with_row(scene, key, api_key_document(key))
    assert (await recognised(scene.vault, "vsk_of-old")).app == "payments"


async def commit_with_row(scene: Any, key: ApiKeyRecord, document: dict[str, Any] | None = None) -> None:
    """Commit a key and a row that created it, as another process does."""
    row = an_access_record(
        operation=Operation.CREATE_API_KEY, at=key.created_at, new_value=json.dumps(document or created_document(key))
    )
    write = Write((row,), changes=(SaveApiKey(key),))
    (outcome,) = await scene.storage.inner.commit([write])
    assert isinstance(outcome, Committed)


FORGERIES: dict[str, Any] = {
    "no row": None,
    "a row without new value": {"new_value": None},
    "a row that is no JSON": {"new_value": "{"},
    "a row of deep JSON": {"new_value": "[" * 100_000},
    "a denied request": {"outcome": Outcome.DENIED},
    "a row of another time": {"at": T0 + timedelta(seconds=1)},
    "a row of another operation": {"operation": Operation.READ_API_KEY},
    "a row of other roles": {"grants": {"roles": ["auditor"]}},
    "a row of another key of the same id": {"grants": {"digest_sha256": "0" * 64}},
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_key_that_no_row_created_is_refused(scene, name) -> None:
    key, facts = an_api_key("vsk_inserted", roles=frozenset({Role.ADMIN}), purposes=None), FORGERIES[name]
    rows = []
    if facts is not None:
        document = created_document(key) | facts.get("grants", {})
        members = {"operation": Operation.CREATE_API_KEY, "at": T0, "new_value": json.dumps(document)}
        rows = [an_access_record(**members | {name: value for name, value in facts.items() if name != "grants"})]
    await scene.storage.inner.commit([Write(tuple(rows), changes=(SaveApiKey(key),))])
    with pytest.raises(CredentialRefused) as refused:
        await recognised(scene.vault, "vsk_inserted")
    assert refused.value.why == "bad_key"
    (listed,) = await scene.vault.credentials.api_keys.keys(scene.admin, ALL)
    assert listed.key == key


async def test_a_key_whose_digest_was_exchanged_is_refused(scene) -> None:
    """Its id and its row are those of a key that was created, the digest is that of another key."""
    key = an_api_key("vsk_created")
    await commit_with_row(scene, replace(key, digest=an_api_key("vsk_known").digest), api_key_document(key))
    with pytest.raises(CredentialRefused):
        await recognised(scene.vault, "vsk_known")


@pytest.mark.parametrize(
    ("members", "is_refused"),
    [
        ({}, True),
        ({"outcome": Outcome.DENIED}, False),
        ({"operation": Operation.READ_API_KEY}, False),
        ({"detail": "sha256:000000000000"}, False),
    ],
)
async def test_a_key_that_the_log_revokes_and_the_storage_does_not_is_refused(scene, members, is_refused) -> None:
    """This is a vault whose revoking row of the table ``api_keys`` was deleted."""
    key = an_api_key("vsk_revived")
    row = an_access_record(**{"operation": Operation.REVOKE_API_KEY, "detail": key.key_id, **members})
    await scene.storage.inner.commit([Write((row,))])
    await commit_with_row(scene, key)
    if is_refused:
        with pytest.raises(CredentialRefused) as refused:
            await recognised(scene.vault, "vsk_revived")
        assert refused.value.why == "bad_key"
    else:
        assert (await recognised(scene.vault, "vsk_revived")).app == "payments"


async def test_a_key_is_checked_once(scene) -> None:
    created = await create(scene)
    await scene.vault.credentials.api_keys.create(scene.admin, WISH)
    scene.storage.arm()
    await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy("checked-once"))
    assert (await recognised(scene.vault, created.secret)).app == "payments"
    assert "access_log" not in scene.storage.calls


OPERATIONS: dict[str, Any] = {
    "retrieve": lambda vault, call: vault.entries.retrieve(call, EntryKey("card", "pay-1")),
    "inspect": lambda vault, call: vault.entries.inspect(call, EntryKey("card", "pay-1")),
    "list": lambda vault, call: vault.entries.list_purpose(call, "card", ListRequest(limit=5)),
    "read a policy": lambda vault, call: vault.rules.policies.access_policy(call, "owner-only"),
    "read the access log": lambda vault, call: vault.audit.log_reader.access_log(call, LogQuery(limit=5)),
    "stream the access log": lambda vault, call: vault.audit.log_reader.stream_access_log(
        call, LogQuery(limit=5), None
    ),
    "report": lambda vault, call: vault.compliance.report.write(call),
    "sweep": lambda vault, call: vault.purge.sweeper.sweep(call),
    "dry run": lambda vault, call: vault.purge.sweeper.sweep(call, dry_run=True),
    "make a key": lambda vault, call: vault.credentials.api_keys.create(call, WISH),
    "read keys": lambda vault, call: vault.credentials.api_keys.keys(call, ALL),
}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_key_that_another_process_revoked_carries_out_nothing_more(scene, name) -> None:
    """The request was authenticated before; its own read of the storage shows that the key is gone."""
    created = await create(scene, replace(WISH, roles=frozenset(Role)))
    call = Call(await recognised(scene.vault, created.secret), an_id())
    await scene.store(call=call)
    gone = replace(created.seen.key, version=2, revoked_by="elsewhere", revoked_at=scene.clock.at)
    await scene.storage.inner.commit([a_write(SaveApiKey(gone))])
    rows = len(await scene.access_rows())
    with pytest.raises(CredentialRefused):
        await OPERATIONS[name](scene.vault, replace(call, request_id=an_id()))
    (row,) = (await scene.access_rows())[rows:]
    assert (row.outcome, row.status, row.reason) == (Outcome.DENIED, 401, "revoked")
    assert (row.app, row.credential_id) == ("payments", gone.key_id)


async def test_a_key_revoked_between_the_read_and_the_commit_of_a_request_carries_out_nothing(scene) -> None:
    created = await create(scene)
    call = Call(await recognised(scene.vault, created.secret), an_id())
    gone = replace(created.seen.key, version=2, revoked_by="elsewhere", revoked_at=scene.clock.at)
    commit, is_revoked = scene.vault.queue.commit, False

    async def after_revoking(write: Any) -> Any:
        nonlocal is_revoked
        if not is_revoked:
            is_revoked = True
            await scene.storage.inner.commit([a_write(SaveApiKey(gone))])
        return await commit(write)

    scene.vault.queue.commit = after_revoking
    with pytest.raises(CredentialRefused):
        await scene.store(call=call)
    (row,) = await scene.access_rows(request_id=call.request_id)
    assert (row.operation, row.outcome, row.reason) == (Operation.STORE, Outcome.DENIED, "revoked")


async def test_a_purpose_that_nothing_defines_is_a_warning_that_names_it(scene) -> None:
    created = await scene.vault.credentials.api_keys.create(
        scene.admin, ApiKeyRequest(app="warned", purposes=frozenset({"crad"}))
    )
    (warning,) = created.warnings
    assert warning.startswith("purpose crad is not defined (did you mean card?)")
