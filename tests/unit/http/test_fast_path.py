"""The fast path, the plain ASGI application, the vault's own connections and Quart give the same bytes as answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from quart import Quart

from vsqlvault import runtime
from vsqlvault.config import load_settings
from vsqlvault.errors import VaultError
from vsqlvault.http.app import build_app
from vsqlvault.http.application import Application, already_open
from vsqlvault.http.fast_path import FastPath
from vsqlvault.http.plain_asgi import PlainAsgi
from vsqlvault.http.problems import protocol_problem
from vsqlvault.http.server.framing import parse_head
from vsqlvault.http.server.protocol import Connection
from vsqlvault.http.server.server import Server
from vsqlvault.http.server.state import Counts, Limits
from vsqlvault.model import ids
from vsqlvault.model.audit import Operation
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.testing import T0, FaultyStorage
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

REQUESTS, SEEDS = 500, 4
IDS_A_REQUEST = 8
POLL_SECONDS = 0.001
KEYS = {"payments": "vsk_payments", "shop": "vsk_shop", "auditor": "vsk_auditor"}
MAX_BODY_BYTES = 2048
COALESCED = {Operation.AUTHENTICATE}
"""Rows that stand for all refusals of a second by this machine's clock, so that no two runs have the same."""

_RANDOM = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def environment() -> dict[str, str]:
    def key(app: str, purposes: str, roles: str = "[]") -> str:
        digest = hashlib.sha256(KEYS[app].encode()).hexdigest()
        return f"{{app = '{app}', key_sha256 = '{digest}', purposes = {purposes}, roles = {roles}}}"

    keys = [key("payments", "['card']"), key("shop", "['card', 'none']"), key("auditor", "[]", "['auditor']")]
    return {
        "auth__api_keys": f"[{', '.join(keys)}]",
        "server__max_body_bytes": str(MAX_BODY_BYTES),
        "server__max_value_bytes": "1024",
        "auth__max_failures_per_minute": "0",
    }


@dataclass(frozen=True)
class RequestedAccess:
    """A request; ``ETAG`` in a header stands for the tag that was last answered for its target."""

    method: str
    target: bytes
    headers: list[tuple[bytes, bytes]]
    pieces: tuple[bytes, ...] = ()
    is_broken_off: bool = False
    later_by: float = 0.0


