"""The process and its transport as of now, and what the vault cannot know."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vsqlvault.config import ServerSettings
from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.times import format_time
from vsqlvault_plugins.report.shape import ASK_THE_SERVER, Finding

LOOPBACK = ("127.", "[::1]", "localhost")
SOON_DAYS = 30


class SystemState:
    """Hardening, transport and storage (PCI DSS 4.0.1, 2.2.1, 2.2.7, 4.2.1)."""

    name = "system_state"

    def __init__(self, server: ServerSettings) -> None:
        self._server = server

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Each step of the sandbox, the TLS settings and the expiry of the certificate, and the durability of the
        storage.
        """
        steps = {step.name: {"state": step.state, "detail": step.detail} for step in context.hardening}
        transport = self._transport()
        return Finding(
            title="Hardening and transport",
            requirements=("2.2.1", "2.2.7", "4.2.1"),
            supports="The process sandboxes itself, and serves plain HTTP to other hosts only if configured.",
            method=(
                "The verified steps of the sandbox, the transport settings, the certificate's dates, and the "
                "storage's own status, all of the process that wrote the report, at that time. A command knows no steps: "
                "a server has its own."
            ),
            check="GET /health has the steps of the sandbox, vsql-vault check-config checks the settings.",
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
            owner=None if steps else ASK_THE_SERVER,
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
            else "this host only"
            if self._server.plaintext == "loopback"
            else "anybody",
            "certificate_not_after": None if tls is None else _not_after(tls.cert_file),
        }

    def _exposed(self, transport: Mapping[str, Any], as_of: datetime) -> list[dict[str, Any]]:
        found = []
        if transport["plain_http_to"] == "anybody" and not self._server.listen_addr.startswith(LOOPBACK):
            what = "plain HTTP is served beyond this host: a proxy must terminate TLS"
            found.append({"what": what, "detail": 'server.plaintext = "any"'})
        until = transport["certificate_not_after"]
        if until is not None and (datetime.fromisoformat(until) - as_of).days < SOON_DAYS:
            found.append({"what": f"the certificate expires within {SOON_DAYS} days", "detail": until})
        return found


NOT_ASSESSED: tuple[tuple[str, str, str], ...] = (
    ("3.5.1", "whether stored values are encrypted, and how strongly", "the apps that encrypt"),
    ("3.6.1", "how keys are protected, and who has access to cleartext keys", "the custodians of the keys"),
    ("3.6.1.4", "the number of places where keys are stored", "the custodians of the keys"),
    ("3.7.1", "how keys are generated", "the custodians of the keys"),
    ("3.2.1", "copies in backups, replicas and snapshots of the database", "the operator of the database"),
    ("8.6.1", "interactive use of the accounts of applications", "the owners of the apps"),
    ("8.6.2", "secrets in the code and files of apps", "the owners of the apps"),
    (
        "10.2.1.7",
        "creation and deletion of system-level objects: executables, configuration files, database tables",
        "the operators of the host and the database",
    ),
    ("10.3.3", "copies of the logs elsewhere", "the operator of the vault"),
    ("10.4.1", "whether the logs are reviewed daily", "the security team"),
    ("10.6.1", "whether the clock of the storage is synchronised", "the operator of the host"),
    (
        "12.3.3",
        "the inventory of cipher suites and protocols in use, with place and purpose",
        "the operator of the vault",
    ),
    ("12.5.2", "the scope of the assessment", "the assessed entity, with its QSA"),
)


class NotAssessed:
    """What the vault cannot know, and who can."""

    name = "not_assessed"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Each item with its requirement and its owner."""
        return Finding(
            title="What the vault cannot know",
            requirements=sorted({number for number, _, _ in NOT_ASSESSED}),
            supports="Nothing: each item needs evidence from its owner.",
            method="A fixed list. Nothing was counted.",
            check="Ask each owner; GET /compliance/evidence has the settings that the vault runs with.",
            measured="now",
            population=len(NOT_ASSESSED),
            owner="see each item",
            figures={
                "items": [{"requirement": number, "what": what, "owner": owner} for number, what, owner in NOT_ASSESSED]
            },
        ).member(context.period)


def _not_after(path: str) -> str | None:
    """Return the expiry of the certificate, or None if it cannot be read."""
    from cryptography import x509  # noqa: PLC0415 - only a report needs it, and it takes long to import

    try:
        return format_time(x509.load_pem_x509_certificate(Path(path).read_bytes()).not_valid_after_utc)
    except (OSError, ValueError):
        return None


def _plain(storage: Mapping[str, Any]) -> dict[str, Any]:
    """Return the storage's own status as JSON types."""
    return {str(name): _simple(value) for name, value in sorted(storage.items())}


def _simple(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_simple(each) for each in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
