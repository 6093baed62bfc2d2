"""Move the entries of one purpose from one AES-256-GCM key to the next, through the vault's own API.

What is left to do is what the vault lists under the old ``key_ref``, so nothing is kept here: kill it at any point, start it
again, run several at once. Each entry is read, decrypted, encrypted anew, and put where exactly the version read was.
"""

from __future__ import annotations

import argparse
import binascii
import hashlib
import http.client
import json
import os
import queue
import re
import signal
import ssl
import sys
import threading
import time
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any, TextIO
from urllib.parse import urlencode, urlsplit

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

DONE, INCOMPLETE, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
KEY_BYTES, NONCE_BYTES, TAG_BYTES = 32, 12, 16
PAGE = 1000
TIMEOUT_SECONDS = 30.0
MAX_TRIES = 8
FATAL = {401, 507}
PASSING = {429, 503}
MAX_PAUSE_SECONDS = 5.0
MAX_NAMED_FAILURES = 100


class Outcome(StrEnum):
    """What became of one entry."""

    MOVED = "moved"
    TAKEN = "done by another"
    GONE = "gone"
    HELD = "under legal hold"
    FAILED = "failed"


LEFT_BEHIND = (Outcome.HELD, Outcome.FAILED)
_HEX = re.compile(rb"[0-9A-Fa-f]+")
_BY_STATUS = {404: Outcome.GONE, 409: Outcome.GONE, 410: Outcome.GONE, 412: Outcome.TAKEN, 423: Outcome.HELD}


class Unusable(Exception):
    """The settings, a key or the vault cannot be used; the text is for the operator and holds no secret."""


class Refused(Exception):
    """Why an entry cannot be moved."""


def aad_of(purpose: str, external_id: str, mode: str) -> bytes | None:
    """Return what the ciphertext is bound to: its place, so that nobody can pass one entry's value off as another's."""
    return f"{purpose}/{external_id}".encode("ascii") if mode == "place" else None


def opened(key: AESGCM, value: bytes, aad: bytes | None) -> bytes:
    """Return the plaintext of ``nonce || ciphertext || tag``. Raises Refused."""
    if len(value) < NONCE_BYTES + TAG_BYTES:
        raise Refused("too short for a nonce and a tag")
    try:
        return key.decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], aad)
    except InvalidTag:
        raise Refused("the old key does not open it") from None


def sealed(key: AESGCM, plaintext: bytes, aad: bytes | None) -> bytes:
    """Return ``nonce || ciphertext || tag`` under a nonce of its own."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + key.encrypt(nonce, plaintext, aad)


def read_key(text: bytes, where: str) -> bytes:
    """Return an AES-256 key: 32 bytes as they are, or 64 hex digits, or base64. Raises Unusable.

    Thirty-two hex digits are a shorter key, not bytes.
    """
    if len(text) == KEY_BYTES and not _HEX.fullmatch(text):
        return text
    stripped = text.strip()
    for decode in (binascii.unhexlify, lambda given: b64decode(given, validate=True)):
        try:
            key = decode(stripped)
        except ValueError:
            continue
        if len(key) == KEY_BYTES:
            return key
    raise Unusable(f"{where}: expected an AES-256 key, as 32 bytes, 64 hex digits or base64")


@dataclass(frozen=True)
class Answer:
    """What the vault answered."""

    status: int
    etag: str | None
    body: Any


class Vault:
    """One connection to the vault, made when it is needed and kept; each worker has its own."""

    def __init__(self, url: str, api_key: str, header: str, tls: ssl.SSLContext | None, stop: threading.Event) -> None:
        self._url = urlsplit(url)
        self._headers = {header: api_key, "Content-Type": "application/json"}
        self._tls = tls
        self._stop = stop
        self._connection: http.client.HTTPConnection | None = None

    def call(self, method: str, target: str, body: Any = None, etag: str | None = None) -> Answer:
        """Return the answer; what could pass is tried again, for repeating any of these requests is safe.

        Raises:
            Unusable: the vault cannot be reached, or does not take the credential.
        """
        headers = self._headers | ({"If-Match": etag} if etag else {})
        payload = None if body is None else json.dumps(body).encode("utf-8")
        for attempt in range(MAX_TRIES):
            try:
                answer = self._once(method, target, payload, headers)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.close()
                problem = type(error).__name__
            else:
                problem = _problem(answer)
                if answer.status in FATAL:
                    raise Unusable(f"the vault refuses: {problem}")
                if answer.status not in PASSING or "plugin-failure" in problem:
                    return answer
            if attempt + 1 < MAX_TRIES and not self._stop.wait(min(0.1 * 2**attempt, MAX_PAUSE_SECONDS)):
                continue
            break
        raise Unusable(f"the vault does not answer: {problem}")

    def _once(self, method: str, target: str, payload: bytes | None, headers: dict[str, str]) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, self._url.path.rstrip("/") + target, payload, headers)
        response = self._connection.getresponse()
        text = response.read()
        return Answer(response.status, response.getheader("ETag"), json.loads(text) if text else None)

    def _connect(self) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._tls:
            return http.client.HTTPSConnection(host, self._url.port, timeout=TIMEOUT_SECONDS, context=self._tls)
        return http.client.HTTPConnection(host, self._url.port, timeout=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Let the connection go."""
        if self._connection:
            self._connection.close()
            self._connection = None


