"""Conformance tests of authenticators, which use only the ``Authenticator`` protocol.

Example:
    class TestBadges(AuthenticatorConformance):
        @pytest.fixture
        def authenticator_case(self):
            settings = load_settings(None, {})
            return AuthenticatorCase(
                BadgeAuthenticator(settings), {"x-badge": "badge-7-secret"}, "badge-7-secret", settings, without, unusable
            )
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import pytest

from vsqlvault.config import Settings
from vsqlvault.errors import CredentialRefused, StartUpRefused
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.model.entry import PURPOSE
from vsqlvault.model.principal import Principal, Role
from vsqlvault.testing.driving import LoopKit, driven, never_blocks

SHORTEST_SECRET = 8
MAX_WHY_CHARACTERS = 64
USUAL = {"host": "localhost", "accept": "*/*", "user-agent": "kit"}
SPOILT = (
    "empty", "one more", "one fewer", "another first", "other case", "twice", "overlong", "not ASCII", "control characters",
)  # fmt: skip


@dataclass(frozen=True)
class AuthenticatorCase:
    """An authenticator and its test data.

    ``headers`` contain a valid credential, with lower-case names. ``secret``, of eight characters or more, is the part
    of them that must never be shown. ``settings`` are those of the authenticator, ``without`` lack the credential, and
    ``unusable`` are rejected by ``reload`` (None: it rejects none).

    An authenticator that uses only the client's certificate has no ``headers``, and ``""`` as ``secret``.
    ``certificate`` is a valid one, in DER. ``bad_certificates`` are invalid ones, by their fault.
    """

    authenticator: Authenticator
    headers: Mapping[str, str]
    secret: str
    settings: Settings
    without: Settings
    unusable: Settings | None = None
    certificate: bytes | None = None
    bad_certificates: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def bad(self) -> list[str]:
        """The faults that a credential of this kind can have."""
        return list(SPOILT if self.headers else self.bad_certificates)

    def spoilt(self, how: str) -> str:
        """Return an invalid secret."""
        secret = self.secret
        return {
            "empty": "",
            "one more": secret + "x",
            "one fewer": secret[:-1],
            "another first": ("y" if secret[0] == "x" else "x") + secret[1:],
            "other case": secret.swapcase() if secret.swapcase() != secret else secret + "X",
            "twice": secret + secret,
            "overlong": "x" * 1_000_000,
            "not ASCII": secret[:-1] + "\xe9\xff",
            "control characters": secret[:-1] + "\x00\x1b\x7f",
        }[how]

    async def present(self, secret: str | None = None) -> Principal | None:
        """Return a request with the valid credential, or with ``secret`` instead, and with usual headers."""
        headers = {
            name: value if secret is None else value.replace(self.secret, secret)
            for name, value in self.headers.items()
        }
        return await self.answer(Presented({**USUAL, **headers}, "192.0.2.7", self.certificate))

    async def present_bad(self, how: str) -> Principal | None:
        """Return a request with a credential that has one of the faults in ``bad``."""
        if self.headers:
            return await self.present(self.spoilt(how))
        return await self.answer(Presented(USUAL, "192.0.2.7", self.bad_certificates[how]))

    async def answer(self, presented: Presented) -> Principal | None:
        """Call the authenticator, whether it is plain or a coroutine."""
        found = self.authenticator.authenticate(presented)
        return await found if inspect.isawaitable(found) else found


class AuthenticatorConformance(LoopKit):
    """Subclass it, and define the fixture ``authenticator_case``."""

    @pytest.fixture
    def authenticator_case(self) -> AuthenticatorCase:
        """Return a new authenticator with a valid credential."""
        raise NotImplementedError("define the fixture authenticator_case")

    def test_it_says_what_it_is_called_and_what_it_reads(self, authenticator_case: AuthenticatorCase) -> None:
        authenticator = authenticator_case.authenticator
        assert isinstance(authenticator.name, str)
        assert authenticator.name.strip()
        names = authenticator.credential_headers
        assert isinstance(names, tuple)
        assert names or authenticator_case.certificate
        assert len(set(names)) == len(names)
        assert all(name and name == name.lower() and name.isascii() for name in names)

    def test_the_case_is_fit_to_show_something(self, authenticator_case: AuthenticatorCase) -> None:
        """A credential in a header that is not read, or one that is too short to search for, would prove nothing."""
        case = authenticator_case
        if case.certificate and not case.headers:
            assert case.bad_certificates
            assert case.certificate not in case.bad_certificates.values()
            return
        assert len(case.secret) >= SHORTEST_SECRET
        assert any(case.secret in value for value in case.headers.values())
        assert set(case.headers) & set(case.authenticator.credential_headers)

    @pytest.mark.parametrize("address", [None, "192.0.2.7", "2001:db8::1"])
    @pytest.mark.parametrize("headers", [{}, {"accept": "*/*", "cookie": "a=b"}], ids=["no headers", "other headers"])
    @driven
    async def test_where_nothing_of_its_kind_is_presented_it_says_nothing(
        self, authenticator_case: AuthenticatorCase, headers: dict[str, str], address: str | None
    ) -> None:
        assert await authenticator_case.answer(Presented(headers, address)) is None

    @driven
    async def test_a_scheme_that_is_not_its_own_is_nothing_of_its_kind(
        self, authenticator_case: AuthenticatorCase
    ) -> None:
        scheme, _, token = authenticator_case.headers.get("authorization", "").partition(" ")
        if not token:
            pytest.skip("its credential is not an Authorization with a scheme")
        presented = Presented({"authorization": f"x-not-{scheme} {authenticator_case.secret}"})
        assert await authenticator_case.answer(presented) is None

    @driven
    async def test_a_good_credential_gives_a_sound_principal(self, authenticator_case: AuthenticatorCase) -> None:
        principal = await authenticator_case.present()
        assert isinstance(principal, Principal)
        assert principal.method == authenticator_case.authenticator.name
        assert isinstance(principal.app, str)
        assert principal.app.strip()
        assert isinstance(principal.credential_id, str)
        assert principal.credential_id.strip()
        assert principal.identity is None or (isinstance(principal.identity, str) and principal.identity)
        assert principal.purposes is None or (
            isinstance(principal.purposes, frozenset)
            and all(PURPOSE.fullmatch(purpose) for purpose in principal.purposes)
        )
        assert isinstance(principal.roles, frozenset)
        assert all(isinstance(role, Role) for role in principal.roles)

    @driven
    async def test_the_principal_does_not_contain_the_secret(self, authenticator_case: AuthenticatorCase) -> None:
        case = authenticator_case
        principal = await case.present()
        assert principal is not None
        for each in fields(principal):
            assert not case.secret or case.secret not in str(getattr(principal, each.name)), each.name

    @driven
    async def test_one_credential_is_one_principal_each_time(self, authenticator_case: AuthenticatorCase) -> None:
        assert await authenticator_case.present() == await authenticator_case.present()

    @pytest.mark.parametrize("how", SPOILT)
    @driven
    async def test_a_bad_credential_is_refused_and_not_shown(
        self, authenticator_case: AuthenticatorCase, how: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        if not authenticator_case.headers:
            pytest.skip("its credential is a certificate")
        presented = authenticator_case.spoilt(how)
        with caplog.at_level(logging.DEBUG), pytest.raises(CredentialRefused) as refused:
            await authenticator_case.present(presented)
        error = refused.value
        assert error.why.isprintable()
        assert 0 < len(error.why) <= MAX_WHY_CHARACTERS
        told = [str(error), repr(error), error.why, str(error.credential_id), str(error.errors)]
        told += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
        for secret in (authenticator_case.secret, presented):
            assert not [text for text in told if secret and secret in text], "the credential is shown"

    @driven
    async def test_a_bad_certificate_is_refused_whatever_is_bad_about_it(
        self, authenticator_case: AuthenticatorCase
    ) -> None:
        if not authenticator_case.bad_certificates:
            pytest.skip("its credential is no certificate")
        for how in authenticator_case.bad_certificates:
            with pytest.raises(CredentialRefused) as refused:
                await authenticator_case.present_bad(how)
            assert refused.value.why.isprintable()
            assert 0 < len(refused.value.why) <= MAX_WHY_CHARACTERS

    @driven
    async def test_after_a_bad_credential_the_good_one_is_still_good(
        self, authenticator_case: AuthenticatorCase
    ) -> None:
        principal = await authenticator_case.present()
        for how in authenticator_case.bad:
            with pytest.raises(CredentialRefused):
                await authenticator_case.present_bad(how)
        assert await authenticator_case.present() == principal

    @driven
    async def test_a_credential_that_is_gone_from_the_settings_is_refused(
        self, authenticator_case: AuthenticatorCase
    ) -> None:
        principal = await authenticator_case.present()
        await authenticator_case.authenticator.reload(authenticator_case.without)
        with pytest.raises(CredentialRefused):
            await authenticator_case.present()
        await authenticator_case.authenticator.reload(authenticator_case.settings)
        assert await authenticator_case.present() == principal

    @driven
    async def test_a_reload_that_is_refused_leaves_everything_as_it_was(
        self, authenticator_case: AuthenticatorCase
    ) -> None:
        if authenticator_case.unusable is None:
            pytest.skip("it refuses no settings")
        principal = await authenticator_case.present()
        with pytest.raises(StartUpRefused) as refused:
            await authenticator_case.authenticator.reload(authenticator_case.unusable)
        assert not authenticator_case.secret or authenticator_case.secret not in str(refused.value)
        assert await authenticator_case.present() == principal

    @driven
    async def test_it_never_blocks_the_loop(self, authenticator_case: AuthenticatorCase) -> None:
        await never_blocks(authenticator_case.present)
        await never_blocks(lambda: self._refused(authenticator_case, authenticator_case.bad[-1]))

    @driven
    async def test_a_hundred_at_once_each_get_their_own_answer(self, authenticator_case: AuthenticatorCase) -> None:
        good, bad = await authenticator_case.present(), authenticator_case.bad
        answers = await asyncio.gather(
            *(
                self._refused(authenticator_case, bad[number % len(bad)])
                if number % 2
                else authenticator_case.present()
                for number in range(100)
            )
        )
        assert answers == [None if number % 2 else good for number in range(100)]

    @driven
    async def test_whoever_asks_during_a_reload_gets_the_old_answer_or_the_new(
        self, authenticator_case: AuthenticatorCase
    ) -> None:
        good = await authenticator_case.present()

        async def ask() -> Principal | None:
            try:
                return await authenticator_case.present()
            except CredentialRefused:
                return None

        reload = authenticator_case.authenticator.reload
        answers, _, _ = await asyncio.gather(
            asyncio.gather(*(ask() for _ in range(50))),
            reload(authenticator_case.without),
            reload(authenticator_case.settings),
        )
        assert set(answers) <= {good, None}

    async def _refused(self, case: AuthenticatorCase, how: str) -> None:
        with pytest.raises(CredentialRefused):
            await case.present_bad(how)
