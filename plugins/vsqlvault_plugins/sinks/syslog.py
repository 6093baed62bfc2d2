"""Sends exported rows as syslog messages (RFC 5424) over TLS (RFC 5425)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, model_validator

from vsqlvault.config import Section
from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.log_sink import ExportedRow, LogSink, LogSinkKind
from vsqlvault_plugins.sinks.http import trusting

TIMEOUT_SECONDS = 10.0
AUDIT_FACILITY = 13
WARNING, INFORMATIONAL = 4, 6
APP_NAME = "vsqlvault"
Host = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._:-]+$")]


class SyslogSinkSettings(Section):
    """``[[export]]`` with ``kind = "syslog"``."""

    host: Host
    port: int = Field(default=6514, ge=1, le=65535)
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    client_cert_file: Annotated[str, Field(min_length=1)] | None = None
    client_key_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _both(self) -> SyslogSinkSettings:
        if (self.client_cert_file is None) != (self.client_key_file is None):
            raise ValueError("client_cert_file and client_key_file together")
        return self


class SyslogSink(LogSink):
    """One connection for each batch.

    Syslog has no acknowledgement. The end of the TLS connection takes its place: after the last message the vault ends its
    side by the alert close_notify, and waits for that of the receiver, which RFC 5425 demands (section 4.4). A receiver that
    was killed sends none.

    Some receivers never send it. A connection without messages shows which. From those, the end of the connection is all that
    there is: what they had read and not kept when they were killed is lost.
    """

    def __init__(self, host: str, port: int, trust: ssl.SSLContext, hostname: str) -> None:
        self._address = (host, port)
        self._trust = trust
        self._hostname = hostname
        self._sends_alerts = False

    async def deliver(self, rows: Sequence[ExportedRow]) -> None:
        """See ``LogSink.deliver``. Raises OSError."""
        await asyncio.to_thread(self._send, rows)

    def _send(self, rows: Sequence[ExportedRow]) -> None:
        frames = b"".join(framed(message(row, self._hostname)) for row in rows)
        if self._ends_by_alert(frames):
            self._sends_alerts = True
        elif self._sends_alerts or self._ends_by_alert(b""):
            self._sends_alerts = True
            raise ConnectionAbortedError("the receiver ended the connection without close_notify")

    def _ends_by_alert(self, frames: bytes) -> bool:
        """Send messages on a new connection, end it, and return whether the receiver ended it by close_notify."""
        with (
            socket.create_connection(self._address, TIMEOUT_SECONDS) as plain,
            self._trust.wrap_socket(plain, server_hostname=self._address[0]) as secured,
        ):
            secured.sendall(frames)
            try:
                secured.unwrap()
            except ssl.SSLEOFError:
                return False
        return True


def message(row: ExportedRow, hostname: str) -> bytes:
    """Return a row as a message of RFC 5424: facility 13 (log audit), the log as MSGID, one JSON object as text."""
    record: dict[str, Any] = json.loads(row.leaf)[row.log.value]
    severity = INFORMATIONAL if record.get("outcome", "granted") == "granted" else WARNING
    at = record.get("at") or record.get("purged_at") or "-"
    head = f"<{AUDIT_FACILITY * 8 + severity}>1 {at} {hostname} {APP_NAME} {os.getpid()} {row.log.value} - "
    return head.encode("ascii") + b"\xef\xbb\xbf" + row.line()


def framed(sent: bytes) -> bytes:
    """Return a message with its length before it (octet counting, RFC 5425)."""
    return b"%d %b" % (len(sent), sent)


class SyslogSinks(LogSinkKind):
    """Opens syslog receivers."""

    name = "syslog"
    model = SyslogSinkSettings

    def open(self, name: str, chosen: SyslogSinkSettings) -> LogSink:
        """See ``LogSinkKind.open``. Raises SettingsInvalid: a file cannot be used."""
        trust = trusting(name, chosen.ca_file)
        if chosen.client_cert_file:
            try:
                trust.load_cert_chain(chosen.client_cert_file, chosen.client_key_file)
            except OSError as error:
                found = error.strerror or "another content"
                raise SettingsInvalid(
                    f"export.{name}.client_cert_file: expected a certificate and its key in PEM, found: {found}"
                ) from None
        hostname = "".join(
            each for each in socket.gethostname() if each.isascii() and each.isprintable() and each != " "
        )
        return SyslogSink(chosen.host, chosen.port, trust, hostname[:255] or "-")
