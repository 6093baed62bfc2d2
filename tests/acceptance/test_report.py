"""The compliance report: the members that were asked for, and numbers that are true."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER, NewDatabase
from tests.support.server import ADMIN, VaultServer
from tests.support.warm_start import run_vault

SECONDS = 1.2


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[VaultServer]:
    """A vault with a history: 3 live entries, 2 expired, 1 purged, 1 swept, 1 version replaced."""
    directory = tmp_path_factory.mktemp("report")
    server = VaultServer(directory, database_url=new_database(directory))
    server.start()
    try:
        for purpose in ("card", "ach"):
            server.retention(purpose)
        at = (datetime.now(UTC) + timedelta(seconds=SECONDS)).isoformat()
        days20 = (datetime.now(UTC) + timedelta(days=20)).isoformat()
        server.stored("payments", "card/swept", MARKER, expires_at=at)
        server.stored("payments", "card/live-1", MARKER, key_ref="card-key-v7")
        server.stored("payments", "card/live-2", MARKER, key_ref="card-key-v7", expires_at=days20)
        server.stored("payments", "card/live-3", MARKER, key_ref="card-key-v6", access_policy="not-yet")
        server.put("payments", "card/live-3", "second", key_ref="card-key-v6", access_policy="not-yet")
        server.stored("payments", "card/purged", MARKER)
        server.delete("payments", "card/purged")
        time.sleep(SECONDS)
        assert server.call(ADMIN, "POST", "/admin/purge/sweep").json["purged"] == 1
        at = (datetime.now(UTC) + timedelta(seconds=SECONDS)).isoformat()
        for number in range(2):
            server.stored("payments", f"card/pending-{number}", MARKER, expires_at=at)
        time.sleep(SECONDS)
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="module")
def report(reported: VaultServer) -> Any:
    return reported.call("auditor", "GET", "/compliance/report").json


@pytest.mark.parametrize(("query", "accept"), [("?format=oscal", "application/json"), ("", "application/oscal+json")])
def test_it_is_had_as_oscal_under_a_media_type_of_its_own(reported: VaultServer, query: str, accept: str) -> None:
    answer = reported.call("auditor", "GET", f"/compliance/report{query}", headers={"Accept": accept})
    assert (answer.status, answer.header("content-type")) == (200, "application/oscal+json")
    assert answer.json["assessment-results"]["results"]


def test_the_summary_counts(report: Any) -> None:
    summary = dict(report["summary"])
    assert summary["active_entries"] == 3
    assert summary["expired_pending_purge"] == 2


def test_what_was_purged_lately_is_counted_without_replaced_versions(report: Any) -> None:
    assert report["summary"]["purged_last_30_days"] == 2


def test_the_total_is_the_sum_as_in_the_report_that_was_asked_for(report: Any) -> None:
    summary = report["summary"]
    assert summary["total_entries"] == sum(
        summary[name] for name in ("active_entries", "expired_pending_purge", "purged_last_30_days")
    )


def test_the_members_of_a_purpose_are_those_asked_for(report: Any) -> None:
    assert report["by_purpose"]["card"] == {
        "active": 3,
        "retention_policy": "365 days max, 90 day default TTL",
        "entries_expiring_next_30_days": 1,
        "key_refs": {"card-key-v6": 1, "card-key-v7": 2},
    }


def test_a_purpose_without_entries_is_there(report: Any) -> None:
    assert report["by_purpose"]["ach"]["active"] == 0


def test_the_last_sweep_is_reported(reported: VaultServer, report: Any) -> None:
    compliance = report["purge_compliance"]
    assert compliance["entries_purged_last_sweep"] == 1
    assert compliance["purge_proof_available"] is True
    swept = datetime.fromisoformat(compliance["purge_sweep_last_run"])
    assert timedelta() < datetime.now(UTC) - swept < timedelta(minutes=2)


def test_policies_that_are_not_defined_are_listed(report: Any) -> None:
    assert report["undefined_access_policies"]["entries_by_policy"] == {"not-yet": 1}


def test_a_dry_run_is_no_sweep(reported: VaultServer, report: Any) -> None:
    reported.call(ADMIN, "POST", "/admin/purge/sweep?dry_run=true")
    again = reported.call("auditor", "GET", "/compliance/report").json
    assert again["purge_compliance"] == report["purge_compliance"]


def test_as_of_fixes_the_instant(reported: VaultServer) -> None:
    early = reported.rows("operation=store&external_id=live-1")[0]["at"]
    report = reported.call("auditor", "GET", f"/compliance/report?as_of={early}").json
    assert report["as_of"] == early
    assert report["summary"]["expired_pending_purge"] == 0
    assert report["by_purpose"]["card"]["active"] == 1


def test_a_report_holds_no_blob_and_no_id(reported: VaultServer) -> None:
    text = reported.call("auditor", "GET", "/compliance/report").body.decode()
    assert MARKER not in text
    assert "live-1" not in text


def test_reading_it_is_on_record(reported: VaultServer) -> None:
    row = reported.row(reported.call("auditor", "GET", "/compliance/report"))
    assert (row["operation"], row["outcome"], row["app"]) == ("read-report", "granted", "auditor")


def test_an_app_without_a_role_does_not_read_it(reported: VaultServer) -> None:
    assert_problem(reported.call("payments", "GET", "/compliance/report"), 403, "role-required")


def test_the_command_writes_the_same_report(reported: VaultServer) -> None:
    environment = {**os.environ, "VSQL_VAULT_API_KEY": reported.admin_key, "VSQL_VAULT_LOGGING__LEVEL": "error"}
    done = run_vault(["report", "--config", reported.directory / "vault.toml"], reported.directory, environment)
    summary = json.loads(done.stdout)["summary"]
    assert (summary["active_entries"], summary["expired_pending_purge"]) == (3, 2)


@pytest.mark.parametrize("asked", ["accept", "format"])
def test_it_is_a_page_too(reported: VaultServer, asked: str) -> None:
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"} if asked == "accept" else {}
    query = "?format=html" if asked == "format" else ""
    answer = reported.call("auditor", "GET", f"/compliance/report{query}", headers=headers)
    assert answer.status == 200
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in (answer.header("content-security-policy") or "")
    assert answer.header("vary") == "Accept"
    text = answer.body.decode()
    assert "Retention and timely purge" in text
    assert MARKER not in text
    assert "live-1" not in text


def test_json_is_what_is_given_to_who_says_nothing(reported: VaultServer) -> None:
    headers = {"Accept": "text/html"}
    assert reported.call("auditor", "GET", "/compliance/report?format=json", headers=headers).json["as_of"]
    assert reported.call("auditor", "GET", "/compliance/report", headers={"Accept": "*/*"}).json["as_of"]


def test_what_is_neither_page_nor_json_is_not_to_be_had(reported: VaultServer) -> None:
    answer = reported.call("auditor", "GET", "/compliance/report", headers={"Accept": "application/pdf"})
    assert_problem(answer, 406, "not-acceptable")


@pytest.mark.parametrize(
    "query",
    ["format=pdf", "since=2999-01-01T00:00:00Z", "until=2999-01-01T00:00:00Z", "since=yesterday",
    ],
)  # fmt: skip
def test_times_that_cannot_be_are_refused(reported: VaultServer, query: str) -> None:
    answer = reported.call("auditor", "GET", f"/compliance/report?{query}")
    assert 400 <= answer.status < 500, answer.body


def test_the_command_writes_files(reported: VaultServer) -> None:
    environment = {**os.environ, "VSQL_VAULT_API_KEY": reported.admin_key, "VSQL_VAULT_LOGGING__LEVEL": "error"}
    page, data = reported.directory / "report.html", reported.directory / "report.json"
    options = ["--html", str(page), "--json", str(data), "--since", "2020-01-01T00:00:00Z"]
    command = ["report", "--config", reported.directory / "vault.toml", *options]
    done = run_vault(command, reported.directory, environment)
    written = "".join(f"{each}: {each.stat().st_size} bytes\n" for each in (data, page))
    assert (done.returncode, done.stdout) == (0, written)
    assert json.loads(data.read_bytes())["period"]["since"] == "2020-01-01T00:00:00Z"
    assert page.read_bytes().startswith(b"<!doctype html>")


def by_the_command(server: VaultServer, as_of: str) -> Any:
    environment = {**os.environ, "VSQL_VAULT_API_KEY": server.admin_key, "VSQL_VAULT_LOGGING__LEVEL": "error"}
    command = ["report", "--config", server.directory / "vault.toml", "--as-of", as_of]
    return json.loads(run_vault(command, server.directory, environment).stdout)


DIFFER = {"system_state", "unused_credentials"}
"""The command knows no sandbox, and no use of a credential that a server has not yet written."""
SIGNED = ("attestations", "access_review", "user_accounts")


def test_the_command_judges_as_the_server_does_and_without_a_key_not_at_all(reported: VaultServer) -> None:
    assert reported.call(ADMIN, "POST", "/admin/attestations").status < 300
    body = {"statement": "all grants are needed", "interval_days": 90}
    assert reported.call(ADMIN, "POST", "/admin/access-reviews", json_body=body).status == 201
    served = reported.call("auditor", "GET", "/compliance/report").json
    written = by_the_command(reported, served["as_of"])
    names = [name for name, each in served.items() if "exceptions" in each and name not in DIFFER]
    assert {*SIGNED, "credentials"} <= set(names)
    assert {name: written[name]["exceptions"] for name in names} == {name: served[name]["exceptions"] for name in names}
    assert [written[name]["owner"] for name in SIGNED] == [served[name]["owner"] for name in SIGNED]
    key = reported.directory / "vault-signing.key"
    key.chmod(0o644)
    try:
        without = by_the_command(reported, served["as_of"])
    finally:
        key.chmod(0o600)
    assert [without[name]["exceptions"] for name in SIGNED] == [served[name]["exceptions"] for name in SIGNED]
    assert without["attestations"]["owner"].startswith("not verified here")
