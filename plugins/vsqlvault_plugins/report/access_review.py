"""Who has access, and who used it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vsqlvault.interfaces.report_section import Probe, ReportContext
from vsqlvault.model.access import Action
from vsqlvault.model.policy import ADMIN, OWNER, AccessPolicy
from vsqlvault.model.principal import Role, is_internal
from vsqlvault.model.times import format_time
from vsqlvault.proof.access_review import digest_of_all, digest_of_list
from vsqlvault_plugins.report.review_state import NEVER, Reviewed, review_of, shown_review, unverified
from vsqlvault_plugins.report.shape import MAX_LISTED, NOT_VERIFIED, Finding, example, rows_not_at_hand

ON_ENTRIES: Mapping[str, Action] = {
    "store": Action.STORE,
    "update": Action.STORE,
    "retrieve": Action.RETRIEVE,
    "inspect": Action.INSPECT,
    "list": Action.INSPECT,
    "purge": Action.PURGE,
}
"""The audited operations on entries, with the action that a policy decides for each."""

LIST = "list"
"""A list needs the purpose, or a role. Policies decide which entries it contains; it may be empty."""

OWNER_OF_REVIEW = "the person who reviews access at least every six months: not every purpose has a recorded review"


class AccessReview:
    """Compares grants with their use, by purpose (PCI DSS 4.0.1, 7.2.1, 7.2.5, 7.2.5.1)."""

    name = "access_review"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """For each purpose: its policies, what each kind of app may do under them, which apps have it, which used it, and
        who reviewed that.
        """
        purposes = {purpose: _of_purpose(context, purpose) for purpose in sorted(context.retention_policies)}
        unused = [
            {"purpose": purpose, "what": "has the purpose and did not use it in the period", "who": app}
            for purpose, of in purposes.items()
            for app in of["never_used"]
        ]
        lists = context.access_lists
        count = sum(of["never_used_count"] for of in purposes.values())
        lost = [
            {"purpose": purpose, "what": f"used {operation} in the period and may no longer", "who": app}
            for purpose, of in purposes.items()
            for app, operation in of.pop("lost")
        ]
        reviews = {purpose: review_of(context, purpose) for purpose in purposes}
        other = rows_not_at_hand(context, count=None, purpose=None, who=None)
        other += [*_open_to_outsiders(context), *_undefined(context), *lost, *_of_reviews(context, reviews)]
        other += unverified(context, context.access_reviews)
        is_reviewed = context.probes_complete and bool(reviews) and all(reviews.values())
        return Finding(
            title="Access review",
            requirements=("7.2.1", "7.2.5", "7.2.5.1"),
            supports=(
                "Access is granted by named, versioned policies and by purposes. A person has reviewed it, the next review is "
                "not overdue, and who may access is the same since."
            ),
            method=(
                "What each kind of app and each app that a policy names may do is the answer of the policy evaluators "
                "for example entries under every policy in use. The apps with a purpose come from credentials that "
                "are known in advance (not tokens). The apps that used it come from the granted rows of the period. "
                "An app may no longer do what it did if no policy in use allows it: neither as owner of an entry, nor "
                "by name, nor as an app with the purpose or the role admin. For a list, the purpose or a role is enough. An "
                "app that stored in the period and owns no entry now counts as an owner. An app without a known credential is "
                "taken to have the purpose. The vault itself is no app. The population is the apps with a purpose and what the "
                "policies in use allow. A review is what a person recorded and the vault signed: "
                "GET /admin/access-reviews/{number} returns it. It has "
                "changed since if the digest of who may is another one now."
            ),
            check=(
                "POST /admin/access-policies/explain repeats a decision, "
                f"GET /admin/access-log?purpose={example(purposes, 'NAME')} has the uses of a purpose, "
                "GET /admin/access-reviews the reviews."
            ),
            measured="period",
            population=sum(len(each.may) for each in lists.values()),
            exceptions=[*other, *unused],
            exceptions_count=count + len(other),
            owner=OWNER_OF_REVIEW if not is_reviewed else None if context.signatures_verified else NOT_VERIFIED,
            figures={
                "all_policies_asked": context.probes_complete,
                "purposes_reviewed": sum(each is not None for each in reviews.values()),
                "may_sha256": digest_of_all(
                    {name: digest_of_list(each.may) for name, each in lists.items()},
                    digest_of_list(context.role_list.may),
                ),
                "by_purpose": {name: of | _of_review(context, name, reviews[name]) for name, of in purposes.items()},
            },
        ).member(context.period)


class DefaultDeny:
    """Verifies that what must be denied is denied (PCI DSS 4.0.1, 7.3.3)."""

    name = "default_deny"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Each self test and its result. Exceptions are the failed ones."""
        failed = [test for test in context.self_tests if not test.passed]
        return Finding(
            title="Default deny",
            requirements=("7.3.3",),
            supports=(
                "Requests without a rule that allows them, and requests under an undefined policy, were denied when the report "
                "was written."
            ),
            method=(
                "Decisions by the code that decides all requests, made while this report was written: an app that "
                "is not the owner requests each action under an undefined policy, and under a policy without rules."
            ),
            check="POST /admin/access-policies/explain gives the decision for any app, operation and policy.",
            measured="now",
            population=len(context.self_tests),
            exceptions=[{"what": "allowed what must be denied", "test": test.name} for test in failed],
            owner=None if context.self_tests else "the author of the report: no test was run",
            figures={"tests": {test.name: "denied" if test.passed else "ALLOWED" for test in context.self_tests}},
        ).member(context.period)


