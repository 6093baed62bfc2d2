"""Attestations: every purpose is checked, the sample cannot be chosen, and the result is signed, stored and audited."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import SIGNING_KEY
from vsqlvault.config import Settings
from vsqlvault.errors import AttestationNotFound, AuditUnavailable, RoleRequired
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.audit import Operation
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time
from vsqlvault.proof.attestation import (
    FORMAT,
    AttestationInvalid,
    check_attestation,
    digest_of,
    shown_attestation,
)
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.sample import choose
from vsqlvault.runtime import Tuning, background
from vsqlvault.service.compliance.attestations import SAMPLE_SIZE
from vsqlvault.service.entries.seen import SeenEntries
from vsqlvault.testing import T0, a_call, a_legal_hold

OTHER = SigningKey("vault.example/audit", b"\x02" * 32)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def _read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each request read, so that its rows have exactly the time of the test's clock."""
    monkeypatch.setattr(SeenEntries, "entry", lambda *_: None)


async def attested(scene: Any, **options: Any) -> dict[str, Any]:
    scene.clock.advance(microseconds=1)  # the instant itself is no more of the period
    made = await scene.vault.compliance.attestations.attest(scene.admin, **options)
    return dict(json.loads(made.document))


async def purged(scene: Any, count: int, prefix: str = "e") -> None:
    for number in range(count):
        await scene.store(f"{prefix}{number}")
        await scene.purge(f"{prefix}{number}")


def change(tmp_path: Path, *statements: str) -> None:
    """Change the database as nobody may."""
    with closing(sqlite3.connect(tmp_path / "vault.db")) as file, file:
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            file.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            file.execute(statement)


async def test_a_clean_run_states_its_scope_and_is_signed(signed) -> None:
    scene = await signed()
    await scene.retain("ach", max_retention_days=30, default_ttl_days=5, justification="why not")
    await scene.store("a")
    await purged(scene, 3)
    await scene.vault.log.sequencer.sequence()
    scene.clock.advance(hours=1)
    made = await scene.vault.compliance.attestations.attest(scene.admin)
    document = check_attestation(shown_attestation(made.document, made.note), [SIGNING_KEY.verifier])
    assert (made.number, made.at, made.is_clean) == (1, T0 + HOUR, True)
    assert document["result"] == "clean"
    assert document["requested_by"]["app"] == "vault-admin"
    assert document["period"] == {"since": format_time(T0), "until": format_time(T0 + HOUR)}
    assert [each["purpose"] for each in document["purposes"]] == ["ach", "card"]
    assert document["purposes"][0] | {"policy_version": 1} == {
        "purpose": "ach", "policy_version": 1, "max_retention_days": 30, "default_ttl_days": 5,
        "purge_method": "physical-delete", "justification": "why not", "active": 0, "expired_pending_purge": 0,
        "overdue": 0, "held": 0, "purged_in_period": 0,
    }  # fmt: skip
    card = document["purposes"][1]
    assert (card["active"], card["purged_in_period"], card["overdue"]) == (1, 3, 0)
    assert (document["sample"]["population"], len(document["sample"]["checked"]), document["sample"]["failed"]) == (
        3,
        3,
        0,
    )
    assert document["checkpoint"] == (await scene.storage.inner.newest_checkpoint()).note


async def test_entries_that_have_expired_are_counted_beside_the_active_ones(signed) -> None:
    scene = await signed()
    await scene.store("a", expires_at=T0 + HOUR)
    await scene.store("b", expires_at=T0 + HOUR)
    await scene.store("c", expires_at=T0 + 50 * HOUR)
    await scene.vault.log.sequencer.sequence()
    scene.clock.advance(hours=2)
    made = await scene.vault.compliance.attestations.attest(scene.admin)
    (card,) = json.loads(made.document)["purposes"]
    assert (card["active"], card["expired_pending_purge"]) == (1, 2)


async def test_the_row_names_the_document_by_its_hash(signed) -> None:
    scene = await signed()
    made = await scene.vault.compliance.attestations.attest(scene.admin)
    row = await scene.last_row()
    assert (row.operation, row.app, row.status) == (Operation.ATTEST, "vault-admin", 201)
    assert row.detail == "attestation 1: 0 overdue, 0 of 0 sampled purges verified"
    assert json.loads(row.new_value) == {"number": 1, "sha256": sha256(made.document.encode()).hexdigest()}


