"""What must be true of two requests that meet."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.fixtures import MARKER, NewDatabase
from tests.support.server import ADMIN, VaultServer
from tests.support.together import in_parallel, together
from tests.support.wire import Answer

ROUNDS = 200


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> object:
    directory = tmp_path_factory.mktemp("races")
    settings = "[purge]\nsweep_batch = 20\n"
    server = VaultServer(directory, settings=settings, database_url=new_database(directory))
    server.start()
    try:
        server.retention("card")
        server.retention("cold", method="crypto-shred")
        yield server
        assert server.stop() == 0
        server.assert_log_is_clean([MARKER])
    finally:
        server.kill()


def statuses(*answers: Answer) -> list[int]:
    return sorted(answer.status for answer in answers)


@pytest.mark.parametrize(("purpose", "who", "loser"), [("card", "payments", 404), ("cold", "archive", 410)])
def test_of_two_purges_one_succeeds(arena: VaultServer, purpose: str, who: str, loser: int) -> None:
    rounds = ROUNDS // 2
    for number in range(rounds):
        name = f"{purpose}/two-deletes-{number}"
        arena.stored(who, name, MARKER)
        answers = together(*[lambda name=name: arena.delete(who, name)] * 2)
        assert statuses(*answers) == [200, loser]
    ours = [row for row in arena.purge_rows(f"purpose={purpose}") if row["external_id"].startswith("two-deletes-")]
    assert len({row["external_id"] for row in ours}) == len(ours) == rounds
    rows = [row for row in arena.rows(f"operation=purge&purpose={purpose}") if "two-deletes" in row["external_id"]]
    assert Counter(row["status"] for row in rows) == {200: rounds, loser: rounds}


def test_a_read_that_meets_a_purge_comes_before_it_or_finds_nothing(arena: VaultServer) -> None:
    for number in range(ROUNDS):
        name = f"get-delete-{number}"
        arena.stored("payments", f"card/{name}", f"{MARKER}-{number}")
        read, purge = together(
            lambda name=name: arena.get("payments", f"card/{name}"),
            lambda name=name: arena.delete("payments", f"card/{name}"),
        )
        assert purge.status == 200
        assert read.status in {200, 404}
        if read.status == 200:
            assert read.json["encrypted_value"] == f"{MARKER}-{number}"
    order = [
        (row["external_id"], row["operation"], row["outcome"])
        for row in arena.rows("purpose=card")
        if str(row["external_id"]).startswith("get-delete-")
    ]
    purged: set[str] = set()
    for external_id, operation, outcome in order:
        if operation == "purge":
            purged.add(external_id)
        assert not (operation == "retrieve" and outcome == "granted" and external_id in purged)


def test_of_two_first_versions_one_is_created_and_one_replaces(arena: VaultServer) -> None:
    for number in range(ROUNDS):
        name = f"card/put-put-{number}"
        fields = [{"value": f"value-{side}", "key_ref": f"key-{side}", "metadata": {"side": side}} for side in "ab"]
        answers = together(*[lambda each=each, name=name: arena.put("payments", name, **each) for each in fields])
        assert statuses(*answers) == [200, 201]
        entry = arena.get("payments", name).json
        side = entry["metadata"]["side"]
        assert (entry["encrypted_value"], entry["key_ref"]) == (f"value-{side}", f"key-{side}")
        assert entry["version"] == 2
    rows = [row for row in arena.purge_rows("reason=replaced") if row["external_id"].startswith("put-put-")]
    assert Counter(row["entry_version"] for row in rows) == {1: ROUNDS}


def test_of_two_apps_that_create_one_owns(arena: VaultServer) -> None:
    for number in range(ROUNDS // 2):
        name = f"card/two-owners-{number}"
        apps = ("payments", "billing")
        answers = together(*[lambda app=app, name=name: arena.put(app, name, app) for app in apps])
        assert statuses(*answers) == [201, 403]
        owner = next(app for app, answer in zip(apps, answers, strict=True) if answer.status == 201)
        assert arena.get(owner, name).json["encrypted_value"] == owner


def test_of_two_that_create_only_one_does(arena: VaultServer) -> None:
    for number in range(ROUNDS // 2):
        put = [
            lambda value=value, number=number: arena.put(
                "payments", f"card/create-only-{number}", value, headers={"If-None-Match": "*"}
            )
            for value in "abc"
        ]
        assert statuses(*together(*put)) == [201, 412, 412]


def test_of_two_that_replace_the_same_version_one_does(arena: VaultServer) -> None:
    for number in range(ROUNDS // 2):
        name = f"card/if-match-{number}"
        tag = str(arena.put("payments", name, MARKER).header("etag"))
        put = [
            lambda value=value, name=name, tag=tag: arena.put("payments", name, value, headers={"If-Match": tag})
            for value in "ab"
        ]
        assert statuses(*together(*put)) == [200, 412]


def test_a_replacement_that_meets_a_purge_is_whole(arena: VaultServer) -> None:
    for number in range(ROUNDS // 2):
        name = f"put-delete-{number}"
        first = arena.stored("payments", f"card/{name}", MARKER)
        put, purge = together(
            lambda name=name: arena.put("payments", f"card/{name}", "new"),
            lambda name=name: arena.delete("payments", f"card/{name}"),
        )
        assert purge.status == 200
        purged = [(row["entry_id"], row["entry_version"]) for row in arena.purge_rows(f"external_id={name}")]
        assert (first["entry_id"], 1) in purged
        assert len(set(purged)) == len(purged)
        if put.status == 201:
            assert arena.get("payments", f"card/{name}").json["encrypted_value"] == "new"
        else:
            assert put.status == 200
            assert arena.get("payments", f"card/{name}").status == 404


def test_a_new_version_that_meets_a_sweep_is_never_swept(arena: VaultServer) -> None:
    names = [f"put-sweep-{number}" for number in range(ROUNDS)]
    at = (datetime.now(UTC) + timedelta(seconds=2.5)).isoformat()
    old = in_parallel(
        [lambda name=name: arena.stored("payments", f"card/{name}", MARKER, expires_at=at) for name in names], 4
    )
    time.sleep(max(0.0, (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()) + 0.01)

    def put_all() -> list[Answer]:
        return [arena.put("payments", f"card/{name}", "new") for name in reversed(names)]

    puts, sweep = together(put_all, lambda: [arena.call(ADMIN, "POST", "/admin/purge/sweep")])
    assert {answer.status for answer in (*puts, *sweep)} == {200, 201}
    assert {answer.status for answer in puts} == {201}
    rows = [row for row in arena.purge_rows("") if row["external_id"] in names]
    assert sorted(row["entry_id"] for row in rows) == sorted(entry["entry_id"] for entry in old)
    assert all(arena.get("payments", f"card/{name}").json["encrypted_value"] == "new" for name in names)


def test_readers_never_see_a_mixture_of_versions(arena: VaultServer) -> None:
    arena.put("payments", "card/mixture", "0", metadata={"n": "0"})
    stop = threading.Event()
    seen: list[tuple[str, str]] = []

    def read() -> None:
        while not stop.is_set():
            entry = arena.get("payments", "card/mixture").json
            seen.append((entry["encrypted_value"], entry["metadata"]["n"]))

    def write() -> None:
        try:
            for number in range(ROUNDS):
                arena.put("payments", "card/mixture", str(number), metadata={"n": str(number)})
        finally:
            stop.set()

    together(read, read, write)
    assert len(seen) > 50
    assert all(value == described for value, described in seen)


def test_a_policy_that_meets_its_first_entry_is_in_use_or_gone(arena: VaultServer) -> None:
    for number in range(40):
        name = f"contested-{number}"
        arena.access_policy(name, store={}, retrieve={})
        put, drop = together(
            lambda name=name: arena.put("payments", f"card/{name}", MARKER, access_policy=name),
            lambda name=name: arena.call(ADMIN, "DELETE", f"/admin/access-policies/{name}"),
        )
        assert put.status == 201
        assert drop.status in {200, 409}
        assert ("warnings" in put.json) is (drop.status == 200)


def test_what_one_request_has_stored_the_next_one_finds(arena: VaultServer) -> None:
    def store_and_read(number: int) -> Callable[[], int]:
        def run() -> int:
            arena.stored("payments", f"card/next-{number}", MARKER)
            return arena.get("billing" if number % 2 else "payments", f"card/next-{number}").status

        return run

    found = in_parallel([store_and_read(number) for number in range(ROUNDS)], 16)
    assert Counter(found) == {200: ROUNDS // 2, 403: ROUNDS // 2}
