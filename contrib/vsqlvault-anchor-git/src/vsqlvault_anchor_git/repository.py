"""A git repository, in a directory or on a server. Each commit of one branch has one file: a checkpoint.

Git's own program is not used, because a sandboxed vault may run no programs. Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import urllib3
from dulwich.client import HttpGitClient
from dulwich.objects import ZERO_SHA, Blob, Commit, Tree
from dulwich.pack import pack_objects_to_data
from dulwich.repo import BaseRepo, MemoryRepo, Repo

from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.log_check import SignedHead
from vsqlvault.proof.note import NoteRefused

FILE = b"checkpoint"
AUTHOR = b"vsqlvault <vsqlvault@localhost>"
ATTEMPTS = 4
_REGULAR = 0o100644
_BRANCHES = b"refs/heads/"


class RepositoryUnusable(Exception):
    """The repository cannot store checkpoints."""


class Repository(Protocol):
    """A repository for checkpoints."""

    def newest(self) -> str | None:
        """Return the note in the last commit of the branch, or None if there is no such branch yet.

        Raises:
            RepositoryUnusable: the branch has another content. Also errors of git and the network.
        """
        ...

    def keep(self, checkpoint: Checkpoint, superseded: Collection[str] = ()) -> None:
        """Add a commit with the checkpoint's note to the branch. When this returns, the last commit has it, or a larger tree.

        The branch never goes back to a smaller tree, unless its last note is ``superseded``.

        Raises:
            RepositoryUnusable: others added commits at each attempt. Also errors of git and the network.
        """
        ...


class LocalRepository:
    """A bare repository in a directory."""

    def __init__(self, path: str, branch: str) -> None:
        self._path = path
        self._ref: Any = _BRANCHES + branch.encode()

    def newest(self) -> str | None:
        """See ``Repository.newest``."""
        with self._opened() as repo:
            head = repo.refs.as_dict().get(self._ref)
            return _note_of(repo, head) if head else None

    def keep(self, checkpoint: Checkpoint, superseded: Collection[str] = ()) -> None:
        """See ``Repository.keep``. Objects are flushed to disk before the branch refers to them."""
        with self._opened() as repo:
            repo.object_store.fsync_object_files = True
            for _ in range(ATTEMPTS):
                head = repo.refs.as_dict().get(self._ref)
                if head and not _goes_on(_note_of(repo, head), checkpoint, superseded):
                    return
                made = _commit(checkpoint, head)
                for one in made:
                    repo.object_store.add_object(one)
                if repo.refs.set_if_equals(self._ref, head or ZERO_SHA, made[-1].id):
                    return
        raise RepositoryUnusable("others keep adding commits to the branch")

    @contextmanager
    def _opened(self) -> Iterator[Repo]:
        with Repo(self._path) as repo:
            if not repo.bare:
                raise RepositoryUnusable("expected a bare repository, found one with files checked out")
            yield repo


class RemoteRepository:
    """A repository on a server with git over HTTPS. Nothing is stored locally."""

    def __init__(self, url: str, branch: str, credentials: tuple[str, str] | None, timeout_seconds: float) -> None:
        """Each network operation ends after ``timeout_seconds``. ``credentials`` are a user name and a password."""
        self._url = url
        self._ref: Any = _BRANCHES + branch.encode()
        self._credentials = credentials or (None, None)
        self._timeout = urllib3.Timeout(timeout_seconds)

    def newest(self) -> str | None:
        """See ``Repository.newest``."""
        return self._head()[1]

    def _head(self) -> tuple[Any, str | None]:
        """Return the commit that the branch ends with, and its note. Only that commit is fetched."""
        repo = MemoryRepo()
        with self._connected() as (client, path):
            found = client.fetch(path, repo, determine_wants=self._wants, depth=1)
        head = found.refs.get(self._ref)
        return head, _note_of(repo, head) if head else None

    def _wants(self, refs: Any, depth: int | None = None) -> list[Any]:  # noqa: ARG002 - the library's signature
        return [refs[self._ref]] if self._ref in refs else []

    def keep(self, checkpoint: Checkpoint, superseded: Collection[str] = ()) -> None:
        """See ``Repository.keep``. The server compares the branch's old and current commit."""
        for _ in range(ATTEMPTS):
            known, kept = self._head()
            if kept is not None and not _goes_on(kept, checkpoint, superseded):
                return
            made: list[Blob | Tree | Commit] = []

            def update(refs: Any, made: Any = made, known: Any = known) -> dict[Any, Any]:
                if refs.get(self._ref) != known:
                    return {}
                made[:] = _commit(checkpoint, refs.get(self._ref))
                return {self._ref: made[-1].id}

            with self._connected() as (client, path):
                result = client.send_pack(
                    path, update, lambda *_, made=made, **__: pack_objects_to_data([(one, None) for one in made])
                )
            refusal = (result.ref_status or {}).get(self._ref)
            if made and refusal is None:
                return
        raise RepositoryUnusable(f"the server rejects the commit: {refusal}")

    @contextmanager
    def _connected(self) -> Iterator[tuple[HttpGitClient, str]]:
        username, password = self._credentials
        with _Pool(timeout=self._timeout, retries=urllib3.Retry(0, redirect=0)) as pool:
            try:
                client = HttpGitClient(self._url, pool_manager=pool, username=username, password=password)
                yield client, urlsplit(self._url).path
            finally:
                pool.close_all()


class _Pool(urllib3.PoolManager):
    """Closes the connections that it has opened, including those that the client leaves open after a rejection."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._responses: list[Any] = []

    def request(self, *arguments: Any, **options: Any) -> Any:
        """See ``urllib3.PoolManager``."""
        response = super().request(*arguments, **options)
        self._responses.append(response)
        return response

    def close_all(self) -> None:
        """Close every connection."""
        for response in self._responses:
            response.close()
        self.clear()


def _commit(checkpoint: Checkpoint, parent: Any) -> tuple[Blob, Tree, Commit]:
    blob = Blob.from_string(checkpoint.note.encode())
    tree = Tree()
    tree.add(FILE, _REGULAR, blob.id)
    commit = Commit()
    commit.tree = tree.id
    commit.parents = [parent] if parent else []
    commit.author = commit.committer = AUTHOR
    commit.author_time = commit.commit_time = int(checkpoint.signed_at.timestamp())
    commit.author_timezone = commit.commit_timezone = 0
    commit.encoding = b"UTF-8"
    commit.message = f"Checkpoint of {checkpoint.size} leaves\n\n{checkpoint.origin}\n".encode()
    return blob, tree, commit


def _goes_on(kept: str, checkpoint: Checkpoint, superseded: Collection[str]) -> bool:
    """Return whether the checkpoint has a larger tree than the one kept, or that one is superseded."""
    try:
        return checkpoint.size > SignedHead.parse(kept).head.size or kept in superseded
    except NoteRefused:
        raise RepositoryUnusable(
            f"expected a commit with a checkpoint in {FILE.decode()}, found another text"
        ) from None


def _note_of(repo: BaseRepo, head: Any) -> str:
    try:
        tree: Any = repo[head].tree  # type: ignore[attr-defined]
        blob: Any = repo[repo[tree][FILE][1]]  # type: ignore[index]
        return str(blob.data.decode())
    except (KeyError, AttributeError, UnicodeDecodeError):
        raise RepositoryUnusable(f"expected a commit with the file {FILE.decode()}, found another one") from None
