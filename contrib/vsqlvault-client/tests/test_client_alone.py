"""The client where nothing of the server is installed, or used."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from vsqlvault.client import Vault, errors

LISTS_WHAT_IS_LOADED = """
import sys, vsqlvault.client
print(sorted(name for name in sys.modules if name.startswith("vsqlvault.") and not name.startswith("vsqlvault.client")))
print(sorted({"pydantic", "quart", "pluggy", "cryptography"} & set(sys.modules)))
"""


def test_importing_the_client_loads_nothing_of_the_server_and_no_optional_package() -> None:
    done = subprocess.run([sys.executable, "-c", LISTS_WHAT_IS_LOADED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n"


def test_a_refusal_is_an_exception_by_its_slug() -> None:
    answer = httpx.Response(423, json={"type": "urn:vsqlvault:problem:legal-hold"}, headers={"X-Request-Id": "r1"})
    transport = httpx.MockTransport(lambda _: answer)
    with (
        Vault("https://vault.example", key="k", transport=transport) as vault,
        pytest.raises(errors.LegalHold) as raised,
    ):
        vault.delete("card", "p1")
    assert raised.value.request_id == "r1"
