"""Keys over time: when they are fetched, how long they are used, and what a flood of unknown names brings about."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from tests.support.settings import checked
from tests.support.tokens import ISSUER, SigningKey, claims, jwks
from vsqlvault.config import Settings
from vsqlvault.errors import AuthUnavailable, CredentialRefused
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.model.principal import Principal
from vsqlvault_plugins.auth.jwt import key_cache, plugin
from vsqlvault_plugins.auth.jwt.key_cache import DEFAULT_FETCH_TIMES, FetchTimes
from vsqlvault_plugins.auth.jwt.plugin import JwtAuthenticator
from vsqlvault_plugins.auth.jwt.settings import JwtTable
from vsqlvault_plugins.auth.jwt.sources import NotFetched

OLD, NEW = SigningKey("ES256", "old"), SigningKey("ES256", "new")
TTL, LAST_GOOD, COOLDOWN = 300, 3600, 60


class Published:
    """A source of keys with a configurable result, which counts its calls."""

    def __init__(self, document: bytes) -> None:
        self.document = document
        self.is_down = False
        self.held: asyncio.Event | None = None
        self.fetches = 0

    async def load(self) -> bytes:
        self.fetches += 1
        if self.held:
            await self.held.wait()
        if self.is_down:
            raise NotFetched("expected status 200, found 502")
        return self.document


class Bench:
    """An authenticator with a clock and a source that a test sets."""

    def __init__(self) -> None:
        self.at = 10_000.0
        self.source = Published(jwks(OLD))
        self.authenticator = self.made(DEFAULT_FETCH_TIMES)

    def made(self, fetch_times: FetchTimes) -> JwtAuthenticator:
        return JwtAuthenticator(JwtTable(), clock=lambda: self.at, fetch_times=fetch_times)

    async def replace_authenticator(self, fetch_times: FetchTimes) -> None:
        self.authenticator = self.made(fetch_times)
        await self.authenticator.reload(self.settings())

    def settings(self, **issuer: Any) -> Settings:
        table = {"issuer": ISSUER, "audience": "vault", "jwks_url": "https://login.example/keys", **issuer}
        return checked({"auth": {"jwt": [table]}})

    async def ask(self, token: str) -> Principal:
        found = self.authenticator.authenticate(Presented({"authorization": f"Bearer {token}"}))
        principal = await found if inspect.isawaitable(found) else found
        assert principal is not None
        return principal

    async def outcome(self, token: str) -> str:
        """Return the app, or what came instead of one."""
        try:
            return (await self.ask(token)).app
        except CredentialRefused as refused:
            return refused.why
        except AuthUnavailable as unavailable:
            return unavailable.slug

    async def settle(self) -> None:
        """Wait for background work."""
        for _ in range(200):
            await asyncio.sleep(0.005)
            if not any(issuer.keys._is_loading for issuer in self.authenticator._issuers.values()):
                return
        raise AssertionError("it does not end")


@pytest.fixture
def bench(runner, monkeypatch) -> Bench:
    made = Bench()
    monkeypatch.setattr(plugin, "source_of", lambda _: made.source)
    runner.run(made.authenticator.reload(made.settings()))
    return made


def token(key: SigningKey = OLD, kid: str | None = None, **members: Any) -> str:
    return key.token(claims(**members), {"kid": kid or key.kid})


async def test_keys_are_fetched_once_for_all_who_ask_at_once(bench) -> None:
    outcomes = await asyncio.gather(*(bench.outcome(token(jti=str(number))) for number in range(100)))
    assert set(outcomes) == {"payments"}
    assert bench.source.fetches == 1


async def test_keys_are_renewed_while_they_are_in_use_and_nobody_waits(bench) -> None:
    await bench.ask(token())
    bench.at += TTL * 0.8 + 1
    bench.source.held = asyncio.Event()
    found = bench.authenticator.authenticate(Presented({"authorization": f"Bearer {token()}"}))
    assert isinstance(found, Principal)
    assert await bench.outcome(token(jti="more")) == "payments"
    bench.source.held.set()
    await bench.settle()
    assert bench.source.fetches == 2
    bench.at += TTL * 0.5
    assert await bench.outcome(token()) == "payments"
    assert bench.source.fetches == 2


async def test_a_key_that_is_withdrawn_dies_with_the_time_to_live(bench) -> None:
    """Also for tokens that were verified, and for a vault that nobody asked in the meantime."""
    known = token()
    await bench.ask(known)
    bench.source.document = jwks(NEW)
    bench.at += TTL - 0.1
    assert await bench.outcome(known) == "payments"
    await bench.settle()
    bench.at += 0.2
    assert await bench.outcome(known) == "kid"
    assert await bench.outcome(token(NEW)) == "payments"


async def test_a_vault_that_stood_still_asks_before_it_believes(bench) -> None:
    known = token()
    await bench.ask(known)
    bench.source.document = jwks(NEW)
    bench.at += 10 * TTL
    assert await bench.outcome(known) == "kid"


async def test_a_withdrawn_key_is_gone_with_the_keys_that_took_its_place(bench) -> None:
    known = token()
    await bench.ask(known)
    bench.source.document = jwks(NEW)
    bench.at += COOLDOWN
    assert await bench.outcome(token(NEW)) == "payments"
    assert await bench.outcome(known) == "kid"


async def test_keys_that_are_the_same_leave_verified_tokens_alone(bench, monkeypatch) -> None:
    known = token()
    await bench.ask(known)
    bench.at += TTL * 0.9
    await bench.ask(known)
    await bench.settle()
    assert bench.source.fetches == 2
    monkeypatch.setattr(plugin, "take_apart", lambda _: pytest.fail("it was verified again"))
    assert (await bench.ask(known)).app == "payments"


class TestUnknownNames:
    async def test_a_new_key_works_at_once_where_the_last_fetch_is_a_while_ago(self, bench) -> None:
        await bench.ask(token())
        bench.source.document = jwks(OLD, NEW)
        bench.at += COOLDOWN
        assert await bench.outcome(token(NEW)) == "payments"
        assert bench.source.fetches == 2

    async def test_a_new_key_works_within_the_cooldown_at_the_latest(self, bench) -> None:
        await bench.ask(token())
        bench.source.document = jwks(OLD, NEW)
        bench.at += COOLDOWN - 1
        assert await bench.outcome(token(NEW)) == "kid"
        bench.at += 1
        assert await bench.outcome(token(NEW)) == "payments"

    @pytest.mark.parametrize("has_keys", [False, True], ids=["at the start", "later"])
    async def test_a_thousand_of_them_are_one_fetch(self, bench, has_keys) -> None:
        before = 0
        if has_keys:
            await bench.ask(token())
            bench.at += COOLDOWN
            before = 1
        bogus = [token(kid=f"bogus-{number}") for number in range(1000)]
        outcomes = [await bench.outcome(each) for each in bogus[:500]]
        outcomes += await asyncio.gather(*(bench.outcome(each) for each in bogus[500:]))
        assert set(outcomes) == {"kid"}
        assert bench.source.fetches == before + 1
        assert await bench.outcome(token()) == "payments"
        assert bench.source.fetches == before + 1

    async def test_requests_during_a_fetch_wait_for_it(self, bench) -> None:
        await bench.ask(token())
        bench.at += COOLDOWN
        bench.source.document = jwks(OLD, NEW)
        bench.source.held = asyncio.Event()
        asking = [asyncio.create_task(bench.outcome(token(NEW, jti=str(number)))) for number in range(5)]
        await asyncio.sleep(0)
        assert await bench.outcome(token()) == "payments"
        bench.source.held.set()
        assert await asyncio.gather(*asking) == ["payments"] * 5
        assert bench.source.fetches == 2

    async def test_a_name_that_is_guessed_before_it_is_published_works_after_the_cooldown(self, bench) -> None:
        await bench.ask(token())
        bench.at += COOLDOWN
        assert await bench.outcome(token(NEW)) == "kid"
        bench.source.document = jwks(OLD, NEW)
        bench.at += COOLDOWN
        assert await bench.outcome(token(NEW)) == "payments"
        assert bench.source.fetches == 3

    async def test_a_look_that_fails_leaves_the_keys_in_force(self, bench) -> None:
        await bench.ask(token())
        bench.at += COOLDOWN
        bench.source.is_down = True
        assert await bench.outcome(token(NEW)) == "kid"
        assert await bench.outcome(token()) == "payments"
        bench.source.is_down, bench.source.document = False, jwks(OLD, NEW)
        bench.at += COOLDOWN
        assert await bench.outcome(token(NEW)) == "payments"


class TestOutage:
    async def test_without_keys_nobody_can_tell(self, bench, caplog) -> None:
        bench.source.is_down = True
        assert await bench.outcome(token()) == "auth-unavailable"
        assert await bench.outcome(token()) == "auth-unavailable"
        assert bench.source.fetches == 1
        (record,) = caplog.records
        assert record.getMessage() == "JWKS cannot be loaded: no token of this issuer can be verified"
        assert (record.issuer, record.error) == (ISSUER, "expected status 200, found 502")

    async def test_it_is_tried_again_after_a_while(self, bench) -> None:
        bench.source.is_down = True
        await bench.outcome(token())
        bench.source.is_down = False
        bench.at += DEFAULT_FETCH_TIMES.retry_seconds - 0.1
        assert await bench.outcome(token()) == "auth-unavailable"
        bench.at += 0.1
        assert await bench.outcome(token()) == "payments"

    async def test_the_last_good_keys_are_used_for_a_while_and_that_is_said(self, bench, caplog) -> None:
        await bench.ask(token())
        bench.source.is_down = True
        bench.at += TTL
        assert await bench.outcome(token()) == "payments"
        (record,) = caplog.records
        assert record.getMessage() == "JWKS cannot be loaded: the last good keys stay in force"
        assert record.last_good_keys_for_seconds == LAST_GOOD
        bench.at += LAST_GOOD - 1
        assert await bench.outcome(token()) == "payments"
        bench.at += 2
        assert await bench.outcome(token()) == "auth-unavailable"

    async def test_while_they_are_used_the_provider_is_asked_now_and_then(self, bench) -> None:
        await bench.ask(token())
        bench.source.is_down = True
        bench.at += TTL
        for number in range(50):
            assert await bench.outcome(token(jti=str(number))) == "payments"
        assert bench.source.fetches == 2
        bench.at += DEFAULT_FETCH_TIMES.retry_seconds
        assert await bench.outcome(token()) == "payments"
        await bench.settle()
        assert bench.source.fetches == 3

    async def test_once_it_is_back_its_keys_count(self, bench) -> None:
        known = token()
        await bench.ask(known)
        bench.source.is_down = True
        bench.at += TTL
        await bench.ask(known)
        bench.source.is_down, bench.source.document = False, jwks(NEW)
        bench.at += DEFAULT_FETCH_TIMES.retry_seconds
        await bench.outcome(known)
        await bench.settle()
        assert await bench.outcome(known) == "kid"

    async def test_a_failure_of_long_ago_is_no_reason_to_use_old_keys(self, bench) -> None:
        known = token()
        await bench.ask(known)
        bench.at += COOLDOWN
        bench.source.is_down = True
        await bench.outcome(token(NEW))
        bench.source.is_down, bench.source.document = False, jwks(NEW)
        bench.at += TTL
        assert await bench.outcome(known) == "kid"

    async def test_garbage_is_as_good_as_no_answer(self, bench) -> None:
        await bench.ask(token())
        bench.source.document = b"<html>"
        bench.at += TTL
        assert await bench.outcome(token()) == "payments"

    async def test_no_grace_can_be_asked_for(self, bench) -> None:
        await bench.authenticator.reload(bench.settings(last_good_seconds=0))
        await bench.ask(token())
        bench.source.is_down = True
        bench.at += TTL
        assert await bench.outcome(token()) == "auth-unavailable"

    async def test_a_source_that_fails_in_an_unheard_of_way_harms_nobody(self, bench, monkeypatch) -> None:
        async def fail() -> bytes:
            raise ZeroDivisionError("marker-of-the-fault")

        monkeypatch.setattr(bench.source, "load", fail)
        assert await bench.outcome(token()) == "auth-unavailable"

    async def test_a_slow_provider_is_not_waited_for_for_long(self, bench) -> None:
        await bench.replace_authenticator(FetchTimes(wait_seconds=0.01))
        bench.source.held = asyncio.Event()
        assert await bench.outcome(token()) == "auth-unavailable"
        bench.source.held.set()
        await bench.settle()
        assert await bench.outcome(token()) == "payments"
        assert bench.source.fetches == 1

    async def test_a_provider_that_never_ends_is_given_up(self, bench) -> None:
        await bench.replace_authenticator(FetchTimes(fetch_seconds=0.01))
        bench.source.held = asyncio.Event()
        assert await bench.outcome(token()) == "auth-unavailable"
        await bench.settle()


class TestReload:
    async def test_it_fetches_keys_again(self, bench) -> None:
        known = token()
        await bench.ask(known)
        bench.source.document = jwks(NEW)
        await bench.authenticator.reload(bench.settings())
        assert await bench.outcome(known) == "kid"
        assert bench.source.fetches == 2

    async def test_during_an_outage_the_last_good_keys_go_on(self, bench) -> None:
        known = token()
        await bench.ask(known)
        bench.source.is_down = True
        await bench.authenticator.reload(bench.settings())
        assert await bench.outcome(known) == "payments"

    async def test_keys_of_other_settings_are_not_taken_over(self, bench) -> None:
        await bench.ask(token())
        bench.source.is_down = True
        await bench.authenticator.reload(bench.settings(jwks_url="https://other.example/keys"))
        assert await bench.outcome(token()) == "auth-unavailable"

    async def test_new_settings_hold_for_tokens_that_were_good(self, bench) -> None:
        known = token()
        await bench.ask(known)
        await bench.authenticator.reload(bench.settings(audience="another"))
        assert await bench.outcome(known) == "aud"

    async def test_an_issuer_that_is_gone_is_gone_for_those_that_wait_for_its_keys(self, bench) -> None:
        bench.source.held = asyncio.Event()
        waiting = asyncio.create_task(bench.outcome(token()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await bench.authenticator.reload(bench.settings(issuer="https://other.example"))
        assert await waiting == "iss"

    async def test_who_waits_for_keys_gets_them_where_the_issuer_stays(self, bench) -> None:
        bench.source.held = asyncio.Event()
        waiting = asyncio.create_task(bench.outcome(token()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        reload = asyncio.create_task(bench.authenticator.reload(bench.settings()))
        await reload
        bench.source.held.set()
        assert await waiting == "payments"


async def test_a_fetch_for_settings_that_are_gone_ends_with_them(bench) -> None:
    before = asyncio.all_tasks()
    bench.source.held = asyncio.Event()
    waiting = asyncio.create_task(bench.outcome(token()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await bench.authenticator.reload(checked({}))
    assert await waiting == "iss"
    assert asyncio.all_tasks() == before


async def test_the_end_ends_a_fetch_that_is_under_way(bench) -> None:
    before = asyncio.all_tasks()
    bench.source.held = asyncio.Event()
    waiting = asyncio.create_task(bench.outcome(token()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await plugin.vault_shutdown()
    assert await waiting == "auth-unavailable"
    assert asyncio.all_tasks() == before


class TestFreshness:
    """The state of the keys, for the controls."""

    async def state(self, bench: Bench) -> tuple[str, str]:
        bench.authenticator.keys_fresh()
        await bench.settle()
        check = bench.authenticator.keys_fresh()
        return check.state.value, check.detail

    async def test_keys_are_fetched_when_they_are_due_though_no_token_comes(self, bench) -> None:
        assert (await self.state(bench))[0] == "ok"
        assert bench.source.fetches == 1
        bench.at += TTL * key_cache.RENEW_AT - 1
        assert (await self.state(bench))[0] == "ok"
        assert bench.source.fetches == 1
        bench.at += 1
        assert (await self.state(bench))[0] == "ok"
        assert bench.source.fetches == 2

    async def test_keys_that_cannot_be_renewed_are_fresh_until_they_are_old(self, bench) -> None:
        await self.state(bench)
        bench.source.is_down = True
        bench.at += TTL - 1
        assert (await self.state(bench))[0] == "ok"
        bench.at += 1
        assert await self.state(bench) == (
            "failing",
            f"{ISSUER}: keys cannot be fetched; the last good ones are in force",
        )
        bench.at += LAST_GOOD
        assert await self.state(bench) == ("failing", f"{ISSUER}: keys cannot be fetched; no token can be verified")
        bench.source.is_down = False
        bench.at += DEFAULT_FETCH_TIMES.retry_seconds
        assert (await self.state(bench))[0] == "ok"

    async def test_keys_that_never_came_fail(self, bench) -> None:
        bench.source.is_down = True
        assert await self.state(bench) == ("failing", f"{ISSUER}: keys cannot be fetched; no token can be verified")

    async def test_without_an_issuer_there_is_nothing_to_be_fresh(self) -> None:
        assert JwtAuthenticator(JwtTable()).keys_fresh().state.value == "not_in_use"
