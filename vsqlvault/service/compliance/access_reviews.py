"""Access reviews (PCI DSS 4.0.1, 7.2.4 and 7.2.5.1): a person states that access was reviewed, and the vault signs it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from vsqlvault import __version__
from vsqlvault.errors import AccessReviewNotFound, FieldError, ValidationFailed, VaultError
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.report_section import Period, ReportContext
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.watch_storage import NewestAccessReviewIs, SaveAccessReview
from vsqlvault.interfaces.writes import Committed, Write
from vsqlvault.model.access_review import AccessList, AccessReview
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import Call
from vsqlvault.model.times import format_time
from vsqlvault.proof.access_review import FORMAT, digest_of_all, digest_of_list
from vsqlvault.proof.attestation import digest_of, write_document
from vsqlvault.proof.note import Signer
from vsqlvault.proof.statement import sign_statement
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import CREATED, AuditContext, Auditor
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.compliance.report import Report
from vsqlvault.service.roles import require_admin, require_reader

log = logging.getLogger(__name__)
ALL = "all purposes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """The statement of a reviewer.

    ``purpose`` None: all purposes, and the accounts with a role. ``interval_days`` None: the setting. ``may_sha256`` is the
    digest of the list that was reviewed; None: the list as it is now.
    """

    statement: str
    purpose: str | None = None
    interval_days: int | None = None
    may_sha256: str | None = None


class AccessReviews:
    """Records access reviews, and returns them to admins and auditors."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        auditor: Auditor,
        report: Report,
        signer: Signer | None,
        interval_days: int,
    ) -> None:
        """``interval_days``: days until the next review is due, if the reviewer names no other number."""
        self._storage = storage
        self._queue = queue
        self._auditor = auditor
        self._report = report
        self._signer = signer
        self._interval_days = interval_days

    @asynccontextmanager
    async def naming(self, call: Call) -> AsyncIterator[None]:
        """Audit a refusal raised inside the block."""
        try:
            yield
        except VaultError as error:
            await self._auditor.refuse(AuditContext(call, Operation.REVIEW_ACCESS), error)
            raise

    async def review(self, call: Call, request: ReviewRequest) -> AccessReview:
        """Sign and store the statement, with the digests of who may access now and who did since the last review.

        Raises:
            RoleRequired, ValidationFailed (an unknown purpose, or ``may_sha256`` is the digest of another list), Unavailable.
        """
        trace = AuditContext(call, Operation.REVIEW_ACCESS, subject=request.purpose or ALL)

        async def attempt() -> AccessReview | None:
            require_admin(call)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            last = next(iter(await self._storage.access_reviews(None, 1)), None)
            since = await self._since(request.purpose, snapshot.now)
            context = await self._report.context(snapshot.now, since, snapshot.revision)
            lists = _lists(context, request)
            made = await self._made(call, request, last, context, lists)
            told = json.dumps({"number": made.number, "sha256": digest_of(made.document)})
            write = Write(
                (trace.granted(CREATED, new_value=told),),
                (NewestAccessReviewIs(made.number - 1),),
                (SaveAccessReview(made),),
            )
            return made if isinstance(await self._queue.commit(write), Committed) else None

        made = await self._auditor.run_audited(trace, attempt)
        log.info("access is reviewed", extra={"number": made.number})
        return made

    async def reviews(self, call: Call, before: int | None, limit: int) -> Sequence[AccessReview]:
        """Return a page, newest first. Raises RoleRequired, Unavailable."""
        trace = AuditContext(call, Operation.READ_ACCESS_REVIEW)

        async def attempt() -> Sequence[AccessReview]:
            require_reader(call)
            trace.observe(await self._queue.read())
            found = await self._storage.access_reviews(before, limit)
            await self._queue.record(trace.granted())
            return found

        return await self._auditor.run_audited(trace, attempt)

    async def one(self, call: Call, number: int) -> AccessReview:
        """Return one review. Raises RoleRequired, AccessReviewNotFound, Unavailable."""
        trace = AuditContext(call, Operation.READ_ACCESS_REVIEW, subject=str(number))

        async def attempt() -> AccessReview:
            require_reader(call)
            trace.observe(await self._queue.read())
            found = await self._storage.access_reviews(number + 1, 1)
            if not found or found[0].number != number:
                raise AccessReviewNotFound
            await self._queue.record(trace.granted())
            return found[0]

        return await self._auditor.run_audited(trace, attempt)

    async def _since(self, purpose: str | None, now: datetime) -> datetime | None:
        """Return the time of the last review that included the purpose, or None."""
        found = await self._storage.newest_access_reviews(now)
        return max((each.at for each in found if each.purpose in {None, purpose} and each.at < now), default=None)

    async def _made(
        self,
        call: Call,
        request: ReviewRequest,
        last: AccessReview | None,
        context: ReportContext,
        lists: Mapping[str, AccessList],
    ) -> AccessReview:
        number = last.number + 1 if last else 1
        days = request.interval_days or self._interval_days
        due_at = context.as_of + timedelta(days=days)
        newest = await self._storage.newest_checkpoint()
        period = context.period or Period(context.as_of, context.as_of)
        document = write_document({
            "format": FORMAT,
            "number": number,
            "previous_sha256": digest_of(last.document) if last else None,
            "at": format_time(context.as_of),
            "reviewed_by": {"app": call.principal.app, "identity": call.principal.identity},
            "software": f"vsqlvault {__version__}",
            "purpose": request.purpose,
            "statement": request.statement,
            "interval_days": days,
            "due_at": format_time(due_at),
            "period": {"since": format_time(period.since), "until": format_time(period.until)},
            "is_complete": context.probes_complete,
            "purposes": [{"purpose": purpose, **_reviewed(each)} for purpose, each in sorted(lists.items())],
            "accounts": None if request.purpose else _reviewed(context.role_list),
            "checkpoint": newest.note if newest else None,
        })  # fmt: skip
        note = sign_statement(FORMAT, document.encode(), self._signer) if self._signer else None
        return AccessReview(number, context.as_of, request.purpose, due_at, document, note)


def _lists(context: ReportContext, request: ReviewRequest) -> Mapping[str, AccessList]:
    """Return the lists that the review is about. Raises ValidationFailed."""
    lists = context.access_lists
    if request.purpose is not None:
        if request.purpose not in lists:
            near = did_you_mean(request.purpose, lists)
            raise ValidationFailed(errors=[FieldError("purpose", f"a purpose with a retention policy{near}")])
        lists = {request.purpose: lists[request.purpose]}
    if request.may_sha256 is not None:
        digests = {purpose: digest_of_list(each.may) for purpose, each in lists.items()}
        accounts = digest_of_list(context.role_list.may)
        expected = digests[request.purpose] if request.purpose else digest_of_all(digests, accounts)
        if request.may_sha256 != expected:
            raise ValidationFailed(
                errors=[FieldError("may_sha256", "the digest of the list as it is now: read it again")]
            )
    return lists


def _reviewed(lists: AccessList) -> dict[str, Any]:
    return {
        "may": len(lists.may),
        "may_sha256": digest_of_list(lists.may),
        "did": len(lists.did),
        "did_sha256": digest_of_list(lists.did),
    }