async def test_runs_are_numbered_and_each_names_the_one_before(signed) -> None:
    scene = await signed()
    first = await scene.vault.compliance.attestations.attest(scene.admin)
    scene.clock.advance(hours=1)
    second = await attested(scene, trigger="timer")
    assert (second["number"], second["previous_sha256"], second["trigger"]) == (2, digest_of(first.document), "timer")
    assert second["period"]["since"] == format_time(first.at)
    assert [made.number for made in await scene.vault.compliance.attestations.attestations(scene.admin, None, 10)] == [
        2,
        1,
    ]


class TestOverdue:
    async def test_what_is_overdue_is_listed_and_what_is_held_is_counted(self, scene) -> None:
        for name in "abc":
            await scene.store(name, expires_at=T0 + HOUR)
        await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold(selector=HoldSelector(external_id="b")))
        await scene.go_to(T0 + 3 * DAY)
        document = await attested(scene)
        assert document["result"] == "exceptions"
        assert document["overdue"] == {
            "grace_seconds": 86_400,
            "count": 2,
            "held": 1,
            "listed": [
                {"purpose": "card", "external_id": name, "expired_at": format_time(T0 + HOUR)} for name in ("a", "c")
            ],
        }
        assert (document["purposes"][0]["overdue"], document["purposes"][0]["held"]) == (2, 1)
        assert (await scene.last_row()).detail.startswith("attestation 1: 2 overdue")

    async def test_what_the_maximum_ended_is_overdue_since_then(self, scene) -> None:
        await scene.store("a")
        await scene.go_to(T0 + 30 * DAY)
        await scene.retain(max_retention_days=10, default_ttl_days=5)
        (listed,) = (await attested(scene))["overdue"]["listed"]
        assert listed["expired_at"] == format_time(T0 + 10 * DAY)

    async def test_a_hundred_are_listed_and_all_are_counted(self, open_scene) -> None:
        scene = await open_scene(tuning=Tuning(expired_page=7, attestation_max_listed=10))
        for number in range(25):
            await scene.store(f"e{number}", expires_at=T0 + HOUR)
        await scene.go_to(T0 + 3 * DAY)
        overdue = (await attested(scene))["overdue"]
        assert (overdue["count"], len(overdue["listed"])) == (25, 10)


class TestSample:
    async def test_it_follows_from_the_root_and_anybody_can_draw_it_again(self, signed) -> None:
        scene = await signed()
        await purged(scene, 40)
        await scene.vault.log.sequencer.sequence()
        document = await attested(scene)
        sample = document["sample"]
        checkpoint = await scene.storage.inner.newest_checkpoint()
        assert (bytes.fromhex(sample["seed"]), sample["tree_size"]) == (checkpoint.root, checkpoint.size)
        drawn = [each["purge_id"] for each in sample["checked"]]
        ids = [row.purge_id for row in await scene.purge_rows()]
        assert drawn == choose(ids, checkpoint.root, 25)
        assert len(set(drawn)) == 25
        assert sample["population"] == 40
        record = next(row for row in await scene.purge_rows() if row.purge_id == drawn[0])
        checked = dict(sample["checked"][0])
        assert type(checked.pop("leaf_index")) is int
        assert checked == {
            "purge_id": record.purge_id,
            "purpose": record.purpose,
            "purged_at": format_time(record.purged_at),
            "method": record.method,
            "proof_hash": record.proof_hash,
            "holds": True,
            "problems": [],
        }

    async def test_no_leaf_beyond_the_checkpoint_is_drawn(self, signed, monkeypatch) -> None:
        scene = await signed()
        await purged(scene, 3, "under")
        await scene.vault.log.sequencer.sequence()
        earlier = await scene.storage.inner.newest_checkpoint()
        await purged(scene, 3, "beyond")
        await scene.vault.log.sequencer.sequence()

        async def newest() -> Any:
            return earlier

        monkeypatch.setattr(scene.storage.inner, "newest_checkpoint", newest)
        document = await attested(scene)
        rows = {row.purge_id: row for row in await scene.purge_rows()}
        drawn = {rows[each["purge_id"]].external_id for each in document["sample"]["checked"]}
        assert drawn == {"under0", "under1", "under2"}
        assert document["sample"]["failed"] == 0

    async def test_it_is_drawn_from_the_period_and_from_what_is_under_the_checkpoint(self, signed) -> None:
        scene = await signed()
        await purged(scene, 5, "before")
        await scene.vault.log.sequencer.sequence()
        await attested(scene)
        scene.clock.advance(hours=1)
        await purged(scene, 5, "under")
        await scene.vault.log.sequencer.sequence()
        await purged(scene, 5, "after")
        scene.clock.advance(hours=1)
        document = await attested(scene)
        rows = {row.purge_id: row for row in await scene.purge_rows()}
        drawn = {rows[each["purge_id"]].external_id for each in document["sample"]["checked"]}
        assert drawn == {f"under{number}" for number in range(5)}
        assert document["sample"]["population"] == 10

    async def test_without_a_signing_key_it_is_drawn_by_the_tree_and_not_signed(self, scene) -> None:
        await purged(scene, 3)
        await scene.vault.log.sequencer.sequence()
        scene.clock.advance(seconds=1)
        made = await scene.vault.compliance.attestations.attest(scene.admin)
        document = json.loads(made.document)
        assert (made.note, document["checkpoint"], len(document["sample"]["checked"])) == (None, None, 3)
        with pytest.raises(AttestationInvalid, match="not signed"):
            check_attestation(shown_attestation(made.document, made.note), [SIGNING_KEY.verifier])

    async def test_replaced_and_shredded_versions_hold(self, signed) -> None:
        scene = await signed()
        await scene.retain(purge_method="crypto-shred")
        await scene.store("a", value=b"one", metadata='{"a":[1,null]}')
        await scene.store("a", value=b"two")
        await scene.purge("a")
        await scene.vault.log.sequencer.sequence()
        document = await attested(scene)
        assert [each["holds"] for each in document["sample"]["checked"]] == [True, True]


