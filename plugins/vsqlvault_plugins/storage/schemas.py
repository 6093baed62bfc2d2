"""The schema of a SQL storage: the file that makes a new one, the steps that update an older one, and its functions."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

from vsqlvault.errors import SchemaTooNew, SchemaTooOld
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault.quick_dataclass import dataclass

SCHEMA_FILE = "schema.sql"
FUNCTIONS_FILE = "functions.sql"
_STEP = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The schema of a database. ``version`` 0: there is none. ``functions``: digest of the functions file that was run."""

    version: int = 0
    functions: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """A file of SQL statements. A numbered step sets the schema's version to ``version``."""

    name: str
    text: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Schema:
    """What a new database gets, and the steps that bring an older one to the same. Functions follow either."""

    create: Script
    steps: tuple[Script, ...]
    functions: Script

    @property
    def version(self) -> int:
        """The version that this program uses."""
        return self._numbers[-1]

    @property
    def oldest(self) -> int:
        """The oldest version that can be updated."""
        return self._numbers[0] - 1

    @property
    def current(self) -> SchemaState:
        """The state after a migration."""
        return SchemaState(self.version, hashlib.sha256(self.functions.text.encode()).hexdigest())

    @property
    def _numbers(self) -> list[int]:
        return [step.version for step in self.steps if step.version is not None]

    def pending(self, found: SchemaState) -> tuple[Script, ...]:
        """Return the scripts that a migration runs, in order.

        Raises:
            SchemaTooNew: the schema belongs to a newer program. SchemaTooOld: no step begins at its version.
        """
        if found.version > self.version:
            raise SchemaTooNew(f"its schema has version {found.version}, this program supports up to {self.version}")
        if not found.version:
            return (self.create, self.functions)
        if found.version < self.oldest:
            raise SchemaTooOld(
                f"its schema has version {found.version}, this program updates from version {self.oldest} on:"
                " run vsql-vault migrate with an earlier version of vsqlvault first"
            )
        steps = self.steps[found.version - self.oldest :]
        return steps if found == self.current else (*steps, self.functions)

    def status(self, found: SchemaState, *, is_shared: bool = False) -> MigrationStatus:
        """Return what a migration does. A newer schema is left as it is. Raises SchemaTooOld as ``pending``."""
        if found.version > self.version:
            return MigrationStatus(found.version, found.version, is_shared=is_shared)
        steps = tuple(script.name for script in self.pending(found))
        return MigrationStatus(found.version, self.version, steps, is_shared)


@cache
def load_schema(package: str) -> Schema:
    """Return the schema in the files of a package. Its steps are numbered without a gap."""

    def script(name: str, version: int | None = None) -> Script:
        return Script(name, folder.joinpath(name).read_text("utf-8"), version)

    folder = files(package)
    schema, functions = script(SCHEMA_FILE), script(FUNCTIONS_FILE)
    folder = folder.joinpath("migrations")
    found = sorted(match.group() for item in folder.iterdir() if (match := _STEP.fullmatch(item.name)))
    steps = tuple(script(name, int(name[:4])) for name in found)
    numbers = [step.version or 0 for step in steps]
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        raise ValueError(f"the migrations of {package} are not numbered without a gap")
    return Schema(schema, steps, functions)
