"""The files of the image: the interpreter, its libraries, the vault, and nothing that runs other programs."""

from __future__ import annotations

import io
import lzma
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from email import message_from_bytes, message_from_string
from pathlib import Path, PurePosixPath

LIBRARIES = "usr/lib/x86_64-linux-gnu"
LOADER = f"{LIBRARIES}/ld-linux-x86-64.so.2"
PYTHON = "usr/bin/python3.11"
SITE = "usr/lib/python3/dist-packages"
DATA = "var/lib/vsqlvault"
UID = 65532
CERTIFICATES = "usr/share/ca-certificates/mozilla/"
_WANTED = re.compile(rf"{PYTHON}|usr/lib/python3\.11/.*|{LIBRARIES}/[^/]+\.so[^/]*|{LIBRARIES}/engines-3/.*")
_UNWANTED = re.compile(
    r"usr/lib/python3\.11/(ensurepip|idlelib|lib2to3|pydoc_data|tkinter|turtledemo|distutils|test|sitecustomize\.py|EXTERNALLY)"
    r"|.*/__pycache__/|.*/lib-dynload/(_crypt|nis|_dbm|_curses|_curses_panel|readline|_tkinter)\..*|.*\.(pyx|pxd|pxi|pyi|c|h)$"
)
LINKS = {"lib": "usr/lib", "lib64": LIBRARIES}
TEXTS = {
    "etc/passwd": f"root:x:0:0:root:/:/nonexistent\nvsqlvault:x:{UID}:{UID}::/{DATA}:/nonexistent\n",
    "etc/group": f"root:x:0:\nvsqlvault:x:{UID}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}


def make(root: Path, packages: Iterable[Path], wheel: Path) -> None:
    """Write the files. Their modes are those of the image; owners and times are set by the archive."""
    root.mkdir(parents=True)
    certificates: list[bytes] = []
    for package in packages:
        if package.suffix == ".deb":
            certificates += _unpack_deb(root, package)
        else:
            _unpack_wheel(root, package)
    _unpack_wheel(root, wheel)
    for name, text in TEXTS.items():
        _write(root / name, text.encode())
    _write(root / "etc/ssl/certs/ca-certificates.crt", b"".join(certificates))
    _write(root / "usr/lib/ssl/cert.pem", b"".join(certificates))
    for name, target in LINKS.items():
        (root / name).symlink_to(target)
    for name in (DATA, "proc", "dev", "sys"):
        (root / name).mkdir(parents=True)
    _compile(root)


def name_and_version(package: Path) -> tuple[str, str]:
    """Return them from the file of a package."""
    if package.suffix == ".deb":
        fields = message_from_string(_control(package))
        return fields["Package"], fields["Version"]
    with zipfile.ZipFile(package) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(archive.read(name))
    return metadata["Name"], metadata["Version"]


def _unpack_deb(root: Path, package: Path) -> list[bytes]:
    """Write the wanted files of a Debian package, and return the certificates in it."""
    certificates = []
    with tarfile.open(fileobj=io.BytesIO(_member(package, "data.tar"))) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            name = _merged(str(PurePosixPath(member.name)))
            if name.startswith(CERTIFICATES) and member.isfile():
                certificates.append(_content(archive, member).strip() + b"\n")
            if not _WANTED.fullmatch(name) or _UNWANTED.match(name) or member.isdir():
                continue
            if member.issym():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).symlink_to(PurePosixPath(member.linkname).name)
            else:
                _write(root / name, _content(archive, member))
    _write(root / "var/lib/dpkg/status.d" / name_and_version(package)[0], _control(package).encode())
    return certificates


def _unpack_wheel(root: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            parts = PurePosixPath(name).parts
            if name.endswith("/") or parts[0].endswith(".data") or _UNWANTED.match(name) or "tests" in parts[1:2]:
                continue
            _write(root / SITE / name, archive.read(name))


def _compile(root: Path) -> None:
    """Compile every module with the interpreter of the image, so that the root can be read-only."""
    for name in (PYTHON, LOADER):
        (root / name).chmod(0o755)
    interpreter = [str(root / LOADER), "--library-path", str(root / LIBRARIES), str(root / PYTHON), "-S", "-B"]
    compiling = ["-m", "compileall", "-q", "-s", str(root), "-p", "/", "--invalidation-mode", "unchecked-hash"]
    subprocess.run(  # noqa: S603
        [*interpreter, *compiling, str(root / "usr/lib/python3.11"), str(root / SITE)],
        env={"PYTHONHOME": str(root / "usr"), "PYTHONHASHSEED": "0", "PATH": os.defpath},
        check=True,
        text=True,
        stderr=subprocess.PIPE,
    )


def _merged(name: str) -> str:
    """Return the path below /usr: Debian's /lib is a link to /usr/lib."""
    return f"usr/{name}" if name.startswith("lib") else name


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""


def _control(package: Path) -> str:
    with tarfile.open(fileobj=io.BytesIO(_member(package, "control.tar"))) as archive:
        return _content(archive, archive.getmember("./control")).decode()


def _member(package: Path, start: str) -> bytes:
    """Return a member of a Debian package, which is an ar archive, uncompressed."""
    content = package.read_bytes()
    place = 8
    while place < len(content):
        head = content[place : place + 60]
        size = int(head[48:58])
        if head[:16].decode().startswith(start):
            return lzma.decompress(content[place + 60 : place + 60 + size])
        place += 60 + size + size % 2
    raise ValueError(f"{package.name}: no {start}")
