"""Makes the frozen dumps of this directory, in the checkout of a version.

    python -m tests.upgrades.make_dumps DIRECTORY [sqlite] [postgresql]

A dump is SQL text, compressed, that an ordinary connection can load. Beside it are the verifier key of its log and the
result of ``vsql-vault verify`` with the version that made it. Dumps are made once and never changed.
"""

from __future__ import annotations

import gzip
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.postgres import PostgresServer
from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.proof.note import SigningKey

SWEPT_AFTER_SECONDS = 2.5


def fill(vault: VaultServer) -> None:
    """Store, retrieve, replace and purge entries, and change rules, holds and keys."""
    for purpose, method in (("card", "physical-delete"), ("ach", "physical-delete"), ("cold", "crypto-shred"),
                            ("aged", "physical-delete")):  # fmt: skip
        vault.retention(purpose, method=method)
    vault.retention("card", days=400, ttl=30)
    own = {action: {"allowed_apps": ["payments"]} for action in ("store", "inspect", "purge")}
    vault.access_policy("shared", retrieve={"allowed_apps": ["payments", "billing"]}, **own)
    vault.access_policy("shared", retrieve={"allowed_apps": ["payments"], "require_identity": True}, **own)
    vault.access_policy("thrice", retrieve={"allowed_apps": ["payments"], "max_retrievals": 3}, **own)
    vault.access_policy("unused", retrieve={"allowed_apps": ["nobody"]})
    vault.call(ADMIN, "DELETE", "/admin/access-policies/unused")
    expired = entries(vault)
    rules(vault)
    eventually(lambda: vault.call(ADMIN, "GET", "/audit/checkpoint").status == 200)
    eventually(lambda: all(vault.get("archive", target).status == 410 for target in expired), 30.0)
    time.sleep(SWEPT_AFTER_SECONDS)
    done = vault.call(ADMIN, "POST", "/admin/purge/sweep")
    assert done.status == 200, done
    assert done.json["purged"] > 0, done
    vault.call(ADMIN, "POST", "/admin/attestations")
    vault.call("auditor", "GET", "/compliance/report")
    time.sleep(SWEPT_AFTER_SECONDS)


def entries(vault: VaultServer) -> list[str]:
    """Store entries, and return those that soon expire."""
    for number in range(12):
        key_ref = f"key-{number % 3}" if number % 4 else None
        hint = "AES-256-GCM" if number % 2 else None
        vault.stored("payments", f"card/frozen-{number}", f"vault:v1:{number}", key_ref=key_ref, algorithm_hint=hint,
                     access_policy="thrice" if number % 2 else "shared", metadata={"merchant_id": number % 2})  # fmt: skip
    for number in (0, 1, 1, 2):
        vault.put("payments", f"card/frozen-{number}", f"vault:v2:{number}:{time.time_ns()}", key_ref="key-3",
                  access_policy="shared")  # fmt: skip
    vault.stored("other", "ach/frozen-bytes", "AAECAwT/", encoding="base64", metadata={"name": "Ünïcode 漢字"})
    vault.stored("other", "ach/frozen-long", "x" * 3000)
    soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    expired = [f"{purpose}/frozen-{number}" for purpose in ("cold", "aged") for number in range(4)]
    for target in expired:
        vault.stored("archive", target, f"soon gone {target}", expires_at=soon, key_ref="key-4")
    vault.stored("archive", "aged/frozen-held", "kept by a hold", expires_at=soon)
    vault.stored("archive", "cold/frozen-active", "kept")
    for number in range(4):
        for who in ("payments", "payments-alice", "billing", "other"):
            vault.get(who, f"card/frozen-{number}")
    vault.call("payments", "HEAD", "/vault/card/frozen-5")
    vault.call("payments", "PATCH", "/vault/card/frozen-6", json_body={"metadata": {"merchant_id": 7}})
    vault.call("payments", "GET", "/vault/card")
    for number in (8, 9):
        assert vault.delete("payments", f"card/frozen-{number}").status == 200
    vault.get("payments", "card/frozen-9")
    vault.get("expired", "card/frozen-5")
    return expired


def rules(vault: VaultServer) -> None:
    """Place and release holds, create and revoke keys."""
    for name, selector in (
        ("frozen-aged", {"external_id": "frozen-held"}),
        ("frozen-merchant", {"purpose": "card", "metadata": {"merchant_id": 1}}),
        ("frozen-released", {"owner_app": "billing"}),
    ):
        body = {"case_reference": f"case {name}", "reason": "litigation", "selector": selector}
        answer = vault.call(ADMIN, "PUT", f"/admin/legal-holds/{name}", json_body=body)
        assert answer.status == 201, answer
    vault.call(ADMIN, "DELETE", "/admin/legal-holds/frozen-released")
    assert vault.delete("payments", "card/frozen-7").status == 423
    for app in ("payments", "billing"):
        answer = vault.call(ADMIN, "POST", "/admin/api-keys", json_body={"app": app, "purposes": ["card"]})
        assert answer.status == 201, answer
    vault.call(ADMIN, "DELETE", f"/admin/api-keys/{answer.json['key_id']}")


def sqlite_text(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return "".join(f"{statement}\n" for statement in connection.iterdump())


def postgres_text(server: PostgresServer, database: str) -> str:
    """Return the schema and its rows as statements, without the commands of psql."""
    done = subprocess.run(
        [server.program_directory / "pg_dump", "--schema=vault", "--inserts", "--rows-per-insert=50", "--no-owner",
         "--no-privileges", "--no-comments", server.url(database)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return "".join(_plain(done.stdout.splitlines(keepends=True)))


def _plain(lines: list[str]) -> Iterator[str]:
    """Leave out commands of psql, and settings that not every server has. Other lines may belong to a text of several lines."""
    return (line for line in lines if not line.startswith(("\\restrict", "\\unrestrict", "SET transaction_timeout")))


def make(directory: Path, kind: str, server: PostgresServer) -> None:
    """Make the dump of one storage."""
    database = server.create_database()
    with tempfile.TemporaryDirectory() as place:
        url = server.url(database) if kind == "postgresql" else None
        key = SigningKey.generate("vault.example/frozen")
        file = Path(place) / "signing.key"
        file.touch(mode=0o600)
        file.write_text(key.reveal())
        vault = VaultServer(Path(place), database_url=url, settings=f'[audit]\nsigning_key_file = "{file}"\n')
        vault.start()
        fill(vault)
        assert vault.stop() == 0
        verified = subprocess.run(
            [sys.executable, "-m", "vsqlvault", "verify", "--config", "vault.toml"],
            cwd=place, env={**os.environ, "VSQL_VAULT_API_KEY": vault.admin_key}, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        number = vault.query(sqlite="SELECT version FROM schema_version",
                             postgresql="SELECT version FROM vault.schema_version")[0][0]  # fmt: skip
        text = sqlite_text(Path(place) / "vault.db") if kind == "sqlite" else postgres_text(server, database)
    stem = directory / f"{kind}-{number}"
    stem.with_suffix(".sql.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    stem.with_suffix(".vkey").write_text(f"{key.verifier}\n")
    stem.with_suffix(".verified").write_text(verified)


if __name__ == "__main__":
    with PostgresServer(quick=True) as running:
        for storage in sys.argv[2:] or ("sqlite", "postgresql"):
            make(Path(sys.argv[1]), storage, running)
