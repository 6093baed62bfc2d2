"""A sealed value opens where it was sealed for and nowhere else, and says why it does not."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsqlvault.client.errors import VaultError
from vsqlvault.client.sealed import (
    DataKey,
    KeyRefChanged,
    SealAltered,
    SealCut,
    SealError,
    SealMoved,
    SealUnknown,
    StaticKeyRing,
    UnknownKey,
    seal,
    unseal,
)
from vsqlvault.client.sealed.cipher import decrypt, encrypt, sealed_with
from vsqlvault.client.sealed.wire_format import FIXED, NONCE_BYTES, TAG_BYTES

DOCS = Path(__file__).parents[2] / "docs" / "sealing.md"
WYCHEPROOF = json.loads((Path(__file__).parent / "vectors" / "wycheproof_aes_256_gcm.json").read_text("utf-8"))["tests"]
KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
RING = StaticKeyRing({"k1": KEY, "k2": OTHER}, "k1")
PURPOSES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,40}", fullmatch=True)
VALUES = st.binary(max_size=200)


def sealed(plaintext: bytes = b"4111 1111", **key: bytes) -> bytes:
    return seal(DataKey("k1", KEY, **key), "card", "p1", plaintext)


@given(purpose=PURPOSES, external_id=IDS, plaintext=VALUES, wrapped=st.binary(max_size=50))
def test_any_plaintext_opens_where_it_was_sealed_for(
    purpose: str, external_id: str, plaintext: bytes, wrapped: bytes
) -> None:
    value = seal(DataKey("k1", KEY, wrapped), purpose, external_id, plaintext)
    assert unseal(RING, purpose, external_id, value, key_ref="k1") == plaintext
    assert len(value) == FIXED.size + 2 + len(wrapped) + NONCE_BYTES + len(plaintext) + TAG_BYTES


@given(places=st.lists(st.tuples(PURPOSES, IDS), min_size=2, max_size=2, unique=True), plaintext=VALUES)
def test_a_value_that_was_moved_does_not_open(places: list[tuple[str, str]], plaintext: bytes) -> None:
    (here, there) = places
    value = seal(RING.sealing_key(), *here, plaintext)
    with pytest.raises(SealMoved):
        unseal(RING, *there, value)


@given(plaintext=VALUES, cut=st.integers(1, 400))
def test_a_value_that_was_cut_does_not_open(plaintext: bytes, cut: int) -> None:
    value = sealed(plaintext)
    with pytest.raises((SealCut, SealUnknown)):
        unseal(RING, "card", "p1", value[: max(len(value) - cut, 0)])


@given(plaintext=VALUES, more=st.binary(min_size=1, max_size=20))
def test_a_value_with_bytes_behind_it_does_not_open(plaintext: bytes, more: bytes) -> None:
    with pytest.raises(SealCut):
        unseal(RING, "card", "p1", sealed(plaintext) + more)


@given(plaintext=VALUES, place=st.integers(0, 10_000), change=st.integers(1, 255), wrapped=st.binary(max_size=9))
def test_a_value_of_which_any_byte_was_changed_does_not_open(
    plaintext: bytes, place: int, change: int, wrapped: bytes
) -> None:
    value = bytearray(sealed(plaintext, wrapped=wrapped))
    value[place % len(value)] ^= change
    with pytest.raises(SealError):
        unseal(RING, "card", "p1", bytes(value))


@given(value=st.binary(max_size=300) | st.binary(max_size=100).map(lambda rest: b"VSS1\x01" + rest))
def test_any_bytes_give_a_reason_and_no_other_error(value: bytes) -> None:
    with pytest.raises(SealError):
        unseal(RING, "card", "p1", value)


def test_a_changed_key_ref_is_named_as_the_reason() -> None:
    with pytest.raises(KeyRefChanged):
        unseal(RING, "card", "p1", sealed(), key_ref="k2")


def test_a_header_that_names_another_key_does_not_open_under_that_key() -> None:
    value = sealed().replace(b"k1", b"k2", 1)
    with pytest.raises(SealAltered):
        unseal(RING, "card", "p1", value, key_ref="k2")


def test_a_header_that_names_another_place_does_not_open_there() -> None:
    """The digest in the header only says why: without it the tag refuses all the same."""
    value, there = sealed(), seal(RING.sealing_key(), "card", "p2", b"4111 1111")
    forged = value[:13] + there[13:29] + value[29:]
    with pytest.raises(SealAltered):
        unseal(RING, "card", "p2", forged)


def test_a_key_that_the_ring_does_not_have_is_named_as_the_reason() -> None:
    with pytest.raises(UnknownKey):
        unseal(StaticKeyRing({"k9": OTHER}, "k9"), "card", "p1", sealed())


def test_another_key_under_the_same_name_does_not_open() -> None:
    with pytest.raises(SealAltered):
        unseal(StaticKeyRing({"k1": OTHER}, "k1"), "card", "p1", sealed())


def test_no_reason_shows_a_value_a_key_or_another_place() -> None:
    value = seal(RING.sealing_key(), "card", "secret-place", b"secret-value")
    broken = [value[:-1], value, value[:40] + b"\0" * (len(value) - 40), b"x"]
    for each in broken:
        with pytest.raises(VaultError) as raised:
            unseal(RING, "card", "p1", each)
        assert "secret" not in str(raised.value)
        assert raised.value.__context__ is None or "secret" not in repr(raised.value.__context__)


def test_two_seals_of_one_plaintext_share_neither_nonce_nor_ciphertext() -> None:
    nonces = {sealed()[31:43] for _ in range(1000)}
    assert len(nonces) == 1000


def published() -> list[dict[str, str]]:
    (block,) = re.findall(r"^```json\n(.*?)^```$", DOCS.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return list(json.loads(block)["vectors"])


@pytest.mark.parametrize("vector", published(), ids=lambda vector: vector["name"])
def test_the_published_vectors_are_what_is_written_and_read(vector: dict[str, str]) -> None:
    key = DataKey(vector["key_ref"], bytes.fromhex(vector["key"]), bytes.fromhex(vector["wrapped"]))
    place = vector["purpose"], vector["external_id"]
    plaintext, value = bytes.fromhex(vector["plaintext"]), b64decode(vector["sealed"])
    assert sealed_with(key, *place, plaintext, bytes.fromhex(vector["nonce"])) == value
    assert unseal(StaticKeyRing({key.key_ref: key.key}, key.key_ref), *place, value, key_ref=key.key_ref) == plaintext


@pytest.mark.parametrize("case", WYCHEPROOF, ids=lambda case: f"{case['tcId']}-{case['result']}")
def test_the_cipher_agrees_with_wycheproof(case: dict[str, str]) -> None:
    key, nonce, associated = (bytes.fromhex(case[name]) for name in ("key", "iv", "aad"))
    plaintext, ciphertext = bytes.fromhex(case["msg"]), bytes.fromhex(case["ct"] + case["tag"])
    if case["result"] == "valid":
        assert encrypt(key, nonce, plaintext, associated) == ciphertext
        assert decrypt(key, nonce, ciphertext, associated) == plaintext
    else:
        with pytest.raises(SealAltered):
            decrypt(key, nonce, ciphertext, associated)


def test_wycheproof_has_cases_of_both_kinds() -> None:
    assert {case["result"] for case in WYCHEPROOF} == {"valid", "invalid"}


def test_a_plaintext_may_be_empty_and_large() -> None:
    for plaintext in (b"", os.urandom(1_000_000)):
        assert unseal(RING, "card", "p1", sealed(plaintext)) == plaintext