@dataclass(frozen=True)
class Job:
    """Which entries, from which key to which. ``part`` of ``parts`` takes the ids whose hash falls to it, counted from 1."""

    purpose: str
    old_ref: str
    new_ref: str
    old_key: AESGCM = field(repr=False)
    new_key: AESGCM = field(repr=False)
    aad: str
    part: int = 1
    parts: int = 1

    def is_ours(self, external_id: str) -> bool:
        """Whether this part is to move the entry."""
        digest = hashlib.sha256(external_id.encode("ascii")).digest()
        return int.from_bytes(digest[:8], "big") % self.parts == self.part - 1


def worklist(vault: Vault, job: Job) -> Iterator[str]:
    """Give the ids that lie under the old key and are ours, in the vault's order. Raises Unusable."""
    query = {"key_ref": job.old_ref, "limit": str(PAGE)}
    while True:
        answer = vault.call("GET", f"/vault/{job.purpose}?{urlencode(query)}")
        if answer.status != http.HTTPStatus.OK:
            raise Unusable(f"the vault does not list {job.purpose}: {_problem(answer)}")
        yield from (entry["external_id"] for entry in answer.body["entries"] if job.is_ours(entry["external_id"]))
        if answer.body["next_cursor"] is None:
            return
        query = {"cursor": answer.body["next_cursor"]}


def move(vault: Vault, job: Job, external_id: str) -> Outcome:
    """Put the entry, encrypted under the new key, in the place of the version that was read.

    Raises:
        Refused: it cannot be moved. Unusable.
    """
    path = f"/vault/{job.purpose}/{external_id}"
    found = vault.call("GET", path)
    if found.status != http.HTTPStatus.OK:
        return _outcome(found, "reading")
    entry = found.body
    if entry["key_ref"] != job.old_ref:
        return Outcome.TAKEN
    if entry["encoding"] != "base64":
        raise Refused("its encoding is not base64")
    aad = aad_of(job.purpose, external_id, job.aad)
    plaintext = opened(job.old_key, b64decode(entry["encrypted_value"]), aad)
    wanted = {
        "encrypted_value": b64encode(sealed(job.new_key, plaintext, aad)).decode("ascii"),
        "encoding": "base64",
        "key_ref": job.new_ref,
        "algorithm_hint": entry["algorithm_hint"],
        "metadata": entry["metadata"],
        "expires_at": entry["effective_expires_at"],  # expires_at, but for a retention policy that has ended it earlier
        "access_policy": entry["access_policy"],
    }
    put = vault.call("PUT", path, wanted, found.etag)
    return Outcome.MOVED if put.status == http.HTTPStatus.OK else _outcome(put, "replacing")


def _outcome(answer: Answer, doing: str) -> Outcome:
    if answer.status in _BY_STATUS:
        return _BY_STATUS[answer.status]
    raise Refused(f"{doing}: {_problem(answer)}")


def _problem(answer: Answer) -> str:
    """Return status and kind of a problem (RFC 9457); its other words are not for a terminal."""
    kind = answer.body.get("type") if isinstance(answer.body, dict) else None
    slug = kind.removeprefix("urn:vsqlvault:problem:") if isinstance(kind, str) else ""
    return f"{answer.status} {slug if slug.isascii() and slug.isprintable() else ''}".rstrip()


