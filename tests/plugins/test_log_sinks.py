"""Exporting the logs to a file, an HTTP endpoint and a syslog receiver, each a real one."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import SIGNING_KEY
from tests.support.siem import Endpoint, Receiver
from vsqlvault.errors import PluginFailed, SettingsInvalid
from vsqlvault.interfaces.log_sink import ExportedRow
from vsqlvault.model.principal import Role
from vsqlvault.model.times import utc_now
from vsqlvault.model.transparency import LogName
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_retention_policy
from vsqlvault.testing.vaults import a_vault, settings_for
from vsqlvault_plugins.sinks.syslog import framed, message

KEY = "a key of the endpoint"
SCRIPT = Path(__file__).parents[2] / "contrib" / "verify-export" / "verify_export.py"


@pytest.mark.parametrize("missing", ["checkpoint", "rows"])
def test_a_file_that_is_missing_is_one_line_of_the_script(tmp_path: Path, missing: str) -> None:
    (tmp_path / "checkpoint").write_text(f"vault.example/log\n0\n{b64encode(bytes(32)).decode()}\n", "utf-8")
    (tmp_path / "rows").touch()
    (tmp_path / missing).unlink()
    command = [sys.executable, str(SCRIPT), "checkpoint", "rows"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    expected = f"{missing}: expected a file that can be read, found: No such file or directory\n"
    assert (done.returncode, done.stderr) == (2, expected)


def signed(directory: Path) -> dict[str, str]:
    """Return the settings ``[audit]`` of a vault that signs."""
    file = directory / "signing.key"
    file.write_text(SIGNING_KEY.reveal(), encoding="utf-8")
    file.chmod(0o600)
    return {"signing_key_file": str(file)}


@asynccontextmanager
async def exporting(directory: Path, **table: Any) -> AsyncIterator[Vault]:
    """Run a vault that exports to one destination, and that has made seven rows."""
    settings = {"export": [{"name": "siem", **table}], "audit": signed(directory)}
    async with a_vault(directory, settings=settings) as vault:
        for number in range(7):
            policy = a_retention_policy(f"card-{number}")
            await vault.rules.policies.save_retention_policy(a_call("op", Role.ADMIN), policy)
        await vault.log.sequencer.sequence()
        yield vault


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("SIEM_KEY", KEY)
    found = Endpoint()
    yield found
    found.close()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    found = Receiver(tmp_path)
    yield found
    found.close()


def delivered(directory: Path, **table: Any) -> None:
    """Make seven rows and deliver them, again after a failure."""

    async def main() -> None:
        async with exporting(directory, **table) as vault:
            try:
                await vault.log.observers.deliver()
            except PluginFailed:
                await vault.log.observers.deliver()

    asyncio.run(main())


def indexes(lines: bytes) -> list[int]:
    return [json.loads(line)["index"] for line in lines.splitlines()]


class TestFile:
    def test_each_row_is_a_line_with_its_index_and_its_leaf(self, tmp_path: Path) -> None:
        delivered(tmp_path, kind="file", path=str(tmp_path / "siem.ndjson"))
        rows = [json.loads(line) for line in (tmp_path / "siem.ndjson").read_bytes().splitlines()]
        assert [row["index"] for row in rows] == list(range(len(rows)))
        changed = [row["leaf"]["access"]["purpose"] for row in rows if "purpose" in row["leaf"]["access"]]
        assert changed == [f"card-{number}" for number in range(7)]

    def test_it_goes_on_where_the_last_process_ended(self, tmp_path: Path) -> None:
        for _ in range(2):
            delivered(tmp_path, kind="file", path=str(tmp_path / "siem.ndjson"))
        found = indexes((tmp_path / "siem.ndjson").read_bytes())
        assert found == list(range(len(found)))
        assert len(found) >= 14

    def test_a_file_that_was_moved_away_is_begun_again(self, tmp_path: Path) -> None:
        delivered(tmp_path, kind="file", path=str(tmp_path / "siem.ndjson"))
        (tmp_path / "siem.ndjson").rename(tmp_path / "old.ndjson")
        delivered(tmp_path, kind="file", path=str(tmp_path / "siem.ndjson"))
        both = indexes((tmp_path / "old.ndjson").read_bytes()) + indexes((tmp_path / "siem.ndjson").read_bytes())
        assert both == list(range(len(both)))

    def test_the_log_names_the_export_that_fails(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        async def main() -> None:
            folder = tmp_path / "later"
            folder.mkdir()
            async with exporting(tmp_path, kind="file", path=str(folder / "siem.ndjson")) as vault:
                vault.log.observers.open_sinks()
                folder.rmdir()
                with pytest.raises(PluginFailed):
                    await vault.log.observers.deliver()
                folder.mkdir()

        asyncio.run(main())
        failed = [record for record in caplog.records if record.message == "plugin failed"]
        assert {record.plugin for record in failed} == {"export:siem"}  # type: ignore[attr-defined]

    def test_a_line_that_was_interrupted_stays_a_line_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "siem.ndjson").write_bytes(b'{"index":0,"le')
        delivered(tmp_path, kind="file", path=str(tmp_path / "siem.ndjson"))
        first, second = (tmp_path / "siem.ndjson").read_bytes().splitlines()[:2]
        assert first == b'{"index":0,"le'
        assert json.loads(second)["index"] == 0

    def test_rows_from_before_the_export_are_left_out_on_request(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with a_vault(tmp_path, settings={"audit": signed(tmp_path)}) as vault:
                await vault.rules.policies.save_retention_policy(a_call("op", Role.ADMIN), a_retention_policy("old"))
                await vault.log.sequencer.sequence()

        asyncio.run(main())
        delivered(tmp_path, kind="file", path=str(tmp_path / "siem.ndjson"), from_start=False)
        assert b'"old"' not in (tmp_path / "siem.ndjson").read_bytes()


class TestHttp:
    def test_the_body_is_signed(self, tmp_path: Path, endpoint: Endpoint) -> None:
        delivered(tmp_path, kind="http", url=endpoint.url, hmac_key_env="SIEM_KEY")
        (headers, body) = endpoint.requests[0]
        signed = headers["X-Vault-Timestamp"].encode() + b"." + body
        assert headers["X-Vault-Signature"] == "v1=" + hmac.digest(KEY.encode(), signed, "sha256").hex()
        assert headers["Content-Type"] == "application/x-ndjson"
        assert indexes(body) == list(range(int(headers["X-Vault-First-Index"]), int(headers["X-Vault-Last-Index"]) + 1))

    def test_a_batch_that_was_refused_is_sent_again(self, tmp_path: Path, endpoint: Endpoint) -> None:
        endpoint.refused = 1
        delivered(tmp_path, kind="http", url=endpoint.url, hmac_key_env="SIEM_KEY")
        (_, first), (_, second) = endpoint.requests
        assert first == second

    def test_a_token_is_sent(self, tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SIEM_TOKEN", "abc")
        delivered(tmp_path, kind="http", url=endpoint.url, hmac_key_env="SIEM_KEY", token_env="SIEM_TOKEN")
        assert endpoint.requests[0][0]["Authorization"] == "Bearer abc"


class TestSyslog:
    def test_each_row_is_a_message_of_the_audit_facility(self, tmp_path: Path, receiver: Receiver) -> None:
        delivered(tmp_path, kind="syslog", host="127.0.0.1", port=receiver.port, ca_file=receiver.ca_file)
        heads, bodies = zip(*(each.split(b" - \xef\xbb\xbf", 1) for each in receiver.messages()), strict=True)
        assert [json.loads(body)["index"] for body in bodies] == list(range(len(bodies)))
        assert re.fullmatch(rb"<110>1 \d{4}-\d\d-\d\dT[0-9:.]+Z \S+ vsqlvault \d+ access", heads[0])

    def test_a_connection_that_was_lost_is_made_again(self, tmp_path: Path) -> None:
        receiver = Receiver(tmp_path, lost=1)
        try:
            delivered(tmp_path, kind="syslog", host="127.0.0.1", port=receiver.port, ca_file=receiver.ca_file)
        finally:
            receiver.close()
        found = [json.loads(each[each.index(b"{") :])["index"] for each in receiver.messages()]
        assert found == list(range(len(found)))
        assert found

    @pytest.mark.parametrize("killed", [0, 1], ids=["with the first batch", "with a later one"])
    def test_a_batch_that_a_killed_receiver_had_read_is_sent_again(self, tmp_path: Path, killed: int) -> None:
        receiver = Receiver(tmp_path, killed=[killed])
        try:
            for _ in range(2):
                delivered(tmp_path, kind="syslog", host="127.0.0.1", port=receiver.port, ca_file=receiver.ca_file)
        finally:
            receiver.close()
        found = [json.loads(each[each.index(b"{") :])["index"] for each in receiver.messages()]
        assert found == list(range(len(found)))
        assert len(found) >= 14

    def test_a_receiver_that_never_sends_close_notify_gets_each_batch_once(self, tmp_path: Path) -> None:
        receiver = Receiver(tmp_path, sends_alerts=False)
        try:
            for _ in range(2):
                delivered(tmp_path, kind="syslog", host="127.0.0.1", port=receiver.port, ca_file=receiver.ca_file)
        finally:
            receiver.close()
        found = [json.loads(each[each.index(b"{") :])["index"] for each in receiver.messages()]
        assert found == list(range(len(found)))
        assert len(found) >= 14

    def test_a_receiver_that_is_not_trusted_gets_nothing(self, tmp_path: Path, receiver: Receiver) -> None:
        with pytest.raises(PluginFailed):
            delivered(tmp_path, kind="syslog", host="127.0.0.1", port=receiver.port)
        assert not receiver.messages()

    def test_a_denied_request_is_a_warning(self) -> None:
        row = ExportedRow(3, LogName.ACCESS, b'{"access":{"at":"2026-01-01T00:00:00.000000Z","outcome":"denied"}}')
        assert message(row, "vault-1").startswith(b"<108>1 2026-01-01T00:00:00.000000Z vault-1 vsqlvault ")

    def test_the_length_is_that_of_the_bytes(self) -> None:
        assert framed("é".encode()) == b"2 " + "é".encode()


@pytest.mark.parametrize("form", ["rows", "ocsf"], scope="class")
class TestCompleteness:
    """The script of the receiving side rebuilds the root of a checkpoint from what it received, in either format."""

    @pytest.fixture
    def exported(self, tmp_path: Path, form: str) -> Path:
        async def main() -> None:
            table = {"kind": "file", "path": str(tmp_path / "siem.ndjson"), "format": form}
            async with exporting(tmp_path, **table) as vault:
                await vault.log.observers.deliver()
                checkpoint = await vault.storage.newest_checkpoint()
                assert checkpoint
                (tmp_path / "checkpoint").write_text(checkpoint.note, encoding="utf-8")

        asyncio.run(main())
        return tmp_path / "siem.ndjson"

    @staticmethod
    def checked(exported: Path) -> tuple[int, str]:
        command = [sys.executable, str(SCRIPT), str(exported.parent / "checkpoint"), str(exported)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    def test_all_rows_are_there(self, exported: Path) -> None:
        code, text = self.checked(exported)
        assert (code, "0 missing" in text) == (0, True), text

    def test_a_repeated_row_is_fine(self, exported: Path) -> None:
        exported.write_bytes(exported.read_bytes() * 2)
        assert self.checked(exported)[0] == 0

    def test_a_row_that_was_lost_is_named(self, exported: Path) -> None:
        lines = exported.read_bytes().splitlines(keepends=True)
        exported.write_bytes(b"".join(lines[:3] + lines[4:]))
        code, text = self.checked(exported)
        assert (code, "row 3 is missing" in text) == (1, True), text

    def test_a_row_that_was_changed_is_found(self, exported: Path) -> None:
        for quote in (b'"', b'\\"'):  # of the row, and of the leaf in an event
            exported.write_bytes(
                exported.read_bytes().replace(b"%bcard-3%b" % (quote, quote), b"%bcard-4%b" % (quote, quote), 1)
            )
        code, text = self.checked(exported)
        assert (code, "not that of the checkpoint" in text) == (1, True), text


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "kind": ({"kind": "htpp"}, "kind: expected one of file, http, syslog, found another word (did you mean http?)"),
    "missing": ({"kind": "file"}, "path: expected a value, found none"),
    "unknown": (
        {"kind": "file", "path": "a", "pth": "b"},
        "pth: expected a known key, found an unknown one (did you mean path?)",
    ),
    "plain HTTP": (
        {"kind": "http", "url": "http://siem.example", "hmac_key_env": "SIEM_KEY"},
        "url: expected an https:// URL, or http:// on the loopback, found 'http://siem.example'",
    ),
    "no key": (
        {"kind": "http", "url": "https://siem.example", "hmac_key_env": "NO_KEY"},
        "hmac_key_env: expected a value in the variable NO_KEY, found none",
    ),
    "no authority": (
        {"kind": "syslog", "host": "siem", "ca_file": "/nowhere/ca.pem"},
        "ca_file: expected a readable file of PEM certificates, found: No such file or directory",
    ),
}


class TestSettings:
    @pytest.mark.parametrize("case", MISTAKES.values(), ids=MISTAKES)
    def test_a_mistake_is_named(self, tmp_path: Path, case: tuple[dict[str, Any], str]) -> None:
        table, told = case

        async def main() -> None:
            async with a_vault(tmp_path, settings={"export": [{"name": "siem", **table}]}) as vault:
                vault.log.observers.open_sinks()

        with pytest.raises(SettingsInvalid) as refused:
            asyncio.run(main())
        assert str(refused.value) == f"export.siem.{told}"

    def test_two_exports_have_two_names(self, tmp_path: Path) -> None:
        table = {"name": "siem", "kind": "file", "path": "a"}
        with pytest.raises(ValueError, match="tables with different names"):
            settings_for(tmp_path, extra={"export": [table, table]})

    def test_a_command_needs_no_secret_of_an_export(self, tmp_path: Path) -> None:
        table = {"kind": "http", "url": "https://siem.example", "hmac_key_env": "NO_KEY"}

        async def main() -> None:
            async with exporting(tmp_path, **table) as vault:
                assert await vault.storage.tree_size() >= 7

        asyncio.run(main())


class TestControl:
    def test_it_fails_while_a_row_of_five_minutes_waits(self, tmp_path: Path, endpoint: Endpoint) -> None:
        table = {"kind": "http", "url": endpoint.url, "hmac_key_env": "SIEM_KEY"}
        endpoint.refused = 1

        async def main() -> list[tuple[str, str]]:
            states = []
            async with exporting(tmp_path, **table) as vault:
                for minutes, delivers in ((0, False), (6, True), (6, True)):
                    if delivers:
                        with suppress(PluginFailed):
                            await vault.log.observers.deliver()
                    checked = await vault.compliance.controls.checks.look(utc_now() + timedelta(minutes=minutes))
                    states.append((checked["export_current"].state.value, checked["export_current"].detail))
            return states

        first, refused, last = asyncio.run(main())
        assert first == ("ok", "every export has the rows that are five minutes old")
        assert refused[0] == "failing"
        assert refused[1].startswith("export:siem waits for the row of 2")
        assert last[0] == "ok"

    def test_it_is_not_in_use_without_an_export(self, tmp_path: Path) -> None:
        async def main() -> str:
            async with a_vault(tmp_path) as vault:
                return (await vault.compliance.controls.checks.look(utc_now()))["export_current"].state.value

        assert asyncio.run(main()) == "not_in_use"
