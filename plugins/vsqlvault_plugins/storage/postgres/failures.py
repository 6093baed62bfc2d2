"""Converts the errors of PostgreSQL and its driver to the vault's.

The originals stay in ``__cause__`` and out of responses.
"""

from __future__ import annotations

import re

import asyncpg

from vsqlvault.errors import (
    AuditUnavailable,
    OutcomeUnknown,
    StartUpRefused,
    StorageFull,
    StorageUnavailable,
    VaultError,
)

DISK_FULL = "53100"
_AGAIN = frozenset({"40001", "40P01"})
_UNIQUE_VIOLATION = "23505"
_FAILED_COPY = "XX000"
_KEY_OF_ENTRIES = re.compile(r'"entries_(\d\d_)?pkey')
_SHUTTING_DOWN = "57P"
_BAD_ROW_CLASSES = frozenset({"21", "22", "23"})
_OUT_OF_OUR_HANDS = frozenset({"08", "53", "55", "57", "58", "XX"})


def is_worth_repeating(error: BaseException) -> bool:
    """Whether a retry of the batch would probably succeed, because another transaction was in its way.

    A second creator of an entry finds it only when it inserts. In the retry its expectation is not met instead.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return False
    code = error.sqlstate
    return code in _AGAIN or (code in {_UNIQUE_VIOLATION, _FAILED_COPY} and _is_of_entries(error))


def _is_of_entries(error: asyncpg.PostgresError) -> bool:
    """Whether a unique key of entries is violated. Citus passes on the message of a worker, without its fields.

    It also replaces the code of a worker that refuses rows that are copied to it.
    """
    return (error.table_name or "").startswith("entries") or _KEY_OF_ENTRIES.search(str(error)) is not None


def answered(error: BaseException) -> bool:
    """Whether the server itself refused, so that nothing was committed and the connection is usable.

    A server that is shut down may report this after the commit, but before it has confirmed it.
    """
    return isinstance(error, asyncpg.PostgresError) and not _sqlstate(error).startswith((_SHUTTING_DOWN, "08"))


def translated(error: BaseException, *, committing: bool) -> VaultError:
    """Return the vault's error for one of the driver, with the server's code for the log.

    ``committing``: the batch had been sent, so that a lost connection leaves its outcome unknown.
    """
    found = _translated(error, committing=committing)
    if found is not error:
        found.driver_code = _sqlstate(error) or None
    return found


def _translated(error: BaseException, *, committing: bool) -> VaultError:
    if isinstance(error, StartUpRefused):  # a server that was fit once came back unfit
        return StorageUnavailable()
    if isinstance(error, VaultError):
        return error
    if answered(error):
        return _refused(_sqlstate(error), committing=committing)
    if isinstance(error, (ValueError, OverflowError)):  # a value that no column can hold never left this machine
        return AuditUnavailable()
    return OutcomeUnknown() if committing else StorageUnavailable()


def _refused(code: str, *, committing: bool) -> VaultError:
    if code == DISK_FULL:
        return StorageFull()
    if code[:2] in _BAD_ROW_CLASSES or (committing and code[:2] not in _OUT_OF_OUR_HANDS):
        return AuditUnavailable()
    return StorageUnavailable()


def _sqlstate(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or ""
