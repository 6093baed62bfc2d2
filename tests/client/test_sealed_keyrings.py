"""Key rings of a file and of a variable."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.client.errors import Unusable
from vsqlvault.client.sealed import EnvironmentKeyRing, FileKeyRing, StaticKeyRing, UnknownKey

KEY, OTHER = b"\xa5" * 32, b"\x5a" * 32


def written(path: Path, current: str = "k1", **keys: bytes) -> Path:
    document = {
        "current": current,
        "keys": {name: b64encode(key).decode() for name, key in (keys or {"k1": KEY}).items()},
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path


def test_the_current_key_seals_and_every_key_opens(tmp_path: Path) -> None:
    ring = FileKeyRing(written(tmp_path / "ring", "k2", k1=KEY, k2=OTHER))
    assert (ring.sealing_key().key_ref, ring.sealing_key().key) == ("k2", OTHER)
    assert ring.opening_key("k1", b"") == KEY
    with pytest.raises(UnknownKey):
        ring.opening_key("k3", b"")


def test_keys_are_base64_or_hex(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"current": "a", "keys": {"a": KEY.hex(), "b": b64encode(OTHER).decode()}}))
    ring = FileKeyRing(path)
    assert (ring.opening_key("a", b""), ring.opening_key("b", b"")) == (KEY, OTHER)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "ring")
    path.chmod(0o640)
    with pytest.raises(Unusable, match="chmod 600"):
        FileKeyRing(path)


def test_a_ring_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "ring"
    made = FileKeyRing(path, create="k1").sealing_key()
    assert path.stat().st_mode & 0o777 == 0o600
    assert FileKeyRing(path, create="k2").sealing_key() == made


def test_a_running_ring_opens_what_a_newer_key_seals_and_keeps_sealing_with_its_own(tmp_path: Path) -> None:
    path = written(tmp_path / "ring")
    ring = FileKeyRing(path)
    written(path, "k2", k1=KEY, k2=OTHER)
    assert ring.opening_key("k2", b"") == OTHER
    assert ring.sealing_key().key_ref == "k1"
    ring.reload()
    assert ring.sealing_key().key_ref == "k2"


def test_a_ring_that_became_unreadable_keeps_its_keys(tmp_path: Path) -> None:
    path = written(tmp_path / "ring")
    ring = FileKeyRing(path)
    path.write_text("{")
    with pytest.raises(Unusable):
        ring.reload()
    assert ring.opening_key("k1", b"") == KEY


def test_the_environment_holds_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VSQL_VAULT_KEY_RING", written(tmp_path / "ring").read_text())
    assert EnvironmentKeyRing().sealing_key().key == KEY
    monkeypatch.delenv("VSQL_VAULT_KEY_RING")
    with pytest.raises(Unusable, match="VSQL_VAULT_KEY_RING"):
        EnvironmentKeyRing()


@pytest.mark.parametrize(
    "document",
    ["", "[]", "{}", '{"current": "a"}', '{"current": "a", "keys": {}}', '{"current": 1, "keys": {"a": "00"}}',
     '{"current": "a", "keys": {"a": "c2hvcnQ="}}', '{"current": "a", "keys": {"a": 7}}', "[" * 100_000],
)  # fmt: skip
def test_a_text_that_is_no_ring_is_refused_in_one_sentence_that_shows_nothing_of_it(
    document: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RING", document or " ")
    with pytest.raises(Unusable, match="expected JSON") as raised:
        EnvironmentKeyRing("RING")
    assert "c2hvcnQ" not in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "current"), [({"a": b"short"}, "a"), ({"a": KEY}, "b"), ({"": KEY}, ""), ({"a": "x" * 32}, "a")]
)
def test_keys_that_are_none_are_refused(keys: Any, current: str) -> None:
    with pytest.raises(Unusable):
        StaticKeyRing(keys, current)


def test_no_ring_and_no_key_shows_its_bytes(tmp_path: Path) -> None:
    ring = FileKeyRing(written(tmp_path / "ring"))
    shown = repr(ring) + repr(ring.sealing_key())
    assert repr(KEY)[2:-1] not in shown
    assert b64encode(KEY).decode() not in shown


def test_a_key_ring_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="expected a key ring that can be read, found: No such file or directory"):
        FileKeyRing(tmp_path / "none")
    with pytest.raises(Unusable, match="can be written, found: No such file or directory"):
        FileKeyRing(tmp_path / "none" / "ring", create="k1")
