"""What a purge has reached, and what a clock that goes wrong does not undo, over HTTP and by the command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.warm_start import run_vault

Start = Callable[..., VaultServer]
SWEEP = "/admin/purge/sweep"
HOUR = timedelta(hours=1)


def move_mark(server: VaultServer, by: timedelta) -> None:
    """Put the high-water mark so far from now, as if the clock had gone the other way."""
    micros = int((datetime.now(UTC) + by).timestamp() * 1_000_000)
    server.query(
        sqlite=f"UPDATE clock SET mark = {micros}",
        postgresql=f"UPDATE vault.clock SET mark = to_timestamp({micros} / 1000000.0)",
    )


def command(server: VaultServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VSQL_VAULT_API_KEY": server.admin_key}
    return run_vault([*arguments, "--config", server.directory / "vault.toml"], server.directory, environment)


def test_a_row_of_the_purge_log_says_when_its_bytes_were_out_of_the_data_files(another_vault: Start) -> None:
    server = another_vault()
    for name in ("first", "second"):
        server.stored("payments", f"card/{name}", MARKER)
    assert server.delete("payments", "card/first").json["scrubbed_at"] is None
    run = server.call(ADMIN, "POST", SWEEP).json
    assert (run["purged"], run["scrub"]["completed"], run["scrub"]["left"]) == (0, True, None)
    server.delete("payments", "card/second")
    rows = {row["external_id"]: row["scrubbed_at"] for row in server.purge_rows("")}
    assert rows == {"first": run["scrub"]["finished_at"], "second": None}
    lines = server.call(ADMIN, "GET", "/admin/purge-log", headers={"Accept": "text/csv"}).body.decode().splitlines()
    assert lines[0].endswith(",scrubbed_at")
    (row,) = server.rows("operation=scrub")
    assert row["detail"].startswith(f"scrub {run['scrub']['id']}: ")


def test_after_a_leap_of_the_clock_an_administrator_confirms_before_anything_is_swept(another_vault: Start) -> None:
    server = another_vault()
    server.stored("payments", "card/lives", MARKER)
    move_mark(server, timedelta(days=-3))
    refused = server.call(ADMIN, "POST", SWEEP)
    assert_refused(server, refused, 409, "clock-jump", "clock_jump")
    assert server.call(ADMIN, "POST", f"{SWEEP}?dry_run=true&confirm_clock=true").status == 200
    assert_problem(server.call(ADMIN, "POST", SWEEP), 409, "clock-jump")
    assert server.get("payments", "card/lives").status == 200
    assert_problem(server.call("payments", "POST", f"{SWEEP}?confirm_clock=true"), 403, "role-required")
    confirmed = server.call(ADMIN, "POST", f"{SWEEP}?confirm_clock=true")
    assert confirmed.status == 200
    assert server.call(ADMIN, "POST", SWEEP).status == 200
    assert len(server.rows("operation=clock-jump")) == 1
    (row,) = server.rows("operation=confirm-clock")
    assert (row["app"], row["request_id"]) == (ADMIN, confirmed.request_id)


def test_the_command_confirms_too(another_vault: Start) -> None:
    server = another_vault()
    move_mark(server, timedelta(days=-3))
    refused = command(server, "sweep")
    assert (refused.returncode, "confirm_clock" in refused.stderr) == (1, True)
    assert command(server, "sweep", "--confirm-clock").returncode == 0
    assert command(server, "sweep").stdout == "0 purged, 0 failed and were kept\n"


def test_the_command_scrubs_and_says_what_it_reached(another_vault: Start) -> None:
    server = another_vault()
    assert command(server, "scrub").stdout.endswith("nothing to do: no purge since the last scrub\n")
    server.stored("payments", "card/gone", MARKER)
    server.delete("payments", "card/gone")
    done = command(server, "scrub", "--lock-seconds", "30")
    assert done.stdout.endswith("no purged bytes are left in the data files\n")
    assert done.returncode == 0
    assert command(server, "scrub", "--lock-seconds", "0").returncode == 2


def test_what_has_expired_stays_so_when_the_clock_goes_back(another_vault: Start) -> None:
    server = another_vault()
    server.stored("payments", "card/ends", MARKER, expires_at=(datetime.now(UTC) + HOUR / 2).isoformat())
    move_mark(server, HOUR)  # as if the clock was an hour ahead when it was last read
    for _ in range(2):
        assert_problem(server.get("payments", "card/ends"), 410, "expired")
        assert server.stop() == 0
        server.start()
    server.call(ADMIN, "POST", SWEEP)
    assert server.rows("operation=clock-backwards")
    (row,) = server.purge_rows("")
    assert row["external_id"] == "ends"


def test_metrics_tell_how_purging_stands(another_vault: Start) -> None:
    server = another_vault()

    def figures() -> dict[str, str] | None:
        text = server.call(None, "GET", "/metrics").body.decode()
        found = dict(line.split(" ") for line in text.splitlines() if line.startswith("vsqlvault_"))
        return found if "vsqlvault_entries_overdue" in found else None

    found = eventually(figures)
    assert (found["vsqlvault_entries_overdue"], found["vsqlvault_clock_leap_seconds"]) == ("0.0", "0.0")
    assert (found["vsqlvault_sweep_purged_total"], found["vsqlvault_sweep_running"]) == ("0.0", "0.0")
