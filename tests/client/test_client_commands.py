"""The commands that call a vault: what they print, what they exit with, and what they never show."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.busy_file import busy
from tests.support.fixtures import SIGNING_KEY
from tests.support.server import VaultServer
from vsqlvault.cli import main
from vsqlvault.cli.client import rules
from vsqlvault.cli.client.running import Watch
from vsqlvault.client import Attempt, RetentionPolicy, Vault, errors, verify_receipt
from vsqlvault.client.environment import read_access

_numbers = itertools.count()
Run = Callable[..., "Done"]


class Done:
    """What a command did."""

    def __init__(self, code: int, out: bytes, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def run(
    server: VaultServer, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> Run:
    """Run a command in this process, as an app of the server, with bytes on standard input."""
    for name in ("VSQL_VAULT_KEY", "VSQL_VAULT_TOKEN", "VSQL_VAULT_PROFILE", "VSQL_VAULT_CACERT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("VSQL_VAULT_ADDR", server.url)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, who: str | None = "payments", stdin: bytes = b"") -> Done:
        if who is not None:
            monkeypatch.setenv("VSQL_VAULT_KEY", server.key(who))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        out, err = capfdbinary.readouterr()
        return Done(code, out, err.decode())

    return run


@pytest.fixture
def entry() -> str:
    return f"card/c{next(_numbers)}"


VALUE = b"\x00\xff bytes \r\n of any kind\n"


def test_a_value_goes_in_and_comes_out_byte_for_byte(run: Run, entry: str) -> None:
    put = run("put", entry, stdin=VALUE)
    assert (put.code, put.err) == (0, "")
    assert put.text.startswith(f"created {entry} version 1 etag ")
    assert run("get", entry).out == VALUE


def test_a_value_comes_from_a_file_and_goes_to_one_that_only_its_owner_can_read(
    run: Run, entry: str, tmp_path: Path
) -> None:
    (tmp_path / "value").write_bytes(VALUE)
    assert run("put", entry, "--file", "value").code == 0
    got = run("get", entry, "--out", "copy")
    assert (got.code, got.out) == (0, b"")
    assert (tmp_path / "copy").read_bytes() == VALUE
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_what_describes_a_value_is_stored_with_it(run: Run, entry: str) -> None:
    words = ("--key-ref", "k1", "--algorithm", "A", "--policy", "same-purpose", "--ttl", "3d")
    put = run(
        "put", entry, *words, "--metadata", "merchant=42", "--metadata", "name=Ada", "--json", "--file", "-", stdin=b"v"
    )
    (document,) = put.documents
    assert (document["key_ref"], document["algorithm_hint"], document["access_policy"]) == ("k1", "A", "same-purpose")
    assert document["metadata"] == {"merchant": 42, "name": "Ada"}
    assert document["created_at"].endswith("Z")


def test_a_get_as_json_has_the_value_in_base64(run: Run, entry: str) -> None:
    run("put", entry, stdin=b"value")
    (document,) = run("get", entry, "--json").documents
    assert (document["value"], document["external_id"]) == ("dmFsdWU=", entry.partition("/")[2])


def test_quiet_prints_nothing_that_was_not_asked_for(run: Run, entry: str) -> None:
    assert run("put", entry, "--quiet", stdin=b"value").out == b""
    assert run("get", entry, "--quiet").out == b"value"
    assert run("rm", entry, "--quiet").out == b""


def test_a_warning_goes_to_stderr(run: Run, entry: str) -> None:
    put = run("put", entry, "--policy", "nowhere-defined", "--quiet", stdin=b"value")
    assert (put.code, put.out) == (0, b"")
    assert "warning" in put.err
    assert "nowhere-defined" in put.err


def test_a_head_is_a_table_of_members_or_json(run: Run, entry: str) -> None:
    run("put", entry, stdin=b"value")
    assert "access_policy" in run("head", entry).text
    (document,) = run("head", entry, "--json").documents
    assert document["access_policy"] == "owner-only"


def test_a_list_is_a_table_or_a_document_a_line(run: Run) -> None:
    for number in range(3):
        run("put", f"card/ls{number}", "--key-ref", "ls", stdin=b"value")
    table = run("ls", "card", "--key-ref", "ls").text.splitlines()
    assert table[0].split()[0] == "EXTERNAL_ID"
    assert [line.split()[0] for line in table[1:]] == ["ls0", "ls1", "ls2"]
    assert len({line.index("owner-only") for line in table[1:]}) == 1
    documents = run("ls", "card", "--key-ref", "ls", "--limit", "2", "--json").documents
    assert [each["external_id"] for each in documents] == ["ls0", "ls1"]


def test_a_purge_prints_its_proof_and_writes_a_receipt_that_verifies(run: Run, entry: str, tmp_path: Path) -> None:
    run("put", entry, stdin=b"value")
    purged = run("rm", entry, "--receipt", "receipt.json")
    receipt = json.loads((tmp_path / "receipt.json").read_text())
    proof = verify_receipt(receipt, str(SIGNING_KEY.verifier)).row["proof_hash"]
    assert purged.text == f"purged {entry} by physical-delete proof {proof}\n"


@pytest.mark.parametrize("receipt", ["nowhere/r.json", "."])
def test_a_receipt_that_cannot_be_written_is_refused_before_anything_is_purged(
    run: Run, entry: str, receipt: str
) -> None:
    run("put", entry, stdin=b"value")
    refused = run("rm", entry, "--receipt", receipt)
    assert (refused.code, refused.out) == (2, b"")
    assert refused.err.startswith(f"vsql-vault: --receipt: expected a writable file, found {receipt}: ")
    assert run("get", entry).out == b"value"


def test_a_receipt_that_fails_later_is_printed_after_the_proof(run: Run, entry: str, tmp_path: Path) -> None:
    run("put", entry, stdin=b"value")
    with busy(tmp_path / "receipt.json"):
        purged = run("rm", entry, "--receipt", "receipt.json")
    assert (purged.code, purged.err.count("\n")) == (2, 1)
    assert "--receipt: expected a writable file, found receipt.json" in purged.err
    said, receipt = purged.text.splitlines()
    proof = verify_receipt(json.loads(receipt), str(SIGNING_KEY.verifier)).row["proof_hash"]
    assert said == f"purged {entry} by physical-delete proof {proof}"


def test_a_value_is_not_retrieved_for_a_file_that_cannot_be_written(run: Run, entry: str) -> None:
    run("put", entry, stdin=b"value")
    refused = run("get", entry, "--out", "nowhere/value")
    assert (refused.code, refused.out) == (2, b"")
    assert "--out: expected a writable file, found nowhere/value" in refused.err
    rows = run("log", "access", "--external-id", entry.partition("/")[2], "--json", who="auditor").documents
    assert [row["operation"] for row in rows] == ["store"]


def test_a_review_is_not_recorded_for_a_file_that_cannot_be_written(run: Run) -> None:
    refused = run("review-access", "--statement", "never recorded", "--out", "nowhere/review", who="vault-admin")
    assert (refused.code, refused.out) == (2, b"")
    assert "--out: expected a writable file, found nowhere/review" in refused.err


@pytest.mark.parametrize(
    ("words", "argument"),
    [(("put", "card/x", "--expires-at", "tomorrow"), "--expires-at"), (("put", "card/x", "--ttl", "5x"), "--ttl"),
     (("log", "access", "--since", "yesterday"), "--since"), (("log", "purge", "--until", "2026-01-01"), "--until"),
     (("ls", "card", "--expires-before", "soon"), "--expires-before"), (("rm", "card/x", "--if-match", "zzz"), "--if-match"),
     (("hold", "rm", "h", "--if-match", 'W"a"'), "--if-match"), (("get", "card/a b"), "ID"), (("ls", "CARD"), "PURPOSE"),
     (("policy", "access", "get", "A B"), "NAME")],
)  # fmt: skip
def test_an_argument_that_is_invalid_is_named_and_exit_code_2(run: Run, words: tuple[str, ...], argument: str) -> None:
    done = run(*words)
    assert (done.code, done.out) == (2, b"")
    assert f"{argument}: expected " in done.err


@pytest.mark.parametrize("tags", ['"a"', 'W/"a"', '"a", "b,c"', "*", ', "a",'])
def test_a_list_of_entity_tags_reaches_the_vault(run: Run, entry: str, tags: str) -> None:
    run("put", entry, stdin=b"value")
    assert run("put", entry, "--if-match", tags, stdin=b"other").code == (0 if tags == "*" else 1)


def test_conditions_keep_a_version(run: Run, entry: str) -> None:
    etag = run("put", entry, "--create", stdin=b"value").text.split()[-1]
    assert run("put", entry, "--create", stdin=b"other").code == 1
    assert run("put", entry, "--if-match", etag, stdin=b"other").code == 0
    assert run("rm", entry, "--if-match", etag).code == 1
    assert run("get", entry).out == b"other"


def test_logs_are_printed_with_filters(run: Run, entry: str) -> None:
    run("put", entry, stdin=b"value")
    run("get", entry)
    external_id = entry.partition("/")[2]
    rows = run("log", "access", "--external-id", external_id, "--oldest-first", "--json", who="auditor").documents
    assert [row["operation"] for row in rows] == ["store", "retrieve"]
    table = run("log", "access", "--external-id", external_id, "--limit", "1", who="auditor").text.splitlines()
    assert table[0].startswith("AT")
    assert "retrieve" in table[1]
    assert len(table) == 2
    run("rm", entry)
    (row,) = run("log", "purge", "--external-id", external_id, "--json", who="auditor").documents
    assert row["reason"] == "requested"


def test_policies_are_set_read_listed_explained_and_removed(run: Run, tmp_path: Path) -> None:
    policy = {"rules": {"retrieve": {"allowed_apps": ["@owner"]}}, "description": "by command"}
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    assert run("policy", "access", "set", "commanded", "--file", "policy.json", who="vault-admin").code == 0
    (document,) = run("policy", "access", "get", "commanded", "--json", who="auditor").documents
    assert (document["description"], document["version"]) == ("by command", 1)
    assert "commanded" in run("policy", "access", "ls", who="auditor").text
    words = ("store", "card/x", "--app", "payments", "--purpose", "card", "--policy", "commanded")
    assert "deny" in run("policy", "access", "explain", *words, who="auditor").text
    without = run("policy", "access", "explain", "retrieve", "card/x", "--app", "payments", who="auditor")
    assert without.err == "vsql-vault: no --purpose was given: the app is assumed to have none\n"
    unknown = run("policy", "access", "explain", "patch", "card/x", "--app", "payments", who="auditor")
    assert "unknown word 'patch'; expected one of store, update, retrieve, inspect, purge\n" in unknown.err
    (told,) = run("policy", "access", "explain", *words, "--json", who="auditor").documents
    assert told["decision"] == "deny"
    assert run("policy", "access", "rm", "commanded", who="vault-admin").code == 0
    assert run("policy", "access", "get", "commanded", who="auditor").code == 4


def test_the_explanation_of_a_purged_entry_shows_the_answer(run: Run, entry: str) -> None:
    shredded = entry.replace("card/", "cold/")
    run("put", shredded, stdin=b"value", who="archive")
    run("rm", shredded, who="archive")
    explain = ("policy", "access", "explain", "retrieve", shredded, "--app", "archive", "--purpose", "cold")
    said = run(*explain, who="auditor").text
    assert "answer    410: purged: " in said, said


def test_retention_policies_are_set_from_options_and_from_a_document(run: Run) -> None:
    words = ("policy", "retention", "set", "commanded", "--max-days", "30")
    (first,) = run(*words, "--default-ttl-days", "7", "--json", who="vault-admin").documents
    assert (first["max_retention_days"], first["default_ttl_days"], first["version"]) == (30, 7, 1)
    assert run(*words, "--dry-run", who="vault-admin").code == 0
    document = json.dumps({"max_retention_days": 20, "require_purge_proof": True}).encode()
    assert run("policy", "retention", "set", "commanded", "--file", "-", stdin=document, who="vault-admin").code == 0
    assert "20" in run("policy", "retention", "get", "commanded", who="auditor").text
    assert "commanded" in run("policy", "retention", "ls", who="auditor").text


def test_setting_a_retention_policy_by_options_keeps_its_other_members(run: Run) -> None:
    words = ("policy", "retention", "set", "merged", "--json")
    first = ("--max-days", "30", "--inactivity-days", "9", "--data-class", "cde", "--required-metadata", "merchant")
    assert run(*words, *first, who="vault-admin").code == 0
    changed = run(*words, "--max-days", "40", "--max-value-bytes", "99", who="vault-admin")
    (second,) = changed.documents
    assert (second["max_retention_days"], second["max_value_bytes"], second["inactivity_days"]) == (40, 99, 9)
    assert (second["data_class"], second["required_metadata"], second["version"]) == ("cde", ["merchant"], 2)
    assert (
        changed.err == "vsql-vault: kept from version 1: inactivity_days, purge_method, data_class, required_metadata\n"
    )
    (third,) = run(*words, "--max-days", "50", "--replace", who="vault-admin").documents
    assert (third["inactivity_days"], third["data_class"], third["required_metadata"]) == (None, None, [])


def test_setting_a_retention_policy_does_not_replace_one_that_was_created_meanwhile(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = rules._retention_in_force

    def read_and_lose_the_race(vault: Vault, purpose: str) -> RetentionPolicy | None:
        found = read(vault, purpose)
        vault.policies.retention.put(purpose, max_retention_days=7, data_class="cde")
        return found

    words = ("policy", "retention", "set", "raced", "--max-days", "40")
    with monkeypatch.context() as patch:
        patch.setattr(rules, "_retention_in_force", read_and_lose_the_race)
        done = run(*words, who="vault-admin")
    assert (done.code, "412" in done.err or "precondition" in done.err) == (1, True), done.err
    (kept,) = run("policy", "retention", "get", "raced", "--json", who="auditor").documents
    assert (kept["max_retention_days"], kept["data_class"], kept["version"]) == (7, "cde", 1)
    assert run(*words, "--replace", who="vault-admin").code == 0


def test_a_policy_that_is_printed_can_be_set_from_that_file(run: Run) -> None:
    run("policy", "retention", "set", "printed", "--max-days", "30", "--max-value-bytes", "7", who="vault-admin")
    printed = run("policy", "retention", "get", "printed", "--json", who="auditor").out
    again = run("policy", "retention", "set", "printed", "--file", "-", "--json", stdin=printed, who="vault-admin")
    assert again.code == 0, again.err
    assert (again.documents[0]["max_value_bytes"], again.documents[0]["version"]) == (7, 2)
    other = run("policy", "retention", "set", "other", "--file", "-", stdin=printed, who="vault-admin")
    assert (other.code, "--file: purpose: expected other" in other.err) == (2, True)


def test_options_beside_a_file_are_refused_because_they_would_be_ignored(run: Run) -> None:
    words = ("policy", "retention", "set", "beside", "--file", "-", "--max-days", "3")
    done = run(*words, stdin=b'{"max_retention_days": 5}', who="vault-admin")
    assert (done.code, "--file: cannot be combined with an option for max_retention_days" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"rules": {"retreive": {}}}, "'rules.retreive': expected one of store, retrieve, inspect, purge (did you mean retri"),
        ({"rule": {}}, "'rule': expected one of rules, evaluator, parameters, description (did you mean rules?)"),
        ({"rules": {"store": 1}}, "rules.store: expected an object"),
    ],
)  # fmt: skip
def test_a_misspelt_word_of_an_access_policy_is_named_with_the_nearest(
    run: Run, document: dict[str, Any], said: str
) -> None:
    words = ("policy", "access", "set", "misspelt", "--file", "-")
    done = run(*words, stdin=json.dumps(document).encode(), who="vault-admin")
    assert (done.code, said in done.err) == (2, True), done.err


def test_warnings_about_a_policy_are_printed(run: Run) -> None:
    words = ("policy", "retention", "set", "warned", "--max-days", "3", "--allowed-access-policy", "nowhere-defined")
    assert "vsql-vault: warning: access policy nowhere-defined is not defined" in run(*words, who="vault-admin").err


def test_a_profile_may_stand_before_the_command(run: Run) -> None:
    done = run("--profile", "none", "get", "card/x")
    assert (done.code, "vsqlvault/client.toml" in done.err) == (2, True)
    other = run("--profile", "none", "check-config")
    assert (other.code, "--profile: expected a command that calls a vault" in other.err) == (2, True)


def test_holds_are_placed_read_listed_and_released(run: Run, entry: str) -> None:
    run("put", entry, stdin=b"value")
    purpose, _, external_id = entry.partition("/")
    words = (
        "hold",
        "set",
        "commanded",
        "--case",
        "7",
        "--reason",
        "dispute",
        "--purpose",
        purpose,
        "--id",
        external_id,
    )
    assert run(*words, who="vault-admin").code == 0
    assert run("rm", entry).code == 3
    assert "active" in run("hold", "get", "commanded", who="auditor").text
    assert [each["name"] for each in run("hold", "ls", "--json", who="auditor").documents] == ["commanded"]
    assert run("hold", "rm", "commanded", who="vault-admin").code == 0
    assert "commanded" in run("hold", "ls", "--state", "released", who="auditor").text


def test_replacing_a_hold_says_which_members_it_replaced(run: Run) -> None:
    words = ("hold", "set", "replaced", "--case", "7")
    first = run(*words, "--reason", "dispute", "--purpose", "card", "--id", "replaced", who="vault-admin")
    assert (first.code, "changed since" in first.err) == (0, False), first.err
    second = run(*words, "--reason", "dispute", "--purpose", "card", "--id", "other", who="vault-admin")
    assert "vsql-vault: changed since version 1: selector" in second.err.splitlines()
    assert run("hold", "rm", "replaced", who="vault-admin").code == 0


def test_a_review_of_access_is_recorded_and_written_to_a_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "review.json"
    done = run("review-access", "card", "--statement", "all is needed", "--out", str(file), "--json", who="vault-admin")
    assert (done.code, done.documents[0]["access_review"]["purpose"]) == (0, "card")
    assert json.loads(file.read_text("utf-8")) == done.documents[0]
    assert "sha256" in run("review-access", "--statement", "all", "--interval-days", "30", who="vault-admin").text
    assert run("review-access", "--statement", "no right to", who="auditor").code == 3
    misspelt = run("review-access", "crad", "--statement", "x", who="vault-admin")
    assert "purpose: expected a purpose with a retention policy (did you mean card?)" in misspelt.err
    assert run("review-access", "card", "--statement", "x", "--may-sha256", "0" * 64, who="vault-admin").code == 1


@pytest.mark.parametrize(
    ("words", "who", "code"),
    [
        (("head", "card/exit"), "payments", 0),
        (("put", "nowhere/exit"), "vault-admin", 1),
        (("get", "card"), "payments", 2),
        (("get", "card/a b"), "payments", 2),
        (("put", "card/exit", "--ttl", "soon"), "payments", 2),
        (("put", "card/exit", "--file", "/nowhere"), "payments", 2),
        (("put", "card/exit", "--metadata", "novalue"), "payments", 2),
        (("policy", "retention", "set", "card"), "vault-admin", 2),
        (("get", "card/exit", "--unknown"), "payments", 2),
        (("get", "card/exit", "--profile", "none"), "payments", 2),
        (("get", "card/exit"), "billing", 3),
        (("get", "card/exit"), None, 3),
        (("get", "card/not-there"), "payments", 4),
        (("hold", "get", "not-there"), "auditor", 4),
    ],
)
def test_every_way_to_end_has_its_exit_code(run: Run, words: tuple[str, ...], who: str | None, code: int) -> None:
    assert run("put", "card/exit", stdin=b"value").code == 0
    done = run(*words, who=who) if who else _with_a_bad_key(run, words)
    assert done.code == code
    assert len(done.err.splitlines()) == (0 if code == 0 else 2 if "--unknown" in words else 1), done.err
    assert "Traceback" not in done.err


def _with_a_bad_key(run: Run, words: tuple[str, ...]) -> Done:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSQL_VAULT_KEY", "not-a-key")
        return run(*words, who=None)


def test_a_vault_that_does_not_answer_is_exit_code_5(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setenv("VSQL_VAULT_ADDR", "http://127.0.0.1:1")
    done = run("get", "card/x")
    assert done.code == 5
    early, in_the_end = done.err.splitlines()
    notice = "vsql-vault: no answer from http://127.0.0.1:1 (ConnectError): trying again for up to"
    assert early == f"{notice} 30 seconds in all"
    assert "http://127.0.0.1:1 (VSQL_VAULT_ADDR, or addr of a profile): ConnectError" in in_the_end
    assert run("get", "card/x", "--quiet").err.splitlines() == [in_the_end]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run("get", "card/x").err.splitlines()[0] == f"{notice} 10 seconds in all"


def test_only_an_interruption_of_a_second_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Attempt] = []
    watch = Watch("http://vault", seen.append, is_quiet=False)
    lost = Attempt("GET", "/", 1, error="ConnectError", seconds=0.1, pause_seconds=0.5, max_seconds=30)
    for attempt in (lost, Attempt("GET", "/", 2, status=200, seconds=0.1), lost):
        watch(attempt)
    assert capsys.readouterr().err == ""
    watch(lost)
    assert len(capsys.readouterr().err.splitlines()) == 1
    watch(lost)
    assert (capsys.readouterr().err, len(seen)) == ("", 5)


def test_without_a_credential_nothing_is_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSQL_VAULT_ADDR", "http://127.0.0.1:1")
    done = run("get", "card/x", who=None)
    assert done.code == 2
    assert "set VSQL_VAULT_KEY to an API key" in done.err
    assert "ConnectError" not in done.err


def test_an_expired_entry_is_exit_code_4(run: Run, server: VaultServer) -> None:
    run("put", "card/gone", "--ttl", "1s", stdin=b"value")
    while (done := run("get", "card/gone")).code == 0:
        pass
    assert done.code == 4


@pytest.mark.parametrize(
    ("words", "nearest"),
    [(("gett", "card/x"), "get"), (("get", "card/x", "--ouut", "f"), "--out"), (("policy", "acess", "ls"), "access"),
     (("put", "card/x", "--keyref", "k"), "--key-ref"), (("log", "acces"), "access"), (("sweeep",), "sweep")],
)  # fmt: skip
def test_an_unknown_word_suggests_the_nearest(run: Run, words: tuple[str, ...], nearest: str) -> None:
    done = run(*words)
    assert done.code == 2
    assert f"did you mean {nearest}?" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [(("report", "--fromat", "html"), "vsql-vault report: unknown argument '--fromat'\n"),
     (("rm", "card/x", "--vkeys=k"), "vsql-vault rm: unknown argument '--vkeys'\n"),
     (("log", "access", "--sinse", "1h"), "vsql-vault log access: unknown argument '--sinse'; did you mean --since?\n")],
)  # fmt: skip
def test_an_unknown_option_suggests_one_of_its_own_command(run: Run, words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    command = said.partition(":")[0]
    assert (done.code, done.err) == (2, f"{said}Try '{command} --help'.\n")


def test_an_argument_that_cannot_be_used_is_no_setting_of_the_client(run: Run) -> None:
    done = run("put", "card/x", "--metadata", "merchant", stdin=b"value")
    assert (done.code, done.err) == (2, "vsql-vault: --metadata: expected NAME=VALUE\n")


def test_a_ttl_beyond_the_maximum_is_named_as_it_was_given(run: Run) -> None:
    done = run("put", "card/x", "--ttl", "99999d", stdin=b"value")
    assert done.code == 1
    assert "--ttl: expected" in done.err
    assert "expires_at" not in done.err


@pytest.mark.parametrize(
    ("name", "near"),
    [("ADRR", "ADDR"), ("ADDRESS", "ADDR"), ("URL", "ADDR"), ("TOKN", "TOKEN"), ("KEYHEADER", None),
     ("CLIENT_CRT", "CLIENT_CERT"),
     ("PROFIL", "PROFILE"), ("API_KEY", None), ("CONFIG", None), ("KEY_RING", None), ("KEY_2", None), ("SHOP", None),
     ("AGENT_KEY", None), ("PATIENT_KEY", None), ("STORAGE__DATABASE_URL", None), ("PORT", None), ("SERVICE_HOST", None)],
)  # fmt: skip
def test_only_a_variable_like_one_of_the_client_is_refused(name: str, near: str | None) -> None:
    given = {f"VSQL_VAULT_{name}": "x", "HOME": "/nonexistent"}
    if near is None:
        assert read_access(environment=given).addr == "http://localhost:8443"
        return
    with pytest.raises(errors.Unusable, match=f"did you mean VSQL_VAULT_{near}[?]"):
        read_access(environment=given)


def test_no_option_takes_a_value_or_a_credential(run: Run) -> None:
    """Other users of the host read arguments, and shells keep them."""
    for command in ("put", "get", "rm"):
        options = run(command, "--help").text
        assert not {"--value", "--key ", "--token", "--api-key"} & set(options.split())
    assert run("put", "card/x", "the-value-itself").code == 2


PROFILES = """
default = "good"
[profiles.good]
addr = "{url}"
key_file = "{key_file}"
[profiles.bad]
addr = "{url}"
key = "not-a-key"
[profiles.typo]
adr = "x"
"""


@pytest.fixture
def profiles(server: VaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "vsqlvault" / "client.toml"
    path.parent.mkdir(parents=True)
    key_file = tmp_path / "key"
    key_file.write_text(server.key("payments") + "\n")
    path.touch(mode=0o600)
    path.write_text(PROFILES.format(url=server.url, key_file=key_file))
    monkeypatch.delenv("VSQL_VAULT_ADDR", raising=False)
    return path


def test_a_profile_has_address_and_credential(
    run: Run, profiles: Path, entry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("put", entry, stdin=b"value", who=None).code == 0
    assert run("get", entry, "--profile", "bad", who=None).code == 3
    monkeypatch.setenv("VSQL_VAULT_PROFILE", "bad")
    assert run("get", entry, who=None).code == 3
    assert run("get", entry, "--profile", "good", who=None).out == b"value"


def test_a_variable_overrides_the_profile(run: Run, profiles: Path, entry: str) -> None:
    assert run("put", entry, stdin=b"value").code == 0
    assert run("get", entry, "--profile", "bad").out == b"value"


@pytest.mark.parametrize(("profile", "said"), [("typo", "profiles.typo.adr"), ("nowhere", "profiles.nowhere")])
def test_a_profile_that_is_wrong_is_named(run: Run, profiles: Path, profile: str, said: str) -> None:
    done = run("get", "card/x", "--profile", profile)
    assert done.code == 2
    assert said in done.err


def test_profiles_that_others_can_read_are_refused(run: Run, profiles: Path) -> None:
    profiles.chmod(0o644)
    done = run("get", "card/x", "--profile", "good")
    assert (done.code, "chmod 600" in done.err) == (2, True)


def test_a_script_finds_its_vault_as_the_command_does(run: Run, entry: str) -> None:
    run("put", entry, stdin=b"value")
    with Vault.from_environment() as vault:
        assert vault.get(*entry.split("/")).value == b"value"


def test_calling_a_vault_imports_nothing_of_the_server() -> None:
    script = (
        "import sys\nfrom vsqlvault.cli import main\n"
        "try:\n    main(['get', '--help'])\nexcept SystemExit:\n    pass\n"
        "import vsqlvault.cli.client.running\n"
        "print(sorted({'pydantic', 'quart', 'asyncpg', 'vsqlvault.config'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_serving_does_not_import_the_client() -> None:
    script = "import sys, vsqlvault.cli.parser\nprint(sorted({'httpx', 'anyio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_where_the_client_is_not_installed_one_sentence_says_how_to_install_it() -> None:
    script = (
        "import sys\nsys.modules['httpx'] = None\nfrom vsqlvault.cli import main\nsys.exit(main(['get', 'card/x']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'vsqlvault[client]'" in done.stderr
