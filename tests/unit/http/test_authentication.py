"""An authenticator that is broken refuses the request, with a row, and does no more harm."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from vsqlvault.config import Settings
from vsqlvault.errors import CredentialRefused, StorageUnavailable
from vsqlvault.http.authentication import AUTHENTICATOR_SECONDS
from vsqlvault.http.cursors import Cursors
from vsqlvault.http.dispatcher import Dispatcher
from vsqlvault.http.messages import Reply, Request
from vsqlvault.http.metrics import Metrics
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.principal import Principal, Role

GOOD: dict[str, Any] = {
    "app": "front-desk",
    "method": "badge",
    "credential_id": "badge-7",
    "identity": "jane",
    "purposes": frozenset({"card"}),
    "roles": frozenset({Role.AUDITOR}),
}


@dataclass
class Badges(Authenticator):
    """An authenticator that does what a test tells it to."""

    behave: Callable[[Presented], Any]
    name: str = "badge"
    credential_headers: tuple[str, ...] = ("x-badge",)
    seen: list[Principal] = field(default_factory=list)

    async def authenticate(self, presented: Presented) -> Any:
        answer = self.behave(presented)
        return await answer if isinstance(answer, Awaitable) else answer

    async def reload(self, settings: Settings) -> None: ...


def fail(error: BaseException) -> Callable[[Presented], Any]:
    def behave(_: Presented) -> Any:
        raise error

    return behave


def leave(_: Presented) -> Any:
    sys.exit(3)


async def sleep_for_long(_: Presented) -> Any:
    await asyncio.sleep(3600)


@pytest.fixture
def asked(install, offering, open_scene) -> Callable[..., Awaitable[tuple[Reply, list[AccessRecord]]]]:
    """Ask for something with a badge; return the answer and the rows it left."""

    async def ask(
        behave: Callable[[Presented], Any],
        *headers: tuple[str, str],
        certificate: bytes | None = None,
        authenticator_seconds: float = AUTHENTICATOR_SECONDS,
    ) -> tuple[Reply, list[AccessRecord]]:
        async def handler(exchange: RequestContext) -> Reply:
            return Reply(200, exchange.call.principal.app.encode())

        async def no_body(_: int) -> bytes:
            return b""

        install(badges=offering("vault_authenticators", Badges(behave)))
        scene = await open_scene()
        before = len(await scene.access_rows())
        dispatcher = Dispatcher(
            Settings(),
            scene.vault,
            Cursors(bytes(32)),
            Metrics(scene.vault),
            authenticator_seconds=authenticator_seconds,
        )
        operation = Operation(
            method="GET", path="/here", name="here", summary="", handler=handler, audited=Audited.READ_REPORT
        )
        request = Request("GET", b"/here", b"", [("x-badge", "7"), *headers], "192.0.2.7", True, "0" * 32, no_body)
        request.client_certificate = ClientCertificate.of([certificate, b"issuer"]) if certificate else None
        reply = await dispatcher.answer(request, operation)
        return reply, (await scene.access_rows())[before:]

    return ask


class Liar:
    """Returns its class a number of times, and then raises."""

    def __init__(self, honest: int = 0) -> None:
        self.honest = honest

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        self.honest -= 1
        if self.honest < 0:
            raise RuntimeError("marker-of-the-fault")
        return Liar


async def lie_later(_: Presented) -> Any:
    return Liar()


async def lie_in_the_end(_: Presented) -> Any:
    return Liar(honest=1)


BROKEN: dict[str, Callable[[Presented], Any]] = {
    "an exception": fail(ZeroDivisionError("marker-of-the-fault")),
    "an error of the vault that is not its to raise": fail(StorageUnavailable()),
    "a cancellation": fail(asyncio.CancelledError()),
    "sys.exit": leave,
    "what will not say what it is": lambda _: Liar(),
    "what will not say what it is, later": lie_later,
    "what says only once what it is, later": lie_in_the_end,
    "a text": lambda _: "front-desk",
    "True": lambda _: True,
    "a mapping": lambda _: dict(GOOD),
    "a refusal whose reason is no text": fail(CredentialRefused(5)),  # type: ignore[arg-type]
    "a refusal whose reason has a line": fail(CredentialRefused("bad\nbadge")),
    "a refusal of a key that is no text": fail(CredentialRefused("bad_badge", credential_id=b"x")),  # type: ignore[arg-type]
}
UNSOUND: dict[str, dict[str, Any]] = {
    "app 5": {"app": 5},
    "no app": {"app": None},
    "an empty app": {"app": ""},
    "an app with a line": {"app": "front\ndesk"},
    "an app with a lone surrogate": {"app": "front\ud800"},
    "an app with a bidirectional override": {"app": "front\u202edesk"},
    "an app of 257 characters": {"app": "a" * 257},
    "an app that a rule takes for the owner": {"app": "@owner"},
    "an identity of bytes": {"identity": b"jane"},
    "an identity with NUL": {"identity": "jane\x00"},
    "a method with a tab": {"method": "bad\tge"},
    "no credential id": {"credential_id": None},
    "a long credential id": {"credential_id": "c" * 257},
    "purposes in a list": {"purposes": ["card"]},
    "purposes in a text": {"purposes": "card"},
    "a purpose that is none": {"purposes": frozenset({"Card!"})},
    "a purpose that is a number": {"purposes": frozenset({5})},
    "roles of texts": {"roles": frozenset({"admin"})},
    "roles in a list": {"roles": [Role.ADMIN]},
    "no roles": {"roles": None},
}


@pytest.mark.parametrize("behave", BROKEN.values(), ids=BROKEN.keys())
async def test_a_broken_authenticator_refuses_with_a_row(asked, behave, caplog) -> None:
    reply, rows = await asked(behave)
    assert reply.status == 503
    assert b"urn:vsqlvault:problem:plugin-failure" in reply.body
    assert ("Retry-After", "1") in reply.headers
    assert [(row.operation, row.status, row.reason, row.app) for row in rows] == [
        (Audited.AUTHENTICATE, 503, "plugin_failure", None)
    ]
    assert "marker-of-the-fault" not in caplog.text


@pytest.mark.parametrize("fields", UNSOUND.values(), ids=UNSOUND.keys())
async def test_an_unsound_principal_is_nobody(asked, fields) -> None:
    reply, rows = await asked(lambda _: Principal(**GOOD | fields))
    assert reply.status == 503
    assert [(row.status, row.reason, row.app) for row in rows] == [(503, "plugin_failure", None)]


async def test_an_authenticator_that_is_late_refuses_with_a_row(asked) -> None:
    reply, rows = await asked(sleep_for_long, authenticator_seconds=0.01)
    assert reply.status == 503
    assert [row.reason for row in rows] == ["plugin_failure"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"identity": None, "purposes": None, "roles": frozenset()},
        {"purposes": frozenset()},
        {"app": "a" * 256, "identity": "Jos\u00e9 N\u00fa\u00f1ez"},
    ],
)
async def test_a_sound_principal_is_who_asks(asked, fields) -> None:
    reply, _ = await asked(lambda _: Principal(**GOOD | fields))
    assert (reply.status, reply.body.decode()) == (200, (GOOD | fields)["app"])


async def test_a_refusal_of_an_authenticator_is_on_record_in_its_words(asked) -> None:
    reply, rows = await asked(fail(CredentialRefused("bad_badge", credential_id="badge-7")))
    assert reply.status == 401
    assert [(row.status, row.reason, row.credential_id) for row in rows] == [(401, "bad_badge", "badge-7")]


@pytest.mark.parametrize("certificate", [None, b"certificate"])
async def test_an_authenticator_sees_who_connected_and_nothing_that_a_stranger_says_of_somebody_else(
    asked, certificate: bytes | None
) -> None:
    seen: list[Presented] = []

    def behave(presented: Presented) -> Principal:
        seen.append(presented)
        return Principal(**GOOD)

    told = [("client-cert", ":AAAA:"), ("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")]
    reply, _ = await asked(behave, ("accept", "*/*"), *told, certificate=certificate)
    assert reply.status == 200
    assert seen == [
        Presented({"x-badge": "7", "accept": "*/*"}, "192.0.2.7", certificate, (b"issuer",) if certificate else ())
    ]
