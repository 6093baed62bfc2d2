"""The container image: reproducible, without a shell, and of the packages that the project needs.

Building it takes 30 seconds of processor time and the package indexes, so those tests run only if VSQLVAULT_IMAGE is set.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tomllib
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from tests.support.server import eventually

PROJECT = Path(__file__).parents[2]
IMAGE = PROJECT / "contrib" / "image"
LOCK = json.loads((IMAGE / "packages.json").read_text("utf-8"))
KEY = "a-key-of-the-image-test"
IN_ROOT = (
    'r=$1; shift; mount --bind "$r" "$r" && mount -o remount,bind,ro "$r" && mount --bind "$r-data" "$r/var/lib/vsqlvault"'
    ' && cd / && exec chroot --userspec=65532:65532 "$r" "$@"'
)
PYTHON = ("/usr/bin/python3.11", "-I", "-B")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def written(directory: Path, *names: str) -> bytes:
    root = directory / "root"
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    code = "import sys, pathlib, oci; oci.write_archive(*map(pathlib.Path, sys.argv[1:]))"
    subprocess.run([sys.executable, "-c", code, directory / "a.tar", root], cwd=IMAGE, check=True, timeout=60)
    return (directory / "a.tar").read_bytes()


def test_an_archive_does_not_depend_on_times_and_the_order_of_files(tmp_path: Path) -> None:
    first = written(tmp_path / "1", "var/lib/vsqlvault/a", "usr/b", "usr/a")
    os.utime(tmp_path / "1" / "root" / "usr" / "a", (1, 1))
    assert written(tmp_path / "2", "usr/a", "usr/b", "var/lib/vsqlvault/a") == first
    assert written(tmp_path / "3", "usr/a", "usr/c", "var/lib/vsqlvault/a") != first


def test_every_dependency_of_the_project_is_among_the_packages() -> None:
    needed = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    names = {normal(re.split(r"[^A-Za-z0-9_.-]", text)[0].rstrip(">=<~!")) for text in needed}
    assert names <= {normal(each["name"]) for each in LOCK["python"]}


def test_the_dockerfile_has_the_settings_of_the_archive(tmp_path: Path) -> None:
    written(tmp_path, "a")
    config = contents(tmp_path / "a.tar")[0]["config"]
    text = (IMAGE / "Dockerfile").read_text("utf-8").partition("FROM scratch")[2]
    found = dict(line.split(" ", 1) for line in text.splitlines() if line and not line.startswith(" "))
    assert json.loads(found["ENTRYPOINT"]) == config["Entrypoint"]
    assert json.loads(found["CMD"]) == config["Cmd"]
    assert found["ENV"].split() == config["Env"]
    assert (found["USER"], found["WORKDIR"], found["STOPSIGNAL"]) == (
        config["User"],
        config["WorkingDir"],
        config["StopSignal"],
    )
    assert ({*json.loads(found["VOLUME"])}, {found["EXPOSE"]}) == ({*config["Volumes"]}, {*config["ExposedPorts"]})


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    hadolint = shutil.which("hadolint")
    if not hadolint:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, IMAGE / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_bill_of_materials_has_the_schema_of_cyclonedx(tmp_path: Path) -> None:
    wheel = tmp_path / "vsqlvault-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("vsqlvault-0.1.0.dist-info/METADATA", "Name: vsqlvault\nVersion: 0.1.0\n")
    code = "import json, sys, pathlib, sbom\nlock = json.load(open('packages.json'))\n"
    code += "print(json.dumps(sbom.document(lock, pathlib.Path(sys.argv[1]))))"
    command = [sys.executable, "-B", "-c", code, wheel]
    written = subprocess.run(command, cwd=IMAGE, capture_output=True, text=True, check=True, timeout=60).stdout
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None
    broken = json.dumps({**json.loads(written), "components": [{"name": "without a type"}]})
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


@pytest.mark.skipif(
    "VSQLVAULT_AUDIT" not in os.environ, reason="VSQLVAULT_AUDIT is not set: it needs PyPI's JSON interface"
)
def test_no_package_has_known_vulnerabilities(tmp_path: Path) -> None:
    lines = [f"{each['name']}=={each['version']} --hash=sha256:{each['sha256']}\n" for each in LOCK["python"]]
    (tmp_path / "requirements.txt").write_text("".join(lines))
    command = ["pip-audit", "--strict", "--no-deps", "--disable-pip", "--requirement", tmp_path / "requirements.txt"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def contents(archive: Path, root: Path | None = None) -> tuple[Any, Any]:
    """Return config and manifest of an archive whose digests are right, and unpack its layers below ``root``."""
    with tarfile.open(archive) as layout:

        def blob(descriptor: Any) -> bytes:
            file = layout.extractfile("blobs/sha256/" + descriptor["digest"].removeprefix("sha256:"))
            assert file is not None
            content = file.read()
            assert (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content)) == (
                descriptor["digest"],
                descriptor["size"],
            )
            return content

        index = layout.extractfile("index.json")
        assert index is not None
        manifest = json.loads(blob(json.loads(index.read())["manifests"][0]))
        config = json.loads(blob(manifest["config"]))
        for layer in manifest["layers"]:
            packed = blob(layer)
            if root is not None:
                root.mkdir()
                subprocess.run(["tar", "-xzpf", "-", "-C", root], input=packed, check=True, timeout=120)
    return config, manifest


needs_packages = pytest.mark.skipif("VSQLVAULT_IMAGE" not in os.environ, reason="VSQLVAULT_IMAGE is not set")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two directories, each with an archive and a bill of materials of the same wheel."""
    directory = tmp_path_factory.mktemp("image")
    command = [
        sys.executable,
        "-m",
        "pip",
        "-q",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        directory,
        PROJECT,
    ]
    subprocess.run(command, check=True, timeout=300)
    wheel = next(directory.glob("*.whl"))
    for name in ("first", "second"):
        build = [sys.executable, IMAGE / "build_image.py", "--wheel", wheel, "--out", directory / name]
        subprocess.run(build, check=True, timeout=600)
    return directory / "first", directory / "second"


