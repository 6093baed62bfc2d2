"""Fetching keys from a real server, which may be slow, large, broken, somewhere else, or not there."""

from __future__ import annotations

import asyncio
import inspect
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.tokens import Provider, SigningKey, claims, jwks, provider
from vsqlvault.errors import AuthUnavailable, CredentialRefused, SettingsInvalid
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault_plugins.auth.jwt.key_cache import DEFAULT_FETCH_TIMES, FetchTimes
from vsqlvault_plugins.auth.jwt.keys import MAX_JWKS_BYTES
from vsqlvault_plugins.auth.jwt.plugin import JwtAuthenticator
from vsqlvault_plugins.auth.jwt.settings import JwtTable
from vsqlvault_plugins.auth.jwt.sources import MAX_DISCOVERY_BYTES

KEY = SigningKey()


@pytest.fixture
def keys() -> Iterator[Provider]:
    with provider() as made:
        made.document = jwks(KEY)
        made.discovery = {"issuer": made.origin, "jwks_uri": made.url}
        yield made


def authenticator(issuer: str, fetch_times: FetchTimes = DEFAULT_FETCH_TIMES, **settings: Any) -> JwtAuthenticator:
    table = JwtTable.model_validate({"jwt": [{"issuer": issuer, "audience": "vault", **settings}]})
    return JwtAuthenticator(table, fetch_times=fetch_times)


async def outcome(asked: JwtAuthenticator, issuer: str, **members: Any) -> str:
    presented = Presented({"authorization": f"Bearer {KEY.token(claims(iss=issuer, **members))}"})
    try:
        found = asked.authenticate(presented)
        principal = await found if inspect.isawaitable(found) else found
    except (AuthUnavailable, CredentialRefused) as refused:
        return getattr(refused, "why", refused.slug)
    assert principal is not None
    return principal.app


async def by_url(keys: Provider) -> str:
    return await outcome(authenticator("https://login.example", jwks_url=keys.url), "https://login.example")


async def by_discovery(keys: Provider) -> str:
    return await outcome(authenticator(keys.origin), keys.origin)


@pytest.mark.parametrize("ask", [by_url, by_discovery])
async def test_keys_are_fetched(keys, ask, caplog) -> None:
    caplog.set_level("INFO")
    assert await ask(keys) == "payments"
    assert keys.fetches == 1
    assert [(record.getMessage(), record.keys) for record in caplog.records if record.name.endswith("key_cache")] == [
        ("JWKS loaded", 1)
    ]


BROKEN: dict[str, tuple[Callable[[Provider], object], str]] = {
    "404": (lambda keys: setattr(keys, "status", 404), "found 404"),
    "500": (lambda keys: setattr(keys, "status", 500), "found 500"),
    "204": (lambda keys: setattr(keys, "status", 204), "found 204"),
    "a redirect": (lambda keys: _redirect(keys, 302), "found 302"),
    "a lasting redirect": (lambda keys: _redirect(keys, 308), "found 308"),
    "garbage": (lambda keys: setattr(keys, "document", b"<html>"), "expected a JSON object"),
    "no set of keys": (lambda keys: setattr(keys, "document", b"{}"), "list of objects under keys"),
    "a body of more than a MiB": (
        lambda keys: setattr(keys, "document", jwks(KEY) + b" " * MAX_JWKS_BYTES),
        f"at most {MAX_JWKS_BYTES} bytes",
    ),
    "a body that is compressed": (lambda keys: keys.headers.update({"Content-Encoding": "gzip"}), "uncompressed"),
    "a connection that is closed": (lambda keys: setattr(keys, "hangs_up", True), "incomplete"),
    "a body that is cut short": (lambda keys: keys.headers.update({"Content-Length": "100000"}), "incomplete"),
    "nobody there": (lambda keys: keys.stop(), "Connect"),
}


def _redirect(keys: Provider, status: int) -> None:
    keys.status = status
    keys.headers["Location"] = keys.url


@pytest.mark.parametrize(("spoil", "stated"), BROKEN.values(), ids=BROKEN.keys())
async def test_what_cannot_be_used_is_no_key_and_the_log_says_why(keys, spoil, stated, caplog) -> None:
    spoil(keys)
    assert await by_url(keys) == "auth-unavailable"
    assert keys.fetches <= 1
    (record,) = caplog.records
    assert stated in record.error


async def test_a_provider_that_drips_is_given_up_in_time(keys, caplog) -> None:
    keys.drips = True
    asked = authenticator("https://login.example", FetchTimes(fetch_seconds=0.5), jwks_url=keys.url)
    assert await outcome(asked, "https://login.example") == "auth-unavailable"
    (record,) = caplog.records
    assert record.error == "no answer within 0.5 seconds"


async def test_a_provider_that_is_slow_delays_nobody_else(keys) -> None:
    """The loop continues, and a waiting request gets an error before the deadline of every authenticator."""
    keys.delay_seconds = 5
    asked = authenticator("https://login.example", FetchTimes(wait_seconds=0.05), jwks_url=keys.url)
    assert await outcome(asked, "https://login.example") == "auth-unavailable"
    keys.release.set()
    for _ in range(200):
        await asyncio.sleep(0.01)
        if await outcome(asked, "https://login.example") == "payments":
            break
    assert await outcome(asked, "https://login.example") == "payments"
    assert keys.fetches == 1


