"""The protocol of authenticators, which map a request's credential to a principal."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from typing import Protocol

from vsqlvault.config import Settings
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.principal import Principal
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Presented:
    """The parts of a request that can authenticate it.

    ``headers`` has lower-case names and one value each; a request with a repeated credential header is rejected before.
    ``client_address`` is the client's address without a port.

    ``client_certificate`` is the client's certificate in DER. The client has proved possession of its key in a TLS
    handshake, with this server or with a trusted proxy. Its chain was verified, and it is neither revoked nor expired.
    ``client_issuers`` are the certificates of the authorities in that chain, in DER, from the issuer to the trusted
    one. The certificate of a proxy is never used here.
    """

    headers: Mapping[str, str]
    client_address: str | None = None
    client_certificate: bytes | None = None
    client_issuers: tuple[bytes, ...] = ()


class Authenticator(Protocol):
    """Verifies one kind of credential."""

    name: str
    """The ``method`` on audit rows, unique among the loaded plugins."""

    credential_headers: tuple[str, ...]
    """The lower-case headers that it reads; empty if it uses only the certificate.

    The server rejects a request that repeats one of them.
    """

    def authenticate(self, presented: Presented) -> Principal | Awaitable[Principal | None] | None:
        """Return the principal, or None if the request has no credential of this kind.

        An invalid credential is rejected, whatever else the request contains. Use a plain ``def`` if it never waits,
        else ``async def``. It runs on every request: it must not block, and must take the same time for a wrong secret
        as for a wrong name.

        Raises:
            CredentialRefused: the credential is of this kind and invalid; ``why`` goes to the audit row.
            AuthUnavailable: the credential is of this kind, and cannot be verified now.
        """
        ...

    async def reload(self, settings: Settings) -> None:
        """Apply new settings (SIGHUP). Credentials that were removed are rejected once this returns.

        If another authenticator rejects the new settings, this one receives the old ones again.

        Raises:
            SettingsInvalid: the settings cannot be used; nothing has changed.

        Default: nothing changes.
        """
        del settings

    def credentials(self) -> Iterable[KnownCredential]:
        """Return the credentials that are known before anybody presents them. Default: none.

        Metrics and report show them, and the vault records when each was last used. It must not block.
        """
        return ()

    @property
    def is_in_use(self) -> bool:
        """Whether any credential could be good now. False: nothing is configured. Default: True.

        If no authenticator is in use, the vault warns at start that nobody can call it.
        """
        return True
