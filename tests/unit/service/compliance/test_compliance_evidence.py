"""Evidence bundles: what is in them, that they can be checked alone, and that nothing can be changed in them unseen."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.exports import second_verifier
from tests.support.fixtures import SIGNING_KEY
from vsqlvault.errors import InvalidQuery, NothingSigned, RoleRequired
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time, parse_time
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.evidence import FORMAT, MANIFEST, NOTE
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.receipt import check_receipt
from vsqlvault.proof.sample import choose
from vsqlvault.proof.statement import sign_statement
from vsqlvault.proof.tiles import read_bundle
from vsqlvault.report_html.page import report_page
from vsqlvault.runtime import Tuning
from vsqlvault.service.compliance import archives, evidence_check
from vsqlvault.service.compliance.access_reviews import ReviewRequest
from vsqlvault.service.compliance.archives import ArchiveUnreadable
from vsqlvault.service.compliance.evidence_check import EvidenceCheckResult, is_evidence, verify_evidence
from vsqlvault.service.log.log_range import leaf_range
from vsqlvault.service.log.restore import RestoreCount
from vsqlvault.testing import T0, a_call, a_legal_hold, a_purge_record, an_access_policy, an_access_record, an_entry

OTHER = SigningKey("vault.example/audit", b"\x02" * 32)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


async def collected(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def bundled(scene: Any, **times: Any) -> bytes:
    return await collected(await scene.vault.compliance.evidence.bundle(scene.admin, report_page, **times))


def checked(
    data: bytes, tmp_path: Path, *kept: str, key: SigningKey = SIGNING_KEY, **limits: int
) -> EvidenceCheckResult:
    path = tmp_path / "evidence.zip"
    path.write_bytes(data)
    verdict = verify_evidence(path, [key.verifier], kept, **limits)
    if not limits and not verdict.findings:
        with zipfile.ZipFile(path) as archive:
            second = second_verifier.Bundle(archive, [second_verifier.parse_key(str(key.verifier))])
            second.check(kept)
        assert second.findings == []
        assert (second.receipts, *second.signed.values()) == (
            verdict.receipts,
            verdict.attestations,
            verdict.access_reviews,
        )
        assert len(second.remarks) + len(second.restores) == len(verdict.remarks)
    elif not limits:
        with zipfile.ZipFile(path) as archive:
            second = second_verifier.Bundle(archive, [second_verifier.parse_key(str(key.verifier))])
            second.check(kept)
        assert second.findings
    return verdict


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(found: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in found.items():
            archive.writestr(name, data)
    return file.getvalue()


def signed_again(found: dict[str, bytes], key: SigningKey = SIGNING_KEY, **log: Any) -> dict[str, bytes]:
    """Return the members with a manifest that says what they are now, signed, which only the owner of the key can create."""
    manifest = json.loads(found[MANIFEST])
    manifest["log"] |= log
    rest = {name: data for name, data in found.items() if name not in {MANIFEST, NOTE}}
    manifest["members"] = [
        {"name": name, "size": len(data), "sha256": archives.sha256(data).hexdigest()} for name, data in rest.items()
    ]
    text = json.dumps(manifest).encode()
    return {**rest, MANIFEST: text, NOTE: sign_statement(FORMAT, text, key.signer).encode()}


async def lived(scene: Any) -> None:
    """Let a vault have some of everything."""
    await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy())
    await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy(description="more"))
    await scene.retain(description="again")
    await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold())
    await scene.vault.rules.legal_holds.release(scene.admin, "case-17")
    for number in range(30):
        await scene.store(f"e{number}", value=b"a-blob-that-nobody-sees")
    for number in range(28):
        await scene.purge(f"e{number}")
    await scene.vault.log.sequencer.sequence()
    scene.clock.advance(seconds=1)
    await scene.vault.compliance.attestations.attest(scene.admin)
    await scene.vault.compliance.access_reviews.review(scene.admin, ReviewRequest(statement="all is needed"))
    scene.clock.advance(seconds=1)
    await scene.vault.log.sequencer.sequence()


class TestWhatIsInIt:
    @pytest.fixture
    def scene(self, runner, signed) -> Any:
        async def made() -> Any:
            scene = await signed()
            await lived(scene)
            return scene

        return runner.run(made())

    async def test_it_is_checked_alone(self, scene, tmp_path) -> None:
        verdict = checked(await bundled(scene), tmp_path)
        assert (verdict.findings, verdict.remarks) == ([], [])
        assert (verdict.receipts, verdict.attestations, verdict.access_reviews) == (25, 1, 1)
        assert verdict.checkpoints >= 1

    async def test_report_and_rules_and_their_history(self, scene) -> None:
        found = members(await bundled(scene))
        report = json.loads(found["report.json"])
        again = await scene.vault.compliance.report.write(scene.admin, parse_time(report["as_of"]))
        assert report["retention_and_purge"] == again["retention_and_purge"]
        assert found["report.html"] == report_page(report)

        def lines(name: str) -> list[dict[str, Any]]:
            return [json.loads(line) for line in found[name].splitlines()]

        access = lines("policies/access-policies.ndjson")
        assert [each["version"] for each in access if each["name"] == "tellers"] == [2, 1]
        assert {each["name"] for each in access if each["built_in"]} >= {"owner-only", "admin-only"}
        assert [each["version"] for each in lines("policies/retention-policies.ndjson")] == [2, 1]
        assert [each["state"] for each in lines("policies/legal-holds.ndjson")] == ["released", "active"]
        (attestation,) = lines("attestations.ndjson")
        assert attestation["attestation"]["number"] == 1
        assert {each["name"] for each in json.loads(found["plugins.json"])} >= {"access-rules", "storage-sqlite"}
        assert json.loads(found["configuration.json"])["settings"]["audit"]["signing_key_env"] == "KEY"

    async def test_no_key_is_in_it(self, scene) -> None:
        for name, data in members(await bundled(scene)).items():
            assert SIGNING_KEY.reveal().encode() not in data, name
            assert b"a-blob-that-nobody-sees" not in data, name

    async def test_receipts_are_of_purges_that_nobody_chose(self, scene) -> None:
        found = members(await bundled(scene))
        root = TreeHead.parse(found["log/checkpoint"].decode().partition("\n\n")[0] + "\n").root
        names = choose([row.purge_id for row in await scene.purge_rows()], root, 25)
        assert {name for name in found if name.startswith("receipts/")} == {f"receipts/{name}.json" for name in names}
        for name in names:
            receipt = json.loads(found[f"receipts/{name}.json"])
            assert check_receipt(receipt, [SIGNING_KEY.verifier]).row["id"] == name
            assert receipt["not_reached"] == list(scene.storage.describe()["purge_does_not_reach"])

    async def test_every_member_has_the_same_time_and_mode(self, scene) -> None:
        with zipfile.ZipFile(io.BytesIO(await bundled(scene))) as archive:
            assert {(info.date_time, info.external_attr, info.create_system) for info in archive.infolist()} == {
                (archives.EPOCH, archives.MODE, 3)
            }

    async def test_the_same_bytes_for_the_same_wish_and_storage(self, scene) -> None:
        times = {"as_of": scene.clock.at, "since": T0, "until": scene.clock.at}
        assert await bundled(scene, **times) == await bundled(scene, **times)

    async def test_what_came_later_changes_nothing_in_the_log_of_a_period(self, scene) -> None:
        times = {"as_of": scene.clock.at, "since": T0, "until": scene.clock.at}
        before = members(await bundled(scene, **times))
        scene.clock.advance(hours=1)
        await scene.vault.rules.policies.save_access_policy(scene.admin, an_access_policy(description="later"))
        await scene.store("later")
        await scene.vault.log.sequencer.sequence()
        after = members(await bundled(scene, **times))
        stable = ("log/", "receipts/", "attestations", "policies/", "plugins", "configuration")
        for name in before.keys() | after.keys():
            if name.startswith(stable):
                assert before.get(name) == after.get(name), name

    async def test_it_leaves_its_row_before_its_first_byte(self, scene) -> None:
        pieces = await scene.vault.compliance.evidence.bundle(a_call("qsa", Role.AUDITOR), report_page)
        row = await scene.last_row()
        assert (row.operation, row.app) == (Operation.EXPORT_EVIDENCE, "qsa")
        assert row.detail.startswith("leaves 0 to ")
        await collected(pieces)
        assert await scene.last_row() == row

    @pytest.mark.parametrize("taken", [0, 1, 3, 8])
    async def test_a_client_that_disconnects_leaves_nothing_open(self, scene, taken) -> None:
        pieces = await scene.vault.compliance.evidence.bundle(scene.admin, report_page)
        for _ in range(taken):
            await anext(pieces)
        await pieces.aclose()
        await scene.store("afterwards")


class TestWho:
    async def test_only_admins_and_auditors(self, signed) -> None:
        scene = await signed()
        with pytest.raises(RoleRequired):
            await scene.vault.compliance.evidence.bundle(scene.owner, report_page)
        assert (await scene.last_row()).operation is Operation.EXPORT_EVIDENCE

    async def test_not_without_a_key_nor_before_anything_is_signed(self, scene, signed) -> None:
        with pytest.raises(NothingSigned):
            await scene.vault.compliance.evidence.bundle(scene.admin, report_page)
        with pytest.raises(NothingSigned):
            await bundled(await signed())

    @pytest.mark.parametrize(
        "times", [{"as_of": T0 + DAY}, {"until": T0 + HOUR}, {"since": T0 + HOUR, "until": T0}], ids=str
    )
    async def test_times_that_the_report_refuses_are_refused_once(self, signed, times) -> None:
        scene = await signed()
        await scene.vault.log.sequencer.sequence()
        before = len(await scene.access_rows())
        with pytest.raises(InvalidQuery):
            await bundled(scene, **times)
        assert len(await scene.access_rows()) == before + 1

    async def test_a_period_of_too_many_rows_is_refused(self, signed) -> None:
        scene = await signed(tuning=Tuning(evidence_max_log_members=2))
        await scene.vault.log.sequencer.sequence()
        scene.clock.advance(seconds=1)
        with pytest.raises(InvalidQuery):
            await bundled(scene)


async def filled(scene: Any, days: int, per_day: int) -> None:
    """Put rows into both logs, a day after the other, a little out of order, and sequence them in heaps."""
    chance = random.Random(7)
    for day in range(days):
        writes = []
        for number in range(per_day):
            at = T0 + DAY * (day + number / per_day) + timedelta(seconds=chance.randrange(60))
            purges = (a_purge_record(an_entry(f"d{day}-{number}"), purged_at=at),) if number % 20 == 0 else ()
            writes.append(Write((an_access_record(at=at),), purges=purges))
        await scene.storage.inner.commit(writes)
        if day % 3 == 2:
            await scene.vault.log.sequencer.sequence()
    await scene.go_to(T0 + DAY * days)
    await scene.vault.log.sequencer.sequence()


def time_of(leaf: bytes) -> Any:
    ((_, row),) = json.loads(leaf).items()
    return parse_time(row.get("at") or row["purged_at"])


class TestPeriod:
    @pytest.fixture
    def scene(self, runner, signed) -> Any:
        async def made() -> Any:
            scene = await signed()
            await filled(scene, 12, 200)
            return scene

        return runner.run(made())

    async def leaves(self, scene: Any) -> list[Any]:
        return list(await scene.storage.inner.leaf_rows(0, 100_000))

    @pytest.mark.parametrize(("first", "last"), [(0, 12), (3, 5), (0, 1), (11, 12), (5.25, 5.3), (2.9, 9.1)])
    async def test_every_row_of_the_period_is_in_it_and_no_tile_more_than_that_takes(
        self, scene, tmp_path, first, last
    ) -> None:
        since, until = T0 + DAY * first, T0 + DAY * last
        rows = await self.leaves(scene)

        def is_of_period(row: Any) -> bool:
            at = getattr(row.record, "at", None) or row.record.purged_at
            return since <= at < until

        wanted = [row.index for row in rows if is_of_period(row)]
        begin, end = await leaf_range(scene.storage, since, until, len(rows))
        assert (begin, end) == (min(wanted), max(wanted) + 1)
        data = await bundled(scene, since=since, until=until)
        verdict = checked(data, tmp_path)
        assert verdict.findings == []
        found = members(data)
        bundles = {name: read_bundle(found[name]) for name in found if name.startswith("log/tile/entries/")}
        in_file = [time_of(leaf) for leaves in bundles.values() for leaf in leaves]
        assert sum(since <= at < until for at in in_file) == len(wanted)
        assert len(bundles) == (end - 1) // 256 - begin // 256 + 1
        manifest = json.loads(found[MANIFEST])
        assert (manifest["log"]["first"], manifest["log"]["end"]) == (begin, end)
        assert manifest["period"] == {"since": format_time(since), "until": format_time(until)}

    async def test_it_is_under_the_first_checkpoint_that_covers_it(self, scene) -> None:
        found = members(await bundled(scene, since=T0, until=T0 + DAY))
        sizes = [each.size for each in await scene.storage.inner.checkpoints(0, 1000)]
        manifest = json.loads(found[MANIFEST])
        assert manifest["log"]["size"] == min(size for size in sizes if size >= manifest["log"]["end"])
        assert manifest["log"]["size"] < max(sizes)

    async def test_a_period_without_rows_has_the_head_alone(self, scene, tmp_path) -> None:
        data = await bundled(scene, since=T0 - DAY * 9, until=T0 - DAY * 8)
        assert checked(data, tmp_path).findings == []
        assert not [name for name in members(data) if name.startswith("log/tile/entries/")]

    async def test_no_piece_is_large(self, scene) -> None:
        pieces = [
            len(piece)
            async for piece in await scene.vault.compliance.evidence.bundle(scene.admin, report_page, since=T0)
        ]
        assert len(pieces) > 20
        assert max(pieces) < 100_000

    async def test_a_kept_checkpoint_that_a_confirmed_restore_gives_up_is_no_finding(self, scene, tmp_path) -> None:
        origin = SIGNING_KEY.verifier.name
        given_up, unnamed = (sign_checkpoint(TreeHead(origin, 0, bytes([n]) * 32), SIGNING_KEY.signer) for n in (1, 2))
        forged = sign_checkpoint(TreeHead(origin, 0, b"\x03" * 32), OTHER.signer)
        assert await scene.vault.log.restore.confirm(scene.admin, RestoreCount(), [given_up, forged])
        scene.clock.advance(seconds=1)
        await scene.vault.log.sequencer.sequence()
        data = await bundled(scene)
        verdict = checked(data, tmp_path, given_up)
        assert verdict.findings == []
        assert [each for each in verdict.remarks if "confirms a restored database" in each]
        for note in (unnamed, forged):
            assert len(checked(data, tmp_path, note).findings) == 1

    async def test_checkpoints_that_were_kept_are_held_against_it(self, scene, tmp_path) -> None:
        data = await bundled(scene, since=T0 + DAY * 5, until=T0 + DAY * 12)
        notes = [each.note for each in await scene.storage.inner.checkpoints(0, 1000)]
        verdict = checked(data, tmp_path, *notes)
        assert verdict.findings == []
        assert len([remark for remark in verdict.remarks if "was not verified" in remark]) >= 1
        size = json.loads(members(data)[MANIFEST])["log"]["size"]
        forged = sign_checkpoint(TreeHead(SIGNING_KEY.verifier.name, size, b"\x09" * 32), SIGNING_KEY.signer)
        (finding,) = checked(data, tmp_path, forged).findings
        assert "does not match these leaves" in finding


class TestChanged:
    """Every change of a bundle is detected; without the key no change is possible."""

    @pytest.fixture
    def data(self, runner, signed) -> bytes:
        async def made() -> bytes:
            scene = await signed()
            await lived(scene)
            return await bundled(scene)

        return bytes(runner.run(made()))

    def test_each_member_that_is_altered_or_missing_is_named(self, data, tmp_path) -> None:
        found = members(data)
        for name in [*found][::7]:
            if name in {MANIFEST, NOTE}:
                continue
            altered = checked(written({**found, name: found[name] + b" "}), tmp_path)
            assert any(finding.startswith(f"{name}:") for finding in altered.findings), name
            swapped = checked(written({**found, name: found[name][:-1] + b"\x00"}), tmp_path)
            assert swapped.findings == [f"{name}: differs from the signed content"]
            assert swapped.remarks == [
                "the log, the receipts and the attestations were not verified, because members are not as the manifest says"
            ]
            missing = checked(written({each: text for each, text in found.items() if each != name}), tmp_path)
            assert missing.findings == [f"{name}: listed in the manifest, missing from the file"]

    def test_a_member_that_was_added_is_named(self, data, tmp_path) -> None:
        verdict = checked(written({**members(data), "report2.html": b"<p>all is well</p>"}), tmp_path)
        assert verdict.findings == ["report2.html: missing from the manifest"]

    def test_a_member_that_stands_in_it_twice_is_named(self, data, tmp_path) -> None:
        file = io.BytesIO(data)
        with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("report.json", members(data)["report.json"])
        assert "report.json: listed more than once in the file" in checked(file.getvalue(), tmp_path).findings

    @pytest.mark.parametrize("name", [MANIFEST, NOTE])
    def test_a_manifest_that_is_altered_missing_or_of_another_key_is_no_manifest(self, data, tmp_path, name) -> None:
        found = members(data)
        for changed in (found[name] + b"\n", b"", b"\xff", found[name].replace(b"1", b"2", 1)):
            (finding,) = checked(written({**found, name: changed}), tmp_path).findings
            assert finding.startswith("the manifest is not signed by a trusted key")
        (finding,) = checked(data, tmp_path, key=OTHER).findings
        assert finding.startswith("the manifest is not signed by a trusted key")
        del found[name]
        assert checked(written(found), tmp_path).findings == [f"{name}: expected such a member, found none"]

    def test_a_signature_of_another_key_is_rejected(self, data, tmp_path) -> None:
        found = members(data)
        forged = signed_again({**found, "report.json": b"{}"}, OTHER)
        assert checked(written(forged), tmp_path).findings != []

    def test_nothing_is_unpacked_before_the_manifest_is_found_to_be_signed(self, data, tmp_path, monkeypatch) -> None:
        opened: list[str] = []
        pieces = archives.Archive.pieces

        def watched(self: Any, name: str, limit: int) -> Any:
            opened.append(name)
            return pieces(self, name, limit)

        monkeypatch.setattr(archives.Archive, "pieces", watched)
        checked(data, tmp_path, key=OTHER)
        assert set(opened) == {MANIFEST, NOTE}

    @pytest.mark.parametrize(
        "break_it",
        [
            lambda found: found.__setitem__("log/checkpoint", b"nothing"),
            lambda found: found.__setitem__("log/tile/entries/000.p/99", b"\x00\x01x"),
            lambda found: found.pop(next(name for name in found if name.startswith("log/tile/entries/"))),
            lambda found: found.pop(next(name for name in found if name.startswith("log/tile/0/"))),
            lambda found: found.__setitem__(
                next(name for name in found if name.startswith("receipts/")), b'{"format":"vsqlvault-receipt-v1"}'
            ),
            lambda found: found.__setitem__("receipts/" + "0" * 32 + ".json", b"[]"),
            lambda found: found.__setitem__("attestations.ndjson", b"{\n"),
            lambda found: found.__setitem__(
                "log/checkpoints/00000000000000000001",
                sign_checkpoint(TreeHead(SIGNING_KEY.verifier.name, 1, b"\x01" * 32), SIGNING_KEY.signer).encode(),
            ),
            lambda found: found.__setitem__(
                "log/checkpoint",
                sign_checkpoint(TreeHead(SIGNING_KEY.verifier.name, 5, b"\x01" * 32), SIGNING_KEY.signer).encode(),
            ),
        ],
    )
    def test_who_has_the_key_and_signs_a_lie_is_found_by_the_log(
        self, data, tmp_path, break_it: Callable[..., Any]
    ) -> None:
        found = members(data)
        before = dict(found)
        break_it(found)
        verdict = checked(written(signed_again(found)), tmp_path)
        if found.keys() - before.keys() == {"log/tile/entries/000.p/99"}:
            assert verdict.findings == []  # a bundle that nobody asks for
        else:
            assert verdict.findings != []

    def test_a_row_that_is_changed_by_who_has_the_key_is_named(self, data, tmp_path) -> None:
        found = members(data)
        name = next(name for name in found if name.startswith("log/tile/entries/"))
        found[name] = found[name].replace(b'"app":"payments"', b'"app":"paymentz"', 1)
        (finding,) = checked(written(signed_again(found)), tmp_path).findings
        assert finding.startswith("log, index ")
        assert "does not match its hash in the tile" in finding

    @pytest.mark.parametrize(
        "manifest", [b"[]", b"{}", b'{"format":"vsqlvault-evidence-v1"}', b"[" * 100_000, b"\x00", b"9" * 5000]
    )
    def test_a_signed_manifest_of_another_shape_is_a_sentence(self, data, tmp_path, manifest) -> None:
        note = sign_statement(FORMAT, manifest, SIGNING_KEY.signer).encode()
        (finding,) = checked(written({**members(data), MANIFEST: manifest, NOTE: note}), tmp_path).findings
        assert finding == f"the manifest is signed, but does not have the format {FORMAT}"

    def test_an_attestation_of_an_older_key_is_a_remark(self, data, tmp_path) -> None:
        found = members(data)
        shown = json.loads(found["attestations.ndjson"])
        text = json.dumps(shown["attestation"], sort_keys=True, separators=(",", ":")).encode()
        shown["note"] = sign_statement("vsqlvault-attestation-v1", text, OTHER.signer)
        found["attestations.ndjson"] = json.dumps(shown).encode()
        verdict = checked(written(signed_again(found)), tmp_path)
        assert (verdict.findings, verdict.attestations) == ([], 0)
        assert "covered by the manifest's signature only" in verdict.remarks[0]

    @pytest.mark.parametrize(
        "break_it",
        [
            lambda shown: shown["attestation"].__setitem__("result", "no problem"),
            lambda shown: shown.__setitem__("note", shown["note"].replace("sha256:", "sha256:0", 1)),
            lambda shown: shown.__setitem__("note", "no note"),
            lambda shown: shown.__setitem__("sha256", "0" * 64),
            lambda shown: shown["attestation"].__setitem__("format", "other"),
        ],
        ids=["another document", "another text", "malformed", "another digest", "another format"],
    )
    def test_an_attestation_that_does_not_verify_is_a_finding(
        self, data, tmp_path, break_it: Callable[..., Any]
    ) -> None:
        found = members(data)
        shown = json.loads(found["attestations.ndjson"])
        break_it(shown)
        found["attestations.ndjson"] = json.dumps(shown).encode()
        (finding,) = checked(written(signed_again(found)), tmp_path).findings
        assert finding.startswith("attestations.ndjson, line 1: ")


class TestHostile:
    """Files that are made to make the reader large, or to fall over."""

    def test_a_manifest_that_unpacks_to_too_much_is_not_unpacked(self, tmp_path) -> None:
        data = written({MANIFEST: b" " * 10_000_000, NOTE: b""})
        (finding,) = checked(data, tmp_path, max_manifest_bytes=1_000).findings
        assert finding == "manifest.json: expected at most 1000 bytes"

    def test_a_directory_that_is_too_large_is_not_read(self, tmp_path) -> None:
        data = written({f"{number}": b"" for number in range(5_000)})
        with pytest.raises(ArchiveUnreadable, match="a directory of more than"):
            checked(data, tmp_path, max_directory_bytes=100_000)

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_ways_of_packing_are_refused(self, tmp_path, method) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr(MANIFEST, b"{}")
            archive.writestr(NOTE, b"")
        (finding,) = checked(file.getvalue(), tmp_path).findings
        assert "stored or deflated" in finding

    def test_encrypted_members_are_refused(self, tmp_path) -> None:
        data = bytearray(written({MANIFEST: b"{}", NOTE: b""}))
        for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            place = data.find(mark) + offset
            data[place : place + 2] = struct.pack("<H", 1)
        (finding,) = checked(bytes(data), tmp_path).findings
        assert "not encrypted" in finding

    async def test_whatever_byte_is_flipped_it_is_a_verdict_and_never_good(self, signed, tmp_path) -> None:
        scene = await signed()
        await scene.store("a")
        await scene.vault.log.sequencer.sequence()
        data = await bundled(scene)
        chance = random.Random(3)
        assert checked(data, tmp_path).findings == []
        unharmed = 0
        for _ in range(150):
            place = chance.randrange(len(data))
            flipped = data[:place] + bytes([data[place] ^ (1 << chance.randrange(8))]) + data[place + 1 :]
            try:
                verdict = checked(flipped, tmp_path)
            except ArchiveUnreadable:
                continue
            unharmed += not verdict.findings
            if not verdict.findings:
                assert members(flipped) == members(data), place
        assert unharmed < 75

    @pytest.mark.parametrize("cut", [0, 1, 100, 0.5, 0.99])
    async def test_a_file_that_was_cut_off_is_none(self, signed, tmp_path, cut) -> None:
        scene = await signed()
        await scene.vault.log.sequencer.sequence()
        data = await bundled(scene)
        with pytest.raises(ArchiveUnreadable):
            checked(data[: int(len(data) * cut) if isinstance(cut, float) else cut], tmp_path)

    def test_what_is_no_zip_file_is_no_evidence(self, tmp_path) -> None:
        path = tmp_path / "x"
        for data in (b"", b"PK", b"{}", b"PK\x05\x06" + b"\xff" * 18):
            path.write_bytes(data)
            assert not is_evidence(path)
        assert not is_evidence(tmp_path / "nowhere")
        path.write_bytes(written({"manifest.json": b"{}"}))
        assert not is_evidence(path)


def test_the_verdict_tells_no_more_findings_than_it_has_room_for() -> None:
    verdict = EvidenceCheckResult()
    for number in range(evidence_check.MAX_FINDINGS + 5):
        verdict.find(str(number))
    assert len(verdict.findings) == evidence_check.MAX_FINDINGS