async def test_a_provider_that_is_down_at_first_is_found_once_it_is_there(keys) -> None:
    keys.stop()
    asked = authenticator("https://login.example", FetchTimes(retry_seconds=0.01), jwks_url=keys.url)
    assert await outcome(asked, "https://login.example") == "auth-unavailable"
    keys.start()
    await asyncio.sleep(0.02)
    assert await outcome(asked, "https://login.example") == "payments"


DISCOVERY: dict[str, tuple[Callable[[Provider], object], str]] = {
    "none": (lambda keys: setattr(keys, "discovery", None), "found 404"),
    "another issuer": (lambda keys: keys.discovery.update(issuer="https://evil.example"), "another name"),
    "an issuer with a slash": (lambda keys: keys.discovery.update(issuer=keys.origin + "/"), "another name"),
    "no jwks_uri": (lambda keys: keys.discovery.pop("jwks_uri"), "jwks_uri"),
    "jwks_uri a number": (lambda keys: keys.discovery.update(jwks_uri=5), "jwks_uri"),
    "jwks_uri over plain HTTP": (lambda keys: keys.discovery.update(jwks_uri="http://192.0.2.1/keys"), "jwks_uri"),
    "jwks_uri a file": (lambda keys: keys.discovery.update(jwks_uri="file:///etc/passwd"), "jwks_uri"),
    "jwks_uri with a user": (lambda keys: keys.discovery.update(jwks_uri="https://a:b@login.example/"), "jwks_uri"),
    "too large": (lambda keys: keys.discovery.update(x="y" * MAX_DISCOVERY_BYTES), "at most"),
}


@pytest.mark.parametrize(("spoil", "stated"), DISCOVERY.values(), ids=DISCOVERY.keys())
async def test_what_an_issuer_says_of_itself_is_not_believed_blindly(keys, spoil, stated, caplog) -> None:
    spoil(keys)
    assert await by_discovery(keys) == "auth-unavailable"
    assert keys.fetches == 0
    (record,) = caplog.records
    assert stated in record.error


class TestTls:
    @pytest.fixture
    def secure(self, keys: Provider, tmp_path: Path) -> tuple[str, Authority]:
        """A provider behind TLS, with a certificate of an authority of its own."""
        authority = Authority(tmp_path)
        issued = authority.server()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.cert_file, issued.key_file)
        port = keys._server.server_address[1]
        keys.stop()
        keys.release = threading.Event()
        keys.start()
        keys._server.socket = context.wrap_socket(keys._server.socket, server_side=True)
        return f"https://localhost:{port}", authority

    async def test_the_authority_is_checked(self, keys, secure, caplog) -> None:
        origin, authority = secure
        settings = {"jwks_url": f"{origin}/keys"}
        assert await outcome(authenticator("x", **settings), "x") == "auth-unavailable"
        assert keys.fetches == 0
        (record,) = caplog.records
        assert "SSL" in record.error
        assert await outcome(authenticator("x", ca_file=str(authority.cert_file), **settings), "x") == "payments"

    async def test_an_issuer_asked_over_tls_cannot_lead_off_it(self, keys, secure, caplog) -> None:
        origin, authority = secure
        keys.discovery = {"issuer": origin, "jwks_uri": origin.replace("https", "http") + "/keys"}
        assert await outcome(authenticator(origin, ca_file=str(authority.cert_file)), origin) == "auth-unavailable"
        assert "expected jwks_uri to be an https URL" in caplog.records[0].error
        keys.discovery["jwks_uri"] = f"{origin}/keys"
        assert await outcome(authenticator(origin, ca_file=str(authority.cert_file)), origin) == "payments"


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "stated"),
        [(None, "No such file"), (b"<html>", "expected a JSON object"), (b'{"keys": 5}', "list of objects")],
    )
    def test_an_unusable_file_is_reported_at_once(self, tmp_path, content, stated) -> None:
        file = tmp_path / "keys.json"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SettingsInvalid, match=stated) as refused:
            authenticator("https://login.example", jwks_file=str(file))
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("content", [None, b"no certificate"])
    def test_unusable_authorities_are_reported_at_once(self, tmp_path, content) -> None:
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SettingsInvalid, match="ca_file: expected certificates in PEM"):
            authenticator("https://login.example", ca_file=str(file))

    async def test_a_file_is_read_again_as_a_url_is(self, tmp_path) -> None:
        file = tmp_path / "keys.json"
        file.write_bytes(jwks(KEY))
        at = 1000.0
        settings = {"issuer": "x", "audience": "vault", "jwks_file": str(file)}
        asked = JwtAuthenticator(JwtTable.model_validate({"jwt": [settings]}), clock=lambda: at)
        assert await outcome(asked, "x") == "payments"
        file.write_bytes(b'{"keys": []}')
        at += 301
        assert await outcome(asked, "x") == "kid"
