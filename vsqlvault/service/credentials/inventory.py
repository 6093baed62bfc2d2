"""The inventory of credentials, and when each was last used."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from vsqlvault.errors import PluginFailed, VaultError
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.credential import CredentialName, CredentialUse, KnownCredential
from vsqlvault.model.principal import Principal
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.plugin_calls import call_plain
from vsqlvault.service.tasks import PeriodicTask

log = logging.getLogger(__name__)
TICK_SECONDS = 1.0
FLUSH_SECONDS = 60.0
MAX_USED = 100_000
MAX_REMEMBERED = 32_768


class Credentials:
    """The credentials of the authenticators that list them, with their last uses.

    A request only adds the name of its credential to a set. Once a second the names get the time, once a minute they are
    written to the storage in one write.
    """

    def __init__(
        self,
        storage: Storage,
        clock: StorageClock,
        authenticators: Sequence[Authenticator],
        read: Callable[[], Awaitable[object]],
        *,
        tick_seconds: float = TICK_SECONDS,
        max_used: int = MAX_USED,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._read = read
        self._authenticators = tuple(authenticators)
        self._listing: dict[str, Any] = {
            each.name: each for each in authenticators if callable(getattr(each, "credentials", None))
        }
        self._used: set[tuple[str, str]] = set()
        self._looked_at: dict[int, KnownCredential] = {}
        self._pending: dict[CredentialName, datetime] = {}
        self._uses: dict[CredentialName, CredentialUse] = {}
        self._tick_seconds = tick_seconds
        self._max_used = max_used
        self._ticks = 0
        self.task = PeriodicTask("credentials", self._step, tick_seconds)
        """Follows the storage once a second, and writes the uses once a minute."""

    def record_usage(self, principal: Principal) -> None:
        """Record that the credential of this principal was accepted just now."""
        if principal.method in self._listing and len(self._used) < self._max_used:
            self._used.add((principal.method, principal.credential_id))

    def known(self) -> list[KnownCredential]:
        """Return every configured or stored credential, with its uses as of the last flush and by this process since."""
        self.tick()
        return [self._with_uses(name, each) for name, each in self._listed()]

    def known_apps(self) -> frozenset[str] | None:
        """Return the apps of all configured and stored credentials. None: some credentials are not known in advance."""
        apps: set[str] = set()
        for authenticator in self._authenticators:
            listed = {each.app for name, each in self._listed() if name.method == authenticator.name}
            if authenticator.is_in_use and not listed:
                return None
            apps |= listed
        return frozenset(apps)

    async def inventory(self) -> list[KnownCredential]:
        """Return the same as ``known``, with the uses by every process that have reached the storage.

        Raises:
            Unavailable: the storage cannot answer.
        """
        self._uses = dict(await self._storage.credential_uses())
        return self.known()

    def tick(self) -> None:
        """Give the current time to the uses since the last tick."""
        used, self._used = self._used, set()
        now = self._clock.now()
        for name in used:
            self._pending[CredentialName(*name)] = now

    async def flush(self) -> None:
        """Write the uses to the storage; uses that it does not accept now are kept for the next flush."""
        self.tick()
        pending, self._pending = self._pending, {}
        try:
            if pending:
                await self._storage.record_usages(pending)
            self._uses = dict(await self._storage.credential_uses())
        except VaultError as error:
            self._pending = {**pending, **self._pending}
            log.warning("uses of credentials wait for the storage", extra={"error": error.slug})

    async def _step(self) -> None:
        await self.follow()
        if self._ticks % round(FLUSH_SECONDS / TICK_SECONDS) == 0:
            await self.flush()
        self._ticks += 1

    async def follow(self) -> None:
        """Refresh policies and keys that are older than a second; an unavailable storage is retried the next time."""
        self.tick()
        if self._clock.age_seconds() >= self._tick_seconds:
            with suppress(VaultError):
                await self._read()

    def _listed(self) -> list[tuple[CredentialName, KnownCredential]]:
        found: list[tuple[CredentialName, KnownCredential]] = []
        for name, authenticator in self._listing.items():
            try:
                listed = call_plain(authenticator, partial(self._listed_by, name, authenticator))
            except PluginFailed:  # the credentials of the others are listed
                continue
            found += [(CredentialName(name, each.credential_id), each) for each in listed]
        return found

    def _listed_by(self, name: str, authenticator: Any) -> list[KnownCredential]:
        return [self._sound(name, each) for each in authenticator.credentials()]

    def _sound(self, method: str, listed: Any) -> KnownCredential:
        """Return a plugin's listed credential, validated once per object. Raises TypeError."""
        if self._looked_at.get(id(listed)) is not listed:
            _check(listed)
            if len(self._looked_at) >= MAX_REMEMBERED:
                self._looked_at.clear()
            self._looked_at[id(listed)] = listed
        sound: KnownCredential = listed if listed.method == method else replace(listed, method=method)
        return sound

    def _with_uses(self, name: CredentialName, credential: KnownCredential) -> KnownCredential:
        stored, pending = self._uses.get(name), self._pending.get(name)
        times = [at for at in ((stored.first_used_at, stored.last_used_at) if stored else ()) if at]
        times += [pending] if pending else []
        if not times:
            return credential
        return replace(credential, first_used_at=min(times), last_used_at=max(times))


def _check(credential: Any) -> None:
    """Raise TypeError unless metrics and the report can use a credential that a plugin listed."""
    if not isinstance(credential, KnownCredential):
        raise TypeError("not a credential")
    texts = (
        credential.credential_id,
        credential.app,
        credential.source,
        credential.identity or "",
        credential.fingerprint or "",
    )
    times = (credential.created_at, credential.expires_at, credential.revoked_at)
    sets = (credential.purposes or frozenset(), credential.roles)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(at is None or (isinstance(at, datetime) and at.tzinfo is not None) for at in times)
        and all(isinstance(each, frozenset) for each in sets)
    ):
        raise TypeError("an invalid credential")


def last_uses(credentials: Sequence[KnownCredential]) -> Mapping[str, datetime | None]:
    """Return when each credential was last used, by its id."""
    return {each.credential_id: each.last_used_at for each in credentials}
