"""Who acted with a role, which credentials are unused, and how rejected credentials are limited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.config import Settings
from vsqlvault.interfaces.evidence import AccessCount
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.times import format_time
from vsqlvault_plugins.report.review_state import review_of_accounts, shown_review, unverified
from vsqlvault_plugins.report.shape import MAX_LISTED, NOT_VERIFIED, Finding, example, rows_not_at_hand, shown

UNUSED_DAYS = 90
AUTHENTICATE = "authenticate"
REVIEWER = "the person who reviews accounts and their access every six months: no review of all access is recorded"
SIGN_IN_OWNER = "the operators of the identity provider and of the network: the vault authenticates with one factor"
LOCK_OUT_OWNER = (
    "the operator of the identity provider: the vault slows an address down for a minute, and locks no account"
)


class UserAccounts:
    """The known credentials with a role (PCI DSS 4.0.1, 7.2.4)."""

    name = "user_accounts"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Each active credential with a role, and the newest review of all access. Exceptions are about the review."""
        active = [each for each in active_credentials(context) if each.roles]
        active.sort(key=lambda each: (each.method, each.credential_id))
        review = review_of_accounts(context)
        exceptions = list(review.exceptions(context.as_of, can_compare=True)) if review else []
        exceptions += unverified(context, [each for each in context.access_reviews if each.purpose is None])
        return Finding(
            title="Accounts with a role",
            requirements=("7.2.4",),
            supports="A person has reviewed the accounts that can administer or audit the vault, and they are still the same.",
            method=(
                "Active credentials with the role admin or auditor, of those known in advance, as of the report's time. "
                "Roles in tokens come from the identity provider and are not included. The review is the newest one of all "
                "purposes, as the vault signed it: GET /admin/access-reviews/{number}."
            ),
            check=(
                "GET /admin/api-keys has the stored keys, GET /admin/access-log?operation=credential-added those of the "
                "settings, GET /admin/access-reviews the reviews."
            ),
            measured="as_of",
            population=len(active),
            exceptions=exceptions,
            owner=REVIEWER if not review else None if context.signatures_verified else NOT_VERIFIED,
            figures={
                **shown_review(review),
                "by_role": _by_role(active),
                "listed": [
                    {
                        "app": each.app,
                        "identity": each.identity,
                        "credential_id": each.credential_id,
                        "method": each.method,
                        "roles": sorted(each.roles),
                        "last_used_at": shown(each.last_used_at),
                    }
                    for each in active[:MAX_LISTED]
                ],
                "not_listed": max(0, len(active) - MAX_LISTED),
            },
        ).member(context.period)


class Identities:
    """Whether each action with a role names a person or workload (PCI DSS 4.0.1, 8.2.1, 8.2.2)."""

    name = "identities"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Rows of callers with a role. Exceptions are those without an identity, by app and role."""
        acted = [each for each in context.evidence.access if each.role is not None]
        missing: dict[tuple[str, str], int] = {}
        for each in acted:
            if each.without_identity:
                key = each.app or "", each.role or ""
                missing[key] = missing.get(key, 0) + each.without_identity
        shared = [each for each in active_credentials(context) if each.roles and each.identity is None]
        return Finding(
            title="Identities behind administrative actions",
            requirements=("8.2.1", "8.2.2"),
            supports="Each action of a caller with a role in the period names the identity behind the app.",
            method=(
                "Rows of the access log of the period whose caller had a role, and whether they name an identity. A "
                "credential with a role and without an identity, such as the bootstrap key, can be shared: the vault "
                "cannot know who holds it, or whether its use was approved. Commands on the host are not included."
            ),
            check=(
                f"GET /admin/access-log?app={example((each.app for each in acted), 'NAME')} has the rows of an app with "
                "role and identity."
            ),
            measured="period",
            population=sum(each.rows for each in acted),
            exceptions=[
                *rows_not_at_hand(context, app=None),
                *(
                    {"what": f"rows of the role {role} without an identity", "app": app, "count": count}
                    for (app, role), count in sorted(missing.items())
                ),
            ],
            figures={
                "rows_with_role": sum(each.rows for each in acted),
                "rows_without_identity": sum(missing.values()),
                "credentials_without_identity": [
                    {"app": each.app, "credential_id": each.credential_id, "roles": sorted(each.roles)}
                    for each in sorted(shared, key=lambda each: (each.app, each.credential_id))[:MAX_LISTED]
                ],
            },
        ).member(context.period)


class UnusedCredentials:
    """Credentials that nobody used for 90 days (PCI DSS 4.0.1, 8.2.6)."""

    name = "unused_credentials"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Exceptions are active credentials that were unused for longer, or whose age and use are unknown."""
        at = context.as_of
        active = active_credentials(context)
        found = [(each, what) for each in active if (what := _unused(each, at))]
        found.sort(key=lambda item: (item[0].method, item[0].credential_id))
        return Finding(
            title="Unused credentials",
            requirements=("8.2.6",),
            supports=f"Each known credential that is active was used or made in the last {UNUSED_DAYS} days.",
            method=(
                "Active credentials that are known in advance, as of the report's time. Last uses are those known when "
                "the report is written. A credential that was never used counts from its creation. Accounts behind "
                "tokens are kept by the identity provider and are not included."
            ),
            check=(
                "GET /admin/api-keys has the last use of stored keys, GET /admin/access-log?credential_id="
                f"{example((each.credential_id for each in active), 'ID')} the rows of a credential."
            ),
            measured="as_of",
            population=len(active),
            exceptions=[
                {
                    "what": what,
                    "app": each.app,
                    "credential_id": each.credential_id,
                    "last_used_at": shown(each.last_used_at),
                }
                for each, what in found[:MAX_LISTED]
            ],
            exceptions_count=len(found),
            figures={"unused_days": UNUSED_DAYS, "active": len(active), "unused": len(found)},
        ).member(context.period)


