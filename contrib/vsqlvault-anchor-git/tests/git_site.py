"""Repositories to keep checkpoints in, git's own server before one of them, and a vault that keeps its checkpoints there."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from dulwich.repo import Repo

from vsqlvault.config import Settings, load_settings
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey

ALLOWED = ["access-rules", "auth-api-key", "purge-methods", "storage-sqlite", "anchor-git"]
KEY = SigningKey("vault.example/audit", b"\x01" * 32)
AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def checkpoint(size: int) -> Checkpoint:
    head = TreeHead(KEY.verifier.name, size, bytes([size % 256]) * 32)
    return Checkpoint(head.origin, size, head.root, sign_checkpoint(head, KEY.signer), AT)


class Bare:
    """A bare repository, asked by git itself where that is there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    def sizes(self, branch: str = "main") -> list[int]:
        """Return how many leaves each checkpoint has, the newest first, as each commit says."""
        with Repo(str(self.path)) as repo:
            head = repo.refs.as_dict()[f"refs/heads/{branch}".encode()]
            return [int(entry.commit.message.split()[2]) for entry in repo.get_walker([head])]


def made(path: Path) -> Bare:
    path.mkdir()
    Repo.init_bare(str(path), default_branch=b"main").close()
    return Bare(path)


class _GitServer(BaseHTTPRequestHandler):
    """Passes requests on to ``git http-backend``, as a web server does."""

    root: Path
    token: str
    answers: threading.Event

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        body = b""
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self._serve(body)

    def _serve(self, body: bytes) -> None:
        self.answers.wait(20)
        known = "Basic " + base64.b64encode(f"git:{self.token}".encode()).decode()
        if self.headers["Authorization"] != known:
            self.send_error(403)
            return
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "git",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path.rstrip("/"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, env=environment, capture_output=True, timeout=20, check=True
        )
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200 OK").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Served:
    """A repository at git's own server. ``answers`` is set while it does."""

    def __init__(self, server: ThreadingHTTPServer, bare: Bare, answers: threading.Event) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/{bare.path.name}"
        self.answers = answers


@contextmanager
def served(bare: Bare, token: str) -> Iterator[Served]:
    answers = threading.Event()
    answers.set()
    handler = type("Handler", (_GitServer,), {"root": bare.path.parent, "token": token, "answers": answers})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Served(server, bare, answers)
        finally:
            answers.set()
            server.shutdown()
            thread.join()


class Site:
    """A vault on SQLite in one directory, and the repository its checkpoints go to."""

    def __init__(self, directory: Path, bare: Bare) -> None:
        self.directory = directory
        self.bare = bare

    def settings(self, **table: Any) -> Settings:
        chosen = {"repository": str(self.bare.path), "interval_seconds": 0, **table}
        lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in chosen.items())
        file = self.directory / "vault.toml"
        file.write_text(
            f'[storage]\ndatabase_url = "sqlite:///{self.directory / "vault.db"}"\n'
            f"[plugins]\nallow = {json.dumps(ALLOWED)}\n"
            f'[audit]\nsigning_key_env = "KEY"\ncheckpoint_interval_seconds = 0.05\n[plugins.git-anchor]\n{lines}\n'
        )
        return load_settings(file, {})
