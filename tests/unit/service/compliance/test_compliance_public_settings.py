"""The settings that are given away have no secret in them, whatever is set."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel

from tests.support.settings import checked
from vsqlvault.config import Settings
from vsqlvault.service.compliance.public_settings import public_settings

SECRET = "s3cr3t"


def shown(**tables: Any) -> dict[str, Any]:
    return public_settings(checked(tables))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@host:5432/vault",
        f"postgresql://user:{SECRET}/x@host/vault",
        f"postgresql://user:{SECRET}#x@host/vault",
        f"postgresql://host/vault?password={SECRET}",
        f"postgres:{SECRET}",
        f"sqlite:///vault.db?key={SECRET}",
        f"drawers://{SECRET}",
    ],
)
def test_of_a_database_nothing_but_the_scheme_is_shown(url: str) -> None:
    assert shown(storage={"database_url": url})["storage"]["database_url"] == f"{url.partition(':')[0]}:(hidden)"


def test_a_file_is_named() -> None:
    assert (
        shown(storage={"database_url": "sqlite:////var/vault.db"})["storage"]["database_url"]
        == "sqlite:////var/vault.db"
    )


def test_keys_are_hidden_and_who_has_them_is_not() -> None:
    keys = [{"app": "payments", "key_sha256": "0" * 64, "purposes": ["card"]}, {"app": "shop", "key_env": "SHOP_KEY"}]
    first, second = shown(auth={"api_keys": keys})["auth"]["api_keys"]
    assert (first["app"], first["key_sha256"], first["purposes"]) == ("payments", "(hidden)", ["card"])
    assert (second["key_env"], second["key_sha256"]) == ("SHOP_KEY", None)


def test_of_urls_user_query_and_fragment_are_hidden() -> None:
    leaky = {"issuer": f"https://user:{SECRET}@id.example", "audience": "vault", "jwks_file": "keys.json"}
    assert shown(auth={"jwt": [leaky]})["auth"]["jwt"][0]["issuer"] == "https:(hidden)"
    issuers = [
        {
            "issuer": "https://id.example/tenant",
            "audience": "vault",
            "jwks_url": f"https://id.example/keys?token={SECRET}",
        },
    ]
    (issuer,) = shown(auth={"jwt": issuers})["auth"]["jwt"]
    assert (issuer["issuer"], issuer["jwks_url"]) == ("https://id.example/tenant", "https://id.example/keys")


def test_of_plugins_numbers_and_switches_are_shown() -> None:
    class Table(BaseModel):
        token: str = SECRET
        nested: dict[str, Any] = {"password": SECRET, "port": 6514, "hosts": [SECRET, 1]}
        on: bool = True
        rate: float = 0.5

    settings = Settings.model_validate({"plugins": {"allow": ["a"], "other": {"key": SECRET, "n": 1}}})
    settings.plugins["mine"] = Table()
    assert public_settings(settings)["plugins"] == {
        "allow": ["a"],
        "mine": {
            "token": "(hidden)",
            "nested": {"password": "(hidden)", "port": 6514, "hosts": ["(hidden)", 1]},
            "on": True,
            "rate": 0.5,
        },
        "other": {"key": "(hidden)", "n": 1},
    }


def test_everything_that_can_be_set_is_there_as_json() -> None:
    document = shown(compliance={"cryptoperiods": {"akv:": 90}})
    assert set(document) == set(Settings.model_fields)
    assert document["compliance"]["cryptoperiods"] == {"akv:": 90}
    assert json.loads(json.dumps(document)) == document
