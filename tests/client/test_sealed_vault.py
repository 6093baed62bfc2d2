"""Sealing against a running vault: the vault has ciphertext, its caller the plaintext, and rotation loses nothing."""

from __future__ import annotations

import itertools
import threading
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.server import VaultServer
from vsqlvault.client import AsyncVault, Vault, errors
from vsqlvault.client.sealed import (
    AsyncSealedVault,
    KeyRefChanged,
    SealCut,
    SealedVault,
    SealMoved,
    SealUnknown,
    StaticKeyRing,
    UnknownKey,
)
from vsqlvault.client.sealed.entries import put
from vsqlvault.client.wire import Answer, Request

OLD, NEW = b"o" * 32, b"n" * 32
BEFORE = StaticKeyRing({"card-v1": OLD}, "card-v1")
AFTER = StaticKeyRing({"card-v1": OLD, "card-v2": NEW}, "card-v2")
_numbers = itertools.count()


@pytest.fixture
def new_id() -> str:
    return f"s{next(_numbers)}"


@pytest.fixture
def sealed(vault: Vault) -> SealedVault:
    return SealedVault(vault, BEFORE)


def test_the_vault_has_ciphertext_and_its_caller_the_plaintext(sealed: SealedVault, vault: Vault, new_id: str) -> None:
    stored = sealed.put("card", new_id, "4111 1111 1111 1111", metadata={"n": 1})
    assert (stored.key_ref, stored.algorithm_hint, stored.created) == ("card-v1", "AES-256-GCM", True)
    assert b"4111" not in vault.get("card", new_id).value
    opened = sealed.get("card", new_id)
    assert (opened.text, opened.metadata) == ("4111 1111 1111 1111", {"n": 1})
    assert "4111" not in repr(opened)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plaintext=st.binary(max_size=300))
def test_any_plaintext_comes_back(sealed: SealedVault, plaintext: bytes) -> None:
    external_id = f"any-sealed{next(_numbers)}"
    sealed.put("card", external_id, plaintext)
    assert sealed.get("card", external_id).plaintext == plaintext


def copied(vault: Vault, source: str, target: str, **fields: Any) -> None:
    found = vault.get("card", source)
    vault.put("card", target, fields.pop("value", found.value), **{"key_ref": found.key_ref, **fields})


def test_a_value_that_was_moved_to_another_id_does_not_open(sealed: SealedVault, vault: Vault, new_id: str) -> None:
    sealed.put("card", new_id, b"value")
    copied(vault, new_id, f"{new_id}-moved")
    with pytest.raises(SealMoved):
        sealed.get("card", f"{new_id}-moved")


def test_a_value_under_another_key_ref_or_cut_or_not_sealed_does_not_open(
    sealed: SealedVault, vault: Vault, new_id: str
) -> None:
    sealed.put("card", new_id, b"value")
    value = vault.get("card", new_id).value
    vault.delete("card", new_id)
    for changed, fields, kind in (
        (value, {"key_ref": "card-v2"}, KeyRefChanged),
        (value, {}, KeyRefChanged),
        (value[:-1], {"key_ref": "card-v1"}, SealCut),
        (b"never sealed", {"key_ref": "card-v1"}, SealUnknown),
    ):
        vault.put("card", new_id, changed, **fields)
        with pytest.raises(kind):
            sealed.get("card", new_id)
        vault.delete("card", new_id)


def test_resealing_moves_an_entry_to_the_current_key_and_keeps_what_describes_it(
    sealed: SealedVault, vault: Vault, new_id: str
) -> None:
    before = sealed.put("card", new_id, b"value", metadata={"n": 1}, ttl="3d", access_policy="same-purpose")
    rotated = SealedVault(vault, AFTER)
    after = rotated.reseal("card", new_id)
    assert after is not None
    assert (after.key_ref, after.version) == ("card-v2", 2)
    for name in ("metadata", "expires_at", "access_policy", "owner_app", "created_at", "entry_id"):
        assert getattr(after, name) == getattr(before, name)
    assert rotated.get("card", new_id).plaintext == b"value"
    with pytest.raises(UnknownKey):
        sealed.get("card", new_id)


def test_resealing_what_is_under_the_current_key_changes_nothing(sealed: SealedVault, new_id: str) -> None:
    stored = sealed.put("card", new_id, b"value")
    assert sealed.reseal("card", new_id) is None
    assert sealed.vault.head("card", new_id).etag == stored.etag


