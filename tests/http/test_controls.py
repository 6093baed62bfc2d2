"""``/health/controls``, the metric and the record say the same, on both storages and with several workers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.model.control import CONTROLS

Start = Callable[..., VaultServer]


def controls_of(server: VaultServer, who: str | None = ADMIN) -> dict[str, Any]:
    answer = server.call(who, "GET", "/health/controls")
    assert answer.status == 200
    return {control["name"]: control for control in answer.json["controls"]}


@pytest.mark.parametrize("who", [ADMIN, "auditor"])
def test_admins_and_auditors_read_every_control(vault: VaultServer, who: str) -> None:
    answer = vault.call(who, "GET", "/health/controls")
    assert [control["name"] for control in answer.json["controls"]] == [*CONTROLS, "jwks_fresh"]
    for control in answer.json["controls"]:
        assert set(control) == {"name", "state", "since", "detail", "requirements"}
        assert control["state"] in {"ok", "failing", "not_in_use"}
    failing = [control for control in answer.json["controls"] if control["state"] == "failing"]
    assert answer.json["failing"] == len(failing)
    assert vault.rows("operation=read-controls&limit=1")[0]["app"] is not None


def test_others_do_not(vault: VaultServer) -> None:
    assert_problem(vault.call("payments", "GET", "/health/controls"), 403, "role-required")
    assert_problem(vault.call(None, "GET", "/health/controls"), 401, "unauthenticated")


def test_a_storage_that_is_as_it_must_be_is_durable(vault: VaultServer) -> None:
    assert controls_of(vault)["storage_durable"]["state"] == "ok"


def test_a_failure_is_shown_everywhere_and_recorded_once_over_two_restarts(another_vault: Start) -> None:
    server = another_vault(settings="[server]\nworkers = 2\n")
    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    server.stored("payments", "card/short", MARKER, expires_at=soon)
    time.sleep(1)
    restart(server)
    (failed,) = eventually(lambda: server.rows("operation=control-failed"))
    assert failed["detail"] == "nothing_overdue: 1 entries have expired and the last sweep did not purge them"
    control = controls_of(server)["nothing_overdue"]
    assert (control["state"], control["since"]) == ("failing", failed["at"])
    sample = 'vsqlvault_control_failing{control="nothing_overdue"}'
    eventually(lambda: re.search(rf"^{re.escape(sample)} [12]\.0$", metrics_of(server), re.MULTILINE))
    report = server.call(ADMIN, "GET", "/compliance/report").json["controls"]
    assert report["result"] == "exceptions"
    assert report["exceptions"]["listed"][0]["since"] == failed["at"]

    server.call(ADMIN, "POST", "/admin/purge/sweep")
    restart(server)
    (recovered,) = eventually(lambda: server.rows("operation=control-recovered"))
    assert recovered["detail"] == f"nothing_overdue: failed from {failed['at']} to {recovered['at']}"
    assert len(server.rows("operation=control-failed")) == 1
    (failure,) = server.call(ADMIN, "GET", "/compliance/report").json["controls"]["figures"]["failures"]
    assert (failure["began_at"], failure["ended_at"]) == (failed["at"], recovered["at"])
    assert server.stop() == 0


def restart(server: VaultServer) -> None:
    assert server.stop() == 0
    server.start()


def metrics_of(server: VaultServer) -> str:
    return server.call(None, "GET", "/metrics").body.decode()
