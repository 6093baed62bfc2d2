"""The edges of notes, proofs, receipts and of the check of the log: exact texts, exact limits, exact places."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from tests.support.exports import access_leaf, signed_head
from vsqlvault.proof.canonical import canonical_json
from vsqlvault.proof.checkpoint import TreeHead, read_proof, write_proof
from vsqlvault.proof.leaf import LONG_TEXT_BYTES, MAX_ENTRY_BYTES, row_hash, row_leaf
from vsqlvault.proof.log_check import LogCheck, SignedHead
from vsqlvault.proof.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    KeyInvalid,
    NoteRefused,
    SignerUnknown,
    SigningKey,
    VerifierKey,
    open_note,
    sign_note,
    split_note,
)
from vsqlvault.proof.purge_proof import proof_document, purge_proof
from vsqlvault.proof.receipt import ReceiptInvalid, check_receipt, write_receipt
from vsqlvault.proof.restores import MAX_NOTES_BYTES, ConfirmedRestore, in_rows
from vsqlvault.proof.tiles import HASH_BYTES, TileKey
from vsqlvault.proof.tree import ProofInvalid, leaf_hash
from vsqlvault.testing import a_purge_record, an_access_record, an_entry

KEY, STRANGER = (SigningKey("limits.example/audit", bytes([number]) * 32) for number in (31, 32))
PUBLIC, PRIVATE, KEY_ID = str(KEY.verifier), KEY.reveal(), KEY.verifier.key_id.hex()


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "expected a verifier key: name+id+base64, for Ed25519"),
            (PUBLIC.replace(KEY_ID, "00000000"), f"expected the key id {KEY_ID}, found another one"),
            (PUBLIC.replace("limits.example/audit", "a b"), "expected a key's name without spaces and plus signs"),
            ("a+00000000+AQID", "expected a public key of 32 bytes, found 2"),
        ],
    )  # fmt: skip
    def test_of_a_verifier_key(self, text: str, message: str) -> None:
        with pytest.raises(KeyInvalid) as refused:
            VerifierKey.parse(text)
        assert str(refused.value) == message

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (PUBLIC, "expected a signing key: PRIVATE+KEY+name+id+base64, for Ed25519"),
            (PRIVATE.replace(KEY_ID, "00000000"), "expected a signing key whose id is that of its name and key"),
            (PRIVATE.replace("+AR", "+A!"), "expected a signing key: PRIVATE+KEY+name+id+base64, for Ed25519"),
        ],
    )  # fmt: skip
    def test_of_a_signing_key(self, text: str, message: str) -> None:
        with pytest.raises(KeyInvalid) as refused:
            SigningKey.parse(text)
        assert str(refused.value) == message

    @pytest.mark.parametrize(
        ("note", "message"),
        [
            ("te\x07xt\n", "expected a note of at most 64 KiB without control characters"),
            ("text\n", "expected a text, an empty line, and signature lines"),
            ("text\n\n— name AAAAAAAA", "expected a text, an empty line, and signature lines"),
            ("text\n\n— name\n", "expected a signature line: an em dash, a name, base64"),
            ("text\n\n— name AAAAAA==\n", "expected a signature line: an em dash, a name, base64"),
            (sign_note("text\n", *[KEY.signer] * (MAX_SIGNATURES + 1)), f"expected at most {MAX_SIGNATURES} signatures"),
        ],
    )  # fmt: skip
    def test_of_a_note(self, note: str, message: str) -> None:
        with pytest.raises(NoteRefused) as refused:
            split_note(note)
        assert str(refused.value) == message

    def test_of_a_note_by_strangers_names_them_all(self) -> None:
        other = SigningKey("other.example/audit", b"\x01" * 32)
        with pytest.raises(SignerUnknown) as refused:
            open_note(sign_note("text\n", STRANGER.signer, other.signer), [KEY.verifier])
        ids = [f"{key.verifier.name} {key.verifier.key_id.hex()}" for key in (STRANGER, other)]
        assert str(refused.value) == f"expected a signature of a trusted key, found {', '.join(ids)}"

    def test_of_a_checkpoint(self) -> None:
        with pytest.raises(NoteRefused) as refused:
            TreeHead.parse("origin\nsize\n")
        assert str(refused.value) == "expected a checkpoint: origin, size and root hash, one line each"

    @pytest.mark.parametrize("text", ["", "c2sp.org/tlog-proof@v1\n\n", "c2sp.org/tlog-proof@v1\nextra AAAA\n\n"])
    def test_of_a_proof(self, text: str) -> None:
        with pytest.raises(
            ProofInvalid, match=r"^expected a proof: c2sp\.org/tlog-proof@v1, an index, hashes, an empty"
        ):
            read_proof(text)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": "other"}, "expected a receipt with the format vsqlvault-receipt-v1"),
            ({"leaf": 1}, "expected the strings leaf and proof"),
            ({"entry_hash": "0" * 64}, "expected purge and entry_hash to match the leaf, found a difference"),
        ],
    )
    def test_of_a_receipt(self, change: dict[str, object], message: str) -> None:
        with pytest.raises(ReceiptInvalid) as refused:
            check_receipt({**receipt(), **change}, [KEY.verifier])
        assert str(refused.value) == message

    def test_of_a_receipt_of_a_row_that_is_not_a_purge(self) -> None:
        leaf = row_leaf(an_access_record())
        proof = write_proof(0, [], signed_head([leaf], KEY))
        with pytest.raises(ReceiptInvalid) as refused:
            check_receipt({**receipt(), "leaf": leaf.decode(), "proof": proof}, [KEY.verifier])
        assert str(refused.value) == "expected a leaf that is a row of the purge log"


def receipt() -> dict[str, object]:
    record = a_purge_record()
    return write_receipt(record, 0, [], signed_head([row_leaf(record)], KEY), KEY.verifier, ["backups"])


def test_a_receipt_names_the_key_that_verifies_it() -> None:
    assert receipt()["verifier_key"] == PUBLIC


class TestLimits:
    def test_a_note_may_have_as_many_signatures_and_bytes_as_the_limits_say(self) -> None:
        assert len(split_note(sign_note("text\n", *[KEY.signer] * MAX_SIGNATURES))[1]) == MAX_SIGNATURES
        rest = len(sign_note("\n", KEY.signer))
        assert split_note(sign_note("x" * (MAX_NOTE_BYTES - rest) + "\n", KEY.signer))
        with pytest.raises(NoteRefused):
            split_note(sign_note("x" * (MAX_NOTE_BYTES - rest + 1) + "\n", KEY.signer))

    @pytest.mark.parametrize("bytes_over", [0, 1])
    def test_a_leaf_is_shortened_from_one_byte_over_its_limit(self, bytes_over: int) -> None:
        rest = len(row_leaf(an_access_record(new_value="")))
        record = an_access_record(new_value="x" * (MAX_ENTRY_BYTES - rest + bytes_over))
        leaf = row_leaf(record)
        assert (len(leaf) == MAX_ENTRY_BYTES) == (bytes_over == 0)
        assert len(leaf) <= MAX_ENTRY_BYTES
        assert row_hash(record) == leaf_hash(leaf)

    @pytest.mark.parametrize("bytes_over", [-1, 0, 1, 50_000])
    def test_the_hash_of_a_row_is_that_of_its_leaf_for_every_length_of_the_detail(self, bytes_over: int) -> None:
        record = an_access_record(detail="x" * (LONG_TEXT_BYTES + bytes_over))
        assert row_hash(record) == leaf_hash(row_leaf(record))
        assert row_hash(record) == leaf_hash(row_leaf(record)), "the second row is made by the template of the first"

    @pytest.mark.parametrize("change", [{"old_value": "a"}, {"new_value": "b"}, {"old_value": "a", "new_value": "b"}])
    def test_the_hash_of_a_row_with_values_is_that_of_its_leaf(self, change: dict[str, str]) -> None:
        record = an_access_record(**change)
        assert row_hash(record) == leaf_hash(row_leaf(record))

    @pytest.mark.parametrize("change", [{"version": 2**53 - 1}, {"value_size": 2**53 - 1}])
    def test_a_proof_over_the_largest_safe_numbers_is_over_the_canonical_form(self, change: dict[str, int]) -> None:
        entry, digest = replace(an_entry(), **change), hashlib.sha256(b"value").hexdigest()
        expected = hashlib.sha256(canonical_json(proof_document(entry, digest))).hexdigest()
        assert purge_proof(entry, b"value") == expected

    @pytest.mark.parametrize("change", [{"version": 2**53}, {"value_size": 2**53}])
    def test_no_proof_is_made_over_a_number_that_has_no_canonical_form(self, change: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="safe integer"):
            purge_proof(replace(an_entry(), **change), b"value")

    def test_each_row_of_a_restore_has_as_many_notes_as_fit(self) -> None:
        notes = [signed_head([b"leaf"] * size, KEY) for size in range(1, 40)] * 20
        lengths = [len(note.encode()) + note.count("\n") + 2 for note in notes]
        expected, taken = [0], 0
        for length in lengths:
            if taken + length > MAX_NOTES_BYTES:
                expected.append(0)
                taken = 0
            expected[-1] += 1
            taken += length
        assert len(expected) > 1
        assert [len(row) for row in in_rows(notes)] == expected

    def test_a_note_that_fills_a_row_exactly_leaves_no_room_for_another(self) -> None:
        line = "é\n"
        note = line * (MAX_NOTES_BYTES // 4) + "x" * (MAX_NOTES_BYTES % 4)
        exact = note[: len(note) - 1]
        assert len(exact.encode()) + exact.count("\n") + 2 <= MAX_NOTES_BYTES
        assert [len(row) for row in in_rows([exact, exact])] == [1, 1]


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((), "no checkpoint is given up"),
        ((5,), "the checkpoint of 5 leaves is given up"),
        ((5, 7, 9), "3 checkpoints, of 5 to 9 leaves, are given up"),
    ],
)
def test_a_confirmed_restore_names_what_it_gives_up(sizes: tuple[int, ...], text: str) -> None:
    notes = frozenset({*(signed_head([b"leaf"] * size, KEY) for size in sizes), "not a note"})
    restore = ConfirmedRestore(3, "2027-02-16T09:30:00Z", "vault-admin", notes)
    assert str(restore) == f"leaf 3 confirms a restored database, at 2027-02-16T09:30:00Z, by vault-admin: {text}"


class TestLogCheck:
    def test_it_returns_the_tiles_above_the_leaves_once_they_are_full(self) -> None:
        leaves = [access_leaf(operation="retrieve")] * 256
        tile = leaf_hash(leaves[0]) * 256
        check = LogCheck([], [])
        returned = [check.add_bundle(leaves, tile) for _ in range(256)]
        assert returned[:-1] == [{}] * 255
        ((key, full),) = returned[-1].items()
        assert (key, len(full)) == (TileKey(1, 0), 256 * HASH_BYTES)

    def test_a_changed_hash_of_a_tile_above_is_found_at_the_first_leaf_below_it(self) -> None:
        leaves = [access_leaf(operation="retrieve")] * 256
        check = LogCheck([], [])
        for _ in range(3):
            check.add_bundle(leaves, leaf_hash(leaves[0]) * 256)
        ((key, expected),) = check.last_tiles().items()
        found = expected[:HASH_BYTES] + b"\x00" * HASH_BYTES + expected[2 * HASH_BYTES :]
        check.check_tile(key, expected, expected)
        check.check_tile(key, expected, found)
        assert [(each.index, each.what) for each in check.findings] == [
            (256, "the tile of level 1 does not match the tiles below it")
        ]

    def test_a_first_checkpoint_that_nobody_trusted_signed_is_found_at_the_first_leaf(self) -> None:
        assert [each.index for each in finished([b"leaf"] * 3, STRANGER).findings] == [0]

    def test_a_checkpoint_names_the_leaves_between_the_good_one_before_it_and_its_last(self) -> None:
        leaves = [access_leaf(operation="retrieve", external_id=f"e{number}") for number in range(9)]
        forged = signed_head([*leaves[:5], b"other"], KEY)
        check = LogCheck([SignedHead.parse(signed_head(leaves[:4], KEY)), SignedHead.parse(forged)], [KEY.verifier])
        check.add_bundle(leaves, b"".join(leaf_hash(leaf) for leaf in leaves))
        check.finish()
        assert [(each.index, each.what) for each in check.findings] == [
            (4, "between this leaf and 5, the leaves do not match the checkpoint of 6 leaves")
        ]

    def test_remarks_on_keys_stay_beside_those_on_restores(self) -> None:
        roll = access_leaf(operation="rotate-signing-key", new_value="not a roll")
        restore = access_leaf(operation="confirm-restore", new_value="")
        check = finished([roll, restore], KEY)
        assert [remark.split(" ")[:2] for remark in check.remarks] == [["leaf", "0"], ["leaf", "1"]]
        assert "without the signature of a trusted key" in check.remarks[0]


def finished(leaves: list[bytes], key: SigningKey) -> LogCheck:
    check = LogCheck([SignedHead.parse(signed_head(leaves, key))], [KEY.verifier])
    check.add_bundle(leaves, b"".join(leaf_hash(leaf) for leaf in leaves))
    check.finish()
    return check
