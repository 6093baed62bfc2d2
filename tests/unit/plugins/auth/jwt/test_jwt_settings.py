"""``[[auth.jwt]]``: what is taken, and the one sentence about what is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.settings import load
from vsqlvault import cli
from vsqlvault.cli.exit_codes import BAD_SETTINGS
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_plugins.auth.jwt.plugin import vault_process_needs
from vsqlvault_plugins.auth.jwt.settings import JwtSettings

ISSUER = "issuer = 'https://login.example/'\naudience = 'vault'\n"


def written(tmp_path: Path, *issuers: str, more: str = "") -> Path:
    file = tmp_path / "vsql-vault.toml"
    file.write_text(more + "".join(f"[[auth.jwt]]\n{issuer}\n" for issuer in issuers), "utf-8")
    return file


def first(tmp_path: Path, lines: str = "") -> JwtSettings:
    return load(written(tmp_path, ISSUER + lines), {}).plugin("jwt").jwt[0]


def test_issuer_and_audience_are_enough(tmp_path) -> None:
    settings = first(tmp_path)
    assert settings.algorithms == ("RS256", "PS256", "ES256", "EdDSA", "Ed25519")
    assert (settings.leeway_seconds, settings.max_lifetime_seconds, settings.jwks_ttl_seconds) == (30, 86400, 300)
    assert (settings.purposes_claim, settings.roles_claim, settings.app_claim) == (None, None, None)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("roles_claim = 'roles'", ("roles",)),
        ("roles_claim = 'https://vault.example/roles'", ("https://vault.example/roles",)),
        ("roles_claim = ['realm_access', 'roles']", ("realm_access", "roles")),
    ],
)
def test_a_claim_is_named_or_the_way_to_it(tmp_path, line, path) -> None:
    assert first(tmp_path, line).roles_claim == path


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example/keys", "https://login.example", "https://login.example:8443/a/b?c=d", "https://[2001:db8::1]/k",
        "http://localhost:9000/keys", "http://127.0.0.1/keys", "http://127.8.8.8/keys", "http://[::1]:80/keys",
    ],
)  # fmt: skip
def test_keys_may_be_fetched_from_there(tmp_path, url) -> None:
    assert first(tmp_path, f"jwks_url = '{url}'").jwks_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example/keys", "http://10.0.0.1/keys", "http://localhost.example/keys", "http://0.0.0.0/keys",
        "ftp://login.example/keys", "file:///etc/passwd", "https:///keys", "https://", "login.example/keys", "",
        "https://login.example/keys#a", "https://login.example/ke ys", "https://login.example\\\\@evil.example/keys",
        "https://login.example:0/keys", "https://login.example:70000/keys", "https://login.example:x/keys",
        "https://l\u00f6gin.example/keys", "https://[::1/keys", "https://login.example/\\n",
    ],
)  # fmt: skip
def test_keys_may_not_be_fetched_from_there(tmp_path, url) -> None:
    with pytest.raises(SettingsInvalid, match=r"auth\.jwt\.0\.jwks_url: expected ") as refused:
        first(tmp_path, f'jwks_url = "{url}"')
    assert "\n" not in str(refused.value)


def test_a_password_in_a_url_is_refused_and_not_shown(tmp_path) -> None:
    with pytest.raises(SettingsInvalid, match="found a URL with a user in it") as refused:
        first(tmp_path, "jwks_url = 'https://vault:hunter2@login.example/keys'")
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("audience = 'vault'", "auth.jwt.0.issuer: expected a value, found none"),
        ("issuer = 'https://login.example'", "auth.jwt.0.audience: expected a value, found none"),
        (ISSUER + "audiences = ['a']", "auth.jwt.0.audiences: expected a known key"),
        (ISSUER + "jwks_url = 'https://a.example'\njwks_file = 'b'", "at most one of jwks_url and jwks_file"),
        ("issuer = 'shop'\naudience = 'vault'", "jwks_url or jwks_file, or as issuer an https URL"),
        ("issuer = 'http://login.example'\naudience = 'vault'", "jwks_url or jwks_file, or as issuer an https URL"),
        ("issuer = 'https://login.example/?a=b'\naudience = 'vault'", "or an issuer without a query"),
        ("issuer = 'sh op'\naudience = 'vault'", "auth.jwt.0.issuer: expected "),
        (ISSUER + "algorithms = ['none']", "auth.jwt.0.algorithms.0: expected 'RS256'"),
        (ISSUER + "algorithms = ['HS256']", "auth.jwt.0.algorithms.0: expected 'RS256'"),
        (ISSUER + "algorithms = ['RS256', 'dir']", "auth.jwt.0.algorithms.1: expected 'RS256'"),
        (ISSUER + "algorithms = []", "auth.jwt.0.algorithms: "),
        (ISSUER + "algorithms = 'RS256'", "auth.jwt.0.algorithms: expected tuple"),
        (ISSUER + "typ = 'id'", "auth.jwt.0.typ: expected 'JWT' or 'at+jwt', found 'id'"),
        (ISSUER + "leeway_seconds = 121", "auth.jwt.0.leeway_seconds: expected less than or equal to 120, found 121"),
        (ISSUER + "leeway_seconds = -1", "auth.jwt.0.leeway_seconds: expected greater than or equal to 0"),
        (ISSUER + "max_lifetime_seconds = 604801", "auth.jwt.0.max_lifetime_seconds: expected less than"),
        (ISSUER + "jwks_ttl_seconds = 601", "auth.jwt.0.jwks_ttl_seconds: expected less than or equal to 600"),
        (ISSUER + "jwks_ttl_seconds = 0", "auth.jwt.0.jwks_ttl_seconds: expected greater than or equal to 10"),
        (ISSUER + "last_good_seconds = 86401", "auth.jwt.0.last_good_seconds: expected less than"),
        (ISSUER + "unknown_kid_cooldown_seconds = 0", "auth.jwt.0.unknown_kid_cooldown_seconds: expected greater"),
        (ISSUER + "app_claim = ''", "auth.jwt.0.app_claim.0: "),
        (ISSUER + "app_claim = []", "auth.jwt.0.app_claim: "),
        (ISSUER + "app_claim = 5", "auth.jwt.0.app_claim: expected tuple"),
        (ISSUER + "apps = ['a b']", "auth.jwt.0.apps.0: expected "),
        (ISSUER + "app_prefix = '@'", "auth.jwt.0.app_prefix: expected "),
        (ISSUER + "allow_all_purposes = 'yes'", "auth.jwt.0.allow_all_purposes: expected boolean"),
        (ISSUER + "purposes = ['card']", "auth.jwt.0.purposes: expected a known key"),
    ],
)
def test_each_fault_is_one_sentence(tmp_path, lines, sentence) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        load(written(tmp_path, lines), {})
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def issuer(name: str, lines: str = "") -> str:
    return f"issuer = 'https://{name}.example'\naudience = 'vault'\n{lines}"


class TestSeveral:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("app_prefix = 'a:'", "app_prefix = 'b:'"),
            ("apps = ['payments']", "app_prefix = 'b:'"),
            ("apps = ['payments']", "apps = ['billing']"),
            ("apps = ['payments']", "apps = ['payments']"),
            ("app_prefix = 'a:'\napps = ['a:x']", "app_prefix = 'a:'\napps = ['a:y']"),
        ],
    )
    def test_they_are_taken_where_each_has_its_own_apps(self, tmp_path, one, other) -> None:
        settings = load(written(tmp_path, issuer("one", one), issuer("other", other)), {})
        assert len(settings.plugin("jwt").jwt) == 2

    @pytest.mark.parametrize(
        ("one", "other", "sentence"),
        [
            ("", "", "app_prefix or apps for each of several issuers"),
            ("apps = ['payments']", "", "app_prefix or apps for each of several issuers"),
            ("app_prefix = 'a:'", "app_prefix = 'a:'", "app_prefix of each issuer different"),
            ("app_prefix = 'a'", "app_prefix = 'a:'", "app_prefix of each issuer different"),
        ],
    )
    def test_they_are_refused_where_one_could_name_the_others_app(self, tmp_path, one, other, sentence) -> None:
        with pytest.raises(SettingsInvalid, match=sentence):
            load(written(tmp_path, issuer("one", one), issuer("other", other)), {})

    def test_one_issuer_stands_once(self, tmp_path) -> None:
        twice = issuer("one", "apps = ['payments']")
        with pytest.raises(SettingsInvalid, match="each issuer once"):
            load(written(tmp_path, twice, twice), {})


def test_without_an_issuer_it_reaches_nothing() -> None:
    assert vault_process_needs(load(None, {})) == []


@pytest.mark.parametrize(
    ("lines", "stated"),
    [
        ("jwks_file = 'none-such.json'", "jwks_file: expected a JWK Set in none-such.json, found: No such file"),
        ("ca_file = 'none-such.pem'", "ca_file: expected certificates in PEM in none-such.pem"),
        ("algorithms = ['HS256']", "auth.jwt.0.algorithms.0: expected"),
    ],
)
def test_check_config_tells_in_a_sentence(tmp_path, monkeypatch, capsys, lines, stated) -> None:
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, ISSUER + lines)
    assert cli.main(["--config", str(file), "check-config"]) == BAD_SETTINGS
    error: Any = capsys.readouterr().err
    assert stated in error
    assert error.count("\n") == 1


def test_check_config_asks_no_provider(tmp_path, capsys) -> None:
    """Whether it is there now says nothing of whether it will be."""
    file = written(tmp_path, ISSUER + "jwks_url = 'https://192.0.2.1/keys'")
    assert cli.main(["--config", str(file), "check-config"]) == 0
    assert "valid" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "needs"),
    [
        ("jwks_url = 'https://login.example/keys'", ProcessNeeds(connect_ports=(443,))),
        ("jwks_url = 'https://login.example:8443/keys'", ProcessNeeds(connect_ports=(8443,))),
        ("jwks_url = 'http://127.0.0.1/keys'", ProcessNeeds(connect_ports=(80,))),
        ("ca_file = '/etc/own/ca.pem'", ProcessNeeds(readable=("/etc/own/ca.pem",), connect_ports=None)),
        ("jwks_file = '/etc/own/keys.json'", ProcessNeeds(readable=("/etc/own/keys.json",))),
    ],
)
def test_what_it_reaches_is_known_to_who_locks_the_process_in(tmp_path, lines, needs) -> None:
    settings = load(written(tmp_path, ISSUER + lines), {})
    assert vault_process_needs(settings) == [needs]
