"""Addresses, TLS, credentials, hooks; and that no value and no credential is ever shown."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from tests.support.server import VaultServer
from tests.support.tls import Ground, Start, ground, start
from vsqlvault.client import AsyncVault, Attempt, Hooks, Retries, Timeouts, Vault, errors

__all__ = ["ground", "start"]

FAST = Retries(max_attempts=3, first_pause_seconds=0, max_pause_seconds=0)
ENTRY = {
    "purpose": "card", "external_id": "p1", "entry_id": "e", "version": 1, "state": "active", "encoding": "utf-8",
    "value_sha256": "cd42404d52ad55ccfa9aca4adc828aa5800ad9d385a0671fbcbf724118320619", "value_size": 5,
    "algorithm_hint": None, "key_ref": None, "owner_app": "a", "owner_identity": None, "access_policy": "owner-only",
    "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00.25Z", "expires_at": "2027-01-01T00:00:00Z",
    "effective_expires_at": "2027-01-01T00:00:00Z", "retrievals": 0, "metadata": {}, "encrypted_value": "value",
    "member_of_a_later_version": True,
}  # fmt: skip
URL = "https://vault.example:8443"


def answering(*answers: httpx.Response | Exception) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """Return a transport that gives these answers one after the other, and the requests it was sent."""
    waiting, seen = list(answers), []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        found = waiting.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return httpx.MockTransport(answer), seen


def problem(status: int, slug: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"type": f"urn:vsqlvault:problem:{slug}"}, headers=headers)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("vault.example", "http:// or https://"),
        ("ftp://vault.example", "http:// or https://"),
        ("https://", "a host"),
        ("https://vault:0", "a host"),
        ("https://vault:port", "a host"),
        ("https://user:hunter2@vault.example", "no user"),
        ("https://vault.example/?a=b", "query"),
        ("http://vault.example:8443", "https://"),
        ("http://10.0.0.1:8443", "https://"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_one_sentence(url: str, said: str) -> None:
    with pytest.raises(errors.Unusable, match=said) as raised:
        Vault(url, key="k")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:1", "http://127.0.0.9", "http://[::1]:8443", "http://vault.localhost"]
)
def test_plain_http_is_for_the_loopback(url: str) -> None:
    Vault(url, key="k").close()
    Vault("http://vault.example", key="k", insecure_plaintext=True).close()


@pytest.mark.parametrize("secret", ["", "a b", "a\r\nX: y", "ä", b"bytes"])
def test_a_credential_that_no_header_can_hold_is_refused_and_not_shown(secret: Any) -> None:
    transport, seen = answering(httpx.Response(200, json=ENTRY))
    with Vault(URL, key=secret, transport=transport) as vault, pytest.raises(errors.Unusable) as raised:
        vault.get("card", "p1")
    assert not seen
    assert repr(secret) not in str(raised.value) or secret == ""


def test_a_key_and_a_token_are_too_many() -> None:
    with pytest.raises(errors.Unusable, match="at most one"):
        Vault(URL, key="k", token="t")


@pytest.mark.parametrize(
    "options", [{"verify": "/nowhere.pem"}, {"verify": __file__}, {"cert": ("/nowhere", "/nowhere")}]
)
def test_files_that_cannot_be_read_are_named_by_their_setting(options: dict[str, Any]) -> None:
    with pytest.raises(errors.Unusable, match=next(iter(options))):
        Vault(URL, key="k", **options)


def test_the_credential_travels_in_its_header_and_the_client_names_itself() -> None:
    transport, seen = answering(*(httpx.Response(200, json=ENTRY) for _ in range(3)))
    for options in ({"key": "k1"}, {"key": "k1", "key_header": "X-Other"}, {"token": "t1", "user_agent": "shop/1"}):
        with Vault(URL, transport=transport, **options) as vault:  # type: ignore[arg-type]
            vault.get("card", "p1")
    assert [request.headers.get("X-Vault-Key") for request in seen] == ["k1", None, None]
    assert [request.headers.get("Authorization") for request in seen] == [None, None, "Bearer t1"]
    assert seen[1].headers["X-Other"] == "k1"
    assert seen[0].headers["User-Agent"].startswith("vsqlvault-client/")
    assert seen[2].headers["User-Agent"] == "shop/1"


def test_a_token_is_asked_for_at_each_attempt() -> None:
    tokens = iter(["t1", "t2"])
    transport, seen = answering(problem(503, "overloaded"), httpx.Response(200, json=ENTRY))
    with Vault(URL, token=lambda: next(tokens), transport=transport, retries=FAST) as vault:
        vault.get("card", "p1")
    assert [request.headers["Authorization"] for request in seen] == ["Bearer t1", "Bearer t2"]


def test_a_token_that_was_refused_is_replaced_once_by_a_new_one() -> None:
    tokens = iter(["old", "new", "new"])
    transport, seen = answering(problem(401, "unauthenticated"), httpx.Response(200, json=ENTRY))
    with Vault(URL, token=lambda: next(tokens), transport=transport) as vault:
        assert vault.get("card", "p1").value == b"value"
    assert [request.headers["Authorization"] for request in seen] == ["Bearer old", "Bearer new"]


def test_a_token_that_stays_refused_is_not_presented_again() -> None:
    transport, seen = answering(problem(401, "unauthenticated"))
    with Vault(URL, token=lambda: "same", transport=transport) as vault, pytest.raises(errors.Unauthenticated):
        vault.get("card", "p1")
    assert len(seen) == 1


def test_an_async_client_takes_a_coroutine_for_its_token() -> None:
    async def token() -> str:
        await anyio.lowlevel.checkpoint()
        return "t1"

    async def run() -> None:
        transport, seen = answering(httpx.Response(200, json=ENTRY))
        async with AsyncVault(URL, token=token, transport=transport) as vault:
            await vault.get("card", "p1")
        assert seen[0].headers["Authorization"] == "Bearer t1"
        with (
            Vault(URL, token=token, transport=transport) as blocking,
            pytest.raises(errors.Unusable, match="AsyncVault"),
        ):
            blocking.get("card", "p1")

    with pytest.warns(RuntimeWarning, match="never awaited"):
        anyio.run(run)


def test_pauses_are_slept_and_hooks_see_every_attempt() -> None:
    seen: list[Attempt] = []
    slept: list[float] = []
    hooks = Hooks(
        before=lambda attempt: {"traceparent": f"00-{attempt.number}", "X-Vault-Key": "forged"}, after=seen.append
    )
    transport, requests = answering(
        httpx.ConnectError("refused"), problem(503, "overloaded", **{"Retry-After": "2", "X-Request-Id": "r1"}),
        httpx.Response(200, json=ENTRY, headers={"X-Request-Id": "r2"}),
    )  # fmt: skip
    with Vault(URL, key="k", transport=transport, hooks=hooks, sleep=slept.append) as vault:
        vault.get("card", "p1")
    assert [(each.number, each.status, each.error, each.request_id) for each in seen] == [
        (1, None, "ConnectError", None),
        (2, 503, None, "r1"),
        (3, 200, None, "r2"),
    ]
    assert {each.route for each in seen} == {"/vault/{purpose}/{external_id}"}
    assert [each.pause_seconds for each in seen] == [*slept, None]
    assert slept[1] >= 2
    assert [request.headers["traceparent"] for request in requests] == ["00-1", "00-2", "00-3"]
    assert {request.headers["X-Vault-Key"] for request in requests} == {"k"}


def test_a_hook_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def failing(_: Attempt) -> None:
        raise RuntimeError("secret of the hook")

    transport, _ = answering(httpx.Response(200, json=ENTRY))
    with Vault(URL, key="k", transport=transport, hooks=Hooks(failing, failing)) as vault:
        assert vault.get("card", "p1").value == b"value"
    assert "RuntimeError" in caplog.text
    assert "secret of the hook" not in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={**ENTRY, "encrypted_value": "other"}),
        httpx.Response(200, json={**ENTRY, "encrypted_value": None}),
        httpx.Response(200, json={**ENTRY, "encoding": "base64", "encrypted_value": "no"}),
        httpx.Response(200, json={**ENTRY, "created_at": "yesterday"}),
        httpx.Response(200, json={name: value for name, value in ENTRY.items() if name != "metadata"}),
        httpx.Response(200, content=b"[" * 100_000),
        httpx.Response(302, headers={"Location": "https://elsewhere"}),
    ],
)
def test_an_answer_that_no_vault_gives_is_an_error_and_not_shown(answer: httpx.Response) -> None:
    transport, _ = answering(answer)
    with Vault(URL, key="k", transport=transport) as vault, pytest.raises(errors.UnexpectedAnswer) as raised:
        vault.get("card", "p1")
    assert "other" not in str(raised.value)
    assert "yesterday" not in str(raised.value)


def test_times_are_read_with_fractions_of_any_length() -> None:
    transport, _ = answering(httpx.Response(200, json=ENTRY))
    with Vault(URL, key="k", transport=transport) as vault:
        assert vault.get("card", "p1").updated_at.microsecond == 250_000


def test_no_value_and_no_credential_is_in_a_log_a_repr_or_a_traceback(
    server: VaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret, key = "value-marker-1c9a", server.key("payments")
    with Vault(server.url, key=key) as vault:
        shown = [repr(vault), repr(vault.put("card", "logged", secret)), repr(vault.get("card", "logged"))]
    transport, _ = answering(httpx.ReadError("broken", request=httpx.Request("GET", URL)))
    with Vault(URL, key=key, transport=transport) as vault, pytest.raises(errors.ConnectionLost) as raised:
        vault.get("card", "p1")
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    shown += traceback.format_exception(raised.value)
    text = caplog.text + "".join(shown)
    assert secret not in text
    assert key not in text


def test_an_address_where_nobody_answers_is_unreachable_and_nothing_was_sent() -> None:
    with Vault("http://127.0.0.1:1", key="k", retries=FAST) as vault, pytest.raises(errors.Unreachable) as raised:
        vault.delete("card", "p1")
    assert not raised.value.maybe_applied


AT_ONCE = Retries(first_contact_seconds=0)


def test_a_later_call_of_a_client_is_not_a_first_contact() -> None:
    lost = httpx.ConnectError("refused")
    transport, seen = answering(lost, httpx.Response(200, json=ENTRY), lost, httpx.Response(200, json=ENTRY))
    with Vault(URL, key="k", transport=transport, retries=AT_ONCE, sleep=lambda _: None) as vault:
        with pytest.raises(errors.Unreachable):
            vault.get("card", "p1")
        vault.get("card", "p1")
        assert vault.get("card", "p1").value == b"value"
    assert len(seen) == 4


def test_a_later_call_of_an_async_client_is_not_a_first_contact() -> None:
    async def run() -> None:
        lost = httpx.ConnectError("refused")
        transport, seen = answering(lost, httpx.Response(200, json=ENTRY), lost, httpx.Response(200, json=ENTRY))
        options: dict[str, Any] = {
            "transport": transport,
            "retries": AT_ONCE,
            "sleep": lambda _: anyio.lowlevel.checkpoint(),
        }
        async with AsyncVault(URL, key="k", **options) as vault:
            with pytest.raises(errors.Unreachable):
                await vault.get("card", "p1")
            await vault.get("card", "p1")
            assert (await vault.get("card", "p1")).value == b"value"
        assert len(seen) == 4

    anyio.run(run)


RESOLVING = [(socket.EAI_NONAME, "HostNotFound"), (socket.EAI_AGAIN, "ConnectError")]


def _resolver(number: int) -> Any:
    def resolve(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(number, "the resolver's text")

    return resolve


@pytest.mark.parametrize(("number", "reason"), RESOLVING)
def test_a_host_that_does_not_exist_is_told_from_a_resolver_that_fails(
    monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _resolver(number))
    with Vault(URL, key="k", retries=FAST) as vault, pytest.raises(errors.Unreachable, match=reason):
        vault.get("card", "p1")


@pytest.mark.parametrize(("number", "reason"), RESOLVING)
def test_an_async_client_tells_a_host_that_does_not_exist_from_a_resolver_that_fails(
    monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    async def run() -> None:
        async with AsyncVault(URL, key="k", retries=FAST) as vault:
            with pytest.raises(errors.Unreachable, match=reason):
                await vault.get("card", "p1")

    monkeypatch.setattr(socket, "getaddrinfo", _resolver(number))
    anyio.run(run)


def test_one_number_of_seconds_stands_for_every_timeout() -> None:
    with Vault(URL, key="k", timeouts=3.0) as one, Vault(URL, key="k", timeouts=Timeouts(read=1)) as each:
        assert one._client.timeout == httpx.Timeout(3.0)
        assert (each._client.timeout.connect, each._client.timeout.read) == (5.0, 1.0)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, server: VaultServer) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Vault(server.url, key="k") as vault, pytest.raises(errors.Unauthenticated):
        vault.get("card", "p1")


def test_a_client_certificate_is_the_credential(ground: Ground, start: Start) -> None:
    app = ground.authority.client("payments")
    mapping = f'[[auth.mtls]]\nthumbprint = "{app.thumbprint}"\napp = "payments"\npurposes = ["card"]\n'
    server = start(ground.settings(client_cert="optional") + mapping)
    url = f"https://localhost:{server.address[1]}"
    options: dict[str, Any] = {"verify": ground.authority.cert_file, "cert": (app.cert_file, app.key_file)}
    with Vault(url, **options) as vault:
        assert vault.put("card", "by-certificate", b"value").owner_app == "payments"
    with Vault(url, **{**options, "verify": True}, retries=FAST) as stranger, pytest.raises(errors.Unreachable):
        stranger.get("card", "by-certificate")
    context = ssl.create_default_context(cafile=ground.authority.cert_file)
    context.load_cert_chain(app.cert_file, app.key_file)
    with Vault(url, verify=context) as vault:
        assert vault.get("card", "by-certificate").value == b"value"


def test_http_2_is_spoken_where_it_is_asked_for(ground: Ground, start: Start) -> None:
    server = start(ground.settings(more="http2 = true"))
    url = f"https://localhost:{server.address[1]}"
    with Vault(url, key=server.key("payments"), verify=ground.authority.cert_file, http2=True) as vault:
        vault.put("card", "by-http-2", b"value")
        assert vault.get("card", "by-http-2").value == b"value"
        assert vault._client.get(f"{url}/health").http_version == "HTTP/2"


@pytest.fixture
def breaking() -> Iterator[str]:
    """A server that begins a chunked answer and hangs up in the middle."""

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    head = (
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
                    )
                    connection.sendall(head + b'8\r\n{"a":1}\n\r\n4\r\n{"a"')

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_stream_that_breaks_off_raises_and_leaves_no_file(breaking: str, tmp_path: Path) -> None:
    with Vault(breaking, key="k") as vault:
        with vault.export_access_log() as stream, pytest.raises(errors.ConnectionLost):
            stream.save(tmp_path / "log.ndjson")
        with vault.export_access_log() as stream, pytest.raises(errors.ConnectionLost):
            list(stream.rows())
    assert list(tmp_path.iterdir()) == []


def test_an_awaited_stream_that_breaks_off_raises_and_leaves_no_file(breaking: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with AsyncVault(breaking, key="k") as vault, vault.export_access_log() as stream:
            with pytest.raises(errors.ConnectionLost):
                await stream.save(tmp_path / "log.ndjson")

    anyio.run(run)
    assert list(tmp_path.iterdir()) == []


def test_the_awaited_client_retries_renews_and_traces_as_the_blocking_one_does() -> None:
    seen: list[Attempt] = []
    slept: list[float] = []
    tokens = iter(["t1", "t2", "old", "new", "new"])

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def run() -> None:
        transport, requests = answering(
            httpx.ConnectError("refused"), problem(503, "overloaded", **{"Retry-After": "2"}), problem(401, "unauthenticated"),
            httpx.Response(200, json=ENTRY),
        )  # fmt: skip
        options: dict[str, Any] = {"transport": transport, "hooks": Hooks(after=seen.append), "sleep": sleep}
        async with AsyncVault(URL, token=lambda: next(tokens), **options) as vault:
            assert (await vault.get("card", "p1")).value == b"value"
        assert [request.headers["Authorization"] for request in requests] == [
            "Bearer t1", "Bearer t2", "Bearer old", "Bearer new",
        ]  # fmt: skip

    anyio.run(run)
    assert [each.status or each.error for each in seen] == ["ConnectError", 503, 401, 200]
    assert len(slept) == 2
    assert slept[1] >= 2


def test_a_cancelled_call_leaves_the_awaited_client_usable(server: VaultServer) -> None:
    async def run() -> None:
        async with AsyncVault(server.url, key=server.key("payments")) as vault:
            await vault.put("card", "cancelled", b"value")
            for _ in range(20):
                with anyio.move_on_after(0.0005):
                    await vault.head("card", "cancelled")
            assert (await vault.head("card", "cancelled")).access_policy == "owner-only"

    anyio.run(run)
