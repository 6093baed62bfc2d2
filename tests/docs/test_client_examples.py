"""The applications of docs/client.md work: they are built from the page and asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import httpx
import pytest
from django.conf import settings
from django.test import RequestFactory

from tests.support.server import VaultServer

PAGE = Path(__file__).parents[2] / "docs" / "client.md"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VaultServer]:
    server = VaultServer(tmp_path_factory.mktemp("examples")).start()
    server.retention("card")
    yield server
    server.kill()


def example(heading: str, server: VaultServer) -> ModuleType:
    """Return the code below a heading as a module, on this server."""
    section = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (source,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    source = source.replace("http://localhost:8443", server.url).replace("your-secret-key", server.admin_key)
    module = ModuleType("example")
    exec(compile(source, f"{PAGE}: {heading}", "exec"), vars(module))
    return module


def test_the_fastapi_application_stores_and_answers(server: VaultServer) -> None:
    app = example("FastAPI", server).app

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://app") as client,
        ):
            stored = await client.put("/payments/fastapi-1", content=b"ciphertext")
            assert stored.json()["etag"].startswith('"')
            assert (await client.get("/payments/fastapi-1")).json()["expires_at"].endswith("+00:00")
            assert (await client.get("/payments/none")).status_code == 404

    anyio.run(run)


def test_the_django_application_stores_and_answers(server: VaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    module = example("Django", server)
    monkeypatch.setattr(settings, "VAULT_URL", server.url)  # the page itself may have configured Django in this process
    factory = RequestFactory()
    put: Any = module.payment(factory.put("/payments/django-1", b"ciphertext"), "django-1")
    assert put.status_code == 200
    assert b"expires_at" in module.payment(factory.get("/payments/django-1"), "django-1").content
    assert module.payment(factory.get("/payments/none"), "none").status_code == 404
    module.vault().close()
