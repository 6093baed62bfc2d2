"""Signed notes, keys and checkpoints: the specification's example, and everything that is not to be believed."""

from __future__ import annotations

from base64 import b64encode

import pytest

from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint, read_proof, sign_checkpoint, write_proof
from vsqlvault.proof.note import KeyInvalid, NoteRefused, SigningKey, VerifierKey, open_note, sign_note, split_note
from vsqlvault.proof.tree import ProofInvalid

# The example of https://c2sp.org/signed-note
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# That of Go's golang.org/x/mod/sumdb/note
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)

KEY = SigningKey("vault.example/log", b"\x07" * 32)
OTHER = SigningKey("vault.example/log", b"\x08" * 32)
HEAD = TreeHead("vault.example/log", 20_852_163, b"\x2a" * 32)


def test_the_specifications_example_holds() -> None:
    text, signed = open_note(NOTE, [VerifierKey.parse(VKEY)])
    assert text == "This is an example message.\n"
    assert [str(key) for key in signed] == [VKEY]


def test_go_s_key_signs_as_go_does() -> None:
    key = SigningKey.parse(GO_PRIVATE)
    assert str(key.verifier) == GO_PUBLIC
    assert key.reveal() == GO_PRIVATE
    assert sign_note(GO_NOTE.partition("\n\n")[0] + "\n", key.signer) == GO_NOTE


def test_a_new_key_is_another_one_each_time() -> None:
    one, two = SigningKey.generate("vault.example/log"), SigningKey.generate("vault.example/log")
    assert one.reveal() != two.reveal()
    assert SigningKey.parse(one.reveal()).verifier == one.verifier
    assert one.reveal() not in repr(one)


@pytest.mark.parametrize(
    "text",
    ["", "a", VKEY.replace("530d903a", "530d903b"), VKEY[:-4], VKEY.replace("+Aeky", "+Beky"),
     "+".join(["a b", *VKEY.split("+")[1:]]),
     GO_PRIVATE, VKEY + "="],
)  # fmt: skip
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(KeyInvalid):
        VerifierKey.parse(text)


@pytest.mark.parametrize(
    "text",
    ["", GO_PUBLIC, GO_PRIVATE[:-4], GO_PRIVATE.replace("c74f20a3", "c74f20a4"), f"x{GO_PRIVATE}", "PRIVATE+KEY+a"],
)
def test_what_is_no_signing_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(KeyInvalid) as refused:
        SigningKey.parse(text)
    assert "AYEKFALV" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "x" * 257])
def test_a_key_has_a_name_that_stands_in_a_note(name: str) -> None:
    with pytest.raises(KeyInvalid):
        SigningKey.generate(name)


def test_a_note_may_have_several_signatures_and_says_whose_hold() -> None:
    note = sign_note("text\n", KEY.signer, OTHER.signer)
    assert open_note(note, [OTHER.verifier, KEY.verifier])[1] == (KEY.verifier, OTHER.verifier)
    assert open_note(note, [OTHER.verifier])[1] == (OTHER.verifier,)


def test_a_text_may_have_empty_lines() -> None:
    note = sign_note("one\n\ntwo\n", KEY.signer)
    assert open_note(note, [KEY.verifier])[0] == "one\n\ntwo\n"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name\n",
        "text\n\n- vault.example/log AAAAAAAA\n",
        "text\n\n— vault.example/log AAAA\n",
        "text\n\n— vault.example/log AAAAAAA\n",
        sign_note("text\n", KEY.signer).rstrip("\n"),
        sign_note("text\n", KEY.signer).replace("text", "te\x07xt"),
        sign_note("text\n", KEY.signer).replace("\n", "\r\n"),
        sign_note("text\n", *[KEY.signer] * 65),
        sign_note("x" * 65_536 + "\n", KEY.signer),
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteRefused):
        split_note(note)


def test_a_note_by_nobody_who_is_trusted_is_refused() -> None:
    with pytest.raises(NoteRefused, match="trusted key"):
        open_note(sign_note("text\n", OTHER.signer), [KEY.verifier])
    with pytest.raises(NoteRefused, match="trusted key"):
        open_note(NOTE, [])


def test_a_changed_text_and_a_forged_signature_are_refused() -> None:
    note = sign_note("text\n", KEY.signer)
    with pytest.raises(NoteRefused, match="does not verify"):
        open_note(note.replace("text", "next"), [KEY.verifier])
    forged = KEY.verifier.key_id + OTHER.signer.sign(b"text\n")
    with pytest.raises(NoteRefused, match="does not verify"):
        open_note(f"text\n\n— {KEY.verifier.name} {b64encode(forged).decode()}\n", [KEY.verifier])


def test_a_text_that_is_no_line_is_not_signed() -> None:
    for text in ("text", "te\x00xt\n"):
        with pytest.raises(ValueError, match="newline"):
            sign_note(text, KEY.signer)


class TestCheckpoint:
    def test_it_is_written_as_the_specification_has_it(self) -> None:
        note = sign_checkpoint(HEAD, KEY.signer)
        root = "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio="
        assert note.startswith(f"vault.example/log\n20852163\n{root}\n\n— vault.example/log ")
        assert open_checkpoint(note, [KEY.verifier]) == HEAD

    def test_further_lines_are_passed_over(self) -> None:
        assert TreeHead.parse(f"{HEAD}extension\n") == HEAD

    @pytest.mark.parametrize(
        "text",
        ["", "a\n1\n", f"\n1\n{'A' * 43}=\n", f"a\n01\n{'A' * 43}=\n", f"a\n-1\n{'A' * 43}=\n", f"a\n1\n{'A' * 42}==\n",
         f"a\n1\n{'A' * 43}=", f"a\n{'9' * 20}\n{'A' * 43}=\n", f"a\n1 \n{'A' * 43}=\n", f"a\n1\n{'A' * 42}B=\n"],
    )  # fmt: skip
    def test_what_is_no_checkpoint_is_refused(self, text: str) -> None:
        with pytest.raises(NoteRefused):
            TreeHead.parse(text)

    def test_a_key_signs_only_for_the_log_of_its_name(self) -> None:
        foreign = SigningKey("elsewhere.example/log", b"\x09" * 32)
        with pytest.raises(NoteRefused, match="origin"):
            open_checkpoint(sign_checkpoint(HEAD, foreign.signer), [foreign.verifier])


class TestProofFile:
    def test_it_is_read_as_it_was_written(self) -> None:
        checkpoint = sign_checkpoint(HEAD, KEY.signer)
        for proof in ([], [b"\x01" * 32, b"\x02" * 32]):
            text = write_proof(5, proof, checkpoint)
            assert text.startswith("c2sp.org/tlog-proof@v1\nindex 5\n")
            assert read_proof(text) == (5, proof, checkpoint)

    def test_extra_data_is_passed_over(self) -> None:
        text = write_proof(5, [b"\x01" * 32], "checkpoint\n").replace("index", "extra AAAA\nindex")
        assert read_proof(text) == (5, [b"\x01" * 32], "checkpoint\n")

    @pytest.mark.parametrize(
        "text",
        ["", "c2sp.org/tlog-proof@v1\n\n", "c2sp.org/tlog-proof@v1\nindex 05\n\nc", "c2sp.org/tlog-proof@v2\nindex 5\n\nc",
         "c2sp.org/tlog-proof@v1\nindex 5\nAAAA\n\nc", "c2sp.org/tlog-proof@v1\nindex 5\n"],
    )  # fmt: skip
    def test_what_is_no_proof_is_refused(self, text: str) -> None:
        with pytest.raises(ProofInvalid):
            read_proof(text)