def _of_reviews(context: ReportContext, reviews: Mapping[str, Reviewed | None]) -> list[dict[str, Any]]:
    """Return the findings about reviews. Without any review, the section is not assessed."""
    if not any(reviews.values()):
        return []
    found: list[dict[str, Any]] = []
    for purpose, review in reviews.items():
        if review is None:
            found.append({"purpose": purpose, "what": NEVER})
        else:
            exceptions = review.exceptions(context.as_of, can_compare=context.probes_complete)
            found += [{"purpose": purpose, **each} for each in exceptions]
    return found


def _of_review(context: ReportContext, purpose: str, review: Reviewed | None) -> dict[str, Any]:
    lists = context.access_lists.get(purpose)
    return {**shown_review(review), "may_sha256": digest_of_list(lists.may) if lists else None}


def _of_purpose(context: ReportContext, purpose: str) -> dict[str, Any]:
    used = _used(context, purpose)
    holders = {
        each.app
        for each in context.credentials
        if each.state(context.as_of) == "active" and (each.purposes is None or purpose in each.purposes)
    }
    never = sorted(holders - used.keys())
    ranked = sorted(used.items(), key=lambda item: (-item[1]["rows"], item[0]))
    return {
        "policies": _policies(context, purpose),
        "holders": len(holders),
        "used_by": dict(ranked[:MAX_LISTED]),
        "used_by_count": len(used),
        "never_used": never[:MAX_LISTED],
        "never_used_count": len(never),
        "named_never_used": _named_without_use(context, purpose, used)[:MAX_LISTED],
        "lost": _lost(context, purpose, used),
    }


def _named_without_use(context: ReportContext, purpose: str, used: Mapping[str, Any]) -> list[str]:
    """Return the apps that a policy names and allows something, and that did nothing in the period."""
    may = {each.app for each in context.probes if each.purpose == purpose and each.app and each.is_allowed}
    return sorted(may - used.keys())


