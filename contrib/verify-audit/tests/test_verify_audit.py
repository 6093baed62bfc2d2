"""The second verifier by itself: published vectors, and an export made by hand from the format page."""

import base64
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
import verify_audit

# RFC 8032, section 7.1
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
# docs/audit-log.md
KEY = "vault.example.com/audit+646433a2+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
ROOT = "wVIx90JY4hmzDTTJzdx84rzRmNZPCqHaWflOGMhZGdg="
CHECKPOINT = (
    f"vault.example.com/audit\n3\n{ROOT}\n\n\u2014 vault.example.com/audit "
    "ZGQzom+FpLoE3uOux2fB+NIuCffUgRBijhSMPYHw8j+MOFbb4O0OWwAfIOz4SCCacnfEQIrjDt+UYKHIdfItZ5i7PwA=\n"
)
ROLL = (
    "vsqlvault-key-roll-v1\nvault.example.com/audit+646433a2+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4\n"
    "vault.example.com/audit+2cb59e7a+ASmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X\n\n"
    "\u2014 vault.example.com/audit "
    "ZGQzoqNUHvTAExRGuy/RZX0Ca63xVEBWL09g8jgdZRuCYe3JViVdqc4trHGcpqiJFtFUmMQ0GOI7w6f1qmo3Z6qgxww=\n"
    "\u2014 vault.example.com/audit "
    "LLWeerglHeDQ1mTovemdWBB6ps/tAa4dr9O2CyEYFTM1AVDpxUbxPbAASvrGGJhTztZL8/PZssxG2rw7cyxp3obEegg=\n"
)
ROWS = [
    (
        '{"access":{"app":"payments","at":"2027-02-16T09:30:00.250000Z","client_address":"192.0.2.7","count":1,'
        '"credential_id":"sha256:0123456789ab","entry_id":"b81cc9f6c7abf61c99ef2689f261ee75","entry_version":1,'
        '"external_id":"payment-12345","method":"api-key","operation":"purge","outcome":"granted","policy":"owner-only",'
        '"policy_version":1,"purpose":"card","request_id":"5f2c8f0e6d3b4a1c9e7d8b6a5c4f3e2d","status":200,'
        '"untrusted_forwarding":false}}'
    ),
    (
        '{"purge":{"app":"payments","entry_id":"b81cc9f6c7abf61c99ef2689f261ee75","entry_version":1,'
        '"expired_at":"2027-02-16T00:00:00Z","external_id":"payment-12345","id":"0a1b2c3d4e5f60718293a4b5c6d7e8f9",'
        '"key_ref":"akv:payez-kv:card-key-v7","method":"physical-delete","owner_app":"payments",'
        '"proof_hash":"d1fa56180e0c1308dd20fd7af260ae2c1bcfdec0216e8199a42d621ca8bda49e",'
        '"purged_at":"2027-02-16T09:30:00.250000Z","purpose":"card","reason":"requested",'
        '"request_id":"5f2c8f0e6d3b4a1c9e7d8b6a5c4f3e2d","value_size":25}}'
    ),
    (
        '{"access":{"at":"2027-02-16T09:30:00.250000Z","client_address":"2001:db8::1","count":3,'
        '"detail":"tab\\there, \\"quote\\", é","operation":"authenticate","outcome":"denied","reason":"bad_key",'
        '"request_id":"00000000000000000000000000000001","status":401,"untrusted_forwarding":false}}'
    ),
]
LEAVES = [row.encode("utf-8") for row in ROWS]
HASHES = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in LEAVES]


def members():
    return {
        "manifest.json": json.dumps({"format": "vsqlvault-audit-export-v1", "size": 3, "anomalies": []}).encode(),
        "checkpoint": CHECKPOINT.encode(),
        "tile/entries/000.p/3": b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in LEAVES),
        "tile/0/000.p/3": b"".join(HASHES),
    }


def findings(given, kept=()):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in given.items():
            archive.writestr(name, data)
    with zipfile.ZipFile(file) as archive:
        check, origin = verify_audit.check_export(verify_audit.Export(archive), [verify_audit.parse_key(KEY)], kept)
    assert origin == "vault.example.com/audit"
    return check.findings


@pytest.mark.parametrize(("public", "message", "signature"), RFC_8032)
def test_signatures_of_rfc_8032_hold_and_no_others(public, message, signature):
    key, text, signed = (bytes.fromhex(each) for each in (public, message, signature))
    assert verify_audit.signature_holds(key, text, signed)
    assert not verify_audit.signature_holds(key, text + b"x", signed)
    for place in (0, 31, 32, 63):
        forged = signed[:place] + bytes([signed[place] ^ 1]) + signed[place + 1 :]
        assert not verify_audit.signature_holds(key, text, forged)
    too_large = (int.from_bytes(signed[32:], "little") + verify_audit.L).to_bytes(33, "little")[:32]
    assert not verify_audit.signature_holds(key, text, signed[:32] + too_large)
    assert not verify_audit.signature_holds(b"\xff" * 32, text, signed)


