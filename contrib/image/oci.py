"""An OCI image layout as one archive. Names are sorted, and times and owners are fixed, so that it is reproducible."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from root_tree import DATA, PYTHON, UID

CREATED = "1970-01-01T00:00:00Z"
CONFIG = {
    "User": f"{UID}:{UID}",
    "Env": ["PATH=/usr/bin", "LANG=C.UTF-8", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
    "Entrypoint": [f"/{PYTHON}", "-I", "-B", "-m", "vsqlvault"],
    "Cmd": ["serve"],
    "WorkingDir": f"/{DATA}",
    "Volumes": {f"/{DATA}": {}},
    "ExposedPorts": {"8443/tcp": {}},
    "StopSignal": "SIGTERM",
}


def write_archive(path: Path, root: Path) -> None:
    """Write the image with the files below ``root``."""
    layer = _tar(root)
    packed = gzip.compress(layer, compresslevel=6, mtime=0)
    config = canonical(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": CONFIG,
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    )
    reference = {"annotations": {"org.opencontainers.image.ref.name": "latest"}}
    descriptor = _descriptor("application/vnd.oci.image.manifest.v1+json", manifest)
    index = {"schemaVersion": 2, "manifests": [{**descriptor, **reference}]}
    files = {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in (packed, config, manifest)}
    files |= {"index.json": canonical(index), "oci-layout": canonical({"imageLayoutVersion": "1.0.0"})}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and a line end."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _tar(root: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            member = archive.gettarinfo(path, name)
            member.mtime, member.uname, member.gname = 0, "", ""
            member.uid = member.gid = UID if name == DATA else 0
            if member.isdir():
                member.mode = 0o700 if name == DATA else 0o755
            if member.isfile():
                with path.open("rb") as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    return buffer.getvalue()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}
