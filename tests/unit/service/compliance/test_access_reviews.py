"""Reviews of access by people: signed rows, and what the report shows of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vsqlvault.errors import AccessReviewNotFound, RoleRequired, ValidationFailed
from vsqlvault.model.access import Action
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time
from vsqlvault.proof.attestation import digest_of
from vsqlvault.service.compliance.access_reviews import ReviewRequest
from vsqlvault.service.credentials.api_keys import ApiKeyRequest
from vsqlvault.testing import a_call, a_retention_policy, an_access_policy

STATEMENT = "all grants are needed"


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
