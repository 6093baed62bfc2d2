"""Turning what a request presents into a principal."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

from vsqlvault.config import Settings
from vsqlvault.model.principal import Principal


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request presents to be recognised by.

    ``headers`` has lower-case names and the one value of each (a repeated credential header never gets this far).
    ``client_address`` is the client's address without a port. ``client_certificate`` is the certificate, in DER, whose key
    the client has proved to have in a TLS handshake, with this server or with a proxy that may tell; its chain was verified,
    and it is not revoked or expired now. ``client_issuers`` are the authorities' certificates in that chain, in DER, from
    the one that issued it to the one that is trusted. The certificate of a proxy never stands here.
    """

    headers: Mapping[str, str]
    client_address: str | None = None
    client_certificate: bytes | None = None
    client_issuers: tuple[bytes, ...] = ()


class Authenticator(Protocol):
    """Knows one kind of credential.

    One that knows its credentials before anybody presents them may also have a plain method ``credentials()`` that returns a
    ``vsqlvault.model.credential.KnownCredential`` for each: they stand in the metrics and the report, with their last use.

    One that verifies by keys that it fetches may have a plain method ``keys_fresh()`` that returns a
    ``vsqlvault.model.control.Check``. It is asked twice a minute, and may begin a fetch that is due.
    """

    name: str
    """Stands on audit rows as the method, and must be unique among the plugins loaded."""

    credential_headers: tuple[str, ...]
    """The lower-case headers it reads; none where it looks at the certificate alone. The server refuses a request in which
    one of them stands twice."""

    def authenticate(self, presented: Presented) -> Principal | Awaitable[Principal | None] | None:
        """Return the principal, or None when the request presents nothing of this kind.

        A credential that is present and bad is refused, whatever else the request presents. A plain ``def`` where that needs
        no waiting, else ``async def``. This runs on each request: it must not block, and it must take the same time for a
        wrong secret as for a wrong name.

        Raises:
            CredentialRefused: the credential is this authenticator's and not good; ``why`` goes to the audit row.
            AuthUnavailable: it is this authenticator's, and what would tell whether it is good cannot be had now.
        """
        ...

    async def reload(self, settings: Settings) -> None:
        """Take new settings (SIGHUP): credentials that are gone from them are refused once this returns.

        Where another authenticator refuses the new settings, this one is given its old ones back.

        Raises:
            SettingsInvalid: they cannot be used; then everything stays as it was.
        """
        ...
