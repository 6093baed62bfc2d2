"""The report on a phone and on paper, with Chromium, of a vault with a hundred purposes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.conftest import REPORT, Visitor
from tests.support.fixtures import served
from tests.support.server import VaultServer

PURPOSES = tuple(f"purpose-{number:03d}" for number in range(100))
MAX_PAGES = 25
METHODS = ("physical-delete", "crypto-shred", "retention-expire")
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[VaultServer]:
    directory = tmp_path_factory.mktemp("hundred")
    for server in served(directory, f"sqlite:///{directory / 'vault.db'}"):
        body = {"app": "shop", "purposes": list(PURPOSES), "roles": []}
        key = server.call("operator", "POST", "/admin/api-keys", json_body=body).json["key"]
        for number, purpose in enumerate(PURPOSES):
            server.retention(purpose, method=METHODS[number % 3], ttl=number + 1)
            for name in ("kek-1", None):
                entry = {"encrypted_value": "vault:v1:c2VjcmV0", "key_ref": name}
                path = f"/vault/{purpose}/{name or 'none'}"
                headers = {server.api_key_header: key}
                assert server.call(None, "PUT", path, json_body=entry, headers=headers).status == 201
        yield server


@pytest.fixture(scope="module")
def reader(chromium: Any, server: VaultServer) -> Iterator[Visitor]:
    visitor = Visitor(chromium, server)
    visitor.sign_in_as("auditor", REPORT)
    yield visitor
    visitor.context.close()


def test_a_vault_of_a_hundred_purposes_prints_at_most_25_pages(reader: Visitor) -> None:
    printed = reader.page.pdf(prefer_css_page_size=True, print_background=True)
    assert 1 < len(re.findall(rb"/Type\s*/Page\b", printed)) <= MAX_PAGES


def test_every_purpose_has_one_row_of_retention(reader: Visitor) -> None:
    rows = reader.page.locator("section[aria-labelledby=retention_and_purge] tbody tr th code")
    assert set(PURPOSES) <= set(rows.all_inner_texts())
    assert len(rows.all_inner_texts()) == len(set(rows.all_inner_texts()))


def test_the_page_names_the_vault_and_who_asked(reader: Visitor) -> None:
    facts = reader.page.locator("header").inner_text()
    assert "auditor, with API key sha256:" in facts
    assert re.search(r"[0-9a-f]{64}", facts)
    origin = reader.server.call("auditor", "GET", "/audit/checkpoint").body.decode().splitlines()[0]
    reader.page.reload()
    assert origin in reader.page.locator("header").inner_text()


def test_a_phone_does_not_scroll_sideways(reader: Visitor) -> None:
    reader.page.set_viewport_size(PHONE)
    wide = "[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > 360)"
    found = reader.page.evaluate(f"[document.documentElement.scrollWidth, {wide}.map(e => e.outerHTML.slice(0, 200))]")
    reader.page.set_viewport_size({"width": 1280, "height": 720})
    assert found == [PHONE["width"], []]
