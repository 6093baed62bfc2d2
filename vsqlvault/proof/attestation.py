"""Attestations as documents: writing them, and verifying them without the vault (docs/evidence.md)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from vsqlvault.proof.canonical import canonical_json
from vsqlvault.proof.note import NoteRefused, SignerUnknown, VerifierKey
from vsqlvault.proof.statement import open_statement

FORMAT = "vsqlvault-attestation-v1"
MAX_SHOWN = 10


class AttestationInvalid(ValueError):
    """An attestation, or an access review, is malformed, or does not verify."""


class AttestationUnverified(AttestationInvalid):
    """No trusted key has signed it: by itself it can be neither verified nor refuted."""


def write_document(members: Mapping[str, Any]) -> str:
    """Return the document as RFC 8785 JSON."""
    return canonical_json(dict(members)).decode()


def digest_of(document: str) -> str:
    """Return the SHA-256 digest of a document, 64 hex digits."""
    return sha256(document.encode()).hexdigest()


def shown_attestation(document: str, note: str | None) -> dict[str, Any]:
    """Return an attestation as JSON types, as the API and the command return it."""
    return shown_as("attestation", document, note)


def shown_as(member: str, document: str, note: str | None) -> dict[str, Any]:
    """Return a signed document as JSON types, under a name."""
    return {member: json.loads(document), "sha256": digest_of(document), "note": note}


def check_attestation(shown: Any, keys: Collection[VerifierKey]) -> dict[str, Any]:
    """Return the document of a result of ``shown_attestation``, if one of the keys has signed it.

    Raises:
        AttestationUnverified: no key has signed it. AttestationInvalid: it does not verify. Both with the reason.
    """
    return check_shown(shown, keys, member="attestation", kind=FORMAT)


def check_shown(shown: Any, keys: Collection[VerifierKey], *, member: str, kind: str) -> dict[str, Any]:
    """Return the document in ``member``, if one of the keys has signed it as one of this kind. Raises as above."""
    document = shown.get(member) if isinstance(shown, dict) else None
    if not isinstance(document, dict) or document.get("format") != kind:
        raise AttestationInvalid(f"expected {member} with the format {kind}")
    note = shown.get("note")
    if not isinstance(note, str):
        raise AttestationUnverified(f"the {member.replace('_', ' ')} is not signed")
    try:
        text = canonical_json(document)
        open_statement(kind, text, note, keys)
    except SignerUnknown as unknown:
        raise AttestationUnverified(str(unknown)) from None
    except (NoteRefused, ValueError, RecursionError) as error:
        raise AttestationInvalid(str(error)) from None
    if shown.get("sha256") != sha256(text).hexdigest():
        raise AttestationInvalid("expected sha256 to match the document, found another digest")
    return document


def summarise(document: Mapping[str, Any]) -> list[str]:
    """Return a summary of a document, as lines of text.

    Raises:
        KeyError, TypeError: a member is missing, or has another type.
    """
    overdue, sample = document["overdue"], document["sample"]
    checked, number = sample["checked"], len(document["purposes"])
    purposes = f"{number} purpose" if number == 1 else f"{number} purposes"
    lines = [
        f"Attestation {document['number']}, at {document['at']}: {document['result']}",
        f"  {purposes}: {overdue['count']} entries overdue, {overdue['held']} kept by legal holds",
        f"  {len(checked) - sample['failed']} of {len(checked)} sampled purges verified; {sample['population']} in the period",
    ]
    lines += [
        f"    overdue: {each['purpose']}/{each['external_id']}, expired at {each['expired_at']}"
        for each in overdue["listed"][:MAX_SHOWN]
    ]
    lines += [f"    {each['purge_id']}: {problem}" for each in checked for problem in each["problems"]]
    return lines
