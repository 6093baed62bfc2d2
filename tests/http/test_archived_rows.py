"""A served vault whose archived rows are dropped meanwhile, on both storages: what its routes say of rows that are gone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import NewDatabase
from tests.support.server import ADMIN, VaultServer
from vsqlvault import cli
from vsqlvault.config import load_settings
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.times import format_time
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_vault
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_purge_record, an_access_record, an_entry

KEY = SigningKey("vault.example/archived", b"\x06" * 32)
SETTINGS = '[audit]\nsigning_key_env = "SIGNING"\ncheckpoint_interval_seconds = 0.05\n'
PURGE = "archived-route"
LATER = format_time(datetime.now(UTC) - timedelta(days=30))


async def _old_rows(vault: Vault) -> None:
    at = (await vault.queue.read()).now - timedelta(days=400)
    rows = tuple(
        an_access_record(request_id=f"old-{number}", at=at, operation=Operation.RETRIEVE) for number in range(299)
    )
    purge = replace(a_purge_record(an_entry(PURGE)), purged_at=at)
    newest = replace(a_purge_record(an_entry(f"{PURGE}-2")), purged_at=at)
    await vault.queue.commit(Write(rows[:200], purges=(purge,)))
    await vault.log.sequencer.sequence()
    await vault.queue.commit(Write(rows[200:], purges=(newest,)))
    await vault.log.sequencer.sequence()


class Dropped:
    """A served vault whose first bundle of rows is in an archive only, and its report before and after the drop."""

    def __init__(self, server: VaultServer, purge_id: str, before: Any, after: Any) -> None:
        self.server, self.purge_id, self.before, self.after = server, purge_id, before, after


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[Dropped]:
    """Drop the archived rows beside the server."""
    directory: Path = tmp_path_factory.mktemp("dropped")
    environment = {"SIGNING": KEY.reveal()}
    server = VaultServer(directory, database_url=new_database(directory), settings=SETTINGS, environment=environment)
    (directory / "archive").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGNING", KEY.reveal())
        patch.setenv("VSQL_VAULT_API_KEY", server.admin_key)
        purge_id = asyncio.run(_with_vault(directory))
        command = ["--config", str(directory / "vault.toml"), "--vkey", str(KEY.verifier)]
        assert cli.main(["archive-audit", *command, "--out", str(directory / "archive")]) == 0
        server.start()
        try:
            before = server.call("auditor", "GET", "/compliance/report?since=2020-01-01T00:00:00Z").json
            assert cli.main(["drop-archived", *command, "--archive", str(directory / "archive")]) == 0
            after = server.call("auditor", "GET", "/compliance/report?since=2020-01-01T00:00:00Z").json
            yield Dropped(server, purge_id, before, after)
            assert server.stop() == 0
        finally:
            server.kill()


async def _with_vault(directory: Path) -> str:
    settings = load_settings(directory / "vault.toml")
    async with open_vault(settings) as vault:
        await _old_rows(vault)
        (row, *_) = await vault.storage.purge_log(LogQuery(limit=1, oldest_first=True))
        return row.record.purge_id


def test_a_bundle_whose_rows_were_dropped_names_its_archive(dropped: Dropped) -> None:
    answer = dropped.server.call("auditor", "GET", "/audit/tile/entries/000")
    assert_problem(answer, 410, "rows-archived")
    assert answer.json["detail"].startswith("archive 1 (leaves 0 to 255, rows up to ")
    assert "/archive" in answer.json["detail"]


def test_the_tile_and_the_proof_of_a_dropped_row_are_still_there(dropped: Dropped) -> None:
    assert len(dropped.server.call("auditor", "GET", "/audit/tile/0/000").body) == 8192
    assert dropped.server.call("auditor", "GET", "/audit/proof/3").status == 200


def test_an_app_does_not_learn_where_archives_are(dropped: Dropped) -> None:
    answer = dropped.server.call("payments", "GET", "/audit/tile/entries/000")
    assert_problem(answer, 403, "role-required")


def test_the_receipt_of_a_dropped_purge_names_the_archive(dropped: Dropped) -> None:
    answer = dropped.server.call("auditor", "GET", f"/admin/purge-log/{dropped.purge_id}/receipt")
    assert_problem(answer, 404, "purge-not-found")
    assert "its row is in archive 1 (leaves 0 to 255" in answer.json["detail"]


@pytest.mark.parametrize("log", ["access-log", "purge-log"])
def test_a_page_of_a_log_says_which_rows_are_in_archives(dropped: Dropped, log: str) -> None:
    archived = dropped.server.call("auditor", "GET", f"/admin/{log}").json["archived"]
    assert (archived["archives"], archived["end"], archived["absent_rows"]) == (1, 256, 256)
    later = dropped.server.call("auditor", "GET", f"/admin/{log}?since={LATER}").json
    assert "archived" not in later


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson", "text/csv"])
@pytest.mark.parametrize("log", ["access-log", "purge-log"])
def test_the_header_of_every_format_counts_the_rows_in_archives(dropped: Dropped, log: str, media_type: str) -> None:
    def told(query: str) -> str | None:
        answer = dropped.server.call("auditor", "GET", f"/admin/{log}{query}", headers={"Accept": media_type})
        assert (answer.status, str(answer.header("content-type")).partition(";")[0]) == (200, media_type)
        return answer.header("x-vault-archived-rows")

    archived = dropped.server.call("auditor", "GET", f"/admin/{log}").json["archived"]
    expected = f'absent_rows=256, archives=1, end=256, newest_row_at="{archived["newest_row_at"]}"'
    assert (told(""), told(f"?since={LATER}")) == (expected, None)


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "text/csv"])
def test_a_stream_with_dropped_rows_has_rows_only(dropped: Dropped, media_type: str) -> None:
    query = "/admin/access-log?operation=retrieve"
    lines = dropped.server.call("auditor", "GET", query, headers={"Accept": media_type}).body.splitlines()
    rows = dropped.server.call("auditor", "GET", query).json["rows"]
    found = [row["request_id"].encode() in line for row, line in zip(rows, lines[-len(rows) :], strict=True)]
    assert (all(found), len(lines)) == (True, len(rows) + (media_type == "text/csv"))


def test_evidence_of_a_period_with_dropped_rows_is_refused_and_a_later_one_is_given(dropped: Dropped) -> None:
    answer = dropped.server.call(ADMIN, "GET", "/compliance/evidence?since=2020-01-01T00:00:00Z")
    assert_problem(answer, 410, "rows-archived")
    assert dropped.server.call(ADMIN, "GET", f"/compliance/evidence?since={LATER}").status == 200


def test_the_report_says_what_is_at_hand_and_who_dropped_the_rest(dropped: Dropped) -> None:
    figures = dropped.after["log_history"]["figures"]
    assert figures["days_at_hand"] == 400
    archived = figures["archived"]
    assert (archived["rows"], archived["min_days_at_hand"], archived["period_set_by"]) == (256, 366, "default")
    assert "@" in archived["last_enforced_by"]
    assert archived["places"] == [str(dropped.server.directory / "archive")]


@pytest.mark.parametrize("section", ["audit_coverage", "denied_access"])
def test_counts_of_a_period_with_dropped_rows_are_an_exception(dropped: Dropped, section: str) -> None:
    def found(report: Any) -> Any:
        listed = report[section]["exceptions"]["listed"]
        return [each["count"] for each in listed if each["operation"] == "drop-archived"]

    assert (found(dropped.before), found(dropped.after)) == ([], [256])


def test_the_vault_with_dropped_rows_verifies(dropped: Dropped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING", KEY.reveal())
    monkeypatch.setenv("VSQL_VAULT_API_KEY", dropped.server.admin_key)
    command = ["verify", "--config", str(dropped.server.directory / "vault.toml"), "--vkey", str(KEY.verifier)]
    assert cli.main(command) == 0
    assert cli.main([*command, "--archive", str(dropped.server.directory / "archive")]) == 0
