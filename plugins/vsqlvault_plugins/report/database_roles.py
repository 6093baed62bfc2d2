"""Who can reach the tables of the vault without the vault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vsqlvault.interfaces.report_section import ReportContext
from vsqlvault.model.database_access import DatabaseAccess, DatabaseRole
from vsqlvault_plugins.report.shape import MAX_LISTED, Finding

UNKNOWN = "the operator of the database: the storage does not know who can read its tables"
OF_ROLES = (
    "\\dp vault.* and \\du in psql show grants and roles, SELECT rolname, has_table_privilege(oid, "
    "'vault.entries', 'SELECT') FROM pg_roles the readers. GET /health has the storage."
)
OF_A_FILE = "ls -l FILE on the host shows owner and mode of the database file. GET /health has the storage."
FILE_OWNER = "the operator of the host: the database has no roles; who can read its file reads all that is in it"


class DatabaseRoles:
    """The roles of the database, other than the vault's own, that may read or write its tables (PCI DSS 4.0.1, 7.2.6)."""

    name = "database_roles"

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Exceptions are other roles that can log in, and a file that other accounts can open."""
        found = context.database_access or DatabaseAccess()
        others = [each for each in found.roles if not each.is_own]
        can_log_in = [each for each in others if each.can_log_in]
        open_file = [{"what": "other accounts of the host can open the database file", "mode": found.file.get("mode")}]
        return Finding(
            title="Roles of the database",
            requirements=("7.2.6",),
            supports="No role of the database but the vault's own can log in and read or write the vault's tables.",
            method=(
                "Roles in the database's catalogue with a privilege on a table of the vault: superusers, and roles with a "
                "grant, by membership too. The vault's own are the role that connects and the owner of the tables. Of a "
                "database in a file, only the mode and the owner of the file are known. Access to the host or to a backup is "
                "not included."
            ),
            check=OF_A_FILE if found.file else OF_ROLES,
            measured="now",
            population=found.roles_examined,
            exceptions=[_exception(each) for each in can_log_in] + (open_file if found.file.get("others") else []),
            owner=None if found.roles else FILE_OWNER if found.file else UNKNOWN,
            figures={
                "roles_with_access": len(found.roles),
                "others_with_access": len(others),
                "others_that_can_log_in": len(can_log_in),
                "superusers": sum(each.is_superuser for each in found.roles),
                "file": dict(found.file),
                "roles": [_shown(each) for each in found.roles[:MAX_LISTED]],
            },
        ).member(context.period)


def _exception(role: DatabaseRole) -> dict[str, Any]:
    kind = "a superuser" if role.is_superuser else "a role"
    does = "read and write" if role.may_read and role.may_write else "read" if role.may_read else "write"
    return {"what": f"{kind} other than the vault's own may {does} the vault's tables", "role": role.name}


def _shown(role: DatabaseRole) -> dict[str, Any]:
    return {
        "role": role.name,
        "own": role.is_own,
        "superuser": role.is_superuser,
        "can_log_in": role.can_log_in,
        "tables_read": role.may_read,
        "tables_written": role.may_write,
        "through": list(role.through),
    }
