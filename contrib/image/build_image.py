"""Build an OCI archive of the vault, and its bill of materials, without a container engine.

The packages come from Debian and PyPI through apt-get and pip. ``packages.json`` fixes their versions and digests, so that
two builds of the same source are byte for byte equal.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import oci
import root_tree
import sbom

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
LOCK = HERE / "packages.json"
PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")
DEBIAN = (
    "ca-certificates", "libbz2-1.0", "libc6", "libexpat1", "libffi8", "libgcc-s1", "liblzma5", "libpython3.11-minimal",
    "libpython3.11-stdlib", "libsqlite3-0", "libssl3", "libuuid1", "python3.11-minimal", "zlib1g",
)  # fmt: skip


def main() -> int:
    """Run the command."""
    options = _parser().parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    try:
        if options.command == "lock":
            write_lock(options.lock, options.cache)
        else:
            build(options)
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"{' '.join(map(str, error.cmd[:4]))} … failed: {(error.stderr or '').strip()}\n")
        return 1
    except BuildRefused as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


class BuildRefused(Exception):
    """A package is missing or differs from packages.json."""


def build(options: argparse.Namespace) -> None:
    """Write vsqlvault.oci.tar and vsqlvault.cdx.json, or with ``--tree`` only the files of the image."""
    lock = json.loads(options.lock.read_text("utf-8"))
    packages = [fetched(options.cache, each) for each in (*lock["debian"], *lock["python"])]
    with tempfile.TemporaryDirectory() as directory:
        wheel = options.wheel or project_wheel(Path(directory))
        root = options.tree or Path(directory) / "root"
        root_tree.make(root, packages, wheel)
        if options.tree:
            return
        options.out.mkdir(parents=True, exist_ok=True)
        document = sbom.document(lock, wheel)
        (options.out / "vsqlvault.cdx.json").write_bytes(oci.canonical(document))
        oci.write_archive(options.out / "vsqlvault.oci.tar", root)
    size = (options.out / "vsqlvault.oci.tar").stat().st_size
    sys.stdout.write(f"{options.out}/vsqlvault.oci.tar: {size / 1e6:.1f} MB\n")


def fetched(cache: Path, package: dict[str, str]) -> Path:
    """Return the file of a package, downloaded if it is not in the cache. Raises BuildRefused: it is another file."""
    path = cache / package["file"]
    if not path.exists():
        if package["file"].endswith(".deb"):
            _run(["apt-get", "-q", "download", f"{package['name']}={package['version']}"], cache)
        else:
            _pip_download(cache, "--no-deps", f"{package['name']}=={package['version']}")
    if not path.exists():
        raise BuildRefused(f"{package['file']}: not found. Run `build_image.py lock` to take current versions.")
    if digest(path) != package["sha256"]:
        raise BuildRefused(f"{package['file']}: expected the digest in packages.json, found another one")
    return path


def write_lock(lock: Path, cache: Path) -> None:
    """Write the newest versions that apt-get and pip offer."""
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        fresh = Path(directory)
        _run(["apt-get", "-q", "download", *DEBIAN], fresh)
        wheel = project_wheel(fresh / "project")
        _pip_download(fresh, str(wheel))
        found: dict[str, list[dict[str, str]]] = {"debian": [], "python": []}
        for path in sorted(fresh.glob("*.deb")) + sorted(fresh.glob("*.whl")):
            if path.name == wheel.name:
                continue
            name, version = root_tree.name_and_version(path)
            kind = "debian" if path.suffix == ".deb" else "python"
            found[kind].append({"name": name, "version": version, "file": path.name, "sha256": digest(path)})
            shutil.move(path, cache / path.name)
    lock.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


def project_wheel(directory: Path) -> Path:
    """Return the wheel of this project, made in the directory."""
    directory.mkdir(exist_ok=True)
    _run(
        [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "--wheel-dir", str(directory), str(PROJECT)], PROJECT
    )
    return next(directory.glob("vsqlvault-*.whl"))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pip_download(directory: Path, *what: str) -> None:
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    target = ["--only-binary=:all:", "--python-version=3.11", "--implementation=cp", *platforms]
    _run([sys.executable, "-m", "pip", "-q", "download", "--dest", str(directory), *target, *what], directory)


def _run(command: list[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", nargs="?", choices=["build", "lock"], default="build")
    parser.add_argument("--out", type=Path, default=PROJECT / "dist", help="directory of the archive")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "vsqlvault-image", help="downloads")
    parser.add_argument("--lock", type=Path, default=LOCK, help="versions and digests of the packages")
    parser.add_argument("--wheel", type=Path, help="a wheel of the project, instead of one made from the source")
    parser.add_argument("--tree", type=Path, help="write the files of the image there, and no archive")
    return parser


if __name__ == "__main__":
    sys.exit(main())
