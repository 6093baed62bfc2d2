"""On a terminal: a hidden prompt, tables in colour, following a log, completion and the man page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pexpect
import pytest

from tests.support.server import VaultServer
from vsqlvault.client import Vault

SECONDS = 20
COMMAND = str(Path(sys.executable).parent / "vsql-vault")
Spawn = Callable[..., pexpect.spawn]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@cache
def completion(shell: str) -> str:
    """Return the script that the command prints for a shell."""
    return subprocess.run([COMMAND, "completion", shell], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def spawn(server: VaultServer, tmp_path: Path) -> Iterator[Spawn]:
    """Run a command on a terminal of its own."""
    running: list[pexpect.spawn] = []

    def spawn(*words: str, who: str = "payments", **environment: str) -> pexpect.spawn:
        variables = {
            "PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "xterm", "VSQL_VAULT_ADDR": server.url,
            "VSQL_VAULT_KEY": server.key(who), **environment,
        }  # fmt: skip
        running.append(
            pexpect.spawn(COMMAND, list(words), env=variables, encoding="utf-8", timeout=SECONDS, dimensions=(40, 200))
        )
        return running[-1]

    yield spawn
    for process in running:
        process.close(force=True)


def ended(process: pexpect.spawn) -> str:
    process.expect(pexpect.EOF)
    process.wait()
    return str(process.before)


def test_a_value_that_is_typed_is_not_shown(spawn: Spawn, vault: Vault) -> None:
    process = spawn("put", "card/typed")
    process.expect("not shown")
    process.sendline("typed-secret")
    said = ended(process)
    assert "typed-secret" not in said
    assert process.exitstatus == 0
    assert vault.get("card", "typed").value == b"typed-secret"


def test_a_table_is_in_colour_and_not_where_no_color_is_set(spawn: Spawn, vault: Vault) -> None:
    vault.put("card", "coloured", b"value", key_ref="coloured")
    words = ("ls", "card", "--key-ref", "coloured")
    assert "\x1b[32mactive" in ended(spawn(*words))
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        said = ended(spawn(*words, **variables))
        assert "active" in said
        assert not COLOUR.search(said)


def test_a_pipe_gets_no_colour(server: VaultServer, vault: Vault, tmp_path: Path) -> None:
    vault.put("card", "coloured", b"value", key_ref="coloured")
    environment = {
        **os.environ,
        "VSQL_VAULT_ADDR": server.url,
        "VSQL_VAULT_KEY": server.key("payments"),
        "HOME": str(tmp_path),
    }
    done = subprocess.run([COMMAND, "ls", "card"], env=environment, capture_output=True, text=True, check=True)
    assert "active" in done.stdout
    assert not COLOUR.search(done.stdout)


def test_text_of_an_entry_cannot_move_the_cursor(spawn: Spawn, connect: Callable[..., Vault]) -> None:
    hostile = connect("vault-admin")
    hostile.holds.put("cursor", case_reference="7", reason="r", metadata={"a": "b"})
    hostile.holds.release("cursor")
    said = ended(spawn("hold", "ls", "--state", "released", who="auditor", NO_COLOR="1"))
    assert "\x1b" not in said


def test_following_a_log_shows_what_comes_and_not_its_own_reads(
    spawn: Spawn, vault: Vault, connect: Callable[..., Vault]
) -> None:
    process = spawn("log", "access", "--follow", "--json", who="auditor")
    seen = 0
    for number in range(3):
        while True:  # the first rows can come before the follower has begun
            vault.put("card", f"followed{number}", os.urandom(8))
            if process.expect([f'"external_id":"followed{number}"', pexpect.TIMEOUT], timeout=2) == 0:
                break
        seen += 1
    assert seen == 3
    process.sendintr()
    if process.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=5) == 1:
        process.sendintr()  # Python drops an interrupt that arrives while it runs a finalizer
        process.expect(pexpect.EOF)
    process.wait()
    said = str(process.before)
    assert process.exitstatus == 130
    assert "read-access-log" not in said
    assert "Traceback" not in said


def completed(server: VaultServer, line: str, tmp_path: Path) -> list[str]:
    """Return what bash offers for the last word of a line."""
    script = completion("bash")
    (tmp_path / "completion").write_text(script)
    words = line.split(" ")
    given = " ".join(f"'{word}'" for word in words)
    program = (
        f"source completion; COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; _vsql_vault; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("vsql-vault pu", ["put"]),
        ("vsql-vault policy ", ["access", "retention", "--help"]),
        ("vsql-vault policy access ex", ["explain"]),
        ("vsql-vault put card/x --cr", ["--create"]),
        ("vsql-vault --config f swe", ["sweep"]),
        ("vsql-vault put card/x --file val", ["value.bin"]),
        ("vsql-vault get card/x --json ", ["--help", "--profile", "--json", "--quiet", "--out"]),
        ("vsql-vault completion ", ["--help", "--config"]),
    ],
)
def test_bash_completes_commands_options_and_files(
    server: VaultServer, line: str, offered: list[str], tmp_path: Path
) -> None:
    (tmp_path / "value.bin").touch()
    assert completed(server, line, tmp_path) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_one_that_it_reads(shell: str, tmp_path: Path) -> None:
    script = completion(shell)
    assert "explain" in script
    if shutil.which(shell) is None:
        pytest.skip(f"this machine has no {shell}")
    (tmp_path / "script").write_text(script)
    read = "--no-execute" if shell == "fish" else "-n"
    done = subprocess.run([shell, read, str(tmp_path / "script")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_zsh_completes_as_bash_does(tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("this machine has no zsh")
    script = completion("zsh")
    (tmp_path / "script").write_text(script)
    program = (
        "compdef() { :; }; compadd() { shift; print -l -- $@; }; _files() { print files; }; source script; "
        "words=(vsql-vault policy access ''); CURRENT=4; _vsql_vault"
    )
    done = subprocess.run(["zsh", "-f", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["get", "set", "ls", "rm", "explain", "--help"]


def test_fish_completes_as_bash_does(tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("this machine has no fish")
    script = subprocess.run([COMMAND, "completion", "fish"], capture_output=True, text=True, check=True).stdout
    (tmp_path / "script").write_text(script)
    program = "source script; complete -C 'vsql-vault policy access '"
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        ["fish", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == {"get", "set", "ls", "rm", "explain"}


def test_the_man_page_names_every_command_and_has_no_errors(tmp_path: Path) -> None:
    page = subprocess.run([COMMAND, "man"], capture_output=True, text=True, check=True).stdout
    for command in ("put PURPOSE/ID", "policy access explain OPERATION PURPOSE/ID", "serve", "sweep"):
        assert f".SS vsql\\-vault {command}" in page
    if shutil.which("man") is None:
        pytest.skip("this machine has no man")
    (tmp_path / "vsql-vault.1").write_text(page)
    environment = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""}
    arguments = ["man", "--warnings", "-l", str(tmp_path / "vsql-vault.1")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "EXIT STATUS" in done.stdout
