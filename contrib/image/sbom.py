"""The bill of materials of the image, in the form of CycloneDX 1.6."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from root_tree import name_and_version


def document(lock: dict[str, list[dict[str, str]]], wheel: Path) -> dict[str, Any]:
    """Return the document: one component for each package in the image."""
    name, version = name_and_version(wheel)
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    components = [_debian(each) for each in lock["debian"]] + [_python(each) for each in lock["python"]]
    components.append(_python({"name": name, "version": version, "sha256": sha256}))
    fixed = uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(json.dumps(components).encode()).hexdigest())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{fixed}",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": version}},
        "components": components,
    }


def _debian(package: dict[str, str]) -> dict[str, Any]:
    version = quote(package["version"], safe="")
    return _component(package, f"pkg:deb/debian/{quote(package['name'])}@{version}?distro=debian-12")


def _python(package: dict[str, str]) -> dict[str, Any]:
    name = package["name"].lower().replace("_", "-").replace(".", "-")
    return _component(package, f"pkg:pypi/{name}@{quote(package['version'], safe='')}")


def _component(package: dict[str, str], purl: str) -> dict[str, Any]:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package["name"],
        "version": package["version"],
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": package["sha256"]}],
    }
