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
