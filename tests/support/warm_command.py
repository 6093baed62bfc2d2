"""A command ``vsql-vault`` for shells, whose runs are forked from a process that has imported the program (warm_start)."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tests.support import warm_client
from tests.support.warm_start import MESSAGE_BYTES, warm_parent


class WarmCommand:
    """The command, in a directory of its own, and a thread for each run of it."""

    def __init__(self, directory: Path) -> None:
        """``directory`` is put on the path of a shell."""
        self.directory = directory
        place, file = directory / "socket", directory / "vsql-vault"
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" -ISE "{warm_client.__file__}" "{place}" "$@"\n', "utf-8")
        file.chmod(0o755)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(place))
        self._listener.listen()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with suppress(OSError):  # it is shut down
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._run, args=(connection,), daemon=True).start()

    @staticmethod
    def _run(connection: socket.socket) -> None:
        with connection:
            message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 3)
            request, parent = json.loads(message), warm_parent()
            variables = {**request["environment"], **parent.variables}
            given, output, errors = descriptors
            process = parent.start(request["program"], request["directory"], variables, output, errors, given)
            for descriptor in descriptors:
                os.close(descriptor)
            connection.settimeout(0.01)
            while process.poll() is None:
                with suppress(TimeoutError):
                    number = connection.recv(16)
                    process.send_signal(int(number or signal.SIGKILL))  # without the command nobody waits for it
            with suppress(OSError):
                connection.send(str(process.returncode).encode())

    def close(self) -> None:
        """Take no further runs, and leave no thread behind."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
