"""The worked migration of docs/migrating.md is followed word for word, from a vibesql-vault database."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.postgres import Databases
from tests.support.vibesql import ENTRIES, TABLES

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
URL = "postgresql://vsql_vault@localhost:5432/vsql_vault"
SET_UP = """
import asyncio
from vsqlvault.config import load_settings
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.runtime import open_vault
from vsqlvault.testing import a_retention_policy
async def retain():
    async with open_vault(load_settings(None, {})) as vault:
        await vault.rules.policies.save_retention_policy(Call(SYSTEM, "0" * 32), a_retention_policy("card"))
asyncio.run(retain())
"""


def test_the_commands_of_the_page_import_a_vibesql_vault(tmp_path: Path, postgres: Databases) -> None:
    section = PAGE.read_text("utf-8").partition("\n## From vibesql-vault\n")[2].partition("\n### ")[0]
    (commands,) = re.findall(r"^```text\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    name = postgres.create_database()
    postgres.sql(TABLES + ENTRIES, name)
    script = commands.replace(URL, postgres.url(name)).replace("vsql-vault ", f"{sys.executable} -m vsqlvault ", 1)
    script = re.sub(r"^vsql-vault ", f"{sys.executable} -m vsqlvault ", script, flags=re.MULTILINE)
    try:
        subprocess.run([sys.executable, "-c", SET_UP], cwd=tmp_path, check=True, timeout=60)
        done = subprocess.run(
            ["sh", "-ec", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        postgres.drop_database(name)
    assert done.returncode == 0, done.stderr
    count = "4 created, 0 replaced, 0 unchanged, 0 kept, 1 purged, 0 rejected"
    assert done.stdout.splitlines() == [f"would be: {count}", count]
    assert (tmp_path / "rejects.ndjson").read_text() == ""
