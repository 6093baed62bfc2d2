"""A destination of exports for bench_export: ``export_receiver.py http|syslog PORT DIRECTORY``. It starts fast."""

from __future__ import annotations

import random
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

SLOW_SHARE, SLOW_SECONDS = 0.02, 0.5


class Receiving(BaseHTTPRequestHandler):
    """Appends each batch to a file before it is acknowledged, and is slow at random."""

    protocol_version = "HTTP/1.0"
    out: Any

    def do_POST(self) -> None:
        """Take one batch."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        keep(self.out, body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def keep(out: Any, data: bytes) -> None:
    """Append to the file, at random after a pause."""
    if random.random() < SLOW_SHARE:
        time.sleep(SLOW_SECONDS)
    out.write(data)
    out.flush()


def mend(out: Any) -> None:
    """Remove the end of a line that a killed receiver was writing."""
    out.seek(0)
    out.truncate(out.read().rfind(b"\n") + 1)


def receive_http(port: int, out: Any) -> None:
    HTTPServer(("127.0.0.1", port), type("Handler", (Receiving,), {"out": out})).serve_forever()


def receive_syslog(port: int, out: Any, directory: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        plain, _ = listener.accept()
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
            got = b""
            while data := secured.recv(65_536):
                got += data
            keep(out, b"".join(line + b"\n" for line in messages(got)))
            secured.unwrap()


def messages(data: bytes) -> Iterator[bytes]:
    """Yield the JSON of each whole message."""
    at = 0
    while (space := data.find(b" ", at)) >= 0:
        end = space + 1 + int(data[at:space])
        if end <= len(data):
            yield data[data.index(b"{", space) : end]
        at = end


def main() -> None:
    kind, port, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    with (directory / "received.ndjson").open("a+b") as out:
        mend(out)
        receive_http(port, out) if kind == "http" else receive_syslog(port, out, directory)


if __name__ == "__main__":
    main()
