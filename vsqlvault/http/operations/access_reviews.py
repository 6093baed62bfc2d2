"""``/admin/access-reviews``: records and reads reviews of access by people."""

from __future__ import annotations

from vsqlvault.errors import (
    AccessReviewNotFound,
    ContentEncodingRefused,
    InvalidJson,
    InvalidQuery,
    PayloadTooLarge,
    RoleRequired,
    UnsupportedMediaType,
    ValidationFailed,
)
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.admin_bodies import AccessReviewBody, VersionsQuery
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.results.service import AccessReview as AccessReviewResult
from vsqlvault.http.schemas.results.service import AccessReviews
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.times import format_time
from vsqlvault.proof.access_review import shown_access_review
from vsqlvault.proof.attestation import digest_of
from vsqlvault.service.compliance.access_reviews import ReviewRequest
from vsqlvault.service.roles import require_admin


async def review_access(exchange: RequestContext) -> Reply:
    """Record a review and return it."""
    async with exchange.vault.compliance.access_reviews.naming(exchange.call):
        require_admin(exchange.call)
        body = await exchange.body(AccessReviewBody)
    made = await exchange.vault.compliance.access_reviews.review(
        exchange.call,
        ReviewRequest(
            statement=body.statement,
            purpose=body.purpose,
            interval_days=body.interval_days,
            may_sha256=body.may_sha256,
        ),
    )
    location = ("Location", f"/admin/access-reviews/{made.number}")
    return Reply(201, dump_json(shown_access_review(made.document, made.note)), headers=[location])


async def list_access_reviews(exchange: RequestContext) -> Reply:
    """Return a page of reviews, newest first."""
    asked = exchange.query(VersionsQuery)
    found = await exchange.vault.compliance.access_reviews.reviews(exchange.call, asked.before, asked.limit)
    more = found[-1].number if len(found) == asked.limit and found[-1].number > 1 else None
    return Reply(200, dump_json({"access_reviews": [_listed(made) for made in found], "next_before": more}))


async def get_access_review(exchange: RequestContext) -> Reply:
    """Return one review as it was signed."""
    number = int(exchange.request.params["number"])
    made = await exchange.vault.compliance.access_reviews.one(exchange.call, number)
    return Reply(200, dump_json(shown_access_review(made.document, made.note)))


def _listed(made: AccessReview) -> dict[str, object]:
    return {
        "number": made.number,
        "at": format_time(made.at),
        "purpose": made.purpose,
        "due_at": format_time(made.due_at),
        "signed": made.note is not None,
        "sha256": digest_of(made.document),
    }


OPERATIONS = (
    Operation(
        method="POST",
        path="/admin/access-reviews",
        name="review_access",
        result=AccessReviewResult,
        summary="Record a review of access",
        description=(
            "Signs and stores the statement of a person who has reviewed the access to a purpose, or, without `purpose`, to "
            "all purposes and the accounts with a role. The document has the digests of who may and who did."
        ),
        handler=review_access,
        audited=Audited.REVIEW_ACCESS,
        body=AccessReviewBody,
        answers={201: "The review: `access_review`, its `sha256`, and the signed `note`."},
        headers={"Location": "The URL of the review."},
        problems=(
            RoleRequired,
            InvalidJson,
            PayloadTooLarge,
            UnsupportedMediaType,
            ContentEncodingRefused,
            ValidationFailed,
        ),
        tag="compliance",
    ),
    Operation(
        method="GET",
        path="/admin/access-reviews",
        name="list_access_reviews",
        result=AccessReviews,
        summary="List reviews of access, newest first",
        description="If `next_before` is not null, request the next page with this value as `before`.",
        handler=list_access_reviews,
        audited=Audited.READ_ACCESS_REVIEW,
        query=VersionsQuery,
        answers={200: "A page."},
        problems=(RoleRequired, InvalidQuery),
        tag="compliance",
    ),
    Operation(
        method="GET",
        path="/admin/access-reviews/{number}",
        name="get_access_review",
        result=AccessReviewResult,
        summary="Read a review of access",
        handler=get_access_review,
        audited=Audited.READ_ACCESS_REVIEW,
        answers={200: "The review as it was signed."},
        problems=(RoleRequired, AccessReviewNotFound),
        tag="compliance",
    ),
)
