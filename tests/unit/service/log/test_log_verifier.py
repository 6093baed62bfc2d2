"""The verification in the background: what it finds, when it is due, what it costs, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.errors import Unavailable
from vsqlvault.interfaces.storage import Read
from vsqlvault.interfaces.writes import RemoveEntry, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.control import ControlState
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.times import format_time, to_micros
from vsqlvault.proof.note import SigningKey
from vsqlvault.service.log.pacing import ALONE_SECONDS, MAX_REST_SECONDS, REST_ALONE, REST_WITH_TRAFFIC, Pace
from vsqlvault.service.tasks import running
from vsqlvault.testing import T0, a_write, an_access_record

HOUR, DAY, TICK = timedelta(hours=1), timedelta(days=1), timedelta(microseconds=1)
NEXT = SigningKey("vault.example/audit", b"\x02" * 32)


def change_by_hand(directory: Path, *statements: str) -> None:
    """Change the database as its owner can: without the guards."""
    with closing(sqlite3.connect(directory / "vault.db")) as file, file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            file.execute(statement)


async def control(scene: Any) -> tuple[ControlState, str]:
    found = {each.name: each for each in await scene.vault.compliance.controls.look()}["log_verified"]
    return found.state, found.detail


async def verified(scene: Any) -> Any:
    await scene.vault.log.sequencer.sequence()
    return await scene.vault.log.verifier.verify()


async def integrity(scene: Any) -> dict[str, Any]:
    member: dict[str, Any] = (await scene.vault.compliance.report.write(scene.admin))["log_integrity"]
    return member


async def test_an_untouched_vault_verifies_and_the_result_is_a_row(signed) -> None:
    scene = await signed()
    await scene.store("kept")
    await scene.store("purged")
    await scene.purge("purged")
    result = await verified(scene)
    assert (result.findings, result.entries, result.values) == (0, 1, 1)
    (row,) = await scene.access_rows(operation=Operation.VERIFY_LOG)
    assert (row.app, row.outcome, json.loads(row.new_value)["leaves"]) == ("vsqlvault", "granted", result.leaves)


async def test_rules_that_a_storage_cannot_decode_at_all_make_the_control_fail(signed) -> None:
    scene = await signed()
    await scene.store("a")

    async def undecodable() -> None:
        raise Unavailable("a row cannot be decoded")

    scene.storage.inner.policy_snapshot = undecodable
    await verified(scene)
    state, detail = await control(scene)
    assert state is ControlState.FAILING
    assert "policies, legal holds and API keys" in detail


async def test_a_log_row_changed_by_hand_makes_the_control_fail(signed, tmp_path: Path) -> None:
    scene = await signed()
    await scene.store("a")
    await verified(scene)
    assert (await control(scene))[0] is ControlState.OK
    change_by_hand(tmp_path, "UPDATE access_log SET app = 'nobody' WHERE operation = 'store'")
    await scene.vault.log.verifier.verify()
    state, detail = await control(scene)
    assert state is ControlState.FAILING
    assert "the row does not match its hash in the tree" in detail


async def test_a_row_removed_from_a_table_beside_the_log_is_found(signed, tmp_path: Path) -> None:
    scene = await signed()
    await verified(scene)
    change_by_hand(tmp_path, "UPDATE retention_policies SET created_by = 'nobody'")
    result = await scene.vault.log.verifier.verify()
    assert result.findings == 1
    assert result.listed[0].startswith("retention_policies, card v1: created_by")


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("x", "log_archives, 1: document is not the record of an archive"),
        ('{"number":1,"first":0,"end":256}', "leaf 0: the record of an archive is malformed"),
    ],
    ids=["named by its table", "as its leaf"],
)
async def test_a_malformed_record_of_an_archive_is_one_finding(signed, tmp_path: Path, text: str, listed: str) -> None:
    scene = await signed()
    recorded = '{"number":1,"first":0,"end":256}'
    row = an_access_record(at=T0, operation=Operation.ARCHIVE_LOG, new_value=recorded)
    await scene.storage.inner.commit([Write((row,))])
    await scene.vault.log.sequencer.sequence()
    change_by_hand(tmp_path, f"INSERT INTO log_archives VALUES (1, 0, 256, 256, 0, {to_micros(T0)}, '{text}')")
    result = await scene.vault.log.verifier.verify()
    assert result.findings == 1
    assert result.listed[0].startswith(listed)


@pytest.mark.parametrize(
    "text", ["x", "[" * 100_000, "{}", '{"started_at": "2027-13-01T00:00:00Z", "finished_at": "2027-01-01T00:00:00Z"}']
)
async def test_a_result_whose_row_was_changed_is_no_result(signed, text: str) -> None:
    scene = await signed()
    forged = an_access_record(at=T0, operation=Operation.VERIFY_LOG, new_value=text)
    await scene.storage.inner.commit([Write((forged,))])
    await scene.storage.save_cursor("log verification", to_micros(T0))
    assert await scene.vault.log.verifier.newest() is None


async def test_the_report_supports_nothing_until_the_log_was_verified(signed) -> None:
    scene = await signed()
    await scene.vault.log.sequencer.sequence()
    member = await integrity(scene)
    assert (member["result"], member["figures"]["last_verification"]) == ("not_assessed", None)
    result = await verified(scene)
    member = await integrity(scene)
    assert member["result"] == "supports"
    assert member["figures"]["last_verification"]["leaves"] == result.leaves


async def test_findings_are_exceptions_of_the_report(signed, tmp_path: Path) -> None:
    scene = await signed()
    await scene.vault.log.sequencer.sequence()
    change_by_hand(tmp_path, "UPDATE access_log SET app = 'nobody'")
    await scene.vault.log.verifier.verify()
    assert (await integrity(scene))["result"] == "exceptions"


async def test_a_late_verification_fails_the_control_and_is_an_exception(signed) -> None:
    scene = await signed()
    await verified(scene)
    await scene.go_to(T0 + DAY)
    assert (await control(scene))[0] is ControlState.OK
    assert (await integrity(scene))["result"] == "supports"
    await scene.go_to(T0 + DAY + TICK)
    assert await control(scene) == (
        ControlState.FAILING,
        f"the last verification ended at {format_time(T0)} and covered 1 leaves, 0 entries and 0 values",
    )
    assert (await integrity(scene))["result"] == "exceptions"


async def test_a_vault_that_never_verified_fails_a_day_after_its_first_row(signed) -> None:
    scene = await signed()
    await scene.go_to(T0 + DAY)
    assert (await control(scene))[0] is ControlState.OK
    await scene.go_to(T0 + DAY + TICK)
    assert await control(scene) == (ControlState.FAILING, "no verification of the log has been recorded")


async def test_without_a_signing_key_the_control_is_not_in_use(scene) -> None:
    assert (await control(scene))[0] is ControlState.NOT_IN_USE
    await scene.go_to(T0 + 2 * DAY)
    await scene.vault.log.verifier.step()
    assert await scene.access_rows(operation=Operation.VERIFY_LOG) == []


@pytest.mark.parametrize(("hours", "count"), [(0.9, 0), (1, 1)])
async def test_the_first_one_begins_an_hour_after_the_first_row(signed, hours: float, count: int) -> None:
    scene = await signed()
    await scene.vault.log.sequencer.sequence()
    await scene.go_to(T0 + hours * HOUR)
    await scene.vault.log.verifier.step()
    assert len(await scene.access_rows(operation=Operation.VERIFY_LOG)) == count


@pytest.mark.parametrize(("hours", "count"), [(17.9, 1), (18, 2)])
async def test_the_next_one_begins_early_enough_to_end_within_the_interval(signed, hours: float, count: int) -> None:
    scene = await signed()
    await verified(scene)
    await scene.go_to(T0 + hours * HOUR)
    await scene.vault.log.verifier.step()
    assert len(await scene.access_rows(operation=Operation.VERIFY_LOG)) == count


async def test_after_findings_it_verifies_again_within_an_hour(signed, tmp_path: Path) -> None:
    scene = await signed()
    await scene.vault.log.sequencer.sequence()
    change_by_hand(tmp_path, "UPDATE retention_policies SET created_by = 'nobody'")
    await scene.vault.log.verifier.verify()
    change_by_hand(tmp_path, "UPDATE retention_policies SET created_by = 'vault-admin'")
    await scene.go_to(T0 + HOUR)
    await scene.vault.log.verifier.step()
    assert (await control(scene))[0] is ControlState.OK


async def test_while_another_process_has_the_lease_nothing_is_verified(signed) -> None:
    scene = await signed()
    await scene.vault.log.sequencer.sequence()
    await scene.go_to(T0 + DAY)
    assert await scene.storage.inner.acquire_lease("log verification", "another", 60)
    await scene.vault.log.verifier.step()
    assert await scene.vault.log.verifier.verify() is None
    assert await scene.access_rows(operation=Operation.VERIFY_LOG) == []


async def test_one_that_is_in_progress_ends_soon_after_the_task_is_stopped(signed) -> None:
    scene = await signed()
    await scene.store("a")
    await scene.vault.log.sequencer.sequence()
    scene.vault.log.verifier.task.stop()
    assert await scene.vault.log.verifier.verify() is None


async def test_a_result_wakes_the_controls(signed, tmp_path: Path) -> None:
    scene = await signed()
    await scene.vault.log.sequencer.sequence()
    change_by_hand(tmp_path, "UPDATE access_log SET app = 'nobody'")
    async with running(scene.vault.compliance.controls.task):
        await scene.vault.log.verifier.verify()
        while not await scene.access_rows(operation=Operation.CONTROL_FAILED):  # noqa: ASYNC110 - nothing wakes it
            await asyncio.sleep(0.01)


async def test_an_entry_that_changes_during_the_comparison_is_no_finding(signed) -> None:
    """Between the reading of the log and that of the table it has another version each time."""
    scene = await signed()
    await scene.store("busy", value=b"0")
    await scene.vault.log.sequencer.sequence()
    usual, count = scene.storage.inner.entries, 0

    async def entries(query: Any) -> Any:
        nonlocal count
        count += 1
        await scene.store("busy", value=b"%d" % count)
        return await usual(query)

    scene.storage.inner.entries = entries
    result = await scene.vault.log.verifier.verify()
    assert count >= 3
    assert result.listed == ()


async def test_an_entry_removed_by_hand_is_still_a_finding_when_it_is_compared_again(signed) -> None:
    scene = await signed()
    await scene.store("gone")
    await scene.store("kept")
    await scene.vault.log.sequencer.sequence()
    entry = (await scene.storage.inner.read([read_of("gone")]))[0].entry
    assert entry is not None
    await scene.storage.inner.commit([removal_of(entry)])
    assert (await scene.vault.log.verifier.verify()).listed == ("entries, card/gone: the row is missing",)


async def test_a_log_whose_key_was_changed_verifies_with_the_new_key_alone(signed, open_scene, monkeypatch) -> None:
    monkeypatch.setenv("NEXT", NEXT.reveal())
    scene = await signed()
    await scene.vault.log.sequencer.sequence()
    both = await open_scene(audit__signing_key_env="NEXT", audit__previous_signing_key_env="KEY")
    await both.vault.log.sequencer.sequence()
    await both.vault.log.sequencer.sequence()
    alone = await open_scene(audit__signing_key_env="NEXT")
    assert (await verified(alone)).listed == ()


def read_of(name: str) -> Any:
    return Read(EntryKey("card", name))


def removal_of(entry: Any) -> Any:
    return a_write(RemoveEntry(entry.key))


class Counts:
    """The commits of a queue."""

    items = 0


class FakeQueue:
    """A queue of which only the number of commits is read."""

    def __init__(self) -> None:
        self.counts = Counts()
        self.writes = self


class Time:
    """Passes only by work and by rest."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


