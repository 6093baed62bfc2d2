"""Exit codes of the commands that call a vault."""

from __future__ import annotations

import sys
from collections.abc import Callable

from vsqlvault.client import VaultError, errors

DONE, FAILED, USAGE, DENIED, NOT_THERE, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


def code_of(error: VaultError) -> int:
    """Return the exit code of a failure. A request that was never sent because it is malformed is one of usage."""
    if isinstance(error, errors.Unusable) or (isinstance(error, errors.Invalid) and error.request_id is None):
        return USAGE
    groups = {errors.Denied: DENIED, errors.NotThere: NOT_THERE, errors.TemporarilyUnavailable: UNAVAILABLE}
    return next((code for group, code in groups.items() if isinstance(error, group)), FAILED)


def exit_code(run: Callable[[], int | None]) -> int:
    """Run a command, print a failure as one line to stderr, and return the exit code."""
    try:
        return run() or DONE
    except VaultError as error:
        print(f"vsql-vault: {error}", file=sys.stderr)
        return code_of(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()
            return FAILED
        print(f"vsql-vault: {error.filename or 'file'}: {error.strerror}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
