"""The requirements of PCI DSS v4.0.1 in the report, with short titles in our own words.

The numbers are those of the standard of June 2024. The titles are not quotations. Other numbers for the same evidence
are kept as aliases with a note, because in v4.0.1 they mean something else or nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from vsqlvault.quick_dataclass import dataclass

VERSION = "4.0.1"


@dataclass(frozen=True, slots=True)
class Alias:
    """Another number for the same evidence: its former label, and its meaning in v4.0.1."""

    number: str
    label: str
    requirements: tuple[str, ...]
    note: str


REQUIREMENTS: Mapping[str, str] = MappingProxyType({
    "2.2.1": "Configuration standards for system components are kept and applied",
    "2.2.7": "Non-console administrative access is encrypted",
    "3.1.1": "Policies for stored account data are documented, current and known",
    "3.2.1": "Stored account data is kept to a minimum, and its deletion is verified every three months",
    "3.3.1": "Sensitive authentication data is not kept after authorisation, even if it is encrypted",
    "3.5.1": "Account numbers are unreadable wherever they are stored",
    "3.6.1": "Keys that protect stored account data are themselves protected",
    "3.6.1.1": "For service providers only: the cryptographic architecture is described, with algorithms, keys and devices",
    "3.6.1.3": "Access to cleartext keys is restricted to the fewest custodians",
    "3.6.1.4": "Keys are stored in the fewest possible locations",
    "3.7.1": "Key management generates strong keys",
    "3.7.4": "Keys are changed at the end of their cryptoperiod",
    "3.7.5": "Keys are retired, replaced or destroyed when they must no longer be used",
    "4.2.1": "Account numbers are protected by strong cryptography on open networks",
    "4.2.1.1": "An inventory of trusted keys and certificates that protect account numbers in transmission is kept",
    "6.3.2": "An inventory of bespoke and custom software and its third-party components is kept, to manage flaws and patches",
    "7.2.1": "An access control model grants access by need and least privilege",
    "7.2.4": "All user accounts and their access are reviewed every six months, corrected, and acknowledged by management",
    "7.2.5": "Accounts of applications and systems have least privilege",
    "7.2.5.1": "Access of applications and systems is reviewed periodically",
    "7.2.6": "Users query repositories of stored cardholder data through programs, and only administrators query directly",
    "7.3.3": "Access control denies by default",
    "8.2.1": "All users have a unique id before they get access",
    "8.2.2": "Shared and generic ids are exceptions: justified, approved, limited in time, and attributable to a person",
    "8.2.6": "User accounts that are inactive for 90 days are removed or disabled",
    "8.3.1": "Each access of users and administrators is authenticated with at least one factor",
    "8.3.2": "Authentication factors are unreadable in transmission and storage",
    "8.3.4": "Invalid attempts to authenticate lock the id out: after ten at most, for at least 30 minutes or until confirmed",
    "8.4.1": "Administrators have multi-factor authentication for all access beyond the console",
    "8.4.2": "All access into the cardholder data environment beyond the console has multi-factor authentication",
    "8.4.3": "Remote access from outside the network that could reach cardholder data has multi-factor authentication",
    "8.6.1": "Interactive use of application and system accounts is exceptional and attributable",
    "8.6.2": "Secrets of application and system accounts are not hard-coded",
    "8.6.3": "Secrets of application and system accounts are changed and sufficiently strong",
    "10.2.1.1": "Logs record each user's access to cardholder data",
    "10.2.1.2": "Logs record all actions of administrators",
    "10.2.1.3": "Logs record each access to the logs",
    "10.2.1.4": "Logs record each invalid attempt at logical access",
    "10.2.1.5": "Logs record each change of credentials",
    "10.2.1.6": "Logs record each start, stop and pause of logging",
    "10.2.1.7": "Logs record each creation and deletion of system-level objects",
    "10.2.2": "Log rows contain user, event type, time, outcome, origin and affected resource",
    "10.3.1": "Logs are read only by those who need to",
    "10.3.2": "Logs are protected against changes",
    "10.3.3": "Logs are backed up to a location that is difficult to change",
    "10.3.4": "Changes of logs are detected",
    "10.4.1": "Logs are reviewed daily",
    "10.4.1.1": "Logs are reviewed by automated mechanisms",
    "10.5.1": "Logs are kept for twelve months, three of them immediately available",
    "10.6.1": "Clocks are synchronised",
    "10.6.3": "Settings and data of time synchronisation are protected, and their changes are logged and reviewed",
    "10.7.2": "Failures of critical security controls are detected, alerted and addressed promptly",
    "10.7.3": "Failures of critical security controls are responded to promptly, and their duration is documented",
    "12.3.3": "Cipher suites and protocols in use are documented and reviewed",
    "12.3.4": "Hardware and software technologies in use are reviewed every twelve months, with a plan for outdated ones",
    "12.5.2": "The scope is documented and confirmed",
})  # fmt: skip
"""Every requirement id that a section may use, with its title."""

ALIASES: tuple[Alias, ...] = (
    Alias("3.1.1", "Data retention policies", ("3.2.1",), (
        "In v4.0.1, 3.1.1 requires documented policies and "
        "procedures."
    )),
    Alias("3.1.2", "Data limited to what is needed", ("3.2.1",), (
        "In v4.0.1, 3.1.2 requires defined roles and "
        "responsibilities."
    )),
    Alias(
        "3.3.2", "PAN rendered unreadable", ("3.5.1",),
        "In v4.0.1, 3.3.2 concerns sensitive authentication data that is kept before authorisation.",
    ),
    Alias(
        "3.5.1", "Access to crypto keys restricted", ("3.6.1", "3.6.1.3"),
        "In v4.0.1, 3.5.1 concerns account numbers that are unreadable where they are stored.",
    ),
    Alias(
        "3.6.1.4", "Key changes at cryptoperiod end", ("3.7.4", "3.7.5"),
        "In v4.0.1, 3.6.1.4 concerns the number of places where keys are stored.",
    ),
    Alias("3.7.1", "Key management policies documented", ("3.1.1", "3.7.1"), (
        "In v4.0.1, 3.7.1 concerns the "
        "generation of strong keys."
    )),
)  # fmt: skip
"""The requirement numbers in the specification of the report."""


def unknown_ids(ids: Iterable[str]) -> list[str]:
    """Return the ids that are not in ``REQUIREMENTS``, in order."""
    return sorted(set(ids) - REQUIREMENTS.keys())
