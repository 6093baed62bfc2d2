"""The record of a control's changes, and reading it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.unit.service.compliance.watched_controls import DAY, FAILING, HOUR, NOT_IN_USE, looked
from vsqlvault.errors import AuditUnavailable, RoleRequired, StorageUnavailable
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.control import CONTROLS
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time
from vsqlvault.runtime import Tuning
from vsqlvault.service.tasks import running
from vsqlvault.testing import T0, a_call


async def first_look(scene: Any) -> None:
    """Return once the controls have been checked."""
    while not scene.vault.compliance.controls.known:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


class TestRecord:
    async def fail(self, scene: Any) -> None:
        await scene.go_to(T0 + 3 * DAY)

    async def rows(self, scene: Any) -> list[tuple[Any, ...]]:
        found = await scene.access_rows()
        wanted = {Operation.CONTROL_FAILED, Operation.CONTROL_RECOVERED}
        return [(row.operation, row.detail, row.at) for row in found if row.operation in wanted]

    async def test_a_failure_has_a_row_at_its_beginning_and_one_at_its_end(self, scene) -> None:
        await scene.vault.compliance.controls.watch()
        assert await self.rows(scene) == []
        await self.fail(scene)
        for _ in range(3):
            await scene.vault.compliance.controls.watch()
        await scene.go_to(T0 + 4 * DAY)
        await scene.vault.purge.sweeper.sweep(scene.admin)
        for _ in range(3):
            await scene.vault.compliance.controls.watch()
        begin, end = T0 + 3 * DAY, T0 + 4 * DAY
        assert await self.rows(scene) == [
            (Operation.CONTROL_FAILED, "sweep_ran: no sweep has been recorded", begin),
            (
                Operation.CONTROL_RECOVERED,
                f"sweep_ran: failed from {format_time(begin)} to {format_time(end)}",
                end,
            ),
        ]
        (row,) = await scene.access_rows(operation="control-failed")
        assert (row.app, row.method, row.outcome) == ("vsqlvault", "system", Outcome.GRANTED)
        assert json.loads(row.old_value)["state"] == "ok"
        assert json.loads(row.new_value) == {
            "control": "sweep_ran",
            "state": "failing",
            "at": format_time(begin),
            "detail": "no sweep has been recorded",
        }

    async def test_what_fails_at_the_first_look_has_its_row(self, scene) -> None:
        await self.fail(scene)
        await scene.vault.compliance.controls.watch()
        assert [row[1] for row in await self.rows(scene)] == ["sweep_ran: no sweep has been recorded"]

    async def test_the_start_of_a_failure_survives_a_restart_and_every_process_shows_it(
        self, scene, make_vault
    ) -> None:
        await scene.vault.compliance.controls.watch()
        await self.fail(scene)
        await scene.vault.compliance.controls.watch()
        await scene.go_to(T0 + 3 * DAY + HOUR)
        scene.vault = await make_vault()
        found = await looked(scene)
        assert found["sweep_ran"].since == T0 + 3 * DAY
        assert found["clock_sane"].since == T0

    async def test_of_several_processes_one_writes_the_rows(self, scene, make_vault) -> None:
        vaults = [scene.vault, await make_vault(), await make_vault()]
        await self.fail(scene)
        for _ in range(2):
            await asyncio.gather(*(vault.compliance.controls.watch() for vault in vaults))
        assert len(await self.rows(scene)) == 1
        assert all(any(c.state is FAILING for c in vault.compliance.controls.known) for vault in vaults)

    async def test_a_failure_that_only_another_process_sees_is_shown_by_it_and_not_recorded(
        self, scene, make_vault
    ) -> None:
        other = await make_vault()
        await scene.vault.compliance.controls.watch()
        other.compliance.controls.checks.certificates = lambda: {"cert_file": T0}
        await other.compliance.controls.watch()
        assert [each.name for each in other.compliance.controls.known if each.state is FAILING] == [
            "certificates_valid"
        ]
        assert await self.rows(scene) == []

    async def test_where_two_believe_that_it_is_their_turn_the_row_is_written_once(
        self, scene, make_vault, monkeypatch
    ) -> None:
        async def always(*_: Any) -> bool:
            return True

        vaults = [scene.vault, await make_vault()]
        for vault in vaults:
            monkeypatch.setattr(vault.storage.inner, "acquire_lease", always)
        await self.fail(scene)
        await asyncio.gather(*(vault.compliance.controls.watch() for vault in vaults))
        assert len(await self.rows(scene)) == 1
        numbers = [change.number for change in await scene.storage.inner.control_states()]
        assert numbers == [1] * (len(CONTROLS) + 1)

    async def test_the_next_goes_on_when_one_has_stopped(self, scene, make_vault) -> None:
        other = await make_vault()
        async with running(scene.vault.compliance.controls.task):
            await first_look(scene)
        await self.fail(scene)
        await other.compliance.controls.watch()
        assert len(await self.rows(scene)) == 1

    async def test_one_that_goes_out_of_use_while_it_fails_has_an_end(self, scene) -> None:
        scene.vault.compliance.controls.checks.certificates = lambda: {"cert_file": T0}
        await scene.vault.compliance.controls.watch()
        scene.vault.compliance.controls.checks.certificates = None
        await scene.vault.compliance.controls.watch()
        assert [row[0] for row in await self.rows(scene)] == [Operation.CONTROL_FAILED, Operation.CONTROL_RECOVERED]
        states = {change.name: change for change in await scene.storage.inner.control_states()}
        assert (states["certificates_valid"].state, states["certificates_valid"].number) == (NOT_IN_USE, 2)

    async def test_nothing_is_on_record_without_its_row(self, scene) -> None:
        await scene.vault.compliance.controls.watch()
        await self.fail(scene)
        scene.storage.arm(methods={"commit"}, always=True)
        with pytest.raises(AuditUnavailable):
            await scene.vault.compliance.controls.watch()
        scene.storage.disarm()
        assert {change.number for change in await scene.storage.inner.control_states()} == {1}
        await scene.vault.compliance.controls.watch()
        assert len(await self.rows(scene)) == 1

    async def test_watching_goes_on_after_an_error(self, open_scene) -> None:
        scene = await open_scene(tuning=Tuning(control_check_seconds=0.01))
        scene.storage.arm(1, 2, 3, error=StorageUnavailable)
        async with running(scene.vault.compliance.controls.task):
            await first_look(scene)


class TestReading:
    async def test_admins_and_auditors_read_and_leave_a_row(self, scene) -> None:
        for call in (scene.admin, a_call("qsa", Role.AUDITOR)):
            found = await scene.vault.compliance.controls.read(call)
            assert [control.name for control in found] == [*CONTROLS, "jwks_fresh"]
            row = await scene.last_row()
            assert (row.operation, row.app) == (Operation.READ_CONTROLS, call.principal.app)

    async def test_nobody_else_does(self, scene) -> None:
        with pytest.raises(RoleRequired):
            await scene.vault.compliance.controls.read(scene.owner)
        assert (await scene.last_row()).reason == "role"

    async def test_reading_puts_nothing_on_record(self, scene) -> None:
        await scene.go_to(T0 + 3 * DAY)
        found = {control.name: control for control in await scene.vault.compliance.controls.read(scene.admin)}
        assert found["sweep_ran"].state is FAILING
        assert list(await scene.storage.inner.control_states()) == []
