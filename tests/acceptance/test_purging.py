"""The end of entries: three methods, a proof that a stranger recomputes, replacement, expiry and the sweep."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER, NewDatabase, served
from tests.support.proof import recomputed_proof
from tests.support.server import ADMIN, VaultServer
from tests.support.together import together

Start = Callable[..., VaultServer]
METHODS = {"card": "physical-delete", "cold": "crypto-shred", "aged": "retention-expire"}
SECONDS = 1.2


def soon(seconds: float = SECONDS) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


@pytest.mark.parametrize("purpose", METHODS)
class TestAnyMethod:
    def test_the_answer_is_the_purge_record(self, vault: VaultServer, purpose: str) -> None:
        entry = vault.stored("archive", f"{purpose}/receipt", MARKER, key_ref="k7")
        record = vault.delete("archive", f"{purpose}/receipt").json
        expected = {
            "purpose": purpose,
            "external_id": "receipt",
            "entry_id": entry["entry_id"],
            "entry_version": 1,
            "method": METHODS[purpose],
            "reason": "requested",
            "value_size": len(MARKER),
            "key_ref": "k7",
            "owner_app": "archive",
            "app": "archive",
        }
        assert {name: record[name] for name in expected} == expected
        assert {"id", "proof_hash", "purged_at"} <= set(record)

    def test_the_record_is_the_row_of_the_purge_log(self, vault: VaultServer, purpose: str) -> None:
        vault.stored("archive", f"{purpose}/logged", MARKER)
        record = vault.delete("archive", f"{purpose}/logged").json
        assert vault.purge_rows(f"purge_id={record['id']}") == [record]

    def test_the_proof_is_recomputed_from_what_the_owner_kept(self, vault: VaultServer, purpose: str) -> None:
        vault.stored(
            "archive",
            f"{purpose}/proven",
            f"{MARKER} \u20ac\n",
            key_ref="akv:key-7",
            algorithm_hint="AES-256-GCM",
            metadata={"b": [1, None, True], "a": {"\u00fc": "\u20ac"}},
        )
        kept = vault.get("archive", f"{purpose}/proven").json
        assert vault.delete("archive", f"{purpose}/proven").json["proof_hash"] == recomputed_proof(kept)

    def test_the_proof_is_over_the_bytes_that_base64_stands_for(self, vault: VaultServer, purpose: str) -> None:
        value = base64.b64encode(bytes(range(256))).decode()
        vault.stored("archive", f"{purpose}/proven-bytes", value, encoding="base64")
        kept = vault.get("archive", f"{purpose}/proven-bytes").json
        assert vault.delete("archive", f"{purpose}/proven-bytes").json["proof_hash"] == recomputed_proof(kept)

    def test_the_purge_is_on_record_under_the_same_request(self, vault: VaultServer, purpose: str) -> None:
        vault.stored("archive", f"{purpose}/on-record", MARKER)
        answer = vault.delete("archive", f"{purpose}/on-record")
        assert answer.json["request_id"] == answer.request_id
        assert (vault.row(answer)["operation"], vault.row(answer)["outcome"]) == ("purge", "granted")

    def test_a_refused_purge_purges_nothing(self, vault: VaultServer, purpose: str) -> None:
        vault.stored("archive", f"{purpose}/refused", MARKER)
        assert_problem(vault.delete("payments", f"{purpose}/refused"), 403, "access-denied")
        assert vault.get("archive", f"{purpose}/refused").status == 200
        assert vault.purge_rows(f"purpose={purpose}&external_id=refused") == []


@pytest.mark.parametrize("purpose", ["card", "aged"])
class TestAfterARemoval:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    def test_it_is_not_found(self, vault: VaultServer, purpose: str, method: str) -> None:
        vault.stored("archive", f"{purpose}/removed-{method}", MARKER)
        vault.delete("archive", f"{purpose}/removed-{method}")
        answer = vault.call("archive", method, f"/vault/{purpose}/removed-{method}")
        assert answer.status == 404
        assert vault.row(answer)["reason"] == "not_found"

    def test_the_id_can_be_used_again_by_anyone(self, vault: VaultServer, purpose: str) -> None:
        first = vault.stored("archive", f"{purpose}/reused", MARKER)
        vault.delete("archive", f"{purpose}/reused")
        second = vault.stored(ADMIN, f"{purpose}/reused", MARKER)
        assert (second["version"], second["owner_app"]) == (1, ADMIN)
        assert second["entry_id"] != first["entry_id"]

    def test_it_is_purged_once(self, vault: VaultServer, purpose: str) -> None:
        vault.stored("archive", f"{purpose}/once", MARKER)
        vault.delete("archive", f"{purpose}/once")
        vault.delete("archive", f"{purpose}/once")
        assert len(vault.purge_rows(f"purpose={purpose}&external_id=once")) == 1


class TestAfterAShredding:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    def test_it_is_gone(self, vault: VaultServer, method: str) -> None:
        vault.stored("archive", f"cold/shredded-{method}", MARKER)
        vault.delete("archive", f"cold/shredded-{method}")
        answer = vault.call("archive", method, f"/vault/cold/shredded-{method}")
        assert answer.status == 410
        assert vault.row(answer)["reason"] == "purged"

    @pytest.mark.parametrize("who", ["archive", ADMIN])
    def test_the_id_is_retired_for_every_caller(self, vault: VaultServer, who: str) -> None:
        vault.stored(who, f"cold/retired-{who}", MARKER)
        vault.delete(who, f"cold/retired-{who}")
        answer = vault.put(who, f"cold/retired-{who}", "new")
        assert_refused(vault, answer, 409, "id-retired", "id_retired")

    def test_other_callers_get_no_hint(self, vault: VaultServer) -> None:
        vault.stored("archive", "cold/untold", MARKER)
        vault.delete("archive", "cold/untold")
        assert_problem(vault.get("payments", "cold/untold"), 403, "access-denied")

    def test_the_value_is_zeros_of_the_same_length_where_it_stood(self, vault: VaultServer) -> None:
        vault.stored("archive", "cold/zeroed", MARKER)
        vault.delete("archive", "cold/zeroed")
        ((found,),) = vault.query(
            sqlite="SELECT encrypted_value FROM entries WHERE external_id = 'zeroed'",
            postgresql="SELECT encrypted_value FROM vault.entries WHERE external_id = 'zeroed'",
        )
        assert bytes(found) == bytes(len(MARKER))

    def test_it_is_listed_as_purged(self, vault: VaultServer) -> None:
        vault.stored("archive", "cold/listed", MARKER, key_ref="listed-purged")
        vault.delete("archive", "cold/listed")
        page = vault.call("archive", "GET", "/vault/cold?state=purged&key_ref=listed-purged").json
        (entry,) = page["entries"]
        assert (entry["external_id"], entry["state"], entry["purge_method"]) == ("listed", "purged", "crypto-shred")


class TestReplacing:
    def test_a_replaced_version_is_a_purged_version(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/replaced-1", MARKER)
        kept = vault.get("payments", "card/replaced-1").json
        answer = vault.put("payments", "card/replaced-1", "second")
        (row,) = vault.purge_rows("external_id=replaced-1")
        assert (row["reason"], row["entry_version"], row["request_id"]) == ("replaced", 1, answer.request_id)
        assert row["proof_hash"] == recomputed_proof(kept)

    def test_every_version_has_its_row(self, vault: VaultServer) -> None:
        kept = []
        for number in range(4):
            vault.put("payments", "card/replaced-2", f"{MARKER}-{number}")
            kept.append(vault.get("payments", "card/replaced-2").json)
        rows = vault.purge_rows("external_id=replaced-2")
        assert [(row["entry_version"], row["proof_hash"]) for row in rows] == [
            (entry["version"], recomputed_proof(entry)) for entry in kept[:-1]
        ]

    def test_the_next_version_keeps_id_owner_and_creation(self, vault: VaultServer) -> None:
        first = vault.stored("payments", "card/replaced-3", MARKER)
        second = vault.put("payments", "card/replaced-3", "second").json
        same = ("entry_id", "owner_app", "created_at")
        assert [second[name] for name in same] == [first[name] for name in same]
        assert second["version"] == 2

    def test_the_same_again_is_no_new_version(self, vault: VaultServer) -> None:
        fields = {"key_ref": "k", "metadata": {"b": 1, "a": 2}, "algorithm_hint": "x"}
        first = vault.put("payments", "card/same", MARKER, **fields)
        again = vault.put("payments", "card/same", MARKER, **{**fields, "metadata": {"a": 2, "b": 1}})
        assert (again.status, again.header("etag")) == (200, first.header("etag"))
        assert vault.purge_rows("external_id=same") == []

    def test_the_same_again_is_on_record(self, vault: VaultServer) -> None:
        vault.put("payments", "card/same-2", MARKER)
        row = vault.row(vault.put("payments", "card/same-2", MARKER))
        assert (row["operation"], row["outcome"], row["status"]) == ("store", "granted", 200)

    @pytest.mark.parametrize("field", ["key_ref", "algorithm_hint"])
    def test_what_describes_the_value_changes_only_with_it(self, vault: VaultServer, field: str) -> None:
        vault.put("payments", f"card/described-{field}", MARKER, **{field: "old"})
        answer = vault.put("payments", f"card/described-{field}", MARKER, **{field: "new"})
        assert_refused(vault, answer, 422, "key-ref-without-value", "key_ref_without_value")

    def test_what_describes_the_value_changes_with_it(self, vault: VaultServer) -> None:
        vault.put("payments", "card/rekeyed", MARKER, key_ref="v6")
        assert vault.put("payments", "card/rekeyed", "rekeyed", key_ref="v7").json["key_ref"] == "v7"

    def test_replacing_does_not_outlive_the_maximum_from_the_first_day(self, vault: VaultServer) -> None:
        first = vault.stored("payments", "card/not-longer", MARKER)
        limit = datetime.fromisoformat(first["created_at"]) + timedelta(days=365)
        answer = vault.put("payments", "card/not-longer", "2", expires_at=(limit + timedelta(seconds=1)).isoformat())
        assert_problem(answer, 422, "retention-exceeded")
        answer = vault.put("payments", "card/not-longer", "2", expires_at=limit.isoformat())
        assert answer.status == 200


def expired(vault: VaultServer, *others: str) -> dict[str, Any]:
    """Store an entry of each purpose, and others; read each while it may be read, and wait until none may."""
    kept = {}
    for purpose in METHODS:
        vault.stored("archive", f"{purpose}/expiring", MARKER, expires_at=soon(), key_ref="expiring")
        kept[purpose] = vault.get("archive", f"{purpose}/expiring")
    for target in others:
        vault.stored("archive", target, MARKER, expires_at=soon())
    assert all(answer.status == 200 for answer in kept.values())
    time.sleep(SECONDS)
    return {purpose: answer.json for purpose, answer in kept.items()}


class TestExpiry:
    """Entries of each purpose that have expired, in a vault of which nothing is swept."""

    @pytest.fixture(scope="class")
    @classmethod
    def unswept(cls, tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[VaultServer]:
        directory = tmp_path_factory.mktemp("unswept")
        for server in served(directory, new_database(directory)):
            expired(server, "card/expiring-2")
            yield server

    @pytest.mark.parametrize("purpose", METHODS)
    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
    def test_it_is_gone_at_once(self, unswept: VaultServer, purpose: str, method: str) -> None:
        answer = unswept.call("archive", method, f"/vault/{purpose}/expiring")
        assert answer.status == 410
        assert unswept.row(answer)["reason"] == "expired"

    def test_its_refusal_says_so(self, unswept: VaultServer) -> None:
        assert_problem(unswept.get("archive", "card/expiring"), 410, "expired")

    def test_other_callers_get_no_hint(self, unswept: VaultServer) -> None:
        assert_problem(unswept.get("payments", "card/expiring"), 403, "access-denied")

    @pytest.mark.parametrize(("query", "there"), [("", False), ("state=active", False), ("state=expired", True)])
    def test_it_is_listed_as_expired(self, unswept: VaultServer, query: str, there: bool) -> None:
        page = unswept.call("archive", "GET", f"/vault/card?key_ref=expiring{'&' + query if query else ''}").json
        assert [entry["external_id"] for entry in page["entries"]] == (["expiring"] if there else [])

    def test_a_dry_run_counts_it_and_writes_nothing(self, unswept: VaultServer) -> None:
        before = unswept.purge_rows("")
        run = unswept.call(ADMIN, "POST", "/admin/purge/sweep?dry_run=true").json
        assert run["dry_run"] is True
        assert {purpose: run["by_purpose"].get(purpose, 0) > 0 for purpose in METHODS} == dict.fromkeys(METHODS, True)
        assert unswept.purge_rows("") == before
        assert_problem(unswept.get("archive", "card/expiring"), 410, "expired")

    def test_storing_over_it_purges_it_and_creates_a_new_entry(self, unswept: VaultServer) -> None:
        answer = unswept.put("archive", "card/expiring-2", "new")
        assert (answer.status, answer.json["version"]) == (201, 1)
        (row,) = unswept.purge_rows("external_id=expiring-2")
        assert row["reason"] == "expired"
        assert row["entry_id"] != answer.json["entry_id"]

    def test_an_expired_id_that_is_to_be_retired_is_not_stored_over(self, unswept: VaultServer) -> None:
        assert_problem(unswept.put("archive", "cold/expiring", "new"), 409, "id-retired")


class TestSweep:
    """Entries of each purpose that have expired, and a sweep."""

    @pytest.fixture(scope="class")
    @classmethod
    def kept(cls, vault: VaultServer) -> dict[str, Any]:
        """Return the entries as they were while they might be read."""
        vault.stored("archive", "card/living", MARKER)
        return expired(vault)

    @pytest.fixture(scope="class")
    @classmethod
    def swept(cls, vault: VaultServer, kept: Any) -> Any:
        answer = vault.call(ADMIN, "POST", "/admin/purge/sweep")
        assert answer.status == 200, answer
        return answer.json

    def test_the_sweep_counts_what_it_purged(self, vault: VaultServer, swept: Any) -> None:
        assert swept["dry_run"] is False
        assert swept["failed"] == 0
        assert swept["purged"] == sum(swept["by_purpose"].values()) >= 3

    @pytest.mark.parametrize("purpose", METHODS)
    def test_each_entry_swept_has_one_row_with_proof(
        self, vault: VaultServer, kept: Any, swept: Any, purpose: str
    ) -> None:
        (row,) = vault.purge_rows(f"purpose={purpose}&external_id=expiring")
        assert (row["method"], row["proof_hash"]) == (METHODS[purpose], recomputed_proof(kept[purpose]))

    @pytest.mark.parametrize(
        ("purpose", "reason"), [("card", "expired"), ("cold", "expired"), ("aged", "retention-policy")]
    )
    def test_the_row_says_why_and_by_which_policy(
        self, vault: VaultServer, swept: Any, purpose: str, reason: str
    ) -> None:
        (row,) = vault.purge_rows(f"purpose={purpose}&external_id=expiring")
        assert (row["reason"], row["policy_reference"]) == (reason, f"{purpose} v1")

    @pytest.mark.parametrize(
        ("purpose", "status", "slug"), [("card", 404, "not-found"), ("cold", 410, "purged"), ("aged", 404, "not-found")]
    )
    def test_afterwards_it_is_as_after_any_purge(
        self, vault: VaultServer, swept: Any, purpose: str, status: int, slug: str
    ) -> None:
        assert_problem(vault.get("archive", f"{purpose}/expiring"), status, slug)

    def test_each_entry_swept_is_on_record_as_purged(self, vault: VaultServer, swept: Any) -> None:
        rows = vault.rows("purpose=card&external_id=expiring&operation=purge&outcome=granted")
        assert [row["app"] for row in rows] == [ADMIN]

    def test_what_lives_is_left_alone(self, vault: VaultServer, swept: Any) -> None:
        assert vault.get("archive", "card/living").status == 200

    def test_sweeping_again_purges_nothing_twice(self, vault: VaultServer, swept: Any) -> None:
        vault.call(ADMIN, "POST", "/admin/purge/sweep")
        assert len(vault.purge_rows("purpose=card&external_id=expiring")) == 1


def age(server: VaultServer, days: int) -> None:
    """Make every entry as old as if it had been stored some days ago; the server is down while that is done."""
    assert server.stop() == 0
    server.query(
        sqlite=f"UPDATE entries SET created_at = created_at - {days * 86_400_000_000}",
        postgresql=f"UPDATE vault.entries SET created_at = created_at - interval '{days} days'",
    )
    server.start()


class TestAShorterPolicy:
    def test_it_ends_what_is_older_at_once(self, another_vault: Start) -> None:
        server = another_vault()
        server.stored("payments", "card/a", MARKER)
        age(server, 10)
        assert server.get("payments", "card/a").status == 200
        server.retention("card", days=9, ttl=9)
        assert_problem(server.get("payments", "card/a"), 410, "expired")

    def test_it_shows_in_the_expiry_that_counts(self, another_vault: Start) -> None:
        server = another_vault()
        entry = server.stored("payments", "card/a", MARKER)
        server.retention("card", days=2, ttl=1)
        until = datetime.fromisoformat(entry["created_at"]) + timedelta(days=2)
        head = server.call("payments", "HEAD", "/vault/card/a").header("x-vault-expires-at")
        assert datetime.fromisoformat(str(head)) == until

    def test_the_sweep_purges_by_it(self, another_vault: Start) -> None:
        server = another_vault()
        server.stored("payments", "card/a", MARKER)
        age(server, 10)
        server.retention("card", days=9, ttl=9)
        assert server.call(ADMIN, "POST", "/admin/purge/sweep").json["purged"] == 1
        (row,) = server.purge_rows("")
        assert row["policy_reference"] == "card v2"

    def test_what_it_would_end_is_said_before_and_when_it_is_put_in_force(self, another_vault: Start) -> None:
        server = another_vault()
        old = server.stored("payments", "card/a", MARKER)
        server.stored("payments", "card/b", MARKER, expires_at=soon(3600))
        age(server, 10)
        young = server.stored("payments", "card/c", MARKER)
        path, policy = "/admin/retention-policies/card", {"max_retention_days": 9, "purge_method": "physical-delete"}
        seen = server.call(ADMIN, "PUT", f"{path}?dry_run=true", json_body=policy)
        assert (seen.status, seen.json["version"], seen.json["dry_run"], seen.header("etag")) == (200, 2, True, None)
        effect = seen.json["effect"]
        created_at = datetime.fromisoformat(effect.pop("oldest_created_at"))
        assert created_at == datetime.fromisoformat(old["created_at"]) - timedelta(days=10)
        assert effect == {"expired_at_once": 2, "revived": 0, "effective_expiry_changed": 3}
        assert server.row(seen)["operation"] == "preview-retention-policy"
        assert server.call(ADMIN, "GET", path).json["version"] == 1
        assert server.get("payments", "card/a").status == 200
        done = server.call(ADMIN, "PUT", path, json_body=policy)
        assert (done.json["effect"]["expired_at_once"], done.header("etag")) == (2, '"2"')
        row = server.row(done)
        assert (row["operation"], row["detail"]) == (
            "change-retention-policy", "effective_expiry_changed 3, expired_at_once 2, revived 0",
        )  # fmt: skip
        assert_problem(server.get("payments", "card/a"), 410, "expired")
        assert server.get("payments", "card/c").json["entry_id"] == young["entry_id"]

    def test_what_is_younger_lives_on(self, another_vault: Start) -> None:
        server = another_vault()
        server.stored("payments", "card/a", MARKER)
        server.retention("card", days=1, ttl=1)
        assert server.get("payments", "card/a").status == 200


def test_a_sweep_of_many_batches_purges_all(another_vault: Start) -> None:
    server = another_vault(settings="[purge]\nsweep_batch = 3\n")
    for number in range(10):
        server.stored("payments", f"card/{number}", MARKER)
    age(server, 10)
    server.retention("card", days=9, ttl=9)
    run = server.call(ADMIN, "POST", "/admin/purge/sweep").json
    assert run["purged"] == 10
    assert len({row["proof_hash"] for row in server.purge_rows("")}) == 10


def test_two_sweeps_at_once_purge_each_entry_once(another_vault: Start) -> None:
    server = another_vault(settings="[purge]\nsweep_batch = 5\n")
    for number in range(60):
        server.stored("payments", f"card/{number}", MARKER)
    age(server, 10)
    server.retention("card", days=9, ttl=9)
    answers = together(*[lambda: server.call(ADMIN, "POST", "/admin/purge/sweep")] * 4)
    assert {answer.status for answer in answers} <= {200, 409}
    assert sum(answer.json["purged"] for answer in answers if answer.status == 200) == 60
    assert len(server.purge_rows("")) == 60