def _lost(context: ReportContext, purpose: str, used: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return apps with an operation that they used in the period and that no policy in use allows them now."""
    in_use = {each.access_policy for each in context.evidence.holdings if each.purpose == purpose}
    asked = {each.policy for each in context.probes if each.purpose == purpose}
    if not in_use or in_use - asked or not context.probes_complete:
        return []
    return [
        (app, operation)
        for app, numbers in sorted(used.items())
        for operation in sorted(numbers.keys() & ON_ENTRIES.keys())
        if not _may_now(context, purpose, app, operation)
    ]


def _may_now(context: ReportContext, purpose: str, app: str, operation: str) -> bool:
    action = ON_ENTRIES[operation]
    known = [each for each in context.credentials if each.app == app]
    active = [each for each in known if each.state(context.as_of) == "active"]
    holds = not known or any(each.purposes is None or purpose in each.purposes for each in active)
    reads_all = action is Action.INSPECT and any(each.roles for each in active)
    if operation == LIST:
        return holds or reads_all
    owned = _owned(context, purpose, app)
    kinds = {"outsider"} if active or not known else set()
    if holds:
        kinds |= {"purpose-holder"} | ({"admin"} if any(Role.ADMIN in each.roles for each in active) else set())
    return reads_all or any(
        each.is_allowed
        and each.purpose == purpose
        and each.action is action
        and (
            each.asks in kinds
            or (holds and each.app == app)
            or (holds and each.asks == "owner" and (each.new or each.policy in owned))
        )
        for each in context.probes
    )


def _owned(context: ReportContext, purpose: str, app: str) -> set[str]:
    """Return the policies of the entries that an app owns, or every policy in use if all that it stored was purged."""
    in_use = [each for each in context.evidence.holdings if each.purpose == purpose]
    owned = {each.access_policy for each in in_use if each.owner_app == app}
    has_stored = any(
        (each.purpose, each.app, each.operation, each.outcome) == (purpose, app, "store", "granted")
        for each in context.evidence.access
    )
    return {each.access_policy for each in in_use} if has_stored and not owned else owned


def _used(context: ReportContext, purpose: str) -> dict[str, dict[str, Any]]:
    """Return, by app, its granted rows in the period: the number per operation, and the last one."""
    found: dict[str, dict[str, Any]] = {}
    last: dict[str, datetime] = {}
    apps = {each.app for each in context.credentials}
    for each in sorted(context.evidence.access, key=lambda each: each.operation):
        if is_internal(each.app, apps):
            continue
        if each.purpose != purpose or each.app is None or each.outcome != "granted" or each.operation not in ON_ENTRIES:
            continue
        row = found.setdefault(each.app, {"rows": 0})
        row["rows"] += each.rows
        row[each.operation] = row.get(each.operation, 0) + each.rows
        last[each.app] = max(each.last_at, last.get(each.app, each.last_at))
    return {app: row | {"last_at": format_time(last[app])} for app, row in found.items()}


def _policies(context: ReportContext, purpose: str) -> dict[str, Any]:
    entries: dict[str, int] = {}
    for each in context.evidence.holdings:
        if each.purpose == purpose:
            entries[each.access_policy] = entries.get(each.access_policy, 0) + each.active + each.expired
    found: dict[str, Any] = {}
    for name, count in sorted(entries.items(), key=lambda item: (-item[1], item[0]))[:MAX_LISTED]:
        policy = context.access_policies.get(name)
        probes = [each for each in context.probes if each.purpose == purpose and each.policy == name]
        found[name] = {
            "entries": count,
            "version": policy.version if policy else None,
            "evaluator": policy.evaluator if policy else None,
            "apps_named": _apps_named(policy) if policy else [],
            "may": _may([each for each in probes if each.app is None]) if policy else {},
            "named_may": _may([each for each in probes if each.app is not None]) if policy else {},
        }
    return found


def _apps_named(policy: AccessPolicy) -> list[str]:
    named = {app for rule in policy.rules.values() for app in rule.allowed_apps or ()}
    return sorted(named - {OWNER, ADMIN})[:MAX_LISTED]


def _may(probes: Sequence[Probe]) -> dict[str, list[str]]:
    """Return what each kind of app, or each named app, may do."""
    found: dict[str, list[str]] = {}
    for probe in sorted(probes, key=lambda probe: (probe.app or probe.asks, probe.action.value, not probe.new)):
        may = found.setdefault(probe.app or probe.asks, [])
        if probe.is_allowed:
            may.append(_word(probe))
    return found


def _word(probe: Probe) -> str:
    if probe.action.value != "store":
        return probe.action.value
    return "create" if probe.new else "replace"


def _open_to_outsiders(context: ReportContext) -> list[dict[str, Any]]:
    return [
        {"purpose": each.purpose, "what": f"an app without the purpose may {each.action.value}", "who": each.policy}
        for each in sorted(context.probes, key=lambda each: (each.purpose, each.policy, each.action.value))
        if each.asks == "outsider" and each.is_allowed
    ]


def _undefined(context: ReportContext) -> list[dict[str, Any]]:
    undefined = {
        (each.purpose, each.access_policy)
        for each in context.evidence.holdings
        if each.access_policy not in context.access_policies
    }
    return [
        {"purpose": purpose, "what": "entries under an undefined policy: owner-only applies", "who": policy}
        for purpose, policy in sorted(undefined)
    ]
