"""The exit codes of commands: 0 success, 1 failure, 2 unusable settings or plugins, 130 interrupted."""

from __future__ import annotations

import sys
from collections.abc import Callable

from vsqlvault.errors import StartUpRefused, StorageUnavailable, VaultError

BAD_SETTINGS = 2


def exit_code(run: Callable[[], object]) -> int:
    """Run a command, print an error to stderr, and return the exit code."""
    try:
        code = run()
    except StartUpRefused as error:
        print(f"vsql-vault: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except StorageUnavailable as error:
        print(f"vsql-vault: storage.database_url: {error}", file=sys.stderr)
        return BAD_SETTINGS
    except VaultError as error:
        fields = "".join(f"; {each.field}: expected {each.expected}" for each in error.errors)
        print(f"vsql-vault: {error}{fields}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0
