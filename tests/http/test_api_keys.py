"""``/admin/api-keys`` over HTTP: shown once, in force at once, refused alike, and nowhere to be read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.wire import Answer

Start = Callable[..., VaultServer]
PATH = "/admin/api-keys"


def created(vault: VaultServer, **fields: Any) -> dict[str, Any]:
    answer = vault.call(ADMIN, "POST", PATH, json_body={"app": "minted", "purposes": ["card"], **fields})
    assert answer.status == 201, answer
    return dict(answer.json)


def with_key(vault: VaultServer, key: str, method: str = "GET", target: str = "/vault/card/none-such") -> Answer:
    return vault.call(None, method, target, headers={"X-Vault-Key": key})


def soon(**span: float) -> str:
    return (datetime.now(UTC) + timedelta(**span)).isoformat()


def test_a_key_is_shown_once_and_opens_what_it_grants(vault: VaultServer) -> None:
    answer = vault.call(ADMIN, "POST", PATH, json_body={"app": "minted", "purposes": ["card"], "identity": "jane"})
    document = answer.json
    digest = sha256(document["key"].encode()).hexdigest()
    assert (document["key_id"], document["credential_id"]) == (f"sha256-{digest[:12]}", f"sha256:{digest[:12]}")
    assert answer.header("location") == f"{PATH}/{document['key_id']}"
    assert answer.header("cache-control") == "no-store"
    row = vault.row(with_key(vault, document["key"]))
    assert (row["app"], row["identity"], row["credential_id"]) == ("minted", "jane", document["credential_id"])
    assert with_key(vault, document["key"], target="/vault/ach/none-such").status == 403


def test_what_is_read_afterwards_is_all_but_the_key(vault: VaultServer) -> None:
    document = created(vault, description="of the tests", expires_at="2099-01-01T00:00:00+01:00", roles=["auditor"])
    key = document.pop("key")
    assert document["expires_at"] == "2098-12-31T23:00:00Z"
    one = vault.call("auditor", "GET", f"{PATH}/{document['key_id']}")
    assert one.json == document
    listed = vault.call("auditor", "GET", f"{PATH}?limit=1000&app=minted").json["api_keys"]
    assert document in listed
    with_key(vault, key)
    seen = vault.call("operator", "GET", f"{PATH}/{document['key_id']}").json
    assert seen["last_used_at"] is not None


def test_the_key_and_its_digest_are_nowhere(another_vault: Start) -> None:
    server = another_vault()
    document = created(server, roles=["admin", "auditor"])
    key, digest = document["key"], sha256(document["key"].encode()).hexdigest()
    with_key(server, key)
    with_key(server, key, target=f"/vault/card/a?api_key={key}")
    server.call(ADMIN, "DELETE", f"{PATH}/{document['key_id']}")
    with_key(server, key)
    for target in ("/admin/access-log?limit=1000", PATH, "/compliance/report", "/metrics"):
        body = server.call(ADMIN, "GET", target).body.decode()
        assert document["credential_id"] in body or target in {"/compliance/report", "/metrics"}
        assert key not in body
        assert digest not in body
    assert server.stop() == 0
    server.assert_log_is_clean([key, digest])


def test_a_revoked_key_is_refused_at_the_next_request(vault: VaultServer) -> None:
    document = created(vault)
    assert with_key(vault, document["key"]).status == 404
    revoked = vault.call(ADMIN, "DELETE", f"{PATH}/{document['key_id']}").json
    assert (revoked["state"], revoked["revoked_by"], "warnings" in revoked) == ("revoked", ADMIN, False)
    assert_problem(with_key(vault, document["key"]), 401, "unauthenticated")
    eventually(lambda: vault.rows(f"reason=revoked&credential_id={document['credential_id']}"), 4)
    again = vault.call(ADMIN, "DELETE", f"{PATH}/{document['key_id']}")
    assert (again.status, again.json["revoked_at"]) == (200, revoked["revoked_at"])


def test_revoked_expired_and_unknown_keys_are_answered_alike(vault: VaultServer) -> None:
    revoked, expiring = created(vault), created(vault, expires_at=soon(seconds=1))
    vault.call(ADMIN, "DELETE", f"{PATH}/{revoked['key_id']}")
    eventually(lambda: with_key(vault, expiring["key"]).status == 401, 5)

    def without_id(answer: Answer) -> tuple[int, bytes, tuple[str, ...]]:
        headers = tuple(f"{name}={value}" for name, value in answer.headers if name not in {"x-request-id", "date"})
        return answer.status, answer.body.replace(answer.request_id.encode(), b""), headers

    keys = [revoked["key"], expiring["key"], "vsk_" + "x" * 43, vault.key("expired")]
    assert len({without_id(with_key(vault, key)) for key in keys}) == 1
    seen = vault.call(ADMIN, "GET", f"{PATH}/{expiring['key_id']}").json
    assert seen["state"] == "expired"
    eventually(lambda: vault.rows(f"reason=expired&credential_id={expiring['credential_id']}"), 4)


def test_revoking_the_own_key_gives_a_warning(vault: VaultServer) -> None:
    document = created(vault, roles=["admin"])
    answer = with_key(vault, document["key"], "DELETE", f"{PATH}/{document['key_id']}")
    assert answer.status == 200
    assert len(answer.json["warnings"]) == 1  # the operator's key, in the settings, is an admin's
    assert with_key(vault, document["key"]).status == 401


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"app": "@admin"}, "app"),
        ({"app": ""}, "app"),
        ({"app": None}, "app"),
        ({"app": "a" * 129}, "app"),
        ({"purposes": ["Card"]}, "purposes"),
        ({"purposes": ["*", "card"]}, "purposes"),
        ({"purposes": None}, "purposes"),
        ({"purposes": ["card"] * 1001}, "purposes"),
        ({"roles": ["root"]}, "roles[0]"),
        ({"roles": ["admin"] * 3}, "roles"),
        ({"identity": ""}, "identity"),
        ({"identity": "i" * 257}, "identity"),
        ({"description": "d" * 1025}, "description"),
        ({"expires_at": 4102444800}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"key": "vsk_mine"}, "key"),
        ({"key_sha256": "0" * 64}, "key_sha256"),
    ],
    ids=lambda value: json.dumps(value)[:40] if isinstance(value, dict) else "",
)
def test_a_body_that_is_not_fit_makes_no_key(vault: VaultServer, fields: dict[str, Any], field: str) -> None:
    body = {"app": "unfit", "purposes": ["card"], **fields}
    answer = vault.call(ADMIN, "POST", PATH, json_body=body)
    assert_problem(answer, 422, "validation-failed")
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert vault.row(answer)["operation"] == "create-api-key"
    assert not vault.call(ADMIN, "GET", f"{PATH}?app=unfit").json["api_keys"]


def test_a_time_without_an_offset_makes_no_key(vault: VaultServer) -> None:
    body = {"app": "unfit", "expires_at": "2099-01-01T00:00:00"}
    assert_problem(vault.call(ADMIN, "POST", PATH, json_body=body), 422, "invalid-time")


@pytest.mark.parametrize("form", ["key_id", "credential_id"])
def test_both_names_of_a_key_are_taken_in_a_path(vault: VaultServer, form: str) -> None:
    document = created(vault, app="named")
    assert vault.call(ADMIN, "GET", f"{PATH}/{document[form]}").json["key_id"] == document["key_id"]


def test_a_key_id_survives_percent_encoding(vault: VaultServer) -> None:
    key_id = created(vault, app="quoted")["key_id"]
    assert quote(key_id, safe="") == key_id


@pytest.mark.parametrize("key_id", ["sha256:00000000000", "sha256:00000000000G", "env:VSQL_VAULT_API_KEY", "minted"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_name_that_no_key_can_have_is_no_path(vault: VaultServer, method: str, key_id: str) -> None:
    assert_problem(vault.call(ADMIN, method, f"{PATH}/{key_id}"), 400, "invalid-path")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_key_that_is_not_there_is_not_found(vault: VaultServer, method: str) -> None:
    answer = vault.call(ADMIN, method, f"{PATH}/sha256:000000000000")
    assert_refused(vault, answer, 404, "api-key-not-found", "api_key_not_found")


def test_a_list_goes_on_by_cursor_and_keeps_its_filters(another_vault: Start) -> None:
    server = another_vault()
    ids = [created(server, app="listed")["key_id"] for _ in range(5)]
    created(server, app="other")
    found: list[str] = []
    target = f"{PATH}?app=listed&state=active&limit=2"
    while True:
        page = server.call("auditor", "GET", target).json
        found += [each["key_id"] for each in page["api_keys"]]
        if page["next_cursor"] is None:
            break
        target = f"{PATH}?cursor={page['next_cursor']}"
    assert found == ids


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "state=gone", "app=", "cursor=x", "nonsense=1"])
def test_a_query_that_is_not_fit_is_refused(vault: VaultServer, query: str) -> None:
    assert_problem(vault.call(ADMIN, "GET", f"{PATH}?{query}"), 422, "invalid-query")


def test_an_app_with_keys_in_both_places_rotates_without_a_gap(vault: VaultServer) -> None:
    vault.stored("payments", "card/rotating")
    old = created(vault, app="payments")
    assert with_key(vault, old["key"], target="/vault/card/rotating").status == 200
    new = created(vault, app="payments")
    vault.call(ADMIN, "DELETE", f"{PATH}/{old['key_id']}")
    assert with_key(vault, new["key"], target="/vault/card/rotating").status == 200
    assert vault.get("payments", "card/rotating").status == 200


def test_metrics_tell_how_many_and_how_old_and_name_nobody(another_vault: Start) -> None:
    server = another_vault()
    document = created(server, app="measured")
    server.call(ADMIN, "DELETE", f"{PATH}/{created(server, app='measured')['key_id']}")
    text = server.call(None, "GET", "/metrics").body.decode()
    assert f'vsqlvault_credentials{{method="api-key",state="active"}} {len(server.apps) + 1}.0' in text
    assert 'vsqlvault_credentials{method="api-key",state="revoked"} 1.0' in text
    assert 'vsqlvault_credentials{method="api-key",state="expired"} 1.0' in text
    assert 'vsqlvault_credential_oldest_seconds{method="api-key"} ' in text
    assert "measured" not in text
    assert document["credential_id"] not in text


def test_where_stored_keys_are_off_the_answer_says_so(another_vault: Start) -> None:
    server = another_vault(settings="[auth]\nstored_keys = false\n")
    answer = server.call(ADMIN, "POST", PATH, json_body={"app": "a"})
    assert_refused(server, answer, 409, "stored-keys-off", "stored_keys_off")
