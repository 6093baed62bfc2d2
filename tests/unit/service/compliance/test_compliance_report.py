"""The report: every section by itself, of one instant, with a row."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import InvalidQuery, PluginUnusable, RoleRequired, VaultError
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time
from vsqlvault.runtime import Tuning
from vsqlvault.testing import a_call, an_access_policy, storing

DAY = timedelta(days=1)


class Section:
    """A section that does as a test says."""

    name = "extra"

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    async def write(self, context: Any) -> Any:
        self.context = context
        return await self.answer()


class Plain(Section):
    def write(self, context: Any) -> Any:
        return self.answer()


def returning(value: Any) -> Callable[[], Any]:
    async def answer() -> Any:
        return value

    return answer


def failing(error: BaseException) -> Callable[[], Any]:
    async def answer() -> Any:
        raise error

    return answer


async def hanging() -> Any:
    await asyncio.sleep(3600)


def raising() -> Any:
    raise RuntimeError


BROKEN: dict[str, Section] = {
    "raises": Section(failing(RuntimeError("secret words"))),
    "exits": Section(failing(SystemExit(0))),
    "is cancelled": Section(failing(asyncio.CancelledError())),
    "hangs": Section(hanging),
    "returns None": Section(returning(None)),
    "returns a list": Section(returning([])),
    "returns what is not JSON": Section(returning({"x": object()})),
    "returns NaN": Section(returning({"x": float("nan")})),
    "returns a lone surrogate": Section(returning({"x": ["y", "a\ud800b"]})),
    "returns a lone surrogate for a name": Section(returning({"x": {"a\udfffb": 1}})),
    "returns bytes": Section(returning({"x": b"y"})),
    "is a plain function that raises": Plain(raising),
}


@pytest.mark.parametrize("section", BROKEN.values(), ids=BROKEN)
async def test_a_section_that_fails_is_marked_and_the_rest_is_served(install, offering, open_scene, section) -> None:
    install(extra=offering("vault_report_sections", section))
    scene = await open_scene(tuning=Tuning(report_section_seconds=0.05))
    report = await scene.vault.compliance.report.write(scene.admin)
    assert report["extra"] == {"failed": True}
    dump_json(report)


async def test_what_a_section_changes_later_is_not_in_the_report(install, offering, open_scene) -> None:
    written: dict[str, Any] = {"x": ["\u20ac", 1.5, None]}
    install(extra=offering("vault_report_sections", Section(returning(written))))
    scene = await open_scene()
    report = await scene.vault.compliance.report.write(scene.admin)
    written["x"].append("a\ud800b")
    assert report["extra"] == {"x": ["\u20ac", 1.5, None]}
    assert report["summary"]["active_entries"] == 0
    assert json.loads(json.dumps(report)) == report
    assert (await scene.last_row()).operation is Operation.READ_REPORT


async def test_a_section_of_a_plugin_is_a_member(install, offering, open_scene) -> None:
    section = Section(returning({"x": [1, None, "y"]}))
    install(extra=offering("vault_report_sections", section))
    scene = await open_scene()
    report = await scene.vault.compliance.report.write(scene.admin)
    assert report["extra"] == {"x": [1, None, "y"]}
    assert next(iter(report)) == "as_of"
    assert set(section.context.retention_policies) == {"card"}
    assert "owner-only" in section.context.access_policies


OFF = {"state": "off", "detail": "only a server started by vsql-vault applies the sandbox"}


async def test_the_members_asked_for_are_there_with_their_numbers(scene) -> None:
    await scene.store("live", key_ref="k1")
    await scene.store("ends-soon", key_ref="k2", expires_at=scene.clock.at + DAY * 20)
    await scene.store("expired", expires_at=scene.clock.at + DAY)
    await scene.store("purged")
    await scene.store("odd", access_policy="nowhere", key_ref="k1")
    await scene.purge("purged")
    scene.clock.advance(days=2)
    report = await scene.vault.compliance.report.write(scene.admin)
    no_credentials = {"max_age_days": 365, "by_method": {}, "active": [], "active_not_listed": 0}
    asked_for = {
        "as_of": format_time(scene.clock.at),
        "summary": {
            "total_entries": 5,
            "active_entries": 3,
            "expired_pending_purge": 1,
            "purged_last_30_days": 1,
        },
        "by_purpose": {
            "card": {
                "active": 3,
                "retention_policy": "365 days max, 90 day default TTL",
                "entries_expiring_next_30_days": 1,
                "key_refs": {"k1": 2, "k2": 1},
            }
        },
        "purge_compliance": {
            "purge_sweep_last_run": None,
            "purge_sweep_completed": None,
            "entries_purged_last_sweep": 0,
            "purge_proof_available": True,
            "scrub_last_run": None,
            "scrub_completed": None,
            "scrub_left": None,
        },
    }
    figures: dict[str, dict[str, Any]] = {
        "undefined_access_policies": {"entries_by_policy": {"nowhere": 1}},
        "hardening": {
            "steps": dict.fromkeys(("limits", "memory_lock", "no_new_privileges", "landlock", "seccomp"), OFF)
        },
        "legal_holds": {
            "active": 0,
            "expired_held": 0,
            "expired_held_is_complete": True,
            "held_at_last_sweep": None,
            "holds": [],
        },
    }
    assert {name: report[name] for name in asked_for} == asked_for
    for name, expected in figures.items():
        assert {each: report[name][each] for each in expected} == expected
    assert report["credentials"].items() >= no_credentials.items()
    assert list(report)[:5] == ["as_of", "period", "summary", "by_purpose", "purge_compliance"]
    assert [name for name, member in report.items() if member == {"failed": True}] == []


async def test_the_last_sweep_is_reported(scene) -> None:
    await scene.store(expires_at=scene.clock.at + DAY)
    scene.clock.advance(days=1)
    await scene.vault.purge.sweeper.sweep(scene.admin)
    compliance = (await scene.vault.compliance.report.write(scene.admin))["purge_compliance"]
    assert compliance["purge_sweep_last_run"] == format_time(scene.clock.at)
    assert compliance["purge_sweep_completed"] is True
    assert compliance["entries_purged_last_sweep"] == 1


async def test_the_last_scrub_is_reported(scene) -> None:
    await scene.store()
    await scene.purge()
    await scene.vault.purge.sweeper.sweep(scene.admin)
    compliance = (await scene.vault.compliance.report.write(scene.admin))["purge_compliance"]
    assert compliance["scrub_last_run"] == format_time(scene.clock.at)
    assert (compliance["scrub_completed"], compliance["scrub_left"]) == (True, None)


async def test_a_last_sweep_that_was_stopped_is_reported_as_not_completed(scene) -> None:
    scene.vault.purge.sweeper.stop()
    await scene.vault.purge.sweeper.sweep(scene.admin)
    compliance = (await scene.vault.compliance.report.write(scene.admin))["purge_compliance"]
    assert compliance["purge_sweep_completed"] is False


async def test_an_instant_of_the_past_decides_what_counts(scene) -> None:
    start = scene.clock.at
    await scene.store("first", expires_at=start + DAY * 2)
    scene.clock.advance(days=1)
    await scene.store("second")
    scene.clock.advance(days=5)
    report = await scene.vault.compliance.report.write(scene.admin, start + DAY / 2)
    assert report["as_of"] == format_time(start + DAY / 2)
    assert (report["summary"]["active_entries"], report["summary"]["expired_pending_purge"]) == (1, 0)


async def test_an_instant_of_the_future_is_refused(scene) -> None:
    with pytest.raises(InvalidQuery):
        await scene.vault.compliance.report.write(scene.admin, scene.clock.at + timedelta(microseconds=1))
    await scene.vault.compliance.report.write(scene.admin, scene.clock.at)


@pytest.mark.parametrize("role", Role)
async def test_admins_and_auditors_read_it(scene, role) -> None:
    await scene.vault.compliance.report.write(a_call("reader", role))
    row = await scene.last_row()
    assert (row.operation, row.app, row.status) == (Operation.READ_REPORT, "reader", 200)


async def test_nobody_else_reads_it(scene) -> None:
    with pytest.raises(RoleRequired):
        await scene.vault.compliance.report.write(scene.owner)
    assert (await scene.last_row()).reason == "role"


async def test_writing_the_report_reads_no_value(scene) -> None:
    await scene.store()
    scene.storage.arm()
    await scene.vault.compliance.report.write(scene.admin)
    assert set(scene.storage.calls) <= {
        "read", "entry_statistics", "evidence", "key_refs", "credential_uses", "last_sweep", "describe", "tree_size",
        "newest_checkpoint", "commit", "policy_snapshot", "last_scrub", "sweeps", "scrubs", "control_states", "control_changes",
        "attestations", "cursors", "newest_access_reviews", "database_access",
    }  # fmt: skip


@pytest.mark.parametrize("claimed", [["3.2.1", "3.3.2"], "3.2.1", [1], {"3.2.1": 1}], ids=str)
async def test_a_section_that_claims_what_is_no_requirement_is_marked(install, offering, open_scene, claimed) -> None:
    install(extra=offering("vault_report_sections", Section(returning({"requirements": claimed}))))
    scene = await open_scene()
    report = await scene.vault.compliance.report.write(scene.admin)
    assert report["extra"] == {"failed": True}
    assert "3.3.2" not in report["requirements"]["by_id"]


async def test_requirements_that_a_section_claims_lead_to_it(install, offering, open_scene) -> None:
    install(extra=offering("vault_report_sections", Section(returning({"requirements": ["10.6.1"]}))))
    scene = await open_scene()
    by_id = (await scene.vault.compliance.report.write(scene.admin))["requirements"]["by_id"]
    assert set(by_id["10.6.1"]["sections"]) == {"extra", "not_assessed"}


@pytest.mark.parametrize("name", ["as_of", "period", "requirements"])
async def test_a_member_of_the_cores_is_nobodys_section(install, offering, make_vault, name) -> None:
    section = Section(returning({}))
    section.name = name
    install(extra=offering("vault_report_sections", section))
    with pytest.raises(PluginUnusable, match=name):
        await make_vault()


async def test_the_period_is_ninety_days_up_to_the_instant_unless_somebody_says_otherwise(scene) -> None:
    now = scene.clock.at
    usual = await scene.vault.compliance.report.write(scene.admin)
    assert usual["period"] == {"since": format_time(now - DAY * 90), "until": format_time(now)}
    told = await scene.vault.compliance.report.write(scene.admin, since=now - DAY * 2, until=now - DAY)
    assert told["denied_access"]["period"] == {"since": format_time(now - DAY * 2), "until": format_time(now - DAY)}
    assert told["audit_coverage"]["figures"]["rows"] == 0


@pytest.mark.parametrize(("since", "until"), [(0, 0), (-1, -2), (None, 1), (1, None)])
async def test_a_period_that_cannot_be_is_refused(scene, since, until) -> None:
    at = [None if days is None else scene.clock.at + DAY * days for days in (since, until)]
    with pytest.raises(InvalidQuery):
        await scene.vault.compliance.report.write(scene.admin, since=at[0], until=at[1])


async def test_the_sections_that_cannot_be_hang_no_report(install, offering, open_scene) -> None:
    """Evaluators that hang are asked for no longer than their deadline, all together."""

    class Hanging:
        name = "hanging"

        def built_in_policies(self) -> list[Any]:
            return []

        def check(self, policy: Any) -> None:
            pass

        async def evaluate(self, request: Any, policy: Any) -> Any:
            await asyncio.sleep(3600)

    install(extra=offering("vault_access_policies", Hanging()))
    scene = await open_scene(tuning=Tuning(report_probe_seconds=0.05))
    policy = an_access_policy("slow", evaluator="hanging")
    await scene.vault.rules.policies.save_access_policy(scene.admin, policy)
    await scene.vault.storage.commit([storing(access_policy="slow")])
    figures = (await scene.vault.compliance.report.write(scene.admin))["access_review"]["figures"]
    assert figures["all_policies_asked"] is False


async def test_no_attestation_is_no_evidence(scene) -> None:
    section = (await scene.vault.compliance.report.write(scene.admin))["attestations"]
    assert section["result"] == "not_assessed"


@pytest.mark.parametrize(("days", "result"), [(364, "not_assessed"), (365, "supports")])
async def test_a_history_shorter_than_twelve_months_is_not_assessed(scene, days, result) -> None:
    await scene.store()
    await scene.go_to(scene.clock.at + DAY * days)
    section = (await scene.vault.compliance.report.write(scene.admin))["log_history"]
    assert (section["result"], section["figures"]["days_at_hand"]) == (result, days)
    assert section["requirements"] == ["10.5.1"]


async def test_changes_of_rules_are_no_system_level_objects(scene) -> None:
    report = await scene.vault.compliance.report.write(scene.admin)
    assert report["requirements"]["by_id"]["10.2.1.7"]["sections"] == ["not_assessed"]
    assert report["requirements"]["by_id"]["12.3.3"]["sections"] == ["not_assessed"]


async def test_no_figure_is_a_literal(scene) -> None:
    text = json.dumps(await scene.vault.compliance.report.write(scene.admin))
    assert "decryption_keys_held" not in text
    assert "rows_ever_deleted_by_the_vault" not in text


async def test_entries_without_a_key_are_counted_apart_from_a_key_called_unspecified(scene) -> None:
    await scene.store("apart-1", key_ref="unspecified")
    await scene.store("apart-2", key_ref=None)
    await scene.store("apart-3", key_ref=None)
    report = await scene.vault.compliance.report.write(scene.admin)
    assert report["by_purpose"]["card"]["key_refs"] == {"unspecified": 1}
    assert report["key_inventory"]["figures"]["entries_by_purpose_without_key_ref"] == {"card": 2}


async def test_the_actions_of_administrators_are_those_of_their_role_and_no_others(scene) -> None:
    await scene.store("by-owner")
    with contextlib.suppress(RoleRequired):
        await scene.vault.rules.policies.save_access_policy(scene.owner, an_access_policy("mine"))
    with contextlib.suppress(VaultError):
        await scene.vault.entries.retrieve(scene.admin, EntryKey("card", "by-owner"))
    await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy("ours"))
    await scene.vault.compliance.report.write(scene.admin)
    scene.clock.advance(hours=1)
    figures = (await scene.vault.compliance.report.write(scene.admin))["audit_coverage"]["figures"]
    assert figures["by_admins"].keys() >= {"retrieve", "change-access-policy", "read-report"}
    assert figures["by_admins"]["change-access-policy"] == 1
    assert figures["by_class"]["10.2.1.2"]["rows"] == figures["by_role"]["admin"] == sum(figures["by_admins"].values())
    assert figures["by_role"]["(no role)"] >= 2