class Generator:
    """Makes requests: most are valid or nearly so."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def request(self) -> RequestedAccess:
        pick = self.random.choice
        if self.random.random() < 0.05:
            return self.conditional()
        method = pick(
            ["GET"] * 5 + ["PUT"] * 6 + ["HEAD"] * 2 + ["DELETE"] * 2 + ["PATCH"] * 2 + ["POST", "OPTIONS", "BREW"]
        )
        body = self.body() if method in {"PUT", "PATCH"} or self.random.random() < 0.05 else b""
        headers = [(b"host", b"localhost"), *self.credential(), *self.odd_headers()]
        if body:
            headers += pick([[(b"content-type", b"application/json")]] * 12 + [*self.ODD_TYPES])
            headers.append(pick([(b"content-length", b"%d" % len(body))] * 3 + [(b"transfer-encoding", b"chunked")]))
        cut = self.random.randrange(len(body) + 1)
        return RequestedAccess(
            method,
            self.target(),
            headers,
            pick([(body,), (body[:cut], body[cut:]), (body[:cut], b"", body[cut:])]) if body else (),
            is_broken_off=bool(body) and self.random.random() < 0.03,
            later_by=pick([0, 0, 0, 0.001, 1, 600]),
        )

    def conditional(self) -> RequestedAccess:
        """Return a request that is sound but for what it rests on, perhaps."""
        field = self.random.choice([(b"if-match", b'"none-such"'), (b"if-match", b"ETAG"), (b"if-none-match", b"*")])
        body = b'{"encrypted_value": "vault:v1:c"}'
        key = (b"x-vault-key", KEYS["payments"].encode())
        fields = [
            (b"host", b"localhost"),
            key,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
        ]
        return RequestedAccess("PUT", b"/vault/card/a", [*fields, field], (body,))

    ODD_TYPES = (
        [],
        [(b"content-type", b"text/plain")],
        [(b"content-type", b"application/json; charset=utf-8")],
        [(b"content-type", b"application/json;charset=latin-1")],
        [(b"content-type", b"application/json"), (b"content-type", b"application/json")],
        [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")],
        [(b"content-type", b"\xff")],
    )

    def target(self) -> bytes:
        pick = self.random.choice
        if self.random.random() < 0.06:
            return pick(
                [b"/vault/card/", b"/vault/card", b"/vault/CARD/a", b"/vault/card/a/b", b"/vault/card/a%62", b"/vault/card/..",
                 b"/vault/card/-a", b"/vault/card/" + b"a" * 257, b"/vault/card/" + b"a" * 9000, b"/vault//card/a", b"*", b"",
                 b"/vault/-card/a", b"/vault/card/\xc3\xa9", b"/vault/card/a;b", b"/vault/" + b"c" * 65 + b"/a",
                 b"/Vault/card/a", b"/vault/card?limit=9", b"/admin/access-policies", b"/health",
                 b"/admin/access-policies/none", b"/admin/retention-policies"]
            )  # fmt: skip
        purpose = pick([b"card"] * 12 + [b"none", b"unknown"])
        query = pick(
            [b""] * 20 + [b"?", b"?a=b", b"?x-vault-key=vsk_payments", b"?api_key=a", b"?%ff", b"?purpose=card"]
        )
        return b"/vault/%b/%b%b" % (purpose, pick([b"a", b"b", b"c", b"tok_1", b"A.b:c@d~e-f", b"null"]), query)

    def credential(self) -> list[tuple[bytes, bytes]]:
        known = [
            [(b"x-vault-key", KEYS[app].encode())] for app in ("payments", "payments", "payments", "shop", "auditor")
        ]
        odd = [
            [],
            [(b"x-vault-key", b"wrong")],
            [(b"x-vault-key", b"")],
            [(b"x-vault-key", b"\xff\xfe")],
            [(b"x-vault-key", KEYS["payments"].encode())] * 2,
            [(b"authorization", b"Bearer x")],
            [(b"authorization", b"Basic x"), (b"x-vault-key", KEYS["payments"].encode())],
        ]
        return self.random.choice(known * 5 + odd)

    def odd_headers(self) -> list[tuple[bytes, bytes]]:
        odd = [
            (b"if-match", b"ETAG"), (b"if-match", b"ETAG"), (b"if-match", b"*"), (b"if-match", b'"none-such"'),
            (b"if-match", b"?"), (b"if-match", b'W/"1"'), (b"if-none-match", b"*"), (b"if-none-match", b"ETAG"),
            (b"if-none-match", b'"a"'),
            (b"x-forwarded-for", b"10.0.0.1"), (b"forwarded", b"for=1.2.3.4"), (b"accept", b"text/csv"), (b"accept", b"*/*"),
            (b"x-request-id", b"mine"), (b"cookie", b"a=b"), (b"x-http-method-override", b"DELETE"), (b"range", b"bytes=0-1"),
            (b"expect", b"100-continue"), (b"x-a", b"\xff"), (b"origin", b"https://a.example"),
        ]  # fmt: skip
        return self.random.sample(odd, self.random.choice([0, 0, 0, 1, 1, 2, 4]))

    def body(self) -> bytes:
        pick = self.random.choice
        fields: dict[str, Any] = {
            "encrypted_value": pick(["vault:v1:a", "vault:v1:b", "", "a" * 1025, "a" * 3000, 5, None])
        }
        if self.random.random() < 0.5:
            fields["encrypted_value"] = f"vault:v1:{self.random.randrange(10)}"
        more = [
            ("metadata", {"last4": "4242"}), ("metadata", {}), ("metadata", []), ("metadata", {"a": {"b": [1, 2.5, None]}}),
            ("metadata", {"a": "\x00"}), ("access_policy", "owner-only"), ("access_policy", "none-such"), ("access_policy", 7),
            ("expires_at", "2031-01-01T00:00:00Z"), ("expires_at", "1999-01-01T00:00:00Z"), ("expires_at", "soon"),
            ("expires_at", None), ("encoding", "base64"), ("encoding", "rot13"), ("algorithm_hint", "AES-256-GCM"),
            ("key_ref", "k" * 300), ("key_ref", "k1"), ("owner_app", "shop"), ("unknown", 1), ("metadata", {"\ud800": 1}),
        ]  # fmt: skip
        fields.update(self.random.sample(more, pick([0, 0, 1, 1, 2, 3])))
        text = json.dumps(fields)
        return pick(
            [text.encode("utf-8")] * 20
            + [b"{", b"[]", b"null", b"\xff\xfe", b'{"encrypted_value": "a", "encrypted_value": "b"}', b"[" * 200, b"NaN",
               text.encode("utf-16"), text.encode() + b"x", b" " * (MAX_BODY_BYTES + 1), b'{"encrypted_value": 1e999}']
        )  # fmt: skip


class Way:
    """One of the ways into one vault, and what it answers."""

    def __init__(self, asgi_app: Any) -> None:
        self._asgi_app = asgi_app
        self._tags: dict[bytes, bytes] = {}

    async def ask(self, asked: RequestedAccess) -> list[Any]:
        """Return the messages that were sent, with what is random by nature made equal."""
        path, _, query = asked.target.partition(b"?")
        tag = self._tags.get(path, b'"1"')
        sent: list[Any] = []
        answered = asyncio.Event()
        messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in asked.pieces or (b"",)]
        if asked.is_broken_off:
            messages[-1] = {"type": "http.disconnect"}
        else:
            messages[-1]["more_body"] = False
        messages.reverse()

        async def receive() -> Any:
            if not messages:
                await answered.wait()
                return {"type": "http.disconnect"}
            return messages.pop()

        async def send(message: Any) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": asked.method,
            "scheme": "http",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": [(name, value.replace(b"ETAG", tag)) for name, value in asked.headers],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8200),
            "extensions": {"tls": None},
        }
        await self._asgi_app(scope, receive, send)
        return self.answered(asked, path, sent)

    def answered(self, asked: RequestedAccess, path: bytes, sent: list[Any]) -> list[Any]:
        """Take the tag out of an answer, and return it with what is random made equal."""
        for name, value in sent[0]["headers"] if sent else ():
            if name == b"etag":
                self._tags[path] = value
        return [] if asked.is_broken_off else [_even(message) for message in sent if message.get("body") != b""]


class Wire(Way):
    """The vault's own connection, which enters the lane past ASGI; what it would refuse as no request takes the ASGI way."""

    def __init__(self, paths: FastPath) -> None:
        super().__init__(paths)
        self._server = Server(paths, Limits(), handler=paths, problem=protocol_problem)
        self._asked = 0

    async def ask(self, asked: RequestedAccess) -> list[Any]:
        path = asked.target.partition(b"?")[0]
        tag = self._tags.get(path, b'"1"')
        lines = [b"%b: %b" % (name, value.replace(b"ETAG", tag)) for name, value in asked.headers]
        head = b"\r\n".join([b"%b %b HTTP/1.1" % (asked.method.encode(), asked.target), *lines, b"", b""])
        try:
            length = parse_head(head).fields.length
        except VaultError:
            return await super().ask(asked)
        if length == 0 and asked.pieces:
            return await super().ask(asked)
        pieces = [b"%x\r\n%b\r\n" % (len(each), each) if length is None and each else each for each in asked.pieces]
        if length is None and not asked.is_broken_off:
            pieces.append(b"0\r\n\r\n")
        elif asked.is_broken_off:
            pieces[-1] = b""
        arriving = [head, *pieces]
        self._asked += 1
        if self._asked % 2 and not asked.is_broken_off:  # a whole request in one segment runs without a task
            arriving = [b"".join(arriving)]
        return self.answered(asked, path, await self._exchange(arriving, asked))

    async def _exchange(self, pieces: list[bytes], asked: RequestedAccess) -> list[Any]:
        transport = Recorded()
        connection = Connection(self._server)
        connection.connection_made(transport)
        for piece in pieces:
            connection.data_received(piece)
        if asked.is_broken_off:
            connection.connection_lost(None)
        while self._server.requests:  # noqa: ASYNC110 - they are no tasks that could be awaited
            await asyncio.sleep(POLL_SECONDS)
        connection.connection_lost(None)
        if not transport.written:
            return []
        head, _, body = bytes(transport.written).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        fields = [tuple(line.split(b": ", 1)) for line in lines]
        headers = [field for field in fields if field[0] not in {b"date", b"connection"}]
        start = {"type": "http.response.start", "status": int(status_line.split()[1]), "headers": headers}
        return [start, {"type": "http.response.body", "body": body}]


