"""A marker in every input: it may turn up only where echoing it is meant."""

from __future__ import annotations

import json

import pytest

from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.wire import Answer

SECRETS = {
    name: f"canary-{name}-9c41"
    for name in (
        "key", "bearer", "cookie", "agent", "accept", "header", "type", "match", "value", "hint", "metadata", "broken",
        "text", "wrong", "policy", "query", "unknown", "refused", "old",
    )
}  # fmt: skip
"""What may stand nowhere but in the entry itself, each named after where it was sent."""


@pytest.fixture(scope="module")
def answers(vault: VaultServer) -> list[Answer]:
    """Send every marker, and return all answers but those that give an entry to its owner."""
    s = SECRETS
    entry = {
        "encrypted_value": s["value"],
        "algorithm_hint": s["hint"],
        "metadata": {s["metadata"]: s["metadata"]},
    }
    vault.stored("payments", "card/canary", s["old"])
    stored = vault.call("payments", "PUT", "/vault/card/canary", json_body=entry)
    assert stored.status == 200
    common = {"User-Agent": s["agent"], "Cookie": f"a={s['cookie']}", "X-Extra": s["header"]}
    sent = [
        vault.call(None, "GET", "/vault/card/canary", headers={"X-Vault-Key": s["key"], **common}),
        vault.call(None, "GET", "/vault/card/canary", headers={"Authorization": f"Bearer {s['bearer']}", **common}),
        vault.get("billing", "card/canary"),
        vault.call("auditor", "GET", "/admin/access-log", headers={"Accept": s["accept"], **common}),
        vault.call("payments", "PUT", "/vault/card/canary-2", body=b"{}", headers={"Content-Type": s["type"]}),
        vault.call("payments", "PUT", "/vault/card/canary-2", body=b"{}", headers={"If-Match": s["match"]}),
        vault.call("payments", "PUT", "/vault/card/canary-2", body=f'{{"{s["broken"]}'.encode()),
        vault.put("payments", "card/canary-2", s["text"] + "\u0000"),
        vault.put("payments", "card/canary-2", "v", key_ref=[s["wrong"]]),
        vault.put("payments", "card/canary-2", "v", access_policy=s["policy"].upper()),
        vault.put("payments", "card/canary-2", s["refused"], expires_at="2020-01-01T00:00:00Z"),
        vault.call("auditor", "GET", f"/admin/access-log?reason={s['query']}&limit=1"),
        vault.call("payments", "GET", f"/vault/card?colour={s['unknown']}"),
        vault.call("payments", "GET", f"/vault/card/canary?api_key={vault.key('billing')}"),
        vault.call(None, "GET", f"/health?token={vault.key('billing')}"),
        vault.call("payments", "HEAD", "/vault/card/canary"),
        vault.call("billing", "GET", "/vault/card?limit=1000"),
        vault.call("payments", "DELETE", "/vault/card/canary"),
        vault.call(ADMIN, "GET", "/compliance/report"),
    ]
    assert {answer.status for answer in sent} >= {200, 400, 401, 403, 406, 415, 422}
    eventually(lambda: vault.rows("operation=authenticate&reason=bad_key"), 3)
    return sent


def found_in(text: str, vault: VaultServer) -> list[str]:
    return [secret for secret in (*SECRETS.values(), *vault.keys()) if secret in text]


def test_no_answer_repeats_what_was_sent(vault: VaultServer, answers: list[Answer]) -> None:
    assert [found for answer in answers for found in found_in(answer.body.decode(), vault)] == []


def test_no_answers_header_repeats_what_was_sent(vault: VaultServer, answers: list[Answer]) -> None:
    assert [found for answer in answers for found in found_in(str(answer.headers), vault)] == []


@pytest.mark.usefixtures("answers")
class TestWhatIsKept:
    def test_no_log_line_has_it(self, vault: VaultServer) -> None:
        assert found_in("\n".join(vault.log_lines()), vault) == []

    def test_no_metric_has_it(self, vault: VaultServer) -> None:
        assert found_in(vault.call(None, "GET", "/metrics").body.decode(), vault) == []

    def test_no_row_of_the_access_log_has_it(self, vault: VaultServer) -> None:
        assert found_in(json.dumps(vault.rows("")), vault) == []

    def test_no_row_of_the_purge_log_has_it(self, vault: VaultServer) -> None:
        assert found_in(json.dumps(vault.purge_rows("")), vault) == []

    def test_no_file_has_a_key(self, vault: VaultServer) -> None:
        keys = vault.keys()
        for path in vault.directory.iterdir():
            content = path.read_bytes()
            assert not [key for key in keys if key.encode() in content], path.name

    @pytest.mark.parametrize(
        "name", ["value", "old", "metadata", "refused", "text", "broken", "wrong", "bearer", "cookie"]
    )
    def test_after_the_purge_no_file_has_it(self, vault: VaultServer, name: str) -> None:
        """The value replaced and the value purged are gone from the file and from what waits beside it."""

        def left() -> list[str]:
            return [path.name for path in vault.directory.iterdir() if SECRETS[name].encode() in path.read_bytes()]

        eventually(lambda: not left())
