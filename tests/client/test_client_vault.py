"""The client against a running vault: each method once, and what comes back is what went in."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fixtures import SIGNING_KEY
from tests.support.server import VaultServer, eventually
from vsqlvault.client import AsyncVault, Purge, Rule, Vault, errors, verify_checkpoint, verify_receipt
from vsqlvault.client.methods import _Method

_numbers = itertools.count()
TEXT = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FF, exclude_categories=["Cc", "Cf"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture
def new_id() -> str:
    return f"p{next(_numbers)}"


def test_what_is_put_comes_back_with_what_describes_it(vault: Vault, new_id: str) -> None:
    expires_at = datetime.now(UTC).replace(microsecond=123) + timedelta(days=3)
    stored = vault.put(
        "card", new_id, b"\x00\xff", key_ref="k7", algorithm_hint="A", metadata={"n": 1}, expires_at=expires_at,
        access_policy="same-purpose",
    )  # fmt: skip
    assert stored.created
    found = vault.get("card", new_id)
    assert (found.value, found.encoding, found.value_size) == (b"\x00\xff", "base64", 2)
    assert (found.key_ref, found.algorithm_hint, found.metadata) == ("k7", "A", {"n": 1})
    assert (found.expires_at, found.access_policy, found.owner_app) == (expires_at, "same-purpose", "payments")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary(min_size=1, max_size=300), metadata=st.dictionaries(TEXT, JSON, max_size=4))
def test_any_bytes_and_any_metadata_come_back_as_they_went_in(
    vault: Vault, value: bytes, metadata: dict[str, Any]
) -> None:
    external_id = f"any{next(_numbers)}"
    stored = vault.put("card", external_id, value, metadata=metadata)
    found = vault.get("card", external_id)
    assert found.value == value
    assert found.metadata == stored.metadata == metadata


def test_a_text_is_stored_as_text(vault: Vault, new_id: str) -> None:
    vault.put("card", new_id, "vault:v1:naïve\nlines")
    found = vault.get("card", new_id)
    assert (found.text, found.encoding) == ("vault:v1:naïve\nlines", "utf-8")


def test_a_ttl_is_counted_from_now(vault: Vault, new_id: str) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    expires_at = vault.put("card", new_id, b"value", ttl="12h").expires_at
    assert before <= expires_at - timedelta(hours=12) <= datetime.now(UTC)


def test_the_same_put_again_creates_nothing(vault: Vault, new_id: str) -> None:
    first, second = (vault.put("card", new_id, b"value") for _ in range(2))
    assert (first.created, second.created, first.etag) == (True, False, second.etag)


def test_entity_tags_are_those_of_the_vault(vault: Vault, admin: Vault, new_id: str) -> None:
    stored = vault.put("card", new_id, b"value")
    assert stored.etag == vault.head("card", new_id).etag
    policy = admin.policies.access.put(f"tagged-{new_id}", retrieve=Rule())
    assert admin.policies.access.put(policy.name, retrieve=Rule(), if_match=policy.etag).version == 2


def test_create_only_never_replaces_and_if_match_replaces_one_version(vault: Vault, new_id: str) -> None:
    stored = vault.put("card", new_id, b"value", create_only=True)
    with pytest.raises(errors.PreconditionFailed) as raised:
        vault.put("card", new_id, b"other", create_only=True)
    assert not raised.value.maybe_applied
    assert vault.put("card", new_id, b"other", if_match=stored.etag).version == 2
    with pytest.raises(errors.PreconditionFailed):
        vault.put("card", new_id, b"third", if_match=stored.etag)


def test_an_update_changes_what_it_names_and_keeps_the_value(vault: Vault, new_id: str) -> None:
    stored = vault.put("card", new_id, b"value", key_ref="k1", metadata={"a": 1, "b": {"c": 2}}, ttl="3d")
    changed = vault.update("card", new_id, metadata={"a": None, "b": {"d": 3}}, access_policy="same-purpose")
    assert (changed.metadata, changed.access_policy, changed.version) == ({"b": {"c": 2, "d": 3}}, "same-purpose", 2)
    assert (changed.expires_at, changed.key_ref, changed.created) == (stored.expires_at, "k1", False)
    later = vault.update("card", new_id, ttl="5d", if_match=changed.etag)
    assert later.expires_at > stored.expires_at
    assert vault.update("card", new_id, metadata=None).metadata == {}
    assert vault.update("card", new_id, expires_at=None).expires_at > later.expires_at
    assert vault.get("card", new_id).value == b"value"
    with pytest.raises(errors.PreconditionFailed):
        vault.update("card", new_id, access_policy=None, if_match=stored.etag)


def test_the_same_update_again_makes_no_version(vault: Vault, new_id: str) -> None:
    vault.put("card", new_id, b"value")
    first, second = (
        vault.update("card", new_id, metadata={"a": 1}, expires_at="2027-01-01T00:00:00Z") for _ in range(2)
    )
    assert first.etag == second.etag


def test_a_head_tells_the_effective_expiry_and_counts_no_retrieval(vault: Vault, new_id: str) -> None:
    stored = vault.put("card", new_id, b"value")
    head = vault.head("card", new_id)
    assert (head.expires_at, head.created_at) == (stored.effective_expires_at, stored.created_at)
    assert head.access_policy == "owner-only"


def test_a_version_that_the_caller_has_is_not_retrieved_again(admin: Vault, vault: Vault, new_id: str) -> None:
    admin.policies.access.put(
        "five-times", store={}, retrieve={"max_retrievals": 5}, purge={"allowed_apps": ["@owner"]}
    )
    stored = vault.put("card", new_id, b"v", access_policy="five-times")
    for read in (vault.get, vault.head):
        with pytest.raises(errors.NotModified) as unchanged:
            read("card", new_id, if_none_match=stored.etag)
        assert unchanged.value.status == 304
        assert unchanged.value.request_id
        with pytest.raises(errors.PreconditionFailed):
            read("card", new_id, if_match='"another"')
    found = vault.get("card", new_id, if_match=stored.etag, if_none_match='"another"')
    assert (found.value, found.retrievals) == (b"v", 1)


def test_a_list_goes_through_all_pages_and_keeps_its_filters(vault: Vault) -> None:
    for number in range(7):
        vault.put("card", f"listed{number}", b"value", key_ref="listed")
    vault.put("card", "listed-not", b"value", key_ref="other")
    found = [entry.external_id for entry in vault.list("card", key_ref="listed", page_size=3)]
    assert found == [f"listed{number}" for number in range(7)]


def test_a_delete_gives_the_purge_record_and_a_receipt_that_verifies(vault: Vault, new_id: str) -> None:
    vault.put("card", new_id, b"value")
    purge = vault.delete("card", new_id, wait_seconds=10)
    assert isinstance(purge, Purge)
    assert purge.receipt is not None
    shown = verify_receipt(purge.receipt, str(SIGNING_KEY.verifier))
    assert (shown.row["external_id"], shown.row["proof_hash"]) == (new_id, purge.proof_hash)
    with pytest.raises(errors.NotFound):
        vault.get("card", new_id)


def test_a_receipt_is_waited_for(admin: Vault, vault: Vault, new_id: str) -> None:
    vault.put("card", new_id, b"value")
    purge = vault.delete("card", new_id)
    assert purge.receipt is None
    assert verify_receipt(admin.receipt(purge.id), str(SIGNING_KEY.verifier)).row["id"] == purge.id


def test_a_checkpoint_verifies_with_the_key_of_the_vault(vault: Vault) -> None:
    vault.health()
    note = eventually(lambda: _signed(vault))
    checkpoint = verify_checkpoint(note, vault.verifier_key())
    assert (checkpoint.origin, checkpoint.size > 0) == (SIGNING_KEY.verifier.name, True)


def _signed(vault: Vault) -> str | None:
    try:
        return vault.checkpoint()
    except errors.NothingSigned:
        return None


def test_a_shredded_id_is_purged_and_cannot_be_used_again(connect: Callable[..., Vault], new_id: str) -> None:
    archive = connect("archive")
    archive.put("cold", new_id, b"value")
    archive.delete("cold", new_id)
    with pytest.raises(errors.Purged):
        archive.get("cold", new_id)
    with pytest.raises(errors.IdRetired):
        archive.put("cold", new_id, b"value")


def test_another_app_is_denied_with_the_request_id_of_the_row(
    server: VaultServer, vault: Vault, connect: Callable[..., Vault], new_id: str
) -> None:
    vault.put("card", new_id, b"value")
    with pytest.raises(errors.AccessDenied) as raised:
        connect("billing").get("card", new_id)
    (row,) = server.rows(f"request_id={raised.value.request_id}")
    assert (row["app"], row["outcome"], row["external_id"]) == ("billing", "denied", new_id)


@pytest.mark.parametrize(
    ("purpose", "external_id"),
    [
        ("Card", "p"),
        ("", "p"),
        ("card", ""),
        ("card", "../x"),
        ("card", "a/b"),
        ("card", "a b"),
        ("card", "a%2Fb"),
        ("card", "ä"),
    ],
)
def test_a_name_that_no_path_can_hold_is_refused_before_anything_is_sent(
    vault: Vault, purpose: str, external_id: str
) -> None:
    with pytest.raises(errors.InvalidPath) as raised:
        vault.get(purpose, external_id)
    assert raised.value.request_id is None


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"ttl": "90 days"}, "ttl"),
        ({"ttl": "1d", "expires_at": "2027-01-01T00:00:00Z"}, "ttl"),
        ({"expires_at": datetime(2027, 1, 1)}, "expires_at"),  # noqa: DTZ001
        ({"metadata": {"a": float("nan")}}, ""),
        ({"metadata": {"a": object()}}, ""),
        ({"metadata": {"a": "\ud800"}}, ""),
        ({"if_match": '"a.1"', "create_only": True}, "if_match"),
    ],
)
def test_a_field_that_cannot_be_sent_is_named(vault: Vault, fields: dict[str, Any], wrong: str) -> None:
    with pytest.raises(errors.ValidationFailed) as raised:
        vault.put("card", "p", b"value", **fields)
    assert [each.field for each in raised.value.errors] == [wrong]


def test_a_field_that_the_vault_refuses_is_named(vault: Vault) -> None:
    with pytest.raises(errors.ValidationFailed) as raised:
        vault.put("card", "p", b"value", key_ref="")
    assert [each.field for each in raised.value.errors] == ["key_ref"]


def test_policies_are_put_read_listed_explained_and_deleted(admin: Vault) -> None:
    access = admin.policies.access
    policy = access.put("clients-policy", retrieve=Rule(allowed_apps=("@owner", "billing"), max_retrievals=3))
    assert access.get("clients-policy") == policy
    assert policy.rules["retrieve"]["allowed_apps"] == ["@owner", "billing"]
    assert policy.name in {each.name for each in access.list()}
    assert [each.version for each in access.versions("clients-policy")] == [1]
    told = access.explain("billing", "store", "card", "x", purposes=["card"], access_policy="clients-policy")
    assert (told.decision, told.policy) == ("deny", "clients-policy")
    assert access.delete("clients-policy", if_match=policy.etag).version == 1
    with pytest.raises(errors.PolicyNotFound):
        access.get("clients-policy")


def test_a_retention_policy_counts_what_it_does_before_it_is_put_in_force(admin: Vault) -> None:
    retention = admin.policies.retention
    first = retention.put("clients", max_retention_days=30)
    preview = retention.put("clients", max_retention_days=3, dry_run=True)
    assert preview.effect is not None
    assert preview.effect.expired_at_once == 0
    assert retention.get("clients").etag == first.etag
    second = retention.put("clients", max_retention_days=3, default_ttl_days=1, description="short")
    assert [each.version for each in retention.versions("clients")] == [2, 1]
    assert second.description == "short"
    changes = admin.policies.diff("retention-policies", "clients", 2)["changes"]
    assert {change["path"] for change in changes} >= {"/max_retention_days"}
    assert "clients" in {each.purpose for each in retention.list()}


def test_a_hold_keeps_an_entry_until_it_is_released(admin: Vault, vault: Vault, new_id: str) -> None:
    vault.put("card", new_id, b"value")
    hold = admin.holds.put(f"h-{new_id}", case_reference="case 7", reason="dispute", purpose="card", external_id=new_id)
    with pytest.raises(errors.LegalHold):
        vault.delete("card", new_id)
    assert [entry.external_id for entry in admin.holds.entries(hold.name)] == [new_id]
    assert admin.holds.get(hold.name).state == "active"
    released = admin.holds.release(hold.name, if_match=hold.etag)
    assert (released.state, released.version) == ("released", 2)
    assert hold.name in {each.name for each in admin.holds.list(state="released")}
    assert vault.delete("card", new_id).external_id == new_id


def test_a_key_is_made_used_and_revoked(admin: Vault, server: VaultServer, new_id: str) -> None:
    made = admin.keys.create("made", purposes=["card"], expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert made.key not in repr(made)
    with Vault(server.url, key=made.key) as theirs:
        theirs.put("card", new_id, b"value")
        assert admin.keys.revoke(made.key_id).state == "revoked"
        with pytest.raises(errors.Unauthenticated):
            theirs.get("card", new_id)
    assert made.key_id in {each.key_id for each in admin.keys.list(app="made", state="revoked")}
    assert admin.keys.get(made.key_id).state == "revoked"


def test_logs_are_iterated_over_page_by_page(admin: Vault, vault: Vault, new_id: str) -> None:
    vault.put("card", new_id, b"value")
    for _ in range(4):
        vault.head("card", new_id)
    rows = list(admin.access_log(external_id=new_id, order="asc", page_size=2))
    assert [row.operation for row in rows] == ["store", *["inspect"] * 4]
    vault.delete("card", new_id)
    (purge,) = admin.purge_log(external_id=new_id)
    assert purge.reason == "requested"


def test_logs_are_streamed_as_rows_and_to_a_file(admin: Vault, vault: Vault, new_id: str, tmp_path: Path) -> None:
    vault.put("card", new_id, b"value")
    with admin.export_access_log(external_id=new_id) as stream:
        assert [row["operation"] for row in stream.rows()] == ["store"]
    target = tmp_path / "log.csv"
    with admin.export_access_log(media="csv", external_id=new_id) as stream:
        stream.save(target)
    assert target.read_text().count("\n") == 2
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_stream_that_is_refused_raises_when_it_is_entered(vault: Vault) -> None:
    with pytest.raises(errors.RoleRequired), vault.export_access_log():
        pass


def test_evidence_is_streamed_to_a_file(admin: Vault, tmp_path: Path) -> None:
    eventually(lambda: _signed(admin))
    with admin.evidence() as bundle:
        bundle.save(tmp_path / "evidence.zip")
    assert (tmp_path / "evidence.zip").read_bytes()[:2] == b"PK"


def test_the_remaining_reads_answer(admin: Vault, vault: Vault, new_id: str) -> None:
    vault.put("card", new_id, b"value", key_ref="counted")
    assert [(use.purpose, use.entries) for use in admin.key_refs(key_ref="counted")] == [("card", 1)]
    assert admin.sweep(dry_run=True).dry_run
    assert admin.sweep().completed
    assert admin.report()["summary"]["active_entries"] > 0
    assert admin.health()["status"] == "ok"
    assert admin.controls()["controls"]
    eventually(lambda: _signed(admin))
    assert admin.inclusion_proof(0).startswith("c2sp.org/tlog-proof@v1\n")
    assert admin.consistency_proof(1, 1)["proof"] == []
    assert admin.attest()["attestation"]
    assert admin.review_access("all is needed", purpose="card")["access_review"]["purpose"] == "card"
    candidate = {"rules": {"retrieve": {}}}
    assert admin.policies.access.replay("clients-candidate", candidate, since="2020-01-01T00:00:00Z")["complete"]


def methods_of(kind: type) -> dict[str, tuple[str, Any]]:
    found = {name: each for name, each in inspect.getmembers_static(kind) if isinstance(each, _Method)}
    return {name: (type(each).__name__.removeprefix("Async"), each.build) for name, each in found.items()}


def test_both_clients_have_the_same_methods_from_the_same_functions(connect: Callable[..., Vault]) -> None:
    blocking, asynchronous = connect(), AsyncVault("http://localhost", key="k")
    assert methods_of(Vault) == methods_of(AsyncVault)
    for path in (("policies",), ("policies", "access"), ("policies", "retention"), ("holds",), ("keys",)):
        theirs, ours = blocking, asynchronous
        for name in path:
            theirs, ours = getattr(theirs, name), getattr(ours, name)
        assert methods_of(type(theirs)) == methods_of(type(ours)) != {}


@pytest.mark.parametrize("backend", ["asyncio"])
def test_the_awaited_client_does_the_same(server: VaultServer, new_id: str, backend: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncVault(server.url, key=server.key("payments")) as vault:
            stored = await vault.put("card", new_id, b"value", key_ref="awaited")
            assert (await vault.get("card", new_id)).value == b"value"
            assert (await vault.head("card", new_id)).etag == stored.etag
            assert [entry.external_id async for entry in vault.list("card", key_ref="awaited", page_size=1)] == [new_id]
            with pytest.raises(errors.NotFound):
                await vault.get("card", "not-there")
            with pytest.raises(errors.NotModified):
                await vault.get("card", new_id, if_none_match=stored.etag)
        async with AsyncVault(server.url, key=server.admin_key) as admin:
            async with admin.export_access_log(external_id=new_id, order="asc") as stream:
                assert [row["operation"] async for row in stream.rows()] == ["store", "retrieve", "inspect", "inspect"]
            async with admin.export_purge_log(media="csv") as stream:
                await stream.save(tmp_path / "purges.csv")
            assert (await admin.policies.access.get("owner-only")).built_in
            with pytest.raises(errors.HoldNotFound):
                await admin.holds.get("x")
        assert (tmp_path / "purges.csv").read_bytes().startswith(b"id,")

    anyio.run(run, backend=backend)
