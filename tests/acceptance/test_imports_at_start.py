"""A server that starts, stores and answers imports nothing that it does not use."""

from __future__ import annotations

import pytest

from benchmarks.import_time import imports, start

NOT_USED = {
    "anyio", "asyncpg", "click", "cryptography.x509", "flask", "h11", "h2", "hpack", "httpx", "hypercorn", "jinja2", "joserfc",
    "multiprocessing", "prometheus_client", "quart", "vsqlvault.client", "vsqlvault.http.app", "vsqlvault.report_html.page",
    "vsqlvault.testing", "werkzeug",
}  # fmt: skip
"""Quart, for other servers; HTTP/2, JWT, certificates and pages, for those that use them; the client and the other storage."""

USED = {"asyncio", "aiosqlite", "pydantic", "vsqlvault.http.plain_asgi", "vsqlvault.http.serving"}


@pytest.fixture(scope="module")
def imported() -> set[str]:
    return set(imports(start("-X", "importtime").errors))


def test_a_server_imports_nothing_that_it_does_not_use(imported: set[str]) -> None:
    assert {name for name in imported if not NOT_USED.isdisjoint(_parents(name))} == set()


def test_what_a_server_imports_is_found(imported: set[str]) -> None:
    assert imported >= USED


def _parents(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
