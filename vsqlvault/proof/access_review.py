"""Access reviews as documents: the digests of what was reviewed, and verifying them without the vault (docs/evidence.md)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any

from vsqlvault.proof.attestation import check_shown, digest_of, shown_as
from vsqlvault.proof.canonical import canonical_json
from vsqlvault.proof.note import VerifierKey

FORMAT = "vsqlvault-access-review-v1"
MEMBER = "access_review"
MAX_SHOWN = 20


def digest_of_list(items: Sequence[Sequence[str]]) -> str:
    """Return the SHA-256 digest of a list of access, in hex: over its RFC 8785 JSON, sorted and without duplicates."""
    return sha256(canonical_json([list(item) for item in sorted({tuple(item) for item in items})])).hexdigest()


def digest_of_all(purposes: Mapping[str, str], accounts: str) -> str:
    """Return the digest of all that a review of all purposes is about, from the digests by purpose and of the accounts."""
    return digest_of(canonical_json({"accounts": accounts, "purposes": dict(purposes)}).decode())


def shown_access_review(document: str, note: str | None) -> dict[str, Any]:
    """Return an access review as JSON types, as the API returns it."""
    return shown_as(MEMBER, document, note)


def check_access_review(shown: Any, keys: Collection[VerifierKey]) -> dict[str, Any]:
    """Return the document of a result of ``shown_access_review``, if one of the keys has signed it.

    Raises:
        AttestationUnverified: no key has signed it. AttestationInvalid: it does not verify. Both with the reason.
    """
    return check_shown(shown, keys, member=MEMBER, kind=FORMAT)


def summarise(document: Mapping[str, Any]) -> list[str]:
    """Return a summary of a document, as lines of text.

    Raises:
        KeyError, TypeError: a member is missing, or has another type.
    """
    by = document["reviewed_by"]
    number = len(document["purposes"])
    of = document["purpose"] or ("all purposes, of which there is 1" if number == 1 else f"all {number} purposes")
    return [
        f"Access review {document['number']}, at {document['at']}: {of}",
        f"  by {by['identity'] or by['app']}, the next is due at {document['due_at']}",
        *(
            f"  {each['purpose']}: {each['may']} grants, {each['did']} uses"
            for each in document["purposes"][:MAX_SHOWN]
        ),
        f"  {document['statement']}",
    ]
