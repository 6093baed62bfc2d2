"""An argument of the wrong type is refused before anything is sent, with the name of its parameter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from vsqlvault.client import Vault, errors
from vsqlvault.client.requests import entries, rules, service
from vsqlvault.client.sealed import StaticKeyRing
from vsqlvault.client.sealed import entries as sealed

RING = StaticKeyRing({"k": b"k" * 32}, "k")
WRONG: dict[str, Callable[[], Any]] = {
    "value": lambda: entries.put("card", "p", 7),  # type: ignore[arg-type]
    "plaintext": lambda: sealed.put(RING.sealing_key(), "card", "p", 7),  # type: ignore[arg-type]
    "ttl": lambda: entries.put("card", "p", b"v", ttl=5),  # type: ignore[arg-type]
    "if_match": lambda: entries.get("card", "p", if_match=5),  # type: ignore[arg-type]
    "wait_seconds": lambda: entries.delete("card", "p", wait_seconds="5"),  # type: ignore[arg-type]
    "store": lambda: rules.put_access_policy("n", store=5),  # type: ignore[arg-type]
    "allowed_apps": lambda: rules.put_access_policy("n", store=rules.Rule(allowed_apps="shop")),
    "required_metadata": lambda: rules.put_retention_policy("n", max_retention_days=1, required_metadata="merchant"),
    "version": lambda: rules.diff("access-policies", "n", "2"),  # type: ignore[arg-type]
    "purposes": lambda: service.create_key("app", purposes="card"),
    "roles": lambda: service.create_key("app", roles="admin"),
    "index": lambda: service.inclusion_proof("2"),  # type: ignore[arg-type]
    "first": lambda: service.consistency_proof("1", 2),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRONG)
def test_an_argument_of_the_wrong_type_is_named(name: str) -> None:
    with pytest.raises(errors.ValidationFailed) as raised:
        WRONG[name]()
    assert [each.field for each in raised.value.errors] == [name]


@pytest.mark.parametrize("at", [5, datetime(2027, 1, 1)])  # noqa: DTZ001 - it has no time zone
def test_what_is_no_instant_is_named(at: Any) -> None:
    with pytest.raises(errors.InvalidTime) as raised:
        entries.put("card", "p", b"v", expires_at=at)
    assert [each.field for each in raised.value.errors] == ["expires_at"]


@pytest.mark.parametrize("name", ["url", "timeouts", "limits", "retries", "hooks"])
def test_a_setting_of_the_wrong_type_is_named(name: str) -> None:
    settings: dict[str, Any] = {"url": "http://localhost:8443", name: b"x"}
    with pytest.raises(errors.Unusable, match=f"{name}: expected"):
        Vault(**settings)
