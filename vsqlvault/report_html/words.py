"""Words for the names and codes of a report."""

from __future__ import annotations

import re
from collections.abc import Mapping

_LABELS: Mapping[str, str] = {
    "algorithm_hint": "Algorithm hint",
    "app": "App",
    "apps_named": "Apps that it names",
    "by_algorithm_hint": "Entries by algorithm hint",
    "default_ttl_days": "Default days to expiry",
    "key_ref": "Key reference",
    "key_refs": "Entries by key reference",
    "lag": "Time from expiry to purge",
    "max_retention_days": "Maximum retention in days",
    "may": "May",
    "may_sha256": "Digest of who may access",
    "review_due_at": "Next review due at",
    "not_listed": "More that are not listed",
    "openssl": "OpenSSL",
    "purged_last_30_days": "Purged in the last 30 days",
    "entries_expiring_next_30_days": "Expiring in the next 30 days",
    "seconds": "Duration",
    "p50_seconds": "Median",
    "p99_seconds": "99th percentile",
    "what": "Finding",
    "who": "App",
}
_WORDS: Mapping[str, str] = {
    "api": "API", "dns": "DNS", "http": "HTTP", "id": "id", "jwks": "JWKS", "jwt": "JWT", "max": "maximum", "min": "minimum",
    "mtls": "mTLS", "tls": "TLS", "ttl": "TTL", "vsqlvault": "vsqlvault", "wal": "WAL",
}  # fmt: skip
_CODED = ("reason", "operation", "method", "control", "outcome", "trigger", "event_class")
"""Members whose values and keys are codes of the vault, by the end of their names."""

_CODES: Mapping[str, str] = {
    "api-key": "API key",
    "app-not-allowed": "the policy does not allow the app",
    "jwt": "token (JWT)",
    "mtls": "client certificate",
    "not_found": "no such entry (not a denial)",
    "no_credential": "no credential",
}
_CODE = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*", re.ASCII)
_UNITS = {"days": "in days", "hours": "in hours", "bytes": "in bytes"}


def label(name: str) -> str:
    """Return a member's name as words."""
    if name in _LABELS:
        return _LABELS[name]
    words = [_WORDS.get(word, word) for word in name.removesuffix("_seconds").replace("-", "_").split("_")]
    if len(words) > 1 and words[-1] in _UNITS and not words[-2].isdecimal():
        words[-1] = _UNITS[words[-1]]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def is_coded(name: str) -> bool:
    """Whether the values of a member, and the keys of a mapping of this name, are codes of the vault."""
    return name.removesuffix("s").endswith(_CODED)


def in_words(code: str) -> str:
    """Return a code of the vault as words, and any other text unchanged."""
    if code in _CODES:
        return _CODES[code]
    return re.sub("[_-]", " ", code) if _CODE.fullmatch(code) else code
