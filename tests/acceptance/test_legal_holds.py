"""Legal holds over HTTP: what is held stays, from the answer on, until every hold on it is released."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.together import in_parallel
from tests.support.wire import Answer

Start = Callable[..., VaultServer]
CASE = {"case_reference": "17 O 4/27", "reason": "Litigation over chargebacks"}
UNHELD = {"external_id": "nothing-is-called-so"}

NOTHING_HELD = "no entry matches the selector now: the hold keeps those that are stored later"


def place(vault: VaultServer, name: str, who: str = ADMIN, headers: Any = (), **selector: Any) -> Answer:
    body = {**CASE, "selector": selector or UNHELD}
    return vault.call(who, "PUT", f"/admin/legal-holds/{name}", json_body=body, headers=headers)


def release(vault: VaultServer, name: str, who: str = ADMIN, headers: Any = ()) -> Answer:
    return vault.call(who, "DELETE", f"/admin/legal-holds/{name}", headers=headers)


class TestTheRoutes:
    def test_a_hold_is_placed_read_changed_and_released(self, vault: VaultServer) -> None:
        placed = place(vault, "routes", external_id="routes-1", metadata={"case": [17, True]})
        assert (placed.status, placed.header("etag")) == (201, '"1"')
        expected = {
            **CASE,
            "name": "routes",
            "version": 1,
            "state": "active",
            "selector": {"external_id": "routes-1", "metadata": {"case": [17, True]}},
            "created_by": ADMIN,
            "released_by": None,
            "released_at": None,
        }
        assert {name: placed.json[name] for name in expected} == expected
        assert placed.json["held_since"] == placed.json["created_at"]
        read = vault.call("auditor", "GET", "/admin/legal-holds/routes")
        assert (read.status, read.header("etag")) == (200, '"1"')
        assert placed.json == {
            **read.json, "entries_held": 0, "entries_held_is_complete": True, "warnings": [NOTHING_HELD],
        }  # fmt: skip
        changed = place(vault, "routes", external_id="routes-2")
        assert (changed.status, changed.json["version"], changed.json["held_since"]) == (
            200, 2, placed.json["held_since"],
        )  # fmt: skip
        released = release(vault, "routes")
        assert (released.status, released.json["state"], released.json["released_by"]) == (200, "released", ADMIN)
        assert vault.call(ADMIN, "GET", "/admin/legal-holds/routes").json == released.json
        assert_problem(release(vault, "routes"), 404, "hold-not-found")

    def test_a_hold_that_is_placed_or_changed_counts_the_entries_that_it_keeps(self, vault: VaultServer) -> None:
        for external_id in ("count-1", "count-2"):
            body = {"encrypted_value": "v", "metadata": {"counted": external_id[-1], "of": "count"}}
            assert vault.call("payments", "PUT", f"/vault/card/{external_id}", json_body=body).status == 201
        placed = place(vault, "counted", purpose="card", metadata={"of": "count"})
        assert (placed.json["entries_held"], placed.json["entries_held_is_complete"]) == (2, True)
        assert "warnings" not in placed.json
        narrower = place(vault, "counted", purpose="card", metadata={"counted": "2"})
        assert narrower.json["entries_held"] == 1
        release(vault, "counted")

    def test_lists_tell_those_in_force_from_those_released(self, vault: VaultServer) -> None:
        place(vault, "listed-1")
        place(vault, "listed-2")
        release(vault, "listed-2")
        found = {
            state: [
                hold["name"]
                for hold in vault.call("auditor", "GET", f"/admin/legal-holds{query}").json["legal_holds"]
                if hold["name"].startswith("listed")
            ]
            for state, query in (("active", ""), ("released", "?state=released"))
        }
        assert found == {"active": ["listed-1"], "released": ["listed-2"]}

    @pytest.mark.parametrize("who", ["payments", "auditor"])
    def test_only_admins_place_and_release(self, vault: VaultServer, who: str) -> None:
        row = assert_refused(vault, place(vault, "by-whom", who), 403, "role-required", "role")
        assert (row["operation"], row["detail"]) == ("change-legal-hold", "by-whom")
        row = assert_refused(vault, release(vault, "by-whom", who), 403, "role-required", "role")
        assert (row["operation"], row["detail"]) == ("release-legal-hold", "by-whom")

    def test_who_has_no_role_does_not_read_them(self, vault: VaultServer) -> None:
        for target in ("/admin/legal-holds", "/admin/legal-holds/routes", "/admin/legal-holds/routes/entries"):
            assert_refused(vault, vault.call("payments", "GET", target), 403, "role-required", "role")

    @pytest.mark.parametrize(
        "body",
        [
            {},
            CASE,
            {**CASE, "selector": {}},
            {**CASE, "selector": {"metadata": {}}},
            {**CASE, "selector": {"purpose": "Card"}},
            {**CASE, "selector": {"external_id": "a/b"}},
            {**CASE, "selector": {"owner_app": ""}},
            {**CASE, "selector": {"key_ref": "k"}},
            {**CASE, "selector": {"purpose": "card"}, "case_reference": "  "},
            {"reason": "r", "selector": {"purpose": "card"}},
            {**CASE, "selector": {"metadata": {"a": "x" * 9000}}},
            {**CASE, "selector": "card"},
        ],
        ids=repr,
    )
    def test_a_hold_that_says_too_little_is_422_and_named_in_its_row(self, vault: VaultServer, body: Any) -> None:
        answer = vault.call(ADMIN, "PUT", "/admin/legal-holds/unsound", json_body=body)
        assert answer.status == 422, answer
        assert answer.json["errors"]
        assert (vault.row(answer)["operation"], vault.row(answer)["detail"]) == ("change-legal-hold", "unsound")
        assert_problem(vault.call(ADMIN, "GET", "/admin/legal-holds/unsound"), 404, "hold-not-found")

    def test_changes_can_be_made_conditional(self, vault: VaultServer) -> None:
        assert place(vault, "conditional", headers={"If-None-Match": "*"}).status == 201
        assert_problem(place(vault, "conditional", headers={"If-None-Match": "*"}), 412, "precondition-failed")
        assert place(vault, "conditional", headers={"If-Match": '"7", "1"'}).status == 200
        for answer in (
            place(vault, "conditional", headers={"If-Match": '"1"'}),
            place(vault, "conditional", headers={"If-Match": 'W/"2"'}),
            release(vault, "conditional", headers={"If-Match": '"1"'}),
        ):
            assert_refused(vault, answer, 412, "precondition-failed", "precondition")
        assert_problem(release(vault, "conditional", headers={"If-Match": "2"}), 400, "invalid-header")
        assert release(vault, "conditional", headers={"If-Match": '"2"'}).status == 200

    def test_what_a_hold_keeps_is_listed_page_by_page_without_values(self, vault: VaultServer) -> None:
        for number in range(5):
            metadata = {"kept-list": number % 2 == 0}
            vault.stored("payments", f"card/kept-list-{number}", metadata=metadata)
        place(vault, "kept-list", metadata={"kept-list": True})
        target = "/admin/legal-holds/kept-list/entries"
        found, cursor = [], ""
        while cursor is not None:
            answer = vault.call("auditor", "GET", f"{target}?limit=2" + (f"&cursor={cursor}" if cursor else ""))
            assert answer.status == 200, answer
            found += answer.json["entries"]
            cursor = answer.json["next_cursor"]
        assert [(entry["external_id"], entry["state"], entry["metadata"]) for entry in found] == [
            (f"kept-list-{number}", "active", {"kept-list": True}) for number in (0, 2, 4)
        ]
        assert not any("encrypted_value" in entry for entry in found)
        assert vault.row(answer)["detail"] == "entries of kept-list"
        assert vault.call(ADMIN, "GET", f"{target}?state=expired").json == {"entries": [], "next_cursor": None}
        release(vault, "kept-list")
        assert vault.call(ADMIN, "GET", target).json == {"entries": [], "next_cursor": None}

    @pytest.mark.parametrize("query", ["state=purged", "state=", "limit=0", "cursor=x", "kind=x"])
    def test_a_list_that_cannot_be_is_refused(self, vault: VaultServer, query: str) -> None:
        answer = vault.call(ADMIN, "GET", f"/admin/legal-holds/routes/entries?{query}")
        assert_problem(answer, 422, "invalid-query")

    def test_a_cursor_of_one_holds_list_is_no_cursor_of_anothers(self, vault: VaultServer) -> None:
        for number in range(2):
            vault.stored("payments", f"card/cursor-of-{number}", metadata={"of": "cursors"})
        for name in ("cursor-of", "cursor-of-another"):
            place(vault, name, metadata={"of": "cursors"})
        answer = vault.call(ADMIN, "GET", "/admin/legal-holds/cursor-of/entries?limit=1")
        cursor = answer.json["next_cursor"]
        refused = vault.call(ADMIN, "GET", f"/admin/legal-holds/cursor-of-another/entries?cursor={cursor}")
        assert_problem(refused, 422, "invalid-query")
        for name in ("cursor-of", "cursor-of-another"):
            release(vault, name)

    def test_the_report_lists_what_is_held_and_since_when(self, vault: VaultServer) -> None:
        place(vault, "reported", owner_app="nobody")
        section = vault.call("auditor", "GET", "/compliance/report").json["legal_holds"]
        (hold,) = [hold for hold in section["holds"] if hold["name"] == "reported"]
        assert (hold["case_reference"], hold["selects_by"], hold["age_days"]) == (
            CASE["case_reference"], ["owner_app"], 0,
        )  # fmt: skip
        assert section["active"] == len(section["holds"])
        release(vault, "reported")
        section = vault.call("auditor", "GET", "/compliance/report").json["legal_holds"]
        assert "reported" not in [hold["name"] for hold in section["holds"]]


class TestKeeping:
    @pytest.mark.parametrize(
        "selector",
        [
            {"external_id": "kept"},
            {"owner_app": "archive"},
            {"metadata": {"case": 17}},
            {"purpose": "cold", "external_id": "kept", "owner_app": "archive", "metadata": {"case": 17, "kind": "x"}},
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("purpose", ["card", "cold", "aged"])
    def test_neither_delete_nor_put_reaches_what_is_held(
        self, vault: VaultServer, purpose: str, selector: dict[str, Any]
    ) -> None:
        selector = {**selector, "purpose": purpose} if "purpose" in selector else selector
        metadata = {"case": 17, "kind": "x"}
        vault.put("archive", f"{purpose}/kept", MARKER, metadata=metadata)
        place(vault, "keeping", **selector)
        try:
            refused = vault.delete("archive", f"{purpose}/kept")
            row = assert_refused(vault, refused, 423, "legal-hold", "legal_hold")
            assert row["detail"].startswith("held by keeping v")
            assert "keeping" not in refused.body.decode()
            assert_refused(vault, vault.put("archive", f"{purpose}/kept", "new"), 423, "legal-hold", "legal_hold")
            assert vault.get("archive", f"{purpose}/kept").json["encrypted_value"] == MARKER
            assert vault.put("archive", f"{purpose}/kept", MARKER, metadata=metadata).status == 200
            told = vault.delete(ADMIN, f"{purpose}/kept")
            assert (told.status, "keeping v" in told.json["detail"]) == (423, True)
        finally:
            release(vault, "keeping")

    def test_a_caller_that_may_not_purge_learns_of_no_hold(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/untold-hold", MARKER)
        place(vault, "untold", external_id="untold-hold")
        assert_problem(vault.delete("billing", "card/untold-hold"), 403, "access-denied")
        release(vault, "untold")
        assert vault.delete("payments", "card/untold-hold").status == 200

    def test_what_a_hold_stopped_goes_with_the_first_sweep_after_its_release(self, another_vault: Start) -> None:
        server = another_vault(settings="[purge]\nsweep_batch = 3\n")
        at = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        for number in range(10):
            who = "payments" if number % 2 else "billing"
            server.stored(who, f"card/{number}", MARKER, expires_at=at)
        place(server, "billing", owner_app="billing")
        time.sleep(1.1)
        dry = server.call(ADMIN, "POST", "/admin/purge/sweep?dry_run=true").json
        run = server.call(ADMIN, "POST", "/admin/purge/sweep").json
        assert (run["purged"], run["held"], run["failed"], run["completed"]) == (5, 5, 0, True)
        assert (dry["purged"], dry["held"]) == (5, 5)
        assert_problem(server.get("billing", "card/0"), 410, "expired")
        assert_problem(server.put("billing", "card/0", "over it"), 423, "legal-hold")
        report = server.call("auditor", "GET", "/compliance/report").json
        assert (report["legal_holds"]["held_at_last_sweep"], report["legal_holds"]["expired_held"]) == (5, 5)
        assert [(hold["name"], hold["expired_held"]) for hold in report["legal_holds"]["holds"]] == [("billing", 5)]
        figures = report["retention_and_purge"]["figures"]
        assert (figures["expired_not_purged"], figures["held"], figures["overdue"]) == (5, 5, 0)
        (listed,) = report["sweeps"]["figures"]["listed"]
        assert (listed["purged"], listed["held"], listed["failed"], listed["scrub"]) == (5, 5, 0, "scrubbed")
        expired = server.call("auditor", "GET", "/admin/legal-holds/billing/entries?state=expired").json["entries"]
        assert [entry["external_id"] for entry in expired] == ["0", "2", "4", "6", "8"]
        assert report["summary"]["expired_pending_purge"] == 5
        release(server, "billing")
        run = server.call(ADMIN, "POST", "/admin/purge/sweep").json
        assert (run["purged"], run["held"]) == (5, 0)
        assert len({row["entry_id"] for row in server.purge_rows("")}) == 10


def test_what_is_there_once_a_hold_was_answered_is_there_for_good(another_vault: Start) -> None:
    """Owners delete and replace, and sweeps run, from before the hold is placed until long after."""
    server = another_vault(settings="[purge]\nsweep_batch = 5\nsweep_pause_seconds = 0\n")
    names = [f"raced-{number}" for number in range(160)]
    at = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    in_parallel([lambda name=name: server.stored("payments", f"card/{name}", MARKER, expires_at=at) for name in names])
    live = [f"live-{number}" for number in range(120)]
    in_parallel([lambda name=name: server.stored("payments", f"card/{name}", MARKER) for name in live])
    time.sleep(max(0.0, (datetime.fromisoformat(at) - datetime.now(UTC)).total_seconds()))
    stop = threading.Event()
    swept: list[int] = []
    gone: dict[str, int] = {}

    def sweep() -> None:
        while not stop.is_set():
            answer = server.call(ADMIN, "POST", "/admin/purge/sweep")
            assert answer.status in {200, 409}, answer
            swept.append(answer.status)

    def destroy(mine: list[str], act: Callable[[str], Answer]) -> None:
        for name in mine:
            gone[name] = act(name).status

    threads = [
        threading.Thread(target=sweep),
        threading.Thread(target=destroy, args=(live[:60], lambda name: server.delete("payments", f"card/{name}"))),
        threading.Thread(target=destroy, args=(live[60:], lambda name: server.put("payments", f"card/{name}", "new"))),
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: len(server.purge_rows("")) >= 40)
    assert place(server, "raced", purpose="card").status == 201
    kept = stored_versions(server)
    threads[1].join()
    threads[2].join()
    eventually(lambda: len(swept) >= 3)
    stop.set()
    threads[0].join()
    assert kept
    assert stored_versions(server) == kept
    assert set(gone.values()) <= {200, 423}
    assert 423 in gone.values()
    purged = {(row["external_id"], row["entry_version"]) for row in server.purge_rows("")}
    assert purged.isdisjoint(kept)


def stored_versions(server: VaultServer) -> set[tuple[str, int]]:
    """Return what the storage has, past the vault."""
    found = server.query(
        sqlite="SELECT external_id, version FROM entries", postgresql="SELECT external_id, version FROM vault.entries"
    )
    return {(row[0], row[1]) for row in found}
