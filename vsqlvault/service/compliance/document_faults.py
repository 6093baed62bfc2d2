"""Verifies stored attestations and access reviews for the report: anyone who can write to the database can insert a row."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from typing import Any

from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.times import format_time
from vsqlvault.proof.access_review import check_access_review, shown_access_review
from vsqlvault.proof.attestation import AttestationInvalid, AttestationUnverified, check_attestation, shown_attestation
from vsqlvault.proof.note import VerifierKey

NOT_OURS = "no key of this vault has signed it"
REFUTED = "its signature does not verify"


def attestation_faults(made: Iterable[Attestation], keys: Collection[VerifierKey]) -> dict[int, str]:
    """Return, by number, why an attestation does not verify. One without a note is not signed, which is no fault here.

    Without ``keys``, a signature by an unknown key is no fault either: nothing is known of it.
    """
    found = ((each.number, _attestation_fault(each, keys)) for each in made)
    return {number: fault for number, fault in found if fault is not None}


def review_faults(reviews: Iterable[AccessReview], keys: Collection[VerifierKey]) -> dict[int, str]:
    """Return, by number, why a review does not verify. No note and no ``keys`` as in ``attestation_faults``."""
    found = ((each.number, _review_fault(each, keys)) for each in reviews)
    return {number: fault for number, fault in found if fault is not None}


def _attestation_fault(made: Attestation, keys: Collection[VerifierKey]) -> str | None:
    try:
        document = json.loads(made.document)
        stated = (document["number"], document["at"], document["result"] == "clean")
    except (ValueError, KeyError, TypeError, RecursionError):
        return "its document is not an attestation"
    if stated != (made.number, format_time(made.at), made.is_clean):
        return "its number, at or is_clean differs from its document"
    return _signature_fault(check_attestation, shown_attestation(made.document, made.note), keys)


def _review_fault(review: AccessReview, keys: Collection[VerifierKey]) -> str | None:
    if not _is_review(review.document):
        return "its document is not an access review"
    document = json.loads(review.document)
    stated = tuple(document[name] for name in ("number", "at", "purpose", "due_at"))
    if stated != (review.number, format_time(review.at), review.purpose, format_time(review.due_at)):
        return "its number, at, purpose or due_at differs from its document"
    return _signature_fault(check_access_review, shown_access_review(review.document, review.note), keys)


def _signature_fault(
    check: Callable[[Any, Collection[VerifierKey]], object], shown: dict[str, Any], keys: Collection[VerifierKey]
) -> str | None:
    if shown["note"] is None:
        return None
    try:
        check(shown, keys)
    except AttestationUnverified:
        return NOT_OURS if keys else None
    except AttestationInvalid:
        return REFUTED
    return None


def _is_review(text: str) -> bool:
    """Return whether the document has the members that the report reads."""
    try:
        document = json.loads(text)
        accounts, by = document["accounts"], document["reviewed_by"]
        digests = [(each["purpose"], each["may_sha256"]) for each in document["purposes"]]
        digests += [("", accounts["may_sha256"])] if accounts else []
        return {"number", "at", "purpose", "due_at"} <= document.keys() and isinstance(by, dict) and bool(digests)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
