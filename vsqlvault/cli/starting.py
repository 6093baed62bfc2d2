"""The first steps of a server: it binds its port, then makes sure that there is a signing key."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from socket import socket

from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import run_to_end, was_signed
from vsqlvault.service.log.signing_keys import generate_key, has_signing_key

log = logging.getLogger("vsqlvault")


@contextmanager
def bound(settings: Settings, origin: str | None = None) -> Iterator[socket]:
    """Listen for the length of the block. Nothing in the storage changes before the port is bound.

    Raises:
        SettingsInvalid: the address is in use or not available. StartUpRefused, StorageUnavailable.
    """
    from vsqlvault.http.server.server import listen  # noqa: PLC0415 - only serving needs Quart, and it takes long to import

    with listen(settings.server.listen_addr) as listener:
        _ensure_signing_key(settings, origin)
        yield listener


def _ensure_signing_key(settings: Settings, origin: str | None) -> None:
    """Generate a signing key beside the settings, if none is set and the log was never signed."""
    path = settings.default_signing_key_file
    if has_signing_key(settings.audit) or path.exists():
        return
    if run_to_end(was_signed(Plugins(settings))):
        log.warning("the log is signed by a key that this process does not have: it serves, and does not sign")
        return
    try:
        key = generate_key(path, origin)
    except SettingsInvalid as error:
        log.warning("no signing key can be written beside the settings", extra={"error": str(error)})
        return
    if key is not None:
        log.warning(
            "a signing key was generated: keep a copy on another machine",
            extra={"file": str(path), "verifier_key": str(key.verifier)},
        )
