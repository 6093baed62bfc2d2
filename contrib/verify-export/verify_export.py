#!/usr/bin/env python3
"""Checks that the rows a SIEM received are all rows of the log, unchanged: rebuilds the root of a signed checkpoint.

    verify_export.py CHECKPOINT FILE...

Each FILE has the exported rows, one JSON object a line: {"index": 0, "leaf": {...}, "log": "access"}; or OCSF events: the
leaf is raw_data, its index metadata.sequence. Repeated rows are fine if they are equal. CHECKPOINT is the text of
GET /audit/checkpoint; check its signature with verify_audit.py or any C2SP client.
Exit code 0: every row up to the size of the checkpoint is there, and none was changed. 1: a row is missing or differs.
2: CHECKPOINT is no checkpoint.
Python's standard library is enough.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def canonical(value: object) -> bytes:
    """Return the form of RFC 8785. The leaves have no number but integers."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return b"{" + b",".join(canonical(name) + b":" + canonical(value[name]) for name in names) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(canonical(item) for item in value) + b"]"
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def leaf_hash(leaf: object) -> bytes:
    """Return the hash of a leaf (RFC 6962)."""
    return hashlib.sha256(b"\x00" + canonical(leaf)).digest()


def root_of(hashes: Iterable[bytes]) -> bytes:
    """Return the root of a tree (RFC 6962), in memory of its height."""
    stack: list[tuple[int, bytes]] = []
    for leaf in hashes:
        level, node = 0, leaf
        while stack and stack[-1][0] == level:
            node = hashlib.sha256(b"\x01" + stack.pop()[1] + node).digest()
            level += 1
        stack.append((level, node))
    if not stack:
        return hashlib.sha256(b"").digest()
    node = stack.pop()[1]
    while stack:
        node = hashlib.sha256(b"\x01" + stack.pop()[1] + node).digest()
    return node


def index_and_hash(row: Any) -> tuple[int, bytes]:
    """Return the index and the leaf hash of a row or of an OCSF event. Raises ValueError, KeyError, TypeError."""
    if "raw_data" in row:
        return int(row["metadata"]["sequence"]), leaf_hash(json.loads(row["raw_data"]))
    return int(row["index"]), leaf_hash(row["leaf"])


def received(files: Iterable[Path]) -> tuple[dict[int, bytes], list[str]]:
    """Return the leaf hash of each index, and a finding for each line that is no row or contradicts another."""
    found: dict[int, bytes] = {}
    findings = []
    for path in files:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    index, hashed = index_and_hash(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    findings.append(f"{path}:{number}: expected an exported row, found another line")
                    continue
                if found.setdefault(index, hashed) != hashed:
                    findings.append(f"{path}:{number}: row {index} differs from the one received before")
    return found, findings


def main(arguments: list[str]) -> int:
    """Print findings and a summary, and return the exit code."""
    if len(arguments) < 2:  # noqa: PLR2004 - a checkpoint and a file
        print(__doc__, file=sys.stderr)
        return 2
    try:
        _, first, second = Path(arguments[0]).read_text("utf-8").splitlines()[:3]
        size, root = int(first), base64.b64decode(second, validate=True)
    except OSError as error:
        print(f"{arguments[0]}: expected a file that can be read, found: {error.strerror}", file=sys.stderr)
        return 2
    except ValueError:
        print(f"{arguments[0]}: expected a checkpoint (C2SP tlog-checkpoint), found another text", file=sys.stderr)
        return 2
    try:
        found, findings = received(map(Path, arguments[1:]))
    except OSError as error:
        print(f"{error.filename}: expected a file that can be read, found: {error.strerror}", file=sys.stderr)
        return 2
    missing = [index for index in range(size) if index not in found]
    findings += [f"row {index} is missing" for index in missing[:20]]
    if not missing and root_of(found[index] for index in range(size)) != root:
        findings.append("a row was changed: the root of the rows is not that of the checkpoint")
    for finding in findings:
        print(finding)
    print(
        f"{size} rows signed, {len(missing)} missing, {sum(index >= size for index in found)} newer than the checkpoint"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
