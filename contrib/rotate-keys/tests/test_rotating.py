"""Against a real vault: nothing is lost or done twice, and entries that were not moved are named."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest
import rotate_keys
from rotation_site import API_KEY, ENVIRONMENT, NEW, OLD, Site

from vsqlvault.client.sealed import SealAltered


def wait_until_moved(site: Site, at_least: int, processes: list[subprocess.Popen[str]]) -> None:
    while site.under(NEW) < at_least:
        assert any(process.poll() is None for process in processes)
        time.sleep(0.02)


def test_two_workers_and_a_kill_move_every_entry_from_one_key_to_the_next(site: Site, entries_to_move: int) -> None:
    site.fill(entries_to_move)
    before = {entry["external_id"]: entry for entry in site.listed(OLD)}
    first, second = (site.start("--part", f"{part}/2") for part in (1, 2))
    wait_until_moved(site, entries_to_move // 4, [first, second])
    first.send_signal(signal.SIGKILL)
    first.wait()
    moved = site.under(NEW)
    assert moved < entries_to_move, "the kill came too late to show anything"
    _, said = second.communicate(timeout=300)
    assert second.returncode == rotate_keys.DONE, said
    again = site.run("--part", "1/2")
    assert again.returncode == rotate_keys.DONE, again.stderr
    assert (site.under(OLD), site.under(NEW)) == (0, entries_to_move)
    for entry in site.entries(entries_to_move):
        old = before[entry["external_id"]]
        assert site.plaintext(entry) == f"plaintext of {entry['external_id']}"
        kept = ("metadata", "expires_at", "access_policy", "algorithm_hint", "created_at", "owner_app", "entry_id")
        assert [entry[name] for name in kept] == [old[name] for name in kept]
        assert (entry["key_ref"], entry["version"]) == (NEW, 2)


def test_workers_on_the_same_entries_do_not_step_on_each_other(site: Site) -> None:
    site.fill(120)
    workers = [site.start("--connections", "3") for _ in range(2)]
    said = [worker.communicate(timeout=120)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [rotate_keys.DONE] * 2, said
    assert {entry["version"] for entry in site.entries(120)} == {2}
    assert site.under(OLD) == 0


def test_each_version_that_was_replaced_has_its_row_in_the_purge_log(site: Site) -> None:
    site.fill(5)
    assert site.run().returncode == rotate_keys.DONE
    rows = site.call("GET", f"/admin/purge-log?purpose={site.purpose}")[1]["rows"]
    assert sorted((row["external_id"], row["reason"]) for row in rows) == [(f"e{n}", "replaced") for n in range(5)]


def test_a_dry_run_counts_and_moves_nothing(site: Site) -> None:
    site.fill(30)
    counted = [int(site.run("--dry-run", "--part", f"{part}/3").stdout) for part in (1, 2, 3)]
    assert sum(counted) == 30
    assert min(counted) > 0
    assert site.under(OLD) == 30


def test_an_interrupt_finishes_what_is_under_way_and_says_so(site: Site) -> None:
    site.fill(300)
    worker = site.start("--connections", "1")
    wait_until_moved(site, 10, [worker])
    worker.send_signal(signal.SIGINT)
    worker.communicate(timeout=60)
    assert worker.returncode == rotate_keys.INTERRUPTED
    assert site.under(OLD) + site.under(NEW) == 300
    assert site.under(OLD) > 0


def test_an_entry_that_cannot_be_moved_is_named_and_kept_and_the_exit_code_says_so(site: Site) -> None:
    site.fill(3)
    site.store("of-another-key", key=b"k" * 32)
    site.store("of-another-place", place="elsewhere")
    site.store("plain", encrypted_value="vault:v1:text", encoding="utf-8")
    site.store("short", encrypted_value="AAAA")
    done = site.run()
    assert done.returncode == rotate_keys.INCOMPLETE
    assert {line for line in done.stderr.splitlines() if line.startswith("not moved:")} == {
        f"not moved: of-another-key: {SealAltered().title}",
        "not moved: of-another-place: The value was sealed for another purpose or id",
        "not moved: plain: The value is not a sealed value of a known version",
        "not moved: short: The value is not a sealed value of a known version",
    }
    assert "moved 3," in done.stderr
    assert site.under(OLD) == 4
    assert site.call("GET", site.path("plain"))[1]["version"] == 1


def test_an_entry_that_has_expired_is_no_longer_its_business(site: Site) -> None:
    site.fill(1)
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    assert site.store("ends", expires_at=soon) == 201
    while site.call("GET", site.path("ends"))[0] != 410:
        time.sleep(0.1)
    assert site.run().returncode == rotate_keys.DONE
    assert site.under(OLD) == 1  # until the sweep


def test_a_retention_policy_that_was_shortened_does_not_stop_it(site: Site) -> None:
    site.store("long", expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 300 * 86_400)))
    site.retain(30)
    assert site.run().returncode == rotate_keys.DONE
    entry = site.call("GET", site.path("long"))[1]
    assert entry["expires_at"] == entry["effective_expires_at"]


@pytest.mark.parametrize(
    ("more", "environment", "said"),
    [
        (("--part", "3/2"), {}, "--part"),
        (("--connections", "0"), {}, "--connections"),
        (("--to", OLD), {}, "--to"),
        (("--from", "unknown"), {}, "--from"),
        (("--to", "unknown"), {}, "--to"),
        (("--key-ring", "/nowhere/ring"), {}, "expected a key ring that can be read"),
        ((), {"VSQL_VAULT_API_KEY": ""}, "--api-key-file"),
        ((), {"VSQL_VAULT_API_KEY": "not-the-key"}, "401"),
        (("--purpose", "nowhere/../"), {}, "cannot list"),
        (("--url", "ftp://localhost"), {}, "http:// or https://"),
        (("--url", "http://vault.example"), {}, "https://"),
    ],
)
def test_what_cannot_work_ends_at_once_with_one_sentence(
    site: Site, more: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    done = site.run(*more, **environment)
    assert done.returncode == rotate_keys.UNUSABLE
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_two_times_the_same_key_is_refused(site: Site) -> None:
    site.write_ring(new=site.old)
    assert "a different key" in site.run().stderr


def test_a_key_ring_that_others_can_read_is_refused(site: Site) -> None:
    (site.directory / "keys.json").chmod(0o644)
    assert "chmod 600" in site.run().stderr


def test_no_secret_is_printed_or_on_the_command_line(site: Site) -> None:
    site.fill(2)
    site.store("of-another-key", key=b"k" * 32)
    done = site.run()
    printed = done.stdout + done.stderr + " ".join(site.command())
    for secret in (API_KEY, site.old.hex(), site.new.hex(), "plaintext of"):
        assert secret not in printed


def test_the_key_ring_comes_from_the_environment_as_well(site: Site) -> None:
    site.fill(2)
    arguments = site.command("--key-ring-env", "RING")
    at = arguments.index("--key-ring")
    del arguments[at : at + 2]
    environment = {**ENVIRONMENT, "RING": (site.directory / "keys.json").read_text()}
    assert subprocess.run(arguments, env=environment, capture_output=True, timeout=60, check=False).returncode == 0
    assert site.under(NEW) == 2
