"""The transparency log over HTTP: what a stranger with the verifier key can make of it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER, NewDatabase, served
from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint, read_proof
from vsqlvault.proof.note import SigningKey, VerifierKey
from vsqlvault.proof.receipt import check_receipt
from vsqlvault.proof.tiles import format_path, keys_of, read_bundle, width_of
from vsqlvault.proof.tree import GrowingTree, check_consistency, check_inclusion, leaf_hash

ORIGIN = "vault.example/audit"
KEY, NEXT = SigningKey(ORIGIN, b"\x01" * 32), SigningKey(ORIGIN, b"\x02" * 32)
CERTAIN = 8.0


def key_file(directory: Path, key: SigningKey, name: str) -> str:
    path = directory / name
    path.write_text(key.reveal(), "utf-8")
    path.chmod(0o600)
    return f'"{path}"'


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[VaultServer]:
    directory = tmp_path_factory.mktemp("transparency")
    settings = f"[audit]\nsigning_key_file = {key_file(directory, KEY, 'signing.key')}\n"
    settings += "checkpoint_interval_seconds = 0.2\n"
    yield from served(directory, new_database(directory), settings)


def head_of(vault: VaultServer, key: SigningKey = KEY) -> TreeHead:
    answer = eventually(
        lambda: a if (a := vault.call("auditor", "GET", "/audit/checkpoint")).status == 200 else None, CERTAIN
    )
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    return open_checkpoint(answer.body.decode(), [key.verifier])


def covering(vault: VaultServer, size: int) -> TreeHead:
    """Return the first checkpoint that has at least ``size`` leaves."""
    return eventually(lambda: head if (head := head_of(vault)).size >= size else None, CERTAIN)


def rows_until_now(vault: VaultServer) -> int:
    """Return how many leaves the rows of both logs are: other tests of the vault purge, too."""
    return len(vault.rows("")) + len(vault.purge_rows(""))


def leaves_of(vault: VaultServer, size: int) -> list[bytes]:
    """Fetch every entry as a client of any tiled log does."""
    found: list[bytes] = []
    for key in keys_of(size):
        if key.level == 0:
            width = width_of(key, size)
            answer = vault.call("auditor", "GET", f"/audit/tile/entries/{format_path(key.index, width)}")
            assert answer.status == 200, answer
            assert answer.header("content-type") == "application/octet-stream"
            bundle = read_bundle(answer.body)
            assert len(bundle) == width
            found += bundle
    return found


class TestTree:
    def test_who_fetches_every_entry_comes_to_the_signed_root(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/leaf", MARKER)
        vault.get("payments", "card/leaf")
        head = covering(vault, rows_until_now(vault))  # and so both of the entry
        tree = GrowingTree()
        leaves = leaves_of(vault, head.size)
        for leaf in leaves:
            tree.append(leaf_hash(leaf))
        assert tree.root() == head.root
        rows = [json.loads(leaf)["access"] for leaf in leaves if leaf.startswith(b'{"access":')]
        assert [row["operation"] for row in rows if row.get("external_id") == "leaf"] == ["store", "retrieve"]
        assert MARKER.encode() not in b"".join(leaves)

    def test_every_row_that_was_answered_is_a_leaf_once_and_as_it_is_shown(self, vault: VaultServer) -> None:
        shown = [{name: value for name, value in row.items() if value is not None} for row in vault.rows("")]
        head = covering(vault, rows_until_now(vault))
        leaves = [json.loads(leaf) for leaf in leaves_of(vault, head.size)]
        access = [leaf["access"] for leaf in leaves if "access" in leaf]
        assert [row for row in access if row in shown] == shown[: len(access)]
        purges = [{name: value for name, value in row.items() if value is not None} for row in vault.purge_rows("")]
        assert [leaf["purge"] for leaf in leaves if "purge" in leaf] == purges

    def test_the_tiles_are_those_of_the_signed_tree(self, vault: VaultServer) -> None:
        head = covering(vault, 300) if head_of(vault).size >= 300 else self._grown(vault)
        hashes = b"".join(leaf_hash(leaf) for leaf in leaves_of(vault, head.size))
        for key in keys_of(head.size):
            width = width_of(key, head.size)
            answer = vault.call("auditor", "GET", f"/audit/tile/{key.level}/{format_path(key.index, width)}")
            assert (answer.status, len(answer.body)) == (200, 32 * width)
            if key.level == 0:
                assert answer.body == hashes[key.index * 8192 : key.index * 8192 + 32 * width]

    def _grown(self, vault: VaultServer) -> TreeHead:
        while head_of(vault).size < 300:
            for _ in range(50):
                vault.get("payments", "card/none-such")
        return head_of(vault)

    def test_a_proof_of_inclusion_is_one_of_the_entry(self, vault: VaultServer) -> None:
        size = head_of(vault).size
        leaves = leaves_of(vault, size)
        for index in (0, size // 2, size - 1):
            answer = vault.call("auditor", "GET", f"/audit/proof/{index}")
            assert answer.status == 200, answer
            found, hashes, checkpoint = read_proof(answer.body.decode())
            head = open_checkpoint(checkpoint, [KEY.verifier])
            assert found == index
            check_inclusion(index, head.size, leaf_hash(leaves[index]), hashes, head.root)

    def test_each_checkpoint_is_how_a_later_one_begins(self, vault: VaultServer) -> None:
        first = head_of(vault)
        vault.get("payments", "card/none-such")
        second = covering(vault, first.size + 1)
        answer = vault.call("auditor", "GET", f"/audit/consistency?from={first.size}&to={second.size}")
        assert (answer.status, answer.json["from"], answer.json["to"]) == (200, first.size, second.size)
        proof = [base64.b64decode(one) for one in answer.json["proof"]]
        check_consistency(first.size, second.size, first.root, second.root, proof)

    def test_a_row_is_under_a_signed_checkpoint_within_seconds(self, vault: VaultServer) -> None:
        before = time.monotonic()
        covering(vault, head_of(vault).size + 1)
        assert time.monotonic() - before < CERTAIN

    def test_the_key_is_published(self, vault: VaultServer) -> None:
        answer = vault.call("payments", "GET", "/audit/vkey")
        assert VerifierKey.parse(answer.body.decode()) == KEY.verifier

    def test_reading_it_leaves_rows(self, vault: VaultServer) -> None:
        answer = vault.call("auditor", "GET", "/audit/tile/entries/000.p/1")
        row = vault.row(answer)
        assert (row["operation"], row["outcome"], row["detail"]) == (
            "read-transparency-log",
            "granted",
            "entries 0 of 1",
        )


class TestRefusals:
    @pytest.mark.parametrize("target", ["tile/entries/000.p/1", "proof/0"])
    def test_entries_are_for_admins_and_auditors(self, vault: VaultServer, target: str) -> None:
        covering(vault, 2)
        answer = vault.call("payments", "GET", f"/audit/{target}")
        assert_problem(answer, 403, "role-required")
        assert vault.row(answer)["outcome"] == "denied"
        assert vault.call(ADMIN, "GET", f"/audit/{target}").status == 200

    @pytest.mark.parametrize("target", ["checkpoint", "vkey", "tile/0/000.p/1", "consistency?from=1&to=2"])
    def test_every_authenticated_caller_may_read_hashes(self, vault: VaultServer, target: str) -> None:
        covering(vault, 2)
        assert vault.call("payments", "GET", f"/audit/{target}").status == 200
        assert_problem(vault.call(None, "GET", f"/audit/{target}"), 401, "unauthenticated")

    @pytest.mark.parametrize(
        "target",
        ["tile/0/999", "tile/9/000", "tile/63/000.p/1", "tile/entries/999", "tile/entries/x999/x999/x999/x999/x999/999",
         "tile/0/x999/x999/x999/x999/x999/999", "tile/0/x000/000", "tile/0/000.p/256", "proof/999999999999999999",
         "consistency?from=2&to=1", "consistency?from=0&to=999999999999999999"],
    )  # fmt: skip
    def test_what_is_not_in_the_tree_is_404(self, vault: VaultServer, target: str) -> None:
        covering(vault, 2)
        assert_problem(vault.call("auditor", "GET", f"/audit/{target}"), 404, "not-in-tree")

    @pytest.mark.parametrize(
        "target",
        ["tile/64/000", "tile/00/000", "tile/0/0", "tile/0/0000", "tile/0/000.p/", "tile/0/000.p/0", "tile/0/x000",
         "tile/-1/000", "tile/entries/1", "proof/-1", "proof/01", "proof/1e3", "proof/9999999999999999999"],
    )  # fmt: skip
    def test_what_is_called_wrongly_is_400(self, vault: VaultServer, target: str) -> None:
        assert_problem(vault.call("auditor", "GET", f"/audit/{target}"), 400, "invalid-path")

    @pytest.mark.parametrize(
        "query", ["", "?from=1", "?from=-1&to=2", "?from=1&to=2&more=3", "?from=a&to=b", "?from=1&to=2.0"]
    )
    def test_sizes_are_numbers(self, vault: VaultServer, query: str) -> None:
        assert_problem(vault.call("auditor", "GET", f"/audit/consistency{query}"), 422, "invalid-query")


class TestReceipts:
    def test_a_purge_has_a_receipt_that_stands_by_itself(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/gone", MARKER)
        purged = vault.delete("payments", "card/gone").json
        target = f"/admin/purge-log/{purged['id']}/receipt"
        answer = eventually(lambda: a if (a := vault.call("auditor", "GET", target)).status != 503 else None, CERTAIN)
        shown = check_receipt(answer.json, [KEY.verifier])
        assert shown.row == {name: value for name, value in purged.items() if value is not None}
        assert answer.json["entry_hash"] == purged["proof_hash"]
        assert "until the next scrub" in answer.json["not_reached"][0]
        assert "copies kept by clients" in answer.json["not_reached"]
        assert vault.row(answer)["detail"] == purged["id"]

    @pytest.mark.parametrize("prefer", ["wait", "wait=8", 'respond-async, wait="8"'])
    def test_who_prefers_to_wait_has_it_in_the_answer_to_delete(self, vault: VaultServer, prefer: str) -> None:
        vault.stored("payments", "card/waited", MARKER)
        answer = vault.call("payments", "DELETE", "/vault/card/waited", headers={"Prefer": prefer})
        assert answer.status == 200, answer
        assert answer.header("preference-applied") in {"wait=5", "wait=8"}
        receipt = answer.json.pop("receipt")
        shown = check_receipt(receipt, [KEY.verifier])
        assert shown.row["id"] == answer.json["id"]

    def test_who_does_not_wait_long_enough_has_the_record_alone(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/hasty", MARKER)
        answer = vault.call("payments", "DELETE", "/vault/card/hasty", headers={"Prefer": "wait=0"})
        assert (answer.status, answer.json["receipt"]) == (200, None)
        assert answer.header("preference-applied") is None

    def test_who_does_not_ask_has_no_receipt(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/plain", MARKER)
        answer = vault.call("payments", "DELETE", "/vault/card/plain", headers={"Prefer": "waiting, return=minimal"})
        assert "receipt" not in answer.json

    def test_a_purge_that_never_was_has_none(self, vault: VaultServer) -> None:
        target = f"/admin/purge-log/{'0' * 32}/receipt"
        assert_problem(vault.call("auditor", "GET", target), 404, "purge-not-found")
        assert_problem(vault.call("payments", "GET", target), 403, "role-required")
        assert_problem(vault.call("auditor", "GET", "/admin/purge-log/nonsense/receipt"), 400, "invalid-path")


class TestKeys:
    def test_a_receipt_from_before_a_roll_and_a_restart_still_holds(
        self, another_vault: Callable[..., VaultServer], tmp_path: Path
    ) -> None:
        first, second = key_file(tmp_path, KEY, "first.key"), key_file(tmp_path, NEXT, "second.key")
        vault = another_vault(settings=f"[audit]\nsigning_key_file = {first}\n")
        vault.stored("payments", "card/old", MARKER)
        old = vault.call("payments", "DELETE", "/vault/card/old", headers={"Prefer": "wait"}).json
        assert vault.stop() == 0
        vault.settings = f"[audit]\nsigning_key_file = {second}\nprevious_signing_key_file = {first}\n"
        vault.write_config()
        vault.start()
        vault.stored("payments", "card/new", MARKER)
        new = vault.call("payments", "DELETE", "/vault/card/new", headers={"Prefer": "wait"}).json
        shown = check_receipt(old["receipt"], [KEY.verifier])
        later = check_receipt(new["receipt"], [NEXT.verifier])
        (roll,) = vault.rows("operation=rotate-signing-key")
        assert str(NEXT.verifier) in roll["new_value"]
        answer = vault.call("auditor", "GET", f"/audit/consistency?from={shown.head.size}&to={later.head.size}")
        proof = [base64.b64decode(one) for one in answer.json["proof"]]
        check_consistency(shown.head.size, later.head.size, shown.head.root, later.head.root, proof)
        again = vault.call("auditor", "GET", f"/admin/purge-log/{old['id']}/receipt").json
        assert check_receipt(again, [NEXT.verifier]).row == shown.row

    def test_without_a_key_there_is_a_tree_and_no_checkpoint(self, another_vault: Callable[..., VaultServer]) -> None:
        vault = another_vault(is_signed=False)
        vault.stored("payments", "card/unsigned", MARKER)
        answer = vault.call("payments", "DELETE", "/vault/card/unsigned", headers={"Prefer": "wait"})
        assert (answer.status, answer.json["receipt"]) == (200, None)
        for target in ("/audit/checkpoint", "/audit/vkey", "/audit/proof/0"):
            assert_problem(vault.call("auditor", "GET", target), 404, "nothing-signed")
        eventually(lambda: vault.call("auditor", "GET", "/audit/tile/0/000.p/1").status == 200, CERTAIN)


def test_documents_are_json(vault: VaultServer) -> None:
    described: dict[str, Any] = vault.call(ADMIN, "GET", "/openapi.json").json
    (parameters,) = [described["paths"]["/audit/consistency"]["get"]["parameters"]]
    assert [(each["name"], each["required"]) for each in parameters] == [("from", True), ("to", True)]