def test_the_export_of_the_format_page_passes():
    assert findings(members()) == []
    assert findings(members(), [CHECKPOINT]) == []


@pytest.mark.parametrize("index", range(3))
def test_a_leaf_that_was_changed_is_named(index):
    leaves = [leaf if number != index else leaf.replace(b"2", b"3") for number, leaf in enumerate(LEAVES)]
    bundle = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
    found = findings(members() | {"tile/entries/000.p/3": bundle})
    assert found[0][0] == index


def test_what_was_found_beside_the_tree_counts():
    manifest = {"format": "vsqlvault-audit-export-v1", "anomalies": [{"index": 2, "what": "a row"}]}
    assert findings(members() | {"manifest.json": json.dumps(manifest).encode()}) == [(2, "a row")]


def test_a_later_checkpoint_that_was_kept_shows_a_tail_that_was_cut():
    larger = CHECKPOINT.replace("\n3\n", "\n4\n")
    assert findings(members(), [larger])[0][0] == 3


def test_a_key_vouches_for_its_successor():
    old = verify_audit.parse_key(KEY)
    assert verify_audit.open_roll(ROLL, [old])[1].hex() == "2cb59e7a"
    with pytest.raises(verify_audit.Refused):
        verify_audit.open_roll(ROLL, [verify_audit.open_roll(ROLL, [old])])


def a_receipt():
    path = "".join(base64.b64encode(one).decode() + "\n" for one in (HASHES[0], HASHES[2]))
    row = json.loads(ROWS[1])["purge"]
    return {
        "format": "vsqlvault-receipt-v1",
        "purge": row,
        "entry_hash": row["proof_hash"],
        "leaf": ROWS[1],
        "proof": f"c2sp.org/tlog-proof@v1\nindex 1\n{path}\n{CHECKPOINT}",
    }


def test_a_receipt_holds_and_with_anything_changed_does_not():
    keys = [verify_audit.parse_key(KEY)]
    row, index, origin, size = verify_audit.check_receipt(a_receipt(), keys)
    assert (row["external_id"], index, origin, size) == ("payment-12345", 1, "vault.example.com/audit", 3)
    good = a_receipt()
    for changed in (
        {"leaf": ROWS[1].replace("card", "cord")},
        {"leaf": ROWS[0]},
        {"entry_hash": "0" * 64},
        {"purge": {**good["purge"], "purpose": "cord"}},
        {"proof": good["proof"].replace("index 1", "index 0")},
        {"proof": good["proof"].replace("\n3\n", "\n4\n")},
        {"proof": good["proof"].replace(CHECKPOINT, "")},
        {"proof": None},
    ):
        with pytest.raises(verify_audit.Refused):
            verify_audit.check_receipt({**good, **changed}, keys)
    with pytest.raises(verify_audit.Refused):
        verify_audit.check_receipt(good, [])


def test_one_thing_is_counted_in_the_singular():
    assert [verify_audit.counted(number, "receipt") for number in (0, 1, 2)] == [
        "0 receipts",
        "1 receipt",
        "2 receipts",
    ]


def test_members_next_to_a_receipt_are_those_of_its_row(tmp_path, capsys):
    good = {**a_receipt()["purge"], "scrubbed_at": None, "receipt": a_receipt()}
    file = tmp_path / "answer.json"
    for name in (*good["receipt"]["purge"], "scrubbed_at", "more"):
        file.write_text(json.dumps({**good, name: "changed"}))
        assert verify_audit.main([str(file), "--vkey", KEY]) == 1
        assert f'"{name}" next to the receipt' in capsys.readouterr().out
    file.write_text(json.dumps(good))
    assert verify_audit.main([str(file), "--vkey", KEY]) == 0


def test_rows_and_the_checkpoint_to_keep_are_written_and_nothing_is_overwritten(tmp_path, capsys):
    def command(given, *more):
        with zipfile.ZipFile(tmp_path / "audit.zip", "w") as archive:
            for name, data in given.items():
                archive.writestr(name, data)
        return verify_audit.main([str(tmp_path / "audit.zip"), "--vkey", KEY, *more])

    kept, rows = tmp_path / "kept", tmp_path / "rows"
    assert command(members(), "--keep", str(kept), "--rows", str(rows)) == 0
    assert kept.read_text("utf-8") == CHECKPOINT
    assert rows.read_bytes().split(b"\n")[:-1] == LEAVES
    assert command(members(), "--checkpoint", str(kept)) == 0
    assert command(members(), "--rows", str(rows)) == 2
    bundle = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in (b"{}", *LEAVES[1:]))
    assert command(members() | {"tile/entries/000.p/3": bundle}, "--keep", str(tmp_path / "bad")) == 1
    assert not (tmp_path / "bad").exists()
    assert "The first bad index is 0" in capsys.readouterr().out


def test_it_needs_nothing_but_the_standard_library():
    text = (Path(__file__).parents[1] / "verify_audit.py").read_text("utf-8")
    imported = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= sys.stdlib_module_names
