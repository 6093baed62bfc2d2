"""TLS as a client meets it: which clients are accepted, which are rejected and audited, and what a reload changes."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import h2.connection
import h2.events
import pytest

from tests.support.certificates import DAY, SERVER, Authority
from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import eventually
from tests.support.tls import Ground, Start, ground, keeping, refused_handshake, rejected, start
from tests.support.wire import connected, exchange, read_answer, request_bytes

__all__ = ["ground", "start"]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_it_serves_over_tls_with_what_openssl_calls_strong(start: Start, ground: Ground) -> None:
    server = start(ground.settings())
    server.stored("payments", "card/a", MARKER)
    assert server.get("payments", "card/a").json["encrypted_value"] == MARKER
    with connected(server.address, 10, server.tls) as connection:
        assert connection.version() == "TLSv1.3"  # type: ignore[attr-defined]
    older = ground.context()
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with connected(server.address, 10, older) as connection:
        assert "ECDHE" in connection.cipher()[0]  # type: ignore[attr-defined]
    oldest = ground.context()
    oldest.minimum_version = ssl.TLSVersion.TLSv1
    oldest.maximum_version = ssl.TLSVersion.TLSv1_1
    oldest.set_ciphers("ALL:@SECLEVEL=0")
    refused_handshake(server, oldest)
    assert server.stop() == 0
    server.assert_log_is_clean([MARKER])


def test_what_is_no_tls_is_hung_up_on_and_counted(start: Start, ground: Ground) -> None:
    server = start(ground.settings())
    with socket.create_connection(server.address, timeout=10) as plain:
        plain.sendall(request_bytes("GET", "/health"))
        with suppress(ConnectionResetError):
            assert b"HTTP/1.1" not in plain.recv(4096)
    assert eventually(lambda: b'vsqlvault_http_refused_total{reason="tls.' in server.call(None, "GET", "/metrics").body)


def test_one_that_is_silent_is_cut_off_and_keeps_nobody_waiting(start: Start, ground: Ground) -> None:
    server = start(ground.settings())
    began = time.monotonic()
    silent = [socket.create_connection(server.address, timeout=10) for _ in range(20)]
    assert server.call(None, "GET", "/health").status == 200
    assert time.monotonic() - began < 2
    for connection in silent:
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
        connection.close()
    assert 4 < time.monotonic() - began < 8


class TestClientCertificates:
    def test_one_of_the_authoritys_gets_in(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="required"), ground.authority.client("payments"))
        assert server.get("payments", "card/none-such").status == 404

    def test_others_do_not_and_are_on_record_with_the_reason(
        self, start: Start, ground: Ground, tmp_path: Path
    ) -> None:
        authority = ground.authority
        (tmp_path / "elsewhere").mkdir()
        stranger = Authority(tmp_path / "elsewhere", "stranger")
        no_authority = authority.client("no-authority")
        revoked = authority.client("revoked")
        authority.revoke(revoked)
        server = start(ground.settings(client_cert="required"), authority.client("payments"))
        reasons = {}
        for name, client in {
            "none": None,
            "untrusted": stranger.client("untrusted"),
            "self-signed": stranger.issued,
            "expired": authority.client("expired", since=-2 * DAY, until=-DAY),
            "not yet valid": authority.client("early", since=DAY),
            "for servers": authority.client("for-servers", uses=[SERVER]),
            "by no authority": authority.client("by-no-authority", issuer=no_authority),
            "revoked": revoked,
        }.items():
            before = len(rejected(server))
            refused_handshake(server, ground.context(client))
            rows = eventually(lambda before=before: (found := rejected(server))[before:] and found)
            reasons[name] = rows[-1].removeprefix("tls.reject:")
        assert reasons == {
            "none": "peer-did-not-return-a-certificate",
            "untrusted": "unable-to-get-local-issuer-certificate",
            "self-signed": "self-signed-certificate",
            "expired": "certificate-has-expired",
            "not yet valid": "certificate-is-not-yet-valid",
            "for servers": "unsuitable-certificate-purpose",
            "by no authority": "unable-to-get-local-issuer-certificate",
            "revoked": "certificate-revoked",
        }

    def test_optional_means_that_none_is_needed_but_a_bad_one_is_refused(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(client_cert="optional"))
        assert server.get("payments", "card/none-such").status == 404
        server.tls = ground.context(ground.authority.client("payments"))
        assert server.get("payments", "card/none-such").status == 404
        expired = ground.authority.client("expired", since=-2 * DAY, until=-timedelta(hours=1))
        refused_handshake(server, ground.context(expired))

    def test_one_that_is_revoked_is_out_at_its_next_request(self, start: Start, ground: Ground) -> None:
        authority = ground.authority
        leaving, staying = authority.client("leaving"), authority.client("staying")
        server = start(ground.settings(client_cert="required"), staying)
        context = ground.context(leaving)
        with connected(server.address, 10, context) as connection:
            raw = request_bytes("GET", "/vault/card/none-such", headers=keeping(server))
            connection.sendall(raw)
            assert read_answer(connection).status == 404
            session = connection.session  # type: ignore[attr-defined]
            authority.revoke(leaving)
            server.hang_up()
            connection.sendall(raw)
            assert_refused(server, read_answer(connection), 401, "unauthenticated", "revoked")
        refused_handshake(server, context)
        assert session is None or not session.has_ticket
        assert server.get("payments", "card/none-such").status == 404

    def test_on_a_session_that_is_resumed_it_is_out_as_well(self, start: Start, ground: Ground) -> None:
        """There are no sessions to resume: TLS 1.2, which would have them, is not spoken, and 1.3 gives no tickets."""
        leaving = ground.authority.client("leaving")
        server = start(ground.settings(client_cert="optional"), ground.authority.client("staying"))
        context = ground.context(leaving)
        raw = request_bytes("GET", "/vault/card/none-such", headers=keeping(server))
        with connected(server.address, 10, context) as connection:
            connection.sendall(raw)
            assert read_answer(connection).status == 404
            session = connection.session  # type: ignore[attr-defined]
        with (
            socket.create_connection(server.address, timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as again,
        ):
            again.sendall(raw)
            assert read_answer(again).status == 404
            assert not again.session_reused
        ground.authority.revoke(leaving)
        server.hang_up()
        refused_handshake(server, context)
        older = ground.context(ground.authority.client("older"))
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        refused_handshake(server, older)
        eventually(lambda: "tls.reject:unsupported-protocol" in rejected(server))

    def test_a_list_that_has_ended_keeps_all_of_them_out_and_the_metrics_say_when(
        self, start: Start, ground: Ground
    ) -> None:
        client = ground.authority.client("payments")
        server = start(ground.settings(client_cert="optional"))
        shown = server.call(None, "GET", "/metrics").body.decode()
        found = dict(re.findall(r'vsqlvault_tls_expiry_timestamp_seconds\{file="(\w+)"\} (\S+)', shown))
        assert set(found) == {"cert_file", "client_ca_file", "crl_file"}
        assert all(time.time() + 20 * 86400 < float(at) < time.time() + 40 * 86400 for at in found.values())
        ground.authority.revoke(until=-timedelta(hours=1))
        server.hang_up()
        refused_handshake(server, ground.context(client))
        eventually(lambda: "tls.reject:crl-has-expired" in rejected(server))
        assert server.get("payments", "card/none-such").status == 404
        shown = server.call(None, "GET", "/metrics").body.decode()
        ended = re.search(r'vsqlvault_tls_expiry_timestamp_seconds\{file="crl_file"\} (\S+)', shown)
        assert ended
        assert float(ended[1]) < time.time()


class TestReload:
    def test_a_new_certificate_is_used_from_then_on_and_no_request_fails(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings())
        server.stored("payments", "card/a", MARKER)
        raw = request_bytes("GET", "/vault/card/a", headers=keeping(server))
        with connected(server.address, 10, server.tls) as open_before:
            statuses = []
            serials = set()
            for number in range(6):
                if number == 2:
                    ground.serve(ground.authority.server())
                    server.hang_up()
                for _ in range(10):
                    open_before.sendall(raw)
                    statuses.append(read_answer(open_before).status)
                    statuses.append(server.get("payments", "card/a").status)
                with connected(server.address, 10, server.tls) as connection:
                    serials.add(connection.getpeercert()["serialNumber"])  # type: ignore[attr-defined]
        assert set(statuses) == {200}
        assert len(serials) == 2

    def test_a_file_that_cannot_be_used_changes_nothing(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings())
        ground.cert_file.write_text("nothing", encoding="ascii")
        server.signal(signal.SIGHUP)
        eventually(lambda: any("reload refused" in line for line in server.log_lines()))
        assert server.call(None, "GET", "/health").status == 200

    def test_nor_do_the_keys_beside_it(self, start: Start, ground: Ground) -> None:
        """All that is written down comes into force, or nothing of it."""
        server = start(ground.settings())
        leaving = server.apps.pop("payments")
        ground.key_file.write_text("nothing", encoding="ascii")
        server.write_config()
        server.signal(signal.SIGHUP)
        eventually(lambda: any("reload refused" in line for line in server.log_lines()))
        answer = server.call(None, "GET", "/vault/card/none-such", headers={"X-Vault-Key": leaving.key})
        assert answer.status == 404


@pytest.mark.parametrize(
    ("spoil", "stated"),
    [
        (lambda ground: ground.key_file.chmod(0o644), "not readable by all users"),
        (lambda ground: ground.key_file.unlink(), "key_file"),
        (lambda ground: ground.cert_file.write_text("nothing"), "cannot use"),
    ],
    ids=["a key for all to read", "no key", "no certificate"],
)
def test_files_that_cannot_be_used_end_the_start_with_a_sentence(start: Start, ground: Ground, spoil, stated) -> None:
    spoil(ground)
    with pytest.raises(AssertionError, match="the server ended") as ended:
        start(ground.settings())
    assert stated in str(ended.value)
    assert "Traceback" not in str(ended.value)


class Http2:
    """A client of HTTP/2, for one request at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._h2 = h2.connection.H2Connection()
        self._h2.initiate_connection()
        self._send()

    def _send(self) -> None:
        self._socket.sendall(self._h2.data_to_send())

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes]:
        stream = self._h2.get_next_available_stream_id()
        names = [
            (":method", method),
            (":path", path),
            (":scheme", "https"),
            (":authority", "localhost"),
            *headers.items(),
        ]
        self._h2.send_headers(stream, names, end_stream=not body)
        if body:
            self._h2.send_data(stream, body, end_stream=True)
        self._send()
        status, found = 0, b""
        while True:
            for event in self._h2.receive_data(self._socket.recv(65536)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = int(dict(event.headers)[b":status"])
                elif isinstance(event, h2.events.DataReceived):
                    found += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    return status, found
            self._send()


class TestHttp2:
    def test_it_is_offered_where_it_is_asked_for(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings(more="http2 = true"))
        key = {"x-vault-key": server.key("payments")}
        with connected(server.address, 10, ground.context(None, "h2", "http/1.1")) as connection:
            assert connection.selected_alpn_protocol() == "h2"  # type: ignore[attr-defined]
            client = Http2(connection)
            body = b'{"encrypted_value": "%b"}' % MARKER.encode()
            assert client.ask("PUT", "/vault/card/a", key | {"content-type": "application/json"}, body)[0] == 201
            status, found = client.ask("GET", "/vault/card/a", key)
            assert (status, MARKER.encode() in found) == (200, True)
            assert client.ask("GET", "/vault/card/a", {"x-vault-key": "wrong"})[0] == 401
            assert client.ask("BREW", "/vault/card/a", key)[0] == 405
        assert server.get("payments", "card/a").status == 200
        assert server.stop() == 0
        server.assert_log_is_clean([MARKER])

    def test_a_revoked_certificate_is_out_there_too(self, start: Start, ground: Ground) -> None:
        leaving = ground.authority.client("leaving")
        settings = ground.settings(client_cert="required", more="http2 = true")
        server = start(settings, ground.authority.client("staying"))
        key = {"x-vault-key": server.key("payments")}
        with connected(server.address, 10, ground.context(leaving, "h2")) as connection:
            client = Http2(connection)
            assert client.ask("GET", "/vault/card/none-such", key)[0] == 404
            ground.authority.revoke(leaving)
            server.hang_up()
            assert client.ask("GET", "/vault/card/none-such", key)[0] == 401

    def test_it_is_not_offered_otherwise(self, start: Start, ground: Ground) -> None:
        server = start(ground.settings())
        with connected(server.address, 10, ground.context(None, "h2", "http/1.1")) as connection:
            assert connection.selected_alpn_protocol() == "http/1.1"  # type: ignore[attr-defined]


def test_plain_http_without_tls_is_for_the_loopback_alone(start: Start, ground: Ground) -> None:
    """A peer on another host is not available here; a proxy on the loopback that forwards for one can."""
    server = start(ground.settings(more='trusted_proxies = ["127.0.0.1"]'))
    headers = [("X-Vault-Key", server.key("payments")), ("X-Forwarded-For", "203.0.113.9")]
    raw = request_bytes("GET", "/vault/card/none-such", headers=headers)
    answer = exchange(server.address, raw, tls=server.tls)
    assert_problem(answer, 404, "not-found")
    assert server.row(answer)["client_address"] == "203.0.113.9"
