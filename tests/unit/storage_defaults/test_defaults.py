"""What StorageDefaults derives beyond the conformance classes: errors, damage, and races between two calls."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from vsqlvault.errors import OutcomeUnknown, StorageFull, StorageUnavailable, Unavailable
from vsqlvault.interfaces.storage import RulesUnreadable, Storage
from vsqlvault.interfaces.tree_storage import TreeGrowth
from vsqlvault.interfaces.writes import SaveAccessPolicy, SaveSweep
from vsqlvault.model.credential import CredentialName, CredentialUse
from vsqlvault.storage_defaults.basic import BasicExpectation, BasicWrite, ItemKey, PutItem
from vsqlvault.storage_defaults.lowering import SWEEP
from vsqlvault.storage_defaults.required import RequiredStorage
from vsqlvault.storage_defaults.storage import StorageDefaults
from vsqlvault.testing import T0, a_sweep, a_write, an_access_policy
from vsqlvault.testing.memory_storage import MemoryStorage

REQUIRED = {
    "read", "apply", "entries", "expired", "log", "items", "item_range", "now", "schema_status", "migrate", "describe", "close",
}  # fmt: skip
NAME = CredentialName("api-key", "x" * 3_000)
Result = TypeVar("Result")
Kind = TypeVar("Kind", bound=MemoryStorage)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(asyncio.wait_for(work, 60))


def storage(name: str, kind: type[Kind] = MemoryStorage) -> Kind:  # type: ignore[assignment]
    return kind(f"defaults-{name}")


class LosesItsConnection(MemoryStorage):
    async def apply(self, writes: Sequence[BasicWrite]) -> Sequence[BasicExpectation | StorageFull | None]:
        await super().apply(writes)
        raise OutcomeUnknown


class IsFull(MemoryStorage):
    async def apply(self, writes: Sequence[BasicWrite]) -> Sequence[BasicExpectation | StorageFull | None]:
        return [StorageFull() for _ in writes]


class NeverAgrees(MemoryStorage):
    async def apply(self, writes: Sequence[BasicWrite]) -> Sequence[BasicExpectation | StorageFull | None]:
        return [write.expects[0] for write in writes]


def test_twelve_methods_are_required() -> None:
    assert RequiredStorage.__abstractmethods__ == REQUIRED


def test_every_other_member_of_a_storage_is_derived() -> None:
    members = {name for kind in Storage.__mro__ for name in vars(kind) if name[0] != "_"} | set(Storage.__annotations__)
    assert members - {name for name in dir(StorageDefaults) if name[0] != "_"} == set()


def test_a_change_of_an_item_with_an_unknown_result_is_an_unavailable_storage() -> None:
    with pytest.raises(StorageUnavailable):
        run(storage("lost", LosesItsConnection).acquire_lease("sweep", "one", 60))


def test_a_change_of_an_item_in_a_full_storage_raises_that_it_is_full() -> None:
    with pytest.raises(StorageFull):
        run(storage("full", IsFull).save_cursor("observer", 3))


@pytest.mark.parametrize(
    "call",
    [
        lambda of: of.acquire_lease("sweep", "one", 60),
        lambda of: of.save_cursor("observer", 3),
        lambda of: of.record_usages({NAME: T0}),
    ],
    ids=["lease", "cursor", "usage"],
)
def test_a_change_that_others_always_overtake_ends_as_unavailable(call: Any) -> None:
    with pytest.raises(StorageUnavailable):
        run(call(storage("overtaken", NeverAgrees)))


def test_a_damaged_item_is_unavailable_and_names_its_kind() -> None:
    damaged = storage("damaged")
    run(damaged.commit([a_write(SaveSweep(a_sweep()))]))
    (key,) = [key for key in damaged.data.items if key.table == SWEEP]
    whole = damaged.data.items[key]
    for value in (b"", b"{}", b'{"sweep_id":1}', b"\xff", whole.replace(b'"purged":', b'"purged":"1","failed":')):
        damaged.data.items[key] = value
        with pytest.raises(Unavailable, match="SweepRecord"):
            run(damaged.last_sweep())


def test_a_secret_of_another_length_is_not_used() -> None:
    damaged = storage("secret")
    run(damaged.secret("cursor"))
    damaged.data.items[ItemKey("secret", b"cursor")] = b"short"
    with pytest.raises(StorageUnavailable):
        run(damaged.secret("cursor"))


def test_a_secret_that_another_process_creates_meanwhile_is_used() -> None:
    class IsOvertaken(MemoryStorage):
        others: bytes | None = None

        async def items(self, table: str, names: Collection[bytes]) -> Mapping[bytes, bytes]:
            found = await super().items(table, names)
            if not found and self.others is None:
                self.others = b""
                self.others = await storage("overtaken-secret").secret("cursor")
            return found

    overtaken = storage("overtaken-secret", IsOvertaken)
    assert run(overtaken.secret("cursor")) == overtaken.others


def test_a_long_credential_id_comes_back() -> None:
    used = storage("usage")
    run(used.record_usages({NAME: T0}))
    assert run(used.credential_uses()) == {NAME: CredentialUse(T0, T0)}


def test_a_tree_of_another_incarnation_does_not_grow() -> None:
    grown = storage("incarnation")
    growth = TreeGrowth(0, [], {}, None, incarnation="another")
    assert not run(grown.grow_tree(growth))
    assert run(grown.grow_tree(replace(growth, incarnation=grown.incarnation)))


def test_a_policy_snapshot_is_of_one_revision_although_a_rule_changes_meanwhile() -> None:
    class ChangesMeanwhile(MemoryStorage):
        changes = 2

        async def item_range(self, wanted: Any) -> Any:
            page = await super().item_range(wanted)
            if self.changes and wanted.table == "legal-hold":
                self.changes -= 1
                await self.commit([a_write(SaveAccessPolicy(an_access_policy(version=3 - self.changes)))])
            return page

    changing = storage("snapshot", ChangesMeanwhile)
    policies = run(changing.policy_snapshot())
    assert policies.revision == changing.data.revision == 2
    assert policies.access_versions == {"tellers": 3}


def test_a_damaged_rule_is_named_and_the_others_are_readable() -> None:
    damaged = storage("damaged-rule")
    changes = [SaveAccessPolicy(an_access_policy("tellers", 4)), SaveAccessPolicy(an_access_policy("other"))]
    run(damaged.commit([a_write(*changes)]))
    damaged.data.items[ItemKey("access-policy", b"tellers")] = b"{}"
    with pytest.raises(Unavailable) as caught:
        run(damaged.policy_snapshot())
    cause = caught.value.__cause__
    assert isinstance(cause, RulesUnreadable)
    assert cause.rows == (("access_policies", "tellers v4"),)
    assert list(cause.readable.access) == ["other"]


def test_rules_that_never_rest_end_as_unavailable() -> None:
    class NeverRests(MemoryStorage):
        async def item_range(self, wanted: Any) -> Any:
            self.data.revision += 1
            return await super().item_range(wanted)

    with pytest.raises(StorageUnavailable):
        run(storage("restless", NeverRests).policy_snapshot())


def test_deleting_an_item_that_does_not_exist_is_no_error() -> None:
    assert run(storage("deleting").swap([], [PutItem(ItemKey("lease", b"none"), None)]))


def test_leases_of_storages_with_one_name_are_shared_and_those_of_others_are_not() -> None:
    one, same, other = storage("shared"), storage("shared"), storage("apart")
    assert run(one.acquire_lease("sweep", "one", 60))
    assert not run(same.acquire_lease("sweep", "two", 60))
    assert run(other.acquire_lease("sweep", "two", 60))
