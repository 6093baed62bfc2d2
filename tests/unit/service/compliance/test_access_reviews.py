"""Reviews of access by people: signed rows, and what the report shows of them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.fixtures import SIGNING_KEY
from vsqlvault.errors import AccessReviewNotFound, RoleRequired, ValidationFailed
from vsqlvault.model.access import Action
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time
from vsqlvault.proof.attestation import digest_of
from vsqlvault.proof.note import SigningKey
from vsqlvault.service.compliance.access_reviews import ReviewRequest
from vsqlvault.service.credentials.api_keys import ApiKeyRequest
from vsqlvault.testing import a_call, a_retention_policy, an_access_policy

STATEMENT = "all grants are needed"


@pytest.fixture
def scene(runner: asyncio.Runner, signed: Callable[..., Awaitable[Any]]) -> Any:
    return runner.run(signed())


def a_person(scene: Any) -> Any:
    return a_call("vault-admin", identity="jane", roles=frozenset({Role.ADMIN}))


async def review(scene: Any, call: Any = None, **fields: Any) -> Any:
    request = ReviewRequest(**{"statement": STATEMENT} | fields)
    return await scene.vault.compliance.access_reviews.review(call or a_person(scene), request)


async def section(scene: Any, name: str = "access_review", **later: int) -> dict[str, Any]:
    scene.clock.advance(**later or {"seconds": 1})
    member: dict[str, Any] = (await scene.vault.compliance.report.write(scene.admin))[name]
    return member


def findings(member: dict[str, Any]) -> list[str]:
    return [each["what"] for each in member["exceptions"]["listed"]]


async def test_a_review_is_a_row_with_the_digest_of_the_document(scene) -> None:
    await scene.store("rev-1")
    made = await review(scene, purpose="card")
    (row,) = await scene.access_rows(operation="review-access")
    assert (row.detail, row.status, row.identity) == ("card", 201, "jane")
    assert json.loads(row.new_value or "") == {"number": 1, "sha256": digest_of(made.document)}
    document = json.loads(made.document)
    assert (document["statement"], document["reviewed_by"]["identity"]) == (STATEMENT, "jane")
    assert (document["due_at"], document["at"]) == (format_time(made.due_at), format_time(row.at))


async def test_a_review_counts_who_may_and_who_did(scene) -> None:
    await scene.store("rev-2")
    scene.clock.advance(seconds=1)
    (of,) = json.loads((await review(scene, purpose="card")).document)["purposes"]
    assert (of["purpose"], of["may"] > 0, of["did"]) == ("card", True, 1)


async def test_reviews_form_a_chain(scene) -> None:
    first, second = await review(scene), await review(scene)
    assert (first.number, second.number) == (1, 2)
    assert json.loads(second.document)["previous_sha256"] == digest_of(first.document)


async def test_a_second_review_covers_the_uses_since_the_first(scene) -> None:
    first = await review(scene)
    scene.clock.advance(days=200)
    second = json.loads((await review(scene)).document)
    assert second["period"]["since"] == format_time(first.at)


async def test_only_an_admin_reviews_and_an_auditor_reads(scene) -> None:
    auditor = a_call("auditor", roles=frozenset({Role.AUDITOR}))
    for call in (a_call("payments"), auditor):
        with pytest.raises(RoleRequired):
            await review(scene, call)
    made = await review(scene)
    reviews = scene.vault.compliance.access_reviews
    assert list(await reviews.reviews(auditor, None, 9)) == [made]
    assert await reviews.one(auditor, 1) == made
    with pytest.raises(AccessReviewNotFound):
        await reviews.one(auditor, 2)
    with pytest.raises(RoleRequired):
        await reviews.one(a_call("payments"), 1)


async def test_an_unknown_purpose_is_refused_and_is_a_row(scene) -> None:
    with pytest.raises(ValidationFailed):
        await review(scene, purpose="no-such-purpose")
    (row,) = await scene.access_rows(operation="review-access")
    assert (row.outcome.value, row.detail) == ("denied", "no-such-purpose")


async def test_a_digest_of_another_list_is_refused(scene) -> None:
    await scene.store("rev-3")
    figures = (await section(scene))["figures"]
    mine, of_all = figures["by_purpose"]["card"]["may_sha256"], figures["may_sha256"]
    await review(scene, purpose="card", may_sha256=mine)
    await review(scene, may_sha256=of_all)
    with pytest.raises(ValidationFailed):
        await review(scene, purpose="card", may_sha256=of_all)


async def test_an_account_that_was_added_after_the_list_was_read_is_another_list(scene) -> None:
    await scene.store("rev-12")
    of_all = (await section(scene))["figures"]["may_sha256"]
    await scene.vault.credentials.api_keys.create(
        scene.admin, ApiKeyRequest(app="rev-auditor", roles=frozenset({Role.AUDITOR}))
    )
    with pytest.raises(ValidationFailed):
        await review(scene, may_sha256=of_all)


async def test_the_report_supports_a_reviewed_access(scene) -> None:
    await scene.store("rev-4")
    assert (await section(scene))["result"] == "not_assessed"
    made = await review(scene)
    member = await section(scene)
    assert findings(member) == []
    assert (member["result"], member["figures"]["purposes_reviewed"]) == ("supports", 1)
    of = member["figures"]["by_purpose"]["card"]
    assert (of["reviewed_by"], of["reviewed_at"], of["review_due_at"], of["review_number"]) == (
        "jane",
        format_time(made.at),
        format_time(made.due_at),
        1,
    )


async def test_an_overdue_review_is_an_exception(scene) -> None:
    await scene.store("rev-5")
    await review(scene, interval_days=30)
    assert "the next review of access is overdue" not in findings(await section(scene, days=29))
    assert "the next review of access is overdue" in findings(await section(scene, days=2))


async def test_a_later_change_of_who_may_access_is_an_exception(scene) -> None:
    rules = {Action.STORE: Rule(), Action.RETRIEVE: Rule(allowed_apps=frozenset({"tellers"}))}
    save = scene.vault.rules.policies.save_access_policy
    await save(scene.admin, an_access_policy("rev-policy", rules=rules))
    await scene.store("rev-6", access_policy="rev-policy")
    await review(scene)
    changed = "who may access has changed since the review"
    assert changed not in findings(await section(scene))
    rules[Action.RETRIEVE] = Rule(allowed_apps=frozenset({"tellers", "batch"}))
    await save(scene.admin, an_access_policy("rev-policy", rules=rules))
    assert changed in findings(await section(scene))
    await review(scene)
    assert changed not in findings(await section(scene))


async def test_another_use_of_the_same_access_is_no_change(scene) -> None:
    await scene.store("rev-7")
    await review(scene)
    await scene.store("rev-8")
    assert findings(await section(scene)) == []


async def test_a_review_without_a_person_is_an_exception(scene) -> None:
    await scene.store("rev-9")
    await review(scene, a_call("vault-admin", identity=None, roles=frozenset({Role.ADMIN})))
    what = "the review of access names no person: a credential without an identity made it"
    assert findings(await section(scene)) == [what]


async def test_a_purpose_that_a_review_left_out_is_an_exception(scene) -> None:
    await scene.store("rev-10")
    await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy("pan-reviewed"))
    await review(scene, purpose="card")
    found = (await section(scene))["exceptions"]["listed"]
    assert found == [{"purpose": "pan-reviewed", "what": "access was never reviewed"}]


async def test_accounts_with_a_role_are_reviewed_with_all_purposes(scene) -> None:
    await review(scene, purpose="card")
    assert (await section(scene, "user_accounts"))["result"] == "not_assessed"
    await review(scene)
    member = await section(scene, "user_accounts")
    assert member["figures"]["review_number"] == 2


async def test_the_report_of_an_earlier_instant_does_not_know_a_later_review(scene) -> None:
    await scene.store("rev-11")
    scene.clock.advance(seconds=1)
    before = scene.clock()
    scene.clock.advance(days=1)
    await review(scene)
    report = await scene.vault.compliance.report.write(scene.admin, before)
    assert report["access_review"]["figures"]["purposes_reviewed"] == 0


def change(path: Any, statement: str) -> None:
    """Change the table as a person with every right on the database can."""
    with sqlite3.connect(path / "vault.db", isolation_level=None) as file:
        triggers = file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            file.execute(f"DROP TRIGGER {name}")
        assert file.execute(statement).rowcount == 1
        for _, text in triggers:
            file.execute(text)
    file.close()


COPY = "INSERT INTO access_reviews SELECT 2, at, purpose, due_at, {document}, {note} FROM access_reviews"
SECOND = "replace(document, '\"number\":1', '\"number\":2')"
FORGERIES = {
    COPY.format(document=SECOND, note="note"): (2, "its signature does not verify"),
    COPY.format(document=SECOND, note="replace(note, 'vault.example', 'thief.example')"): (
        2,
        "no key of this vault has signed it",
    ),
    COPY.format(document="document", note="note"): (2, "its number, at, purpose or due_at differs from its document"),
    "UPDATE access_reviews SET document = replace(document, 'jane', 'john')": (1, "its signature does not verify"),
    "UPDATE access_reviews SET due_at = due_at + 1": (
        1,
        "its number, at, purpose or due_at differs from its document",
    ),
    "UPDATE access_reviews SET document = '{\"purposes\":[1]}'": (1, "its document is not an access review"),
    'UPDATE access_reviews SET document = replace(document, \'"accounts":{\', \'"accounts":1,"x":{\')': (
        1,
        "its document is not an access review",
    ),
}


@pytest.mark.parametrize("statement", FORGERIES)
@pytest.mark.parametrize("name", ["access_review", "user_accounts"])
async def test_a_review_that_was_forged_in_the_database_is_an_exception(scene, tmp_path, statement, name) -> None:
    await scene.store("rev-13")
    await review(scene)
    change(tmp_path, statement)
    member = await section(scene, name)
    number, reason = FORGERIES[statement]
    assert f"access review {number} does not count: {reason}" in findings(member)
    assert member["result"] == "exceptions"


async def test_a_newer_review_replaces_one_that_does_not_verify(scene, tmp_path) -> None:
    await scene.store("rev-14")
    await review(scene)
    change(tmp_path, "UPDATE access_reviews SET document = replace(document, 'jane', 'john')")
    await review(scene)
    assert (await section(scene))["result"] == "supports"


async def test_a_review_without_a_signing_key_is_an_exception(open_scene) -> None:
    scene = await open_scene()
    await scene.store("rev-15")
    await review(scene)
    for name in ("access_review", "user_accounts"):
        member = await section(scene, name)
        assert (findings(member), member["result"]) == (["access review 1 is not signed"], "exceptions")


async def test_a_review_that_a_replaced_key_has_signed_still_counts(scene, make_vault, monkeypatch) -> None:
    await scene.store("rev-16")
    await review(scene)
    await scene.vault.log.sequencer.sequence()
    new = SigningKey(SIGNING_KEY.verifier.name, b"\x09" * 32)
    monkeypatch.setenv("NEW", new.reveal())
    rolled = await make_vault(audit__signing_key_env="NEW", audit__previous_signing_key_env="KEY")
    await rolled.log.sequencer.sequence()
    scene.vault = await make_vault(audit__signing_key_env="NEW")
    assert (await section(scene))["result"] == "supports"
