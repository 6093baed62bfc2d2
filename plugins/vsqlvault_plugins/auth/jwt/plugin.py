"""Authenticates callers by a JSON Web Token in ``Authorization: Bearer``."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from inspect import isawaitable
from pathlib import Path
from weakref import WeakSet

from vsqlvault.config import PluginSettings, Settings
from vsqlvault.errors import AuthUnavailable, CredentialRefused, SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.interfaces.command import VaultCommand
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.model.control import Check, ControlState
from vsqlvault.model.principal import Principal
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.auth.jwt.claims import METHOD, Claims, Recognised
from vsqlvault_plugins.auth.jwt.key_cache import DEFAULT_FETCH_TIMES, FetchTimes, KeyCache, Times
from vsqlvault_plugins.auth.jwt.keys import JwksRefused, KeySet, read_key_set
from vsqlvault_plugins.auth.jwt.settings import JwtSettings, JwtTable
from vsqlvault_plugins.auth.jwt.sources import FileSource, port_of, source_of
from vsqlvault_plugins.auth.jwt.tokens import Token, bearer_token, take_apart

MAX_REMEMBERED = 4096
_open: WeakSet[JwtAuthenticator] = WeakSet()


@dataclass(frozen=True, slots=True)
class _Issuer:
    settings: JwtSettings
    claims: Claims
    keys: KeyCache


@dataclass(frozen=True, slots=True)
class _Missing:
    """The keys must be fetched before the token can be verified. ``kid`` is the missing key, if only one is missing."""

    issuer: _Issuer
    kid: str | None = None


@dataclass(frozen=True, slots=True)
class _Remembered:
    """A token that was verified with these keys. It is valid while they are in force and ``check`` passes."""

    recognised: Recognised
    issuer: _Issuer
    verified_by: KeySet


class JwtAuthenticator(Authenticator):
    """Authenticates apps by tokens of the issuers under ``[[auth.jwt]]``. Without issuers it ignores bearer tokens."""

    name = METHOD
    credential_headers: tuple[str, ...] = ("authorization",)

    def __init__(
        self,
        settings: JwtTable,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        fetch_times: FetchTimes = DEFAULT_FETCH_TIMES,
        max_remembered: int = MAX_REMEMBERED,
    ) -> None:
        """``now`` is Unix time, for claims. ``clock`` is monotonic, for the age of keys.

        Raises:
            SettingsInvalid: a file of an issuer cannot be used.
        """
        self._now = now
        self._clock = clock
        self._fetch_times = fetch_times
        self._max_remembered = max_remembered
        self._issuers = self._made(settings)
        self._remembered: OrderedDict[bytes, _Remembered] = OrderedDict()
        _open.add(self)

    def authenticate(self, presented: Presented) -> Principal | Awaitable[Principal | None] | None:
        """See ``Authenticator.authenticate``. It waits only if keys must be fetched first."""
        authorization = presented.headers.get("authorization")
        if authorization is None or not self._issuers:
            return None
        text = bearer_token(authorization)
        if text is None:
            return None
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        found = self._recalled(digest) or self._recognised(text, digest)
        if isinstance(found, _Missing):
            return self._after_loading(found, presented, text, digest)
        found.check(self._now(), presented.client_certificate)
        return found.principal

    async def reload(self, settings: Settings) -> None:
        """See ``Authenticator.reload``. Keys are fetched again before they are used, if possible."""
        issuers = self._made(settings.plugin(METHOD))
        for name, issuer in issuers.items():
            former = self._issuers.get(name)
            if former is not None and former.settings == issuer.settings:
                issuer.keys.inherit(former.keys)
        former_issuers, self._issuers = self._issuers, issuers
        self._remembered.clear()
        for former in former_issuers.values():
            await former.keys.close()

    @property
    def is_in_use(self) -> bool:
        """See ``Authenticator.is_in_use``."""
        return bool(self._issuers)

    def keys_fresh(self) -> Check:
        """Return whether every issuer's keys are fresh, and start a fetch that is due. The detail names failing issuers."""
        checks = [issuer.keys.check() for issuer in self._issuers.values()]
        failing = [check.detail for check in checks if check.state is ControlState.FAILING]
        if failing:
            return Check(ControlState.FAILING, "; ".join(failing))
        return (
            Check(ControlState.OK, "keys are fetched in time")
            if checks
            else Check(ControlState.NOT_IN_USE, "no issuer")
        )

    async def close(self) -> None:
        """Cancel running fetches."""
        for issuer in self._issuers.values():
            await issuer.keys.close()

    def _recalled(self, digest: bytes) -> Recognised | None:
        remembered = self._remembered.get(digest)
        if remembered is None:
            return None
        if remembered.verified_by is not remembered.issuer.keys.in_force():
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return remembered.recognised

    def _recognised(self, text: str, digest: bytes) -> Recognised | _Missing:
        """Return the content of a token, or what is missing to verify it."""
        token = take_apart(text)
        issuer = self._issuer_of(token)
        keys = issuer.keys.in_force()
        if keys is None:
            return _Missing(issuer)
        if not keys.has(token.kid):
            if issuer.keys.may_look_for(token.kid):
                return _Missing(issuer, token.kid)
            raise CredentialRefused("kid")
        if not keys.find(token.kid, token.algorithm).verifies(token.algorithm, token.signing_input, token.signature):
            raise CredentialRefused("signature")
        recognised = issuer.claims.recognise(token, digest, self._now())
        self._remember(digest, _Remembered(recognised, issuer, keys))
        return recognised

    def _issuer_of(self, token: Token) -> _Issuer:
        """Return the issuer that the token claims, after checking the header against its settings."""
        name = token.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise CredentialRefused("iss")
        if token.algorithm not in issuer.settings.algorithms:
            raise CredentialRefused("alg")
        issuer.claims.check_type(token.typ)
        return issuer

    async def _after_loading(self, missing: _Missing, presented: Presented, text: str, digest: bytes) -> Principal:
        """Fetch the keys, and verify from the beginning; once more if new settings were loaded meanwhile."""
        while True:
            await missing.issuer.keys.load()
            found = self._recognised(text, digest)
            if isinstance(found, Recognised):
                found.check(self._now(), presented.client_certificate)
                return found.principal
            if found.issuer is missing.issuer:
                raise CredentialRefused("kid") if found.kid is not None else AuthUnavailable
            missing = found

    def _remember(self, digest: bytes, remembered: _Remembered) -> None:
        if len(self._remembered) >= self._max_remembered:
            self._remembered.popitem(last=False)
        self._remembered[digest] = remembered

    def _made(self, settings: JwtTable) -> Mapping[str, _Issuer]:
        return {each.issuer: self._issuer(each) for each in settings.jwt}

    def _issuer(self, settings: JwtSettings) -> _Issuer:
        source = source_of(settings)
        if isinstance(source, FileSource):
            _check_file(source, settings)
        times = Times(settings.jwks_ttl_seconds, settings.last_good_seconds, settings.unknown_kid_cooldown_seconds)
        keys = KeyCache(settings.issuer, source, settings.algorithms, times, self._clock, self._fetch_times)
        return _Issuer(settings, Claims(settings), keys)


