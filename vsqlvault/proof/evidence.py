"""The manifest of an evidence bundle: the members of the file, and the part of the log in it (docs/evidence.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from vsqlvault.proof.note import NoteRefused, VerifierKey
from vsqlvault.proof.statement import open_statement
from vsqlvault.quick_dataclass import dataclass

FORMAT = "vsqlvault-evidence-v1"
MANIFEST, NOTE = "manifest.json", "manifest.note"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ManifestInvalid(ValueError):
    """A manifest is malformed, or does not verify."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of a manifest. ``members`` maps each name to its size in bytes and its SHA-256 digest in hex.

    ``first`` and ``end`` are the leaves in the file, of a log of ``size`` leaves.
    """

    as_of: str
    since: str
    until: str
    origin: str
    size: int
    first: int
    end: int
    members: Mapping[str, tuple[int, str]]


def write_manifest(manifest: Manifest, software: str) -> bytes:
    """Return the manifest as JSON."""
    document = {
        "format": FORMAT,
        "software": software,
        "as_of": manifest.as_of,
        "period": {"since": manifest.since, "until": manifest.until},
        "log": {"origin": manifest.origin, "size": manifest.size, "first": manifest.first, "end": manifest.end},
        "members": [
            {"name": name, "size": size, "sha256": digest} for name, (size, digest) in sorted(manifest.members.items())
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def open_manifest(data: bytes, note: bytes, keys: Collection[VerifierKey]) -> Manifest:
    """Return the content of a manifest, if one of the keys has signed it. Until then nothing in it is parsed.

    Raises:
        ManifestInvalid: with the reason.
    """
    try:
        open_statement(FORMAT, data, note.decode(), keys)
    except (NoteRefused, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"the manifest is not signed by a trusted key: {error}") from None
    try:
        return _read(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ManifestInvalid(f"the manifest is signed, but does not have the format {FORMAT}") from None


def _read(document: Any) -> Manifest:
    period, part = document["period"], document["log"]
    members = {str(each["name"]): (_count(each["size"]), str(each["sha256"])) for each in document["members"]}
    size, first, end = (_count(part[name]) for name in ("size", "first", "end"))
    digests_fit = all(_SHA256.fullmatch(digest) for _, digest in members.values())
    if document["format"] != FORMAT or len(members) != len(document["members"]) or not digests_fit:
        raise ValueError("expected a manifest in which each member occurs once, with its hash")
    if not first <= end <= size:
        raise ValueError("expected a part of the log")
    times = str(document["as_of"]), str(period["since"]), str(period["until"])
    return Manifest(*times, str(part["origin"]), size, first, end, members)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("expected a count")
    return value
