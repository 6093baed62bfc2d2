"""The exit codes of commands.

0 success, 1 failure, 2 unusable settings, arguments, plugins or storage, 3 denied, 4 not there, 5 unavailable, 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from vsqlvault.cli.output_files import FileRefused
from vsqlvault.errors import (
    FieldError,
    InvalidQuery,
    InvalidTime,
    StartUpRefused,
    StorageUnavailable,
    ValidationFailed,
    VaultError,
)

BAD_SETTINGS = 2
BAD_ARGUMENTS = (InvalidQuery, InvalidTime, ValidationFailed)
"""Nothing was sent: a command of the host has them only from its own arguments."""
BY_STATUS = {401: 3, 403: 3, 423: 3, 404: 4, 410: 4, 429: 5, 503: 5}
"""Denied, not there, unavailable: the same for commands that call a vault over HTTP."""


def exit_code(run: Callable[[], object]) -> int:
    """Run a command, print an error to stderr, and return the exit code."""
    try:
        code = run()
    except (StartUpRefused, FileRefused) as error:
        print(f"vsql-vault: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except StorageUnavailable as error:
        print(f"vsql-vault: storage.database_url: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except VaultError as error:
        fields = "".join(f"; {_shown(each, error)}" for each in error.errors)
        print(f"vsql-vault: {error}{fields}", file=sys.stderr)
        return BAD_SETTINGS if isinstance(error, BAD_ARGUMENTS) else BY_STATUS.get(error.status, 1)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0


def _shown(field: FieldError, error: VaultError) -> str:
    """Return the sentence of a field. One of a query is an option of the same name here."""
    option = f"--{field.field.replace('_', '-')}"
    return FieldError(option, field.expected).sentence if isinstance(error, InvalidQuery) else field.sentence
