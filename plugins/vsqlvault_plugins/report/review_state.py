"""The newest review of access by a person: its time and reviewer, whether the next is due, and what changed since."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.times import format_time
from vsqlvault.proof.access_review import digest_of_list
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.report.shape import shown

OVERDUE = "the next review of access is overdue"
CHANGED = "who may access has changed since the review"
NOBODY = "the review of access names no person: a credential without an identity made it"
NEVER = "access was never reviewed"


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A review of one purpose, or of the accounts with a role, and the digest of what may be accessed now."""

    review: AccessReview
    by: Mapping[str, Any]
    may_sha256: str
    now_sha256: str

    def exceptions(self, as_of: datetime, *, can_compare: bool) -> Iterator[dict[str, Any]]:
        """Yield a finding if it is overdue or not signed, if the list is another one now, and if it names no person."""
        if self.review.note is None:
            yield {"what": f"access review {self.review.number} is not signed", "at": format_time(self.review.at)}
        if self.review.due_at <= as_of:
            yield {"what": OVERDUE, "at": format_time(self.review.due_at)}
        if can_compare and self.may_sha256 != self.now_sha256:
            yield {"what": CHANGED, "at": format_time(self.review.at)}
        if not self.by.get("identity"):
            yield {"what": NOBODY, "at": format_time(self.review.at)}


def unverified(context: ReportContext, reviews: Sequence[AccessReview]) -> list[dict[str, Any]]:
    """Return a finding for each review that does not verify, and that no newer review replaces."""
    good = [each for each in context.access_reviews if each.number not in context.review_faults]
    return [
        {
            "what": f"access review {each.number} does not count: {context.review_faults[each.number]}",
            "at": format_time(each.at),
        }
        for each in sorted(reviews, key=lambda each: each.number)
        if each.number in context.review_faults
        and not any(other.number > each.number and other.purpose in {None, each.purpose} for other in good)
    ]


def review_of(context: ReportContext, purpose: str) -> Reviewed | None:
    """Return the newest review of a purpose that verifies, by itself or among all purposes, or None."""
    now = digest_of_list(context.access_lists[purpose].may) if purpose in context.access_lists else ""
    for review, document in _newest_first(context):
        if review.purpose not in {None, purpose}:
            continue
        for each in document.get("purposes", ()):
            if each["purpose"] == purpose:
                return Reviewed(review, document["reviewed_by"], each["may_sha256"], now)
    return None


def review_of_accounts(context: ReportContext) -> Reviewed | None:
    """Return the newest review that verifies of the accounts with a role, which is part of one of all purposes, or None."""
    for review, document in _newest_first(context):
        if review.purpose is None and (accounts := document.get("accounts")):
            now = digest_of_list(context.role_list.may)
            return Reviewed(review, document["reviewed_by"], accounts["may_sha256"], now)
    return None


def shown_review(found: Reviewed | None) -> dict[str, Any]:
    """Return a review as figures."""
    return {
        "reviewed_at": shown(found.review.at if found else None),
        "reviewed_by": (found.by.get("identity") or found.by.get("app")) if found else None,
        "review_number": found.review.number if found else None,
        "review_due_at": shown(found.review.due_at if found else None),
    }


def _newest_first(context: ReportContext) -> Iterator[tuple[AccessReview, Mapping[str, Any]]]:
    for review in sorted(context.access_reviews, key=lambda each: each.number, reverse=True):
        if review.number in context.review_faults:
            continue
        try:
            document: Any = json.loads(review.document)
        except (ValueError, RecursionError):
            continue  # a row that was changed in the database: the verification of the state names it
        if isinstance(document, dict) and isinstance(document.get("reviewed_by"), dict):
            yield review, document
