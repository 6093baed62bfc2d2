"""API keys: what a key grants is what is written down for it."""

from __future__ import annotations

import hashlib
import hmac
import inspect
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

import pytest

from vsqlvault.cli import dev
from vsqlvault.config import load_settings
from vsqlvault.errors import CredentialRefused
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.principal import Principal, Role
from vsqlvault.testing import T0, an_api_key
from vsqlvault_plugins.auth import api_key
from vsqlvault_plugins.auth.api_key import ApiKeyAuthenticator

KEY = "vsk_a-key-for-this-test-alone"
DIGEST = hashlib.sha256(KEY.encode()).hexdigest()


async def recognised(listed: str, *, bootstrap: str | None = None) -> Principal:
    """Return who presents the key, where the settings list it so."""
    settings = load_settings(None, {"VSQL_VAULT_AUTH__API_KEYS": listed})
    environment = {"VSQL_VAULT_API_KEY": bootstrap} if bootstrap else {}
    principal = ApiKeyAuthenticator(settings.auth, environment).authenticate(Presented({"x-vault-key": KEY}))
    assert principal is not None
    return principal


@pytest.mark.parametrize(
    ("written", "held"),
    [
        ("", set()),
        (", purposes = []", set()),
        (", purposes = ['card']", {"card"}),
        (", purposes = ['*']", {"card", "ach"}),
        (", roles = ['admin']", set()),
    ],
    ids=["nothing", "an empty list", "one", "all", "a role alone"],
)
async def test_a_key_holds_what_is_written_down(written, held) -> None:
    principal = await recognised(f"[{{app = 'shop', key_sha256 = '{DIGEST}'{written}}}]")
    assert {purpose for purpose in ("card", "ach") if principal.has_purpose(purpose)} == held


async def test_the_bootstrap_key_holds_every_purpose() -> None:
    assert (await recognised("[]", bootstrap=KEY)).has_purpose("card")


async def test_the_key_made_for_development_holds_every_purpose(monkeypatch) -> None:
    monkeypatch.delenv("VSQL_VAULT_API_KEY", raising=False)
    authenticator = ApiKeyAuthenticator(dev.dev_settings(KEY).auth, {})
    principal = authenticator.authenticate(Presented({"x-vault-key": KEY}))
    assert principal is not None
    assert principal.has_purpose("card")
    assert principal.is_admin


class Keys:
    """Stored keys that a test puts there: ``elsewhere`` are those that only a read of the storage finds."""

    def __init__(self, *records: ApiKeyRecord, at: datetime = T0) -> None:
        self.records = {record.digest: record for record in records}
        self.elsewhere: dict[str, ApiKeyRecord] = {}
        self.can_refresh = False
        self.looks = 0
        self.at = at

    def find(self, digest: str) -> ApiKeyRecord | None:
        return self.records.get(digest)

    def all(self) -> list[ApiKeyRecord]:
        return list(self.records.values())

    def now(self) -> datetime:
        return self.at

    async def look(self) -> None:
        self.looks += 1
        self.records |= self.elsewhere


async def presented(keys: Keys, secret: str = KEY, listed: str = "[]") -> Principal | None:
    settings = load_settings(None, {"VSQL_VAULT_AUTH__API_KEYS": listed})
    found = ApiKeyAuthenticator(settings.auth, {}, keys).authenticate(Presented({"x-vault-key": secret}))
    return await found if inspect.isawaitable(found) else found


async def why(keys: Keys, secret: str = KEY, listed: str = "[]") -> tuple[str, str | None]:
    with pytest.raises(CredentialRefused) as refused:
        await presented(keys, secret, listed)
    return refused.value.why, refused.value.credential_id


async def test_a_stored_key_is_who_its_record_says() -> None:
    record = an_api_key(KEY, identity="jane", purposes=None, roles=frozenset({Role.AUDITOR}))
    assert await presented(Keys(record)) == Principal(
        "payments", "api-key", f"sha256:{DIGEST[:12]}", "jane", None, frozenset({Role.AUDITOR})
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"revoked_at": T0, "revoked_by": "jane", "version": 2}, "revoked"),
        ({"expires_at": T0}, "expired"),
        ({"expires_at": T0, "revoked_at": T0, "revoked_by": "jane", "version": 2}, "revoked"),
    ],
    ids=["revoked", "expired to the instant", "both"],
)
async def test_a_stored_key_that_is_not_good_any_more_is_refused_with_its_reason_and_its_name(fields, reason) -> None:
    assert await why(Keys(an_api_key(KEY, **fields))) == (reason, f"sha256:{DIGEST[:12]}")


async def test_a_key_is_good_until_the_instant_before_its_end() -> None:
    keys = Keys(an_api_key(KEY, expires_at=T0 + timedelta(microseconds=1)))
    assert await presented(keys) is not None


