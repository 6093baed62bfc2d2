"""Controls: each fails when the function that it checks fails, and each failure is recorded once, with its end."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.unit.service.compliance.watched_controls import DAY, FAILING, HOUR, MINUTE, NOT_IN_USE, OK, looked
from vsqlvault.errors import PluginClash, PluginUnusable
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.writes import SaveSweep
from vsqlvault.model.control import CONTROLS, Check, ControlState
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.pci_dss import unknown_ids
from vsqlvault.model.times import format_time
from vsqlvault.runtime import Tuning
from vsqlvault.testing import T0, a_legal_hold, a_sweep, a_write

TICK = timedelta(microseconds=1)


async def state_of(scene: Any, name: str) -> tuple[ControlState, str]:
    control = (await looked(scene))[name]
    return control.state, control.detail


async def save_sweep(scene: Any, **fields: Any) -> None:
    await scene.storage.inner.commit([a_write(SaveSweep(a_sweep(**fields)))])


def test_each_control_names_requirements_that_there_are() -> None:
    assert [name for name, ids in CONTROLS.items() if not ids] == ["storage_durable"]
    assert unknown_ids(number for ids in CONTROLS.values() for number in ids) == []


@pytest.mark.parametrize(
    ("control", "requirement"), [("anchor_fresh", "10.3.4"), ("clock_sane", "10.6.3"), ("storage_has_room", "10.7.2")]
)
def test_a_control_names_the_requirement_that_it_serves(control: str, requirement: str) -> None:
    assert requirement in CONTROLS[control]
    assert not {"10.3.3", "10.5.1", "10.6.1"} & set(CONTROLS[control])


async def test_a_new_vault_is_well(scene) -> None:
    found = await looked(scene)
    assert list(found) == [*CONTROLS, "jwks_fresh"]
    assert {name for name, control in found.items() if control.state is NOT_IN_USE} == {
        "log_signed",
        "log_consistent",
        "log_verified",
        "anchor_fresh",
        "deliveries_current",
        "export_current",
        "jwks_fresh",
        "certificates_valid",
    }
    assert all(control.state is not FAILING for control in found.values())


class TestSweepRan:
    async def test_a_vault_that_never_swept_fails_after_two_intervals_of_its_first_row(self, scene) -> None:
        await scene.go_to(T0 + 2 * DAY)
        assert (await state_of(scene, "sweep_ran"))[0] is OK
        await scene.go_to(T0 + 2 * DAY + TICK)
        assert await state_of(scene, "sweep_ran") == (FAILING, "no sweep has been recorded")

    async def test_the_last_sweep_may_be_two_intervals_ago(self, scene) -> None:
        await save_sweep(scene, finished_at=T0)
        await scene.go_to(T0 + 2 * DAY)
        assert (await state_of(scene, "sweep_ran"))[0] is OK
        await scene.go_to(T0 + 2 * DAY + TICK)
        assert await state_of(scene, "sweep_ran") == (FAILING, f"the last sweep ended at {format_time(T0)}")
        await scene.vault.purge.sweeper.sweep(scene.admin)
        assert (await state_of(scene, "sweep_ran"))[0] is OK

    async def test_one_that_broke_off_has_an_hour_to_be_made_good(self, scene) -> None:
        await save_sweep(scene, finished_at=T0, completed=False)
        await scene.go_to(T0 + HOUR)
        assert (await state_of(scene, "sweep_ran"))[0] is OK
        await scene.go_to(T0 + HOUR + TICK)
        assert await state_of(scene, "sweep_ran") == (FAILING, f"the last sweep was interrupted at {format_time(T0)}")

    async def test_it_is_not_in_use_where_nobody_sweeps_on_a_timer(self, open_scene) -> None:
        scene = await open_scene(purge__sweep_interval_hours="0")
        assert (await state_of(scene, "sweep_ran"))[0] is NOT_IN_USE


class TestNothingOverdue:
    async def test_what_has_expired_may_wait_for_one_interval(self, scene) -> None:
        for name in "ab":
            await scene.store(name, expires_at=T0 + HOUR)
        await scene.go_to(T0 + HOUR + DAY - TICK)
        assert (await state_of(scene, "nothing_overdue"))[0] is OK
        await scene.go_to(T0 + HOUR + DAY)
        assert await state_of(scene, "nothing_overdue") == (
            FAILING,
            "2 entries have expired and the last sweep did not purge them",
        )
        await scene.vault.purge.sweeper.sweep(scene.admin)
        assert (await state_of(scene, "nothing_overdue"))[0] is OK

    async def test_the_report_counts_the_same(self, scene) -> None:
        await scene.store("a", expires_at=T0 + HOUR)
        for at, overdue in ((T0 + DAY + HOUR - TICK, 0), (T0 + DAY + HOUR, 1)):
            await scene.go_to(at)
            report = await scene.vault.compliance.report.write(scene.admin)
            assert report["retention_and_purge"]["figures"]["overdue"] == overdue
            assert ((await state_of(scene, "nothing_overdue"))[0] is FAILING) == bool(overdue)

    async def test_a_maximum_that_was_lowered_counts_too(self, scene) -> None:
        await scene.store("a")
        await scene.go_to(T0 + 30 * DAY)
        await scene.retain(max_retention_days=10, default_ttl_days=5)
        assert (await state_of(scene, "nothing_overdue"))[0] is FAILING

    async def test_what_a_hold_keeps_is_not_overdue(self, scene) -> None:
        for name in "ab":
            await scene.store(name, expires_at=T0 + HOUR)
        await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold(selector=HoldSelector(external_id="a")))
        await scene.go_to(T0 + 5 * DAY)
        assert (await state_of(scene, "nothing_overdue"))[1].startswith("1 entries")
        await scene.vault.rules.legal_holds.save(
            scene.admin, a_legal_hold("other", selector=HoldSelector(external_id="b"))
        )
        assert (await state_of(scene, "nothing_overdue"))[0] is OK

    async def test_no_value_and_a_limited_number_of_entries_are_read(self, open_scene) -> None:
        scene = await open_scene(tuning=Tuning(control_max_overdue_read=2, expired_page=1))
        for name in "abcd":
            await scene.store(name, expires_at=T0 + HOUR)
        await scene.go_to(T0 + 5 * DAY)
        scene.storage.arm()
        assert (await state_of(scene, "nothing_overdue"))[1].startswith("at least 2 entries")
        assert scene.storage.calls.count("expired_entries") == 3
        assert {"expired", "entry_statistics", "evidence", "entries"}.isdisjoint(scene.storage.calls)


class TestLogSigned:
    async def test_a_row_may_wait_a_minute_for_its_checkpoint(self, signed) -> None:
        scene = await signed()
        await scene.go_to(T0 + MINUTE)
        assert (await state_of(scene, "log_signed"))[0] is OK
        await scene.go_to(T0 + MINUTE + TICK)
        assert await state_of(scene, "log_signed") == (
            FAILING,
            f"a row of {format_time(T0)} is not covered by a checkpoint",
        )
        await scene.vault.log.sequencer.sequence()
        assert (await state_of(scene, "log_signed"))[0] is OK

    async def test_a_log_in_which_nothing_happens_needs_no_new_checkpoint(self, signed) -> None:
        scene = await signed()
        await scene.vault.log.sequencer.sequence()
        await scene.go_to(T0 + 100 * DAY)
        assert (await state_of(scene, "log_signed"))[0] is OK

    async def test_the_oldest_row_counts_whichever_log_it_is_in(self, signed) -> None:
        scene = await signed()
        await scene.store("a")
        await scene.vault.log.sequencer.sequence()
        scene.clock.advance(seconds=50)
        await scene.purge("a")
        scene.clock.advance(seconds=50)
        await scene.store("b")
        await scene.go_to(T0 + timedelta(seconds=111))
        assert (await state_of(scene, "log_signed"))[
            1
        ] == f"a row of {format_time(T0 + timedelta(seconds=50))} is not covered by a checkpoint"

    async def test_leaves_that_nobody_signed_wait_too(self, open_scene, signed) -> None:
        scene = await open_scene()
        await scene.vault.log.sequencer.sequence()
        assert (await state_of(scene, "log_signed"))[0] is NOT_IN_USE
        scene = await signed()
        await scene.storage.inner.raise_mark(scene.clock.advance(hours=1))
        assert (await state_of(scene, "log_signed"))[0] is FAILING

    async def test_a_longer_interval_has_longer_patience(self, signed) -> None:
        scene = await signed(audit__checkpoint_interval_seconds="600")
        await scene.go_to(T0 + timedelta(seconds=1800))
        assert (await state_of(scene, "log_signed"))[0] is OK
        await scene.go_to(T0 + timedelta(seconds=1801))
        assert (await state_of(scene, "log_signed"))[0] is FAILING


class Outside(Anchor):
    """An anchor that knows what a test tells it."""

    name = "outside"

    def __init__(self, interval_seconds: float | None = None) -> None:
        self.answer: Any = None
        self.why: str | None = None
        self.asked = 0
        if interval_seconds is not None:
            self.interval_seconds = interval_seconds

    async def newest(self) -> Any:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def failure(self) -> str | None:
        return self.why

    @hookimpl
    def vault_anchors(self) -> list[Any]:
        return [self]


class TestAnchorFresh:
    @pytest.mark.parametrize(("interval", "patience"), [(None, 300), (60, 300), (3600, 7200)])
    async def test_a_checkpoint_has_so_long_to_get_out(self, signed, install, interval, patience) -> None:
        outside = Outside(interval)
        install(outside=outside)
        scene = await signed()
        await scene.vault.log.sequencer.sequence()
        signed_at = (await scene.storage.inner.newest_checkpoint()).signed_at
        await scene.go_to(signed_at + timedelta(seconds=patience))
        assert (await state_of(scene, "anchor_fresh"))[0] is OK
        await scene.go_to(signed_at + timedelta(seconds=patience) + TICK)
        assert await state_of(scene, "anchor_fresh") == (
            FAILING,
            f"outside lacks the checkpoint of {format_time(signed_at)}",
        )
        outside.answer = (await scene.storage.inner.newest_checkpoint()).note
        assert (await state_of(scene, "anchor_fresh"))[0] is OK

    @pytest.mark.parametrize("answer", [OSError("gone"), 7, "no note"])
    async def test_one_that_cannot_tell_fails(self, signed, install, answer) -> None:
        outside = Outside()
        install(outside=outside)
        scene = await signed()
        outside.answer = answer
        assert await state_of(scene, "anchor_fresh") == (FAILING, "outside cannot return its newest checkpoint")

    async def test_one_that_lacks_nothing_is_not_asked_at_each_look(self, signed, install) -> None:
        outside = Outside()
        install(outside=outside)
        scene = await signed()
        await scene.vault.log.sequencer.sequence()
        outside.answer = (await scene.storage.inner.newest_checkpoint()).note
        outside.asked = 0
        for _ in range(5):
            assert (await state_of(scene, "anchor_fresh"))[0] is OK
        assert outside.asked == 1
        await scene.store("a")
        await scene.vault.log.sequencer.sequence()
        await scene.go_to(T0 + timedelta(hours=1))
        assert (await state_of(scene, "anchor_fresh"))[0] is FAILING
        assert outside.asked == 2
        again = await signed(tuning=Tuning(min_unanchored_seconds=0))
        outside.answer = OSError("gone")
        assert (await state_of(again, "anchor_fresh"))[1] == "outside cannot return its newest checkpoint"

    async def test_one_that_could_not_keep_a_checkpoint_fails_at_once(self, signed, install) -> None:
        outside = Outside()
        install(outside=outside)
        scene = await signed()
        outside.why = "No space left on device"
        assert await state_of(scene, "anchor_fresh") == (
            FAILING,
            "outside could not store a checkpoint: No space left on device",
        )

    async def test_a_quarantine_fails(self, signed, install) -> None:
        outside = Outside()
        install(outside=outside)
        scene = await signed(tuning=Tuning(log_check_seconds=0))
        scene.vault.log.quarantine._unlike["a checkpoint of more"] = "why"
        assert (await state_of(scene, "anchor_fresh"))[1].startswith("quarantine")


class TestWhatThisProcessSees:
    async def test_a_storage_that_may_lose_what_it_acknowledged_fails(self, scene, monkeypatch) -> None:
        assert (await state_of(scene, "storage_durable"))[0] is OK
        described = dict(scene.storage.describe())
        for durable, state in ((False, FAILING), (None, NOT_IN_USE)):
            monkeypatch.setattr(
                type(scene.storage),
                "describe",
                lambda _, durable=durable: {**described, "durable": durable},
                raising=False,
            )
            assert (await state_of(scene, "storage_durable"))[0] is state

    async def test_a_storage_that_warns_of_its_durability_fails_with_the_warning(self, scene, monkeypatch) -> None:
        described = {**scene.storage.describe(), "durability_warning": "no standby is synchronous"}
        monkeypatch.setattr(type(scene.storage), "describe", lambda _: described, raising=False)
        assert await state_of(scene, "storage_durable") == (FAILING, "no standby is synchronous")

    async def test_a_clock_that_leapt_or_went_back_fails(self, scene) -> None:
        await scene.vault.purge.clock_guard.look()
        scene.clock.at = T0 + 3 * DAY
        assert (await state_of(scene, "clock_sane"))[1].startswith("the clock jumped forward")
        await scene.vault.purge.sweeper.sweep(scene.admin, confirm_clock=True)
        assert (await state_of(scene, "clock_sane"))[0] is OK
        scene.clock.at = T0
        assert (await state_of(scene, "clock_sane"))[1].startswith("the clock went back")

    async def test_certificates_are_good_until_the_first_of_them_ends(self, scene) -> None:
        scene.vault.compliance.controls.checks.certificates = lambda: {"cert_file": T0 + HOUR, "crl_file": T0 + MINUTE}
        assert await state_of(scene, "certificates_valid") == (
            OK,
            f"cert_file until {format_time(T0 + HOUR)}, crl_file until {format_time(T0 + MINUTE)}",
        )
        await scene.go_to(T0 + MINUTE)
        assert (await state_of(scene, "certificates_valid"))[0] is FAILING

    @pytest.mark.parametrize(
        ("answer", "state"),
        [
            (Check(OK, "in time"), OK),
            (Check(NOT_IN_USE, "no issuer"), NOT_IN_USE),
            (Check(FAILING, "https://id.example: keys cannot be fetched"), FAILING),
            (ValueError("x"), FAILING),
            (SystemExit(), FAILING),
            ("fine", FAILING),
            (Check("ok", "fine"), FAILING),
            (Check(OK, None), FAILING),
        ],
    )
    async def test_a_control_of_a_plugin_stands_as_its_plugin_says(
        self, open_scene, install, offering, answer, state
    ) -> None:
        class DiskFree(VaultControl):
            name = "disk_free"
            requirements = ("10.7.2",)

            async def check(self, now: datetime) -> Any:
                if isinstance(answer, BaseException):
                    raise answer
                return answer

        install(disk=offering("vault_controls", DiskFree()))
        scene = await open_scene()
        assert (await state_of(scene, "disk_free"))[0] is state
        assert list(await looked(scene)) == [*CONTROLS, "jwks_fresh", "disk_free"]

    @pytest.mark.parametrize(
        ("name", "requirements"),
        [("sweep_ran", ()), ("Disk free", ()), ("", ()), ("disk_free", ("99.9",)), ("jwks_fresh", ())],
    )
    async def test_a_control_that_cannot_be_shown_stops_the_start(
        self, open_scene, install, offering, name, requirements
    ) -> None:
        class Odd(VaultControl):
            async def check(self, now: datetime) -> Any: ...

        odd = Odd()
        odd.name, odd.requirements = name, requirements
        install(odd=offering("vault_controls", odd))
        with pytest.raises((PluginUnusable, PluginClash)):
            await open_scene()

    async def test_a_check_that_raises_fails_and_the_others_are_reported(self, scene) -> None:
        scene.storage.arm(methods={"last_sweep"}, always=True)
        found = await looked(scene)
        assert found["sweep_ran"].state is FAILING
        assert found["sweep_ran"].detail == "the check failed: storage-unavailable"
        assert found["nothing_overdue"].state is OK


class TestAttestationCurrent:
    async def test_the_first_is_due_an_interval_after_the_first_row(self, scene) -> None:
        due = format_time(T0 + 90 * DAY)
        assert await state_of(scene, "attestation_current") == (OK, f"the next attestation is due at {due}")
        await scene.go_to(T0 + 90 * DAY)
        assert await state_of(scene, "attestation_current") == (FAILING, f"the next attestation is due at {due}")

    async def test_nobody_attests_where_the_interval_is_0(self, open_scene) -> None:
        scene = await open_scene(compliance__attestation_interval_days="0")
        await scene.go_to(T0 + 900 * DAY)
        assert (await state_of(scene, "attestation_current"))[0] is NOT_IN_USE
