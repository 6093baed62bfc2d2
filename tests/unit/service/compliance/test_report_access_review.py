"""The report's access review: named apps are asked for, and compared with what apps did."""

from __future__ import annotations

from typing import Any

from vsqlvault.model.access import Action
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.policy import Rule
from vsqlvault.service.entries.requests import ListRequest
from vsqlvault.testing import a_call, an_access_policy

READ_BY = "read-by-tellers"


async def reviewed(scene: Any) -> dict[str, Any]:
    scene.clock.advance(seconds=1)  # the end of the period is exclusive
    member: dict[str, Any] = (await scene.vault.compliance.report.write(scene.admin))["access_review"]
    return member


async def save(scene: Any, *apps: str) -> None:
    rules = {
        Action.STORE: Rule(),
        Action.RETRIEVE: Rule(allowed_apps=frozenset(apps)),
        Action.PURGE: Rule(allowed_apps=frozenset({"@owner"})),
    }
    await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy(READ_BY, rules=rules))


async def read(scene: Any, app: str, name: str) -> None:
    await scene.vault.entries.retrieve(a_call(app), EntryKey("card", name))


async def test_an_app_that_a_policy_names_is_shown_with_what_it_may_do(scene) -> None:
    await save(scene, "tellers")
    await scene.store("reviewed-1", access_policy=READ_BY)
    policy = (await reviewed(scene))["figures"]["by_purpose"]["card"]["policies"][READ_BY]
    assert "retrieve" in policy["named_may"]["tellers"]
    assert "purge" not in policy["named_may"]["tellers"]
    assert "retrieve" not in policy["may"]["owner"]


async def test_a_named_app_that_did_nothing_in_the_period_is_listed(scene) -> None:
    await save(scene, "tellers")
    await scene.store("reviewed-2", access_policy=READ_BY)
    assert (await reviewed(scene))["figures"]["by_purpose"]["card"]["named_never_used"] == ["tellers"]
    await read(scene, "tellers", "reviewed-2")
    assert (await reviewed(scene))["figures"]["by_purpose"]["card"]["named_never_used"] == []


async def test_an_app_that_read_and_may_no_longer_is_an_exception(scene) -> None:
    await save(scene, "tellers")
    await scene.store("reviewed-3", access_policy=READ_BY)
    await read(scene, "tellers", "reviewed-3")
    what = "used retrieve in the period and may no longer"
    assert what not in [each["what"] for each in (await reviewed(scene))["exceptions"]["listed"]]
    await save(scene, "auditors")
    found = [each for each in (await reviewed(scene))["exceptions"]["listed"] if each["what"] == what]
    assert found == [{"purpose": "card", "what": what, "who": "tellers"}]


async def test_an_owner_that_stores_and_reads_its_entries_is_no_exception(scene) -> None:
    await scene.store("reviewed-4")
    await read(scene, "payments", "reviewed-4")
    assert [each for each in (await reviewed(scene))["exceptions"]["listed"] if "no longer" in each["what"]] == []


async def test_without_a_record_of_a_review_nothing_is_supported(scene) -> None:
    await scene.store("reviewed-5")
    member = await reviewed(scene)
    assert member["exceptions"]["count"] == 0
    assert member["result"] == "not_assessed"


async def lost(scene: Any) -> list[str]:
    listed = (await reviewed(scene))["exceptions"]["listed"]
    return [f"{each['who']}: {each['what']}" for each in listed if "no longer" in each["what"]]


async def test_an_app_with_the_purpose_that_listed_may_still_list(scene) -> None:
    await scene.store("reviewed-6")
    listed = await scene.vault.entries.list_purpose(a_call("billing"), "card", ListRequest(limit=10))
    assert list(listed.entries) == []
    assert await lost(scene) == []


async def test_an_owner_whose_entries_were_all_purged_is_no_exception(scene) -> None:
    await scene.store("reviewed-7")
    await scene.store("reviewed-8", call=a_call("billing"))
    await read(scene, "billing", "reviewed-8")
    await scene.purge("reviewed-8", call=a_call("billing"))
    assert await lost(scene) == []
