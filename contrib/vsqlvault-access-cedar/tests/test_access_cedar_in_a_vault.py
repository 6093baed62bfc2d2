from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from vsqlvault_access_cedar import hooks
from vsqlvault_access_cedar.compiled import compile_parameters

from vsqlvault.interfaces.writes import SaveAccessPolicy, Write
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.testing import RunningVault, VaultClient

WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
POLICY = "/admin/access-policies/payment-team"
ENTRY = "/vault/card/pay-1"


@pytest.fixture
def vsqlvault_plugins() -> Sequence[object]:
    return [hooks]


def put_policy(client: VaultClient, *policies: str, **members: Any) -> Any:
    document = {"evaluator": "cedar", "parameters": {"policies": list(policies), **members}}
    return client.request("PUT", POLICY, app="vault-admin", json=document)


def store(client: VaultClient, path: str = ENTRY, app: str = "payments", **fields: Any) -> int:
    body = {"encrypted_value": "vault:v1:ciphertext", "access_policy": "payment-team", **fields}
    return client.request("PUT", path, app=app, json=body).status


def reasons(client: VaultClient) -> list[tuple[str, str | None, int | None]]:
    """Return operation, reason and policy version of each denial, newest first."""
    rows = client.request("GET", "/admin/access-log?outcome=denied", app="auditor").json["rows"]
    return [(row["operation"], row["reason"], row["policy_version"]) for row in rows]


MINE = 'permit (principal == App::"payments", action, resource);'


def test_the_policy_of_the_readme_is_put_in_force(
    vsqlvault_client: VaultClient, readme_document: dict[str, Any]
) -> None:
    answer = vsqlvault_client.request("PUT", POLICY, app="vault-admin", json=readme_document)
    assert (answer.status, answer.json["evaluator"]) == (201, "cedar")
    assert store(vsqlvault_client, metadata={"region": "eu"}) == 201
    assert vsqlvault_client.request("GET", ENTRY).status == 200


def test_two_apps_get_what_the_policies_give_them(vsqlvault_client: VaultClient) -> None:
    shop = 'permit (principal == App::"shop", action == Action::"inspect", resource);'
    assert put_policy(vsqlvault_client, MINE, shop).status == 201
    assert store(vsqlvault_client) == 201
    assert vsqlvault_client.request("GET", ENTRY).status == 200
    assert vsqlvault_client.request("GET", ENTRY, app="shop").status == 403
    assert vsqlvault_client.request("HEAD", ENTRY, app="shop").status == 200
    assert [
        len(vsqlvault_client.request("GET", "/vault/card", app=app).json["entries"]) for app in ("payments", "shop")
    ] == [
        1,
        1,
    ]
    assert store(vsqlvault_client, app="shop") == 403
    assert vsqlvault_client.request("DELETE", ENTRY, app="shop").status == 403
    assert vsqlvault_client.request("DELETE", ENTRY, app="vault-admin").status == 403
    assert vsqlvault_client.request("DELETE", ENTRY).status == 200
    assert {reason for _, reason, _ in reasons(vsqlvault_client)} == {"no-permit"}


def test_the_id_of_the_policy_that_forbids_is_on_the_row(vsqlvault_client: VaultClient) -> None:
    assert put_policy(vsqlvault_client, MINE).status == 201
    store(vsqlvault_client, key_ref="k6")
    leaked = '@id("leaked-key") forbid (principal, action == Action::"retrieve", resource)'
    assert (
        put_policy(vsqlvault_client, MINE, leaked, 'when { resource has key_ref && resource.key_ref == "k6" };').status
        == 200
    )
    denied = vsqlvault_client.request("GET", ENTRY)
    assert (denied.status, denied.json["type"]) == (403, "urn:vsqlvault:problem:access-denied")
    assert "leaked" not in denied.body.decode()
    assert reasons(vsqlvault_client) == [("retrieve", "leaked-key", 2)]


def test_what_the_caller_may_not_inspect_is_not_in_the_list(vsqlvault_client: VaultClient) -> None:
    mine = "permit (principal, action, resource) when { resource.owner_app == principal.app };"
    eu = 'permit (principal, action, resource) when { resource.metadata has region && resource.metadata.region == "eu" };'
    assert put_policy(vsqlvault_client, mine, eu, metadata={"region": "String"}).status == 201
    for number, region in enumerate(["eu", "us", "eu"]):
        assert store(vsqlvault_client, f"/vault/card/pay-{number}", metadata={"region": region}) == 201
    listed = vsqlvault_client.request("GET", "/vault/card", app="shop").json["entries"]
    assert [entry["external_id"] for entry in listed] == ["pay-0", "pay-2"]


