"""The process and its transport as they are now, what it is made of, and what it cannot know."""

from __future__ import annotations

import platform
import ssl
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from vsqlvault import __version__
from vsqlvault.config import ServerSettings
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.times import format_time
from vsqlvault_plugins.report.shape import Finding

LOOPBACK = ("127.", "[::1]", "localhost")
SOON_DAYS = 30


class SystemState:
    """Hardening, transport and storage, as they are (PCI DSS 4.0.1, 2.2.1, 2.2.7, 4.2.1, 12.3.3)."""

    name = "system_state"

    def __init__(self, server: ServerSettings) -> None:
        self._server = server

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Each step of hardening, what TLS is set to and until when its certificate is good, and how durable storage is."""
        steps = {step.name: {"state": step.state, "detail": step.detail} for step in context.hardening}
        transport = self._transport()
        return Finding(
            title="Hardening and transport",
            requirements=("2.2.1", "2.2.7", "4.2.1", "12.3.3"),
            supports=(
                "The process closes to itself what it does not need, and speaks plain HTTP to nobody off this host "
                "unless told to."
            ),
            method=(
                "What the process has seen to hold of its hardening, what it is set to for transport, its certificate's "
                "own dates, and what the storage says of itself; all of the process that wrote the report, at that "
                "moment."
            ),
            measured="now",
            population=len(steps),
            exceptions=[
                *(
                    {"what": f"hardening step {name} is {step['state']}", "detail": step["detail"]}
                    for name, step in steps.items()
                    if step["state"] != "on"
                ),
                *self._exposed(transport, context.as_of),
            ],
            figures={"hardening": steps, "transport": transport, "storage": _plain(context.storage)},
        ).member(context.period)

    def _transport(self) -> dict[str, Any]:
        tls = self._server.tls
        asks = self._server.asks_for_certificates
        return {
            "listens_on": self._server.listen_addr,
            "tls": tls is not None,
            "lowest_tls_version": None if tls is None else "1.3" if asks else "1.2",
            "client_certificates": "none" if tls is None else tls.client_cert,
            "plain_http_to": "nobody"
            if tls
            else "this host alone"
            if self._server.plaintext == "loopback"
            else "anybody",
            "certificate_not_after": None if tls is None else _not_after(tls.cert_file),
        }

    def _exposed(self, transport: Mapping[str, Any], as_of: datetime) -> list[dict[str, Any]]:
        found = []
        if transport["plain_http_to"] == "anybody" and not self._server.listen_addr.startswith(LOOPBACK):
            what = "plain HTTP is answered beyond this host: something else has to end TLS in front of it"
            found.append({"what": what, "detail": 'server.plaintext = "any"'})
        until = transport["certificate_not_after"]
        if until is not None and (datetime.fromisoformat(until) - as_of).days < SOON_DAYS:
            found.append({"what": f"the certificate ends within {SOON_DAYS} days", "detail": until})
        return found


class Software:
    """What runs (PCI DSS 4.0.1, 6.3.2)."""

    name = "software"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Versions of the vault, of what it runs on, and of every plugin."""
        plugins = sorted(context.plugins, key=lambda each: each.name)
        return Finding(
            title="Software and plugins",
            requirements=("6.3.2",),
            supports="What is loaded can be held against an inventory.",
            method="Plugins as they were loaded, with the distributions that brought them; versions as they say themselves.",
            measured="now",
            population=len(plugins),
            figures={
                "vsqlvault": __version__,
                "python": platform.python_version(),
                "openssl": ssl.OPENSSL_VERSION,
                "plugins": [
                    {"name": each.name, "distribution": each.distribution, "version": each.version} for each in plugins
                ],
            },
        ).member(context.period)


NOT_ASSESSED: tuple[tuple[str, str, str], ...] = (
    ("3.5.1", "that what is stored is ciphertext, and how strong it is", "the apps that encrypt"),
    ("3.6.1", "how keys are protected, and who has them in the clear", "the custodians of the keys"),
    ("3.6.1.4", "in how many places keys are stored", "the custodians of the keys"),
    ("3.7.1", "how keys are made", "the custodians of the keys"),
    ("3.2.1", "copies in backups, replicas and snapshots of the database", "whoever operates the database"),
    ("8.6.1", "interactive use of the accounts of applications", "the owners of the apps"),
    ("8.6.2", "secrets in the code and the files of apps", "the owners of the apps"),
    ("10.3.3", "copies of the logs elsewhere", "whoever operates the vault"),
    ("10.4.1", "that somebody reviews the logs each day", "the security team"),
    ("10.6.1", "that the clock of the storage is synchronised", "whoever operates the host"),
    ("12.5.2", "what is in scope", "the assessed entity, with its QSA"),
)


class NotAssessed:
    """What the vault cannot know, and who does."""

    name = "not_assessed"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Each with the requirement it is of, and its owner."""
        return Finding(
            title="What the vault cannot know",
            requirements=sorted({number for number, _, _ in NOT_ASSESSED}),
            supports="Nothing: each of these needs evidence from its owner.",
            method="Written down by those who made the vault; nothing was counted.",
            measured="now",
            population=len(NOT_ASSESSED),
            owner="see each item",
            figures={
                "items": [{"requirement": number, "what": what, "owner": owner} for number, what, owner in NOT_ASSESSED]
            },
        ).member(context.period)


def _not_after(path: str) -> str | None:
    """Return until when the certificate is good; None where it cannot be read now."""
    try:
        return format_time(x509.load_pem_x509_certificate(Path(path).read_bytes()).not_valid_after_utc)
    except (OSError, ValueError):
        return None


def _plain(storage: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the storage says of itself as JSON types."""
    return {str(name): _simple(value) for name, value in sorted(storage.items())}


def _simple(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_simple(each) for each in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
