"""Systems that receive exported logs: an HTTP endpoint, and a syslog receiver over TLS."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from tests.support.certificates import Authority


class Endpoint:
    """An HTTP endpoint that keeps what it gets, and refuses the first ``refused`` requests."""

    def __init__(self, refused: int = 0) -> None:
        self.requests: list[tuple[Mapping[str, str], bytes]] = []
        self.refused = refused
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.requests.append((dict(self.headers), body))
                self.send_response(503 if len(outer.requests) <= outer.refused else 204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/ingest?source=vault"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Receiver:
    """A syslog receiver over TLS that keeps the messages of each connection, and loses the first ``lost`` connections.

    The connections with the numbers ``killed``, counted from 0, are read and not kept, and end as those of a process that is
    killed. ``sends_alerts=False``: no connection ends by close_notify.
    """

    def __init__(
        self, directory: Path, lost: int = 0, *, killed: Collection[int] = (), sends_alerts: bool = True
    ) -> None:
        authority = Authority(directory)
        issued = authority.server()
        self.ca_file = str(authority.cert_file)
        self.connections: list[bytes] = []
        self._lost = lost
        self._killed = killed
        self._sends_alerts = sends_alerts
        self.accepted = 0
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(issued.cert_file, issued.key_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with suppress(OSError), self._context.wrap_socket(plain, server_side=True) as secured:
                if self._lost:
                    self._lost -= 1
                    secured.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    continue
                number, self.accepted = self.accepted, self.accepted + 1
                got = b""
                while data := secured.recv(65536):
                    got += data
                if number in self._killed:
                    continue
                self.connections.append(got)
                if self._sends_alerts:
                    secured.unwrap()

    def messages(self) -> list[bytes]:
        """Return the messages without their lengths."""
        data, found = b"".join(self.connections), []
        while data:
            length, _, rest = data.partition(b" ")
            found.append(rest[: int(length)])
            data = rest[int(length) :]
        return found

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