@pytest.fixture(scope="module")
def root(built: tuple[Path, Path]) -> Path:
    found = built[0] / "root"
    contents(built[0] / "vsqlvault.oci.tar", found)
    data = Path(f"{found}-data")
    data.mkdir(mode=0o700)
    os.chown(data, 65532, 65532)
    for above in list(found.parents)[:4]:
        above.chmod(0o711)
    return found


def in_root(root: Path, *command: str) -> list[str]:
    return ["unshare", "--mount", "--fork", "--kill-child", "sh", "-c", IN_ROOT, "sh", str(root), *command]


def run(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(in_root(root, *command), capture_output=True, text=True, timeout=60, check=False)


@needs_packages
class TestImage:
    @pytest.mark.parametrize("name", ["vsqlvault.oci.tar", "vsqlvault.cdx.json"])
    def test_two_builds_are_equal(self, built: tuple[Path, Path], name: str) -> None:
        assert (built[0] / name).read_bytes() == (built[1] / name).read_bytes()

    def test_it_has_at_most_60_megabytes(self, built: tuple[Path, Path]) -> None:
        assert (built[0] / "vsqlvault.oci.tar").stat().st_size <= 60_000_000

    def test_the_bill_of_materials_names_every_package(self, built: tuple[Path, Path]) -> None:
        document = json.loads((built[0] / "vsqlvault.cdx.json").read_text("utf-8"))
        names = {each["name"] for each in (*LOCK["debian"], *LOCK["python"])} | {"vsqlvault"}
        assert {each["name"] for each in document["components"]} == names

    def test_one_executable_and_the_loader_of_libraries(self, root: Path) -> None:
        found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
        executable = {name for name in found if (root / name).stat().st_mode & 0o111}
        assert executable == {"usr/bin/python3.11", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"}

    def test_there_is_no_shell(self, root: Path) -> None:
        assert run(root, "/bin/sh", "-c", "exit 0").returncode == 127

    def test_only_the_data_volume_is_writable(self, root: Path) -> None:
        code = (
            "import os\nfor at, names, _ in os.walk('/'):\n    if os.access(at, os.W_OK): print(at)\nprint(os.getuid())"
        )
        assert run(root, *PYTHON, "-c", code).stdout.split() == ["/var/lib/vsqlvault", "65532"]

    def test_the_quick_start_works(self, root: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = {"VSQL_VAULT_API_KEY": KEY, "VSQL_VAULT_SERVER__LISTEN_ADDR": f"127.0.0.1:{port}"}
        command = [
            *PYTHON,
            "-c",
            "import os; os.chdir('/var/lib/vsqlvault'); import runpy, sys; sys.argv[1:] = ['serve'];",
        ]
        command[-1] += "runpy.run_module('vsqlvault', run_name='__main__')"
        with (
            (root.parent / "log").open("w") as log,
            subprocess.Popen(in_root(root, *command), env={**os.environ, **settings}, stdout=log, stderr=log) as server,
        ):
            try:
                assert eventually(lambda: asked(port, "GET", "/health/ready"), 60)["status"] == "ready"
                policy = {"max_retention_days": 365, "purge_method": "physical-delete"}
                asked(port, "PUT", "/admin/retention-policies/card", policy)
                asked(port, "PUT", "/vault/card/image-1", {"encrypted_value": "vault:v1:image"})
                assert (asked(port, "GET", "/vault/card/image-1") or {})["encrypted_value"] == "vault:v1:image"
            finally:
                inside = psutil.Process(server.pid).children(recursive=True)
                for process in inside:  # the change of user takes the signal away that --kill-child asks for
                    process.kill()
                server.kill()  # unshare ignores SIGTERM
            assert psutil.wait_procs(inside, 10)[1] == []


def asked(port: int, method: str, path: str, body: Any = None) -> Any:
    """Return the body of a success, or None if nobody listens yet."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"X-Vault-Key": KEY, "Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", content, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)
    except urllib.error.HTTPError:
        raise
    except OSError:
        return None