class KeysFresh(VaultControl):
    """The control ``jwks_fresh``."""

    name = "jwks_fresh"
    requirements: tuple[str, ...] = ("8.3.1", "10.7.2")

    def __init__(self, authenticator: JwtAuthenticator | None) -> None:
        self._authenticator = authenticator

    async def check(self, now: datetime) -> Check:  # noqa: ARG002 - keys age by this machine's clock
        """See ``VaultControl.check``."""
        if self._authenticator is None:
            return Check(ControlState.NOT_IN_USE, "no issuer")
        return self._authenticator.keys_fresh()


class CheckToken(VaultCommand):
    """``vsql-vault check-token``: what the settings make of a token."""

    name = "check-token"
    help = "read a JSON Web Token from a file or stdin, and print the caller it makes, or why it is refused"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """See ``VaultCommand.add_arguments``."""
        parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="file with the token; - is stdin")

    def run(self, options: Namespace, settings: Settings) -> int:
        """See ``VaultCommand.run``. The token is never printed."""
        try:
            with sys.stdin if options.file == "-" else Path(options.file).open("r", encoding="utf-8") as file:
                token = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            found = error.strerror if isinstance(error, OSError) else "other bytes"
            raise SettingsInvalid(f"FILE: expected a readable file with a token, found: {found}") from None
        return asyncio.run(self._check(settings, token))

    @staticmethod
    async def _check(settings: Settings, token: str) -> int:
        authenticator = JwtAuthenticator(settings.plugin(METHOD))
        try:
            found = authenticator.authenticate(Presented({"authorization": f"Bearer {token}"}))
            principal = await found if isawaitable(found) else found
        except (CredentialRefused, AuthUnavailable) as refused:
            why = refused.why if isinstance(refused, CredentialRefused) else "the keys of the issuer cannot be fetched"
            print(f"refused: {why}")  # noqa: T201
            return 1
        finally:
            await authenticator.close()
        if principal is None:
            print("refused: no issuer is configured under [[auth.jwt]]")  # noqa: T201
            return 1
        purposes = "*" if principal.purposes is None else ", ".join(sorted(principal.purposes)) or "none"
        roles = ", ".join(sorted(role.value for role in principal.roles)) or "none"
        print(f"accepted\napp: {principal.app}\nidentity: {principal.identity or 'none'}")  # noqa: T201
        print(f"purposes: {purposes}\nroles: {roles}\ncredential: {principal.credential_id}")  # noqa: T201
        return 0


