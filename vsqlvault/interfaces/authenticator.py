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
    ``client_address`` is the peer's address without a port. ``client_certificate`` is the certificate, in DER, whose key the
    client has proved to have in the TLS handshake; it was good then, and is not revoked or expired now.
    """

    headers: Mapping[str, str]
    client_address: str | None = None
    client_certificate: bytes | None = None


class Authenticator(Protocol):
    """Knows one kind of credential.

    One that knows its credentials before anybody presents them may also have a plain method ``credentials()`` that returns a
    ``vsqlvault.model.credential.KnownCredential`` for each: they stand in the metrics and the report, with their last use.
    """

    name: str
    """Stands on audit rows as the method, and must be unique among the plugins loaded."""

    credential_headers: tuple[str, ...]
    """The lower-case headers it reads. The server refuses a request in which one of them stands twice."""

    def authenticate(self, presented: Presented) -> Principal | Awaitable[Principal | None] | None:
        """Return the principal, or None when the request presents nothing of this kind.

        A credential that is present and bad is refused, whatever else the request presents. A plain ``def`` where that needs
        no waiting, else ``async def``. This runs on each request: it must not block, and it must take the same time for a
        wrong secret as for a wrong name.

        Raises:
            CredentialRefused: the credential is this authenticator's and not good; ``why`` goes to the audit row.
        """
        ...

    async def reload(self, settings: Settings) -> None:
        """Take new settings (SIGHUP): credentials that are gone from them are refused once this returns.

        Where another authenticator refuses the new settings, this one is given its old ones back.

        Raises:
            SettingsInvalid: they cannot be used; then everything stays as it was.
        """
        ...
