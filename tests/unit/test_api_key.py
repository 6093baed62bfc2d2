"""API keys: what a key grants is what is written down for it."""

from __future__ import annotations

import hashlib
import hmac
import inspect
from contextlib import nullcontext
from typing import Any

import pytest

from vsqlvault import cli
from vsqlvault.config import load_settings
from vsqlvault.errors import CredentialRefused
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.model.principal import Principal
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
    assert {purpose for purpose in ("card", "ach") if principal.holds(purpose)} == held


async def test_the_bootstrap_key_holds_every_purpose() -> None:
    assert (await recognised("[]", bootstrap=KEY)).holds("card")


async def test_the_key_made_for_development_holds_every_purpose(monkeypatch) -> None:
    monkeypatch.delenv("VSQL_VAULT_API_KEY", raising=False)
    authenticator = ApiKeyAuthenticator(cli._dev_settings(KEY).auth, {})
    principal = authenticator.authenticate(Presented({"x-vault-key": KEY}))
    assert principal is not None
    assert principal.holds("card")
    assert principal.is_admin


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