class Progress:
    """Counts outcomes, and shows them on a terminal."""

    def __init__(self, total: int | None, out: TextIO) -> None:
        self.counts: Counter[Outcome] = Counter()
        self.left_behind: dict[str, str] = {}
        self._total = total
        self._out = out
        self._shows = total is not None and out.isatty()
        self._started = self._shown = time.monotonic()
        self._lock = threading.Lock()

    def count(self, external_id: str, outcome: Outcome, why: str = "") -> None:
        """Take note of one entry."""
        with self._lock:
            self.counts[outcome] += 1
            if outcome in LEFT_BEHIND:
                self.left_behind[external_id] = why or outcome.value
            now = time.monotonic()
            if self._shows and now - self._shown >= 0.1:  # noqa: PLR2004
                self._shown = now
                self._out.write(f"\r{self.bar(now - self._started)}\x1b[K")
                self._out.flush()

    def bar(self, seconds: float) -> str:
        """Return the line of progress after so many seconds."""
        done, total = self.counts.total(), max(self._total or 0, self.counts.total(), 1)
        rate = done / seconds if seconds > 0 else 0.0
        left = f"{(total - done) / rate:.0f} s left" if rate else "no end in sight"
        filled = 24 * done // total
        return f"[{'#' * filled}{'-' * (24 - filled)}] {done:,}/{total:,}  {rate:,.0f}/s  {left}"

    def finish(self) -> None:
        """End the line, name what was left behind, and sum up."""
        if self._shows:
            self._out.write("\r\x1b[K")
        for external_id, why in list(self.left_behind.items())[:MAX_NAMED_FAILURES]:
            self._out.write(f"left behind {external_id}: {why}\n")
        if (more := len(self.left_behind) - MAX_NAMED_FAILURES) > 0:
            self._out.write(f"left behind {more:,} more\n")
        if not self.counts:
            return
        seconds = time.monotonic() - self._started
        told = ", ".join(f"{outcome.value} {self.counts[outcome]:,}" for outcome in Outcome)
        self._out.write(f"{told}; {seconds:.1f} s\n")
        self._out.flush()


def rotate(vaults: Sequence[Vault], job: Job, progress: Progress, stop: threading.Event) -> None:
    """Move what is under the old key, one worker for each vault but the first, which lists; over again until nothing is new.

    Raises:
        Unusable: the vault cannot be used; what is under way is finished first.
    """
    while not stop.is_set():
        before = progress.counts.total()
        waiting: queue.Queue[str | None] = queue.Queue(2 * len(vaults))
        failures: list[Unusable] = []
        workers = [
            threading.Thread(target=_work, args=(vault, job, waiting, progress, stop, failures)) for vault in vaults[1:]
        ]
        for worker in workers:
            worker.start()
        try:
            for external_id in worklist(vaults[0], job):
                if stop.is_set():
                    break
                if external_id not in progress.left_behind:
                    waiting.put(external_id)
        finally:
            for _ in workers:
                waiting.put(None)
            for worker in workers:
                worker.join()
        if failures:
            raise failures[0]
        if progress.counts.total() == before:
            return


