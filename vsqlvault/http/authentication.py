"""From what a request presents to a principal, or to a refusal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from vsqlvault.errors import AmbiguousCredentials, CredentialRefused, PluginFailed, VaultError
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.model.principal import Principal

log = logging.getLogger(__name__)
AUTHENTICATOR_SECONDS = 2.0


async def authenticate(
    authenticators: Sequence[Authenticator], headers: Mapping[str, str], client_address: str | None
) -> Principal:
    """Ask every authenticator: each sees its own credential, and one that is bad ends it, whatever else is there.

    Raises:
        CredentialRefused: no credential, a bad one, or an ``Authorization`` that nobody knows.
        AmbiguousCredentials: two good ones that name different apps.
        PluginFailed: an authenticator failed, or was late.
    """
    presented = Presented(headers, client_address)
    principal: Principal | None = None
    claimed_authorization = False
    for authenticator in authenticators:
        found = await _asked(authenticator, presented)
        if found is None:
            continue
        claimed_authorization |= "authorization" in authenticator.credential_headers
        if principal is not None and principal.app != found.app:
            raise AmbiguousCredentials
        principal = principal or found
    if "authorization" in headers and not claimed_authorization:
        raise CredentialRefused("unknown_scheme")
    if principal is None:
        raise CredentialRefused("no_credential")
    return principal


async def _asked(authenticator: Authenticator, presented: Presented) -> Principal | None:
    try:
        async with asyncio.timeout(AUTHENTICATOR_SECONDS):
            found = await authenticator.authenticate(presented)
    except VaultError:
        raise
    except Exception as error:
        log.error("authenticator failed", extra={"plugin": authenticator.name, "error": type(error).__name__})  # noqa: TRY400
        raise PluginFailed from error
    if found is not None and not isinstance(found, Principal):
        raise PluginFailed
    return found
