"""The certificates of the listener, and the cryptography that the vault knows of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.config import ServerSettings, Settings
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault_plugins.report.shape import MAX_LISTED, Finding, example

SOON = timedelta(days=30)
MIN_RSA_BITS = 2048
PROXY_OWNER = "the operator of the proxy that terminates TLS: the vault has no certificate"
CUSTODIANS = "the custodians of the keys: the vault has no data key, and cannot know how keys are made, used and kept"
WITHOUT = "(none given)"


class Certificates:
    """The certificates in use at the listener (PCI DSS 4.0.1, 4.2.1.1)."""

    name = "certificates"

    def __init__(self, server: ServerSettings) -> None:
        self._server = server

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Each certificate of the settings. Exceptions are unreadable, weak and expiring ones."""
        listed = await asyncio.to_thread(_read, self._server)
        return Finding(
            title="Inventory of certificates",
            requirements=("4.2.1.1",),
            supports="The certificates and authorities that the listener trusts are listed, and none expires soon.",
            method=(
                "The certificates in the files of [server.tls] and [server.forwarded_certificates], as they are read now. "
                "Keys of token issuers, and certificates of clients, proxies and the database, are not included."
            ),
            check=(
                "GET /metrics has the expiry; openssl x509 -in "
                f"{min((each['file'] for each in listed), default='FILE')} -noout -text shows a certificate on the host."
            ),
            measured="now",
            population=sum("subject" in each for each in listed),
            exceptions=[
                {"what": what, "file": each["file"]} for each in listed for what in _troubles(each, context.as_of)
            ],
            owner=None if listed else PROXY_OWNER,
            figures={"certificates": listed[:MAX_LISTED], "not_listed": max(0, len(listed) - MAX_LISTED)},
        ).member(context.period)


class Cryptography:
    """What the vault knows of the cryptographic architecture (PCI DSS 4.0.1, 3.6.1.1)."""

    name = "cryptography"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Algorithms and keys as the storing apps name them. Not assessed: the vault has no data key."""
        hints: dict[str, int] = {}
        for each in context.evidence.holdings:
            name = each.algorithm_hint or WITHOUT
            hints[name] = hints.get(name, 0) + each.active + each.expired
        periods = {
            use.key_ref: self._settings.compliance.cryptoperiod_days(use.key_ref)
            for _, use in context.key_uses
            if use.key_ref is not None
        }
        checkpoint = context.log_tree.checkpoint if context.log_tree else None
        ranked = sorted(hints.items(), key=lambda item: (-item[1], item[0]))
        return Finding(
            title="Cryptographic architecture",
            requirements=("3.6.1.1",),
            supports="A description of the architecture can be compared with the algorithms and keys in use.",
            method=(
                "Entries not purged, by the algorithm_hint and key_ref that the storing apps set. The vault verifies "
                "neither. The key that signs the log protects no stored account data."
            ),
            check=(
                f"GET /vault/{example(context.retention_policies, '{purpose}')} lists entries of a purpose with algorithm_hint "
                "and key_ref, GET /admin/key-refs the keys."
            ),
            measured="as_of",
            population=sum(hints.values()),
            owner=CUSTODIANS,
            figures={
                "entries_by_algorithm_hint": dict(ranked[:MAX_LISTED]),
                "keys": len(periods),
                "keys_with_cryptoperiod": sum(days is not None for days in periods.values()),
                "all_keys_counted": context.key_uses_complete,
                "log_signed_as": checkpoint.origin if checkpoint else None,
            },
        ).member(context.period)


def _files(server: ServerSettings) -> Sequence[tuple[str, str]]:
    tls, forwarded = server.tls, server.forwarded_certificates
    named = [
        ("certificate of the server", tls.cert_file if tls else None),
        ("authority of clients", tls.client_ca_file if tls else None),
        ("authority of forwarded certificates", forwarded.ca_file if forwarded else None),
    ]
    return [(use, path) for use, path in named if path]


def _read(server: ServerSettings) -> list[dict[str, Any]]:
    if not (files := _files(server)):
        return []
    from vsqlvault_plugins.report.certificate_files import read_certificates  # noqa: PLC0415 - it takes long to import

    return list(read_certificates(files))


def _troubles(each: Mapping[str, Any], at: datetime) -> Iterator[str]:
    if "subject" not in each:
        yield "the file could not be read"
        return
    until = datetime.fromisoformat(each["not_after"])
    if until <= at:
        yield "expired"
    elif until - at < SOON:
        yield f"expires within {SOON.days} days"
    kind, _, size = each["key"].partition(" ")
    if kind == "RSA" and int(size) < MIN_RSA_BITS:
        yield f"an RSA key shorter than {MIN_RSA_BITS} bits"
