"""Policies over HTTP: versions, comparisons, changes that are conditional; and a change that binds every process at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER, NewDatabase
from tests.support.server import ADMIN, VaultServer
from tests.support.wire import Answer

PURGE = {"allowed_apps": ["@owner"]}
OPEN = {"store": {}, "retrieve": {}, "purge": PURGE}
CLOSED = {"store": {}, "retrieve": {"allowed_apps": ["@owner"]}, "purge": PURGE}


def put(vault: VaultServer, name: str, rules: Any, headers: Any = ()) -> Answer:
    return vault.call(ADMIN, "PUT", f"/admin/access-policies/{name}", json_body={"rules": rules}, headers=headers)


class TestHistory:
    def test_an_access_policy_shows_what_it_was(self, vault: VaultServer) -> None:
        first = put(vault, "history", OPEN).json
        second = put(vault, "history", CLOSED).json
        path = "/admin/access-policies/history"
        vault.call(ADMIN, "DELETE", path)
        page = vault.call("auditor", "GET", f"{path}/versions").json
        assert [(version["version"], version["dropped"]) for version in page["versions"]] == [
            (3, True), (2, False), (1, False),
        ]  # fmt: skip
        assert page["next_before"] is None
        assert page["versions"][2] == {**first, "dropped": False}
        assert vault.call("auditor", "GET", f"{path}/versions/2").json == {**second, "dropped": False}
        diff = vault.call("auditor", "GET", f"{path}/versions/2/diff").json
        assert diff["changes"] == [{"path": "/rules/retrieve/allowed_apps", "old": None, "new": ["@owner"]}]
        assert (diff["from"]["version"], diff["to"]["version"], diff["to"]["created_by"]) == (1, 2, ADMIN)
        gone = vault.call("auditor", "GET", f"{path}/versions/3/diff?from=1").json["changes"]
        assert {"path": "/dropped", "old": False, "new": True} in gone
        assert {change["path"] for change in gone} >= {"/rules/retrieve", "/rules/store", "/evaluator"}

    def test_versions_come_in_pages(self, vault: VaultServer) -> None:
        for _ in range(3):
            put(vault, "paged", OPEN)
        path = "/admin/access-policies/paged/versions"
        first = vault.call(ADMIN, "GET", f"{path}?limit=2").json
        assert ([version["version"] for version in first["versions"]], first["next_before"]) == ([3, 2], 2)
        last = vault.call(ADMIN, "GET", f"{path}?limit=2&before={first['next_before']}").json
        assert ([version["version"] for version in last["versions"]], last["next_before"]) == ([1], None)

    def test_a_retention_policy_and_a_hold_show_theirs(self, vault: VaultServer) -> None:
        vault.retention("history")
        vault.retention("history", days=30, ttl=7)
        path = "/admin/retention-policies/history/versions"
        assert [version["max_retention_days"] for version in vault.call("auditor", "GET", path).json["versions"]] == [
            30, 365,
        ]  # fmt: skip
        changes = vault.call("auditor", "GET", f"{path}/2/diff").json["changes"]
        assert changes == [
            {"path": "/default_ttl_days", "old": 90, "new": 7},
            {"path": "/max_retention_days", "old": 365, "new": 30},
        ]
        hold = {"case_reference": "17", "reason": "r", "selector": {"external_id": "nothing-is-called-so"}}
        vault.call(ADMIN, "PUT", "/admin/legal-holds/history", json_body=hold)
        vault.call(ADMIN, "DELETE", "/admin/legal-holds/history")
        page = vault.call("auditor", "GET", "/admin/legal-holds/history/versions").json["versions"]
        assert [(version["version"], version["state"]) for version in page] == [(2, "released"), (1, "active")]
        assert vault.call("auditor", "GET", "/admin/legal-holds/history/versions/1").json["state"] == "active"
        assert len(vault.call("auditor", "GET", "/admin/legal-holds/history/versions/2/diff").json["changes"]) == 3

    @pytest.mark.parametrize(
        ("target", "status", "slug"),
        [
            ("/admin/access-policies/history-absent/versions", 404, "policy-not-found"),
            ("/admin/access-policies/owner-only/versions/2", 404, "policy-not-found"),
            ("/admin/retention-policies/history-absent/versions/1/diff", 404, "policy-not-found"),
            ("/admin/legal-holds/history-absent/versions/1", 404, "hold-not-found"),
            ("/admin/access-policies/owner-only/versions/0", 400, "invalid-path"),
            ("/admin/access-policies/owner-only/versions/1x", 400, "invalid-path"),
            ("/admin/access-policies/owner-only/versions/999999999999999999", 404, "policy-not-found"),
            ("/admin/access-policies/owner-only/versions/1/diff?from=0", 422, "invalid-query"),
            ("/admin/access-policies/owner-only/versions/1/diff?from_version=1", 422, "invalid-query"),
            ("/admin/access-policies/owner-only/versions?before=x", 422, "invalid-query"),
        ],
    )
    def test_what_is_not_there_is_said_plainly(self, vault: VaultServer, target: str, status: int, slug: str) -> None:
        assert_problem(vault.call("auditor", "GET", target), status, slug)

    def test_who_has_no_role_sees_nothing(self, vault: VaultServer) -> None:
        for target in ("versions", "versions/1", "versions/1/diff"):
            answer = vault.call("payments", "GET", f"/admin/access-policies/owner-only/{target}")
            assert_refused(vault, answer, 403, "role-required", "role")


class TestConditionalChanges:
    def test_a_tag_names_the_version_in_force(self, vault: VaultServer) -> None:
        assert put(vault, "tagged", OPEN).header("etag") == '"1"'
        assert put(vault, "tagged", OPEN).header("etag") == '"2"'
        assert vault.call(ADMIN, "GET", "/admin/access-policies/tagged").header("etag") == '"2"'
        assert vault.call(ADMIN, "GET", "/admin/retention-policies/card").header("etag") == '"1"'

    def test_a_change_made_from_an_older_version_is_refused(self, vault: VaultServer) -> None:
        put(vault, "guarded", OPEN)
        assert put(vault, "guarded", CLOSED, {"If-Match": '"1"'}).status == 200
        assert_refused(
            vault, put(vault, "guarded", OPEN, {"If-Match": '"1"'}), 412, "precondition-failed", "precondition"
        )
        drop = vault.call(ADMIN, "DELETE", "/admin/access-policies/guarded", headers={"If-Match": '"1"'})
        assert_refused(vault, drop, 412, "precondition-failed", "precondition")
        assert vault.call(ADMIN, "GET", "/admin/access-policies/guarded").json["version"] == 2
        drop = vault.call(ADMIN, "DELETE", "/admin/access-policies/guarded", headers={"If-Match": '"2"'})
        assert drop.status == 200

    def test_a_first_version_can_be_asked_for(self, vault: VaultServer) -> None:
        assert put(vault, "created", OPEN, {"If-None-Match": "*"}).status == 201
        assert_problem(put(vault, "created", OPEN, {"If-None-Match": "*"}), 412, "precondition-failed")
        assert_problem(put(vault, "not-created", OPEN, {"If-Match": "*"}), 412, "precondition-failed")
        policy = {"max_retention_days": 9, "purge_method": "physical-delete"}
        answer = vault.call(
            ADMIN, "PUT", "/admin/retention-policies/card", json_body=policy, headers={"If-None-Match": "*"}
        )
        assert_refused(vault, answer, 412, "precondition-failed", "precondition")

    def test_a_change_can_be_refused_while_a_version_is_in_force(self, vault: VaultServer) -> None:
        put(vault, "unless", OPEN)
        assert_problem(put(vault, "unless", CLOSED, {"If-None-Match": '"7", W/"1"'}), 412, "precondition-failed")
        assert put(vault, "unless", CLOSED, {"If-None-Match": '"2"'}).status == 200

    @pytest.mark.parametrize("header", [{"If-Match": "1"}, {"If-None-Match": '"1'}], ids=repr)
    def test_what_is_no_tag_is_400_and_changes_nothing(self, vault: VaultServer, header: dict[str, str]) -> None:
        answer = put(vault, "no-tag", OPEN, header)
        assert_problem(answer, 400, "invalid-header")
        assert vault.row(answer)["detail"] == "no-tag"
        assert_problem(vault.call(ADMIN, "GET", "/admin/access-policies/no-tag"), 404, "policy-not-found")


class TestTwoProcesses:
    """Both serve one storage, and know nothing of each other."""

    @pytest.fixture(scope="class")
    @classmethod
    def two(
        cls, tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase
    ) -> Iterator[tuple[VaultServer, VaultServer]]:
        directory = tmp_path_factory.mktemp("two")
        url = new_database(directory)
        servers = []
        for name in ("one", "other"):
            (directory / name).mkdir()
            server = VaultServer(directory / name, database_url=url)
            if servers:
                server.apps = servers[0].apps
                server.write_config()
            servers.append(server)
        try:
            for server in servers:
                server.start()
            servers[0].retention("card")
            yield servers[0], servers[1]
            assert [server.stop() for server in servers] == [0, 0]
        finally:
            for server in servers:
                server.kill()

    @pytest.mark.parametrize("change", ["stricter", "without its rule", "shorter", "held"])
    def test_a_rule_binds_every_request_that_starts_after_its_answer(
        self, two: tuple[VaultServer, VaultServer], change: str
    ) -> None:
        one, other = two
        in_ten_days = (datetime.now(UTC) + timedelta(days=10)).isoformat()
        changes: dict[str, tuple[Callable[[str], Any], Callable[[str], Answer], int]] = {
            "stricter": (lambda name: put(one, name, CLOSED), lambda name: other.get("billing", f"card/{name}"), 403),
            "without its rule": (
                lambda name: put(one, name, {"store": {}}),
                lambda name: other.get("payments", f"card/{name}"),
                403,
            ),
            "shorter": (
                lambda name: one.call(
                    ADMIN,
                    "PUT",
                    "/admin/retention-policies/card",
                    json_body={"max_retention_days": 2, "purge_method": "physical-delete"},
                ),
                lambda name: other.put("payments", f"card/{name}", "longer", expires_at=in_ten_days),
                422,
            ),
            "held": (
                lambda name: one.call(
                    ADMIN,
                    "PUT",
                    f"/admin/legal-holds/{name}",
                    json_body={"case_reference": "17", "reason": "r", "selector": {"external_id": name}},
                ),
                lambda name: other.delete("payments", f"card/{name}"),
                423,
            ),
        }
        act, ask, status = changes[change]
        for number in range(15):
            name = f"{change.replace(' ', '-')}-{number}"
            one.retention("card")
            put(one, name, OPEN)
            one.stored("payments", f"card/{name}", MARKER, access_policy=name)
            assert other.get("billing", f"card/{name}").status == 200
            assert act(name).status in {200, 201}
            assert ask(name).status == status