def test_a_limit_holds_however_many_ask_at_once(vsqlvault_vault: RunningVault, vsqlvault_client: VaultClient) -> None:
    assert put_policy(vsqlvault_client, f'@max_retrievals("3") {MINE}').status == 201
    store(vsqlvault_client)

    async def readers() -> list[int]:
        one = vsqlvault_client._answer  # noqa: SLF001 - the client itself asks one after the other
        headers = {"X-Vault-Key": "vsk_key-for-tests-of-payments"}
        return [
            answer.status for answer in await asyncio.gather(*(one("GET", ENTRY, dict(headers), {}) for _ in range(9)))
        ]

    assert sorted(vsqlvault_vault.run(readers())) == [200] * 3 + [403] * 6
    assert {reason for _, reason, _ in reasons(vsqlvault_client)} == {"max-retrievals-reached"}


def test_a_policy_that_fails_denies(vsqlvault_client: VaultClient) -> None:
    overflow = "when { 9223372036854775807 + resource.value_size > 0 };"
    guarded = f"forbid (principal, action, resource) when {{ resource has value_size }} {overflow}"
    assert put_policy(vsqlvault_client, MINE, guarded).status == 201
    assert store(vsqlvault_client) == 201
    assert vsqlvault_client.request("GET", ENTRY).status == 403
    assert reasons(vsqlvault_client) == [("retrieve", "policy-error", 1)]


def test_a_syntax_error_is_refused_with_its_place(vsqlvault_client: VaultClient) -> None:
    refused = put_policy(vsqlvault_client, MINE, "permit (principal, action resource);")
    assert refused.status == 422
    (error,) = refused.json["errors"]
    assert error == {"field": "parameters.policies", "expected": "line 2, column 27: Cedar policies that parse"}
    assert vsqlvault_client.request("GET", POLICY, app="auditor").status == 404


def test_a_new_version_decides_the_next_request(vsqlvault_client: VaultClient) -> None:
    put_policy(vsqlvault_client, MINE)
    store(vsqlvault_client)
    assert vsqlvault_client.request("GET", ENTRY).status == 200
    put_policy(vsqlvault_client, 'permit (principal == App::"shop", action, resource);')
    assert vsqlvault_client.request("GET", ENTRY).status == 403
    assert reasons(vsqlvault_client) == [("retrieve", "no-permit", 2)]


def test_hours_are_those_of_the_storages_clock(vsqlvault_client: VaultClient) -> None:
    today = WEEK[datetime.now(UTC).weekday()]
    another = WEEK[(datetime.now(UTC).weekday() + 3) % 7]
    for days, status in (([today, WEEK[(WEEK.index(today) + 1) % 7]], 200), ([another], 403)):
        unless = f"unless {{ {json.dumps(days)}.contains(context.local.weekday) }};"
        hours = f'forbid (principal, action == Action::"retrieve", resource) {unless}'
        assert put_policy(vsqlvault_client, MINE, hours).status in {200, 201}
        store(vsqlvault_client)
        assert vsqlvault_client.request("GET", ENTRY).status == status


# The most that a document can make Cedar do, within what the vault takes for parameters.
SLOW = {
    "wildcards": 'when {{ resource.metadata has m && resource.metadata.m like "{}" }};'.format("*a" * 3700 + "*b"),
    "comparisons": "when {{ {} }};".format("||".join(['resource has metadata&&resource.metadata=={m:"b"}'] * 140)),
    "sets": "when {{ [{}].containsAll([{}]) }};".format(",".join(map(str, range(800))), ",".join(map(str, range(800)))),
}


@pytest.mark.parametrize("condition", SLOW.values(), ids=SLOW)
def test_a_hostile_policy_is_refused_or_answers_within_the_deadline(
    vsqlvault_client: VaultClient, condition: str
) -> None:
    """The vault gives an evaluator two seconds, and its client a minute: a decision that is late is 503."""
    put = put_policy(
        vsqlvault_client, MINE, f"permit (principal, action, resource) {condition}", metadata={"m": "String"}
    )
    assert put.status in {201, 422}
    if put.status == 201:
        assert store(vsqlvault_client, metadata={"m": "a" * 1024}) == 201
        assert [vsqlvault_client.request(method, ENTRY).status for method in ("GET", "HEAD", "DELETE")] == [200] * 3


def test_a_stored_document_that_cannot_be_read_denies_everything(
    vsqlvault_vault: RunningVault, vsqlvault_client: VaultClient
) -> None:
    put_policy(vsqlvault_client, MINE)
    store(vsqlvault_client)
    unreadable = AccessPolicy("payment-team", 2, "cedar", {}, "{}", None, "till", datetime.now(UTC))
    vsqlvault_vault.run(vsqlvault_vault.vault.storage.commit([Write((), changes=(SaveAccessPolicy(unreadable),))]))
    compile_parameters.cache_clear()
    for method in ("GET", "HEAD", "DELETE"):
        assert vsqlvault_client.request(method, ENTRY).status == 503
    assert store(vsqlvault_client) == 503


def test_a_process_that_locks_itself_in_has_nothing_to_leave_open_for_it() -> None:
    assert hooks.vault_process_needs() == []
