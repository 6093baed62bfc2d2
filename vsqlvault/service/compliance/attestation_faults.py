"""Verifies stored attestations for the report: anyone who can write to the database can insert a row."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from vsqlvault.model.attestation import Attestation
from vsqlvault.model.times import format_time
from vsqlvault.proof.attestation import AttestationInvalid, AttestationUnverified, check_attestation, shown_attestation
from vsqlvault.proof.note import VerifierKey

MALFORMED = "its document is not an attestation"
DIFFERS = "its number, at or is_clean differs from its document"
NOT_OURS = "no key of this vault has signed it"
REFUTED = "its signature does not verify"


def attestation_faults(made: Iterable[Attestation], keys: Collection[VerifierKey]) -> dict[int, str]:
    """Return, by number, why an attestation does not verify. One without a note is not signed, which is no fault here."""
    found = ((each.number, _fault(each, keys)) for each in made)
    return {number: fault for number, fault in found if fault is not None}


def _fault(made: Attestation, keys: Collection[VerifierKey]) -> str | None:
    try:
        document = json.loads(made.document)
        stated = (document["number"], document["at"], document["result"] == "clean")
    except (ValueError, KeyError, TypeError, RecursionError):
        return MALFORMED
    if stated != (made.number, format_time(made.at), made.is_clean):
        return DIFFERS
    if made.note is None:
        return None
    try:
        check_attestation(shown_attestation(made.document, made.note), keys)
    except AttestationUnverified:
        return NOT_OURS
    except AttestationInvalid:
        return REFUTED
    return None