async def test_a_listed_key_expires_by_the_storages_clock_too() -> None:
    listed = f"[{{app = 'shop', key_sha256 = '{DIGEST}', expires_at = {T0.isoformat()}}}]"
    assert (await why(Keys(), listed=listed))[0] == "expired"
    assert await presented(Keys(at=T0 - timedelta(seconds=1)), listed=listed) is not None


async def test_a_key_that_nobody_knows_is_looked_for_once_where_that_is_allowed() -> None:
    keys = Keys()
    assert await why(keys) == ("bad_key", None)
    assert keys.looks == 0
    keys.can_refresh = True
    assert await why(keys) == ("bad_key", None)
    assert keys.looks == 1


async def test_a_key_made_elsewhere_a_moment_ago_is_found_by_looking() -> None:
    keys = Keys()
    keys.can_refresh = True
    keys.elsewhere[DIGEST] = an_api_key(KEY)
    principal = await presented(keys)
    assert principal is not None
    assert principal.app == "payments"


async def test_a_key_that_is_known_is_not_looked_for() -> None:
    keys = Keys(an_api_key(KEY, revoked_at=T0, revoked_by="jane", version=2))
    keys.can_refresh = True
    await why(keys)
    assert keys.looks == 0


async def test_one_record_is_one_principal_and_its_next_version_another() -> None:
    """The same principal object is checked once; a changed one is checked again."""
    keys = Keys(an_api_key(KEY))
    authenticator = ApiKeyAuthenticator(load_settings(None, {}).auth, {}, keys)
    ask = Presented({"x-vault-key": KEY})
    first = authenticator.authenticate(ask)
    assert authenticator.authenticate(ask) is first
    keys.records[DIGEST] = an_api_key(KEY, purposes=frozenset())
    assert authenticator.authenticate(ask) != first


async def test_the_inventory_has_the_keys_of_both_places_and_no_digest() -> None:
    settings = load_settings(
        None, {"VSQL_VAULT_AUTH__API_KEYS": f"[{{app = 'shop', key_sha256 = '{'0' * 64}', purposes = ['*']}}]"}
    )
    stored = an_api_key(KEY, revoked_at=T0, revoked_by="jane", version=2)
    known = ApiKeyAuthenticator(settings.auth, {"VSQL_VAULT_API_KEY": "b" * 40}, Keys(stored)).credentials()
    assert [(each.app, each.source, each.created_at, each.state(T0)) for each in known] == [
        ("vault-admin", "settings", None, "active"),
        ("shop", "settings", None, "active"),
        ("payments", "storage", T0, "revoked"),
    ]
    assert DIGEST not in repr(known)


async def test_two_keys_of_one_app_are_good_at_once_so_that_one_can_replace_the_other() -> None:
    other = "vsk_another-key-for-this-test"
    listed = f"[{{app = 'payments', key_sha256 = '{DIGEST}'}}]"
    for secret in (KEY, other):
        principal = await presented(Keys(an_api_key(other)), secret, listed)
        assert principal is not None
        assert principal.app == "payments"


@pytest.mark.parametrize(
    "presented",
    [KEY, KEY[:-1] + "x", KEY[:-1], KEY + "x", "x" + KEY[1:], "another", "vsk_" + "x" * 200],
    ids=["right", "last wrong", "one fewer", "one more", "first wrong", "unknown", "long"],
)
async def test_whatever_is_presented_the_same_is_computed_and_compared(presented: str, monkeypatch) -> None:
    """A digest of what came, and one comparison in constant time: neither stops where two keys begin to differ."""
    done: list[Any] = []
    settings = load_settings(None, {"VSQL_VAULT_AUTH__API_KEYS": f"[{{app = 'shop', key_sha256 = '{DIGEST}'}}]"})
    authenticator = ApiKeyAuthenticator(settings.auth, {})

    class Hashlib:
        @staticmethod
        def sha256(data: bytes) -> Any:
            done.append("digest")
            return hashlib.sha256(data)

    class Hmac:
        @staticmethod
        def compare_digest(one: Any, other: Any) -> bool:
            done.append(("compared", len(one), len(other)))
            return hmac.compare_digest(one, other)

    monkeypatch.setattr(api_key, "hashlib", Hashlib)
    monkeypatch.setattr(api_key, "hmac", Hmac)
    with nullcontext() if presented == KEY else pytest.raises(CredentialRefused):
        found = authenticator.authenticate(Presented({"x-vault-key": presented}))
        assert await found if inspect.isawaitable(found) else found
    digest, (compared, one, other) = done
    assert (digest, compared) == ("digest", "compared")
    assert one == other
