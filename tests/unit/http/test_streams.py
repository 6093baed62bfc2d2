"""A stream that breaks off in the middle never looks complete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from quart import Quart

from vsqlvault.config import Settings
from vsqlvault.errors import StorageUnavailable
from vsqlvault.http.app import build_app
from vsqlvault.http.application import Application, already_open
from vsqlvault.http.messages import Reply
from vsqlvault.http.plain_asgi import PlainAsgi
from vsqlvault.http.problems import protocol_problem
from vsqlvault.http.server.server import Server, listen
from vsqlvault.http.server.state import Counts, Limits
from vsqlvault.runtime import Tuning
from vsqlvault.service.vault import Vault

KEY = "a-key-for-this-test-alone"
ROWS = 90


async def by_quart(vault: Vault) -> Any:
    app = build_app(Settings(), lambda: already_open(vault))
    await app.startup()
    return app


async def by_plain_asgi(vault: Vault) -> Any:
    application = Application(Settings(), Counts())
    application.begin(vault)
    await application.prepare()
    return PlainAsgi(application, 30.0)


@pytest.fixture(params=[by_quart, by_plain_asgi])
def adapter(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def exported(open_scene, clock, monkeypatch, adapter) -> Callable[..., Awaitable[bytes]]:
    """Serve a log of ``ROWS`` rows, ask for it, and return all that comes until the server hangs up."""

    async def export(accept: str, version: str, *, broken: bool, target: str = "/admin/access-log") -> bytes:
        monkeypatch.setenv("VSQL_VAULT_API_KEY", KEY)
        scene = await open_scene(tuning=Tuning(log_stream_page=70))
        await asyncio.gather(*(scene.store(f"pay-{number}") for number in range(ROWS)))
        clock.advance(seconds=1)
        if broken:
            read = scene.storage.access_log

            async def access_log(query):
                if query.after is not None:
                    raise StorageUnavailable
                return await read(query)

            monkeypatch.setattr(
                scene.vault.audit.log_reader, "_storage", type("Broken", (), {"access_log": staticmethod(access_log)})
            )
        listener = listen("127.0.0.1:0")
        port = listener.getsockname()[1]
        app = await adapter(scene.vault)
        server = Server(app, Limits(), problem=protocol_problem)
        server.accept_from(listener)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"GET {target} HTTP/{version}\r\nHost: localhost\r\nX-Vault-Key: {KEY}\r\nAccept: {accept}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        answer = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        server.stop_accepting()
        await server.finish(1)
        if isinstance(app, Quart):
            await app.shutdown()
        return answer

    return export


def count(answer: bytes) -> int:
    return answer.count(b"pay-")


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
async def test_a_stream_that_breaks_off_lacks_its_last_chunk(exported, accept) -> None:
    answer = await exported(accept, "1.1", broken=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"transfer-encoding: chunked" in head.lower()
    assert 0 < count(body) < ROWS
    assert not body.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
async def test_a_stream_that_is_complete_has_its_last_chunk(exported, accept) -> None:
    answer = await exported(accept, "1.1", broken=False)
    assert count(answer) == ROWS
    assert answer.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("accept", ["text/csv", "application/x-ndjson"])
@pytest.mark.parametrize("target", ["/admin/access-log", "/admin/purge-log"])
async def test_a_stream_is_refused_to_a_client_that_could_not_tell(exported, accept, target) -> None:
    answer = await exported(accept, "1.0", broken=False, target=target)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 406 " in head.partition(b"\r\n")[0]
    assert b"urn:vsqlvault:problem:not-acceptable" in body
    assert b"HTTP/1.1" in body
    assert count(body) == 0


async def test_a_page_is_answered_to_it_with_its_length(exported) -> None:
    answer = await exported("application/json", "1.0", broken=False)
    assert b" 200 " in answer.partition(b"\r\n")[0]
    assert b"content-length: " in answer.lower()
    assert count(answer) == ROWS


async def test_a_stream_ends_when_its_client_is_gone(open_scene, monkeypatch) -> None:
    monkeypatch.setenv("VSQL_VAULT_API_KEY", KEY)
    scene = await open_scene()
    app = await by_plain_asgi(scene.vault)
    closed = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"row"
                await asyncio.sleep(0)
        finally:
            closed.set()

    async def answer(*_: Any) -> Reply:
        return Reply(200, endless())

    monkeypatch.setattr(app._application, "answer", answer)
    messages = [{"type": "http.request", "body": b"", "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "raw_path": b"/admin/access-log", "query_string": b"", "headers": [],
        "scheme": "http", "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await asyncio.wait_for(app(scope, receive, send), 30)
    assert closed.is_set()
    assert all(message.get("more_body", True) for message in sent)
