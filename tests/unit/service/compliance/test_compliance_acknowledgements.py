"""Acknowledgements: the cause and the remedy of a failed control are a row, and the report shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import ControlFailureNotFound, RoleRequired
from vsqlvault.interfaces.watch_storage import SaveControlChange
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.control import ControlState
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time
from vsqlvault.testing import T0, a_call, a_write, an_access_record
from vsqlvault.testing.samples import a_control_change

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ACKNOWLEDGED = "sweep_ran from 2027-01-15T12:00:00.123456Z"


async def fail(scene: Any, *, ended: bool = True) -> None:
    """Record a failure of ``sweep_ran`` that began at ``T0``, and its end an hour later."""
    changes = [a_control_change(state=ControlState.FAILING)]
    changes += [a_control_change(number=2, at=T0 + HOUR)] if ended else []
    await scene.storage.inner.commit([a_write(SaveControlChange(change)) for change in changes])


async def acknowledge(scene: Any, cause: str = "the disk was full", **fields: Any) -> Any:
    asked: dict[str, Any] = {"control": "sweep_ran", "failed_at": T0, "cause": cause, "remedy": "twice the space"}
    acknowledgements = scene.vault.compliance.acknowledgements
    return await acknowledgements.acknowledge(fields.pop("call", scene.admin), **asked | fields)


async def controls_of(scene: Any) -> Any:
    scene.clock.advance(days=1)
    return (await scene.vault.compliance.report.write(scene.admin))["controls"]


def unexplained(section: Any) -> list[Any]:
    return [each for each in section["exceptions"]["listed"] if each["what"] == "no cause and remedy is recorded"]


async def test_an_acknowledgement_is_a_row_with_cause_and_remedy(scene) -> None:
    await fail(scene)
    made = await acknowledge(scene)
    (row,) = await scene.access_rows(operation="acknowledge-failure")
    assert (row.detail, row.outcome.value, row.status, row.role) == (ACKNOWLEDGED, "granted", 201, "admin")
    assert json.loads(row.new_value or "") == {
        "control": "sweep_ran",
        "failed_at": format_time(T0),
        "cause": "the disk was full",
        "remedy": "twice the space",
    }
    assert (made.at, made.app) == (row.at, "vault-admin")


@pytest.mark.parametrize("ended", [True, False])
async def test_a_wrong_time_names_the_newest_failure(scene, ended) -> None:
    await fail(scene, ended=ended)
    with pytest.raises(ControlFailureNotFound) as refused:
        await acknowledge(scene, failed_at=T0.replace(microsecond=0))
    assert refused.value.detail == f"its newest failure began at {format_time(T0)}"


@pytest.mark.parametrize(
    ("control", "detail"),
    [
        ("log_consistnt", "expected the name of a control (did you mean log_consistent?)"),
        ("xyz", "expected the name of a control"),
        ("log_consistent", "this control has not failed"),
    ],
)
async def test_a_control_that_never_failed_is_told_apart_from_one_that_is_none(scene, control, detail) -> None:
    await fail(scene)
    with pytest.raises(ControlFailureNotFound) as refused:
        await acknowledge(scene, control=control)
    assert refused.value.detail == detail


async def test_the_row_has_the_text_as_it_was_sent(scene) -> None:
    await fail(scene)
    await acknowledge(scene, cause="Ausfall in Zürich")
    assert '"cause": "Ausfall in Zürich"' in (await scene.last_row()).new_value


async def test_the_report_shows_cause_and_remedy_of_a_failure(scene) -> None:
    await fail(scene)
    await acknowledge(scene)
    section = await controls_of(scene)
    (failure,) = section["figures"]["failures"]
    assert (failure["cause"], failure["remedy"]) == ("the disk was full", "twice the space")
    assert (failure["acknowledged_by"], bool(failure["acknowledged_at"])) == ("vault-admin", True)
    assert unexplained(section) == []


async def test_an_ended_failure_without_a_cause_is_an_exception(scene) -> None:
    await fail(scene)
    section = await controls_of(scene)
    assert [each["control"] for each in unexplained(section)] == ["sweep_ran"]
    assert section["figures"]["failures"][0]["cause"] is None


async def test_an_ongoing_failure_is_one_exception_and_not_two(scene) -> None:
    await fail(scene, ended=False)
    section = await controls_of(scene)
    assert [each["control"] for each in section["exceptions"]["listed"]] == ["sweep_ran"]


async def test_of_two_acknowledgements_the_newest_counts(scene) -> None:
    await fail(scene)
    await acknowledge(scene, "a guess")
    scene.clock.advance(hours=1)
    await acknowledge(scene, "the cause")
    section = await controls_of(scene)
    assert section["figures"]["failures"][0]["cause"] == "the cause"


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "[]",
        "[" * 100_000,
        '{"control": "sweep_ran"}',
        '{"control": "sweep_ran", "failed_at": 5, "cause": "c", "remedy": "r"}',
        '{"control": "sweep_ran", "failed_at": "2027-01-15", "cause": "c", "remedy": "r"}',
        '{"control": "sweep_ran", "failed_at": "2027-01-15T12:00:00.123456Z", "cause": 5, "remedy": "r"}',
        '{"control": "sweep_ran", "failed_at": "2027-01-15T12:00:00.123456Z", "cause": "c", "remedy": ["r"]}',
        '{"control": ["sweep_ran"], "failed_at": "2027-01-15T12:00:00.123456Z", "cause": "c", "remedy": "r"}',
    ],
    ids=["text", "list", "deep", "members", "number", "day", "cause", "remedy", "control"],
)
async def test_a_row_that_was_changed_into_something_else_acknowledges_nothing(scene, text: str) -> None:
    await fail(scene)
    forged = an_access_record(at=T0, operation=Operation.ACKNOWLEDGE_FAILURE, new_value=text)
    await scene.storage.inner.commit([Write((forged, replace(forged, request_id="another")))])
    section = await controls_of(scene)
    assert [each["control"] for each in unexplained(section)] == ["sweep_ran"]


@pytest.mark.parametrize(
    "fields",
    [{"control": "log_signed"}, {"failed_at": T0 + HOUR}, {"failed_at": T0 - DAY}],
    ids=["another control", "the end of the failure", "a time without a change"],
)
async def test_what_did_not_fail_then_cannot_be_acknowledged(scene, fields) -> None:
    await fail(scene)
    with pytest.raises(ControlFailureNotFound):
        await acknowledge(scene, **fields)
    (row,) = await scene.access_rows(operation="acknowledge-failure")
    assert (row.outcome.value, row.status, row.reason) == ("denied", 404, "control_failure_not_found")


async def test_only_an_admin_acknowledges(scene) -> None:
    await fail(scene)
    with pytest.raises(RoleRequired):
        await acknowledge(scene, call=a_call("audit", Role.AUDITOR))
    section = await controls_of(scene)
    assert section["figures"]["failures"][0]["cause"] is None
