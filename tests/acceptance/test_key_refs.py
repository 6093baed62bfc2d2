"""``/admin/key-refs``, as used in a key rotation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER, NewDatabase
from tests.support.server import ADMIN, VaultServer

OLD, NEW = "akv:kv:card-key-v6", "akv:kv:card-key-v7"


@pytest.fixture(scope="module")
def rotating(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[VaultServer]:
    """A vault in which one of three entries under the old key has been moved to the new one, and one has no key."""
    directory = tmp_path_factory.mktemp("key-refs")
    server = VaultServer(directory, database_url=new_database(directory))
    server.start()
    try:
        for purpose in ("card", "ach"):
            server.retention(purpose)
        for number in range(3):
            server.stored("payments", f"card/pay-{number}", MARKER, key_ref=OLD)
        server.put("payments", "card/pay-0", f"{MARKER}-again", key_ref=NEW)
        server.stored("payments", "card/pay-3", MARKER)
        server.stored("other", "ach/pay-0", MARKER, key_ref=NEW)
        yield server
    finally:
        server.kill()


def test_each_key_has_its_entries_and_its_first_and_last_use(rotating: VaultServer) -> None:
    answer = rotating.call("auditor", "GET", "/admin/key-refs")
    assert answer.status == 200
    counts = [(row["purpose"], row["key_ref"], row["entries"], row["active"]) for row in answer.json["key_refs"]]
    assert counts == [("ach", NEW, 1, 1), ("card", None, 1, 1), ("card", OLD, 2, 2), ("card", NEW, 1, 1)]
    assert answer.json["next_cursor"] is None
    moved = rotating.call("payments", "GET", "/vault/card/pay-0").json
    last = answer.json["key_refs"][-1]
    assert last == {
        "purpose": "card",
        "key_ref": NEW,
        "entries": 1,
        "active": 1,
        "expired_pending_purge": 0,
        "first_used_at": moved["updated_at"],
        "last_used_at": moved["updated_at"],
    }


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_cursor_leads_through_all_of_them(rotating: VaultServer, limit: int) -> None:
    found, target = [], f"/admin/key-refs?limit={limit}"
    while target:
        page = rotating.call("auditor", "GET", target).json
        found += page["key_refs"]
        target = page["next_cursor"] and f"/admin/key-refs?limit={limit}&cursor={page['next_cursor']}"
    assert found == rotating.call("auditor", "GET", "/admin/key-refs").json["key_refs"]


def test_a_key_that_is_not_in_use_is_not_in_the_list(rotating: VaultServer) -> None:
    assert rotating.call(ADMIN, "GET", "/admin/key-refs?key_ref=nowhere").json == {"key_refs": [], "next_cursor": None}
    (row,) = rotating.call(ADMIN, "GET", f"/admin/key-refs?purpose=card&key_ref={OLD}").json["key_refs"]
    assert row["entries"] == 2


def test_an_app_without_a_role_may_not_read_it(rotating: VaultServer) -> None:
    assert_problem(rotating.call("payments", "GET", "/admin/key-refs"), 403, "role-required")
    (row,) = rotating.rows("operation=read-key-refs&outcome=denied")
    assert (row["app"], row["status"]) == ("payments", 403)


def test_the_worklist_of_the_old_key_is_in_stable_order(rotating: VaultServer) -> None:
    listed = rotating.call("payments", "GET", f"/vault/card?key_ref={OLD}").json["entries"]
    assert [entry["external_id"] for entry in listed] == ["pay-1", "pay-2"]
