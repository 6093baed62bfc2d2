"""What a sandboxed vault must access: Python, the files of system libraries, its own files, and its ports."""

from __future__ import annotations

import os
import ssl
import sys
import sysconfig
import zoneinfo
from collections.abc import Iterable, Iterator
from pathlib import Path

from vsqlvault.config import HardeningSettings, Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.sandbox.landlock import Reach

DNS_PORT = 53
_LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_NAMES = (
    "/etc/gai.conf", "/etc/host.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/protocols", "/etc/resolv.conf",
    "/etc/services", "/run/systemd/resolve", "/run/NetworkManager", "/run/resolvconf", "/run/nscd",
)  # fmt: skip
_AUTHORITIES = (
    "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies", "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
)  # fmt: skip
_TIMES = ("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo")
_DEVICES = ("/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
_SHARED = frozenset(
    Path("/", name)
    for name in (
        "", "bin", "boot", "dev", "etc", "home", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys", "tmp",
        "usr", "usr/local", "var", "var/lib", "var/run", "var/tmp",
    )
)  # fmt: skip
"""Directories shared by several programs. None of them is allowed for the sake of one file."""


@dataclass(frozen=True, slots=True)
class RequestedAccess:
    """The paths and TCP ports in settings and plugins; None: any port."""

    readable: frozenset[str]
    writable: frozenset[str]
    connect_ports: frozenset[int] | None


def requested_access(settings: Settings, needs: Iterable[ProcessNeeds], config: Path | None = None) -> RequestedAccess:
    """Return what a vault accesses with these settings from the file ``config``, and with plugins of these needs."""
    needs = list(needs)
    readable = [path for need in needs for path in need.readable]
    readable += _files_of(settings)
    if config is not None:
        readable.append(str(config))
    return RequestedAccess(
        readable=frozenset(readable),
        writable=frozenset(path for need in needs for path in need.writable),
        connect_ports=_connect_ports(needs, settings.hardening),
    )


def reach_of(settings: Settings, asked: RequestedAccess) -> Reach:
    """Return what stays accessible: what is requested, what the settings list, and what Python and system libraries
    need.

    Raises:
        SettingsInvalid: a path listed under ``[hardening]`` does not exist.
    """
    readable = {*_python(), *_system(), *_listed("readable_paths", settings.hardening.readable_paths)}
    for file in asked.readable:
        readable |= set(replaceable(file))
    writable = {Path(path).resolve() for path in asked.writable}
    writable |= {Path("/dev/null"), *_listed("writable_paths", settings.hardening.writable_paths)}
    return Reach(
        readable=_existing(readable),
        writable=_existing(writable),
        connect_ports=asked.connect_ports,
        bind_ports=frozenset({int(settings.server.listen_addr.rpartition(":")[2])}),
    )


def beyond(reach: Reach, before: RequestedAccess, now: RequestedAccess) -> str | None:
    """Return the first newly requested item that is not accessible, or None if there is none."""
    for path in sorted(now.readable - before.readable):
        if not all(_covers(reach.readable | reach.writable, place) for place in replaceable(path)):
            return path
    for path in sorted(now.writable - before.writable):
        if not _covers(reach.writable, Path(path).resolve()):
            return path
    if reach.connect_ports is None:
        return None
    if now.connect_ports is None:
        return "any port"
    closed = now.connect_ports - reach.connect_ports
    return f"port {min(closed)}" if closed else None


def _covers(paths: frozenset[Path], path: Path) -> bool:
    return not path.exists() or not paths.isdisjoint((path, *path.parents))


def replaceable(path: str) -> Iterator[Path]:
    """Yield what to allow so that a replaced file stays readable: its directory, and those of each symbolic link to it.

    A shared directory is not allowed, only the file itself. A replacement of that file then needs a restart. A path of
    a directory is yielded unchanged.
    """
    current = Path(path).absolute()
    for _ in range(40):  # the number of links that Linux follows
        if current.is_dir():
            yield current.resolve()
            return
        directory = current.parent.resolve()
        yield current if _is_shared(directory) else directory
        if not current.is_symlink():
            return
        current = directory / current.readlink()


def _files_of(settings: Settings) -> list[str]:
    tls, forwarded, audit = settings.server.tls, settings.server.forwarded_certificates, settings.audit
    files = [audit.signing_key_file, audit.previous_signing_key_file]
    if settings.default_signing_key_file.exists():
        files.append(str(settings.default_signing_key_file))
    if forwarded is not None:
        files += [forwarded.ca_file, forwarded.crl_file]
    if tls is not None:
        files += [tls.cert_file, tls.key_file, tls.client_ca_file, tls.crl_file]
    if (forwarded := settings.server.forwarded_certificates) is not None:
        files += [forwarded.ca_file, forwarded.crl_file]
    return [path for path in files if path]


def _connect_ports(needs: Iterable[ProcessNeeds], settings: HardeningSettings) -> frozenset[int] | None:
    ports = {DNS_PORT, *settings.connect_ports}
    for need in needs:
        if need.connect_ports is None:
            return None
        ports |= set(need.connect_ports)
    return frozenset(ports)


def _listed(name: str, paths: Iterable[str]) -> Iterator[Path]:
    for path in paths:
        try:
            yield Path(path).resolve(strict=True)
        except OSError as error:
            raise SettingsInvalid(
                f"hardening.{name}: expected paths that exist, found {path!r}: {error.strerror}"
            ) from None


def _python() -> Iterator[Path]:
    """Yield the directories of modules: of loaded ones, and of those that may still be imported."""
    here = Path.cwd()
    installed = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    for path in (*sys.path, *installed, str(Path(sys.base_prefix, "lib"))):
        found = Path(path).resolve()
        if path and found != here and not _is_shared(found):
            yield found
    for name, module in list(sys.modules.items()):
        if file := getattr(module, "__file__", None) if "." not in name else None:
            found = Path(file).resolve()
            yield found.parent if found.stem == "__init__" else found


def _system() -> Iterator[Path]:
    """Yield what system libraries read: shared objects, host names, certificate authorities, time zones.

    ``/etc`` is included as a whole if file permissions apply to this user, because files such as ``resolv.conf`` are
    replaced while a server runs. File permissions do not apply to root, for whom only these few files are included.
    """
    for path in (*_LIBRARIES, *_NAMES, *_AUTHORITIES, *_TIMES, *_DEVICES, *zoneinfo.TZPATH):
        yield Path(path)
        yield Path(path).resolve()
    authorities = ssl.get_default_verify_paths()
    for authority in (authorities.cafile, authorities.capath):
        if authority:
            yield Path(authority).resolve()
    if os.geteuid() != 0:
        yield Path("/etc")


def _is_shared(directory: Path) -> bool:
    try:
        return directory in _SHARED or directory == Path.home()
    except RuntimeError:  # this user has no home directory
        return False


def _existing(paths: set[Path]) -> frozenset[Path]:
    """Return the existing paths, without those below another one."""
    return frozenset(path for path in paths if path.exists() and paths.isdisjoint(path.parents))
