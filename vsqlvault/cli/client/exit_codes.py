"""Exit codes of the commands that call a vault."""

from __future__ import annotations

import sys
from collections.abc import Callable

from vsqlvault.cli.client.arguments import WrongArgument
from vsqlvault.cli.output_files import FileRefused
from vsqlvault.client import VaultError, errors

DONE, FAILED, USAGE, DENIED, NOT_THERE, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

POSITIONAL = {"purpose": "PURPOSE", "external_id": "ID", "name": "NAME", "id": "ID", "": "--metadata"}
"""The arguments of fields that no option of the same name gives."""


def code_of(error: VaultError) -> int:
    """Return the exit code of a failure. A request that was never sent because it is malformed is one of usage."""
    if isinstance(error, errors.Unusable) or (isinstance(error, errors.Invalid) and error.request_id is None):
        return USAGE
    groups = {errors.Denied: DENIED, errors.NotThere: NOT_THERE, errors.TemporarilyUnavailable: UNAVAILABLE}
    return next((code for group, code in groups.items() if isinstance(error, group)), FAILED)


def _argument_errors(error: VaultError) -> str:
    """Return what is wrong with the arguments, by the names they have here; empty if the request was sent."""
    if isinstance(error, WrongArgument):
        return error.detail or ""
    if not isinstance(error, errors.Invalid) or error.request_id is not None:
        return ""
    return "; ".join(f"{_argument(each.field)}: expected {each.expected}" for each in error.errors)


def _argument(field: str) -> str:
    return POSITIONAL.get(field) or f"--{field.replace('_', '-')}"


def exit_code(run: Callable[[], int | None]) -> int:
    """Run a command, print a failure as one line to stderr, and return the exit code."""
    try:
        return run() or DONE
    except VaultError as error:
        print(f"vsql-vault: {_argument_errors(error) or error}", file=sys.stderr)
        return code_of(error)
    except FileRefused as error:
        print(f"vsql-vault: {error}", file=sys.stderr)
        return USAGE
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            sys.stderr.close()
            return FAILED
        print(f"vsql-vault: {error.filename or 'file'}: {error.strerror}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
