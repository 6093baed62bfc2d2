"""What an import says of a line that is no entry."""

from __future__ import annotations

import pytest

from vsqlvault.cli.imports.lines import record_of


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (b"[" + b"1," * 40_000 + b"1]", "expected a line that can be read; a body has at most 32768 strings"),
        (b"not JSON", "expected JSON, found something else at byte 0"),
    ],
)
def test_a_line_that_cannot_be_read_is_one_sentence(line: bytes, sentence: str) -> None:
    (error,) = record_of("line 2", line, 1024).faults
    assert error.sentence.startswith(sentence)


def test_a_line_with_a_key_twice_says_so() -> None:
    (error,) = record_of("line 2", b'{"a":1,"a":2}', 1024).faults
    assert "expected A " not in error.sentence
    assert "expected a body has" not in error.sentence


LINE = (
    '{"purpose":"card","external_id":"a","encrypted_value":"%s","owner_app":"pay","owner_identity":"%s"'
    ',"created_at":"2026-01-01T00:00:00Z"}'
)


@pytest.mark.parametrize(
    "text",
    ["a\\u202eb", "a\u202eb", "a\u200bb", "a\x7fb", "a\\u007fb"],
    ids=["escape", "bidi", "zero-width", "delete", "escaped"],
)
def test_text_that_nobody_can_read_is_rejected_however_it_is_written(text: str) -> None:
    record = record_of("line 1", (LINE % ("v", text)).encode(), 1024)
    assert [fault.field for fault in record.faults] == ["owner_identity"]
    record = record_of("line 1", (LINE % (text, "jo")).encode(), 1024)
    assert [fault.field for fault in record.faults] == (
        [] if "200b" in text or "\u200b" in text else ["encrypted_value"]
    )


def test_a_line_of_plain_text_is_an_entry() -> None:
    entry = record_of("line 1", (LINE % ("vault:v1:~", "jo (ops)")).encode(), 1024).entry
    assert entry is not None
    assert (entry.value, entry.owner_identity) == (b"vault:v1:~", "jo (ops)")


@pytest.mark.parametrize(
    "metadata",
    [
        '{"a":"' + "x" * 1025 + '"}',
        '{"' + "k" * 65 + '":1}',
        "{" + ",".join(f'"k{n}":"{"x" * 200}"' for n in range(50)) + "}",
    ],
)
def test_metadata_beyond_a_limit_is_rejected(metadata: str) -> None:
    line = (LINE % ("v", "jo")).replace("{", '{"metadata":' + metadata + ",", 1)
    assert [fault.field for fault in record_of("line 1", line.encode(), 1024).faults] == ["metadata"]
