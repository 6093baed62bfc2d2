"""First and last use of keys: kept when their entries are gone, stale by them, and refused where a setting says so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import ValidationFailed
from vsqlvault.model.audit import Outcome
from vsqlvault.testing import T0

DAY = timedelta(days=1)
PERIODS = {"compliance__cryptoperiods": '{"k" = 365}'}


async def inventory(scene: Any) -> dict[str, Any]:
    member: dict[str, Any] = (await scene.vault.compliance.report.write(scene.admin))["key_inventory"]
    return member


def exceptions(member: dict[str, Any]) -> list[str]:
    return [each["what"] for each in member["exceptions"]["listed"]]


async def test_the_first_use_of_a_key_stays_when_its_entries_are_purged(open_scene) -> None:
    scene = await open_scene(**PERIODS)
    await scene.store("old", key_ref="k1", expires_at=T0 + DAY)
    await scene.vault.key_usage.flush()
    await scene.go_to(T0 + 400 * DAY)
    await scene.vault.purge.sweeper.sweep(scene.admin)
    await scene.store("new", key_ref="k1")
    (key,) = (await inventory(scene))["figures"]["in_use"]
    assert (key["age_days"], key["stale"]) == (400, True)


async def test_a_value_stored_after_the_cryptoperiod_is_an_exception(open_scene) -> None:
    scene = await open_scene(**PERIODS)
    await scene.store("a", key_ref="k1")
    await scene.vault.key_usage.flush()
    await scene.go_to(T0 + 365 * DAY)
    await scene.retain(max_retention_days=3650)
    assert exceptions(await inventory(scene)) == ["stale key"]
    await scene.store("b", key_ref="k1")
    assert "values were stored under the key after its cryptoperiod" in exceptions(await inventory(scene))


async def test_a_key_within_its_cryptoperiod_supports(open_scene) -> None:
    scene = await open_scene(**PERIODS)
    await scene.store("a", key_ref="k1")
    assert (await inventory(scene))["result"] == "supports"


@pytest.mark.parametrize(
    ("period", "said"),
    [
        ('{"another" = 365}', "has no period for 1 of 1 keys"),
        ("{}", "no cryptoperiod is set in [compliance.cryptoperiods]"),
    ],
)
async def test_without_a_cryptoperiod_for_a_key_it_is_not_assessed(open_scene, period: str, said: str) -> None:
    scene = await open_scene(compliance__cryptoperiods=period)
    await scene.store("a", key_ref="k1")
    member = await inventory(scene)
    assert member["result"] == "not_assessed"
    assert member["owner"].endswith(said)


async def test_a_put_under_a_stale_key_is_refused_where_the_settings_say_so(open_scene) -> None:
    scene = await open_scene(**PERIODS, compliance__refuse_stale_keys="true")
    await scene.store("a", key_ref="k1")
    await scene.vault.key_usage.flush()
    await scene.go_to(T0 + 365 * DAY - timedelta(microseconds=1))
    await scene.store("b", key_ref="k1")
    await scene.go_to(T0 + 365 * DAY)
    with pytest.raises(ValidationFailed) as refused:
        await scene.store("c", key_ref="k1")
    assert [error.field for error in refused.value.errors] == ["key_ref"]
    assert (await scene.last_row()).outcome is Outcome.DENIED
    await scene.store("c", key_ref="k2")


async def test_by_default_a_put_under_a_stale_key_is_stored(open_scene) -> None:
    scene = await open_scene(**PERIODS)
    await scene.store("a", key_ref="k1")
    await scene.vault.key_usage.flush()
    await scene.go_to(T0 + 365 * DAY)
    assert (await scene.store("b", key_ref="k1")).created


async def test_keys_from_before_are_known_by_their_oldest_value(scene) -> None:
    """A process that was killed has not written the uses of its last minute."""
    await scene.store("a", key_ref="k1")
    scene.vault.key_usage._pending.clear()
    await scene.go_to(T0 + 10 * DAY)
    await scene.vault.key_usage.step()
    assert (await scene.vault.key_usage.lifetimes())["k1"].first_used_at == T0


async def test_an_update_that_keeps_the_value_is_no_use_of_the_key(scene) -> None:
    await scene.store("a", key_ref="k1")
    await scene.go_to(T0 + 10 * DAY)
    await scene.store("a", key_ref="k1", metadata='{"a":1}')
    assert (await scene.vault.key_usage.lifetimes())["k1"].last_used_at == T0


async def test_uses_that_the_storage_does_not_take_are_kept_for_the_next_time(scene) -> None:
    await scene.store("a", key_ref="k1")
    scene.storage.arm(1, methods={"record_usages"})
    await scene.vault.key_usage.flush()
    scene.storage.disarm()
    assert "k1" in await scene.vault.key_usage.lifetimes()


async def test_a_key_without_entries_still_counts_among_those_ever_used(scene) -> None:
    await scene.store("a", key_ref="k1")
    await scene.purge("a")
    figures = (await inventory(scene))["figures"]
    assert (figures["keys"], figures["keys_ever_used"]) == (0, 1)


async def test_uses_of_keys_are_no_uses_of_credentials(scene) -> None:
    await scene.store("a", key_ref="k1")
    await scene.vault.key_usage.flush()
    assert "k1" not in {each.credential_id for each in await scene.vault.credentials.inventory.inventory()}
