"""Credentials: one answer for all that is refused, a row with the reason, and nothing open but what is meant to be."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from hashlib import sha256

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.wire import Answer
from vsqlvault.errors import RoleRequired
from vsqlvault.http.authentication import where_credentials_belong
from vsqlvault.http.operation import Operation
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.interfaces.authenticator import Authenticator, Presented

Start = Callable[..., VaultServer]


REFUSED: dict[str, tuple[Callable[[VaultServer], list[tuple[str, str]]], str]] = {
    "nothing": (lambda _: [], "no_credential"),
    "an empty key": (lambda _: [("X-Vault-Key", "")], "malformed"),
    "a wrong key": (lambda _: [("X-Vault-Key", "vsk_" + "x" * 43)], "bad_key"),
    "a key cut short": (lambda vault: [("X-Vault-Key", vault.key("payments")[:-1])], "bad_key"),
    "a key with more": (lambda vault: [("X-Vault-Key", vault.key("payments") + "x")], "bad_key"),
    "a key in other case": (lambda vault: [("X-Vault-Key", vault.key("payments").swapcase())], "bad_key"),
    "a digest": (lambda vault: [("X-Vault-Key", sha256(vault.key("payments").encode()).hexdigest())], "bad_key"),
    "a key of 9 KiB": (lambda _: [("X-Vault-Key", "k" * 9216)], "malformed"),
    "a key that is not ASCII": (lambda _: [("X-Vault-Key", "\u00e9" * 20)], "malformed"),
    "an expired key": (lambda vault: [("X-Vault-Key", vault.key("expired"))], "expired"),
    "a key as bearer": (lambda vault: [("Authorization", f"Bearer {vault.key('payments')}")], "unknown_scheme"),
    "a basic authorization": (lambda _: [("Authorization", "Basic dmF1bHQtYWRtaW46eA==")], "unknown_scheme"),
    "a key under another name": (lambda vault: [("X-Api-Key", vault.key("payments"))], "no_credential"),
    "a key as cookie": (lambda vault: [("Cookie", f"X-Vault-Key={vault.key('payments')}")], "no_credential"),
    "a good key beside an unknown scheme": (
        lambda vault: [("X-Vault-Key", vault.key("payments")), ("Authorization", "Bearer x")],
        "unknown_scheme",
    ),
}
Headers = Callable[[VaultServer], list[tuple[str, str]]]


@pytest.mark.parametrize("headers", [make for make, _ in REFUSED.values()], ids=REFUSED.keys())
def test_a_credential_that_is_not_good_is_refused(vault: VaultServer, headers: Headers) -> None:
    answer = vault.call(None, "GET", "/vault/card/a", headers=headers(vault))
    assert_problem(answer, 401, "unauthenticated")
    assert answer.header("www-authenticate")


def test_each_refusal_is_counted_under_its_reason(another_vault: Start) -> None:
    server = another_vault()
    for make, _ in REFUSED.values():
        server.call(None, "GET", "/vault/card/a", headers=make(server))

    def counted() -> Counter[str]:
        rows = server.rows("operation=authenticate&outcome=denied")
        return sum((Counter({row["reason"]: row["count"]}) for row in rows), Counter())

    expected = Counter(reason for _, reason in REFUSED.values())
    eventually(lambda: counted() == expected, 4)


def test_whatever_is_wrong_with_a_credential_the_answer_is_the_same(vault: VaultServer) -> None:
    def without_id(answer: Answer) -> tuple[int, bytes, tuple[str, ...]]:
        headers = tuple(f"{name}={value}" for name, value in answer.headers if name not in {"x-request-id", "date"})
        return answer.status, answer.body.replace(answer.request_id.encode(), b""), headers

    answers = {
        without_id(vault.call(None, "GET", "/vault/card/a", headers=make(vault)))
        for make, reason in REFUSED.values()
        if reason != "no_credential"
    }
    assert len(answers) == 1


def test_the_detail_for_a_caller_without_a_credential_names_the_header_of_keys(vault: VaultServer) -> None:
    for name in ("nothing", "a key under another name", "a key as cookie"):
        answer = vault.call(None, "GET", "/vault/card/a", headers=REFUSED[name][0](vault))
        assert_problem(answer, 401, "unauthenticated")
        assert answer.json["detail"] == "send a credential in the header X-Vault-Key"
    assert "detail" not in vault.call(None, "GET", "/vault/card/a", headers=[("X-Vault-Key", "wrong")]).json


class Reading(Authenticator):
    """Reads one header, or none."""

    name = "reading"

    def __init__(self, *headers: str, is_used: bool = True) -> None:
        self.credential_headers = headers
        self._is_used = is_used

    def authenticate(self, presented: Presented) -> None:
        """See ``Authenticator.authenticate``."""

    @property
    def is_in_use(self) -> bool:
        """See ``Authenticator.is_in_use``."""
        return self._is_used


@pytest.mark.parametrize(
    ("authenticators", "sentence"),
    [
        ([Reading("x-vault-key", is_used=False)], "send a credential in the header X-Vault-Key"),
        (
            [Reading("authorization"), Reading("x-vault-key")],
            "send a credential in the header X-Vault-Key or Authorization",
        ),
        (
            [Reading("authorization", is_used=False), Reading("x-vault-key")],
            "send a credential in the header X-Vault-Key",
        ),
        ([Reading()], "present a client certificate"),
    ],
)
def test_the_sentence_names_the_headers_that_are_read(authenticators: list[Authenticator], sentence: str) -> None:
    assert where_credentials_belong(authenticators, "X-Vault-Key") == sentence


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/vault/card/a"),
        ("PUT", "/vault/card/a"),
        ("HEAD", "/vault/card/a"),
        ("DELETE", "/vault/card/a"),
        ("GET", "/vault/card"),
        ("PUT", "/admin/retention-policies/card"),
        ("GET", "/admin/retention-policies/card"),
        ("GET", "/admin/retention-policies"),
        ("PUT", "/admin/access-policies/x"),
        ("GET", "/admin/access-policies/x"),
        ("GET", "/admin/access-policies"),
        ("DELETE", "/admin/access-policies/x"),
        ("POST", "/admin/api-keys"),
        ("GET", "/admin/api-keys"),
        ("GET", "/admin/api-keys/sha256:000000000000"),
        ("DELETE", "/admin/api-keys/sha256:000000000000"),
        ("GET", "/admin/access-log"),
        ("GET", "/admin/purge-log"),
        ("POST", "/admin/purge/sweep"),
        ("GET", "/compliance/report"),
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/"),
        ("GET", "/none-such"),
    ],
)
def test_nothing_else_is_open(vault: VaultServer, method: str, target: str) -> None:
    assert vault.call(None, method, target).status == 401


def test_health_is_open_and_says_its_status_only(vault: VaultServer) -> None:
    assert vault.call(None, "GET", "/health").json == {"status": "ok"}


def test_metrics_are_open(vault: VaultServer) -> None:
    assert vault.call(None, "GET", "/metrics").status == 200


@pytest.mark.parametrize("target", ["/health", "/metrics"])
def test_head_is_as_open_as_get_and_has_no_body(vault: VaultServer, target: str) -> None:
    got, head = (vault.call(None, method, target) for method in ("GET", "HEAD"))
    assert (head.status, head.body) == (200, b"")
    assert head.header("content-type") == got.header("content-type")


def test_metrics_that_are_closed_are_closed_to_head(another_vault: Start) -> None:
    server = another_vault(settings="[metrics]\nrequire_auth = true\n")
    assert server.call(None, "HEAD", "/metrics").status == 401
    assert server.call("payments", "HEAD", "/metrics").status == 200


def test_metrics_can_be_closed(another_vault: Start) -> None:
    server = another_vault(settings="[metrics]\nrequire_auth = true\n")
    assert server.call(None, "GET", "/metrics").status == 401
    assert server.call("payments", "GET", "/metrics").status == 200


def test_an_expired_key_is_on_record_by_its_id(another_vault: Start) -> None:
    server = another_vault()
    server.call("expired", "GET", "/vault/card/a")
    (row,) = server.rows("reason=expired")
    digest = sha256(server.key("expired").encode()).hexdigest()
    assert row["credential_id"] == f"sha256:{digest[:12]}"
    assert row["app"] is None


def test_a_flood_of_bad_keys_is_counted_to_the_last_one_in_few_rows(another_vault: Start) -> None:
    server = another_vault()
    started = time.monotonic()
    for number in range(200):
        assert server.call(None, "GET", "/vault/card/a", headers={"X-Vault-Key": f"guess-{number}"}).status == 401
    seconds = time.monotonic() - started

    def rows() -> list[dict[str, int]]:
        return server.rows("operation=authenticate&reason=bad_key")

    eventually(lambda: sum(row["count"] for row in rows()) == 200, 4)
    assert len(rows()) <= seconds + 3


def test_a_counted_refusal_survives_a_stop(another_vault: Start) -> None:
    server = another_vault()
    for _ in range(20):
        server.call(None, "GET", "/vault/card/a")
    assert server.stop() == 0
    server.start()
    assert sum(row["count"] for row in server.rows("reason=no_credential")) == 20


ROLES = [
    ("GET", "/admin/access-log", {"payments", "payments-alice"}),
    ("GET", "/admin/purge-log", {"payments"}),
    ("GET", "/compliance/report", {"payments"}),
    ("GET", "/admin/access-policies", {"payments"}),
    ("GET", "/admin/access-policies/owner-only", {"payments"}),
    ("GET", "/admin/retention-policies", {"payments"}),
    ("GET", "/admin/retention-policies/card", {"payments"}),
    ("GET", "/admin/api-keys", {"payments"}),
    ("GET", "/admin/api-keys?limit=no-number", {"payments"}),
    ("GET", "/admin/api-keys/sha256:000000000000", {"payments"}),
    ("POST", "/admin/api-keys", {"payments", "auditor"}),
    ("DELETE", "/admin/api-keys/sha256:000000000000", {"payments", "auditor"}),
    ("DELETE", "/admin/access-policies/none-such", {"payments", "auditor"}),
    ("POST", "/admin/purge/sweep", {"payments", "auditor"}),
    ("POST", "/admin/purge/sweep?dry_run=true", {"payments", "auditor"}),
    ("PUT", "/admin/access-policies/none-such", {"payments", "auditor"}),
    ("PUT", "/admin/retention-policies/none-such", {"payments", "auditor"}),
]
OTHER_ROLES = [
    ("POST", "/admin/controls/sweep_ran/acknowledgements", {"payments", "auditor"}),
    ("POST", "/admin/access-policies/explain", {"payments"}),
    ("POST", "/admin/access-policies/none-such/replay", {"payments"}),
    ("PUT", "/admin/legal-holds/none-such", {"payments", "auditor"}),
    ("GET", "/admin/legal-holds/none-such", {"payments"}),
    ("GET", "/admin/legal-holds", {"payments"}),
    ("GET", "/admin/legal-holds/none-such/entries", {"payments"}),
    ("DELETE", "/admin/legal-holds/none-such", {"payments", "auditor"}),
    *(
        ("GET", f"/admin/{kind}/versions{rest}", {"payments"})
        for kind in ("access-policies/none-such", "retention-policies/card", "legal-holds/none-such")
        for rest in ("", "/1", "/1/diff")
    ),
    ("GET", "/admin/key-refs", {"payments"}),
    ("GET", "/audit/tile/entries/000.p/1", {"payments"}),
    ("GET", "/audit/proof/0", {"payments"}),
    ("GET", "/admin/purge-log/00000000000000000000000000000000/receipt", {"payments"}),
    ("POST", "/admin/access-reviews", {"payments", "auditor"}),
    ("GET", "/admin/access-reviews", {"payments"}),
    ("GET", "/admin/access-reviews/1", {"payments"}),
    ("POST", "/admin/attestations", {"payments", "auditor"}),
    ("GET", "/admin/attestations", {"payments"}),
    ("GET", "/admin/attestations/1", {"payments"}),
    ("GET", "/compliance/evidence", {"payments"}),
    ("GET", "/health/controls", {"payments"}),
]


@pytest.mark.parametrize(
    "operation",
    [each for each in OPERATIONS if RoleRequired in each.problems],
    ids=lambda each: f"{each.method} {each.path}",
)
def test_the_table_of_routes_that_need_a_role_is_complete(operation: Operation) -> None:
    path = re.compile(re.sub(r"\\\{(\w+)\\\}", r"[^?]+", re.escape(operation.path)) + r"(\?.*)?")
    assert any(method == operation.method and path.fullmatch(target) for method, target, _ in ROLES + OTHER_ROLES)


@pytest.mark.parametrize(
    ("method", "target", "who"), [(m, t, w) for m, t, all_ in ROLES + OTHER_ROLES for w in sorted(all_)]
)
def test_a_route_that_needs_a_role_is_refused_without_it_with_a_row(
    vault: VaultServer, method: str, target: str, who: str
) -> None:
    body = b'{"rules":{}}' if method == "PUT" else None
    answer = vault.call(who, method, target, body=body)
    assert_refused(vault, answer, 403, "role-required", "role")


@pytest.mark.parametrize(
    ("target", "status"),
    [(t, 200) for m, t, _ in ROLES if m == "GET" and not t.startswith("/admin/api-keys")]
    + [("/admin/access-policies/none-such", 404), ("/admin/api-keys", 200)]
    + [("/admin/api-keys/sha256:000000000000", 404)],
)
@pytest.mark.parametrize("who", ["auditor", "operator", ADMIN])
def test_an_admin_and_an_auditor_may_read_what_is_for_them(
    vault: VaultServer, target: str, status: int, who: str
) -> None:
    assert vault.call(who, "GET", target).status == status


def test_two_keys_of_one_app_are_one_app(vault: VaultServer) -> None:
    vault.stored("payments", "card/two-keys", MARKER)
    assert vault.get("payments-alice", "card/two-keys").status == 200


def test_the_identity_behind_a_key_is_on_record(vault: VaultServer) -> None:
    row = vault.row(vault.call("payments-alice", "HEAD", "/vault/card/none-such"))
    assert (row["app"], row["identity"], row["method"]) == ("payments", "alice", "api-key")


def test_a_row_names_the_credential_but_does_not_hold_it(vault: VaultServer) -> None:
    row = vault.row(vault.call("payments", "HEAD", "/vault/card/none-such"))
    digest = sha256(vault.key("payments").encode()).hexdigest()
    assert row["credential_id"] == f"sha256:{digest[:12]}"
    assert vault.key("payments") not in json.dumps(row)
