"""What a storage can be shown to do: its author says what it cannot, and the tests of that are skipped with the reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageCapabilities:
    """What a storage can do. A vault in production needs all of them but ``settable_clock``.

    Example:
        class TestExample(StorageConformance):
            capabilities = StorageCapabilities(shared=False, settable_clock=True)
    """

    durable: bool = True
    """Committed data is there when the directory is opened again."""

    survives_kill: bool = True
    """Acknowledged commits are there after SIGKILL. ``open_storage`` is then called in a process of its own, too, on an
    instance for which no fixture ran; the class must stand in a module that can be imported."""

    shared: bool = True
    """Two storages can be open on one directory at the same time, and have the same data."""

    scrubs: bool = True
    """``scrub`` removes purged bytes from the data files. A storage without it lists in ``describe`` where they remain."""

    drops_archived_rows: bool = True
    """``drop_archived`` drops rows of the logs, and ``describe`` says so. A storage without it keeps every row."""

    settable_clock: bool = False
    """``open_storage_at`` opens a storage whose clock the test sets."""
