"""Files in ``$CREDENTIALS_DIRECTORY`` are environment variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from vsqlvault.config.credentials import MAX_BYTES, take_credentials
from vsqlvault.errors import SettingsInvalid


def taken(directory: Path, **environment: str) -> dict[str, str]:
    variables = {"CREDENTIALS_DIRECTORY": str(directory), **environment}
    take_credentials(variables)
    return {name: value for name, value in variables.items() if name != "CREDENTIALS_DIRECTORY"}


def test_a_file_in_capitals_is_a_variable_without_its_line_feed(tmp_path: Path) -> None:
    (tmp_path / "SIEM_KEY").write_text("a key\n")
    assert taken(tmp_path) == {"SIEM_KEY": "a key"}


def test_only_one_line_feed_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "SIEM_KEY").write_text(" a key \n\n")
    assert taken(tmp_path) == {"SIEM_KEY": " a key \n"}


def test_a_variable_that_is_set_has_priority(tmp_path: Path) -> None:
    (tmp_path / "SIEM_KEY").write_text("of the file")
    assert taken(tmp_path, SIEM_KEY="of the environment") == {"SIEM_KEY": "of the environment"}


@pytest.mark.parametrize("name", ["signing.key", "..data", "tls_crt", "9_KEY"])
def test_a_file_with_another_name_is_no_variable(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a key")
    assert taken(tmp_path) == {}


def test_without_the_directory_nothing_is_read() -> None:
    variables = {"HOME": "/"}
    take_credentials(variables)
    assert variables == {"HOME": "/"}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"\xff", "text in UTF-8, found other bytes"),
        (b"a" * (MAX_BYTES + 1), f"at most {MAX_BYTES} bytes, found more"),
        (b"a\0b", "text, found a zero byte"),
    ],
)
def test_a_file_that_is_no_text_is_refused_without_its_content(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "SIEM_KEY").write_bytes(content)
    with pytest.raises(SettingsInvalid) as refused:
        taken(tmp_path)
    assert str(refused.value) == f"credential SIEM_KEY: expected {found}"


def test_a_directory_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="CREDENTIALS_DIRECTORY: expected a readable directory"):
        taken(tmp_path / "nowhere")


def test_a_directory_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "SIEM_KEY").mkdir()
    with pytest.raises(SettingsInvalid, match="credential SIEM_KEY: expected a readable file"):
        taken(tmp_path)
