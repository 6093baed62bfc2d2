"""API keys: what a key grants is what is written down for it."""

from __future__ import annotations

import hashlib

import pytest

from vsqlvault import cli
from vsqlvault.config import load_settings
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.model.principal import Principal
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