class TestProblems:
    """Each thing that is wrong with a purge is found, and named."""

    async def problems(self, scene: Any) -> list[list[str]]:
        document = await attested(scene)
        found = [each["problems"] for each in document["sample"]["checked"]]
        assert document["result"] == ("exceptions" if any(found) else "clean")
        assert document["sample"]["failed"] == sum(bool(each) for each in found)
        return found

    async def one_purge(self, signed: Any, method: str = "physical-delete") -> Any:
        scene = await signed()
        await scene.retain(purge_method=method)
        await scene.store("a")
        await scene.purge("a")
        await scene.vault.log.sequencer.sequence()
        assert await self.problems(scene) == [[]]
        await scene.vault.log.sequencer.sequence()
        return scene

    async def again(self, scene: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Attest once more, with the period of the first time."""
        inner, found = scene.storage.inner, scene.storage.inner.attestations

        async def first_period(before: int | None, limit: int) -> Any:
            return [replace(each, at=T0 - HOUR) for each in await found(before, limit)]

        monkeypatch.setattr(inner, "attestations", first_period)
        (problems,) = await self.problems(scene)
        return problems

    async def test_a_row_that_was_changed(self, signed, tmp_path, monkeypatch) -> None:
        scene = await self.one_purge(signed)
        change(tmp_path, "UPDATE purge_log SET proof_hash = replace(proof_hash, substr(proof_hash, 1, 1), 'x')")
        assert await self.again(scene, monkeypatch) == [
            "the stored leaf hash differs from the hash of the row",
            "the row is not in the tree",
            "the proof is not a SHA-256",
        ]

    async def test_a_row_that_was_changed_together_with_its_hash(self, signed, tmp_path, monkeypatch) -> None:
        scene = await self.one_purge(signed)
        change(tmp_path, "UPDATE purge_log SET owner_app = 'nobody', leaf_hash = NULL")
        assert await self.again(scene, monkeypatch) == ["the row is not in the tree"]

    async def test_an_entry_that_was_put_back(self, signed, tmp_path, monkeypatch) -> None:
        scene = await self.one_purge(signed)
        await scene.store("a")
        (row,) = await scene.purge_rows()
        change(tmp_path, f"UPDATE entries SET entry_id = '{row.entry_id}'")
        assert await self.again(scene, monkeypatch) == ["the entry still exists"]

    async def test_a_new_entry_under_the_same_key_is_none_of_its_business(self, signed, monkeypatch) -> None:
        scene = await self.one_purge(signed)
        await scene.store("a")
        assert await self.again(scene, monkeypatch) == []

    async def test_a_shredded_row_that_is_not_what_the_proof_is_of(self, signed, tmp_path, monkeypatch) -> None:
        scene = await self.one_purge(signed, "crypto-shred")
        change(tmp_path, "UPDATE entries SET owner_app = 'nobody'")
        assert await self.again(scene, monkeypatch) == ["the proof differs from that of the row kept without its value"]

    async def test_a_leaf_that_is_of_another_row(self, signed, tmp_path, monkeypatch) -> None:
        scene = await self.one_purge(signed)
        index = await scene.storage.inner.purge_index((await scene.purge_rows())[0].purge_id)
        found = scene.storage.inner.leaf_rows

        async def another(first: int, count: int) -> Any:
            return await found(0 if first == index else first, count)

        monkeypatch.setattr(scene.storage.inner, "leaf_rows", another)
        assert await self.again(scene, monkeypatch) == ["the leaf is not that of this row"]


class TestWho:
    async def test_only_an_admin_attests(self, scene) -> None:
        for call in (scene.owner, a_call("qsa", Role.AUDITOR)):
            with pytest.raises(RoleRequired):
                await scene.vault.compliance.attestations.attest(call)
        assert list(await scene.storage.inner.attestations(None, 10)) == []
        assert (await scene.last_row()).operation is Operation.ATTEST

    async def test_admins_and_auditors_read_and_leave_a_row(self, scene) -> None:
        made = await scene.vault.compliance.attestations.attest(scene.admin)
        for call in (scene.admin, a_call("qsa", Role.AUDITOR)):
            assert list(await scene.vault.compliance.attestations.attestations(call, None, 5)) == [made]
            assert await scene.vault.compliance.attestations.attestation(call, 1) == made
            row = await scene.last_row()
            assert (row.operation, row.app, row.detail) == (Operation.READ_ATTESTATION, call.principal.app, "1")
        with pytest.raises(RoleRequired):
            await scene.vault.compliance.attestations.attestation(scene.owner, 1)
        with pytest.raises(RoleRequired):
            await scene.vault.compliance.attestations.attestations(scene.owner, None, 5)

    @pytest.mark.parametrize("number", [2, 10**18 - 1])
    async def test_one_that_there_is_not_is_not_found(self, scene, number) -> None:
        await scene.vault.compliance.attestations.attest(scene.admin)
        with pytest.raises(AttestationNotFound):
            await scene.vault.compliance.attestations.attestation(scene.admin, number)


class TestTogether:
    async def test_two_at_once_are_two_with_numbers_of_their_own(self, scene, make_vault) -> None:
        other = await make_vault()
        made = await asyncio.gather(
            *(vault.compliance.attestations.attest(scene.admin) for vault in (scene.vault, other))
        )
        assert sorted(each.number for each in made) == [1, 2]
        first, second = sorted(made, key=lambda each: each.number)
        assert json.loads(second.document)["previous_sha256"] == digest_of(first.document)
        assert len(await scene.access_rows(operation="attest")) == 2

    async def test_nothing_is_kept_without_its_row(self, scene) -> None:
        scene.storage.arm(methods={"commit"}, always=True)
        with pytest.raises(AuditUnavailable):
            await scene.vault.compliance.attestations.attest(scene.admin)
        scene.storage.disarm()
        assert list(await scene.storage.inner.attestations(None, 10)) == []


class TestByItself:
    async def test_it_is_time_when_nine_tenths_of_the_interval_have_passed(self, scene) -> None:
        await scene.go_to(T0 + 81 * DAY - HOUR)
        assert await scene.vault.compliance.attestations.attest_if_due() is None
        await scene.go_to(T0 + 81 * DAY)
        made = await scene.vault.compliance.attestations.attest_if_due()
        assert made is not None
        assert json.loads(made.document)["trigger"] == "timer"
        assert await scene.vault.compliance.attestations.attest_if_due() is None
        assert scene.vault.compliance.attestations.beginning.due_at == made.at + 90 * DAY

    async def test_of_several_processes_one_does(self, scene, make_vault) -> None:
        vaults = [scene.vault, await make_vault(), await make_vault()]
        await scene.go_to(T0 + 90 * DAY)
        await asyncio.gather(*(vault.compliance.attestations.attest_if_due() for vault in vaults))
        assert len(await scene.storage.inner.attestations(None, 10)) == 1

    async def test_nobody_does_where_the_interval_is_0(self, open_scene) -> None:
        scene = await open_scene(compliance__attestation_interval_days="0")
        await scene.go_to(T0 + 900 * DAY)
        assert await scene.vault.compliance.attestations.attest_if_due() is None

    @pytest.mark.parametrize("attest", [True, False])
    async def test_a_serving_process_does_only_if_the_settings_say_so(self, open_scene, attest) -> None:
        scene = await open_scene(tuning=Tuning(attestation_check_seconds=0.01))
        settings = Settings.model_validate({"compliance": {"attest_automatically": attest}})
        await scene.go_to(T0 + 90 * DAY)
        async with background(scene.vault, settings):
            for _ in range(100):
                await asyncio.sleep(0.01)
                if await scene.storage.inner.attestations(None, 1):
                    break
        assert bool(await scene.storage.inner.attestations(None, 1)) == attest


class TestChecking:
    @pytest.fixture
    def shown(self, runner, signed) -> dict[str, Any]:
        async def made() -> dict[str, Any]:
            scene = await signed()
            found = await scene.vault.compliance.attestations.attest(scene.admin)
            return shown_attestation(found.document, found.note)

        return runner.run(made())

    def test_what_was_signed_is_good_however_it_is_written(self, shown) -> None:
        again = json.loads(json.dumps(shown, indent=4, sort_keys=True))
        assert check_attestation(again, [OTHER.verifier, SIGNING_KEY.verifier])["format"] == FORMAT

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("attestation", "result"), "exceptions"),
            (("attestation", "overdue", "count"), 1),
            (("attestation", "format"), "vsqlvault-attestation-v2"),
            (("attestation", "more"), 1),
            (("attestation",), None),
            (("note",), None),
            (("note",), "nothing"),
            (("sha256",), "0" * 64),
        ],
    )
    def test_whatever_is_changed_is_found(self, shown, path, value) -> None:
        inner = shown
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        with pytest.raises(AttestationInvalid):
            check_attestation(shown, [SIGNING_KEY.verifier])

    def test_another_key_does_not_vouch_for_it(self, shown) -> None:
        with pytest.raises(AttestationInvalid, match="trusted key"):
            check_attestation(shown, [OTHER.verifier])


async def test_the_control_and_the_report_follow(signed) -> None:
    scene = await signed()
    await scene.go_to(T0 + 91 * DAY)
    section = (await scene.vault.compliance.report.write(scene.admin))["attestations"]
    assert section["exceptions"]["listed"] == [
        {"what": "the next attestation is overdue", "at": format_time(T0 + 90 * DAY)}
    ]
    controls = {control.name: control for control in await scene.vault.compliance.controls.look()}
    assert controls["attestation_current"].state == "failing"
    await scene.vault.compliance.attestations.attest(scene.admin)
    section = (await scene.vault.compliance.report.write(scene.admin))["attestations"]
    assert section["result"] == "supports"
    assert (section["figures"]["last_result"], section["figures"]["due_at"]) == ("clean", format_time(T0 + 181 * DAY))
    controls = {control.name: control for control in await scene.vault.compliance.controls.look()}
    assert controls["attestation_current"].state == "ok"
    before = (await scene.vault.compliance.report.write(scene.admin, as_of=T0 + 90 * DAY))["attestations"]["figures"]
    assert (before["last_at"], before["listed"]) == (None, [])


async def test_the_purge_log_is_not_read_whole(signed) -> None:
    scene = await signed()
    await purged(scene, 40)
    await scene.vault.log.sequencer.sequence()
    scene.storage.arm()
    await attested(scene)
    pages_for_a_draw = 4  # one of two rows and one of many, before the end of the ids and after it
    assert scene.storage.calls.count("purges_by_id") <= pages_for_a_draw * SAMPLE_SIZE
    assert "purge_log" not in scene.storage.calls
    assert len(await scene.storage.inner.purge_log(LogQuery(limit=100))) == 40


FORGED = {
    """document = replace(document, '"trigger":"request"', '"trigger":"timer"')""": "its signature does not verify",
    "note = replace(note, 'vault.example', 'thief.example')": "no key of this vault has signed it",
    "at = at + 1": "its number, at or is_clean differs from its document",
    "is_clean = NOT is_clean": "its number, at or is_clean differs from its document",
    "document = '[]'": "its document is not an attestation",
}


@pytest.mark.parametrize("change_of_row", FORGED)
async def test_an_attestation_that_was_forged_in_the_database_does_not_count(signed, tmp_path, change_of_row) -> None:
    scene = await signed()
    await scene.vault.compliance.attestations.attest(scene.admin)
    change(tmp_path, f"UPDATE attestations SET {change_of_row}")
    scene.clock.advance(seconds=1)
    member = (await scene.vault.compliance.report.write(scene.admin))["attestations"]
    found = [each["what"] for each in member["exceptions"]["listed"]]
    assert f"attestation 1 does not count: {FORGED[change_of_row]}" in found
    assert (member["result"], member["figures"]["last_at"]) == ("exceptions", None)
