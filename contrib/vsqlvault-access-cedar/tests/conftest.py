from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session")
def readme_document() -> dict[str, Any]:
    """The policy document that the README's curl puts."""
    (command,) = blocks("bash")
    body = re.search(r"-d '(.*)'$", command, re.DOTALL)
    assert body
    document: dict[str, Any] = json.loads(body[1])
    return document


@pytest.fixture(scope="session")
def readme_cedar() -> str:
    """The Cedar text of the README."""
    (text,) = blocks("cedar")
    return text


@pytest.fixture(scope="session")
def readme_answers() -> list[list[str]]:
    """The rows of the README's table of who gets what."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if line[:1] == "|"]
    start = rows.index(["App", "Request", "Time", "Response", "Reason"])
    return [row for row in rows[start + 2 : start + 11] if len(row) == 5]
