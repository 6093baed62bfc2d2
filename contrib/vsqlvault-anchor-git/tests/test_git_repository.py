"""Commits in a repository: as git itself reads them, in a directory and at a server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo
from git_site import AT, KEY, Bare, checkpoint, made, served
from vsqlvault_anchor_git.repository import LocalRepository, RemoteRepository, RepositoryUnusable

from vsqlvault.proof.checkpoint import open_checkpoint


def test_each_checkpoint_is_a_commit_that_git_takes(git_bare: Bare) -> None:
    repository = LocalRepository(str(git_bare.path), "main")
    for size in (3, 9, 5):  # the third is older than what is kept, and is not kept
        repository.keep(checkpoint(size))
    assert git_bare.git("fsck", "--strict", "--full") == ""
    assert git_bare.git("log", "--format=%s %ct", "main").splitlines() == [
        f"Checkpoint of {size} leaves {int(AT.timestamp())}" for size in (9, 3)
    ]
    assert git_bare.git("ls-tree", "--name-only", "main") == "checkpoint\n"
    assert git_bare.git("show", "main:checkpoint") == checkpoint(9).note


def test_what_git_has_packed_is_read_and_continued(git_bare: Bare) -> None:
    repository = LocalRepository(str(git_bare.path), "main")
    repository.keep(checkpoint(3))
    git_bare.git("gc", "--quiet")
    git_bare.git("pack-refs", "--all")
    assert repository.newest() == checkpoint(3).note
    repository.keep(checkpoint(9))
    assert git_bare.git("rev-list", "--count", "main") == "2\n"
    assert git_bare.git("fsck", "--strict", "--full") == ""


def test_the_newest_is_what_the_branch_ends_with(bare: Bare) -> None:
    repository = LocalRepository(str(bare.path), "vaults/first")
    assert repository.newest() is None
    for size in (3, 9):
        repository.keep(checkpoint(size))
    note = repository.newest()
    assert note == checkpoint(9).note
    assert open_checkpoint(note, [KEY.verifier]).size == 9
    assert LocalRepository(str(bare.path), "main").newest() is None


def test_of_several_that_keep_at_once_each_is_there_or_a_larger_one_is(bare: Bare) -> None:
    def keep(size: int) -> None:
        LocalRepository(str(bare.path), "main").keep(checkpoint(size))

    keep(1)
    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(keep, size) for size in range(2, 10)]
    kept = [1, *(number + 2 for number, outcome in enumerate(outcomes) if outcome.exception() is None)]
    assert len(kept) > 2
    sizes = bare.sizes()
    assert sizes == sorted(set(sizes) & set(kept), reverse=True)
    assert sizes[0] == kept[-1]


def test_a_branch_that_holds_something_else_is_not_usable(bare: Bare) -> None:
    with Repo(str(bare.path)) as repo:
        blob, tree, commit = Blob.from_string(b"hello"), Tree(), Commit()
        tree.add(b"README", 0o100644, blob.id)
        commit.tree, commit.author, commit.committer, commit.message = tree.id, b"a <a@b>", b"a <a@b>", b"hello"
        commit.author_time = commit.commit_time = commit.author_timezone = commit.commit_timezone = 0
        for one in (blob, tree, commit):
            repo.object_store.add_object(one)
        repo.refs[b"refs/heads/main"] = commit.id
    with pytest.raises(RepositoryUnusable, match="file checkpoint"):
        LocalRepository(str(bare.path), "main").newest()


def test_a_repository_with_files_checked_out_is_not_usable(tmp_path: Path) -> None:
    Repo.init(str(tmp_path)).close()
    with pytest.raises(RepositoryUnusable, match="bare"):
        LocalRepository(str(tmp_path), "main").keep(checkpoint(3))


class TestRemote:
    def test_checkpoints_get_to_a_server_that_is_gits_own(self, git_bare: Bare) -> None:
        with served(git_bare, "sesame") as server:
            repository = RemoteRepository(server.url, "main", ("git", "sesame"), 10)
            assert repository.newest() is None
            for size in (3, 9):
                repository.keep(checkpoint(size))
            assert repository.newest() == checkpoint(9).note
        assert git_bare.git("fsck", "--strict", "--full") == ""
        assert git_bare.git("show", "main~1:checkpoint") == checkpoint(3).note

    def test_a_rejected_login_is_reported(self, git_bare: Bare) -> None:
        with served(git_bare, "sesame") as server:
            for credentials in (None, ("git", "guess")):
                with pytest.raises(Exception, match="403") as refused:
                    RemoteRepository(server.url, "main", credentials, 10).keep(checkpoint(3))
                assert "guess" not in str(refused.value)

    def test_a_rejected_push_is_reported(self, git_bare: Bare) -> None:
        hook = git_bare.path / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\nexit 1\n")
        hook.chmod(0o700)
        with served(git_bare, "sesame") as server:
            repository = RemoteRepository(server.url, "main", ("git", "sesame"), 10)
            with pytest.raises(RepositoryUnusable, match="rejects"):
                repository.keep(checkpoint(3))
            assert repository.newest() is None

    def test_two_vaults_on_one_branch_continue_each_other(self, git_bare: Bare) -> None:
        with served(git_bare, "sesame") as server:
            for size in (3, 9, 12, 20):
                RemoteRepository(server.url, "main", ("git", "sesame"), 10).keep(checkpoint(size))
        assert git_bare.sizes() == [20, 12, 9, 3]


def test_a_directory_elsewhere_is_made_in_the_same_way(tmp_path: Path) -> None:
    other = made(tmp_path / "other.git")
    LocalRepository(str(other.path), "main").keep(checkpoint(7))
    assert other.sizes() == [7]