def _work(
    vault: Vault,
    job: Job,
    waiting: queue.Queue[str | None],
    progress: Progress,
    stop: threading.Event,
    failures: list[Unusable],
) -> None:
    """Move what waits until there is None; once stopped, or the vault is lost, only take it off the queue."""
    while (external_id := waiting.get()) is not None:
        if stop.is_set() or failures:
            continue
        try:
            progress.count(external_id, move(vault, job, external_id))
        except Refused as refused:
            progress.count(external_id, Outcome.FAILED, str(refused))
        except (KeyError, TypeError, ValueError):
            progress.count(external_id, Outcome.FAILED, "the vault's answer is not understood")
        except Unusable as lost:
            failures.append(lost)
            stop.set()
    vault.close()


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command's arguments. No secret is one of them: other users of the host can read those."""
    parser = argparse.ArgumentParser(prog="rotate-keys", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", required=True, help="of the vault, such as https://vault.example:8443")
    parser.add_argument("--purpose", required=True)
    parser.add_argument("--from", dest="old_ref", required=True, metavar="KEY_REF", help="of the key to retire")
    parser.add_argument("--to", dest="new_ref", required=True, metavar="KEY_REF", help="of the key to use from now on")
    for name in ("old", "new"):
        group = parser.add_mutually_exclusive_group(required=name == "old")
        group.add_argument(f"--{name}-key-file", type=Path, help="a file with the key: 32 bytes, hex or base64")
        group.add_argument(f"--{name}-key-env", metavar="NAME", help="the variable with the key, as hex or base64")
    api = parser.add_mutually_exclusive_group()
    api.add_argument("--api-key-file", type=Path)
    api.add_argument("--api-key-env", metavar="NAME", default="VSQL_VAULT_API_KEY")
    parser.add_argument("--api-key-header", default="X-Vault-Key")
    parser.add_argument("--ca-file", type=Path, help="whose server certificates are good, instead of the system's")
    parser.add_argument("--client-cert", type=Path, help="certificate and key of this client, in one PEM file")
    parser.add_argument(
        "--aad", choices=("place", "none"), default="place", help="what values are bound to: purpose/id"
    )
    parser.add_argument("--part", default="1/1", metavar="K/N", help="move only the K-th of N parts of the ids")
    parser.add_argument("--connections", type=int, default=4, help="entries moved at once")
    parser.add_argument("--dry-run", action="store_true", help="count what would be moved")
    return parser.parse_args(arguments)


def secret_of(file: Path | None, variable: str | None, what: str) -> tuple[bytes, str]:
    """Return a secret and where it came from. Raises Unusable."""
    if file is not None:
        try:
            return file.read_bytes(), str(file)
        except OSError as error:
            raise Unusable(f"{file}: {error.strerror}") from None
    value = os.environ.get(variable or "")
    if not value:
        raise Unusable(f"{what}: expected it in a file or in a variable that is set")
    return value.encode("utf-8", "surrogateescape"), f"${variable}"


def job_of(arguments: argparse.Namespace) -> Job:
    """Return what is to be done. Raises Unusable."""
    part, _, parts = arguments.part.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise Unusable("--part: expected K/N with 1 <= K <= N")
    if arguments.old_ref == arguments.new_ref:
        raise Unusable("--to: expected another key_ref than --from")
    old = read_key(*secret_of(arguments.old_key_file, arguments.old_key_env, "--old-key-file"))
    new = read_key(*secret_of(arguments.new_key_file, arguments.new_key_env, "--new-key-file"))
    if old == new:
        raise Unusable("the new key: expected another one than the old")
    return Job(
        arguments.purpose,
        arguments.old_ref,
        arguments.new_ref,
        AESGCM(old),
        AESGCM(new),
        arguments.aad,
        int(part),
        int(parts),
    )


def vaults_of(arguments: argparse.Namespace, stop: threading.Event) -> list[Vault]:
    """Return a connection for listing, and one for each worker. Raises Unusable."""
    if not 1 <= arguments.connections <= 64:  # noqa: PLR2004
        raise Unusable("--connections: expected 1 to 64")
    key, where = secret_of(arguments.api_key_file, arguments.api_key_env, "--api-key-file")
    try:
        text = key.decode("ascii").strip()
    except UnicodeDecodeError:
        raise Unusable(f"{where}: expected an API key") from None
    url = urlsplit(arguments.url)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise Unusable("--url: expected http:// or https:// and a host")
    tls = None
    if url.scheme == "https":
        try:
            tls = ssl.create_default_context(cafile=arguments.ca_file)
            if arguments.client_cert:
                tls.load_cert_chain(arguments.client_cert)
        except OSError:
            raise Unusable("--ca-file, --client-cert: expected readable PEM files") from None
    return [Vault(arguments.url, text, arguments.api_key_header, tls, stop) for _ in range(arguments.connections + 1)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code."""
    asked, stop = parsed(arguments), threading.Event()

    def interrupted(_: int, __: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        job, vaults = job_of(asked), vaults_of(asked, stop)
        total = sum(1 for _ in worklist(vaults[0], job)) if asked.dry_run or sys.stderr.isatty() else None
        if asked.dry_run:
            sys.stdout.write(f"{total}\n")
            return DONE
        progress = Progress(total, sys.stderr)
        try:
            rotate(vaults, job, progress, stop)
        finally:
            progress.finish()
    except Unusable as problem:
        sys.stderr.write(f"rotate-keys: {problem}\n")
        return UNUSABLE
    if stop.is_set():
        return INTERRUPTED
    return INCOMPLETE if progress.left_behind else DONE


if __name__ == "__main__":
    sys.exit(main())
