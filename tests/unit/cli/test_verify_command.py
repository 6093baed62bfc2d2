"""``vsql-vault verify``, ``export-audit``, ``keygen --signing``: exit codes, sentences, files that are not what they seem."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.busy_file import busy
from tests.support.exports import second_verifier
from vsqlvault import cli
from vsqlvault.config import load_settings
from vsqlvault.durable_file import durable_file
from vsqlvault.errors import TreeDamaged
from vsqlvault.http.schemas.responses import purge_row
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time, utc_now
from vsqlvault.proof.attestation import FORMAT, shown_attestation, write_document
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.statement import sign_statement
from vsqlvault.runtime import open_vault
from vsqlvault.service.compliance.evidence_bundle import EvidenceBundle
from vsqlvault.service.entries.requests import Preconditions, StoreRequest
from vsqlvault.service.log.export import MAX_TEXT_BYTES
from vsqlvault.testing import a_call, a_retention_policy

KEY, STRANGER = (SigningKey("vault.example/audit", bytes([number]) * 32) for number in (1, 2))
SETTINGS = """
[storage]
database_url = "sqlite:///vault.db"
[audit]
signing_key_file = "signing.key"
[logging]
level = "error"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a stopped vault, its settings, its key, a receipt, a checkpoint that was kept, and an export."""
    directory = tmp_path_factory.mktemp("made")
    (directory / "signing.key").write_text(KEY.reveal(), "utf-8")
    (directory / "signing.key").chmod(0o600)
    (directory / "vsql-vault.toml").write_text(SETTINGS, "utf-8")

    async def fill() -> None:
        settings = load_settings(
            None,
            {
                "VSQL_VAULT_STORAGE__DATABASE_URL": f"sqlite:///{directory / 'vault.db'}",
                "VSQL_VAULT_AUDIT__SIGNING_KEY_FILE": str(directory / "signing.key"),
            },
        )
        async with open_vault(settings) as vault:
            owner = a_call()
            await vault.rules.policies.save_retention_policy(
                a_call("vault-admin", Role.ADMIN), a_retention_policy("card")
            )
            for number in range(40):
                wanted = StoreRequest(b"cipher", ValueEncoding.UTF_8, None, None, "{}", None, "owner-only")
                await vault.entries.store(owner, EntryKey("card", f"e{number}"), wanted)
            await vault.log.sequencer.sequence()
            (directory / "kept").write_text((await vault.storage.newest_checkpoint()).note, "utf-8")  # type: ignore[union-attr]
            record = await vault.entries.purge(owner, EntryKey("card", "e7"), Preconditions())
            await vault.log.sequencer.sequence()
            receipt = await vault.log.reader.receipt_within(record, 0)
            (directory / "receipt.json").write_text(json.dumps(receipt), "utf-8")
            (directory / "answer.json").write_text(json.dumps({**purge_row(record), "receipt": receipt}), "utf-8")

    asyncio.run(fill())
    (directory / "vkey").write_text(f"{KEY.verifier}\n", "utf-8")
    return directory


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    directory = tmp_path / "here"
    shutil.copytree(made, directory)
    monkeypatch.chdir(directory)
    assert cli.main(["export-audit", "--config", "vsql-vault.toml", "--out", "audit.zip"]) == 0
    return directory


Verify = Callable[..., tuple[int, str]]


@pytest.fixture
def verify(here: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """Run ``verify``, and return its exit code and what it says; a file is given to the second verifier as well."""

    def verify(*arguments: str, both: bool = True) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(["verify", "--config", "vsql-vault.toml", *arguments])
        said = capsys.readouterr()
        if both and arguments and not arguments[0].startswith("-") and "--vkey" in arguments:
            assert second_verifier.main(list(arguments)) == code, (capsys.readouterr(), said)
        return code, said.out + said.err

    return verify


def damage(statement: str) -> None:
    with closing(sqlite3.connect("vault.db")) as file, file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f"DROP TRIGGER {name}")
        file.execute(statement)


class TestVerify:
    def test_the_vault_itself_with_the_key_of_its_settings(self, verify: Verify) -> None:
        code, said = verify()
        assert code == 0
        assert "The log verifies" in said
        assert "Use --vkey" in said

    @pytest.mark.parametrize("key", [str(KEY.verifier), "vkey"])
    def test_an_export_with_a_key_and_a_checkpoint_that_was_kept(self, verify: Verify, key: str) -> None:
        code, said = verify("audit.zip", "--vkey", key, "--checkpoint", "kept")
        assert (code, "under 2 checkpoints" in said or "under 3 checkpoints" in said) == (0, True), said

    def test_a_row_that_was_changed_is_named(self, verify: Verify) -> None:
        damage("UPDATE access_log SET app = 'mallory' WHERE position = 10")
        code, said = verify("--vkey", "vkey")
        assert code == 1
        assert "The first bad index is 9." in said

    def test_so_is_one_in_an_export(self, verify: Verify) -> None:
        damage("UPDATE access_log SET app = 'mallory' WHERE position = 10")
        assert cli.main(["export-audit", "--config", "vsql-vault.toml", "--out", "bad.zip"]) == 0
        code, said = verify("bad.zip", "--vkey", "vkey")
        assert (code, "The first bad index is 9." in said) == (1, True)

    def test_another_key_does_not_do(self, verify: Verify) -> None:
        code, said = verify("audit.zip", "--vkey", str(STRANGER.verifier))
        assert (code, "The first bad index is 0." in said) == (1, True)

    def test_rows_that_are_not_signed_yet_are_counted(self, verify: Verify) -> None:
        damage(
            "INSERT INTO access_log (at, request_id, operation, outcome, status) VALUES (1, 'r', 'list', 'granted', 200)"
        )
        code, said = verify("--vkey", "vkey")
        assert (code, "1 newer rows are not covered by this checkpoint" in said) == (0, True)

    def test_a_receipt_by_itself_and_in_the_answer_to_delete(self, verify: Verify) -> None:
        for name in ("receipt.json", "answer.json"):
            code, said = verify(name, "--vkey", "vkey")
            assert code == 0
            assert "The receipt verifies" in said
            assert "card/e7" in said

    def test_an_answer_to_delete_with_one_digit_changed(self, verify: Verify, here: Path) -> None:
        answer = json.loads((here / "answer.json").read_text("utf-8"))
        last = answer["proof_hash"][-1]
        answer["proof_hash"] = answer["proof_hash"][:-1] + ("0" if last != "0" else "1")
        (here / "answer.json").write_text(json.dumps(answer), "utf-8")
        code, said = verify("answer.json", "--vkey", str(KEY.verifier))
        assert code == 1
        assert 'THE RECEIPT DOES NOT VERIFY: "proof_hash" next to the receipt is' in said

    def test_a_receipt_with_something_changed(self, verify: Verify, here: Path) -> None:
        text = (here / "receipt.json").read_text("utf-8")
        (here / "forged.json").write_text(text.replace("card", "cord"), "utf-8")
        code, said = verify("forged.json", "--vkey", "vkey")
        assert (code, "DOES NOT VERIFY" in said) == (1, True)
        code, said = verify("receipt.json", "--vkey", str(STRANGER.verifier))
        assert (code, "DOES NOT VERIFY" in said) == (1, True)

    def test_the_second_verifier_is_a_program(self, here: Path) -> None:
        (here / "forged.json").write_text((here / "receipt.json").read_text("utf-8").replace("card", "cord"), "utf-8")
        for name, code in (("receipt.json", 0), ("forged.json", 1)):
            command = [sys.executable, second_verifier.__file__, name, "--vkey", "vkey"]
            assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == code

    def test_checkpoints_of_the_file_anchor(self, verify: Verify, here: Path) -> None:
        note = (here / "kept").read_text("utf-8")
        (here / "anchor").write_text(f"{json.dumps({'size': 1, 'note': note})}\n", "utf-8")
        assert verify("audit.zip", "--vkey", "vkey", "--checkpoint", "anchor")[0] == 0

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["audit.zip"], "--vkey: expected a verifier key, found none"),
            (["audit.zip", "--vkey", "nonsense"], "--vkey: expected a verifier key"),
            (["none.zip", "--vkey", "vkey"], "none.zip: expected a readable file"),
            (["vkey", "--vkey", "vkey"], "expected an export of a transparency log"),
            (["audit.zip", "--vkey", "vkey", "--checkpoint", "vkey"], "--checkpoint: "),
            (["audit.zip", "--vkey", "vkey", "--checkpoint", "none"], "none: expected a readable file"),
            (["audit.zip", "--vkey", "vkey", "--checkpoint", "receipt.json"], "JSON lines with a note each"),
            (["other.json", "--vkey", "vkey"], "expected a receipt with the format vsqlvault-receipt-v1"),
        ],
    )
    def test_what_cannot_be_checked_is_one_sentence(
        self, verify: Verify, here: Path, arguments: list[str], sentence: str
    ) -> None:
        (here / "other.json").write_text("{}", "utf-8")
        code, said = verify(*arguments)
        assert code == 2
        assert sentence in said
        assert "Traceback" not in said

    def test_without_a_key_anywhere_there_is_nothing_to_check_with(self, verify: Verify, here: Path) -> None:
        (here / "vsql-vault.toml").write_text(SETTINGS.replace('signing_key_file = "signing.key"', ""), "utf-8")
        assert verify()[0] == 2

    def test_a_log_that_nobody_has_signed(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (here / "vsql-vault.toml").write_text(SETTINGS.replace("vault.db", "new.db"), "utf-8")
        assert cli.main(["migrate", "--config", "vsql-vault.toml"]) == 0
        assert cli.main(["verify", "--config", "vsql-vault.toml"]) == 1
        assert "nothing is signed" in capsys.readouterr().out
        assert cli.main(["export-audit", "--config", "vsql-vault.toml", "--out", "new.zip"]) == 2
        assert not (here / "new.zip").exists()


def test_a_changed_table_is_exit_1_and_named_with_its_leaf(here: Path, verify: Verify) -> None:
    damage("UPDATE retention_policies SET max_retention_days = 3650")
    code, said = verify()
    assert code == 1
    assert "The log verifies" in said
    assert "THE TABLES ARE NOT AS THE LOG SAYS" in said
    assert "retention_policies, card v1: max_retention_days is 3650, the log has" in said
    assert "(leaf 0)" in said


def test_a_changed_table_is_in_the_json(here: Path, verify: Verify) -> None:
    damage("UPDATE entries SET owner_app = 'thief' WHERE external_id = 'e3'")
    code, said = verify("--json")
    document = json.loads(said)
    assert (code, document["verifies"], document["findings"]) == (1, False, [])
    (finding,) = document["state"]["findings"]
    assert (finding["table"], finding["key"]) == ("entries", "card/e3")
    assert finding["leaf"] is not None


def rewritten(source: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


class TestExportsThatAreNotWhatTheySeem:
    """What somebody who wants to be believed may send."""

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("manifest.json", b"{"),
            ("manifest.json", b'{"format": "something-else"}'),
            ("manifest.json", b'{"format": "vsqlvault-audit-export-v1"}'),
            ("manifest.json", b'{"format": "vsqlvault-audit-export-v1", "anomalies": [1]}'),
            ("manifest.json", b"[" * 100_000),
            ("manifest.json", b" " * (MAX_TEXT_BYTES + 1)),
            ("checkpoint", b"\xff"),
            ("tile/0/000.p/43", b"\x00" * 8193),
        ],
    )
    def test_what_is_no_export_is_one_sentence(self, verify: Verify, here: Path, name: str, data: bytes) -> None:
        rewritten(here / "audit.zip", here / "odd.zip", lambda members: members.update({name: data}))
        code, said = verify("odd.zip", "--vkey", "vkey")
        assert code == 2, said
        assert "Traceback" not in said

    @pytest.mark.parametrize("part", ["tile/entries/", "tile/0/"])
    def test_what_is_missing_is_found(self, verify: Verify, here: Path, part: str) -> None:
        def take_out(members: dict[str, bytes]) -> None:
            for name in [name for name in members if name.startswith(part)]:
                del members[name]

        rewritten(here / "audit.zip", here / "odd.zip", take_out)
        code, said = verify("odd.zip", "--vkey", "vkey")
        assert (code, "The first bad index is 0." in said) == (1, True)

    def test_a_checkpoint_that_claims_more_than_there_is_ends_soon(self, verify: Verify, here: Path) -> None:
        def claim(members: dict[str, bytes]) -> None:
            lines = members["checkpoint"].decode().split("\n")
            lines[1] = "9" * 18
            members["checkpoint"] = "\n".join(lines).encode()

        rewritten(here / "audit.zip", here / "odd.zip", claim)
        code, said = verify("odd.zip", "--vkey", "vkey")
        assert code == 1, said

    def test_a_file_that_is_cut_short(self, verify: Verify, here: Path) -> None:
        data = (here / "audit.zip").read_bytes()
        for length in (0, 10, len(data) // 2, len(data) - 1):
            (here / "cut.zip").write_bytes(data[:length])
            assert verify("cut.zip", "--vkey", "vkey")[0] == 2


class TestSigningKeys:
    def test_keygen_writes_a_key_for_its_owner_only_and_never_over_another(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["keygen", "--signing", "--origin", "vault.example/new", "--out", "new.key"]) == 0
        said = capsys.readouterr().out
        key = SigningKey.parse((here / "new.key").read_text("utf-8"))
        assert str(key.verifier) in said
        assert key.verifier.name == "vault.example/new"
        assert key.reveal() not in said
        assert (here / "new.key").stat().st_mode & 0o777 == 0o600
        assert cli.main(["keygen", "--signing", "--out", "new.key"]) == 2
        assert "keys are never overwritten" in capsys.readouterr().err
        assert SigningKey.parse((here / "new.key").read_text("utf-8")).verifier == key.verifier

    def test_a_log_needs_a_name_that_stands_in_a_note(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["keygen", "--signing", "--origin", "a b", "--out", "new.key"]) == 2
        assert "--origin" in capsys.readouterr().err
        assert not (here / "new.key").exists()

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ('signing_key_file = "none.key"', "audit.signing_key_file: expected a readable file"),
            ('signing_key_file = "open.key"', "expected a file readable by its owner only"),
            ('signing_key_file = "vkey"', "audit.signing_key_file: expected a signing key"),
            ('signing_key_env = "NO_SUCH_KEY"', "expected the variable NO_SUCH_KEY to be set"),
            ('signing_key_file = "signing.key"\nsigning_key_env = "A"', "at most one of"),
            ('signing_key_file = "signing.key"\nprevious_signing_key_file = "foreign.key"', "expected a key with the name"),
        ],
    )  # fmt: skip
    def test_a_key_that_cannot_be_used_stops_with_one_sentence(
        self, here: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
    ) -> None:
        (here / "open.key").write_text(KEY.reveal(), "utf-8")
        (here / "open.key").chmod(0o644)
        (here / "foreign.key").write_text(SigningKey("elsewhere.example/log", b"\x03" * 32).reveal(), "utf-8")
        for name in ("foreign.key", "vkey"):
            (here / name).chmod(0o600)
        settings = SETTINGS.replace('signing_key_file = "signing.key"', text)
        (here / "vsql-vault.toml").write_text(settings, "utf-8")
        assert cli.main(["check-config", "--config", "vsql-vault.toml"]) == 2
        said: Any = capsys.readouterr().err
        assert sentence in said
        assert KEY.reveal().rpartition("+")[2] not in said


class TestAttestations:
    """``attest`` writes what ``verify`` checks."""

    @pytest.fixture
    def attested(self, here: Path) -> Callable[..., int]:
        return lambda *arguments: cli.main(["attest", "--config", "vsql-vault.toml", *arguments])

    def test_an_attestation_is_printed_and_can_be_verified(self, attested, verify: Verify, here: Path, capsys) -> None:
        assert attested("--out", "attestation.json") == 0
        told = capsys.readouterr().out
        assert "Attestation 1" in told
        assert "0 entries overdue" in told
        assert (here / "attestation.json").stat().st_mode & 0o777 == 0o600
        code, said = verify("attestation.json", "--vkey", "vkey", both=False)
        assert (code, "The attestation verifies" in said, "Attestation 1" in said) == (0, True, True)

    def test_whatever_is_changed_is_found(self, attested, verify: Verify, here: Path) -> None:
        attested("--out", "attestation.json")
        text = (here / "attestation.json").read_text("utf-8")
        (here / "attestation.json").write_text(text.replace('"failed": 0', '"failed": 1'), "utf-8")
        code, said = verify("attestation.json", "--vkey", "vkey", both=False)
        assert (code, "DOES NOT VERIFY" in said) == (1, True)

    def test_one_of_another_shape_that_is_signed_is_no_traceback(self, verify: Verify, here: Path) -> None:
        document = write_document({"format": FORMAT, "overdue": 7})
        shown = shown_attestation(document, sign_statement(FORMAT, document.encode(), KEY.signer))
        (here / "odd.json").write_text(json.dumps(shown), "utf-8")
        assert verify("odd.json", "--vkey", "vkey", both=False)[0] == 0

    @pytest.mark.parametrize("bad", ["[]", "null", '"x"', '{"format": 7}', '{"format": "vsqlvault-attestation-v1"}'])
    def test_what_is_none_is_refused(self, verify: Verify, here: Path, bad: str) -> None:
        (here / "bad.json").write_text(f'{{"attestation": {bad}}}', "utf-8")
        assert verify("bad.json", "--vkey", "vkey", both=False)[0] in {1, 2}

    def test_a_file_that_cannot_be_written_is_one_sentence_and_nothing_is_attested(self, attested, capsys) -> None:
        assert attested("--out", "nowhere/attestation.json") == 2
        assert "--out: expected a writable file, found nowhere/attestation.json" in capsys.readouterr().err
        assert attested() == 0
        assert "Attestation 1" in capsys.readouterr().out

    def test_one_whose_file_fails_later_is_printed(self, attested, here: Path, capsys) -> None:
        with busy(here / "attestation.json"):
            assert attested("--out", "attestation.json") == 2
        said = capsys.readouterr()
        assert "--out: expected a writable file, found attestation.json: another run is writing it now" in said.err
        (here / "printed.json").write_text(said.out, "utf-8")
        assert cli.main(["verify", "printed.json", "--vkey", "vkey"]) == 0

    def test_a_report_is_no_file_to_verify(self, verify: Verify, here: Path) -> None:
        assert cli.main(["report", "--config", "vsql-vault.toml", "--json", "report.json"]) == 0
        code, said = verify("report.json", "--vkey", "vkey")
        assert (code, "found a compliance report" in said) == (2, True)

    def test_one_without_its_note_is_no_report(self, attested, verify: Verify, here: Path) -> None:
        attested("--out", "attestation.json")
        shown = json.loads((here / "attestation.json").read_text("utf-8"))
        del shown["note"]
        (here / "attestation.json").write_text(json.dumps({**shown, "period": {}}), "utf-8")
        assert verify("attestation.json", "--vkey", "vkey")[0] == 1


class TestEvidence:
    """``evidence`` writes what ``verify`` checks."""

    @pytest.fixture
    def write(self, here: Path) -> Callable[..., int]:
        return lambda *arguments: cli.main(["evidence", "--config", "vsql-vault.toml", *arguments])

    def test_what_is_written_is_checked_without_the_vault(self, write, verify: Verify, here: Path, capsys) -> None:
        assert write("--out", "evidence.zip") == 0
        assert "evidence.zip" in capsys.readouterr().out
        assert (here / "evidence.zip").stat().st_mode & 0o777 == 0o600
        (here / "vault.db").unlink()
        code, said = verify("evidence.zip", "--vkey", "vkey", "--checkpoint", "kept", both=False)
        assert code == 0
        assert "The evidence verifies" in said
        assert "receipts     1 verified" in said

    def test_the_same_vault_gives_the_same_bytes(self, write, made: Path, here: Path, monkeypatch) -> None:
        now = utc_now()
        times = (
            "--as-of",
            format_time(now),
            "--since",
            format_time(now - timedelta(days=1)),
            "--until",
            format_time(now),
        )
        assert write("--out", "evidence.zip", *times) == 0
        again = here.with_name("again")
        shutil.copytree(made, again)
        monkeypatch.chdir(again)
        assert write("--out", "evidence.zip", *times) == 0
        assert (again / "evidence.zip").read_bytes() == (here / "evidence.zip").read_bytes()

    def test_one_that_was_altered_is_named_in_plain_words(self, write, verify: Verify, here: Path) -> None:
        write("--out", "evidence.zip")
        with zipfile.ZipFile("evidence.zip") as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
        found["report.json"] = found["report.json"].replace(b'"overdue": 0', b'"overdue": 9')
        found["extra.txt"] = b"x"
        del found["README.txt"]
        with zipfile.ZipFile("bad.zip", "w") as archive:
            for name, data in found.items():
                archive.writestr(name, data)
        code, said = verify("bad.zip", "--vkey", "vkey", both=False)
        assert code == 1
        assert said.splitlines()[1:] == [
            "THE EVIDENCE DOES NOT VERIFY.",
            "  extra.txt: missing from the manifest",
            "  README.txt: listed in the manifest, missing from the file",
            "  report.json: differs from the signed content",
        ]
        assert verify("evidence.zip", "--vkey", str(STRANGER.verifier), both=False)[0] == 1
        assert verify("evidence.zip", both=False)[0] == 2

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--out", "nowhere/evidence.zip"], "--out: expected a writable file"),
            (["--out", "."], "--out: expected a writable file, found .: it is a folder"),
        ],
    )
    def test_a_file_that_cannot_be_written_is_one_sentence(self, write, capsys, here, arguments, sentence) -> None:
        before = set(here.iterdir())
        assert write(*arguments) == 2
        assert sentence in capsys.readouterr().err
        assert set(here.iterdir()) == before

    def test_nothing_is_left_of_one_that_broke_off(self, write, here: Path, monkeypatch, capsys) -> None:
        async def broken(*_: Any) -> Any:
            raise TreeDamaged
            yield

        monkeypatch.setattr(EvidenceBundle, "_put_log", broken)
        before = set(here.iterdir())
        assert write("--out", "evidence.zip") == 5
        assert set(here.iterdir()) == before

    def test_another_process_that_writes_there_is_left_alone(self, write, here: Path, capsys) -> None:
        with durable_file(here / "evidence.zip") as file:
            file.write(b"another's")
            assert write("--out", "evidence.zip") == 2
            assert "another run is writing it now" in capsys.readouterr().err
        assert (here / "evidence.zip").read_bytes() == b"another's"

    def test_what_an_interrupted_run_has_left_is_replaced(self, write, here: Path) -> None:
        (here / ".evidence.zip.part").write_bytes(b"half of an earlier one")
        assert write("--out", "evidence.zip") == 0
        assert not (here / ".evidence.zip.part").exists()

    @pytest.mark.parametrize(
        ("times", "sentence"),
        [
            (["--as-of", "2999-01-01T00:00:00Z"], "--as-of: expected a time that is not in the future"),
            (
                ["--since", "2020-01-02T00:00:00Z", "--until", "2020-01-01T00:00:00Z"],
                "--since: expected a time before until",
            ),
        ],
    )
    def test_times_that_cannot_be_are_refused(self, write, here: Path, capsys, times, sentence) -> None:
        assert write("--out", "evidence.zip", *times) == 2
        assert sentence in capsys.readouterr().err
        assert not (here / "evidence.zip").exists()

    def test_without_a_signing_key_there_is_none(self, write, here: Path, capsys) -> None:
        text = SETTINGS.replace('[audit]\nsigning_key_file = "signing.key"\n', "")
        (here / "vsql-vault.toml").write_text(text, "utf-8")
        assert write("--out", "evidence.zip") == 2
        assert "audit.signing_key_file: expected a signing key" in capsys.readouterr().err