class _Latest:
    """The authenticator that was offered last."""

    authenticator: JwtAuthenticator | None = None


_latest = _Latest()


def _check_file(source: FileSource, settings: JwtSettings) -> None:
    try:
        read_key_set(source.read(), settings.algorithms, settings.issuer)
    except (OSError, JwksRefused) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SettingsInvalid(
            f"auth.jwt: {settings.issuer}: jwks_file: expected a JWK Set in {settings.jwks_file}, found: {reason}"
        ) from None


@hookimpl
def vault_settings() -> list[PluginSettings]:
    """Return the settings under ``[[auth.jwt]]``."""
    return [PluginSettings(METHOD, JwtTable, section="auth")]


@hookimpl
def vault_authenticators(settings: Settings) -> list[Authenticator]:
    """Return the authenticator of tokens."""
    _latest.authenticator = JwtAuthenticator(settings.plugin(METHOD))
    return [_latest.authenticator]


@hookimpl
def vault_controls() -> list[VaultControl]:
    """Offer ``jwks_fresh``, of the authenticator that was offered last: both hooks are called for one vault in turn."""
    return [KeysFresh(_latest.authenticator)]


@hookimpl
def vault_commands() -> list[VaultCommand]:
    """Offer ``vsql-vault check-token``."""
    return [CheckToken()]


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Declare the files of keys and authorities, and the ports for fetching keys: any port if an issuer uses discovery."""
    return [_needs_of(issuer) for issuer in settings.plugin(METHOD).jwt]


def _needs_of(issuer: JwtSettings) -> ProcessNeeds:
    files = tuple(path for path in (issuer.jwks_file, issuer.ca_file) if path is not None)
    if issuer.jwks_file is not None:
        return ProcessNeeds(readable=files)
    if issuer.jwks_url is None:
        return ProcessNeeds(readable=files, connect_ports=None)
    return ProcessNeeds(readable=files, connect_ports=(port_of(issuer.jwks_url),))


@hookimpl
async def vault_shutdown() -> None:
    """Cancel running fetches on this event loop."""
    for authenticator in list(_open):
        await authenticator.close()
