# ruff: noqa: E501 - a text of the code stands in one line
"""The seeded faults. Each replaces one text that occurs once in a file, and names the tests that must fail."""

from __future__ import annotations

from dataclasses import dataclass

SQLITE = "plugins/vsqlvault_plugins/storage/sqlite"
POSTGRES = "plugins/vsqlvault_plugins/storage/postgres"
STORAGE_TESTS = (
    "tests/plugins/test_sqlite.py",
    "-k",
    "expectation or changes or retriev or counter or absent or overwritten or policy or mark or setting or Pragmas or Clock or size",
)
ENTRY_TESTS = ("tests/unit/service/entries",)
PURGE_TESTS = ("tests/unit/service/purge",)
COMMIT_TESTS = ("tests/unit/service/commit",)
TREE_TESTS = ("tests/unit/proof/test_proof_tree.py",)
FILE_TESTS = ("tests/plugins/test_sqlite_file_guard.py",)
LOCK_TESTS = ("tests/plugins/test_sqlite_write_lock.py",)
DISK_TESTS = ("tests/plugins/test_full_disk.py",)
CUT_TESTS = ("tests/faults/test_faults.py",)
BACKUP_TESTS = ("tests/acceptance/test_backup.py",)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault. ``tests`` are the arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTANTS = (
    # SQLite: what a commit expects
    Mutant(
        "entry-is-any-version",
        f"{SQLITE}/transactions.py",
        "guard[3] is None and guard[:2] == expected.stamp",
        "guard[3] is None",
        STORAGE_TESTS,
    ),
    Mutant(
        "purged-entry-is-there",
        f"{SQLITE}/transactions.py",
        "guard is not None and guard[3] is None and guard[:2]",
        "guard is not None and guard[:2]",
        STORAGE_TESTS,
    ),
    Mutant(
        "absent-always",
        f"{SQLITE}/transactions.py",
        "return batch.guard(expected.key) is None",
        "return True",
        STORAGE_TESTS,
    ),
    Mutant(
        "revision-always",
        f"{SQLITE}/transactions.py",
        "return batch.revision() == expected.revision",
        "return True",
        STORAGE_TESTS,
    ),
    Mutant(
        "one-retrieval-more",
        f"{SQLITE}/transactions.py",
        "guard[2] < expected.limit",
        "guard[2] <= expected.limit",
        STORAGE_TESTS,
    ),
    Mutant(
        "policy-in-use-dropped",
        f"{SQLITE}/transactions.py",
        'batch.connection.execute(QUERIES["policy_in_use"], (expected.name,)).fetchone() is None',
        "True",
        STORAGE_TESTS,
    ),
    Mutant(
        "store-forgets-retrievals",
        f"{SQLITE}/transactions.py",
        "and guard[2] > entry.retrievals:",
        "and guard[2] > 2**40:",
        STORAGE_TESTS,
    ),
    Mutant(
        "only-the-first-change",
        f"{SQLITE}/transactions.py",
        "batch.apply(write.changes)",
        "batch.apply(write.changes[:1])",
        STORAGE_TESTS,
    ),
    Mutant("clock-without-mark", f"{SQLITE}/transactions.py", "max(clock(), mark)", "clock()", STORAGE_TESTS),
    Mutant(
        "tree-of-any-size-grows",
        f"{SQLITE}/tree.py",
        "answer(connection, reads.tree_size()) != growth.size or ",
        "",
        STORAGE_TESTS,
    ),
    # SQLite: the file
    Mutant(
        "synchronous-normal",
        f"{SQLITE}/queries.sql",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = NORMAL",
        STORAGE_TESTS,
    ),
    Mutant(
        "secure-delete-off",
        f"{SQLITE}/queries.sql",
        "PRAGMA secure_delete = ON",
        "PRAGMA secure_delete = OFF",
        STORAGE_TESTS,
    ),
    Mutant(
        "autocheckpoint-on",
        f"{SQLITE}/queries.sql",
        "PRAGMA wal_autocheckpoint = 0",
        "PRAGMA wal_autocheckpoint = 1000",
        FILE_TESTS,
    ),
    Mutant(
        "failed-commit-is-certain",
        f"{SQLITE}/transactions.py",
        "        if is_io_error(error):\n            raise OutcomeUnknown from error\n",
        "",
        FILE_TESTS,
    ),
    Mutant("io-error-goes-on", f"{SQLITE}/file_guard.py", "            self._on_io_error()\n", "", FILE_TESTS),
    Mutant(
        "lost-log-unnoticed",
        f"{SQLITE}/file_guard.py",
        "if found == self._file and found_log == self._log_file:",
        "if found == self._file:",
        FILE_TESTS,
    ),
    Mutant(
        "checkpoint-at-close-after-failure",
        f"{SQLITE}/storage.py",
        "        if self._guard.failure is not None:\n            return  # closing the last connection would run a checkpoint\n",
        "",
        FILE_TESTS,
    ),
    Mutant(
        "lock-never-released",
        f"{SQLITE}/file_guard.py",
        "                fcntl.flock(lock_file, fcntl.LOCK_UN)",
        "                pass",
        FILE_TESTS,
    ),
    Mutant(
        "background-waits-in-front",
        f"{SQLITE}/storage.py",
        "self._writer.run_behind(small_tables.acquire_lease,",
        "self._writer.run(small_tables.acquire_lease,",
        LOCK_TESTS,
    ),
    Mutant(
        "each-request-waits-in-full",
        f"{SQLITE}/file_guard.py",
        "            self._blocked_since = since if self._blocked_since is None else self._blocked_since\n",
        "",
        LOCK_TESTS,
    ),
    Mutant(
        "wait-stays-short",
        f"{SQLITE}/file_guard.py",
        "        self._blocked_since = None\n        return answer",
        "        return answer",
        LOCK_TESTS,
    ),
    # A full disk
    Mutant(
        "reserve-not-released",
        f"{SQLITE}/reserve.py",
        "                self._path.unlink(missing_ok=True)\n\n    def refill",
        "                pass\n\n    def refill",
        DISK_TESTS,
    ),
    Mutant(
        "reserve-refills-too-early",
        f"{SQLITE}/reserve.py",
        "self._free_bytes() < 2 * max(self._size, 1) or ",
        "",
        DISK_TESTS,
    ),
    Mutant(
        "full-disk-refuses-rows",
        "plugins/vsqlvault_plugins/storage/full_disk.py",
        "kept = [write for write in writes if not stores(write)]",
        "kept = [write for write in writes if stores(write)]",
        DISK_TESTS,
    ),
    Mutant(
        "full-disk-is-healthy",
        "vsqlvault/http/operations/health.py",
        'status = "full" if',
        'status = "ok" if',
        DISK_TESTS,
    ),
    Mutant(
        "refused-store-is-answered",
        "vsqlvault/service/commit/batcher.py",
        "if isinstance(result, VaultError):",
        "if False:",
        (*DISK_TESTS, *COMMIT_TESTS),
    ),
    # Durable files
    Mutant(
        "file-not-synced",
        "vsqlvault/durable_file.py",
        "            os.fsync(file.fileno())\n",
        "",
        ("tests/unit/test_durable_file.py", *CUT_TESTS),
    ),
    Mutant(
        "directory-not-synced",
        "vsqlvault/durable_file.py",
        "        sync_directory(path.parent)\n",
        "",
        ("tests/unit/test_durable_file.py", *CUT_TESTS),
    ),
    Mutant("backup-unverified", f"{SQLITE}/backup.py", 'if found != [("ok",)]:', "if not found:", BACKUP_TESTS),
    Mutant(
        "manifest-ignored",
        "vsqlvault/cli/backup.py",
        'is_same = (digest, size) == (manifest.get("sha256"), manifest.get("bytes"))',
        "is_same = True",
        BACKUP_TESTS,
    ),
    # The commit path
    Mutant(
        "conflicts-in-one-batch",
        "vsqlvault/service/commit/queue.py",
        "changed.isdisjoint(changes) and changed.isdisjoint(expects) and",
        "changed.isdisjoint(expects) and",
        COMMIT_TESTS,
    ),
    Mutant(
        "missing-outcome-guessed",
        "vsqlvault/service/commit/batcher.py",
        "            self._fail_all(batch, self._unknown_from(None))",
        "            self._fail_all(batch, StorageUnavailable())",
        COMMIT_TESTS,
    ),
    Mutant(
        "late-flush-awaited",
        "vsqlvault/service/commit/batcher.py",
        "        if left > 0:\n",
        "        if True:\n",
        COMMIT_TESTS,
    ),
    Mutant(
        "unusable-commit-not-unknown",
        "vsqlvault/runtime/contained_storage.py",
        '    unusable = OutcomeUnknown if name in {"commit", "commit_seen"} else StorageUnavailable',
        "    unusable = StorageUnavailable",
        ("tests/unit/runtime/test_contained_storage.py",),
    ),
    Mutant(
        "unknown-outcome-repeated",
        "vsqlvault/service/commit/batcher.py",
        "BATCH_WIDE_ERRORS = (StorageUnavailable, StorageFull, OutcomeUnknown)",
        "BATCH_WIDE_ERRORS = (StorageUnavailable, StorageFull)",
        COMMIT_TESTS,
    ),
    # Guards of services
    Mutant(
        "joined-sweep-expects-the-first",
        "vsqlvault/service/purge/sweeper.py",
        "expect for write in writes for expect in write.expects",
        "expect for write in writes[:1] for expect in write.expects",
        PURGE_TESTS,
    ),
    Mutant(
        "sweep-believes-the-storage",
        "vsqlvault/service/purge/sweeper.py",
        "for entry, value in found if entry.state(page.now, days) is EntryState.EXPIRED]",
        "for entry, value in found]",
        PURGE_TESTS,
    ),
    Mutant(
        "purge-of-any-version",
        "vsqlvault/service/purge/purger.py",
        "return (EntryIs(entry.key, entry.stamp), RevisionIs(policies.revision))",
        "return (RevisionIs(policies.revision),)",
        (*PURGE_TESTS, *ENTRY_TESTS),
    ),
    Mutant(
        "purge-by-old-rules",
        "vsqlvault/service/purge/purger.py",
        "return (EntryIs(entry.key, entry.stamp), RevisionIs(policies.revision))",
        "return (EntryIs(entry.key, entry.stamp),)",
        (*PURGE_TESTS, *ENTRY_TESTS),
    ),
    Mutant(
        "list-by-old-rules",
        "vsqlvault/service/entries/listing.py",
        "(context.granted(),), (RevisionIs(loaded.policies.revision),)",
        "(context.granted(),), ()",
        ENTRY_TESTS,
    ),
    Mutant(
        "expiry-by-presumed-clock",
        "vsqlvault/service/entries/store.py",
        "if loaded is None or expires_soon(wanted, loaded.snapshot.now):",
        "if loaded is None:",
        ENTRY_TESTS,
    ),
    Mutant(
        "inspect-by-old-rules",
        "vsqlvault/service/entries/service.py",
        "        expects = (EntryIs(key, entry.stamp), RevisionIs(loaded.policies.revision))\n        outcome",
        "        expects = (EntryIs(key, entry.stamp),)\n        outcome",
        ENTRY_TESTS,
    ),
    Mutant(
        "certificate-without-issuers",
        "plugins/vsqlvault_plugins/auth/mtls.py",
        "found = self._found.get((certificate, issuers))",
        "found = next((one for known, one in self._found.items() if known[0] == certificate), None)",
        ("tests/unit/plugins/auth/mtls",),
    ),
    # Proofs
    Mutant(
        "proof-of-equal-sizes",
        "vsqlvault/proof/tree.py",
        "    if first in {0, second}:\n        if proof:",
        "    if first in {0, second}:\n        return\n        if proof:",
        TREE_TESTS,
    ),
    Mutant(
        "proof-too-short",
        "vsqlvault/proof/tree.py",
        '        raise ProofInvalid(f"expected more hashes than {len(proof)}")',
        "        pass",
        TREE_TESTS,
    ),
    Mutant(
        "replace-without-row-lock",
        f"{POSTGRES}/functions.sql",
        "                ORDER BY e.purpose, e.external_id\n                FOR UPDATE OF e\n",
        "                ORDER BY e.purpose, e.external_id\n",
        ("tests/plugins/test_postgres.py", "-k", "replace or race or both or many"),
    ),
    Mutant(
        "replace-shares-the-row-lock",
        f"{POSTGRES}/functions.sql",
        "IF cardinality(puts) + cardinality(removals)",
        "IF cardinality(removals)",
        ("tests/plugins/test_postgres.py", "-k", "replace_one_version"),
    ),
    Mutant(
        "synchronous-lowered-after-start",
        f"{SQLITE}/queries.sql",
        "PRAGMA cache_size = -2000",
        "PRAGMA synchronous = NORMAL",
        STORAGE_TESTS,
    ),
)
