"""PgBouncer between the vault and PostgreSQL: session mode as it comes, transaction mode as the documentation says."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from tests.support.fixtures import MARKER
from tests.support.pgbouncer import PgBouncer, find_pgbouncer
from tests.support.postgres import Databases
from tests.support.server import VaultServer
from tests.support.together import in_parallel
from vsqlvault_plugins.storage.postgres.sessions import SETTINGS

pytestmark = pytest.mark.skipif(
    find_pgbouncer() is None, reason="PgBouncer is not installed (Debian: apt-get install pgbouncer)"
)
TRANSACTION = '[plugins.postgresql]\npooler_mode = "transaction"\n[purge]\nscrub = "off"\n'


@contextmanager
def behind(url: str, mode: Literal["session", "transaction"]) -> Iterator[PgBouncer]:
    with (
        tempfile.TemporaryDirectory(prefix="vsqlvault-pgbouncer-") as directory,
        PgBouncer(Path(directory), url, mode) as found,
    ):
        yield found


def serve_under_load(directory: Path, url: str, settings: str = "") -> None:
    """Do what the quick start does, and then much at once."""
    vault = VaultServer(directory, database_url=url, settings=settings).start()
    try:
        vault.retention("card")
        assert vault.put("payments", "card/payment-1", MARKER).status == 201
        assert vault.get("payments", "card/payment-1").json["encrypted_value"] == MARKER
        assert vault.delete("payments", "card/payment-1").status == 200
        puts = in_parallel([lambda n=n: vault.put("payments", f"card/p{n}", MARKER).status for n in range(200)])
        gets = in_parallel([lambda n=n: vault.get("payments", f"card/p{n}").status for n in range(200)])
        assert (set(puts), set(gets)) == ({201}, {200})
        assert vault.stop() == 0
    finally:
        vault.kill()


def test_session_mode_works_as_it_comes(tmp_path: Path, postgres_url: str) -> None:
    with behind(postgres_url, "session") as pooler:
        serve_under_load(tmp_path, pooler.url)


def test_transaction_mode_works_where_the_database_brings_the_settings(
    tmp_path: Path, postgres: Databases, postgres_url: str
) -> None:
    database = postgres_url.rpartition("/")[2]
    for name, value in SETTINGS.items():
        postgres.sql(f"ALTER DATABASE {database} SET {name} = '{value}'")
    with behind(postgres_url, "transaction") as pooler:
        serve_under_load(tmp_path, pooler.url, TRANSACTION)


@pytest.mark.parametrize(
    ("settings", "words"),
    [("", "pool_mode to session"), (TRANSACTION, "ALTER ROLE postgres SET lock_timeout = '2000'")],
)
def test_transaction_mode_without_its_settings_is_refused_with_what_helps(
    tmp_path: Path, postgres_url: str, settings: str, words: str
) -> None:
    with behind(postgres_url, "transaction") as pooler:
        vault = VaultServer(tmp_path, database_url=pooler.url, settings=settings)
        with pytest.raises(AssertionError, match="the server ended"):
            vault.start()
        assert vault.wait() == 2
    assert words in "\n".join(vault.log_lines())


def test_a_scrub_that_needs_a_session_is_refused_in_transaction_mode(tmp_path: Path, postgres_url: str) -> None:
    settings = '[plugins.postgresql]\npooler_mode = "transaction"\n'
    vault = VaultServer(tmp_path, database_url=postgres_url, settings=settings)
    with pytest.raises(AssertionError, match=r'purge\.scrub: expected \\"off\\"|purge\.scrub: expected "off"'):
        vault.start()
    assert vault.wait() == 2