def test_what_is_left_to_reseal_is_what_the_vault_lists_under_the_old_key(
    sealed: SealedVault, vault: Vault, connect: Callable[..., Vault]
) -> None:
    for number in range(5):
        sealed.put("card", f"stale{number}", f"value {number}")
    rotated = SealedVault(vault, AFTER)
    for external_id in [each for each in rotated.stale("card", "card-v1") if each.startswith("stale")]:
        rotated.reseal("card", external_id)
    assert not [each for each in rotated.stale("card", "card-v1") if each.startswith("stale")]
    assert [rotated.get("card", f"stale{number}").text for number in range(5)] == [
        f"value {number}" for number in range(5)
    ]


class Interfering(Vault):
    """Lets something happen between the read and the write of a resealing."""

    before_put: Callable[[Request[Any]], None] | None = None
    maybe_applied = False
    retrievals = 0

    def send(self, request: Request[Any]) -> Any:
        self.retrievals += request.method == "GET"
        if request.method == "PUT" and self.before_put:
            happen, self.before_put = self.before_put, None
            happen(request)
            try:
                return super().send(request)
            except errors.PreconditionFailed as conflict:
                conflict.maybe_applied = self.maybe_applied
                raise
        return super().send(request)


def test_resealing_never_replaces_what_was_stored_meanwhile(server: VaultServer, vault: Vault, new_id: str) -> None:
    SealedVault(vault, BEFORE).put("card", new_id, b"value")
    with Interfering(server.url, key=server.key("payments")) as interfering:
        for maybe_applied, retrievals in ((False, 1), (True, 3)):
            interfering.before_put = lambda _: SealedVault(vault, BEFORE).put("card", new_id, b"newer") and None
            interfering.maybe_applied = maybe_applied
            with pytest.raises(errors.PreconditionFailed):
                SealedVault(interfering, AFTER).reseal("card", new_id)
            assert interfering.retrievals == retrievals
    assert SealedVault(vault, BEFORE).get("card", new_id).plaintext == b"newer"


def test_a_resealing_whose_answer_was_lost_is_recognised_as_done(
    server: VaultServer, vault: Vault, new_id: str
) -> None:
    SealedVault(vault, BEFORE).put("card", new_id, b"value")
    with Interfering(server.url, key=server.key("payments")) as interfering:
        interfering.before_put = lambda request: vault.send(request) and None
        interfering.maybe_applied = True
        resealed = SealedVault(interfering, AFTER).reseal("card", new_id)
    assert resealed is not None
    assert (resealed.key_ref, resealed.version) == ("card-v2", 2)


class Remote(StaticKeyRing):
    """A ring that asks a service: it must not be asked on the event loop."""

    blocks = True

    def sealing_key(self) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return super().sealing_key()

    def opening_key(self, key_ref: str, wrapped: bytes) -> bytes:
        assert threading.current_thread() is not threading.main_thread()
        return super().opening_key(key_ref, wrapped)


@pytest.mark.parametrize("kind", [StaticKeyRing, Remote])
def test_the_awaited_vault_does_the_same(server: VaultServer, new_id: str, kind: type[StaticKeyRing]) -> None:
    async def run() -> None:
        async with AsyncSealedVault(
            AsyncVault(server.url, key=server.key("payments")), kind({"card-v1": OLD}, "card-v1")
        ) as sealed:
            await sealed.put("card", new_id, "value")
            assert (await sealed.get("card", new_id)).text == "value"
            assert new_id in [each async for each in sealed.stale("card", "card-v1")]
            sealed.keyring = kind({"card-v1": OLD, "card-v2": NEW}, "card-v2")
            resealed = await sealed.reseal("card", new_id)
            assert resealed is not None
            assert (resealed.key_ref, resealed.version) == ("card-v2", 2)
            assert await sealed.reseal("card", new_id) is None

    anyio.run(run)


def test_a_put_is_sealed_once_for_all_its_attempts() -> None:
    request = put(BEFORE.sealing_key(), "card", "p1", b"value")
    assert request.body is not None
    document = Answer(200, {}, request.body).document()
    assert b64decode(document["encrypted_value"]).startswith(b"VSS1")