class TestPace:
    def paced(self, within_seconds: float = 1e9) -> tuple[Any, Time, Pace]:
        queue, passing = FakeQueue(), Time()
        return queue, passing, Pace(queue, within_seconds, monotonic=passing, sleep=passing.sleep)  # type: ignore[arg-type]

    async def rested(self, passing: Time, pace: Pace, worked: float) -> float:
        passing.now += worked
        await pace.rest()
        return passing.rests[-1]

    async def test_alone_it_takes_half_of_the_time(self) -> None:
        _, passing, pace = self.paced()
        assert await self.rested(passing, pace, 0.01) == pytest.approx(0.01 * REST_ALONE)

    async def test_with_other_traffic_it_takes_a_tenth_of_the_time(self) -> None:
        queue, passing, pace = self.paced()
        queue.counts.items += 1
        assert await self.rested(passing, pace, 0.01) == pytest.approx(0.01 * REST_WITH_TRAFFIC)
        assert REST_WITH_TRAFFIC >= 9

    async def test_traffic_counts_for_five_seconds_of_any_clock(self) -> None:
        queue, passing, pace = self.paced()
        passing.now += 1_000
        queue.counts.items += 1
        await pace.rest()
        assert await self.rested(passing, pace, 0.01) == pytest.approx(0.01 * REST_WITH_TRAFFIC)
        passing.now += ALONE_SECONDS
        await pace.rest()
        assert await self.rested(passing, pace, 0.01) == pytest.approx(0.01 * REST_ALONE)

    async def test_one_rest_is_short(self) -> None:
        queue, passing, pace = self.paced()
        queue.counts.items += 1
        assert await self.rested(passing, pace, 60) == MAX_REST_SECONDS

    async def test_after_its_time_it_rests_no_more(self) -> None:
        queue, passing, pace = self.paced(within_seconds=1)
        queue.counts.items += 1
        assert await self.rested(passing, pace, 1) == 0