class RejectedCredentials:
    """The limit of rejected credentials (PCI DSS 4.0.1, 8.3.4)."""

    name = "rejected_credentials"

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.auth.max_failures_per_minute

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Rejected credentials by reason. An exception is that their number has no limit."""
        rejected = [each for each in context.evidence.access if each.operation == AUTHENTICATE]
        return Finding(
            title="Rejected credentials",
            requirements=("8.3.4",),
            supports="An address with many rejected credentials gets 429 until the minute is over.",
            method=(
                "Rows of rejected credentials of the period by reason, and the setting auth.max_failures_per_minute. An "
                "account is never locked out, so lockout after ten attempts and its duration have to be assessed where "
                "people sign in."
            ),
            check="GET /admin/access-log?operation=authenticate&outcome=denied has the rows.",
            measured="period",
            population=sum(each.events for each in rejected),
            exceptions=[*rows_not_at_hand(context, count=None, detail=None), *self._unlimited()],
            owner=LOCK_OUT_OWNER,
            figures={
                "max_failures_per_minute": self._limit,
                "rejected_events": sum(each.events for each in rejected),
                "by_reason": _by_reason(rejected),
            },
        ).member(context.period)

    def _unlimited(self) -> list[dict[str, str]]:
        what = "rejected credentials are not limited"
        return [] if self._limit else [{"what": what, "detail": "auth.max_failures_per_minute = 0"}]


class Factors:
    """How many factors the vault asks for (PCI DSS 4.0.1, 8.4.1 to 8.4.3)."""

    name = "factors"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Rows of callers with a role. Not assessed: the vault asks for one factor."""
        acted = [each for each in context.evidence.access if each.role is not None]
        return Finding(
            title="Factors of authentication",
            requirements=("8.4.1", "8.4.2", "8.4.3"),
            supports="Nothing: the vault asks for one factor, a key, a token or a certificate.",
            method=(
                "Rows of the access log of the period whose caller had a role. A second factor can be asked for where a "
                "token is issued, or where the network is entered. The vault sees neither."
            ),
            check="GET /compliance/evidence has the authentication settings in configuration.json.",
            measured="period",
            population=sum(each.rows for each in acted),
            exceptions=rows_not_at_hand(context),
            owner=SIGN_IN_OWNER,
            figures={"rows_with_role": sum(each.rows for each in acted)},
        ).member(context.period)


def active_credentials(context: ReportContext) -> list[KnownCredential]:
    """Return the credentials that existed and were active at the report's time."""
    at = context.as_of
    return [
        each
        for each in context.credentials
        if (each.created_at is None or each.created_at <= at) and each.state(at) == "active"
    ]


def _by_role(credentials: Sequence[KnownCredential]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in credentials:
        for role in each.roles:
            found[role.value] = found.get(role.value, 0) + 1
    return dict(sorted(found.items()))


def _unused(credential: KnownCredential, at: datetime) -> str | None:
    """Return why a credential counts as unused, or None."""
    last = credential.last_used_at or credential.created_at
    if last is None:
        return "never used, and no known time of creation"
    return f"unused for more than {UNUSED_DAYS} days" if at - last > timedelta(days=UNUSED_DAYS) else None


def _by_reason(rejected: Sequence[AccessCount]) -> dict[str, Any]:
    found: dict[str, int] = {}
    last: dict[str, datetime] = {}
    for each in rejected:
        reason = each.reason or "(no reason)"
        found[reason] = found.get(reason, 0) + each.events
        last[reason] = max(last.get(reason, each.last_at), each.last_at)
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MAX_LISTED]
    return {name: {"events": count, "last_at": format_time(last[name])} for name, count in ranked}