class Recorded(asyncio.Transport):
    """Keeps what is written on it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8200)})
        self.written = bytearray()

    def write(self, data: Any) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def _even(message: Any) -> Any:
    if message["type"] == "http.response.start":
        headers = [(bytes(name), _RANDOM.sub(b"ID", bytes(value))) for name, value in message["headers"]]
        return message["status"], headers
    return _RANDOM.sub(b"ID", bytes(message["body"]))


BODY_SECONDS = 30.0


def by_lane(app: Quart, _: Application) -> Way:
    return Way(app.asgi_app)


def by_quart(app: Quart, _: Application) -> Way:
    return Way(app.asgi_app._asgi_app)  # type: ignore[attr-defined]


def by_plain_asgi(_: Quart, application: Application) -> Way:
    return Way(PlainAsgi(application, BODY_SECONDS))


def by_connection(_: Quart, application: Application) -> Way:
    paths = FastPath(PlainAsgi(application, BODY_SECONDS), application.router, application, BODY_SECONDS)
    paths.use(application.dispatcher)
    return Wire(paths)


@pytest.fixture
def take(open_scene, clock, monkeypatch, tmp_path: Path):
    """Return a function that asks all of a new vault, in one of the ways, and returns answers and rows."""

    async def take(
        requests: list[RequestedAccess], way_of: Callable[[Quart, Application], Way]
    ) -> tuple[list[Any], list[Any]]:
        async def open_storage(_: Any, **__: bool) -> FaultyStorage:
            return FaultyStorage(await SqliteStorage.open(tmp_path / f"{way_of.__name__}.db", clock))

        clock.at = T0
        monkeypatch.setattr(runtime.lifecycle, "open_storage", open_storage)
        monkeypatch.setattr(StorageClock, "now", lambda _: clock.at)  # no run takes as long as another
        scene = await open_scene(**environment())
        settings = load_settings(None, {f"VSQL_VAULT_{name.upper()}": text for name, text in environment().items()})
        app = build_app(settings, lambda: already_open(scene.vault))
        await app.startup()
        application = Application(settings, Counts())
        application.begin(scene.vault)
        await application.prepare()
        way = way_of(app, application)
        answers = []
        with monkeypatch.context() as patch:
            for number, asked in enumerate(requests):
                clock.advance(seconds=asked.later_by)
                patch.setattr(secrets, "token_hex", lambda _, number=number: f"{number:032x}")
                patch.setattr(ids, "_ready", [f"{number:032x}"] * IDS_A_REQUEST)
                answers.append(await asyncio.wait_for(way.ask(asked), 30))
        await scene.vault.audit.recorder.drain()  # who hung up did not wait for what it had asked for
        await app.shutdown()
        operator = scene.admin.principal.app
        rows = [row for row in await scene.access_rows() if row.operation not in COALESCED and row.app != operator]
        rows.sort(key=lambda row: row.request_id)  # where a client hung up, its row may come after the next request's
        return answers, [replace(row, stamp=None, at=T0) for row in rows]

    return take


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("way", [by_lane, by_plain_asgi, by_connection])
async def test_all_ways_answer_alike(take, seed: int, way: Callable[[Quart, Application], Way]) -> None:
    generator = Generator(seed)
    requests = [generator.request() for _ in range(REQUESTS)]
    in_lane, rows_in_lane = await take(requests, way)
    past_it, rows_past_it = await take(requests, by_quart)
    for asked, one, other in zip(requests, in_lane, past_it, strict=True):
        assert one == other, asked
    for one, other in zip(rows_in_lane, rows_past_it, strict=True):
        assert one == other
    statuses = {answer[0][0] for answer in in_lane if answer}
    assert {200, 201, 400, 401, 403, 404, 405, 412, 413, 415, 422} <= statuses, statuses
    assert max(statuses) < 500
